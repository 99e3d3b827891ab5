//! Enrolment on the shadow.
//!
//! Both sides store the pairing, the shadow first. If an answer was lost, the shadow asks again with the same credentials and
//! key, and the master gives the same answer. The shadow asks again within the same start. It asks once more, in this
//! run or at a later start with the same arguments, if the master refuses its link and the two have never met. If the
//! token is no longer valid by then, the operator empties the directory and makes a new token.

use std::time::Duration;

use super::address_book::is_undialable;
use crate::identity::{Credentials, ENROLMENT_CLOSED, EnrolError, EnrolRequest, Enrolled, Enrolling, TRY_LATER, Tls};
use crate::model::limits::{ENROL_RETRY, ENROL_TIMEOUT};
use crate::model::{NodeId, PinnedKeys, Revision};
use crate::node::environment::{BoxStream, Environment};
use crate::protocol::engine::{DurableState, Moment, Options, Peer};

/// Enrols this node with a master.
pub struct EnrolmentClient {
    environment: Environment,
    tls: Tls,
    master: String,
    credentials: Credentials,
    request: EnrolRequest,
    connect_timeout: Duration,
    /// How long the master's host may take to judge the credentials, as far as this node knows.
    judging: Duration,
    until: Moment,
}

/// Which nodes are known to have stored the pairing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// This node, and perhaps the master.
    Here,
    /// Both.
    OnBoth,
}

/// Why a shadow could not be enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentFailure {
    /// The master could not be reached in time.
    #[error("the master at {master} could not be reached: {reason}")]
    Unreachable { master: String, reason: String },
    /// The master refused.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
}

/// Why one attempt failed.
enum AttemptError {
    /// Another attempt may succeed.
    Retry(String),
    /// Another attempt may succeed after a pause. The master asks for it.
    Later,
    /// None will.
    Final(EnrolError),
}

impl EnrolmentClient {
    /// Its time begins now.
    pub fn new(
        environment: &Environment,
        tls: &Tls,
        options: &Options,
        advertise: &str,
        master: &str,
        credentials: &Credentials,
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
            credentials: credentials.clone(),
            request,
            connect_timeout: options.timeouts.connect,
            judging: match credentials {
                Credentials::Token(_) => Duration::ZERO,
                Credentials::User { .. } => options.timeouts.hook,
            },
            until: environment.after(ENROL_TIMEOUT),
        }
    }

    /// Asks until the master answers or the time is over.
    pub async fn enrol(&self) -> Result<Enrolling<BoxStream>, EnrolmentFailure> {
        let mut pause = ENROL_RETRY;
        loop {
            let failure = match self.attempt().await {
                Ok(enrolling) => return Ok(enrolling),
                Err(AttemptError::Final(error)) => return Err(error.into()),
                Err(AttemptError::Later) => EnrolError::Refused(TRY_LATER.into()).into(),
                Err(AttemptError::Retry(reason)) => {
                    EnrolmentFailure::Unreachable { master: self.master.clone(), reason }
                }
            };
            if self.environment.after(pause) >= self.until {
                return Err(failure);
            }
            tracing::debug!(%failure, "the master could not be asked to enrol this node; trying again");
            self.environment.sleep(pause).await;
            pause = (2 * pause).min(8 * ENROL_RETRY);
        }
    }

    /// The durable state of a shadow that the master has accepted.
    pub fn durable_state(&self, node: NodeId, enrolled: &Enrolled) -> DurableState {
        let master = Peer {
            node: enrolled.master,
            keys: PinnedKeys::only(enrolled.key),
            name: enrolled.name.clone(),
            address: match is_undialable(&enrolled.address) {
                true => self.master.clone(),
                false => enrolled.address.clone(),
            },
            // The hello will tell.
            takeover_delay_ms: self.request.takeover_delay_ms,
            confirmed: Revision::NONE,
        };
        DurableState::first_shadow(node, enrolled.pair, master)
    }

    /// Tells the master that the pairing is stored here; tells it again where the answer is lost.
    ///
    /// # Errors
    /// The master refuses: another shadow came first.
    pub async fn confirm(&self, enrolling: Enrolling<BoxStream>) -> Result<Stored, EnrolmentFailure> {
        let mut next = enrolling;
        loop {
            let answer = match self.environment.within(self.rest(), next.confirm()).await {
                Some(Ok(())) => return Ok(Stored::OnBoth),
                Some(Err(error)) => error,
                None => return Ok(Stored::Here),
            };
            // A refusal may come from another shadow that asks at the same time and fails later, so this one asks once more.
            // If enrolment is closed by then, that may be because this node was enrolled and the answer was lost.
            let was_refused = matches!(answer, EnrolError::Refused(_));
            tracing::warn!(error = %answer, "the enrolment was not confirmed; asking again");
            next = match self.enrol().await {
                Ok(enrolling) => enrolling,
                Err(EnrolmentFailure::Enrol(EnrolError::Refused(word))) if was_refused || word != ENROLMENT_CLOSED => {
                    return Err(EnrolError::Refused(word).into());
                }
                Err(_) => return Ok(Stored::Here),
            };
        }
    }

    /// Repeats an enrolment that is stored here and perhaps not on the master.
    pub async fn finish(mut self) {
        self.until = self.environment.after(ENROL_TIMEOUT);
        let finished = match self.enrol().await {
            Ok(enrolling) => self.confirm(enrolling).await,
            Err(error) => Err(error),
        };
        match finished {
            Ok(stored) => tracing::info!(?stored, "the enrolment was asked for again"),
            Err(error) => tracing::warn!(%error, "a repeated enrolment did not succeed"),
        }
    }

    /// Resolves, connects, authenticates and asks once, in bounded time.
    async fn attempt(&self) -> Result<Enrolling<BoxStream>, AttemptError> {
        let retry = |error: std::io::Error| AttemptError::Retry(error.to_string());
        let connect = self.connect();
        let limit = self.connect_timeout.min(self.rest());
        let stream = match self.environment.within(limit, connect).await {
            Some(stream) => stream.map_err(retry)?,
            None => return Err(AttemptError::Retry(format!("no connection within {limit:?}"))),
        };
        // A large hello that is not answered must leave time for a small one.
        let most = if self.tls.may_shrink() { 2 * self.connect_timeout + self.judging } else { self.rest() };
        let rest = self.rest().min(most);
        match self.environment.within(rest, self.tls.enrol(stream, &self.credentials, &self.request)).await {
            Some(Ok(enrolling)) => Ok(enrolling),
            Some(Err(EnrolError::Broken(error))) => Err(retry(error)),
            Some(Err(EnrolError::Refused(word))) if word == TRY_LATER => Err(AttemptError::Later),
            Some(Err(error)) => Err(AttemptError::Final(error)),
            None => Err(AttemptError::Retry(format!("no answer within {rest:?}"))),
        }
    }

    /// Connects to the first address of the master that answers.
    async fn connect(&self) -> std::io::Result<BoxStream> {
        let mut last = std::io::Error::other("the master's name has no address");
        let found = self.environment.net.addresses(self.master.clone()).await?;
        let share = self.connect_timeout / u32::try_from(found.len().max(1)).unwrap_or(u32::MAX);
        for at in found {
            // A dead address does not use up the time of the next.
            match self.environment.within(share, self.environment.net.connect(at)).await {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last = error,
                None => last = std::io::Error::other(format!("{at}: no connection within {share:?}")),
            }
        }
        Err(last)
    }

    fn rest(&self) -> Duration {
        Duration::from_micros(self.until.0.saturating_sub(self.environment.clock.now().0))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
