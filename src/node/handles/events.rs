use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::model::{Epoch, Revision};
use crate::protocol::alerts::Alert;
use crate::protocol::engine::{AlertChange, LinkState, RepairKind, RoleReason};
use crate::protocol::wire::{RefusalKind, Role};

/// A bounded stream of events. The node never waits for a reader: one that falls more than
/// [`EVENTS_MAX`](crate::limits::EVENTS_MAX) events behind misses the oldest and is told how many. Dropping it ends it.
///
/// ```no_run
/// # async fn example(node: &shadowpair::Node) {
/// use shadowpair::NodeEvent;
/// let mut events = node.events();
/// while let Some(event) = events.next().await {
///     match event {
///         NodeEvent::Alert { change, alert } => println!("{change:?}: {}", alert.message),
///         NodeEvent::Missed(count) => println!("{count} events were missed"),
///         _ => {}
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Events {
    feed: broadcast::Receiver<Arc<NodeEvent>>,
    state: Subscription,
}

/// How far a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subscription {
    /// More may come.
    Open,
    /// The node had stopped before this subscribed: the stream tells that once and ends.
    Late,
    /// The end was told.
    Ended,
}

/// What happened to a node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NodeEvent {
    /// Role or serving changed.
    Role {
        /// Role now.
        role: Role,
        /// Whether the node holds mastership.
        serving: bool,
        /// Its epoch.
        epoch: Epoch,
        /// Why.
        reason: RoleReason,
    },
    /// The link changed.
    Link {
        /// To this state.
        state: LinkState,
        /// Where the peer is dialled.
        peer: Option<String>,
        /// Why.
        reason: String,
    },
    /// Both nodes are at the same position.
    Synced {
        /// By which kind of push.
        how: RepairKind,
        /// At this revision.
        revision: Revision,
        /// Entries transferred.
        entries: u64,
        /// Bytes transferred.
        bytes: u64,
        /// How long it took.
        took: Duration,
    },
    /// A change set became visible, or the whole copy was replaced.
    Changed {
        /// As this revision.
        revision: Revision,
        /// Number of keys; of entries where the whole copy was replaced.
        keys: u64,
    },
    /// An alert changed.
    Alert {
        /// How.
        change: AlertChange,
        /// The alert as it is now.
        alert: Alert,
    },
    /// The peer refuses this node, or this node refuses the peer. An alert tells it for as long as it lasts.
    Refused {
        /// Why. Its `as_str` is the stable word.
        kind: RefusalKind,
        /// In a sentence.
        reason: String,
    },
    /// The reader was too slow and missed this many events.
    Missed(u64),
    /// The node has stopped. No event follows.
    Stopped,
}

impl Events {
    pub(in crate::node) fn new(feed: broadcast::Receiver<Arc<NodeEvent>>, stopped: bool) -> Self {
        Self { feed, state: if stopped { Subscription::Late } else { Subscription::Open } }
    }

    /// Waits for the next event. `None` after [`NodeEvent::Stopped`]. Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<NodeEvent> {
        match self.state {
            Subscription::Ended => return None,
            Subscription::Late if self.feed.is_empty() => {
                self.state = Subscription::Ended;
                return Some(NodeEvent::Stopped);
            }
            Subscription::Open | Subscription::Late => {}
        }
        let event = match self.feed.recv().await {
            Ok(event) => Arc::unwrap_or_clone(event),
            Err(RecvError::Lagged(missed)) => NodeEvent::Missed(missed),
            Err(RecvError::Closed) => NodeEvent::Stopped,
        };
        if let NodeEvent::Stopped = event {
            self.state = Subscription::Ended;
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_reader_is_told_what_it_missed_and_the_end_comes_once() {
        let feed = broadcast::Sender::new(2);
        let mut events = Events::new(feed.subscribe(), false);
        for seq in 1..=4 {
            let revision = Revision::new(Epoch::FIRST, seq);
            feed.send(Arc::new(NodeEvent::Changed { revision, keys: 1 })).unwrap();
        }
        assert!(matches!(events.next().await, Some(NodeEvent::Missed(2))));
        for seq in 3..=4 {
            let Some(NodeEvent::Changed { revision, .. }) = events.next().await else { panic!("a change") };
            assert_eq!(revision.seq, seq);
        }
        feed.send(Arc::new(NodeEvent::Stopped)).unwrap();
        assert!(matches!(events.next().await, Some(NodeEvent::Stopped)));
        assert!(events.next().await.is_none());
    }

    #[tokio::test]
    async fn who_subscribes_after_the_end_is_told_so() {
        let feed = broadcast::Sender::new(2);
        let mut events = Events::new(feed.subscribe(), true);
        assert!(matches!(events.next().await, Some(NodeEvent::Stopped)));
        assert!(events.next().await.is_none());
    }
}
