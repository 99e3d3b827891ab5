//! One node: an engine with its disk and clock, and what its driver keeps. The contract of the engine is checked here.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::expected_settings::{ExpectedSettings, OperatorCall};
use super::plan::Plan;
use super::store::{Change, Disk, Export, Job, Payload, Record, Sent};
use crate::campaign::violation::{Checked, Invariant, Violation};
use crate::model::{Epoch, KeyId, Revision, WitnessRecord};
use crate::protocol::engine::{
    Action, BatchId, BulkId, Engine, Event, LinkId, Moment, Now, Options, OwnKeys, Replication, Ticket, Timeouts, Work,
};
use crate::testing::Side;

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A caller who commits.
    Commit(Change),
    /// An operator.
    Operator(OperatorCall),
    /// An operator whose command leaves the durable state alone.
    Command,
    /// An operator who accepts a loss.
    AcceptsLoss,
}

/// A clock that runs a little fast or slow.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What it shows at the beginning, microseconds.
    pub offset_us: u64,
    /// Parts per million fast.
    pub rate_ppm: i64,
    /// What the wall clock shows at the beginning, milliseconds since 1970.
    pub wall_ms: u64,
    /// By how much somebody has set the wall clock since, milliseconds.
    pub jumped_ms: i64,
    /// Whether somebody has ever set it.
    pub was_set: bool,
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

    /// Somebody sets the wall clock, so many milliseconds away from where it began.
    pub fn set_wall(&mut self, ms: i64) {
        (self.jumped_ms, self.was_set) = (ms, true);
    }

    /// Time as an event tells it, with these random bits.
    pub fn now(&self, true_us: u64, random: u64) -> Now {
        Now { at: self.at(true_us), wall_ms: self.wall(true_us), random }
    }
}

/// One node with everything that it runs on, whether its process runs or not.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its data directory.
    pub disk: Disk,
    /// The keys in its data directory.
    pub keys: OwnKeys,
    /// Its clock.
    pub clock: Clock,
    /// The engine, while its process runs.
    pub engine: Option<Engine>,
    /// Grows with every start and every end, so that what is under way for an old run finds nobody.
    pub run: u64,
    /// Since when its process stands still.
    pub paused_at: Option<u64>,
    /// Options of the node.
    pub options: Options,
    /// Whether it has a witness.
    pub witnessed: bool,
    /// What its driver keeps for the engine.
    pub driver: Driver,
    /// Its questions to the witness.
    pub witness_client: WitnessClient,
    /// Who waits for an answer, and what operators were told.
    pub callers: Callers,
    /// What steps have set.
    pub conditions: Conditions,
    /// What the invariants need to remember.
    pub observed: Observed,
}

/// What a driver keeps for its engine.
#[derive(Clone, Debug, Default)]
pub struct Driver {
    /// When the engine wants to be woken, and how often it said so.
    pub timer: Option<(Moment, u64)>,
    /// Open links as the engine knows them, with the connection of each.
    pub links: BTreeMap<LinkId, usize>,
    /// The dial under way.
    pub dial: Option<u64>,
    /// How many dials there were in this second, and which second it is.
    pub dials: (u64, u64),
    /// Bulk that the engine has not named yet.
    pub bulks: BTreeMap<BulkId, Payload>,
    /// Snapshots that are being opened.
    pub opening: BTreeSet<u64>,
    /// Snapshots that are being read.
    pub exports: BTreeMap<u64, Export>,
    /// The batch under way.
    pub batch: Option<Job>,
    /// The newest group, as it is sent before it is durable: the head before it, and its records.
    pub tail: Option<(Revision, Sent<Record>)>,
    /// Since when, in true time; since the node goes on, where it stood still meanwhile.
    pub batch_since: u64,
    last_batch: Option<BatchId>,
    next_number: u64,
}

/// The driver's part in asking the witness.
#[derive(Clone, Copy, Debug, Default)]
pub struct WitnessClient {
    /// The question under way.
    pub pending: Option<u64>,
    /// The question asked last.
    pub last: u64,
}

/// Callers and operators of a node.
#[derive(Clone, Debug)]
pub struct Callers {
    /// Who waits for an answer.
    pub waiting: BTreeMap<Ticket, Caller>,
    /// The question to the host under way.
    pub question: Option<u64>,
    /// What operators were told is in force.
    pub settings: ExpectedSettings,
    /// An operator ordered a takeover that has not begun yet.
    pub takeover_ordered: bool,
    /// An operator was told that the peer is replaced.
    pub replaced_peer: bool,
}

/// What steps have set.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// The host's answer to "may I take over".
    pub may_take_over: bool,
    /// Whether the host accepts what is pushed.
    pub accepts_pushes: bool,
    /// So many of the next dials fail.
    pub failing_dials: u8,
    /// How long a batch takes, microseconds.
    pub batch_us: u64,
    /// Power will be cut after so many actions: how many, whether silently, and how much of a batch is kept.
    pub crash_at: Option<(u8, bool, u8)>,
    /// An old copy of the disk.
    pub old_disk: Option<Box<Disk>>,
}

/// What the invariants need to remember of a node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observed {
    /// When the process was started, by its own clock.
    pub started_at: Moment,
    /// When something of the peer arrived last, by the node's own clock.
    pub heard_at: Option<Moment>,
    /// Since when a master that stood still for too long has heard from nobody, in true time.
    pub unconfirmed_since: Option<u64>,
    /// Since when a push has failed without an alert.
    pub unreported_since: Option<u64>,
    /// Since when it is held down, in true time, and the epoch in which that began.
    pub held_down: Option<(u64, Epoch)>,
    /// Whether it held mastership at the last check.
    pub held: bool,
    /// Whether it held mastership before the event that it handles.
    pub held_before_event: bool,
}

impl Driver {
    /// The process ended. Its numbers go on, so that no number means two things.
    fn reset(&mut self) {
        *self = Self {
            dials: self.dials,
            opening: std::mem::take(&mut self.opening),
            next_number: self.next_number,
            ..Self::default()
        };
    }
}

impl Machine {
    /// A node that was never started.
    pub fn new(side: Side, disk: Disk, clock: Clock, plan: &Plan) -> Self {
        let settings = ExpectedSettings::of(&disk.durable_state);
        Self {
            keys: OwnKeys::only(disk.node().first_key()),
            disk,
            clock,
            engine: None,
            run: 0,
            paused_at: None,
            options: Self::options(side, plan),
            witnessed: plan.witnessed,
            driver: Driver::default(),
            witness_client: WitnessClient::default(),
            callers: Callers {
                waiting: BTreeMap::new(),
                question: None,
                settings,
                takeover_ordered: false,
                replaced_peer: false,
            },
            conditions: Conditions {
                may_take_over: true,
                accepts_pushes: true,
                failing_dials: 0,
                batch_us: 100,
                crash_at: None,
                old_disk: None,
            },
            observed: Observed::default(),
        }
    }

    /// Where the peer dials it.
    pub fn address(side: Side) -> String {
        format!("{side:?}:7443")
    }

    /// The options of a node in this plan.
    pub fn options(side: Side, plan: &Plan) -> Options {
        Options {
            heartbeat: Duration::from_millis(100),
            takeover_delay: Duration::from_millis(500),
            failover: plan.failover,
            hold_down: Duration::from_secs(plan.hold_down_s),
            replication: if plan.witnessed { plan.replication } else { Replication::Asynchronous },
            timeouts: Timeouts {
                connect: Duration::from_millis(300),
                sync: Duration::from_millis(plan.sync_timeout_ms),
                drain: Duration::from_millis(200),
                hook: Duration::from_millis(100),
                disk: Some(Duration::from_millis(800)),
                ..Timeouts::default()
            },
            lease: plan.lease_ms[side.index()].map(Duration::from_millis),
            ..Options::default()
        }
    }

    /// The witness's record as this node read it last.
    pub fn read_record(&self, now_us: u64) -> Option<WitnessRecord> {
        let status = self.engine.as_ref()?.status(self.clock.at(now_us), self.clock.wall(now_us));
        status.witness?.record
    }

    /// A number that was not used yet.
    pub fn fresh(&mut self) -> u64 {
        self.driver.next_number += 1;
        self.driver.next_number
    }

    /// Whether it permits a peer that shows this key.
    pub fn permits(&self, key: KeyId) -> bool {
        let peer = self.engine.as_ref().and_then(|engine| engine.durable_state().peer.as_ref());
        peer.is_some_and(|peer| peer.keys.current == key || peer.keys.next == Some(key))
    }

    /// Makes the next key, or puts it in the place of the one in use. The files are replaced at once, each as a whole.
    pub fn renew(&mut self, action: &Action) -> Event {
        if let Action::UseKey { key } = action {
            self.keys = OwnKeys::only(*key);
            return Event::KeyUsed(Ok(*key));
        }
        let mut next = self.keys.current;
        next.0[31] = next.0[31].wrapping_add(1);
        self.keys.next = Some(next);
        Event::KeyMade(Ok(next))
    }

    /// Commands of operators that are not answered yet.
    pub fn pending_calls(&self) -> Vec<OperatorCall> {
        let word = |asked: &Caller| match asked {
            Caller::Operator(word) => Some(*word),
            _ => None,
        };
        self.callers.waiting.values().filter_map(word).collect()
    }

    /// The process ends. `kept` says how much of the batch under way reached the disk, of 255; `None` is a clean end. Returns
    /// the records that it wrote.
    pub fn stop(&mut self, kept: Option<u8>) -> Result<Vec<Record>, Violation> {
        let mut written = Vec::new();
        let job = self.driver.batch.take();
        self.disk.end(job, self.conditions.accepts_pushes, kept, &mut written)?;
        self.run += 1;
        self.engine = None;
        self.paused_at = None;
        self.driver.reset();
        self.witness_client = WitnessClient::default();
        self.callers.waiting.clear();
        self.callers.question = None;
        self.callers.takeover_ordered = false;
        self.conditions.crash_at = None;
        self.observed = Observed { started_at: self.observed.started_at, ..Observed::default() };
        Ok(written)
    }

    /// 0: an action names only what there is. Called before the action is carried out.
    pub fn check_action(&self, action: &Action) -> Checked {
        let contract = |holds: bool, what: &str| Invariant::Contract.check(holds, || format!("{what}: {action:?}"));
        match action {
            Action::Persist(work) => {
                contract(self.driver.batch.is_none(), "a second batch while one is under way")?;
                contract(Some(work.batch()) > self.driver.last_batch, "a batch number used again")?;
                self.check_work(work)
            }
            Action::Send { link, .. } | Action::PushRecords { link, .. } | Action::Close { link } => {
                contract(self.driver.links.contains_key(link), "an unknown or closed link")
            }
            Action::PushSnapshot { link, transfer, .. } => {
                contract(self.driver.links.contains_key(link), "an unknown or closed link")?;
                contract(self.driver.exports.contains_key(transfer), "a snapshot that is not open")
            }
            Action::OpenSnapshot { transfer, .. } => {
                let used = self.driver.exports.contains_key(transfer) || self.driver.opening.contains(transfer);
                contract(!used, "a transfer number used again")
            }
            Action::MakeKey => contract(self.keys.next.is_none(), "a next key beside another one"),
            Action::UseKey { key } => contract(self.keys.next == Some(*key), "a next key that there is not"),
            Action::DropBulk { bulk } => contract(self.driver.bulks.contains_key(bulk), "unknown bulk"),
            Action::Dial { .. } => contract(self.driver.dial.is_none(), "a second dial while one is under way"),
            Action::AnswerCommit { ticket, .. } | Action::AnswerCommand { ticket, .. } => {
                contract(self.callers.waiting.contains_key(ticket), "an answer to nobody")
            }
            Action::AskWitness { ask, .. } => {
                contract(self.witnessed, "a question to a witness that there is not")?;
                contract(
                    self.witness_client.pending.is_none(),
                    "a second question to the witness while one is under way",
                )?;
                contract(*ask > self.witness_client.last, "a number of a question used again")
            }
            Action::AskMayTakeOver { .. }
            | Action::Publish { .. }
            | Action::Confirm { .. }
            | Action::CloseSnapshot { .. }
            | Action::ResumeSnapshot { .. }
            | Action::CompareSnapshot { .. }
            | Action::SelectSnapshot { .. }
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
                let callers =
                    sets.iter().all(|(ticket, ())| matches!(self.callers.waiting.get(ticket), Some(Caller::Commit(_))));
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
                let records = bulk.iter().all(|id| matches!(self.driver.bulks.get(id), Some(Payload::Records(_))));
                contract(records && !bulk.is_empty(), "no records")
            }
            Work::StagePieces(order) => {
                let bulk = &order.job.pieces;
                let pieces = bulk.iter().all(|id| matches!(self.driver.bulks.get(id), Some(Payload::Snapshot(_))));
                contract(pieces && !bulk.is_empty(), "no pieces of a snapshot")
            }
            Work::StoreState(_)
            | Work::BeginStaging(_)
            | Work::FinishStaging(_)
            | Work::Quarantine(_)
            | Work::Reopen(_) => Ok(()),
        }
    }

    /// The job for this work, with everything that it names taken from the driver.
    pub fn job(&mut self, work: Work) -> Result<Job, Violation> {
        self.driver.last_batch = Some(work.batch());
        let asked = &self.callers.waiting;
        let change = |ticket| match asked.get(&ticket) {
            Some(Caller::Commit(change)) => Some(*change),
            _ => None,
        };
        let bulks = RefCell::new(&mut self.driver.bulks);
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
