//! A checkpoint: moves changes to the state beside the writer, so that commits go on meanwhile.
//!
//! The writer begins it and completes it. Between the two the state file belongs to the checkpoint, and it touches nothing
//! else. Who runs it holds a [`Checkpoint`]; the writer holds a [`CheckpointUnderWay`].
//!
//! | stage | `run` | `finish` | `abandon`, drop of the writer's end |
//! |---|---|---|---|
//! | planned | running, then done | running, then over: it runs it itself | over |
//! | running | (one thread runs it) | waits; over | abandoned: the file is fenced, the next write fails |
//! | done | nothing | over | over |
//! | abandoned | over, when the thread notices | `None` | nothing |
//! | over | nothing | `None` | nothing |

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::checksummed_file::ChecksummedFile;
use super::data_dir::DirLock;
use super::mutants::{Mutant, is_active};
use super::state::{Move, StateFile, StateSnapshot};
use crate::model::DigestKey;

/// A checkpoint that is to be run. Whoever drops it without running it leaves that to `Store::complete_checkpoint`.
pub struct Checkpoint(Arc<Shared>);

/// The writer's end of a checkpoint. Dropping it abandons the checkpoint.
pub(super) struct CheckpointUnderWay(Arc<Shared>);

/// What a checkpoint works with.
pub(super) struct Work {
    pub(super) state: StateFile,
    pub(super) moves: Move,
    pub(super) keys: DigestKey,
    /// The directory stays locked while a thread may still write the state.
    pub(super) lock: Arc<DirLock>,
}

/// What became of the state.
pub(super) struct Outcome {
    pub(super) state: StateFile,
    /// What it holds now, and whether more undo images are to be pruned.
    pub(super) result: io::Result<(Arc<StateSnapshot>, bool)>,
}

/// Who has the state file.
pub(super) enum StateHolder {
    /// The writer.
    Here(StateFile),
    /// A checkpoint of this many versions.
    Away(CheckpointUnderWay, usize),
    /// Nobody, until it is opened again.
    Closed,
}

impl StateHolder {
    /// Takes the state file out of use: whoever has it writes it no more.
    pub(super) fn close(&mut self) {
        if let Self::Here(state) = self {
            state.close();
        }
        // Dropped, a checkpoint under way is abandoned.
        *self = Self::Closed;
    }

    /// The same. Returns when nobody uses the file any more.
    pub(super) fn close_and_wait(&mut self) {
        let under_way = match std::mem::replace(self, Self::Closed) {
            Self::Away(under_way, _) => under_way,
            mut other => return other.close(),
        };
        under_way.abandon();
        under_way.wait_until_over();
    }

    /// Opens the state file again after a failed transaction.
    pub(super) fn reopen(&mut self) -> io::Result<Arc<StateSnapshot>> {
        match self {
            Self::Here(state) => state.reopen().and_then(|()| state.snapshot()),
            Self::Away(..) | Self::Closed => Err(io::Error::other("the state is closed")),
        }
    }
}

struct Shared {
    stage: Mutex<Stage>,
    changed: Condvar,
    storage: ChecksummedFile,
    /// Memory of the changes that are in the state, though not durably.
    moved: AtomicU64,
}

enum Stage {
    Planned(Box<Work>),
    Running,
    Done(Box<Outcome>),
    Abandoned,
    Over,
}

/// Ends the stage `running`, also when the thread panics.
struct Running<'a> {
    shared: &'a Shared,
    outcome: Option<Box<Outcome>>,
}

/// Plans a checkpoint.
pub(super) fn plan(work: Work) -> (CheckpointUnderWay, Checkpoint) {
    let storage = work.state.storage();
    let stage = Mutex::new(Stage::Planned(Box::new(work)));
    let shared = Arc::new(Shared { stage, changed: Condvar::new(), storage, moved: AtomicU64::new(0) });
    (CheckpointUnderWay(shared.clone()), Checkpoint(shared))
}

impl Checkpoint {
    /// Runs it, unless it was run or abandoned. Blocks for as long as the disk takes.
    pub fn run(&self) {
        self.0.run();
    }
}

impl CheckpointUnderWay {
    /// What became of it: runs it, or waits until it has run. `None` if the thread that ran it panicked.
    pub(super) fn finish(&self) -> Option<Outcome> {
        self.0.run();
        let mut stage = self.0.wait_while(|stage| matches!(stage, Stage::Running));
        match std::mem::replace(&mut *stage, Stage::Over) {
            Stage::Done(outcome) => Some(*outcome),
            _ => None,
        }
    }

    /// Waits until it has moved changes that take more memory than this, or no longer runs. Returns what it has moved, or
    /// `None` if it does not run.
    pub(super) fn wait_for_more_than(&self, moved: u64) -> Option<u64> {
        let waits = |stage: &mut Stage| matches!(stage, Stage::Running) && self.moved() <= moved;
        let stage = self.0.wait_while(waits);
        matches!(*stage, Stage::Running).then(|| self.moved())
    }

    /// Memory of the changes that it has moved.
    pub(super) fn moved(&self) -> u64 {
        self.0.moved.load(Ordering::Acquire)
    }

    /// Nobody needs the state file any more, or another handle is going to write it: no write begins after this.
    pub(super) fn abandon(&self) {
        if is_active(Mutant::CheckpointGoesOn) {
            return;
        }
        let mut stage = self.0.lock();
        let next = match *stage {
            Stage::Over => return,
            Stage::Running | Stage::Abandoned => Stage::Abandoned,
            Stage::Planned(_) | Stage::Done(_) => Stage::Over,
        };
        self.0.storage.fence();
        let before = std::mem::replace(&mut *stage, next);
        drop(stage);
        match before {
            Stage::Planned(mut work) => work.state.close(),
            Stage::Done(mut outcome) => outcome.state.close(),
            Stage::Running | Stage::Abandoned | Stage::Over => {}
        }
    }

    /// Waits until the thread that runs an abandoned checkpoint has let go of the state file.
    pub(super) fn wait_until_over(&self) {
        drop(self.0.wait_while(|stage| matches!(stage, Stage::Abandoned)));
    }
}

impl Drop for CheckpointUnderWay {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl Shared {
    fn run(&self) {
        let mut stage = self.lock();
        let work = match std::mem::replace(&mut *stage, Stage::Running) {
            Stage::Planned(work) => work,
            other => return *stage = other,
        };
        drop(stage);
        let mut running = Running { shared: self, outcome: None };
        running.outcome = Some(Box::new(self.work(*work)));
    }

    fn work(&self, work: Work) -> Outcome {
        let Work { mut state, mut moves, keys, lock: _lock } = work;
        let applied = state.apply(&mut moves, &keys, &mut |moved| self.tick(moved));
        let result = applied.and_then(|more| Ok((state.snapshot()?, more)));
        Outcome { state, result }
    }

    /// Counts what was moved. An error if the checkpoint is abandoned.
    fn tick(&self, moved: u64) -> io::Result<()> {
        let stage = self.lock();
        self.moved.fetch_add(moved, Ordering::AcqRel);
        self.changed.notify_all();
        match *stage {
            Stage::Running => Ok(()),
            _ => Err(io::Error::other("the checkpoint was abandoned")),
        }
    }

    fn wait_while(&self, waits: impl FnMut(&mut Stage) -> bool) -> MutexGuard<'_, Stage> {
        self.changed.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing panics under the lock.
    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut outcome = self.outcome.take();
        let mut stage = self.shared.lock();
        *stage = match (&*stage, outcome.take()) {
            (Stage::Running, Some(done)) => Stage::Done(done),
            (_, dropped) => {
                outcome = dropped;
                Stage::Over
            }
        };
        self.shared.changed.notify_all();
        drop(stage);
        if let Some(mut outcome) = outcome {
            outcome.state.close();
        }
    }
}
