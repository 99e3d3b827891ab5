//! The real store under a node, on a simulated disk. It does every job that the model does, on bytes of its own, and its faults
//! come from the disk below it. `differential` compares it with the model.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::job::{Job, has_change_sets};
use super::records::{Change, DigestCache, ITEM_BYTES, Record, Sent, key_of, value_of};
use crate::campaign::simulator::random::Random;
use crate::campaign::violation::{Checked, Invariant, Violation, catch_panic};
use crate::model::{ChangeSet, Era, Expected, Guard, History, Key, PairId, Position, Revision};
use crate::protocol::engine::{
    self, Completed, DiskFailure, DurableState, EraReceipt, GroupReceipt, Order, Outcome, PiecesReceipt,
    QuarantineReceipt, RecordsReceipt, ReopenReceipt, StagedBefore, StagingBase, StagingReceipt, Ticket,
};
use crate::protocol::wire::SnapshotHeader;
use crate::store::disk::Disk as FileSystem;
use crate::store::disk::sim::{PowerCut, SimDisk};
use crate::store::{
    Appended, Checkpoint, Diverged, Export, Opened, Reader, Received, Store, StoreError, StoreOptions, Verified,
};

mod reads;

const DIR: &str = "data";
/// Bytes of a log that is bounded by its change sets only.
const LOG_BYTES: u64 = 64 << 20;
/// Power is cut in a job after at most so many changes of the disk.
const STOP_MAX: u64 = 40;
/// The same in a recovery.
const STOP_RECOVERY_MAX: u64 = 20;

/// What the real stores of both nodes share.
#[derive(Debug)]
pub struct StoreContext {
    /// The digests of the pair.
    pub digests: Arc<DigestCache>,
    /// Snapshots by their revision. A revision has the same snapshot everywhere, with the same chain.
    headers: Mutex<BTreeMap<Revision, SnapshotHeader>>,
    /// What happened to the stores, and how often.
    pub counts: Mutex<BTreeMap<&'static str, u64>>,
}

/// A store on its disk. A clone is a copy of the disk, not opened.
pub struct RealStore {
    pub(super) random: Random,
    disk: SimDisk,
    pub(super) options: StoreOptions,
    open: Option<(Store, Reader)>,
    /// Snapshots being read, each with the `life` in which it was opened.
    exports: BTreeMap<u64, (u64, Export)>,
    /// A checkpoint that is to be run.
    checkpoint: Option<Checkpoint>,
    life: u64,
    /// The group in the log that is not durable, or why there is none.
    written: Option<Result<Appended, DiskFailure>>,
    /// The job whose failure closed the store. How much of it is there is not known.
    pub(super) uncertain: Option<UncertainJob>,
    /// The newest revision that was ever confirmed. What undoes it may be gone.
    pub(super) confirmed: Revision,
    /// What is in quarantine.
    pub(super) diverged: Vec<Diverged>,
    pub(super) context: Arc<StoreContext>,
}

/// A job of which any part may be there.
#[derive(Clone, Debug)]
pub(super) struct UncertainJob {
    pub(super) job: Job,
    pub(super) accepts: bool,
}

/// What a store was found to hold.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) head: Position,
    pub(super) history: History,
    pub(super) durable_state: DurableState,
}

/// What was read, or why nothing could be: a read may fail where the store is closed, or was closed meanwhile.
pub type ReadOutcome<T> = Result<Result<T, String>, Violation>;

impl StoreContext {
    /// Of a pair.
    pub fn new(pair: &PairId) -> Self {
        Self { digests: Arc::new(DigestCache::new(pair)), headers: Mutex::default(), counts: Mutex::default() }
    }

    pub(super) fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }
}

impl fmt::Debug for RealStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RealStore").field("uncertain", &self.uncertain).finish_non_exhaustive()
    }
}

impl Clone for RealStore {
    fn clone(&self) -> Self {
        Self {
            random: self.random.clone(),
            disk: self.disk.copy(),
            options: self.options,
            open: None,
            exports: BTreeMap::new(),
            checkpoint: None,
            life: self.life,
            written: None,
            uncertain: self.uncertain.clone(),
            confirmed: self.confirmed,
            diverged: self.diverged.clone(),
            context: self.context.clone(),
        }
    }
}

impl RealStore {
    /// A new store with this durable state.
    pub(super) fn create(
        seed: u64,
        durable_state: &DurableState,
        log_changes: usize,
        context: &Arc<StoreContext>,
    ) -> Result<Self, Violation> {
        let mut random = Random::new(seed);
        // Bounded by bytes, a log has many segments.
        let log_bytes = *random.pick(&[LOG_BYTES, LOG_BYTES, 300_000]);
        let options = StoreOptions { log_changes: log_changes as u64, log_bytes };
        let disk = SimDisk::new(random.bits());
        let files: Arc<dyn FileSystem> = Arc::new(disk.clone());
        let made = catch_panic(|| {
            let lock = Store::lock(&files, Path::new(DIR))?;
            Store::create(files, Path::new(DIR), lock, durable_state, options)
        })?;
        let Opened { store, reader, .. } = made.map_err(|error| broken("a new store", &error))?;
        Ok(Self {
            random,
            disk,
            options,
            open: Some((store, reader)),
            exports: BTreeMap::new(),
            checkpoint: None,
            life: 0,
            written: None,
            uncertain: None,
            confirmed: Revision::NONE,
            diverged: Vec::new(),
            context: context.clone(),
        })
    }

    /// Whether the log is bounded by change sets only.
    pub(super) fn is_roomy(&self) -> bool {
        self.options.log_bytes == LOG_BYTES
    }

    pub(super) fn store(&mut self) -> Result<&mut Store, Violation> {
        self.open.as_mut().map(|(store, _)| store).ok_or_else(unopened)
    }

    pub(super) fn reader(&self) -> Result<&Reader, Violation> {
        self.open.as_ref().map(|(_, reader)| reader).ok_or_else(unopened)
    }

    /// Sets the faults of the next job: its nth sync fails; the disk is full.
    pub(super) fn arm(&self, fail_sync: u64, full: bool) {
        self.disk.fail_sync(fail_sync);
        self.disk.set_capacity(if full { self.disk.used() } else { u64::MAX });
    }

    /// Does a job as the node does it.
    pub(super) fn work(&mut self, job: &Job, accepts: bool) -> Result<Completed, Violation> {
        let header = match job {
            Job::BeginStaging(order) => {
                let header = &order.job.header;
                let known = self
                    .context
                    .headers
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get(&header.position.revision)
                    .cloned();
                let lost = || violation(format!("a snapshot at {} was never opened", header.position.revision));
                Some(known.ok_or_else(lost)?)
            }
            _ => None,
        };
        let written = self.written.take();
        let store = self.store()?;
        catch_panic(|| carry_out(store, job.clone(), header, accepts, written))
    }

    /// Writes the group of a job, without making it durable. Returns its records.
    pub(super) fn append(&mut self, job: &Job) -> Result<Option<Bytes>, Violation> {
        let Job::AppendGroup(order) = job else {
            return Ok(None);
        };
        let (epoch, changes) = (order.job.epoch, changes_of(&order.job.change_sets));
        let store = self.store()?;
        let written = catch_panic(|| store.append(epoch, &changes))?;
        let records = written.as_ref().ok().map(|appended| appended.records().clone());
        self.written = Some(written);
        Ok(records.filter(|records| !records.is_empty()))
    }

    /// Applies what is visible to the state, as the node does from time to time.
    pub(super) fn maintain(&mut self) -> Result<Result<(), DiskFailure>, Violation> {
        self.context.count("store: maintained");
        let step = self.random.below(5);
        let checkpoint = self.checkpoint.take();
        let store = self.store()?;
        let (kept, done) = catch_panic(|| match step {
            0 | 1 => match store.begin_checkpoint() {
                Ok(begun) => (begun.or(checkpoint), Ok(())),
                Err(failure) => (checkpoint, Err(failure)),
            },
            // The store may have been opened again meanwhile, or have switched to a full push.
            2 => {
                checkpoint.iter().for_each(Checkpoint::run);
                (None, Ok(()))
            }
            3 => (checkpoint, store.complete_checkpoint().map(drop)),
            _ => (checkpoint, store.maintain().map(drop)),
        })?;
        self.checkpoint = kept;
        Ok(done)
    }

    /// Power is cut while the store does a job, or something of its own, or nothing.
    pub(super) fn cut_power(&mut self, job: Option<&Job>, accepts: bool) -> Checked {
        self.disk.fail_sync(0);
        self.disk.stop(1 + self.random.below(STOP_MAX));
        match job {
            Some(job) => {
                self.context.count("store: power cut in a job");
                // Nobody hears the result.
                drop(self.work(job, accepts)?);
                self.uncertain.get_or_insert(UncertainJob { job: job.clone(), accepts });
            }
            None if self.random.percent(30) => drop(self.maintain()?),
            None => {}
        }
        let cut = *self.random.pick(&[PowerCut::Lost, PowerCut::Kept, PowerCut::Torn, PowerCut::Torn]);
        self.close(Some(cut))
    }

    /// The process ends, or power goes.
    pub(super) fn close(&mut self, cut: Option<PowerCut>) -> Checked {
        if let Some(cut) = cut {
            self.disk.cut_power(cut);
        }
        let open = (self.open.take(), self.checkpoint.take(), std::mem::take(&mut self.exports));
        self.written = None;
        catch_panic(|| drop(open))?;
        if cut.is_none() {
            self.disk.kill();
        }
        Ok(())
    }

    /// Opens what a crash left. Now and then another crash interrupts that.
    pub(super) fn recover(&mut self, crashed: bool) -> Result<Recovered, Violation> {
        self.arm(0, false);
        while crashed && self.random.percent(20) {
            self.context.count("store: power cut in a recovery");
            self.disk.stop(1 + self.random.below(STOP_RECOVERY_MAX));
            let half = catch_panic(|| open(&self.disk, self.options))?;
            self.disk.cut_power(PowerCut::Torn);
            catch_panic(|| drop(half))?;
        }
        let opened = catch_panic(|| open(&self.disk, self.options))?;
        let opened = opened.map_err(|error| broken("opening the store", &error))?;
        self.life += 1;
        let found = found(&opened)?;
        self.open = Some((opened.store, opened.reader));
        Ok(found)
    }

    /// What would be found after a power cut now that loses everything not durable.
    pub(super) fn peek(&mut self) -> Result<Recovered, Violation> {
        self.life += 1;
        let copy = self.disk.copy();
        copy.set_capacity(u64::MAX);
        copy.cut_power(PowerCut::Lost);
        let opened = catch_panic(|| open(&copy, self.options))?;
        found(&opened.map_err(|error| broken("opening a copy of the store", &error))?)
    }

    /// The peer holds everything up to here.
    pub(super) fn confirm(&mut self, upto: Revision) {
        self.confirmed = self.confirmed.max(upto);
        if let Some((_, reader)) = &self.open {
            reader.confirm(upto);
        }
    }
}

fn open(disk: &SimDisk, options: StoreOptions) -> Result<Opened, StoreError> {
    let files: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let lock = Store::lock(&files, Path::new(DIR))?;
    Store::open(files, Path::new(DIR), lock, options)
}

fn found(opened: &Opened) -> Result<Recovered, Violation> {
    let Opened { head, history, durable_state, damage, .. } = opened;
    Invariant::SameContent.check(damage.is_none(), || format!("the store says that it is damaged: {damage:?}"))?;
    Ok(Recovered { head: *head, history: history.clone(), durable_state: durable_state.clone() })
}

/// The calls that the node makes for a batch (`node::persist`).
fn carry_out(
    store: &mut Store,
    job: Job,
    header: Option<SnapshotHeader>,
    accepts: bool,
    written: Option<Result<Appended, DiskFailure>>,
) -> Completed {
    match job {
        Job::StoreState(order) => complete(order, |job| store.write_durable_state(&job.state)),
        Job::AppendGroup(order) => complete(order, |job| {
            let appended = written.unwrap_or_else(|| store.append(job.epoch, &changes_of(&job.change_sets)))?;
            let verdicts = store.make_durable(appended)?;
            let verdicts = job.change_sets.iter().map(|(ticket, _)| *ticket).zip(verdicts).collect();
            Ok(GroupReceipt { verdicts, head: store.head(), log_floor: store.log_floor() })
        }),
        Job::BeginEra(order) => complete(order, |job| {
            store.begin_era(&job.state, job.era)?;
            Ok(EraReceipt { head: store.head(), log_floor: store.log_floor() })
        }),
        Job::AppendRecords(order) => complete(order, |job| receive(store, &job.frames, job.durable, accepts)),
        Job::BeginStaging(order) => complete(order, |job| {
            let header = header.unwrap_or(*job.header);
            match job.onto {
                StagingBase::Nothing => store.stage_begin(&header).map(|()| StagedBefore::Nothing),
                StagingBase::Staged => store.stage_resume(&header),
                StagingBase::StagedOrCopy => store.stage_compare(&header),
            }
        }),
        Job::StagePieces(order) => complete(order, |job| {
            let pieces = job.pieces.iter().flat_map(|piece| &piece.bytes);
            pieces.cloned().try_for_each(|bytes| store.stage_write(&bytes.into()))?;
            if job.keep {
                store.stage_keep()?;
            }
            // The engines count the bytes of the model.
            let bytes = job.pieces.iter().map(|piece| (piece.len() * ITEM_BYTES) as u64).sum();
            Ok(PiecesReceipt { bytes, wants: store.stage_wants() })
        }),
        Job::FinishStaging(order) => complete(order, |_| match store.stage_verify()? {
            Verified::Bad { found } => Ok(StagingReceipt::Mismatch { found }),
            Verified::Good { .. } if accepts => {
                store.stage_switch().map(|()| StagingReceipt::Switched { head: store.head() })
            }
            Verified::Good { .. } => {
                store.stage_drop();
                Ok(StagingReceipt::Rejected { reason: "the host says no".into() })
            }
        }),
        Job::Quarantine(order) => complete(order, |job| {
            let (from, to, change_sets) = store.quarantine(job.common)?;
            Ok(QuarantineReceipt { from, to, change_sets })
        }),
        Job::Reopen(order) => complete(order, |_| {
            let found = store
                .reopen()
                .map_err(|error| DiskFailure { full: false, reason: format!("opening again: {error}") })?;
            let (head, log_floor, history, shown) = (found.head, found.log_floor, found.history, found.shown);
            Ok(ReopenReceipt { head, log_floor, history, shown, damage: found.damage })
        }),
    }
}

fn complete<J: engine::Job>(order: Order<J>, work: impl FnOnce(J) -> Outcome<J>) -> Completed {
    let (job, pending) = order.split();
    pending.complete(work(job))
}

fn receive(
    store: &mut Store,
    pieces: &[Sent<Record>],
    durable: Revision,
    accepts: bool,
) -> Result<RecordsReceipt, DiskFailure> {
    let bytes: Vec<Bytes> = pieces.iter().flat_map(|piece| piece.bytes.iter().cloned()).collect();
    let (received, head) = (store.receive(&bytes)?, store.head());
    let candidate = match received {
        Received::Mismatch => return Ok(RecordsReceipt::Mismatch { head }),
        Received::Duplicate => {
            return Ok(RecordsReceipt::Appended { head, log_floor: store.log_floor(), eras: Vec::new() });
        }
        Received::Pending { candidate } => candidate,
    };
    if !accepts && has_change_sets(pieces) {
        store.reject()?;
        return Ok(RecordsReceipt::Rejected { at: candidate.revision(), reason: "the host says no".into() });
    }
    store.accept(Some(durable))?;
    let history = store.history();
    let eras: Vec<Era> = history.eras().iter().filter(|era| era.epoch > head.revision.epoch).copied().collect();
    Ok(RecordsReceipt::Appended { head: store.head(), log_floor: store.log_floor(), eras })
}

fn changes_of(change_sets: &[(Ticket, Change)]) -> Vec<ChangeSet> {
    change_sets.iter().map(|(_, change)| change_set(*change)).collect()
}

fn change_set(change: Change) -> ChangeSet {
    let key = key_of(change.key);
    let set = match change.value.map(value_of) {
        Some((value, true)) => ChangeSet::new().put_secret(&key, value),
        Some((value, false)) => ChangeSet::new().put(&key, value),
        None => ChangeSet::new().delete(&key),
    };
    match Key::new(&key) {
        Ok(key) if change.guarded => set.only_if(Guard::Key { key, expected: Expected::Present }),
        _ => set,
    }
}

/// 4: the store does not hold what it should.
pub(super) fn violation(what: String) -> Violation {
    Violation { invariant: Invariant::SameContent, what: format!("the store: {what}") }
}

fn broken(what: &str, error: &dyn fmt::Display) -> Violation {
    violation(format!("{what}: {error}"))
}

fn unopened() -> Violation {
    Violation { invariant: Invariant::Contract, what: "the store is used and not open".into() }
}
