use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::shared::{Request, Shared};
use crate::model::{ChangeSet, Conflict, Key, Limit, Revision};
pub use crate::protocol::engine::Committed;
use crate::protocol::engine::{CommitAnswer, CommitRefusal};
use crate::store::Snapshot;

/// The replicated configuration: read in either role, written on the master. It does not keep the node running;
/// after the node's end it can still be read.
#[derive(Clone)]
pub struct Config {
    shared: Arc<Shared>,
}

impl Config {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// What is visible now: one revision, whole. Never blocks, never waits for the network.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.reader.snapshot()
    }

    /// Commits a change set. Once accepted it is not undone by dropping the future.
    ///
    /// # Errors
    /// [`CommitError`]; nothing remains of a refused change set.
    pub async fn commit(&self, changes: ChangeSet) -> Result<Committed, CommitError> {
        self.try_commit(changes)?.committed().await
    }

    /// Hands a change set over without waiting: change sets are written in the order of these calls. Nothing needs to
    /// be awaited for that; [`Pending`] tells the end.
    ///
    /// # Errors
    /// [`CommitError::Invalid`], [`CommitError::Overloaded`] and [`CommitError::Stopped`] are known at once; the rest
    /// comes from [`Pending::committed`].
    pub fn try_commit(&self, changes: ChangeSet) -> Result<Pending, CommitError> {
        changes.check()?;
        if self.shared.is_stopped() {
            return Err(CommitError::Stopped);
        }
        let place = self.shared.queue.enter(changes.bytes()).ok_or(CommitError::Overloaded)?;
        let (answer, answered) = oneshot::channel();
        match self.shared.callers.try_send(Request::Commit { changes, place, answer }) {
            Ok(()) => Ok(Pending { answered }),
            Err(TrySendError::Full(_)) => Err(CommitError::Overloaded),
            Err(TrySendError::Closed(_)) => Err(CommitError::Stopped),
        }
    }

    /// Changes of keys with this prefix from now on; the empty prefix means all.
    pub fn watch(&self, prefix: &str) -> Watch {
        // Subscribed first: a node that stops in between is then heard to stop, or found stopped.
        let feed = self.shared.notices.subscribe();
        let feed = (!self.shared.is_stopped()).then_some(feed);
        Watch { feed, prefix: prefix.into() }
    }
}

/// A change set on its way.
#[derive(Debug)]
pub struct Pending {
    answered: oneshot::Receiver<CommitAnswer>,
}

impl Pending {
    /// Waits for the end.
    ///
    /// # Errors
    /// [`CommitError`]; nothing remains of a refused change set.
    pub async fn committed(self) -> Result<Committed, CommitError> {
        // Without an answer the driver was dropped with its runtime.
        self.answered.await.unwrap_or(Err(CommitRefusal::Stopped)).map_err(CommitError::from)
    }
}

/// Why a change set was not committed. Nothing remains of it, but for [`CommitError::InDoubt`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// This node is not master.
    #[error("this node is not master{}", master.as_ref().map(|at| format!("; the master is dialled at {at}")).unwrap_or_default())]
    NotMaster {
        /// Where the master is dialled, if known.
        master: Option<String>,
    },
    /// A guard did not hold.
    #[error("{0}")]
    Guard(#[from] Conflict),
    /// A bound is broken.
    #[error("{0}")]
    Invalid(#[from] Limit),
    /// Too many change sets wait. Try again later.
    #[error("too many change sets wait; try again later")]
    Overloaded,
    /// Earlier change sets are in doubt, since neither the shadow nor the witness confirms. Nothing is taken until they do.
    #[error("earlier change sets are in doubt, and nothing is taken until the shadow or the witness answers for them")]
    Frozen,
    /// It reached the log; whether it stays is not known yet. Look at the history later.
    #[error("the change set reached the log as {revision}, but what becomes of it is not known")]
    InDoubt {
        /// As this revision.
        revision: Revision,
    },
    /// The disk is full. Nothing changed.
    #[error("the disk is full; nothing was changed")]
    DiskFull,
    /// The disk failed. Nothing changed; of a local entry, look whether it is there.
    #[error("the disk failed: {0}")]
    Disk(String),
    /// The node is stopped. One that stops as a process does (its runtime is dropped) leaves open whether a change
    /// set that was accepted before was written.
    #[error("the node is stopped")]
    Stopped,
}

impl From<CommitRefusal> for CommitError {
    fn from(refused: CommitRefusal) -> Self {
        match refused {
            CommitRefusal::NotMaster { master } => Self::NotMaster { master },
            CommitRefusal::Guard(conflict) => Self::Guard(conflict),
            CommitRefusal::Overloaded => Self::Overloaded,
            CommitRefusal::InDoubt { revision } => Self::InDoubt { revision },
            CommitRefusal::DiskFull => Self::DiskFull,
            CommitRefusal::Stopped => Self::Stopped,
            CommitRefusal::Frozen => Self::Frozen,
        }
    }
}

/// Changes, as they become visible. A watch that is not read costs at most
/// [`WATCH_MAX`](crate::limits::WATCH_MAX) notices and never makes the node wait.
#[derive(Debug)]
pub struct Watch {
    feed: Option<broadcast::Receiver<Notice>>,
    prefix: Box<str>,
}

/// What a [`Watch`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Watched {
    /// These keys changed.
    Changed {
        /// In this revision.
        revision: Revision,
        /// Those with the prefix; never empty.
        keys: Arc<[Key]>,
    },
    /// Changes were missed, or the whole copy was replaced: take a snapshot again.
    Lagged,
}

/// What the driver tells all watches.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A revision became visible.
    Changed { revision: Revision, keys: Arc<[Key]> },
    /// The whole copy was replaced.
    Replaced,
    /// The node stopped.
    Stopped,
}

impl Watch {
    /// The next change. `None` when the node stopped. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Watched> {
        loop {
            let notice = match self.feed.as_mut()?.recv().await {
                Ok(notice) => notice,
                Err(RecvError::Lagged(_)) => Notice::Replaced,
                Err(RecvError::Closed) => Notice::Stopped,
            };
            match notice {
                Notice::Changed { revision, keys } => {
                    if let Some(keys) = self.chosen(keys) {
                        return Some(Watched::Changed { revision, keys });
                    }
                }
                Notice::Replaced => return Some(Watched::Lagged),
                Notice::Stopped => self.feed = None,
            }
        }
    }

    /// Those with the prefix, shared where that is all of them.
    fn chosen(&self, keys: Arc<[Key]>) -> Option<Arc<[Key]>> {
        let ours = |key: &&Key| key.as_str().starts_with(&*self.prefix);
        match keys.iter().filter(ours).count() {
            0 => None,
            all if all == keys.len() => Some(keys),
            _ => Some(keys.iter().filter(ours).cloned().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Epoch;

    fn changed(seq: u64, keys: &[&str]) -> Notice {
        let keys = keys.iter().map(|key| Key::new(key).unwrap()).collect();
        Notice::Changed { revision: Revision::new(Epoch::FIRST, seq), keys }
    }

    #[tokio::test]
    async fn a_watch_shows_its_prefix_and_says_when_it_missed_something() {
        let feed = broadcast::Sender::new(4);
        let mut watch = Watch { feed: Some(feed.subscribe()), prefix: "a/".into() };
        feed.send(changed(1, &["b/1"])).unwrap();
        feed.send(changed(2, &["a/1", "b/1", "a/2"])).unwrap();
        let Some(Watched::Changed { revision, keys }) = watch.next().await else { panic!("a change") };
        assert_eq!((revision.seq, keys.len()), (2, 2));
        for seq in 3..9 {
            feed.send(changed(seq, &["a/1"])).unwrap();
        }
        assert_eq!(watch.next().await, Some(Watched::Lagged));
        for _ in 0..4 {
            assert!(matches!(watch.next().await, Some(Watched::Changed { .. })));
        }
        feed.send(Notice::Replaced).unwrap();
        assert_eq!(watch.next().await, Some(Watched::Lagged));
        feed.send(Notice::Stopped).unwrap();
        assert_eq!(watch.next().await, None);
        assert_eq!(watch.next().await, None);
    }
}
