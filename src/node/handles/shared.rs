//! What the handles of a node share with its driver.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::admission::{Admission, AdmissionPermit};
use super::events::NodeEvent;
use super::feed::Feed;
use super::mastership::MastershipState;
use super::status::Status;
use super::watch::WatchNotice;
use crate::identity::Tls;
use crate::model::{ChangeSet, NodeId};
use crate::node::environment::Environment;
use crate::node::offload::audit_entry::{Actor, AuditEntry, AuditWord};
use crate::node::offload::audit_log::AuditLog;
use crate::node::offload::store_executor::StoreExecutor;
use crate::protocol::engine::{Command, CommandAnswer, CommitAnswer};
use crate::protocol::wire::CarriedOutcome;
use crate::store::Reader;

/// Everything a handle needs. It does not keep the node running.
pub struct Shared {
    pub environment: Environment,
    pub node: NodeId,
    /// Tells which key this node shows.
    pub tls: Tls,
    /// Schema version of the host's data.
    pub schema: u32,
    pub reader: Reader,
    pub store: StoreExecutor,
    pub callers: mpsc::Sender<Request>,
    pub admission: Arc<Admission>,
    pub mastership: Arc<MastershipState>,
    pub status: watch::Receiver<Arc<Status>>,
    pub events: Feed<Arc<NodeEvent>>,
    pub watches: Feed<WatchNotice>,
    pub stopped: watch::Receiver<bool>,
    pub audit: AuditLog,
}

/// What a caller wants of the driver.
pub enum Request {
    /// Commit this change set, whose bounds are checked.
    Commit { changes: ChangeSet, permit: AdmissionPermit, answer: oneshot::Sender<CommitAnswer> },
    /// Execute an operator's command.
    Command { command: Command, answer: oneshot::Sender<CommandAnswer> },
    /// Carry this change set to the master, since this node is the shadow.
    Carry { changes: ChangeSet, answer: oneshot::Sender<CarriedOutcome> },
    /// The store failed under a write that the engine does not know of.
    StoreFailed { reason: String },
}

impl Shared {
    /// Whether the node has stopped.
    pub fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Returns when the node has stopped.
    pub async fn until_stopped(&self) {
        // An error means that the driver was dropped with its runtime.
        drop(self.stopped.clone().wait_for(|stopped| *stopped).await);
    }

    /// Records what an operator did with a handle, in the audit log.
    pub fn audit(&self, what: AuditWord, details: impl FnOnce(AuditEntry) -> AuditEntry) {
        let epoch = self.status.borrow().engine.epoch;
        self.audit.record(details(AuditEntry::new(what, Actor::Operator, epoch)));
    }

    /// Gives the driver a command and waits for the answer; `None` when the node has stopped.
    pub async fn command(&self, command: Command) -> Option<CommandAnswer> {
        let (answer, answered) = oneshot::channel();
        self.callers.send(Request::Command { command, answer }).await.ok()?;
        answered.await.ok()
    }
}
