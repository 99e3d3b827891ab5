//! Durable work: what the engine asks the store to do, off the driver.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::hooks::Host;
use super::seam::{Environment, Panicked};
use crate::model::{ChangeSet, Era, Position, Revision};
use crate::protocol::engine::{
    AppendGroup, AppendRecords, BeginEra, Completed, DiskFailure, EraReceipt, FinishStaging, GroupReceipt, Job, Order,
    Outcome, Quarantine, QuarantineReceipt, RecordsReceipt, Reopen, ReopenReceipt, StagePieces, StagingReceipt, Work,
};
use crate::store::{Received, Store, Verified};

/// The one writer of the data directory; `None` when the node has stopped. The lock is held for a whole batch, the
/// host's validation included: it is fair, so that maintenance and local entries slip between batches.
pub type StoreCell = Arc<Mutex<Option<Store>>>;

/// Durable work with all that it needs: change sets, frames of records, pieces of a snapshot.
pub type StoreWork = Work<ChangeSet, Bytes, Bytes>;

/// Carries out batches. Clones share.
#[derive(Clone)]
pub struct Keeper {
    environment: Environment,
    store: StoreCell,
    host: Host,
}

/// The store, held for one batch.
struct Held {
    environment: Environment,
    store: OwnedMutexGuard<Option<Store>>,
}

impl Keeper {
    pub fn new(environment: Environment, store: StoreCell, host: Host) -> Self {
        Self { environment, store, host }
    }

    /// Carries out one batch.
    pub async fn carry_out(&self, work: StoreWork) -> Completed {
        let held = self.hold().await;
        match work {
            Work::StoreState(order) => held.complete(order, |store, job| store.write_durable_state(&job.state)).await,
            Work::AppendGroup(order) => held.complete(order, append_group).await,
            Work::BeginEra(order) => held.complete(order, begin_era).await,
            Work::AppendRecords(order) => {
                let (job, pending) = order.split();
                pending.complete(self.append_records(held, job.frames).await)
            }
            Work::BeginStaging(order) => held.complete(order, |store, job| store.stage_begin(&job.header)).await,
            Work::StagePieces(order) => held.complete(order, stage_pieces).await,
            Work::FinishStaging(order) => order.split().1.complete(self.finish_staging(held).await),
            Work::Quarantine(order) => held.complete(order, quarantine).await,
            Work::Reopen(order) => held.complete(order, |store, _| reopen(store)).await,
        }
    }

    /// Applies and trims until there is no more to do, giving way to batches between the groups.
    pub async fn maintain(&self) -> Result<(), DiskFailure> {
        while self.hold().await.run(Store::maintain).await? {}
        Ok(())
    }

    /// Closes the store, and with it the right to the directory. Batches that come later fail.
    pub async fn close(&self) {
        let mut held = self.hold().await;
        let store = held.store.take();
        // Dropping it may touch the disk. Where that panics, the store is gone all the same.
        let _ = self.environment.block(move || drop(store)).await;
    }

    /// Closes the store where nobody works on it; else the one who does is the last to hold it.
    pub fn abandon(&self) {
        if let Ok(mut store) = self.store.try_lock() {
            drop(store.take());
        }
    }

    async fn hold(&self) -> Held {
        Held { environment: self.environment.clone(), store: Arc::clone(&self.store).lock_owned().await }
    }

    /// Records of the peer: written, shown to the host, then made durable or cut off again.
    async fn append_records(&self, held: Held, pieces: Vec<Bytes>) -> Outcome<AppendRecords<Bytes>> {
        let receive = move |store: &mut Store| Ok((store.receive(&pieces)?, store.head()));
        let (held, (received, head)) = held.step(receive).await?;
        Ok(match received {
            Received::Mismatch => RecordsReceipt::Mismatch { head },
            Received::Duplicate => {
                let (head, log_floor) = held.run(|store| Ok(ends(store))).await?;
                RecordsReceipt::Appended { head, log_floor, eras: Vec::new() }
            }
            Received::Pending { candidate } => {
                let at = candidate.revision();
                match self.host.validate(candidate).await {
                    Ok(()) => {
                        let accept = move |store: &mut Store| {
                            store.accept()?;
                            let began = |era: &&Era| era.epoch > head.revision.epoch;
                            let eras = store.history().eras().iter().filter(began).copied().collect();
                            Ok((ends(store), eras))
                        };
                        let ((head, log_floor), eras) = held.run(accept).await?;
                        RecordsReceipt::Appended { head, log_floor, eras }
                    }
                    Err(reason) => {
                        held.run(Store::reject).await?;
                        RecordsReceipt::Rejected { at, reason }
                    }
                }
            }
        })
    }

    /// A staged snapshot: verified, shown to the host, then switched to or dropped.
    async fn finish_staging(&self, held: Held) -> Outcome<FinishStaging> {
        let (held, verified) = held.step(Store::stage_verify).await?;
        let candidate = match verified {
            Verified::Bad { found } => return Ok(StagingReceipt::Mismatch { found }),
            Verified::Good { candidate } => candidate,
        };
        match self.host.validate(candidate).await {
            Ok(()) => {
                let head = held.run(|store| store.stage_switch().map(|()| store.head())).await?;
                Ok(StagingReceipt::Switched { head })
            }
            Err(reason) => {
                held.run(|store| {
                    store.stage_drop();
                    Ok(())
                })
                .await?;
                Ok(StagingReceipt::Rejected { reason })
            }
        }
    }
}

impl Held {
    /// Does a job that is one step.
    async fn complete<J: Job + Send + 'static>(
        self,
        order: Order<J>,
        work: impl FnOnce(&mut Store, J) -> Outcome<J> + Send + 'static,
    ) -> Completed
    where
        J::Receipt: Send + 'static,
    {
        let (job, pending) = order.split();
        pending.complete(self.run(move |store| work(store, job)).await)
    }

    /// The last step of a batch.
    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce(&mut Store) -> Result<T, DiskFailure> + Send + 'static,
    ) -> Result<T, DiskFailure> {
        self.step(work).await.map(|(_, output)| output)
    }

    /// One step of a batch, after which the store is still held. A store that panics is closed like one whose disk
    /// failed: the engine asks to open it again.
    async fn step<T: Send + 'static>(
        self,
        work: impl FnOnce(&mut Store) -> Result<T, DiskFailure> + Send + 'static,
    ) -> Result<(Self, T), DiskFailure> {
        let Self { environment, mut store } = self;
        let work = move || match store.as_mut() {
            Some(open) => work(open).map(|output| (store, output)),
            None => Err(DiskFailure { full: false, reason: "the node is stopped".into() }),
        };
        let (store, output) = environment.block(work).await.unwrap_or_else(|panicked| Err(panicked.into()))?;
        Ok((Self { environment, store }, output))
    }
}

impl From<Panicked> for DiskFailure {
    fn from(_: Panicked) -> Self {
        Self { full: false, reason: "the store panicked".into() }
    }
}

fn append_group(store: &mut Store, job: AppendGroup<ChangeSet>) -> Outcome<AppendGroup<ChangeSet>> {
    let (tickets, change_sets): (Vec<_>, Vec<_>) = job.change_sets.into_iter().unzip();
    let verdicts = store.commit(job.epoch, &change_sets)?;
    let (head, log_floor) = ends(store);
    Ok(GroupReceipt { verdicts: tickets.into_iter().zip(verdicts).collect(), head, log_floor })
}

fn begin_era(store: &mut Store, job: BeginEra) -> Outcome<BeginEra> {
    store.begin_era(&job.state, job.era)?;
    let (head, log_floor) = ends(store);
    Ok(EraReceipt { head, log_floor })
}

fn stage_pieces(store: &mut Store, job: StagePieces<Bytes>) -> Outcome<StagePieces<Bytes>> {
    job.pieces.iter().try_for_each(|piece| store.stage_write(piece))?;
    Ok(job.pieces.iter().map(|piece| piece.len() as u64).sum())
}

fn quarantine(store: &mut Store, job: Quarantine) -> Outcome<Quarantine> {
    let (from, to, change_sets) = store.quarantine(job.common)?;
    Ok(QuarantineReceipt { from, to, change_sets })
}

fn reopen(store: &mut Store) -> Outcome<Reopen> {
    let found = store.reopen().map_err(|error| DiskFailure { full: false, reason: error.to_string() })?;
    let (head, log_floor, history) = (found.head, found.log_floor, found.history);
    Ok(ReopenReceipt { head, log_floor, history, damage: found.damage })
}

/// Durable head and log floor.
fn ends(store: &Store) -> (Position, Revision) {
    (store.head(), store.log_floor())
}
