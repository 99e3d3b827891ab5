//! Durable work that waits, and the one batch in flight.

use std::collections::VecDeque;
use std::time::Duration;

use super::{BatchId, Work};
use crate::model::limits::DISK_RATE_MIN;
use crate::model::{Epoch, Moment};
use crate::protocol::wire::BulkId;

/// Work in the order in which it is done, one batch at a time.
///
/// | | `queue` | `queue_era` | `start` | `completed` |
/// |---|---|---|---|---|
/// | idle | waits | waits | in flight | ignored |
/// | in flight | waits | waits, ahead of all else | refused by the engine | idle, where the number is that of the batch |
/// | given up | waits | waits, ahead of all else | refused by the engine | idle; what became of the batch is not looked at |
#[derive(Clone, Debug, Default)]
pub(super) struct WorkQueue {
    last: u64,
    in_flight: Option<InFlight>,
    waiting: VecDeque<Work>,
    /// The epoch of an era that begins once nothing is in flight: where it begins is known only then.
    era: Option<Epoch>,
}

/// The batch that the shell works on.
#[derive(Clone, Debug)]
struct InFlight {
    work: Work,
    /// The bytes of the change sets in it.
    bytes: usize,
    since: Moment,
    /// An alert says that it takes too long.
    reported_slow: bool,
    /// It counts as failed. The disk is idle again when it returns.
    given_up: bool,
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndedBatch {
    /// An alert says that it takes too long.
    pub(super) reported_slow: bool,
    /// It counts as failed already.
    pub(super) given_up: bool,
}

impl WorkQueue {
    /// Whether nothing is in flight and nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.waiting.is_empty() && self.era.is_none()
    }

    /// Whether a batch is in flight.
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether this batch is in flight, and counts.
    pub(super) fn is_waiting_for(&self, batch: BatchId) -> bool {
        self.in_flight.as_ref().is_some_and(|current| current.work.batch() == batch && !current.given_up)
    }

    /// Whether a group is in flight.
    pub(super) fn is_busy_with_group(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|current| matches!(current.work, Work::AppendGroup(_)))
    }

    /// Whether the batch in flight belongs to a sink.
    pub(super) fn is_busy_for_sink(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|batch| batch.work.is_of_sink())
    }

    /// Adds work behind what waits.
    pub(super) fn queue(&mut self, work: impl Into<Work>) {
        self.waiting.push_back(work.into());
    }

    /// Adds an era ahead of what waits. A quarantine that waits is dropped: the era settles what is this node's.
    pub(super) fn queue_era(&mut self, epoch: Epoch) {
        self.waiting.retain(|work| !matches!(work, Work::Quarantine(_)));
        self.era = Some(epoch);
    }

    /// Takes back an era that has not begun. Returns whether there was one.
    pub(super) fn cancel_era(&mut self) -> bool {
        self.era.take().is_some()
    }

    /// The era whose turn it is.
    pub(super) fn take_era(&mut self) -> Option<Epoch> {
        self.era.take()
    }

    /// The work whose turn it is.
    pub(super) fn take_next(&mut self) -> Option<Work> {
        self.waiting.pop_front()
    }

    /// Makes this the batch in flight, and gives it its number.
    pub(super) fn start(&mut self, at: Moment, work: impl Into<Work>) -> Work {
        self.last += 1;
        let work = work.into().numbered(BatchId(self.last));
        let (reported_slow, given_up) = (false, false);
        self.in_flight = Some(InFlight { work: work.clone(), bytes: 0, since: at, reported_slow, given_up });
        work
    }

    /// The change sets of the batch in flight have so many bytes.
    pub(super) fn weigh(&mut self, bytes: usize) {
        if let Some(batch) = &mut self.in_flight {
            batch.bytes = bytes;
        }
    }

    /// The time that the slowest disk needs for the bytes of the batch in flight.
    pub(super) fn grace(&self) -> Duration {
        let bytes = self.in_flight.as_ref().map_or(0, |batch| batch.bytes as u64);
        Duration::from_millis(bytes * 1_000 / DISK_RATE_MIN)
    }

    /// The batch is over. Returns `None` where it is not the one in flight.
    pub(super) fn completed(&mut self, batch: BatchId) -> Option<EndedBatch> {
        let ended = self.in_flight.take_if(|current| current.work.batch() == batch)?;
        Some(EndedBatch { reported_slow: ended.reported_slow, given_up: ended.given_up })
    }

    /// The batch in flight is waited for no longer. Returns it, unless it counts as failed already.
    pub(super) fn abandon(&mut self) -> Option<Work> {
        self.in_flight.take().filter(|batch| !batch.given_up).map(|batch| batch.work)
    }

    /// The batch whose time may run out.
    pub(super) fn limited(&self) -> Option<&Work> {
        self.in_flight.as_ref().filter(|batch| !batch.given_up && batch.work.is_bounded()).map(|batch| &batch.work)
    }

    /// When that batch has had this time.
    pub(super) fn give_up_at(&self, bound_us: u64) -> Option<Moment> {
        let since = self.in_flight.as_ref().map(|batch| batch.since)?;
        self.limited().map(|_| Moment(since.0.saturating_add(bound_us)))
    }

    /// That batch, once it has had this time: from now on it counts as failed. It stays in flight until it returns.
    pub(super) fn give_up(&mut self, at: Moment, bound_us: u64) -> Option<Work> {
        self.give_up_at(bound_us).filter(|deadline| *deadline <= at)?;
        let batch = self.in_flight.as_mut()?;
        batch.given_up = true;
        Some(batch.work.clone())
    }

    /// When the batch in flight takes too long, as long as nobody has said so.
    pub(super) fn slow_deadline(&self, bound_us: u64) -> Option<Moment> {
        let batch = self.in_flight.as_ref().filter(|batch| !batch.reported_slow)?;
        Some(Moment(batch.since.0.saturating_add(bound_us)))
    }

    /// How long the batch in flight has taken, once this is to be reported.
    pub(super) fn report_slow(&mut self, at: Moment, bound_us: u64) -> Option<u64> {
        self.slow_deadline(bound_us).filter(|deadline| *deadline <= at)?;
        let batch = self.in_flight.as_mut()?;
        batch.reported_slow = true;
        Some(at.0.saturating_sub(batch.since.0))
    }

    /// This node was stopped. How long the batch took meanwhile says nothing of the disk.
    pub(super) fn restart_clock(&mut self, at: Moment) {
        if let Some(batch) = &mut self.in_flight {
            batch.since = at;
        }
    }

    /// Drops the waiting work of a sink whose link is gone, and returns the bulk that it named.
    pub(super) fn drop_sink_work(&mut self) -> Vec<BulkId> {
        let mut dropped = Vec::new();
        self.waiting.retain(|work| match work {
            Work::AppendRecords(order) => {
                dropped.extend(&order.job.frames);
                false
            }
            Work::StagePieces(order) => {
                dropped.extend(&order.job.pieces);
                false
            }
            work => !work.is_of_sink(),
        });
        dropped
    }

    /// Drops everything that waits; for a store that is gone.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.era = None;
    }

    /// The batch in flight, for tests.
    #[cfg(test)]
    pub(super) fn in_flight(&self) -> Option<&Work> {
        self.in_flight.as_ref().map(|batch| &batch.work)
    }
}

#[cfg(test)]
mod tests;
