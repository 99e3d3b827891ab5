//! What the handles of a node share with its driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::config::Notice;
use super::events::NodeEvent;
use super::mastership::Reign;
use super::persist::StoreCell;
use super::seam::Environment;
use super::status::Status;
use crate::model::limits::{COMMIT_QUEUE_BYTES_MAX, COMMIT_QUEUE_MAX};
use crate::model::{ChangeSet, NodeId};
use crate::protocol::engine::{Command, CommandAnswer, CommitAnswer};
use crate::store::Reader;

/// Everything a handle needs. It does not keep the node running.
pub struct Shared {
    pub environment: Environment,
    pub node: NodeId,
    pub reader: Reader,
    pub store: StoreCell,
    pub callers: mpsc::Sender<Request>,
    pub queue: Arc<Queue>,
    pub reign: Arc<Reign>,
    pub status: watch::Receiver<Arc<Status>>,
    pub events: broadcast::Sender<NodeEvent>,
    pub notices: broadcast::Sender<Notice>,
    pub stopped: watch::Receiver<bool>,
}

/// What a caller wants of the driver.
pub enum Request {
    /// Commit this change set, whose bounds are checked.
    Commit { changes: ChangeSet, place: Place, answer: oneshot::Sender<CommitAnswer> },
    /// Carry out an operator's command.
    Command { command: Command, answer: oneshot::Sender<CommandAnswer> },
    /// The store failed under a write that the engine does not know of.
    Trouble { reason: String },
}

impl Shared {
    /// Whether the driver is gone.
    pub fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Returns when the driver is gone.
    pub async fn until_stopped(&self) {
        // An error means that the driver was dropped with its runtime: gone as well.
        drop(self.stopped.clone().wait_for(|stopped| *stopped).await);
    }

    /// Asks the driver; `None` when it is stopped.
    pub async fn command(&self, command: Command) -> Option<CommandAnswer> {
        let (answer, answered) = oneshot::channel();
        self.callers.send(Request::Command { command, answer }).await.ok()?;
        answered.await.ok()
    }
}

/// Bounds what waits to be committed, over all callers, in number and bytes.
#[derive(Debug, Default)]
pub struct Queue {
    change_sets: AtomicUsize,
    bytes: AtomicUsize,
}

/// One change set's place in the queue, given back when it is answered.
#[derive(Debug)]
pub struct Place {
    queue: Arc<Queue>,
    bytes: usize,
}

impl Queue {
    /// A place for this many bytes, or `None` when too much waits.
    pub fn enter(self: &Arc<Self>, bytes: usize) -> Option<Place> {
        let change_sets = self.change_sets.fetch_add(1, SeqCst) + 1;
        let total = self.bytes.fetch_add(bytes, SeqCst) + bytes;
        // Dropped again where it is refused, which takes both back.
        let place = Place { queue: Arc::clone(self), bytes };
        (change_sets <= COMMIT_QUEUE_MAX && total <= COMMIT_QUEUE_BYTES_MAX).then_some(place)
    }
}

impl Place {
    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.change_sets.fetch_sub(1, SeqCst);
        self.queue.bytes.fetch_sub(self.bytes, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits::CHANGE_SET_BYTES_MAX;

    #[test]
    fn the_queue_is_bounded_in_number_and_bytes() {
        let queue = Arc::new(Queue::default());
        let many: Vec<_> = (0..COMMIT_QUEUE_MAX).map(|_| queue.enter(1).expect("room")).collect();
        assert!(queue.enter(1).is_none());
        drop(many);
        let large: Vec<_> = (0..2).map(|_| queue.enter(CHANGE_SET_BYTES_MAX).expect("room")).collect();
        assert!(queue.enter(1).is_none());
        drop(large);
        assert_eq!((queue.change_sets.load(SeqCst), queue.bytes.load(SeqCst)), (0, 0));
    }
}
