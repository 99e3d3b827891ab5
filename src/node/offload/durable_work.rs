//! Executes the engine's durable work on the store.

use bytes::Bytes;

use super::store_access::{StoreAccess, on_store};
use crate::model::{ChangeSet, Era, Position, Revision};
use crate::node::mutants::{Mutant, made};
use crate::protocol::engine::{
    AppendGroup, AppendRecords, BatchId, BeginEra, BeginStaging, Completed, DiskFailure, EraReceipt, FinishStaging,
    GroupReceipt, Job, Order, Outcome, PiecesReceipt, Quarantine, QuarantineReceipt, RecordsReceipt, Reopen,
    ReopenReceipt, StagePieces, StagedBefore, StagingBase, StagingReceipt, Work,
};
use crate::store::{Appended, Received, SnapshotPiece, Store, Verified};

/// Durable work with all that it needs: change sets, frames of records, pieces of a snapshot.
pub type StoreWork = Work<ChangeSet, Bytes, SnapshotPiece>;

/// Executes work in one step, without asking the host. `written` hears of a group that is in the log and not durable yet.
pub fn execute(
    access: StoreAccess<'_>,
    work: StoreWork,
    written: impl FnOnce(BatchId, Revision, &Appended),
) -> Completed {
    match work {
        Work::StoreState(order) => complete(access, order, |store, job| match store.write_durable_state(&job.state) {
            Err(_) if made(Mutant::IgnoreFailedState) => Ok(()),
            written => written,
        }),
        Work::AppendGroup(order) => {
            let batch = order.batch();
            complete(access, order, |store, job| {
                append_group(store, job, |before, group| written(batch, before, group))
            })
        }
        Work::BeginEra(order) => complete(access, order, begin_era),
        Work::AppendRecords(order) => complete(access, order, append_records),
        Work::BeginStaging(order) => complete(access, order, begin_staging),
        Work::StagePieces(order) => complete(access, order, stage_pieces),
        Work::FinishStaging(order) => complete(access, order, |store, _| finish_staging(store)),
        Work::Quarantine(order) => complete(access, order, quarantine),
        Work::Reopen(order) => complete(access, order, |store, _| reopen(store)),
    }
}

fn complete<J: Job>(
    access: StoreAccess<'_>,
    order: Order<J>,
    work: impl FnOnce(&mut Store, J) -> Outcome<J>,
) -> Completed {
    let (job, pending) = order.split();
    pending.complete(on_store(access, |store| work(store, job)))
}

fn append_group(
    store: &mut Store,
    job: AppendGroup<ChangeSet>,
    written: impl FnOnce(Revision, &Appended),
) -> Outcome<AppendGroup<ChangeSet>> {
    let (tickets, mut change_sets): (Vec<_>, Vec<_>) = job.change_sets.into_iter().unzip();
    if made(Mutant::ReverseGroup) {
        change_sets.reverse();
    }
    let before = store.head().revision;
    let appended = store.append(job.epoch, &change_sets)?;
    written(before, &appended);
    let verdicts = store.make_durable(appended)?;
    let (head, log_floor) = ends(store);
    Ok(GroupReceipt { verdicts: tickets.into_iter().zip(verdicts).collect(), head, log_floor })
}

fn begin_era(store: &mut Store, job: BeginEra) -> Outcome<BeginEra> {
    store.begin_era(&job.state, job.era)?;
    let (head, log_floor) = ends(store);
    Ok(EraReceipt { head, log_floor })
}

fn append_records(store: &mut Store, job: AppendRecords<Bytes>) -> Outcome<AppendRecords<Bytes>> {
    let (received, head) = (store.receive(&job.frames)?, store.head());
    let durable = job.durable;
    match received {
        Received::Mismatch => Ok(RecordsReceipt::Mismatch { head }),
        Received::Duplicate => Ok(duplicate(store)),
        Received::Pending { .. } => accept(store, head, durable),
    }
}

/// The receipt of records that the store had already.
pub fn duplicate(store: &Store) -> RecordsReceipt {
    let (head, log_floor) = ends(store);
    RecordsReceipt::Appended { head, log_floor, eras: Vec::new() }
}

/// Makes received records durable. `before` is the head before them, `durable` how far they are durable on their source.
pub fn accept(store: &mut Store, before: Position, durable: Revision) -> Outcome<AppendRecords<Bytes>> {
    store.accept(Some(durable))?;
    let began = |era: &&Era| era.epoch > before.revision.epoch;
    let eras = store.history().eras().iter().filter(began).copied().collect();
    let (head, log_floor) = ends(store);
    Ok(RecordsReceipt::Appended { head, log_floor, eras })
}

fn begin_staging(store: &mut Store, job: BeginStaging) -> Outcome<BeginStaging> {
    match job.onto {
        StagingBase::Nothing => store.stage_begin(&job.header).map(|()| StagedBefore::Nothing),
        StagingBase::Staged => store.stage_resume(&job.header),
        StagingBase::StagedOrCopy => store.stage_compare(&job.header),
    }
}

fn stage_pieces(store: &mut Store, job: StagePieces<SnapshotPiece>) -> Outcome<StagePieces<SnapshotPiece>> {
    job.pieces.iter().try_for_each(|piece| store.stage_write(piece))?;
    if job.keep {
        store.stage_keep()?;
    }
    let bytes = job.pieces.iter().map(|piece| piece.bytes.len() as u64).sum();
    Ok(PiecesReceipt { bytes, wants: store.stage_wants() })
}

fn finish_staging(store: &mut Store) -> Outcome<FinishStaging> {
    match store.stage_verify()? {
        Verified::Bad { found } => Ok(StagingReceipt::Mismatch { found }),
        Verified::Good { .. } => switch(store),
    }
}

/// Switches to the staged snapshot.
pub fn switch(store: &mut Store) -> Outcome<FinishStaging> {
    store.stage_switch()?;
    Ok(StagingReceipt::Switched { head: store.head() })
}

fn quarantine(store: &mut Store, job: Quarantine) -> Outcome<Quarantine> {
    let (from, to, change_sets) = store.quarantine(job.common)?;
    Ok(QuarantineReceipt { from, to, change_sets })
}

fn reopen(store: &mut Store) -> Outcome<Reopen> {
    let found = store.reopen().map_err(|error| DiskFailure { full: false, reason: error.to_string() })?;
    let (head, log_floor, history, shown) = (found.head, found.log_floor, found.history, found.shown);
    Ok(ReopenReceipt { head, log_floor, history, shown, damage: found.damage })
}

/// Durable head and log floor.
fn ends(store: &Store) -> (Position, Revision) {
    (store.head(), store.log_floor())
}
