//! Enrolment on the master: one connection, one question to the engine, its verdicts.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::accept_policy::AcceptPolicy;
use super::address_book::dialable;
use crate::identity::{EnrolError, EnrolRequest, Enrolment};
use crate::model::limits::{ENROL_TIMEOUT, HANDSHAKE_TIMEOUT};
use crate::model::{KeyId, PinnedKeys, Revision};
use crate::node::driver::input::{EnrolmentQuestion, Input};
use crate::node::environment::{BoxStream, Environment};
use crate::protocol::engine::{EnrolVerdict, Event, Peer};

/// Answers nodes that ask to enrol.
#[derive(Clone)]
pub struct EnrolmentServer {
    pub environment: Environment,
    pub policy: Arc<AcceptPolicy>,
    pub inputs: mpsc::Sender<Input>,
    /// This node's name and address, which the shadow learns.
    pub name: String,
    pub advertise: String,
}

impl EnrolmentServer {
    /// Answers one request to enrol. Calls `authenticated` once the shadow has proved to know a token. Returns why it was
    /// refused, unless the engine was asked.
    pub async fn answer(
        &self,
        from: SocketAddr,
        authenticated: impl FnOnce(),
        mut enrolment: Enrolment<BoxStream>,
    ) -> Option<String> {
        let environment = &self.environment;
        let secrets = self.policy.secrets();
        let (key, request, proved) = match environment.within(HANDSHAKE_TIMEOUT, enrolment.request(&secrets)).await {
            Some(Ok(asked)) => asked,
            Some(Err(error)) => return Some(error.to_string()),
            None => return Some(format!("no enrolment request within {HANDSHAKE_TIMEOUT:?}")),
        };
        let secret = proved.and_then(|index| secrets.get(index).copied());
        if secret.is_some() {
            authenticated();
        }
        let (verdicts, judged) = mpsc::channel(2);
        let ask = self.policy.next_question();
        let from_ip = from.ip().to_canonical().to_string();
        let question = EnrolmentQuestion { ask, peer: peer(key, request, from), secret, from: from_ip, verdicts };
        if self.inputs.send(Input::EnrolAsked(question)).await.is_err() {
            return None;
        }
        match environment.within(ENROL_TIMEOUT, self.conclude(ask, enrolment, judged)).await {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::warn!(%from, %error, "an enrolment broke off; the shadow may ask again"),
            None => tracing::warn!(%from, "an enrolment was not finished in time; it may be asked again"),
        }
        None
    }

    /// Passes the engine's verdicts to the shadow, and the shadow's confirmation to the engine.
    async fn conclude(
        &self,
        ask: u64,
        mut enrolment: Enrolment<BoxStream>,
        mut verdicts: mpsc::Receiver<EnrolVerdict>,
    ) -> Result<(), EnrolError> {
        loop {
            match verdicts.recv().await {
                Some(EnrolVerdict::Accepted { pair }) => {
                    enrolment.accept(pair, &self.name, &self.advertise).await?;
                    drop(self.inputs.send(Input::Engine(Event::EnrolConfirmed { ask })).await);
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
}

/// A node that enrols shows its first key.
fn peer(key: KeyId, request: EnrolRequest, from: SocketAddr) -> Peer {
    Peer {
        node: key.first_of(),
        keys: PinnedKeys::only(key),
        name: request.name,
        address: dialable(&request.address, from, false).unwrap_or(request.address),
        takeover_delay_ms: request.takeover_delay_ms,
        confirmed: Revision::NONE,
    }
}
