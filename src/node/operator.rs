use std::sync::Arc;
use std::time::Duration;

use super::seam::fill_random;
use super::shared::Shared;
use crate::identity::JoinToken;
use crate::model::limits::{TOKEN_LIFE_DEFAULT, TOKEN_LIFE_MAX};
use crate::model::{History, Revision};
use crate::protocol::engine::{Command, CommandRefusal, Replication, StoredToken};
use crate::store::{Diverged, ReadError};

/// The operator's verbs. Each returns when the node has done it or refused it; what takes longer (a full push, say)
/// is told by events. Dropping a future takes nothing back.
#[derive(Clone)]
pub struct Operator {
    shared: Arc<Shared>,
}

/// Why an operator's command was refused. Nothing changed, but for [`OperatorError::InDoubt`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// High availability is not enabled.
    #[error("high availability is not enabled on this node: say enable first")]
    Disabled,
    /// There is an enrolled shadow.
    #[error("there is an enrolled shadow")]
    ShadowEnrolled,
    /// There is no enrolled peer.
    #[error("there is no enrolled peer")]
    NoPeer,
    /// The link is up.
    #[error("the link to the peer is up: disconnect first")]
    PeerConnected,
    /// Only a master can do this.
    #[error("only a master can do this{}", master.as_ref().map(|at| format!("; the master is dialled at {at}")).unwrap_or_default())]
    NotMaster {
        /// Where the master is dialled, if known.
        master: Option<String>,
    },
    /// There is no such alert.
    #[error("there is no alert of this number")]
    UnknownAlert,
    /// Too many tokens are alive.
    #[error("too many tokens are alive: wait until one expires")]
    TooManyTokens,
    /// The argument is out of bounds.
    #[error("{0}")]
    BadArgument(String),
    /// This shadow has no complete copy.
    #[error("this shadow has no complete, verified copy")]
    Incomplete,
    /// Change sets would be lost.
    #[error("change sets would be lost; say so explicitly to accept it")]
    Loss {
        /// First and last that are known to be missing, where known.
        missing: Option<(Revision, Revision)>,
    },
    /// The master may hold mastership still, by its lease at the witness or by what this node promised it.
    #[error("the master may hold mastership still: stop it, or wait until its lease is over")]
    LeaseHeld,
    /// The witness did not answer, and without it nobody becomes master.
    #[error("the witness does not answer, and without it nobody becomes master")]
    WitnessUnreachable,
    /// Too much waits. Try again later.
    #[error("too much waits; try again later")]
    Overloaded,
    /// The disk is full.
    #[error("the disk is full; nothing was changed")]
    DiskFull,
    /// The disk failed.
    #[error("the disk failed; nothing was changed: {0}")]
    Disk(String),
    /// It is not in force, and may be later. The disk failed, and what had been written could not be undone: a node that starts
    /// before the disk has worked again may find it. Or, of a take-over, the witness did not answer: the swap may land. Look at
    /// the status, and say it again.
    #[error("the command is not in force, and whether it will be is not known: {0}")]
    InDoubt(String),
    /// The node is stopped.
    #[error("the node is stopped")]
    Stopped,
}

impl Operator {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Allows a shadow to be enrolled. The directory remembers.
    ///
    /// # Errors
    /// [`OperatorError`]; nothing changed.
    pub async fn enable(&self) -> Result<(), OperatorError> {
        self.say(Command::Enable).await
    }

    /// Forbids it again, and ends living tokens. A shadow that is enrolled stays.
    ///
    /// # Errors
    /// [`OperatorError`]; nothing changed.
    pub async fn disable(&self) -> Result<(), OperatorError> {
        self.say(Command::Disable).await
    }

    /// Makes a join token, good for one enrolment; returns it with its end (wall clock, milliseconds since 1970).
    /// Without a `life`, 15 minutes; at most 24 hours.
    ///
    /// # Errors
    /// [`OperatorError::BadArgument`] for a life out of bounds, [`OperatorError::Disabled`],
    /// [`OperatorError::ShadowEnrolled`], [`OperatorError::TooManyTokens`]; no token was made.
    pub async fn token(&self, life: Option<Duration>) -> Result<(JoinToken, u64), OperatorError> {
        let life = life.unwrap_or(TOKEN_LIFE_DEFAULT);
        if life.is_zero() || life > TOKEN_LIFE_MAX {
            return Err(OperatorError::BadArgument(format!("a token lives above zero and at most {TOKEN_LIFE_MAX:?}")));
        }
        let mut secret = [0; 16];
        fill_random(&mut secret).map_err(|error| OperatorError::Disk(format!("no randomness: {error}")))?;
        let life_ms = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
        let expires_ms = self.shared.environment.clock.wall_ms().saturating_add(life_ms);
        self.say(Command::Token(StoredToken { secret, expires_ms })).await?;
        Ok((JoinToken::new(self.shared.node, secret), expires_ms))
    }

    /// Closes the link and holds it: it does not come up, and neither node takes over by itself, until
    /// [`Operator::reconnect`] on this node or its next start.
    ///
    /// # Errors
    /// [`OperatorError`]; nothing changed.
    pub async fn disconnect(&self) -> Result<(), OperatorError> {
        self.say(Command::Disconnect).await
    }

    /// Lets the link come again.
    ///
    /// # Errors
    /// [`OperatorError`]; nothing changed.
    pub async fn reconnect(&self) -> Result<(), OperatorError> {
        self.say(Command::Reconnect).await
    }

    /// Asks for a full push, on either node. Returns at once; a `Synced` event tells the end. On a shadow that refuses its
    /// master it accepts that one: what only the shadow has goes to quarantine.
    ///
    /// # Errors
    /// [`OperatorError`]; nothing changed.
    pub async fn resync(&self) -> Result<(), OperatorError> {
        self.say(Command::Resync).await
    }

    /// Forgets the pairing on this node: pins, tokens, the peer's address and alerts. A master keeps its configuration
    /// and has room for another shadow; a shadow keeps a readable copy, and never takes over by itself.
    ///
    /// # Errors
    /// [`OperatorError::PeerConnected`] while the link is up, or the role is changing.
    pub async fn reset(&self) -> Result<(), OperatorError> {
        self.say(Command::Reset).await
    }

    /// Marks an alert as seen; a `recovered` one goes.
    ///
    /// # Errors
    /// [`OperatorError::UnknownAlert`].
    pub async fn acknowledge(&self, alert: u64) -> Result<(), OperatorError> {
        self.say(Command::Acknowledge { alert }).await
    }

    /// Makes this node master; a restarted master that waits for its peer serves; on a master that serves nothing changes.
    ///
    /// # Errors
    /// [`OperatorError::Loss`] where change sets would or could be lost, and [`OperatorError::Incomplete`] where the copy is
    /// not complete, unless that is accepted; [`OperatorError::Incomplete`] whatever is accepted where there is no copy at
    /// all. With a witness [`OperatorError::LeaseHeld`] and [`OperatorError::WitnessUnreachable`], whatever is accepted.
    pub async fn take_over(&self, accept_loss: bool) -> Result<(), OperatorError> {
        self.say(if accept_loss { Command::TakeOverAcceptingLoss } else { Command::TakeOver }).await
    }

    /// Changes whether commits wait for the shadow, until this node's next start, which takes
    /// [`Options::replication`](crate::Options::replication) again. Change sets that are under way end in either way. Said on
    /// both nodes it also holds after a takeover.
    ///
    /// # Errors
    /// [`OperatorError`]; nothing changed.
    pub async fn replicate(&self, replication: Replication) -> Result<(), OperatorError> {
        self.say(Command::Replicate(replication)).await
    }

    /// What a former master's quarantine holds, on the node that wrote it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn diverged(&self) -> Result<Vec<Diverged>, ReadError> {
        let reader = self.shared.reader.clone();
        let read = self.shared.environment.block(move || reader.diverged()).await;
        read.unwrap_or_else(|panicked| Err(ReadError::Disk(panicked.to_string())))
    }

    /// The lineage of what is visible now.
    pub fn history(&self) -> History {
        self.shared.reader.snapshot().history()
    }

    async fn say(&self, command: Command) -> Result<(), OperatorError> {
        match self.shared.command(command).await {
            Some(answer) => answer.map_err(OperatorError::from),
            None => Err(OperatorError::Stopped),
        }
    }
}

impl From<CommandRefusal> for OperatorError {
    fn from(refused: CommandRefusal) -> Self {
        match refused {
            CommandRefusal::NotMaster { master } => Self::NotMaster { master },
            CommandRefusal::Overloaded => Self::Overloaded,
            CommandRefusal::DiskFull => Self::DiskFull,
            CommandRefusal::Disk { reason } => Self::Disk(reason),
            CommandRefusal::InDoubt { reason } => Self::InDoubt(reason),
            CommandRefusal::Stopped => Self::Stopped,
            CommandRefusal::Disabled => Self::Disabled,
            CommandRefusal::ShadowEnrolled => Self::ShadowEnrolled,
            CommandRefusal::NoPeer => Self::NoPeer,
            CommandRefusal::PeerConnected => Self::PeerConnected,
            CommandRefusal::UnknownAlert => Self::UnknownAlert,
            CommandRefusal::TooManyTokens => Self::TooManyTokens,
            CommandRefusal::Incomplete => Self::Incomplete,
            CommandRefusal::Loss { missing } => Self::Loss { missing },
            CommandRefusal::LeaseHeld => Self::LeaseHeld,
            CommandRefusal::WitnessUnreachable => Self::WitnessUnreachable,
        }
    }
}
