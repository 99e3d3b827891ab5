//! Durable work: one list of kinds, each with the receipt that it ends with.
//!
//! The engine orders [`Work`] and names what it needs by id. The shell puts the change sets and bytes in ([`Work::resolve`]), takes the
//! order apart ([`Order::split`]), does the job, and completes the [`Pending`] half with the outcome. [`Completed`] is made in no
//! other way, so a receipt of another kind than the job's cannot be written down.

use crate::model::{Conflict, Epoch, Era, History, Position, Revision};
use crate::protocol::replication::{RecordsReceipt, StagedBefore};
use crate::protocol::wire::{BulkId, SnapshotHeader};

use super::{BatchId, DurableState, Ticket};

#[macro_use]
mod kinds;
mod jobs;

// Each kind is named as its job. After its name come what it names by id, and how the end of such a job is called.
kinds! {
    /// Replace the durable state.
    StoreState => StateStored(StatePurpose),
    /// Append change sets as one group.
    AppendGroup<C = ()> => GroupAppended(Vec<Ticket>),
    /// Replace the durable state, then append the record that opens an era.
    BeginEra => EraBegun(),
    /// Append records of the peer.
    AppendRecords<R = BulkId> => RecordsAppended(),
    /// Open a new staging file.
    BeginStaging => StagingBegun(),
    /// Write pieces of a snapshot to it.
    StagePieces<P = BulkId> => PiecesStaged(),
    /// Verify the staged snapshot and switch to it.
    FinishStaging => StagingFinished(),
    /// Keep a former master's change sets as a diff.
    Quarantine => Quarantined(),
    /// Open the store again after a failure.
    Reopen => Reopened(),
}

/// One job, and the right to complete it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order<J> {
    batch: BatchId,
    /// What to do.
    pub job: J,
}

/// A job that was handed on: only the receipt of its own kind completes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending<J: Job> {
    batch: BatchId,
    context: J::Context,
}

/// A kind of durable work.
pub trait Job: Sized {
    /// What it ends with.
    type Receipt;
    /// What the engine wants to know of the job when it is over.
    type Context;

    /// What the engine wants to know of this job.
    fn context(&self) -> Self::Context;

    /// The end of such a job.
    fn completion(context: Self::Context, outcome: Outcome<Self>) -> Completion;
}

/// What became of a job of this kind.
pub type Outcome<J> = Result<<J as Job>::Receipt, DiskFailure>;

/// A batch that is over. Made by [`Pending::complete`] and [`Work::fail`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    batch: BatchId,
    completion: Completion,
}

/// The disk did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFailure {
    /// The disk was full and nothing of the batch is left. Otherwise the store is closed until [`Work::Reopen`] has found out what
    /// is left.
    pub full: bool,
    /// What the system says.
    pub reason: String,
}

/// Replaces the durable state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreState {
    /// The new one.
    pub state: Box<DurableState>,
    /// What it is stored for.
    pub purpose: StatePurpose,
}

/// What the durable state is stored for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatePurpose {
    /// To keep it; a promise of at most this many milliseconds may be given afterwards.
    Keep {
        /// The longest promise that a restart remembers, milliseconds.
        promised_ms: u64,
    },
    /// To note the term that is tried at the witness, or handed over.
    NoteTerm {
        /// The term.
        tried: Epoch,
    },
    /// To become the shadow.
    StepDown,
    /// To become the shadow before anything is handed over.
    HandOver,
}

/// Appends change sets as one group, under one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendGroup<C> {
    /// In this order.
    pub change_sets: Vec<(Ticket, C)>,
    /// As this epoch.
    pub epoch: Epoch,
}

/// The receipt of [`AppendGroup`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupReceipt {
    /// What became of each change set, in order: its revision, or the guard that did not hold. Nothing is left of a refused one.
    pub verdicts: Vec<(Ticket, Result<Revision, Conflict>)>,
    /// Durable head after them.
    pub head: Position,
    /// Where the log begins now.
    pub log_floor: Revision,
}

/// Replaces the durable state, then appends the record that opens this era.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeginEra {
    /// The durable state first.
    pub state: Box<DurableState>,
    /// Then the era.
    pub era: Era,
}

/// The receipt of [`BeginEra`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EraReceipt {
    /// Durable head after it.
    pub head: Position,
    /// Where the log begins now.
    pub log_floor: Revision,
}

/// Appends records of the peer as they came, after the host's validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendRecords<R> {
    /// Frames of records, in this order.
    pub frames: Vec<R>,
    /// How far the source's own log is durable, as far as that is known. After a restart no more than that is shown at first.
    pub durable: Revision,
}

/// Opens a staging file for this snapshot. The receipt tells what there is already; where the source cannot go on there, what is
/// staged is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeginStaging {
    /// What the source says of the snapshot.
    pub header: Box<SnapshotHeader>,
    /// What the source can make of what is there.
    pub onto: StagingBase,
}

/// What a source can make of what its sink has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StagingBase {
    /// Nothing: it sends the whole snapshot.
    Nothing,
    /// It can go on with a snapshot that was cut.
    Staged,
    /// The same. And this node's copy is complete: where nothing is staged, it may send only what differs.
    StagedOrCopy,
}

/// The receipt of [`StagePieces`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PiecesReceipt {
    /// How many bytes were staged.
    pub bytes: u64,
    /// After the last of the hashes: which of the entries are wanted.
    pub wants: Option<Vec<u8>>,
}

/// Writes pieces of a snapshot to the staging file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagePieces<P> {
    /// In this order.
    pub pieces: Vec<P>,
    /// Make what is staged durable, so that the snapshot can go on there after a crash.
    pub keep: bool,
}

/// Verifies the staged snapshot by its digest, asks the host's validation, and switches to it; the log starts anew after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishStaging;

/// The receipt of [`FinishStaging`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StagingReceipt {
    /// The snapshot is the configuration now.
    Switched {
        /// Durable head now.
        head: Position,
    },
    /// The snapshot was not what its header said; it is deleted.
    Mismatch {
        /// What it was instead.
        found: Position,
    },
    /// The host's validation refused it; it is deleted.
    Rejected {
        /// Why.
        reason: String,
    },
}

/// Keeps the change sets after this position as a diff, with the values before them; the configuration stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// The last common position.
    pub common: Revision,
}

/// The receipt of [`Quarantine`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineReceipt {
    /// Head before.
    pub from: Revision,
    /// Last of the change sets.
    pub to: Revision,
    /// How many there are.
    pub change_sets: u64,
}

/// Opens the store again after a failure, and finds out what is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reopen;

/// The receipt of [`Reopen`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReopenReceipt {
    /// Durable head that was found.
    pub head: Position,
    /// Where the log begins now.
    pub log_floor: Revision,
    /// Lineage that was found.
    pub history: History,
    /// What readers see of it.
    pub shown: Revision,
    /// Damage that was found: the copy does not count before it is repaired.
    pub damage: Option<String>,
}

impl<J> Order<J> {
    /// An order of this job. The queue numbers it when it begins.
    pub(super) fn new(job: J) -> Self {
        Self { batch: BatchId(0), job }
    }

    fn numbered(self, batch: BatchId) -> Self {
        Self { batch, ..self }
    }

    /// The same order with another job of its kind.
    pub fn map<K>(self, job: impl FnOnce(J) -> K) -> Order<K> {
        Order { batch: self.batch, job: job(self.job) }
    }
}

impl<J: Job> Order<J> {
    /// The number of its batch.
    pub fn batch(&self) -> BatchId {
        self.batch
    }

    /// The job, and what its receipt completes.
    pub fn split(self) -> (J, Pending<J>) {
        let context = self.job.context();
        (self.job, Pending { batch: self.batch, context })
    }

    /// The job was not done.
    fn fail(self, failure: DiskFailure) -> Completed {
        self.split().1.complete(Err(failure))
    }
}

impl<J: Job> Pending<J> {
    /// The job is over.
    pub fn complete(self, outcome: Outcome<J>) -> Completed {
        Completed { batch: self.batch, completion: J::completion(self.context, outcome) }
    }
}

impl Completed {
    /// The batch that is over.
    pub fn batch(&self) -> BatchId {
        self.batch
    }

    /// What became of it.
    pub fn completion(&self) -> &Completion {
        &self.completion
    }

    /// What became of it.
    pub fn into_completion(self) -> Completion {
        self.completion
    }
}

impl<C, R, P> Work<C, R, P> {
    /// Whether the sink of a session ordered it.
    pub fn is_of_sink(&self) -> bool {
        matches!(self, Self::AppendRecords(_) | Self::BeginStaging(_) | Self::StagePieces(_) | Self::FinishStaging(_))
    }

    /// Whether its size is bounded by [`crate::limits`], so that it takes a bounded time on a disk that answers. A staged
    /// snapshot is as large as the configuration, a piece of one may begin with a copy of it, and a quarantine or an opened
    /// store as what the log keeps.
    pub fn is_bounded(&self) -> bool {
        !matches!(
            self,
            Self::BeginStaging(_)
                | Self::StagePieces(_)
                | Self::FinishStaging(_)
                | Self::Quarantine(_)
                | Self::Reopen(_)
        )
    }
}

impl Work {
    /// The same work with what its ids stand for.
    ///
    /// # Errors
    /// The work as a failed batch, where an id stands for nothing: the shell has lost what it was to keep.
    pub fn resolve<C, R, P>(
        self,
        mut change_set: impl FnMut(Ticket) -> Option<C>,
        mut records: impl FnMut(BulkId) -> Option<R>,
        mut piece: impl FnMut(BulkId) -> Option<P>,
    ) -> Result<Work<C, R, P>, Box<Completed>> {
        let lost = |what: &str| DiskFailure { full: false, reason: format!("{what} is not here") };
        Ok(match self {
            Self::AppendGroup(order) => {
                let found = order.job.change_sets.iter().map(|(ticket, ())| Some((*ticket, change_set(*ticket)?)));
                match found.collect() {
                    Some(change_sets) => {
                        Work::AppendGroup(order.map(|job| AppendGroup { change_sets, epoch: job.epoch }))
                    }
                    None => return Err(Box::new(order.fail(lost("a change set that the engine names")))),
                }
            }
            Self::AppendRecords(order) => match order.job.frames.iter().map(|bulk| records(*bulk)).collect() {
                Some(frames) => Work::AppendRecords(order.map(|job| AppendRecords { frames, durable: job.durable })),
                None => return Err(Box::new(order.fail(lost("a frame of records that the engine names")))),
            },
            Self::StagePieces(order) => match order.job.pieces.iter().map(|bulk| piece(*bulk)).collect() {
                Some(pieces) => Work::StagePieces(order.map(|job| StagePieces { pieces, keep: job.keep })),
                None => return Err(Box::new(order.fail(lost("a piece of a snapshot that the engine names")))),
            },
            Self::StoreState(order) => Work::StoreState(order),
            Self::BeginEra(order) => Work::BeginEra(order),
            Self::BeginStaging(order) => Work::BeginStaging(order),
            Self::FinishStaging(order) => Work::FinishStaging(order),
            Self::Quarantine(order) => Work::Quarantine(order),
            Self::Reopen(order) => Work::Reopen(order),
        })
    }
}
