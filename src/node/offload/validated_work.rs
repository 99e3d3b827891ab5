//! Durable work that the host's hooks decide on: received records and snapshots.

use bytes::Bytes;

use super::durable_work::{accept, duplicate, switch};
use super::hook_runner::HookRunner;
use super::store_executor::{Batch, StoreExecutor, StoreReport};
use crate::protocol::engine::{AppendRecords, FinishStaging, Outcome, RecordsReceipt, StagingReceipt, Work};
use crate::store::{Received, Store, Verified};

/// Runs a batch, and reports it to the driver. Received records and snapshots wait for the host's decision.
pub async fn persist_validated(executor: StoreExecutor, batch: Batch, hooks: HookRunner) {
    let Batch { work, permits, links_wait } = batch;
    let completed = match work {
        Work::AppendRecords(order) => {
            let (job, pending) = order.split();
            pending.complete(append_records(&executor, job, &hooks).await)
        }
        Work::FinishStaging(order) => order.split().1.complete(finish_staging(&executor, &hooks).await),
        work => return executor.persist(Batch { work, permits, links_wait }),
    };
    drop(permits);
    executor.report(StoreReport::Persisted(completed));
}

/// Writes the records, asks the host, and then makes them durable or cuts them off again.
async fn append_records(
    executor: &StoreExecutor,
    job: AppendRecords<Bytes>,
    hooks: &HookRunner,
) -> Outcome<AppendRecords<Bytes>> {
    let durable = job.durable;
    let receive = move |store: &mut Store| Ok((store.receive(&job.frames)?, store.head()));
    let (store, (received, head)) = executor.lend().await?.step(receive).await?;
    let candidate = match received {
        Received::Mismatch => return Ok(RecordsReceipt::Mismatch { head }),
        Received::Duplicate => return store.finish(|store| Ok(duplicate(store))).await,
        Received::Pending { candidate } => candidate,
    };
    let at = candidate.revision();
    match hooks.validate(candidate).await {
        Ok(()) => store.finish(move |store| accept(store, head, durable)).await,
        Err(reason) => {
            store.finish(Store::reject).await?;
            Ok(RecordsReceipt::Rejected { at, reason })
        }
    }
}

/// Verifies the staged snapshot, asks the host, and then switches to it or deletes it.
async fn finish_staging(executor: &StoreExecutor, hooks: &HookRunner) -> Outcome<FinishStaging> {
    let (store, verified) = executor.lend().await?.step(Store::stage_verify).await?;
    let candidate = match verified {
        Verified::Bad { found } => return Ok(StagingReceipt::Mismatch { found }),
        Verified::Good { candidate } => candidate,
    };
    match hooks.validate(candidate).await {
        Ok(()) => store.finish(switch).await,
        Err(reason) => {
            let delete = |store: &mut Store| {
                store.stage_drop();
                Ok(())
            };
            store.finish(delete).await?;
            Ok(StagingReceipt::Rejected { reason })
        }
    }
}
