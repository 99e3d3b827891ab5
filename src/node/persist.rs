//! Durable work: what the engine asks the store to do, off the driver.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::hooks::Host;
use super::seam::{Environment, Panicked};
use crate::model::{ChangeSet, Epoch, Era, Position, Revision};
use crate::protocol::engine::{DiskFailure, DurableState, Receipt, RecordsReceipt, Ticket};
use crate::protocol::wire::SnapshotHeader;
use crate::store::{Received, Store, Verified};

/// The one writer of the data directory; `None` when the node has stopped. The lock is held for a whole batch, the
/// host's validation included: it is fair, so that maintenance and local entries slip between batches.
pub type StoreCell = Arc<Mutex<Option<Store>>>;

/// One batch, with all that it needs.
pub enum Batch {
    DurableState(Box<DurableState>),
    Commits { tickets: Vec<Ticket>, change_sets: Vec<ChangeSet>, epoch: Epoch },
    Era { durable_state: Box<DurableState>, era: Era },
    Records(Vec<Bytes>),
    StageBegin(Box<SnapshotHeader>),
    Stage(Vec<Bytes>),
    StageFinish,
    Quarantine { common: Revision },
    Reopen,
}

/// What became of a batch.
pub type Outcome = Result<Receipt, DiskFailure>;

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
    pub async fn carry_out(&self, batch: Batch) -> Outcome {
        let held = self.hold().await;
        match batch {
            Batch::DurableState(durable_state) => {
                held.run(move |store| store.write_durable_state(&durable_state).map(|()| Receipt::DurableState)).await
            }
            Batch::Commits { tickets, change_sets, epoch } => held.commit(tickets, change_sets, epoch).await,
            Batch::Era { durable_state, era } => held.begin_era(durable_state, era).await,
            Batch::Records(pieces) => self.append_records(held, pieces).await,
            Batch::StageBegin(header) => {
                held.run(move |store| store.stage_begin(&header).map(|()| Receipt::StageBegun)).await
            }
            Batch::Stage(pieces) => held.stage(pieces).await,
            Batch::StageFinish => self.finish_stage(held).await,
            Batch::Quarantine { common } => held.quarantine(common).await,
            Batch::Reopen => held.reopen().await,
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
    async fn append_records(&self, held: Held, pieces: Vec<Bytes>) -> Result<Receipt, DiskFailure> {
        let receive = move |store: &mut Store| Ok((store.receive(&pieces)?, store.head()));
        let (held, (received, head)) = held.step(receive).await?;
        let receipt = match received {
            Received::Mismatch => RecordsReceipt::Mismatch { head },
            Received::Known => {
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
        };
        Ok(Receipt::Records(receipt))
    }

    /// A staged snapshot: verified, shown to the host, then switched to or dropped.
    async fn finish_stage(&self, held: Held) -> Result<Receipt, DiskFailure> {
        let (held, verified) = held.step(Store::stage_verify).await?;
        let candidate = match verified {
            Verified::Bad { found } => return Ok(Receipt::StageMismatch { found }),
            Verified::Good { candidate } => candidate,
        };
        match self.host.validate(candidate).await {
            Ok(()) => {
                let head = held.run(|store| store.stage_switch().map(|()| store.head())).await?;
                Ok(Receipt::StageFinished { head })
            }
            Err(reason) => {
                held.run(|store| {
                    store.stage_drop();
                    Ok(())
                })
                .await?;
                Ok(Receipt::StageRejected { reason })
            }
        }
    }
}

impl Held {
    async fn commit(
        self,
        tickets: Vec<Ticket>,
        change_sets: Vec<ChangeSet>,
        epoch: Epoch,
    ) -> Result<Receipt, DiskFailure> {
        let write = move |store: &mut Store| store.commit(epoch, &change_sets).map(|verdicts| (verdicts, ends(store)));
        let (verdicts, (head, log_floor)) = self.run(write).await?;
        Ok(Receipt::Commits { verdicts: tickets.into_iter().zip(verdicts).collect(), head, log_floor })
    }

    async fn begin_era(self, durable_state: Box<DurableState>, era: Era) -> Result<Receipt, DiskFailure> {
        let write = move |store: &mut Store| store.lead(&durable_state, era).map(|()| ends(store));
        let (head, log_floor) = self.run(write).await?;
        Ok(Receipt::Era { head, log_floor })
    }

    async fn stage(self, pieces: Vec<Bytes>) -> Result<Receipt, DiskFailure> {
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        self.run(move |store| pieces.iter().try_for_each(|piece| store.stage_write(piece))).await?;
        Ok(Receipt::Staged { bytes })
    }

    async fn quarantine(self, common: Revision) -> Result<Receipt, DiskFailure> {
        let (from, to, change_sets) = self.run(move |store| store.quarantine(common)).await?;
        Ok(Receipt::Quarantined { from, to, change_sets })
    }

    async fn reopen(self) -> Outcome {
        let reopen =
            |store: &mut Store| store.reopen().map_err(|error| DiskFailure { full: false, reason: error.to_string() });
        let found = self.run(reopen).await?;
        let (head, log_floor, history) = (found.head, found.log_floor, found.history);
        Ok(Receipt::Reopened { head, log_floor, history, damage: found.damage })
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

/// Durable head and log floor.
fn ends(store: &Store) -> (Position, Revision) {
    (store.head(), store.log_floor())
}
