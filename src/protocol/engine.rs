//! The decisions of one node: each event leads to an ordered list of actions.
//!
//! [`Engine`] states the contract. Every machine owns its state in private fields. Each that has states has a table of every state with
//! every event at the top of its file, and a snapshot of it in its `tests.rs`:
//!
//! | file | machine |
//! |---|---|
//! | `authority.rs` | who may act as master: the node's state, the covers, the witness, a takeover under way |
//! | `links.rs` | the connections to the peer: which one counts, dialling, what was last heard |
//! | `session.rs` | what was negotiated, and whether this node is source or sink |
//! | `commits.rs` | callers that commit, and what an acknowledgement waits for |
//! | `durable.rs` | the durable state and the updates that wait for it |
//! | `own_log.rs` | where this node's own log stands |
//! | `switchover.rs` | a planned switch of roles |
//! | `work_queue.rs`, `work.rs` | durable work, one batch at a time, each kind with its receipt |
//! | `alerts.rs` | the alert log, and what was entered already |
//!
//! `router/` passes each event to the machines, and passes the consequences from one machine to another. Every event ends in
//! [`Engine::advance`], which does whatever has become due. So only one place checks deadlines.
//!
//! Absent on purpose: clocks, sockets, disks, randomness (it arrives in [`Now`]), bulk bytes (the engine knows their ids only),
//! and a loop of its own.

mod action;
mod alerts;
mod authority;
mod caller_refusal;
mod commits;
mod durable;
mod enrolments;
mod event;
mod hello;
mod id;
mod last_told;
mod links;
mod mutants;
mod options;
mod own_log;
mod reason;
mod rotation;
mod router;
mod session;
mod setup;
mod shutdown;
mod status;
mod switchover;
mod work;
mod work_queue;

use alerts::Alerts;
use authority::AuthorityMachine;
use commits::Commits;
use durable::Durable;
use enrolments::Enrolments;
use last_told::LastTold;
use links::Links;
use own_log::OwnLog;
use rotation::Rotation;
use session::Session;
use setup::Setup;
use shutdown::Shutdown;
use switchover::Switchover;
use work_queue::WorkQueue;

use crate::model::{Epoch, History, Position, Revision, RunId};
use crate::protocol::failover::NodeState;
use crate::protocol::wire::Role;

pub use action::*;
pub use alerts::Undialable;
pub use caller_refusal::*;
pub use durable::{DurableState, Given, Peer, StoredToken, decode_durable_state, encode_durable_state};
pub use event::*;
pub use id::*;
pub use mutants::Mutant;
pub use options::*;
pub use reason::RoleReason;
pub use rotation::OwnKeys;
pub use status::*;
pub use work::*;

pub use crate::model::Moment;
pub use crate::protocol::alerts::{Alert, AlertChange, AlertKind};
pub use crate::protocol::failover::{TakeoverBlocker, Transition};
pub use crate::protocol::replication::{RecordsReceipt, RepairKind, StagedBefore, Written};
pub use crate::protocol::wire::BulkId;

/// The inputs of [`Engine::start`].
#[derive(Clone, Debug)]
pub struct Start {
    /// The durable state.
    pub durable_state: DurableState,
    /// Durable head of the store.
    pub head: Position,
    /// The log holds every record after this revision.
    pub log_floor: Revision,
    /// Lineage up to the head.
    pub history: History,
    /// What readers see of it. A shadow may hold more: what its master had not said to be durable.
    pub shown: Revision,
    /// The options, validated.
    pub options: Options,
    /// Random id of this run.
    pub run: RunId,
    /// Address at which the peer dials this node.
    pub address: String,
    /// The keys that the data directory holds.
    pub keys: OwnKeys,
    /// Whether there is a witness.
    pub witnessed: bool,
    /// Damage that recovery found. The copy counts as incomplete until the peer repairs it.
    pub damage: Option<String>,
}

/// Whether the node serves, and until when a caller may rely on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Whether this node holds mastership.
    pub serving: bool,
    /// Last moment at which `serving` is valid. A caller whose clock shows a later moment must ask the engine again: the node was
    /// stopped in between.
    pub until: Moment,
}

/// The decisions of one node: replication in both roles, failover and alerts.
///
/// # The contract
/// A driver calls [`Engine::start`] once. Then it calls [`Engine::handle`] with every event, in the order in which they happened.
/// It executes the returned actions in their order before the next event.
///
/// 1. [`Action::Publish`], [`Action::Confirm`], the answers, [`Action::Notify`] and [`Action::SetTimer`] take effect at once.
/// 2. Every [`Action::Persist`] is answered by one [`Event::Persisted`]. The engine asks for one batch at a time. The driver may say
///    with [`Event::Written`] that a group is in the log and not durable yet, where it keeps the bytes until that batch is done.
/// 3. Every [`Action::Dial`] is answered by one [`Event::LinkUp`] or [`Event::DialFailed`], one dial at a time. [`Event::LinkUp`]
///    also reports every connection that the pinned peer dialled.
/// 4. [`Event::LinkDown`] reports every link that ends, except a link that [`Action::Close`] closed. No event names a link after
///    its end. The driver drops what the engine still sends on it.
/// 5. The driver keeps received bulk until a batch or [`Action::DropBulk`] names it, or until its link is gone and nothing has
///    named it.
/// 6. [`Action::OpenSnapshot`], [`Action::PushSnapshot`] and [`Action::PushRecords`] are answered once each, or by
///    [`Event::ReadFailed`]. If their link closed meanwhile, they may stay unanswered. [`Action::ResumeSnapshot`],
///    [`Action::CompareSnapshot`] and [`Action::SelectSnapshot`] have no answer. What they cannot do becomes a snapshot from the first key.
/// 7. [`Event::Timer`] comes no earlier than the moment in the last [`Action::SetTimer`], which replaces the ones before it.
/// 8. [`Action::AskMayTakeOver`] and [`Action::AskWitness`] are answered once each, within their timeouts. A host that runs out of time
///    or panics has not allowed the takeover. The outcome of a witness that does is [`WitnessAnswer::Unknown`]: only a later read tells
///    what it did.
/// 9. Times never go back. An event much later than the timer means that the node was stopped in between.
/// 10. [`Event::Abandoned`] may follow a shutdown whose batch does not return within twice the drain timeout. The engine then answers
///     every caller, those whose change sets are in the batch as in doubt, and ends with [`Action::Stop`].
/// 11. The driver admits commits: at most [`COMMIT_QUEUE_MAX`](crate::limits::COMMIT_QUEUE_MAX) unanswered [`Event::Commit`] at a
///     time. The engine does not count them again.
///
/// The engine promises in return: it never panics, whatever the message. Its other queues are bounded ([`crate::limits`]). It sends a
/// message that states durability only after the receipt of that batch. It answers every [`Ticket`] exactly once. It always has a
/// timer set while it waits for time to pass.
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
    switchover: Switchover,
    last_told: LastTold,
    rotation: Rotation,
    out: Vec<Action>,
}

impl Engine {
    /// Creates the engine from what the data directory holds, and returns its first actions.
    pub fn start(now: Now, start: Start) -> (Self, Vec<Action>) {
        let state = match start.durable_state.role {
            Role::Master => NodeState::CheckingStartup,
            Role::Shadow => NodeState::Following,
        };
        let mut durable_state = start.durable_state;
        durable_state.complete &= start.damage.is_none();
        let wrong_times = durable::bound_times(&mut durable_state, now.wall_ms);
        let alerts = std::mem::take(&mut durable_state.alerts);
        let witness = start.witnessed.then_some(durable_state.promised_ms);
        let mut engine = Self {
            alerts: Alerts::restore(now.at, alerts, durable_state.next_alert, start.head.revision),
            commits: Commits::new(start.options.replication),
            setup: Setup::new(start.options, start.run, start.address),
            durable: Durable::new(durable_state),
            log: OwnLog::new(start.head, start.log_floor, start.history, start.shown),
            work: WorkQueue::default(),
            authority: AuthorityMachine::new(now.at, state, witness),
            links: Links::new(now.at),
            session: Session::default(),
            enrolments: Enrolments::default(),
            shutdown: Shutdown::default(),
            switchover: Switchover::default(),
            last_told: LastTold::default(),
            rotation: Rotation::new(start.keys),
            out: Vec::new(),
        };
        if wrong_times {
            // Else they would count anew at every start.
            engine.durable.changed();
        }
        engine.notice_clock_step(now);
        engine.found_damage(now, start.damage);
        engine.end_former_hold(now);
        engine.end_former_words(now);
        engine.prepare_promise();
        engine.advance(now);
        let actions = std::mem::take(&mut engine.out);
        (engine, actions)
    }

    /// The options with which it was started.
    pub fn options(&self) -> &Options {
        &self.setup.options
    }

    /// Handles one event, and returns the actions that follow, in order.
    #[must_use]
    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Action> {
        self.notice_clock_step(now);
        self.notice_lateness(now);
        self.notice_uncovered(now);
        match event {
            Event::Timer => {}
            Event::LinkUp { link, dialled } => self.link_up(now, link, dialled),
            Event::LinkFrom { link, address } => self.links.comes_from(link, address),
            Event::LinkDown { link, reason } => self.link_down(now, link, &reason),
            Event::DialFailed { how, reason } => self.dial_failed(now, how, reason),
            Event::Message { link, message } => self.message(now, link, message),
            Event::Bulk { link, bulk, what, bytes } => self.bulk(now, link, bulk, what, bytes),
            Event::Progress { link } => self.links.progressed(link, now.at),
            Event::Malformed { link, what } => self.malformed(now, link, &what),
            Event::RecordsPushed { link, last, bytes, gone } => self.records_pushed(now, link, last, bytes, gone),
            Event::SnapshotOpened { header } => self.snapshot_opened(now, header),
            Event::SnapshotPushed { transfer, bytes, done } => self.snapshot_pushed(now, transfer, bytes, done),
            Event::ReadFailed { reason } => self.read_failed(now, reason),
            Event::Commit { ticket, bytes } => self.commit(now, ticket, bytes),
            Event::Written { batch, written } => self.written(batch, written),
            Event::Persisted(completed) => self.persisted(now, completed),
            Event::HostAnswered { question, allowed, reason } => self.host_answered(now, question, allowed, &reason),
            Event::WitnessAnswered { ask, answer } => self.witness_answered(now, ask, answer),
            Event::Abandoned => self.abandon(now),
            Event::Command { ticket, command } => self.command(now, ticket, command),
            Event::EnrolAsked { ask, peer, own_key, proof, from } => {
                self.enrol_asked(now, ask, (*peer, own_key), proof, &from);
            }
            Event::EnrolConfirmed { ask } => self.enrol_confirmed(ask),
            Event::Unpermitted { from, reason, shown, times } => {
                self.unpermitted(now, from, &self.own_named(&reason, shown), times);
            }
            Event::CertificateEnds { subject, days } => self.certificate_ends_in(now, subject, days),
            Event::KeyMade(made) => self.key_made(made),
            Event::KeyUsed(used) => self.key_used(now, used),
            Event::NextKeyShown { key } => self.next_key_shown(key),
            Event::StoreTrouble { reason, full } => self.store_trouble(now, reason, full),
            Event::Room(room) => self.room_left(now, room),
            Event::AddressesChecked(found) => self.alerts.operator_states().set_addresses(found),
            Event::AuditTrouble { reason } => self.audit_trouble(now, reason),
        }
        self.advance(now);
        std::mem::take(&mut self.out)
    }

    /// The durable state in memory. The last changes may not be on disk yet.
    pub fn durable_state(&self) -> &DurableState {
        self.durable.state()
    }

    /// The keys of this node.
    pub fn own_keys(&self) -> OwnKeys {
        self.rotation.keys()
    }

    /// Does whatever has become due.
    fn advance(&mut self, now: Now) {
        self.notice_hung_disk(now);
        self.advance_state(now);
        self.advance_links(now);
        self.advance_session(now);
        self.advance_commits(now);
        self.advance_switchover(now);
        self.advance_rotation(now);
        self.advance_replacement(now);
        self.advance_witness(now);
        self.count_failed_pushes(now);
        self.advance_operator_states(now);
        self.advance_alerts(now);
        self.advance_work(now);
        self.tell_mark(now);
        self.advance_shutdown(now);
        self.notify_changes();
        self.set_timer(now);
    }

    /// Injects this mistake.
    #[cfg(test)]
    pub(crate) fn mutate(&mut self, mutant: Mutant) {
        self.setup.mutate(mutant);
    }
}

#[cfg(test)]
mod tests;
