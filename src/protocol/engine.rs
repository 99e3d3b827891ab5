//! Joins the machines: one event in, ordered actions out.
//!
//! # The contract
//! A driver calls [`Engine::start`] once, then [`Engine::handle`] with every event in the order in which they happened,
//! and carries out the returned actions in their order before the next event. The engine asks for one batch of durable
//! work at a time ([`Action::Persist`]) and for one dial at a time; each is answered by exactly one event. A message
//! that promises durability is in the actions only after the receipt of the batch that it speaks of. There is always a
//! timer; an event that comes much later than the timer tells the engine that its node was stopped.
//!
//! Absent on purpose: clocks, sockets, disks, randomness (it arrives in [`Now`]), bulk bytes (they have ids), and any
//! loop of its own.
//!
//! # How to read it
//! `mastership` turns the standing of the node, `links` and `heartbeat` keep the connection to the peer, `meeting` decides who
//! leads, `cover` and `claim` are what a witness adds to mastership and takeover, `witness` asks it and `recorded` draws what
//! follows from its record, `session` and `exchange` bring the shadow up to date, `commits` serves callers, `batches` orders
//! durable work and takes its receipts, `trouble` keeps the alert log, `command` serves operators, `said` keeps what they want
//! changed until it is durable, `stopping` ends it all. Every event ends in [`Engine::advance`], which does whatever has become
//! due: so a deadline is looked at in one place.

mod action;
mod batches;
mod claim;
mod command;
mod commits;
mod cover;
mod durable_state;
mod event;
mod exchange;
mod frozen;
mod greeting;
mod heartbeat;
mod inquiry;
mod links;
mod mastership;
mod meeting;
mod mutants;
mod options;
mod pending_updates;
mod recorded;
mod refusal;
mod session;
mod status;
mod stopping;
mod trouble;
mod witness;
mod work;
mod work_queue;
mod yielding;

use std::collections::VecDeque;

use commits::Commits;
use links::Links;
use session::Session;

use crate::model::{Epoch, History, Position, Revision, RunId};
use crate::protocol::alerts::AlertLog;
use crate::protocol::failover::{NodeState, Timing};
use crate::protocol::replication::LogView;
use crate::protocol::wire::Role;

pub use action::*;
pub use durable_state::*;
pub use event::*;
pub use frozen::{decode_durable_state, encode_durable_state};
pub use mutants::Mutant;
pub use options::*;
pub use refusal::*;
pub use status::*;
pub use work::*;

pub use crate::model::Moment;
pub use crate::protocol::replication::{How, RecordsReceipt};
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

/// One node's decisions: master session, shadow session, failover and alerts behind one door. The
/// [module](self) says how to drive it.
#[derive(Clone, Debug)]
pub struct Engine {
    options: Options,
    timing: Timing,
    run: RunId,
    address: String,
    durable_state: DurableState,
    alert_log: AlertLog,
    head: Position,
    log_floor: Revision,
    history: History,
    /// The newest revision that was made visible.
    shown: Revision,
    node_state: NodeState,
    /// Why the standing is what it is, for the host.
    reason: &'static str,
    /// Since when the standing is what it is.
    since: Moment,
    /// Not before this moment is a failed attempt at the same thing made again.
    retry_at: Moment,
    work: work_queue::WorkQueue,
    unsaved: batches::Unsaved,
    commits: Commits,
    updates: pending_updates::PendingUpdates,
    links: Links,
    session: Session,
    trouble: trouble::Troubles,
    /// Where there is a witness: what is known of it, and what follows.
    witnessed: Option<witness::Witnessed>,
    /// The timer that was set.
    due: Option<Moment>,
    question: u64,
    /// Operators who wait for this node to be master.
    takeover_waiters: Vec<Ticket>,
    /// Until when they wait for what only time or an answer brings: the end of a lease, a cover.
    takeover_deadline: Moment,
    /// The damage that recovery found: what was here before may not be known any more.
    damage: Option<String>,
    /// An operator who waits for this node to be stopped, and until when change sets are waited for.
    stopping: Option<(Ticket, Moment)>,
    /// Who was accepted and has not confirmed yet; the first who does is the shadow.
    enrolling: VecDeque<(u64, Peer, Option<StoredToken>)>,
    told: mastership::Told,
    out: Vec<Action>,
    #[cfg(test)]
    mutant: Option<Mutant>,
}

impl Engine {
    /// An engine for what the data directory holds, and its first actions.
    pub fn start(now: Now, start: Start) -> (Self, Vec<Action>) {
        let node_state = match start.durable_state.role {
            Role::Master => NodeState::Inquiring,
            Role::Shadow => NodeState::Following,
        };
        let mut durable_state = start.durable_state;
        durable_state.complete &= start.damage.is_none();
        let promised_ms = durable_state.promised_ms;
        let mut engine = Self {
            timing: Timing::of(start.options.heartbeat, start.options.takeover_delay),
            options: start.options,
            run: start.run,
            address: start.address,
            alert_log: AlertLog::restore(std::mem::take(&mut durable_state.alerts), durable_state.next_alert),
            durable_state,
            head: start.head,
            log_floor: start.log_floor,
            history: start.history,
            shown: start.head.revision,
            node_state,
            reason: "started",
            since: now.at,
            retry_at: now.at,
            work: work_queue::WorkQueue::default(),
            unsaved: batches::Unsaved::default(),
            commits: Commits::default(),
            updates: pending_updates::PendingUpdates::default(),
            links: Links::new(now.at),
            session: Session::default(),
            trouble: trouble::Troubles::default(),
            witnessed: start.witnessed.then(|| witness::Witnessed::new(now, promised_ms)),
            due: None,
            question: 0,
            takeover_waiters: Vec::new(),
            takeover_deadline: now.at,
            damage: start.damage.clone(),
            stopping: None,
            enrolling: VecDeque::new(),
            told: mastership::Told::default(),
            out: Vec::new(),
            #[cfg(test)]
            mutant: None,
        };
        engine.trouble_at_start(now, start.damage);
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
            Event::LinkDown { link, reason } => self.link_down(now, link, reason),
            Event::DialFailed { how, reason } => self.dial_failed(now, how, reason),
            Event::Message { link, message } => self.message(now, link, message),
            Event::Bulk { link, bulk, what, bytes } => self.bulk(now, link, bulk, what, bytes),
            Event::RecordsPushed { link, last, bytes, gone } => self.records_pushed(now, link, last, bytes, gone),
            Event::SnapshotOpened { header } => self.snapshot_opened(now, header),
            Event::SnapshotPushed { transfer, bytes, done } => self.snapshot_pushed(now, transfer, bytes, done),
            Event::ReadFailed { reason } => self.read_failed(now, reason),
            Event::Commit { ticket, bytes } => self.commit(now, ticket, bytes),
            Event::Persisted(completed) => self.persisted(now, completed),
            Event::HostAnswered { question, allowed, reason } => self.host_answered(now, question, allowed, reason),
            Event::WitnessAnswered { ask, answer } => self.witness_answered(now, ask, answer),
            Event::Abandoned => self.abandon(),
            Event::Command { ticket, command } => self.command(now, ticket, command),
            Event::EnrolAsked { ask, peer, token, from } => self.enrol_asked(now, ask, peer, token, from),
            Event::EnrolConfirmed { ask } => self.enrol_confirmed(ask),
            Event::Unpermitted { from, reason } => self.unpermitted(now, from, reason),
            Event::CertificateExpiring { subject, days } => self.certificate_expiring(now, subject, days),
            Event::StoreTrouble { reason, full } => self.store_trouble_aside(now, reason, full),
        }
        self.advance(now);
        std::mem::take(&mut self.out)
    }

    /// The durable state, some of them perhaps not durable yet.
    pub fn durable_state(&self) -> &DurableState {
        &self.durable_state
    }

    /// Does whatever has become due.
    fn advance(&mut self, now: Now) {
        self.advance_standing(now);
        self.advance_links(now);
        self.advance_session(now);
        self.advance_commits(now);
        self.advance_witness(now);
        self.count_failed_pushes(now);
        self.advance_batches(now);
        self.advance_stop(now);
        self.tell_changes();
        self.set_timer(now);
    }

    /// The highest epoch that this node has had, tried or followed.
    fn epoch(&self) -> Epoch {
        self.durable_state.epoch.max(self.durable_state.tried).max(self.head.revision.epoch)
    }

    fn log_view(&self) -> LogView<'_> {
        LogView { head: self.head, log_floor: self.log_floor, history: &self.history }
    }
}

#[cfg(test)]
mod tests;
