//! Joins the machines: one event in, ordered actions out.
//!
//! [`Engine`] states the contract. Every machine owns its state in private fields and has a table at the top of its file:
//!
//! | file | machine |
//! |---|---|
//! | `authority.rs` | who may act as master: the node's state, the covers, the witness, a takeover under way |
//! | `links.rs` | the connections to the peer: which one counts, dialling, what was last heard |
//! | `session.rs` | what was negotiated, and the end of the session that this node is |
//! | `commits.rs` | callers that commit, and what an acknowledgement waits for |
//! | `durable.rs` | the durable state and the updates that wait for it |
//! | `own_log.rs` | where this node's own log stands |
//! | `work_queue.rs`, `work.rs` | durable work, one batch at a time, each kind with its receipt |
//! | `alerts.rs` | the alert log, and what was entered already |
//!
//! `router/` takes events to the machines and carries what follows from one to the others. Every event ends in
//! [`Engine::advance`], which does whatever has become due: so a deadline is looked at in one place.
//!
//! Absent on purpose: clocks, sockets, disks, randomness (it arrives in [`Now`]), bulk bytes (they have ids), and any
//! loop of its own.

mod action;
mod alerts;
mod authority;
mod commits;
mod durable;
mod enrolments;
mod event;
mod id;
mod links;
mod mutants;
mod negotiation;
mod notifier;
mod options;
mod own_log;
mod reason;
mod refusal;
mod router;
mod session;
mod setup;
mod shutdown;
mod status;
mod work;
mod work_queue;

use alerts::Alerts;
use authority::AuthorityMachine;
use commits::Commits;
use durable::Durable;
use enrolments::Enrolments;
use links::Links;
use notifier::Notifier;
use own_log::OwnLog;
use session::Session;
use setup::Setup;
use shutdown::Shutdown;
use work_queue::WorkQueue;

use crate::model::{Epoch, History, Position, Revision, RunId};
use crate::protocol::failover::NodeState;
use crate::protocol::wire::Role;

pub use action::*;
pub use durable::{DurableState, Peer, StoredToken, decode_durable_state, encode_durable_state};
pub use event::*;
pub use id::*;
pub use mutants::Mutant;
pub use options::*;
pub use reason::RoleReason;
pub use refusal::*;
pub use status::*;
pub use work::*;

pub use crate::model::Moment;
pub use crate::protocol::alerts::{Alert, AlertChange, AlertKind};
pub use crate::protocol::failover::{TakeoverBlocker, Transition};
pub use crate::protocol::replication::{RecordsReceipt, RepairKind};
pub use crate::protocol::wire::BulkId;

/// What an engine starts from.
#[derive(Clone, Debug)]
pub struct Start {
    /// The durable durable state.
    pub durable_state: DurableState,
    /// Durable head of the store.
    pub head: Position,
    /// The log holds everything after this.
    pub log_floor: Revision,
    /// Lineage up to the head.
    pub history: History,
    /// The knobs, validated.
    pub options: Options,
    /// This run: random.
    pub run: RunId,
    /// Where the peer dials this node.
    pub address: String,
    /// Whether there is a witness.
    pub witnessed: bool,
    /// Damage that recovery found: the copy must be repaired from the peer before it counts.
    pub damage: Option<String>,
}

/// Until when what the engine said last may be relied upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Whether this node holds mastership.
    pub serving: bool,
    /// A master whose clock shows more than this was stopped, and is not serving until it has asked.
    pub until: Moment,
}

/// One node's decisions: master session, shadow session, failover and alerts behind one door.
///
/// # The contract
/// A driver calls [`Engine::start`] once, then [`Engine::handle`] with every event in the order in which they happened, and carries out
/// the returned actions in their order before the next event.
///
/// 1. [`Action::Publish`], [`Action::Confirm`], the answers, [`Action::Notify`] and [`Action::SetTimer`] take effect at once.
/// 2. Every [`Action::Persist`] is answered by one [`Event::Persisted`]. The engine asks for one batch at a time.
/// 3. Every [`Action::Dial`] is answered by one [`Event::LinkUp`] or [`Event::DialFailed`], one dial at a time. Every connection that
///    the pinned peer dialled is told by [`Event::LinkUp`] too.
/// 4. Every link that ends is told by [`Event::LinkDown`], but for those that [`Action::Close`] closed. Nothing names a link afterwards,
///    and what the engine still sends there is dropped.
/// 5. Received bulk is kept until a batch or [`Action::DropBulk`] names it, or until its link is gone and it was not named.
/// 6. [`Action::OpenSnapshot`], [`Action::PushSnapshot`] and [`Action::PushRecords`] are answered once each, or by [`Event::ReadFailed`];
///    those for a link that closed meanwhile may go unanswered.
/// 7. [`Event::Timer`] comes no earlier than the last [`Action::SetTimer`] asked for.
/// 8. [`Action::AskMayTakeOver`] and [`Action::AskWitness`] are answered once, within their time.
/// 9. Times never go back. An event that comes much later than the timer tells the engine that its node was stopped.
/// 10. [`Event::Abandoned`] may come after a shutdown whose batch does not return: everybody is answered, and [`Action::Stop`] follows.
///
/// The engine promises in return: it never panics, whatever the message; its queues are bounded ([`crate::limits`]); a message that
/// promises durability follows the receipt of the batch that it speaks of; every [`Ticket`] is answered exactly once; there is always a
/// timer while it waits for something that only time brings.
#[derive(Clone, Debug)]
pub struct Engine {
    setup: Setup,
    durable: Durable,
    log: OwnLog,
    work: WorkQueue,
    authority: AuthorityMachine,
    links: Links,
    session: Session,
    commits: Commits,
    alerts: Alerts,
    enrolments: Enrolments,
    shutdown: Shutdown,
    notifier: Notifier,
    /// The damage that recovery found: what was here before may not be known any more.
    damage: Option<String>,
    out: Vec<Action>,
}

impl Engine {
    /// An engine for what the data directory holds, and its first actions.
    pub fn start(now: Now, start: Start) -> (Self, Vec<Action>) {
        let state = match start.durable_state.role {
            Role::Master => NodeState::CheckingStartup,
            Role::Shadow => NodeState::Following,
        };
        let mut durable_state = start.durable_state;
        durable_state.complete &= start.damage.is_none();
        let alerts = std::mem::take(&mut durable_state.alerts);
        let witness = start.witnessed.then_some(durable_state.promised_ms);
        let mut engine = Self {
            alerts: Alerts::restore(alerts, durable_state.next_alert, start.head.revision),
            commits: Commits::new(start.options.replication),
            setup: Setup::new(start.options, start.run, start.address),
            durable: Durable::new(durable_state),
            log: OwnLog::new(start.head, start.log_floor, start.history),
            work: WorkQueue::default(),
            authority: AuthorityMachine::new(now.at, state, witness),
            links: Links::new(now.at),
            session: Session::default(),
            enrolments: Enrolments::default(),
            shutdown: Shutdown::default(),
            notifier: Notifier::default(),
            damage: None,
            out: Vec::new(),
        };
        engine.found_damage(now, start.damage);
        engine.prepare_promise();
        engine.advance(now);
        let actions = std::mem::take(&mut engine.out);
        (engine, actions)
    }

    /// One event in, ordered actions out.
    #[must_use]
    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Action> {
        self.notice_lateness(now);
        self.notice_uncovered(now);
        match event {
            Event::Timer => {}
            Event::LinkUp { link, dialled } => self.link_up(now, link, dialled),
            Event::LinkDown { link, reason } => self.link_down(now, link, &reason),
            Event::DialFailed { how, reason } => self.dial_failed(now, how, reason),
            Event::Message { link, message } => self.message(now, link, message),
            Event::Bulk { link, bulk, what, bytes } => self.bulk(now, link, bulk, what, bytes),
            Event::RecordsPushed { link, last, bytes, gone } => self.records_pushed(now, link, last, bytes, gone),
            Event::SnapshotOpened { header } => self.snapshot_opened(now, header),
            Event::SnapshotPushed { transfer, bytes, done } => self.snapshot_pushed(now, transfer, bytes, done),
            Event::ReadFailed { reason } => self.read_failed(now, reason),
            Event::Commit { ticket, bytes } => self.commit(now, ticket, bytes),
            Event::Persisted(completed) => self.persisted(now, completed),
            Event::HostAnswered { question, allowed, reason } => self.host_answered(now, question, allowed, &reason),
            Event::WitnessAnswered { ask, answer } => self.witness_answered(now, ask, answer),
            Event::Abandoned => self.abandon(now),
            Event::Command { ticket, command } => self.command(now, ticket, command),
            Event::EnrolAsked { ask, peer, token, from } => self.enrol_asked(now, ask, peer, token, &from),
            Event::EnrolConfirmed { ask } => self.enrol_confirmed(ask),
            Event::Unpermitted { from, reason } => self.unpermitted(now, &from, &reason),
            Event::CertificateExpiring { subject, days } => self.certificate_expiring(now, subject, days),
            Event::StoreTrouble { reason, full } => self.store_trouble_aside(now, reason, full),
        }
        self.advance(now);
        std::mem::take(&mut self.out)
    }

    /// The durable state in force. Some of it may not be written yet.
    pub fn durable_state(&self) -> &DurableState {
        self.durable.state()
    }

    /// Does whatever has become due.
    fn advance(&mut self, now: Now) {
        self.advance_state(now);
        self.advance_links(now);
        self.advance_session(now);
        self.advance_commits(now);
        self.advance_witness(now);
        self.count_failed_pushes(now);
        self.advance_work(now);
        self.advance_shutdown(now);
        self.notify_changes();
        self.set_timer(now);
    }

    /// Makes this mistake from now on.
    #[cfg(test)]
    pub(crate) fn mutate(&mut self, mutant: Mutant) {
        self.setup.mutate(mutant);
    }
}

#[cfg(test)]
mod tests;
