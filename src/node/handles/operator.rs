use std::sync::Arc;
use std::time::Duration;

use super::shared::Shared;
use crate::identity::JoinToken;
use crate::model::limits::{TOKEN_LIFE_DEFAULT, TOKEN_LIFE_MAX};
use crate::model::{History, Revision};
use crate::protocol::engine::{Command, CommandRefusal, OwnKeys, Replication, StoredToken};
use crate::protocol::wire::SwitchObstacle;

/// The operator's commands.
///
/// Each returns when the node has done it or refused it. What takes longer (a full push, for example) is told by events.
/// Dropping a future does not take a command back. Where [`COMMAND_QUEUE_MAX`](crate::limits::COMMAND_QUEUE_MAX) commands
/// wait, the next one waits for room.
///
/// ```no_run
/// # async fn example(node: &shadowpair::Node) -> Result<(), shadowpair::OperatorError> {
/// // On the master: what a new shadow needs for its first start.
/// let operator = node.operator();
/// operator.enable().await?;
/// let (token, expires_ms) = operator.token(None).await?;
/// println!("join {} with {token} before {expires_ms}", node.status().advertise);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Operator {
    pub(super) shared: Arc<Shared>,
}

/// Why an operator's command was refused. Nothing changed, but for [`OperatorError::InDoubt`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// High availability is not enabled. Nothing changed. [`Operator::enable`] first.
    #[error("high availability is not enabled on this node: enable it first")]
    Disabled,
    /// A shadow is enrolled already. Nothing changed. [`Operator::replace_shadow`] makes room for another one.
    #[error("there is an enrolled shadow")]
    ShadowEnrolled,
    /// There is no enrolled peer. Nothing changed. Enrol a shadow first.
    #[error("there is no enrolled peer")]
    NoPeer,
    /// The link is up, or the role is changing. Nothing changed. [`Operator::disconnect`] first.
    #[error("the link to the peer is up: disconnect first")]
    PeerConnected,
    /// Only a master can do this. Nothing changed. Give the command to the master.
    #[error("only a master can do this{}", master.as_ref().map(|at| format!("; the master is dialled at {at}")).unwrap_or_default())]
    NotMaster {
        /// Where the master is dialled, if known.
        master: Option<String>,
    },
    /// There is no alert of this number. Nothing changed. The status lists the alerts.
    #[error("there is no alert of this number")]
    UnknownAlert,
    /// [`TOKENS_MAX`](crate::limits::TOKENS_MAX) tokens are valid. No token was made. Wait until one expires.
    #[error("too many tokens are valid: wait until one expires")]
    TooManyTokens,
    /// The argument is out of bounds. Nothing changed. The text names the bounds.
    #[error("{0}")]
    BadArgument(String),
    /// This shadow has no complete, verified copy. Nothing changed. Let the master push it, or accept the loss.
    #[error("this shadow has no complete, verified copy")]
    Incomplete,
    /// Change sets would be lost, or could be. Nothing changed. [`Operator::take_over_accepting_loss`] accepts that.
    #[error(
        "change sets would be lost: repeat the takeover with the loss accepted, or bring back the node that has them"
    )]
    Loss {
        /// First and last that are known to be missing, where known.
        missing: Option<(Revision, Revision)>,
    },
    /// The master may still hold mastership, by its lease at the witness or by what this node promised it. Nothing changed.
    /// Stop the master, or try again when the lease is over.
    #[error("the master may still hold mastership: stop it, or wait until its lease is over")]
    LeaseHeld,
    /// The witness does not answer, and no node becomes master without it. Nothing changed. Try again when it answers.
    #[error("the witness does not answer, and without it nobody becomes master")]
    WitnessUnreachable,
    /// The shadow is not connected, or does not hold everything. Nothing changed. Wait until
    /// [`EngineStatus::in_sync`](crate::EngineStatus::in_sync) says so.
    #[error("the shadow is not in sync: wait until it is connected and holds everything")]
    NotInSync,
    /// An operator holds the link. Nothing changed. [`Operator::reconnect`] first.
    #[error("the link is held: reconnect first")]
    Held,
    /// Automatic failover is paused. Nothing changed. [`Operator::resume`] first.
    #[error("automatic failover is paused: resume first")]
    Paused,
    /// A switch of roles is under way. Nothing changed. Wait for its end.
    #[error("a switch of roles is under way: wait for its end")]
    SwitchUnderWay,
    /// The peer runs a program that does not know of this. Nothing changed. Upgrade the peer.
    #[error("the peer's program is too old for this: upgrade it first")]
    PeerTooOld,
    /// The switch of roles was called off, and the roles are as before. Look at the status of both nodes, and try again.
    #[error("the switch of roles was called off ({}); the roles are as before: look at both nodes, and try again", why.as_str())]
    CalledOff {
        /// Why: [`SwitchObstacle::NotServing`], [`SwitchObstacle::Stopping`] or [`SwitchObstacle::TimedOut`]. Its `as_str` is the stable
        /// word.
        why: SwitchObstacle,
    },
    /// A renewal of this node's key is under way. Nothing changed. It ends when the peer is connected.
    #[error("a renewal of this node's key is under way: it ends when the peer is connected")]
    RotationUnderWay,
    /// Too many commands wait for the disk. Nothing changed. Try again later.
    #[error("too many commands wait; nothing was changed: try again later")]
    Overloaded,
    /// The disk is full. Nothing changed. Make room, and try again.
    #[error("the disk is full; nothing was changed")]
    DiskFull,
    /// The disk failed. Nothing changed. An alert tells whether it works again.
    #[error("the disk failed; nothing was changed: {0}")]
    Disk(String),
    /// The command is not in force now, and may be later. Look at the status, and give it again.
    ///
    /// Either the disk failed and what had been written could not be undone: a node that starts before the disk works again
    /// may find it. Or the witness did not answer a takeover: its answer may still arrive.
    #[error("the command is not in force, and whether it will be is not known: {0}")]
    InDoubt(String),
    /// The node is stopped. Nothing changed, unless the runtime was dropped while the command waited.
    #[error("the node is stopped")]
    Stopped,
}

impl Operator {
    pub(in crate::node) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Allows a shadow to be enrolled. The data directory remembers it.
    ///
    /// # Errors
    /// [`OperatorError::DiskFull`], [`OperatorError::Disk`], [`OperatorError::InDoubt`], [`OperatorError::Overloaded`],
    /// [`OperatorError::Stopped`].
    pub async fn enable(&self) -> Result<(), OperatorError> {
        self.give(Command::Enable).await
    }

    /// Forbids enrolment again, and ends all valid tokens. A shadow that is enrolled stays enrolled.
    ///
    /// # Errors
    /// As of [`Operator::enable`].
    pub async fn disable(&self) -> Result<(), OperatorError> {
        self.give(Command::Disable).await
    }

    /// Makes a join token for one enrolment. Returns it with the time at which it expires, in milliseconds since 1970 by
    /// the wall clock.
    ///
    /// `life` is at most [`TOKEN_LIFE_MAX`] (24 hours); without it the token is valid for [`TOKEN_LIFE_DEFAULT`] (15 minutes).
    ///
    /// # Errors
    /// [`OperatorError::BadArgument`] for a `life` of zero or above the bound; [`OperatorError::NotMaster`],
    /// [`OperatorError::Disabled`], [`OperatorError::ShadowEnrolled`], [`OperatorError::TooManyTokens`]; and as of
    /// [`Operator::enable`]. No token was made.
    pub async fn token(&self, life: Option<Duration>) -> Result<(JoinToken, u64), OperatorError> {
        self.make_token(life, Command::Token).await
    }

    /// Replaces the shadow by a new one, whether the old one is there or gone: ends its pin, closes its link, and makes a join token
    /// for the new one, in one step. The configuration stays, and commits go on; with synchronous replication they are acknowledged
    /// alone until the new shadow is in sync. Returns the token as [`Operator::token`] does, and `life` is as there.
    ///
    /// With a witness it returns only when its record says that the old shadow is not in sync, so that the old shadow cannot take
    /// over by it any more. Without a witness a shadow that is cut off and not stopped may still take over by itself, since nobody
    /// can tell it: stop it. In both cases `take-over --accept-loss` on it would make a second master: empty its directory.
    ///
    /// ```no_run
    /// # async fn example(node: &shadowpair::Node) -> Result<(), shadowpair::OperatorError> {
    /// let (token, _) = node.operator().replace_shadow(None).await?;
    /// println!("join {} with {token}", node.status().advertise);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`OperatorError::BadArgument`] as of [`Operator::token`]; [`OperatorError::NotMaster`], also on a master that does not serve;
    /// [`OperatorError::Disabled`], [`OperatorError::NoPeer`], [`OperatorError::SwitchUnderWay`], [`OperatorError::RotationUnderWay`],
    /// [`OperatorError::WitnessUnreachable`]; and as of [`Operator::enable`]. The old shadow stays.
    pub async fn replace_shadow(&self, life: Option<Duration>) -> Result<(JoinToken, u64), OperatorError> {
        self.make_token(life, Command::ReplaceShadow).await
    }

    /// Makes a token that this command stores.
    async fn make_token(
        &self,
        life: Option<Duration>,
        store: fn(StoredToken) -> Command,
    ) -> Result<(JoinToken, u64), OperatorError> {
        let life = life.unwrap_or(TOKEN_LIFE_DEFAULT);
        if life.is_zero() || life > TOKEN_LIFE_MAX {
            return Err(OperatorError::BadArgument(format!(
                "the life of a token is more than zero and at most {TOKEN_LIFE_MAX:?}"
            )));
        }
        let mut secret = [0; 16];
        let filled = self.shared.environment.randomness.fill(&mut secret);
        filled.map_err(|error| OperatorError::Disk(format!("no randomness: {error}")))?;
        let life_ms = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
        let expires_ms = self.shared.environment.clock.wall_ms().saturating_add(life_ms);
        self.give(store(StoredToken { secret, expires_ms })).await?;
        Ok((JoinToken::new(self.shared.tls.key(), secret), expires_ms))
    }

    /// Closes the link and keeps it closed until [`Operator::reconnect`] on this node, or its next start. Meanwhile neither
    /// node takes over by itself.
    ///
    /// # Errors
    /// [`OperatorError::NoPeer`], [`OperatorError::Stopped`].
    pub async fn disconnect(&self) -> Result<(), OperatorError> {
        self.give(Command::Disconnect).await
    }

    /// Lets the link come up again after [`Operator::disconnect`].
    ///
    /// # Errors
    /// As of [`Operator::disconnect`].
    pub async fn reconnect(&self) -> Result<(), OperatorError> {
        self.give(Command::Reconnect).await
    }

    /// Asks for a full push, on either node. Returns at once; [`NodeEvent::Synced`](crate::NodeEvent::Synced) tells when it
    /// has ended. On a shadow that refuses its master, it accepts that master: what only the shadow has goes to quarantine.
    ///
    /// # Errors
    /// [`OperatorError::NoPeer`], [`OperatorError::Disk`], [`OperatorError::Stopped`].
    pub async fn resync(&self) -> Result<(), OperatorError> {
        self.give(Command::Resync).await
    }

    /// Forgets the pairing on this node: the pinned peer, its address, tokens and alerts. A master keeps its configuration
    /// and can enrol another shadow. A shadow keeps a copy that can be read, and never takes over by itself; its next start with
    /// [`FirstStart::Join`](crate::FirstStart::Join) enrols it again.
    ///
    /// # Errors
    /// [`OperatorError::PeerConnected`] while the link is up or the role is changing; and as of [`Operator::enable`].
    pub async fn reset(&self) -> Result<(), OperatorError> {
        self.give(Command::Reset).await
    }

    /// Marks an alert as seen, by its number ([`Alert::id`](crate::Alert)). One of the kind `recovered` is removed.
    ///
    /// # Errors
    /// [`OperatorError::UnknownAlert`]; and as of [`Operator::enable`].
    pub async fn acknowledge(&self, alert: u64) -> Result<(), OperatorError> {
        self.give(Command::Acknowledge { alert }).await
    }

    /// Makes this node master, where no change set can be lost by that. A master that waits for its peer after a restart
    /// begins to serve; on a master that serves nothing changes.
    ///
    /// ```no_run
    /// # async fn example(node: &shadowpair::Node) -> Result<(), shadowpair::OperatorError> {
    /// use shadowpair::OperatorError;
    /// match node.operator().take_over().await {
    ///     Err(OperatorError::Loss { missing }) => println!("these would be lost: {missing:?}"),
    ///     other => other?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`OperatorError::Loss`] where change sets would or could be lost, [`OperatorError::Incomplete`] where the copy is not
    /// complete. With a witness also [`OperatorError::LeaseHeld`], [`OperatorError::WitnessUnreachable`] and
    /// [`OperatorError::InDoubt`]. And as of [`Operator::enable`].
    pub async fn take_over(&self) -> Result<(), OperatorError> {
        self.give(Command::TakeOver).await
    }

    /// Makes this node master, **even if change sets are lost by that**: those that this node never received, and all that
    /// an incomplete copy lacks. What the former master alone had goes to its quarantine if it ever returns.
    ///
    /// # Errors
    /// [`OperatorError::Incomplete`] where there is no copy at all. With a witness also [`OperatorError::LeaseHeld`],
    /// [`OperatorError::WitnessUnreachable`] and [`OperatorError::InDoubt`]. And as of [`Operator::enable`].
    pub async fn take_over_accepting_loss(&self) -> Result<(), OperatorError> {
        self.give(Command::TakeOverAcceptingLoss).await
    }

    /// Makes the shadow master and the master shadow, without loss. Either node takes it.
    ///
    /// Commits wait while the shadow gets what it lacks, at most [`Timeouts::sync`](crate::Timeouts::sync). Then the master lets go,
    /// and the shadow serves. Commits that waited until then end with [`CommitError::NotMaster`](crate::CommitError::NotMaster), which
    /// names the new master; none of them is in the log. Given on the master, it returns when that node is the shadow; given on the
    /// shadow, when that node serves. A planned switch does not count for the hold-down.
    ///
    /// Where a step fails, the master goes on, and the error says why.
    ///
    /// ```no_run
    /// # async fn example(node: &shadowpair::Node) -> Result<(), shadowpair::OperatorError> {
    /// use shadowpair::OperatorError;
    /// match node.operator().switch_roles().await {
    ///     Err(OperatorError::NotInSync) => println!("not yet: the shadow lacks something"),
    ///     other => other?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`OperatorError::NoPeer`], [`OperatorError::NotInSync`], [`OperatorError::Held`], [`OperatorError::Paused`],
    /// [`OperatorError::SwitchUnderWay`], [`OperatorError::PeerTooOld`], [`OperatorError::NotMaster`] on a master that does not serve,
    /// [`OperatorError::Disk`], [`OperatorError::WitnessUnreachable`], [`OperatorError::CalledOff`], [`OperatorError::Stopped`]: the
    /// roles are as before. [`OperatorError::InDoubt`]: the witness, or the master, did not say what became of it.
    pub async fn switch_roles(&self) -> Result<(), OperatorError> {
        self.give(Command::SwitchRoles).await
    }

    /// Pauses automatic failover of the pair: neither node takes over by itself until [`Operator::resume`]. Both nodes remember it,
    /// also over restarts. Where the link is down it holds here, and reaches the peer when the link comes; of two words that neither
    /// node knew of, the later one holds, and `pause` where neither is later. A master that stops hands over nothing meanwhile.
    ///
    /// # Errors
    /// As of [`Operator::enable`].
    pub async fn pause(&self) -> Result<(), OperatorError> {
        self.give(Command::Pause(true)).await
    }

    /// Lets automatic failover go on after [`Operator::pause`], on both nodes.
    ///
    /// # Errors
    /// As of [`Operator::enable`].
    pub async fn resume(&self) -> Result<(), OperatorError> {
        self.give(Command::Pause(false)).await
    }

    /// Freezes the configuration of the pair: commits end with [`CommitError::Frozen`](crate::CommitError::Frozen) until
    /// [`Operator::unfreeze`], and all else goes on. Both nodes remember it, as with [`Operator::pause`], so it holds after a
    /// takeover and after a switch of roles too.
    ///
    /// # Errors
    /// As of [`Operator::enable`].
    pub async fn freeze(&self) -> Result<(), OperatorError> {
        self.give(Command::Freeze(true)).await
    }

    /// Lets the configuration be changed again after [`Operator::freeze`].
    ///
    /// # Errors
    /// As of [`Operator::enable`].
    pub async fn unfreeze(&self) -> Result<(), OperatorError> {
        self.give(Command::Freeze(false)).await
    }

    /// Changes whether commits wait for the shadow, until this node's next start: that takes
    /// [`Options::replication`](crate::Options::replication) again. Change sets under way may end in either way. Given on
    /// both nodes, it also holds after a takeover.
    ///
    /// # Errors
    /// [`OperatorError::Overloaded`] where a later call replaced this one before it was in force;
    /// [`OperatorError::WitnessUnreachable`], [`OperatorError::Disk`], [`OperatorError::Stopped`].
    pub async fn replicate(&self, replication: Replication) -> Result<(), OperatorError> {
        self.give(Command::Replicate(replication)).await
    }

    /// Gives this node a new key and certificate, and returns the fingerprints. The node keeps its id.
    ///
    /// The next key is made, the peer is told of it over the live link and permits both, and only then the old one goes; the link
    /// comes anew with the new one, and the peer forgets the old one. Where the peer is away, this returns once the next key is made
    /// ([`OwnKeys::next`]), and the rest follows when the peer is back, also after restarts. Join tokens that name the old key are worth
    /// nothing any more. A node does the same by itself [`CERTIFICATE_RENEW_DAYS`](crate::limits::CERTIFICATE_RENEW_DAYS) (90) days
    /// before its certificate ends.
    ///
    /// After a suspected theft of the key: whoever has it *is* this node until the peer has seen the new key. With the peer connected
    /// that takes a round trip.
    ///
    /// ```no_run
    /// # async fn example(node: &shadowpair::Node) -> Result<(), shadowpair::OperatorError> {
    /// let keys = node.operator().rotate().await?;
    /// match keys.next {
    ///     None => println!("the key is {} now", keys.current),
    ///     Some(next) => println!("{next} follows when the peer is back"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`OperatorError::RotationUnderWay`], [`OperatorError::PeerTooOld`], [`OperatorError::DiskFull`], [`OperatorError::Disk`],
    /// [`OperatorError::Stopped`]. The key in use stays.
    pub async fn rotate(&self) -> Result<OwnKeys, OperatorError> {
        let mut status = self.shared.status.clone();
        let before = status.borrow().keys;
        self.give(Command::Rotate).await?;
        // The answer may come before the status of the same turn.
        let is_told = |keys: &OwnKeys| keys.current == self.shared.tls.key() && *keys != before;
        match status.wait_for(|status| is_told(&status.keys)).await {
            Ok(status) => Ok(status.keys),
            Err(_) => Err(OperatorError::Stopped),
        }
    }

    /// The history of what is visible now: which positions belong to it. It shows what became of a change set
    /// [in doubt](crate::CommitError::InDoubt).
    ///
    /// ```no_run
    /// # async fn example(node: &shadowpair::Node, changes: shadowpair::ChangeSet) {
    /// use shadowpair::CommitError;
    /// if let Err(CommitError::InDoubt { revision }) = node.config().commit(changes).await {
    ///     // Later, when the node serves again or follows the master that does:
    ///     let head = node.config().snapshot().revision();
    ///     match node.operator().history().contains(head, revision) {
    ///         true => println!("{revision} stays"),
    ///         false if head < revision => println!("{revision} is still in doubt"),
    ///         false => println!("{revision} is gone: it may be committed again"),
    ///     }
    /// }
    /// # }
    /// ```
    pub fn history(&self) -> History {
        self.shared.reader.snapshot().history()
    }

    async fn give(&self, command: Command) -> Result<(), OperatorError> {
        match self.shared.command(command).await {
            Some(answer) => answer.map_err(OperatorError::from),
            None => Err(OperatorError::Stopped),
        }
    }
}

impl From<CommandRefusal> for OperatorError {
    fn from(refusal: CommandRefusal) -> Self {
        match refusal {
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
            CommandRefusal::NotInSync => Self::NotInSync,
            CommandRefusal::Held => Self::Held,
            CommandRefusal::Paused => Self::Paused,
            CommandRefusal::SwitchUnderWay => Self::SwitchUnderWay,
            CommandRefusal::RotationUnderWay => Self::RotationUnderWay,
            CommandRefusal::PeerTooOld => Self::PeerTooOld,
            CommandRefusal::CalledOff { why } => Self::CalledOff { why },
        }
    }
}
