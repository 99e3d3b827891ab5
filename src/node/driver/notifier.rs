//! What the node tells its host: events, watches, status, mastership.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::auditor::Auditor;
use crate::model::limits::{EVENTS_MAX, WATCH_MAX};
use crate::model::{Epoch, Key, Revision};
use crate::node::environment::catch;
use crate::node::handles::events::NodeEvent;
use crate::node::handles::feed::Feed;
use crate::node::handles::mastership::MastershipState;
use crate::node::handles::status::Status;
use crate::node::handles::watch::WatchNotice;
use crate::protocol::alerts::Severity;
use crate::protocol::engine::{AlertChange, Authority, Notice, RoleReason};

/// Everything that a host can listen to. Only the driver writes to it, and it never waits for a reader.
pub struct Notifier {
    pub events: Feed<Arc<NodeEvent>>,
    pub watches: Feed<WatchNotice>,
    pub status: watch::Sender<Arc<Status>>,
    pub mastership: Arc<MastershipState>,
    pub stopped: watch::Sender<bool>,
    pub audit: Auditor,
    /// How often mastership was granted so far.
    grants: u64,
    /// Why role or serving changed last.
    reason: RoleReason,
}

impl Notifier {
    pub fn new(status: Arc<Status>, audit: Auditor) -> Self {
        let witnessed = status.witness.is_some();
        Self {
            events: Feed::new(EVENTS_MAX),
            watches: Feed::new(WATCH_MAX),
            status: watch::Sender::new(status),
            mastership: Arc::new(MastershipState::new(witnessed)),
            stopped: watch::Sender::new(false),
            audit,
            grants: 0,
            reason: RoleReason::FirstStart,
        }
    }

    /// Updates mastership. Called before any action is performed, so that nobody sees an answer under an authority that
    /// has ended.
    pub fn update_mastership(&mut self, authority: Authority, epoch: Epoch, reason: Option<RoleReason>) {
        self.reason = reason.unwrap_or(self.reason);
        self.mastership.update(authority, epoch, self.reason, &mut self.grants);
    }

    /// Revisions became visible.
    pub fn changed(&self, revisions: Vec<(Revision, Vec<Key>)>, entries: impl Fn() -> u64) {
        for (revision, keys) in revisions {
            if keys.is_empty() {
                // An import.
                self.replaced(revision, entries());
                continue;
            }
            self.publish_event(NodeEvent::Changed { revision, keys: keys.len() as u64 });
            if self.watches.has_readers() {
                self.tell_watches(WatchNotice::Changed { revision, keys: keys.into() });
            }
        }
    }

    /// The whole copy was replaced.
    pub fn replaced(&self, revision: Revision, entries: u64) {
        self.publish_event(NodeEvent::Changed { revision, keys: entries });
        self.tell_watches(WatchNotice::Replaced);
    }

    /// Tells the host what the engine wants it to know.
    pub fn notify(&self, notice: Notice, peer: Option<String>) {
        self.publish_event(match notice {
            Notice::Role { role, serving, epoch, reason } => {
                logged(|| tracing::info!(?role, serving, %epoch, %reason, "role"));
                NodeEvent::Role { role, serving, epoch, reason }
            }
            Notice::Link { state, reason } => {
                logged(|| tracing::info!(?state, reason, "link"));
                NodeEvent::Link { state, peer, reason }
            }
            Notice::Synced { how, position, entries, bytes, took_us } => {
                let (revision, took) = (position.revision, Duration::from_micros(took_us));
                logged(|| tracing::info!(?how, %revision, entries, bytes, ?took, "synced"));
                NodeEvent::Synced { how, revision, entries, bytes, took }
            }
            Notice::Alert { change, alert } => {
                log_alert(change, &alert);
                NodeEvent::Alert { change, alert }
            }
            Notice::Refused { kind, reason } => {
                logged(|| tracing::warn!(kind = kind.as_str(), reason, "refused"));
                NodeEvent::Refused { kind, reason }
            }
        });
    }

    /// Publishes the status. Readers wake only where more changed than ages and round trips.
    pub fn publish_status(&self, status: Arc<Status>) {
        self.status.send_if_modified(|current| {
            let news = !current.is_equivalent(&status);
            *current = status;
            news
        });
    }

    /// Tells everybody, once, that the node has stopped.
    pub fn stop(&self) {
        self.mastership.stop();
        if !self.stopped.send_replace(true) {
            self.publish_event(NodeEvent::Stopped);
            self.tell_watches(WatchNotice::Stopped);
            logged(|| tracing::info!("stopped"));
        }
    }

    fn publish_event(&self, event: NodeEvent) {
        self.events.send(Arc::new(event));
    }

    fn tell_watches(&self, notice: WatchNotice) {
        self.watches.send(notice);
    }
}

/// An alert whose count grows is logged at `debug` only.
fn log_alert(change: AlertChange, alert: &crate::protocol::alerts::Alert) {
    let (kind, subject, message, count) = (alert.kind, &alert.subject, &alert.message, alert.count);
    match (change, alert.severity) {
        (AlertChange::Updated, _) => logged(|| tracing::debug!(?kind, subject, count, "{message}")),
        (AlertChange::Cleared, _) => logged(|| tracing::info!(?kind, subject, count, "alert cleared")),
        (AlertChange::Raised, Severity::Error) => logged(|| tracing::error!(?kind, subject, "{message}")),
        (AlertChange::Raised, Severity::Warning) => logged(|| tracing::warn!(?kind, subject, "{message}")),
        (AlertChange::Raised, Severity::Info) => logged(|| tracing::info!(?kind, subject, "{message}")),
    }
}

/// Writes a line of the log. A host's subscriber that panics, as one does that prints to a full disk, must not end the node.
pub fn logged(line: impl FnOnce()) {
    let _ = catch(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_that_panics_ends_nothing() {
        logged(|| panic!("standard error is full"));
    }
}
