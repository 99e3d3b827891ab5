//! What the node tells its host: events, watches, status, mastership.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};

use super::config;
use super::events::NodeEvent;
use super::mastership::Reign;
use super::status::Status;
use crate::model::limits::{EVENTS_MAX, WATCH_MAX};
use crate::model::{Epoch, Key, Revision};
use crate::protocol::alerts::Severity;
use crate::protocol::engine::{AlertChange, Authority, EngineStatus, Moment, Notice};
use crate::witness::Witness;

/// All that a host can listen to, written by the driver alone. Nothing here ever waits for a reader.
pub struct Voice {
    pub events: broadcast::Sender<NodeEvent>,
    pub notices: broadcast::Sender<config::Notice>,
    pub status: watch::Sender<Arc<Status>>,
    pub reign: Arc<Reign>,
    pub stopped: watch::Sender<bool>,
    /// Tenures so far.
    tenures: u64,
    /// Why role or serving changed last.
    reason: &'static str,
}

/// Parts of [`Status`] that the engine does not know.
#[derive(Clone, Debug)]
pub struct Place {
    pub name: String,
    pub listen: SocketAddr,
    pub advertise: String,
    /// The kind of its witness.
    pub witness: Option<&'static str>,
}

impl Place {
    pub fn new(name: &str, listen: SocketAddr, advertise: &str, witness: Option<&dyn Witness>) -> Self {
        let witness = witness.map(Witness::kind);
        Self { name: name.into(), listen, advertise: advertise.into(), witness }
    }

    pub fn status(&self, engine: EngineStatus, at: Moment) -> Arc<Status> {
        let Self { name, listen, advertise, witness } = self.clone();
        Arc::new(Status { engine, name, listen, advertise, witness, written_us: at.0 })
    }
}

impl Voice {
    pub fn new(status: Arc<Status>) -> Self {
        let witnessed = status.witness.is_some();
        Self {
            events: broadcast::Sender::new(EVENTS_MAX),
            notices: broadcast::Sender::new(WATCH_MAX),
            status: watch::Sender::new(status),
            reign: Arc::new(Reign::new(witnessed)),
            stopped: watch::Sender::new(false),
            tenures: 0,
            reason: "first_start",
        }
    }

    /// Mastership as the engine sees it now, before any of its other actions is carried out: nobody sees an answer under
    /// a cover that is gone.
    pub fn reign(&mut self, cover: Authority, epoch: Epoch, reason: Option<&'static str>) {
        self.reason = reason.unwrap_or(self.reason);
        self.reign.update(cover, epoch, self.reason, &mut self.tenures);
    }

    /// Revisions became visible.
    pub fn changed(&self, revisions: Vec<(Revision, Vec<Key>)>) {
        for (revision, keys) in revisions {
            self.event(NodeEvent::Changed { revision, keys: keys.len() as u64 });
            if self.notices.receiver_count() > 0 && !keys.is_empty() {
                self.notice(config::Notice::Changed { revision, keys: keys.into() });
            }
        }
    }

    /// The whole copy was replaced.
    pub fn replaced(&self, revision: Revision, entries: u64) {
        self.event(NodeEvent::Changed { revision, keys: entries });
        self.notice(config::Notice::Replaced);
    }

    /// What the engine wants the host to know.
    pub fn say(&self, notice: Notice, peer: Option<String>) {
        self.event(match notice {
            Notice::Role { role, serving, epoch, reason } => {
                let reason = reason.as_str();
                tracing::info!(?role, serving, %epoch, reason, "role");
                NodeEvent::Role { role, serving, epoch, reason }
            }
            Notice::Link { state, reason } => {
                tracing::info!(?state, reason, "link");
                NodeEvent::Link { state, peer, reason }
            }
            Notice::Synced { how, position, entries, bytes, took_us } => {
                let (revision, took) = (position.revision, Duration::from_micros(took_us));
                tracing::info!(?how, %revision, entries, bytes, ?took, "synced");
                NodeEvent::Synced { how, revision, entries, bytes, took }
            }
            Notice::Alert { change, alert } => {
                log_alert(change, &alert);
                NodeEvent::Alert { change, alert }
            }
            Notice::Refused { kind, reason } => {
                tracing::warn!(kind = kind.as_str(), reason, "refused");
                NodeEvent::Refused { kind: kind.as_str(), reason }
            }
        });
    }

    /// Status as it is now; readers wake only where something changed that does not change all the time.
    pub fn publish(&self, status: Arc<Status>) {
        self.status.send_if_modified(|current| {
            let news = !current.says_the_same(&status);
            *current = status;
            news
        });
    }

    /// The last word. Said once.
    pub fn stop(&self) {
        self.reign.stop();
        if !self.stopped.send_replace(true) {
            self.event(NodeEvent::Stopped);
            self.notice(config::Notice::Stopped);
            tracing::info!("stopped");
        }
    }

    fn event(&self, event: NodeEvent) {
        // An error means that nobody listens.
        let _ = self.events.send(event);
    }

    fn notice(&self, notice: config::Notice) {
        let _ = self.notices.send(notice);
    }
}

/// A count that grows is not worth a line of its own above `debug`.
fn log_alert(change: AlertChange, alert: &crate::protocol::alerts::Alert) {
    let (kind, subject, message, count) = (alert.kind, &alert.subject, &alert.message, alert.count);
    match (change, alert.severity) {
        (AlertChange::Updated, _) => tracing::debug!(?kind, subject, count, "{message}"),
        (AlertChange::Cleared, _) => tracing::info!(?kind, subject, count, "alert cleared"),
        (AlertChange::Raised, Severity::Error) => tracing::error!(?kind, subject, "{message}"),
        (AlertChange::Raised, Severity::Warning) => tracing::warn!(?kind, subject, "{message}"),
        (AlertChange::Raised, Severity::Info) => tracing::info!(?kind, subject, "{message}"),
    }
}
