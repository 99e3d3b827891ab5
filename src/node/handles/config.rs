use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::shared::{Request, Shared};
use super::watch::Watch;
use crate::model::{ChangeSet, Conflict, Limit, Revision};
pub use crate::protocol::engine::Committed;
use crate::protocol::engine::{CommitAnswer, CommitRefusal};
use crate::store::Snapshot;

/// The replicated configuration. Both roles read it, the master writes it.
///
/// It does not keep the node running. After the node has stopped, its last state can still be read.
#[derive(Clone)]
pub struct Config {
    shared: Arc<Shared>,
}

impl Config {
    pub(in crate::node) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// What is visible now: exactly one revision. It waits neither for the disk nor for the network; reading from the
    /// snapshot may read the disk.
    ///
    /// ```no_run
    /// # fn example(config: &shadowpair::Config) -> Result<(), shadowpair::ReadError> {
    /// let snapshot = config.snapshot();
    /// let upstream = snapshot.get("routes/api")?;
    /// for entry in snapshot.scan("routes/") {
    ///     println!("{:?}", entry?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn snapshot(&self) -> Snapshot {
        self.shared.reader.snapshot()
    }

    /// Commits a change set: all of its changes or none. Returns when it is durable on this node and, with
    /// [`Replication::Synchronous`](crate::Replication::Synchronous), on the shadow or known to be done without it.
    ///
    /// A change set is bounded by [`CHANGES_MAX`](crate::limits::CHANGES_MAX) changes and
    /// [`CHANGE_SET_BYTES_MAX`](crate::limits::CHANGE_SET_BYTES_MAX) bytes. Dropping the future does not undo it.
    ///
    /// ```no_run
    /// # async fn example(config: &shadowpair::Config) -> Result<(), shadowpair::CommitError> {
    /// use shadowpair::ChangeSet;
    /// let changes = ChangeSet::new().put("routes/api", "10.0.0.7:80").delete("routes/old");
    /// let committed = config.commit(changes).await?;
    /// println!("{} is on both nodes: {}", committed.revision, committed.replicated);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CommitError`]. Nothing remains of a change set that was refused; of one that is
    /// [in doubt](CommitError::InDoubt), the log may keep it.
    pub async fn commit(&self, changes: ChangeSet) -> Result<Committed, CommitError> {
        self.try_commit(changes)?.committed().await
    }

    /// Hands a change set over without waiting. Change sets are written in the order of these calls. [`Pending`] tells
    /// what became of it; dropping that changes nothing.
    ///
    /// ```no_run
    /// # async fn example(config: &shadowpair::Config) -> Result<(), shadowpair::CommitError> {
    /// use shadowpair::ChangeSet;
    /// let first = config.try_commit(ChangeSet::new().put("a", "1"))?;
    /// let second = config.try_commit(ChangeSet::new().put("b", "2"))?;
    /// first.committed().await?;
    /// second.committed().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CommitError::Invalid`] where a bound is broken, [`CommitError::Overloaded`] where
    /// [`COMMIT_QUEUE_MAX`](crate::limits::COMMIT_QUEUE_MAX) change sets or
    /// [`COMMIT_QUEUE_BYTES_MAX`](crate::limits::COMMIT_QUEUE_BYTES_MAX) bytes wait already, and
    /// [`CommitError::Stopped`]. All others come from [`Pending::committed`].
    pub fn try_commit(&self, changes: ChangeSet) -> Result<Pending, CommitError> {
        changes.check()?;
        if self.shared.is_stopped() {
            return Err(CommitError::Stopped);
        }
        let permit = self.shared.admission.admit(changes.bytes()).ok_or(CommitError::Overloaded)?;
        let (answer, answered) = oneshot::channel();
        match self.shared.callers.try_send(Request::Commit { changes, permit, answer }) {
            Ok(()) => Ok(Pending { answered }),
            Err(TrySendError::Full(_)) => Err(CommitError::Overloaded),
            Err(TrySendError::Closed(_)) => Err(CommitError::Stopped),
        }
    }

    /// The changes of keys with this prefix; the empty prefix means all keys. `from` is the revision of a snapshot: the changes
    /// after it are told, and where that is not possible any more the first thing that is told is [`Watched::Lagged`](crate::Watched::Lagged). Without
    /// it, the changes from now on. See [`Watch`], and [`Config::typed`] for changes with their values.
    ///
    /// ```no_run
    /// # async fn example(config: &shadowpair::Config) {
    /// use shadowpair::Watched;
    /// let mut routes = config.snapshot();
    /// let mut watch = config.watch("routes/", Some(routes.revision()));
    /// while let Some(change) = watch.next().await {
    ///     match change {
    ///         Watched::Changed { revision, keys } => println!("{revision}: {keys:?}"),
    ///         _ => println!("something was missed"),
    ///     }
    ///     routes = config.snapshot();
    /// }
    /// # drop(routes);
    /// # }
    /// ```
    pub fn watch(&self, prefix: &str, from: Option<Revision>) -> Watch {
        // Subscribes first: a node that stops in between is then heard to stop, or found stopped.
        let feed = self.shared.watches.subscribe();
        let feed = (!self.shared.is_stopped()).then_some(feed);
        // What became visible before the feed began is not in it.
        let missed = from.is_some_and(|from| from != self.shared.reader.snapshot().revision());
        Watch::new(feed, prefix, from, missed)
    }
}

/// A change set that was handed over and is not answered yet. Dropping it changes nothing.
#[derive(Debug)]
#[must_use = "only this tells whether the change set was committed"]
pub struct Pending {
    answered: oneshot::Receiver<CommitAnswer>,
}

impl Pending {
    /// Waits until the change set is committed or refused, as [`Config::commit`] does.
    ///
    /// # Errors
    /// [`CommitError`]. Nothing remains of a change set that was refused; of one that is
    /// [in doubt](CommitError::InDoubt), the log may keep it.
    pub async fn committed(self) -> Result<Committed, CommitError> {
        // No answer means that the driver was dropped with its runtime.
        self.answered.await.unwrap_or(Err(CommitRefusal::Stopped)).map_err(CommitError::from)
    }
}

/// Why a change set was not committed. Nothing remains of it, but for [`CommitError::InDoubt`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// This node is not master. Nothing changed. Commit on the master, or wait for [`Node::mastership`](crate::Node::mastership).
    #[error("this node is not master{}", master.as_ref().map(|at| format!("; the master is dialled at {at}")).unwrap_or_default())]
    NotMaster {
        /// Where the master is dialled, if known.
        master: Option<String>,
    },
    /// A guard did not hold. Nothing changed. Take a snapshot, and decide again.
    #[error(transparent)]
    Guard(#[from] Conflict),
    /// The change set breaks a bound. Nothing changed. Make it smaller, or several of it.
    #[error(transparent)]
    Invalid(#[from] Limit),
    /// Too many change sets wait. Nothing changed. Try again later.
    #[error("too many change sets wait; nothing was changed: try again later")]
    Overloaded,
    /// Earlier change sets are in doubt, since neither the shadow nor the witness confirms them. Nothing changed. Try again
    /// when either answers: no change set is accepted before.
    #[error("earlier change sets are in doubt; nothing was changed: try again when the shadow or the witness answers")]
    Blocked,
    /// An operator has frozen the pair. Nothing changed. [`Operator::unfreeze`](crate::Operator::unfreeze) ends that.
    #[error("the pair is frozen by an operator; nothing was changed: unfreeze it first")]
    Frozen,
    /// The change set is in the log, and it is not known yet whether it stays. Do not repeat it before
    /// [`Operator::history`](crate::Operator::history) and a [`Config::snapshot`] show whether it is there.
    #[error(
        "the change set is in the log as {revision}, and whether it stays is not known: read the configuration or the history before you repeat it"
    )]
    InDoubt {
        /// As this revision.
        revision: Revision,
    },
    /// The disk is full. Nothing changed. Make room, and try again.
    #[error("the disk is full; nothing was changed: make room")]
    DiskFull,
    /// The disk failed. Of a change set nothing remains. A local entry may have been written: read it before writing it again.
    #[error("the disk failed: {0}")]
    Disk(String),
    /// The node is stopped. Nothing changed, unless the runtime was dropped while the change set waited: then it may have been
    /// written, and the next start shows it.
    #[error("the node is stopped")]
    Stopped,
}

impl From<CommitRefusal> for CommitError {
    fn from(refusal: CommitRefusal) -> Self {
        match refusal {
            CommitRefusal::NotMaster { master } => Self::NotMaster { master },
            CommitRefusal::Guard(conflict) => Self::Guard(conflict),
            CommitRefusal::InDoubt { revision } => Self::InDoubt { revision },
            CommitRefusal::DiskFull => Self::DiskFull,
            CommitRefusal::Stopped => Self::Stopped,
            CommitRefusal::Blocked => Self::Blocked,
            CommitRefusal::Frozen => Self::Frozen,
        }
    }
}
