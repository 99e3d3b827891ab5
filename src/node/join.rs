//! Enrolment as the shadow sees it.
//!
//! Both sides store the pairing, the shadow first. An answer that is lost on the way is asked for again with the same
//! token and key, and answered alike: the shadow does so within the same start, and again, now or at a later start with
//! the same arguments, when the master turns its link away although it has never met it. Where the token is worth nothing
//! any more by then, the way out is an empty directory and a new token.

use std::time::Duration;

use super::builder::StartError;
use super::seam::{BoxStream, Environment};
use crate::identity::{ENROLMENT_CLOSED, EnrolError, EnrolRequest, Enrolled, Enrolling, JoinToken, Tls};
use crate::model::limits::{ENROL_RETRY, ENROL_TIMEOUT};
use crate::model::{NodeId, Revision};
use crate::protocol::engine::{DurableState, Moment, Options, Peer};

/// One node's attempt to enrol.
pub struct Joining {
    environment: Environment,
    tls: Tls,
    master: String,
    token: JoinToken,
    request: EnrolRequest,
    connect_timeout: Duration,
    until: Moment,
}

/// Who is known to have stored a pairing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// This node; the master perhaps.
    Here,
    /// Both.
    OnBoth,
}

/// Why one try failed.
enum TryError {
    /// It is worth another try.
    Again(String),
    /// It is not.
    Final(EnrolError),
}

impl Joining {
    /// Its time runs from now on.
    pub fn new(
        environment: &Environment,
        tls: &Tls,
        options: &Options,
        advertise: &str,
        master: &str,
        token: &JoinToken,
    ) -> Self {
        let request = EnrolRequest {
            name: options.name.clone(),
            address: advertise.to_owned(),
            takeover_delay_ms: millis(options.takeover_delay),
        };
        Self {
            environment: environment.clone(),
            tls: tls.clone(),
            master: master.to_owned(),
            token: token.clone(),
            request,
            connect_timeout: options.connect_timeout,
            until: environment.after(ENROL_TIMEOUT),
        }
    }

    /// Asks until the master answers, or the time is over.
    pub async fn enrol(&self) -> Result<Enrolling<BoxStream>, StartError> {
        let mut pause = ENROL_RETRY;
        loop {
            let reason = match self.try_once().await {
                Ok(enrolling) => return Ok(enrolling),
                Err(TryError::Final(error)) => return Err(error.into()),
                Err(TryError::Again(reason)) => reason,
            };
            if self.environment.after(pause) >= self.until {
                return Err(StartError::MasterUnreachable { master: self.master.clone(), reason });
            }
            tracing::debug!(reason, "the master could not be asked to enrol this node; trying again");
            self.environment.sleep(pause).await;
            pause = (2 * pause).min(8 * ENROL_RETRY);
        }
    }

    /// The durable state of a shadow that the master has accepted.
    pub fn durable_state(&self, node: NodeId, enrolled: &Enrolled) -> DurableState {
        let master = Peer {
            node: enrolled.master,
            name: enrolled.name.clone(),
            address: enrolled.address.clone(),
            // Until its hello tells.
            takeover_delay_ms: self.request.takeover_delay_ms,
            confirmed: Revision::NONE,
        };
        DurableState::first_shadow(node, enrolled.pair, master)
    }

    /// Says that the pairing is stored here, again where the answer is lost.
    ///
    /// # Errors
    /// The master's refusal: another one came first.
    pub async fn confirm(&self, enrolling: Enrolling<BoxStream>) -> Result<Stored, StartError> {
        let mut next = enrolling;
        loop {
            let answer = match self.environment.within(self.rest(), next.confirm()).await {
                Some(Ok(())) => return Ok(Stored::OnBoth),
                Some(Err(error)) => error,
                None => return Ok(Stored::Here),
            };
            // Refused may mean that somebody else asks at the same time, and may come to nothing: it is asked once more. A door
            // that is closed by then, though, may be closed because this node was enrolled, and the word for it was lost.
            let turned_down = matches!(answer, EnrolError::Refused(_));
            tracing::warn!(error = %answer, "the enrolment was not confirmed; asking again");
            next = match self.enrol().await {
                Ok(enrolling) => enrolling,
                Err(StartError::Enrol(EnrolError::Refused(word))) if turned_down || word != ENROLMENT_CLOSED => {
                    return Err(EnrolError::Refused(word).into());
                }
                Err(_) => return Ok(Stored::Here),
            };
        }
    }

    /// Asks again for an enrolment that is stored here and perhaps not with the master.
    pub async fn finish(mut self) {
        self.until = self.environment.after(ENROL_TIMEOUT);
        let finished = match self.enrol().await {
            Ok(enrolling) => self.confirm(enrolling).await,
            Err(error) => Err(error),
        };
        match finished {
            Ok(stored) => tracing::info!(?stored, "the enrolment was asked for again"),
            Err(error) => tracing::warn!(%error, "the enrolment was asked for again, and refused"),
        }
    }

    /// Name, TCP, TLS and the master's answer, in bounded time.
    async fn try_once(&self) -> Result<Enrolling<BoxStream>, TryError> {
        let again = |error: std::io::Error| TryError::Again(error.to_string());
        let connect = self.environment.net.connect(self.master.clone());
        let limit = self.connect_timeout.min(self.rest());
        let stream = match self.environment.within(limit, connect).await {
            Some(stream) => stream.map_err(again)?,
            None => return Err(TryError::Again(format!("no connection within {limit:?}"))),
        };
        let rest = self.rest();
        match self.environment.within(rest, self.tls.enrol(stream, &self.token, &self.request)).await {
            Some(Ok(enrolling)) => Ok(enrolling),
            Some(Err(EnrolError::Broken(error))) => Err(again(error)),
            Some(Err(error)) => Err(TryError::Final(error)),
            None => Err(TryError::Again(format!("no answer within {rest:?}"))),
        }
    }

    fn rest(&self) -> Duration {
        Duration::from_micros(self.until.0.saturating_sub(self.environment.clock.now().0))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
