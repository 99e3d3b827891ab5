//! One node: an engine on a model disk, with a clock of its own, and a driver that checks the contract as it keeps it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::expected_settings::{ExpectedSettings, OperatorCall};
use super::plan::Plan;
use super::step::Side;
use super::store::{Change, Disk, Export, Job, Record, Sent};
use super::violation::{Checked, Invariant, Violation};
use crate::model::WitnessRecord;
use crate::protocol::engine::{
    Action, BatchId, BulkId, Engine, LinkId, Moment, Now, Options, Replication, Ticket, Work,
};

/// Received bulk.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Log records.
    Records(Sent<Record>),
    /// Entries of a snapshot.
    Snapshot(Sent<(u8, u64)>),
}

/// Whom an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A caller who commits.
    Commit(Change),
    /// An operator.
    Operator(OperatorCall),
    /// An operator who says nothing of the durable state.
    Command,
    /// An operator who accepts a loss.
    AcceptsLoss,
}

/// A clock that is a little off.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Microseconds at the beginning of time.
    pub offset_us: u64,
    /// Parts per million fast.
    pub rate_ppm: i64,
    /// Wall clock at the beginning of time, milliseconds since 1970.
    pub wall_ms: u64,
    /// How far somebody set the wall clock away from that, milliseconds.
    pub jumped_ms: i64,
}

impl Clock {
    /// The suspend-aware clock at this true time.
    pub fn at(&self, true_us: u64) -> Moment {
        let rate = (1_000_000 + self.rate_ppm) as u128;
        Moment(self.offset_us + (u128::from(true_us) * rate / 1_000_000) as u64)
    }

    /// The first true time at which the clock shows this.
    pub fn when(&self, moment: Moment) -> u64 {
        let rate = (1_000_000 + self.rate_ppm) as u128;
        let since = u128::from(moment.0.saturating_sub(self.offset_us));
        u64::try_from((since * 1_000_000).div_ceil(rate)).unwrap_or(u64::MAX)
    }

    /// The wall clock at this true time, milliseconds since 1970.
    pub fn wall(&self, true_us: u64) -> u64 {
        self.wall_ms.saturating_add_signed(self.jumped_ms) + true_us / 1_000
    }

    /// What an event may know of time, with this randomness.
    pub fn now(&self, true_us: u64, random: u64) -> Now {
        Now { at: self.at(true_us), wall_ms: self.wall(true_us), random }
    }
}

/// One node, running or not.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its data directory.
    pub disk: Disk,
    /// Running, if it is.
    pub engine: Option<Engine>,
    /// Its clock.
    pub clock: Clock,
    /// Its knobs.
    pub options: Options,
    /// There is a witness.
    pub witnessed: bool,
    /// Grows with every start and every end.
    pub run: u64,
    /// Dials of this second, and which one it is.
    pub dials: (u64, u64),
    /// Since when it stands still.
    pub paused_at: Option<u64>,
    /// Woke up after more than the time it may be away, and has not heard from anybody since this true time.
    pub unconfirmed_since: Option<u64>,
    /// When the engine wants to be woken, and how often it said so.
    pub timer: Option<(Moment, u64)>,
    /// Open links as the engine knows them, with the connection of each.
    pub links: BTreeMap<LinkId, usize>,
    /// Bulk that the engine has not named yet.
    pub bulks: BTreeMap<BulkId, Payload>,
    /// Snapshots that are being read.
    pub exports: BTreeMap<u64, Export>,
    /// The dial under way.
    pub dialing: Option<u64>,
    /// The batch under way.
    pub batch: Option<Job>,
    /// Who waits for an answer.
    pub asked: BTreeMap<Ticket, Caller>,
    /// The question to the host under way.
    pub question: Option<u64>,
    /// What the host answers to "may I take over".
    pub may_take_over: bool,
    /// What the host says to what is pushed.
    pub accepts: bool,
    /// Dials that will fail.
    pub fail_dials: u8,
    /// How long a batch takes, microseconds.
    pub disk_us: u64,
    /// By its own clock, when something of the peer arrived last.
    pub heard: Option<Moment>,
    /// Since when it has had a push that failed and no alert that says so.
    pub untold_since: Option<u64>,
    /// What its operators were told.
    pub said: ExpectedSettings,
    /// An operator made it master; cleared when it is one.
    pub ordered: bool,
    /// It held mastership when it was last looked at.
    pub held: bool,
    /// It held mastership when the event came that it deals with.
    pub covered: bool,
    /// The question to the witness under way.
    pub witness_ask: Option<u64>,
    /// The last one.
    pub last_ask: u64,
    /// Power will be cut after so many actions: how many, whether silently, and how much of a batch is kept.
    pub crash_at: Option<(u8, bool, u8)>,
    /// An old copy of its disk.
    pub copy: Option<Box<Disk>>,
    /// By its own clock, when it was started.
    pub started: Moment,
    last_batch: BatchId,
    next: u64,
}

impl Host {
    /// A node that was never started.
    pub fn new(side: Side, disk: Disk, clock: Clock, plan: &Plan) -> Self {
        Self {
            said: ExpectedSettings::of(&disk.durable_state),
            disk,
            engine: None,
            clock,
            options: Self::options(side, plan),
            witnessed: plan.witnessed,
            run: 0,
            dials: (0, 0),
            paused_at: None,
            unconfirmed_since: None,
            timer: None,
            links: BTreeMap::new(),
            bulks: BTreeMap::new(),
            exports: BTreeMap::new(),
            dialing: None,
            batch: None,
            asked: BTreeMap::new(),
            question: None,
            may_take_over: true,
            accepts: true,
            fail_dials: 0,
            disk_us: 100,
            heard: None,
            untold_since: None,
            ordered: false,
            held: false,
            covered: false,
            witness_ask: None,
            last_ask: 0,
            crash_at: None,
            copy: None,
            started: Moment(0),
            last_batch: BatchId(0),
            next: 0,
        }
    }

    /// Where the peer dials it.
    pub fn address(side: Side) -> String {
        format!("{side:?}:7443")
    }

    /// The knobs of a plan.
    pub fn options(side: Side, plan: &Plan) -> Options {
        Options {
            heartbeat: Duration::from_millis(100),
            takeover_delay: Duration::from_millis(500),
            connect_timeout: Duration::from_millis(300),
            failover: plan.failover,
            hold_down: Duration::from_secs(plan.hold_down_s),
            replication: if plan.witnessed { plan.replication } else { Replication::Asynchronous },
            sync_timeout: Duration::from_millis(plan.sync_timeout_ms),
            drain_timeout: Duration::from_millis(200),
            lease: plan.lease_ms[side.index()].map(Duration::from_millis),
            ..Options::default()
        }
    }

    /// What it knows of the witness' record.
    pub fn read_record(&self, now_us: u64) -> Option<WitnessRecord> {
        let status = self.engine.as_ref()?.status(self.clock.at(now_us), self.clock.wall(now_us));
        status.witness?.record
    }

    /// A number that this run did not use yet.
    pub fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Whether its door is shut to everybody.
    pub fn bars(&self) -> bool {
        self.engine.as_ref().is_some_and(|engine| engine.durable_state().peer.is_none())
    }

    /// What operators say and are not answered yet.
    pub fn pending_calls(&self) -> Vec<OperatorCall> {
        let word = |asked: &Caller| match asked {
            Caller::Operator(word) => Some(*word),
            _ => None,
        };
        self.asked.values().filter_map(word).collect()
    }

    /// The process is gone. What of the batch under way reached the disk is `kept` of 255; `None` for a clean end.
    pub fn stop(&mut self, kept: Option<u8>) -> Result<Vec<Record>, Violation> {
        let mut made = Vec::new();
        let job = self.batch.take();
        self.disk.cut(job, self.accepts, kept, &mut made)?;
        // What is still under way for this run finds nobody.
        self.run += 1;
        self.engine = None;
        self.timer = None;
        self.paused_at = None;
        self.unconfirmed_since = None;
        self.dialing = None;
        self.question = None;
        self.heard = None;
        self.untold_since = None;
        self.ordered = false;
        (self.held, self.covered) = (false, false);
        (self.witness_ask, self.last_ask) = (None, 0);
        self.crash_at = None;
        self.last_batch = BatchId(0);
        self.links.clear();
        self.bulks.clear();
        self.exports.clear();
        self.asked.clear();
        Ok(made)
    }

    /// 0: what an action may name. Called before it is carried out.
    pub fn check_action(&self, action: &Action, opening: &BTreeSet<u64>) -> Checked {
        let contract = |holds: bool, what: &str| Invariant::Contract.check(holds, || format!("{what}: {action:?}"));
        match action {
            Action::Persist(work) => {
                contract(self.batch.is_none(), "a second batch while one is under way")?;
                contract(work.batch() > self.last_batch, "a batch number used again")?;
                self.check_work(work)
            }
            Action::Send { link, .. } | Action::PushRecords { link, .. } | Action::Close { link } => {
                contract(self.links.contains_key(link), "an unknown or closed link")
            }
            Action::PushSnapshot { link, transfer, .. } => {
                contract(self.links.contains_key(link), "an unknown or closed link")?;
                contract(self.exports.contains_key(transfer), "a snapshot that is not open")
            }
            Action::OpenSnapshot { transfer } => {
                let used = self.exports.contains_key(transfer) || opening.contains(transfer);
                contract(!used, "a transfer number used again")
            }
            Action::DropBulk { bulk } => contract(self.bulks.contains_key(bulk), "unknown bulk"),
            Action::Dial { .. } => contract(self.dialing.is_none(), "a second dial while one is under way"),
            Action::AnswerCommit { ticket, .. } | Action::AnswerCommand { ticket, .. } => {
                contract(self.asked.contains_key(ticket), "an answer to nobody")
            }
            Action::AskWitness { ask, .. } => {
                contract(self.witnessed, "a question to a witness that there is not")?;
                contract(self.witness_ask.is_none(), "a second question to the witness while one is under way")?;
                contract(*ask > self.last_ask, "a number of a question used again")
            }
            Action::AskMayTakeOver { .. }
            | Action::Publish { .. }
            | Action::Confirm { .. }
            | Action::CloseSnapshot { .. }
            | Action::AnswerEnrol { .. }
            | Action::SetTimer { .. }
            | Action::Notify(_)
            | Action::Stop => Ok(()),
        }
    }

    fn check_work(&self, work: &Work) -> Checked {
        let contract = |holds: bool, what: &str| Invariant::Contract.check(holds, || format!("{what}: {work:?}"));
        match work {
            Work::AppendGroup(order) => {
                let (sets, epoch) = (&order.job.change_sets, order.job.epoch);
                let callers = sets.iter().all(|(ticket, ())| matches!(self.asked.get(ticket), Some(Caller::Commit(_))));
                contract(callers && !sets.is_empty(), "change sets of nobody")?;
                let era = self.disk.head.history.last().map(|era| era.epoch);
                contract(era == Some(epoch), "change sets under an epoch that was not opened")
            }
            Work::BeginEra(order) => {
                let (era, mut history) = (order.job.era, self.disk.head.history.clone());
                contract(history.begin(era), "an era that does not follow")?;
                contract(era.first_seq == self.disk.head.position.revision.seq + 1, "an era that skips")?;
                contract(era.node == self.disk.node(), "an era for another")
            }
            Work::AppendRecords(order) => {
                let bulk = &order.job.frames;
                let records = bulk.iter().all(|id| matches!(self.bulks.get(id), Some(Payload::Records(_))));
                contract(records && !bulk.is_empty(), "no records")
            }
            Work::StagePieces(order) => {
                let bulk = &order.job.pieces;
                let pieces = bulk.iter().all(|id| matches!(self.bulks.get(id), Some(Payload::Snapshot(_))));
                contract(pieces && !bulk.is_empty(), "no pieces of a snapshot")
            }
            Work::StoreState(_)
            | Work::BeginStaging(_)
            | Work::FinishStaging(_)
            | Work::Quarantine(_)
            | Work::Reopen(_) => Ok(()),
        }
    }

    /// The job that a work stands for, with everything it names taken out of the shell.
    pub fn job(&mut self, work: Work) -> Result<Job, Violation> {
        self.last_batch = work.batch();
        let asked = &self.asked;
        let change = |ticket| match asked.get(&ticket) {
            Some(Caller::Commit(change)) => Some(*change),
            _ => None,
        };
        let bulks = RefCell::new(&mut self.bulks);
        let records = |bulk| match bulks.borrow_mut().remove(&bulk) {
            Some(Payload::Records(records)) => Some(records),
            _ => None,
        };
        let pieces = |bulk| match bulks.borrow_mut().remove(&bulk) {
            Some(Payload::Snapshot(entries)) => Some(entries),
            _ => None,
        };
        let lost = |failed| Violation { invariant: Invariant::Contract, what: format!("{failed:?}") };
        work.resolve(change, records, pieces).map_err(lost)
    }
}
