//! Enrolment as the master sees it: one guest, one question to the engine, one verdict.

use std::net::SocketAddr;

use tokio::sync::mpsc;

use super::inbox::Input;
use super::listener::Door;
use super::seam::BoxStream;
use crate::identity::{EnrolError, Enrolment};
use crate::model::limits::{ENROL_TIMEOUT, HANDSHAKE_TIMEOUT};
use crate::model::{NodeId, Revision};
use crate::protocol::engine::{EnrolVerdict, Event, Peer};

/// A node that asks to enrol, as the driver is told.
pub struct Ask {
    /// Number of the question.
    pub ask: u64,
    /// Who.
    pub peer: Peer,
    /// The secret that it proved to know.
    pub secret: Option<[u8; 16]>,
    /// Where it comes from.
    pub from: String,
    /// Where the verdicts go: accepted, then stored; or refused.
    pub verdicts: mpsc::Sender<EnrolVerdict>,
}

/// Hears one guest out. `known` is called once it may no longer be dropped for a younger guest. Returns why it was
/// turned away, where the engine has not heard of it.
pub async fn answer(
    door: &Door,
    from: SocketAddr,
    known: impl FnOnce(),
    mut enrolment: Enrolment<BoxStream>,
) -> Option<String> {
    let environment = &door.environment;
    let secrets = door.porch.secrets(environment.clock.wall_ms());
    let (node, request, proved) = match environment.within(HANDSHAKE_TIMEOUT, enrolment.request(&secrets)).await {
        Some(Ok(asked)) => asked,
        Some(Err(error)) => return Some(error.to_string()),
        None => return Some(format!("no enrolment request within {HANDSHAKE_TIMEOUT:?}")),
    };
    let secret = proved.and_then(|index| secrets.get(index).copied());
    if secret.is_some() {
        known();
    }
    let (verdicts, judged) = mpsc::channel(2);
    let ask = Ask {
        ask: door.porch.next_ask(),
        peer: peer(node, request),
        secret,
        from: from.ip().to_canonical().to_string(),
        verdicts,
    };
    let number = ask.ask;
    if door.inputs.send(Input::EnrolAsked(ask)).await.is_err() {
        return None;
    }
    match environment.within(ENROL_TIMEOUT, conclude(door, number, enrolment, judged)).await {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::warn!(%from, %error, "an enrolment did not end well; it may be asked again"),
        None => tracing::warn!(%from, "an enrolment was not finished in time; it may be asked again"),
    }
    None
}

/// Carries the engine's verdicts to the guest, and the guest's confirmation to the engine.
async fn conclude(
    door: &Door,
    ask: u64,
    mut enrolment: Enrolment<BoxStream>,
    mut judged: mpsc::Receiver<EnrolVerdict>,
) -> Result<(), EnrolError> {
    loop {
        match judged.recv().await {
            Some(EnrolVerdict::Accepted { pair }) => {
                enrolment.accept(pair, &door.name, &door.advertise).await?;
                drop(door.inputs.send(Input::Engine(Event::EnrolConfirmed { ask })).await);
            }
            Some(EnrolVerdict::Stored) => return enrolment.stored().await,
            Some(EnrolVerdict::Refused { kind }) => {
                enrolment.refuse(kind).await;
                return Ok(());
            }
            None => {
                enrolment.refuse("stopped").await;
                return Ok(());
            }
        }
    }
}

fn peer(node: NodeId, request: crate::identity::EnrolRequest) -> Peer {
    Peer {
        node,
        name: request.name,
        address: request.address,
        takeover_delay_ms: request.takeover_delay_ms,
        confirmed: Revision::NONE,
    }
}
