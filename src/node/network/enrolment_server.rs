//! Enrolment on the master: one connection, one question to the engine, its verdicts.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::accept_policy::AcceptPolicy;
use super::address_book::dialable;
use super::enrolment_limiter::{Attempt, EnrolmentLimiter};
use crate::identity::{EnrolError, EnrolRequest, Enrolment, OpenEnrolments, Shown, TRY_LATER};
use crate::model::limits::{ENROL_TIMEOUT, HANDSHAKE_TIMEOUT};
use crate::model::{KeyId, PinnedKeys, Revision};
use crate::node::driver::input::{EnrolmentQuestion, Input, Proved};
use crate::node::environment::{BoxStream, Environment};
use crate::node::offload::authenticator::Authenticator;
use crate::protocol::engine::{EnrolVerdict, Event, Peer};

/// Answers nodes that ask to enrol.
#[derive(Clone)]
pub struct EnrolmentServer {
    environment: Environment,
    policy: Arc<AcceptPolicy>,
    inputs: mpsc::Sender<Input>,
    /// The host, which knows its users.
    authenticator: Authenticator,
    /// Slows down those who guess.
    limiter: EnrolmentLimiter,
    /// This node's name and address, which the shadow learns.
    name: String,
    advertise: String,
}

impl EnrolmentServer {
    pub fn new(
        environment: &Environment,
        policy: &Arc<AcceptPolicy>,
        inputs: &mpsc::Sender<Input>,
        authenticator: Authenticator,
        (name, advertise): (String, String),
    ) -> Self {
        Self {
            environment: environment.clone(),
            policy: Arc::clone(policy),
            inputs: inputs.clone(),
            authenticator,
            limiter: EnrolmentLimiter::default(),
            name,
            advertise,
        }
    }

    /// Which ways to enrol are open now.
    pub fn open_enrolments(&self) -> OpenEnrolments {
        let users = self.authenticator.is_set() && self.policy.is_vacant();
        OpenEnrolments { tokens: !self.policy.secrets().is_empty(), users }
    }

    /// Answers one request to enrol. Calls `authenticated` once the shadow has proved to know a token, or to be a user of the host.
    /// Returns why it was refused, unless the engine was asked.
    pub async fn answer(
        &self,
        from: SocketAddr,
        authenticated: impl FnOnce(),
        mut enrolment: Enrolment<BoxStream>,
    ) -> Option<String> {
        let environment = &self.environment;
        let secrets = self.policy.secrets();
        let (key, request, shown) = match environment.within(HANDSHAKE_TIMEOUT, enrolment.request(&secrets)).await {
            Some(Ok(asked)) => asked,
            Some(Err(error)) => return Some(error.to_string()),
            None => return Some(format!("no enrolment request within {HANDSHAKE_TIMEOUT:?}")),
        };
        let Ok(mut attempt) = self.limiter.begin(from.ip(), environment.clock.now()) else {
            // Whether the proof is right is not looked at, so the answer tells nothing of it.
            environment.within(HANDSHAKE_TIMEOUT, enrolment.refuse(TRY_LATER)).await;
            return Some("too many attempts to enrol".into());
        };
        let proved = self.judge(shown, &secrets).await;
        if proved != Proved::Nothing {
            attempt.succeeded();
            authenticated();
        }
        let (verdicts, judged) = mpsc::channel(2);
        let ask = self.policy.next_question();
        let from_ip = from.ip().to_canonical().to_string();
        let (peer, own_key) = (peer(key, request, from), enrolment.own_key());
        let question = EnrolmentQuestion { ask, peer, own_key, proved, from: from_ip, verdicts };
        if self.inputs.send(Input::EnrolAsked(question)).await.is_err() {
            return None;
        }
        match environment.within(ENROL_TIMEOUT, self.conclude(ask, from, enrolment, judged, attempt)).await {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::warn!(%from, %error, "an enrolment broke off; the shadow may ask again"),
            None => tracing::warn!(%from, "an enrolment was not finished in time; it may be asked again"),
        }
        None
    }

    /// What a node has proved by what it has shown.
    async fn judge(&self, shown: Shown, secrets: &[[u8; 16]]) -> Proved {
        match shown {
            Shown::Secret(index) => {
                index.and_then(|index| secrets.get(index)).map_or(Proved::Nothing, |secret| Proved::Secret(*secret))
            }
            Shown::User { user, password } => match self.authenticator.knows(user, password).await {
                true => Proved::User,
                false => Proved::Nothing,
            },
        }
    }

    /// Passes the engine's verdicts to the shadow, and the shadow's confirmation to the engine.
    async fn conclude(
        &self,
        ask: u64,
        from: SocketAddr,
        mut enrolment: Enrolment<BoxStream>,
        mut verdicts: mpsc::Receiver<EnrolVerdict>,
        attempt: Attempt,
    ) -> Result<(), EnrolError> {
        // It is judged with the first verdict.
        let mut attempt = Some(attempt);
        loop {
            match verdicts.recv().await {
                Some(EnrolVerdict::Accepted { pair }) => {
                    // The pinned key proves enough.
                    if let Some(mut attempt) = attempt.take() {
                        attempt.succeeded();
                    }
                    enrolment.accept(pair, &self.name, &self.advertise).await?;
                    drop(self.inputs.send(Input::Engine(Event::EnrolConfirmed { ask })).await);
                }
                Some(EnrolVerdict::Stored) => {
                    self.limiter.forget(from.ip());
                    return enrolment.stored().await;
                }
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
