//! Durable work: one batch at a time, in order, and what its receipts mean.

use std::collections::VecDeque;

use super::{
    Action, BatchId, DiskFailure, DurableState, Engine, Moment, Mutant, Now, Receipt, RecordsReceipt, Refused, Work,
};
use crate::model::limits::BATCH_SLOW;
use crate::model::{Epoch, Position, Revision};
use crate::protocol::failover::{NodeState, Transition, micros};

/// Time after which a failed write of durable state or era is tried again.
const RETRY_US: u64 = 1_000_000;
/// Longest time for which a change that only counts (an alert's count, what the peer confirmed) stays undurable.
const LAZY_US: u64 = 1_000_000;

/// Durable work that waits, and the batch in flight.
#[derive(Clone, Debug, Default)]
pub(super) struct Batches {
    last: u64,
    in_flight: Option<(BatchId, Purpose)>,
    /// Since when.
    since: Moment,
    /// That it takes too long has been told.
    told: bool,
    waiting: VecDeque<(Work, Purpose)>,
    /// An era is to be opened as this epoch, once nothing is in flight: where it begins is known only then.
    era: Option<Epoch>,
    /// The durable state changed, and somebody waits for it, or should not have to.
    urgent: bool,
    /// The durable state changed in what only counts, since this moment.
    lazy: Option<Moment>,
    /// Durable state failed to be written; not before this moment again.
    retry_at: Option<Moment>,
}

/// What a batch is for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    DurableState {
        promised_ms: u64,
    },
    /// The term that is to be tried at the witness.
    Noted,
    Yielded,
    Commits {
        tickets: Vec<super::Ticket>,
    },
    Era,
    Sink,
    Quarantine,
    Reopen,
}

impl Batches {
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.waiting.is_empty() && self.era.is_none()
    }

    /// When the batch in flight takes too long.
    pub(super) fn slow_at(&self, bound_us: u64) -> Option<Moment> {
        (self.in_flight.is_some() && !self.told).then_some(Moment(self.since.0.saturating_add(bound_us)))
    }

    /// This node was stopped: how long the batch took meanwhile says nothing of the disk.
    pub(super) fn forgive(&mut self, at: Moment) {
        self.since = at;
    }

    /// Whether the batch in flight belongs to a sink.
    pub(super) fn sink_is_busy(&self) -> bool {
        matches!(self.in_flight, Some((_, Purpose::Sink)))
    }

    /// Takes back an era that nobody has begun to write. Returns whether there was one.
    pub(super) fn cancel_era(&mut self) -> bool {
        self.era.take().is_some()
    }

    /// When the durable state should be written although nobody waits.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let lazy = self.lazy.map(|since| Moment(since.0 + LAZY_US));
        let wanted = if self.urgent { self.retry_at } else { lazy };
        wanted.max(self.retry_at.filter(|_| wanted.is_some()))
    }

    pub(super) fn wants_facts(&self) -> bool {
        self.urgent || self.lazy.is_some()
    }
}

impl Engine {
    /// Queues durable work.
    pub(super) fn persist(&mut self, work: Work, purpose: Purpose) {
        self.batches.waiting.push_back((work, purpose));
    }

    /// Opens an era as soon as nothing is in flight.
    pub(super) fn persist_era(&mut self, epoch: Epoch) {
        self.batches.waiting.retain(|(_, purpose)| !matches!(purpose, Purpose::Quarantine));
        self.batches.era = Some(epoch);
    }

    /// The durable state changed, and are to be durable soon.
    pub(super) fn facts_changed(&mut self) {
        self.batches.urgent = true;
    }

    /// The durable state changed in what only counts.
    pub(super) fn facts_counted(&mut self, now: Now) {
        self.batches.lazy.get_or_insert(now.at);
    }

    /// The durable state as they are to be written.
    pub(super) fn facts_now(&self) -> DurableState {
        DurableState {
            alerts: self.alert_log.alerts().to_vec(),
            next_alert: self.alert_log.next(),
            ..self.durable_state.clone()
        }
    }

    /// Starts the next batch, if none is in flight.
    pub(super) fn advance_batches(&mut self, now: Now) {
        if self.batches.in_flight.is_some() {
            return self.tell_of_slow_disk(now);
        }
        if let Some(epoch) = self.batches.era.take() {
            let won = self.won_epoch().is_some();
            let takeover = self.node_state == NodeState::Promoting && self.reason == "takeover" && !won;
            if takeover && !self.may_still_take_over(now) {
                return self.era_failed(now);
            }
            self.drop_sink_work();
            let work = self.era_work(now, epoch);
            return self.start_batch(now, work, Purpose::Era);
        }
        if let Some((mut work, purpose)) = self.batches.waiting.pop_front() {
            if matches!(purpose, Purpose::Noted) {
                // It waited, and the durable state went on.
                work = Work::DurableState(Box::new(self.facts_now()));
            }
            return self.start_batch(now, work, purpose);
        }
        if self.node_state == NodeState::Broken {
            return;
        }
        let may_write = self.batches.retry_at.is_none_or(|at| at <= now.at);
        let lazy = self.batches.lazy.is_some_and(|since| since.0 + LAZY_US <= now.at.0 || self.stopping.is_some());
        if may_write && (self.batches.urgent || lazy) {
            self.batches.urgent = false;
            self.batches.lazy = None;
            let durable_state = Box::new(self.facts_with_words());
            let promised_ms = durable_state.promised_ms;
            return self.start_batch(now, Work::DurableState(durable_state), Purpose::DurableState { promised_ms });
        }
        if self.node_state == NodeState::Serving
            && let Some(tickets) = self.commits.next_group()
        {
            let work = Work::Commits { tickets: tickets.clone(), epoch: self.head.revision.epoch };
            self.start_batch(now, work, Purpose::Commits { tickets });
        }
    }

    fn start_batch(&mut self, now: Now, work: Work, purpose: Purpose) {
        self.batches.last += 1;
        (self.batches.since, self.batches.told) = (now.at, false);
        let batch = BatchId(self.batches.last);
        if let (Purpose::Commits { tickets }, true) = (&purpose, self.makes(Mutant::ShowsBeforeDurable)) {
            let seq = self.head.revision.seq + tickets.len() as u64;
            self.out.push(Action::Publish { upto: Revision::new(self.head.revision.epoch, seq) });
        }
        self.batches.in_flight = Some((batch, purpose));
        self.out.push(Action::Persist { batch, work });
    }

    fn slow_us(&self) -> u64 {
        micros(BATCH_SLOW).max(self.timing.delay_us)
    }

    /// When the batch in flight takes too long.
    pub(super) fn slow_disk_deadline(&self) -> Option<Moment> {
        self.batches.slow_at(self.slow_us())
    }

    /// A batch that does not return raises no error, and nothing is acknowledged meanwhile: somebody must hear of it.
    fn tell_of_slow_disk(&mut self, now: Now) {
        if self.slow_disk_deadline().is_some_and(|at| at <= now.at) {
            self.batches.told = true;
            self.slow_disk(now, now.at.0.saturating_sub(self.batches.since.0));
        }
    }

    /// A batch is done.
    pub(super) fn persisted(&mut self, now: Now, batch: BatchId, result: Result<Receipt, DiskFailure>) {
        let purpose = match self.batches.in_flight.take() {
            Some((id, purpose)) if id == batch => purpose,
            other => {
                self.batches.in_flight = other;
                return;
            }
        };
        if std::mem::take(&mut self.batches.told) {
            self.disk_ended(now, super::trouble::DISK);
        }
        match result {
            Ok(receipt) => self.receipt(now, purpose, receipt),
            Err(failure) => self.batch_failed(now, purpose, &failure),
        }
    }

    fn receipt(&mut self, now: Now, purpose: Purpose, receipt: Receipt) {
        match (purpose, receipt) {
            (Purpose::DurableState { promised_ms }, _) => {
                self.batches.retry_at = None;
                self.facts_stored(promised_ms);
                self.words_durable(now);
                self.words_undone();
            }
            (Purpose::Noted, _) => {
                self.words_undone();
                self.claim_noted();
            }
            (Purpose::Yielded, _) => {
                self.words_undone();
                self.yielded(now);
            }
            (Purpose::Commits { tickets }, Receipt::Commits { verdicts, head, log_floor }) => {
                self.moved(head, log_floor);
                self.commits_done(now, &tickets, verdicts);
            }
            (Purpose::Era, Receipt::Era { head, log_floor }) => {
                self.moved(head, log_floor);
                self.disk_works(now);
                self.words_undone();
                self.era_durable(now);
            }
            (Purpose::Quarantine, Receipt::Quarantined { from, to, change_sets }) => {
                self.quarantined(now, from, to, change_sets);
            }
            (Purpose::Reopen, Receipt::Reopened { head, log_floor, history, damage }) => {
                self.history = history;
                self.moved(head, log_floor);
                self.reopened(now);
                self.found_damage(now, damage);
            }
            (Purpose::Sink, receipt) => self.sink_receipt(now, receipt),
            // The shell answered another question than it was asked: treated as a store that cannot be trusted.
            (purpose, _) => {
                let failure = DiskFailure { full: false, reason: "an unexpected receipt".to_owned() };
                self.batch_failed(now, purpose, &failure);
            }
        }
    }

    fn sink_receipt(&mut self, now: Now, receipt: Receipt) {
        match &receipt {
            Receipt::Records(RecordsReceipt::Appended { head, log_floor, eras }) => {
                for era in eras {
                    let _follows = self.history.begin(*era);
                }
                self.moved(*head, *log_floor);
                self.disk_works(now);
            }
            Receipt::StageFinished { head } => {
                self.adopt_staged(*head);
                self.session.caught_up();
                self.disk_works(now);
            }
            _ => {}
        }
        self.session_receipt(now, receipt);
    }

    /// A batch failed: what it was for is told, and a store that cannot be trusted is opened again.
    fn batch_failed(&mut self, now: Now, purpose: Purpose, failure: &DiskFailure) {
        self.disk_trouble(now, failure);
        self.words_in_doubt();
        let retry_at = Moment(now.at.0 + RETRY_US);
        match purpose {
            Purpose::DurableState { .. } => {
                self.words_failed(failure);
                self.batches.urgent = true;
                self.batches.retry_at = Some(retry_at);
            }
            Purpose::Commits { tickets } => self.commits_failed(&tickets, failure),
            Purpose::Noted => {
                self.claim_lost(now, Refused::Disk { reason: failure.reason.clone() });
                self.retry_at = retry_at;
            }
            Purpose::Era => {
                self.retry_at = retry_at;
                let reason = failure.reason.clone();
                // What is won at the witness is tried again by whoever it names (rule 8): it is not undone by a full disk.
                let undone = failure.full && self.won_epoch().is_none();
                let refused = if undone { Refused::DiskFull } else { Refused::FactInDoubt { reason } };
                self.refuse_promises(&refused);
                self.era_failed(now);
            }
            // Without the quarantine there is no yielding: it is tried again, and meanwhile nothing is served.
            Purpose::Yielded | Purpose::Reopen => self.retry_at = retry_at,
            Purpose::Quarantine => {
                self.retry_at = retry_at;
                self.quarantine_failed(now, failure);
            }
            Purpose::Sink => self.sink_failed(now, failure),
        }
        if !failure.full && !self.makes(Mutant::AppendsAfterFailedSync) {
            self.transition(now, Transition::StoreFailed, "disk_trouble");
        }
    }

    /// The batch in flight is waited for no longer: whoever asked for what is in it is told that nobody knows.
    pub(super) fn abandon_batch(&mut self) {
        let failure = DiskFailure { full: false, reason: "the disk did not answer in time".to_owned() };
        match self.batches.in_flight.take() {
            Some((_, Purpose::Commits { tickets })) => self.commits_failed(&tickets, &failure),
            Some((_, Purpose::DurableState { .. })) => self.words_failed(&failure),
            Some((_, Purpose::Era)) => {
                self.refuse_promises(&Refused::FactInDoubt { reason: failure.reason });
            }
            // Nothing of these was asked for by anybody, or shows.
            Some((_, Purpose::Noted | Purpose::Yielded | Purpose::Sink | Purpose::Quarantine | Purpose::Reopen))
            | None => {}
        }
    }

    /// The durable head is here now.
    fn moved(&mut self, head: Position, log_floor: Revision) {
        self.head = head;
        self.log_floor = log_floor;
    }

    /// Asks for the store to be opened again, when it is time.
    pub(super) fn advance_reopen(&mut self, now: Now) {
        if self.batches.is_idle() && self.retry_at <= now.at {
            self.persist(Work::Reopen, Purpose::Reopen);
        }
    }

    /// Forgets the work of a sink whose link is gone, as far as it has not begun.
    pub(super) fn drop_sink_work(&mut self) {
        let waiting = std::mem::take(&mut self.batches.waiting);
        for (work, purpose) in waiting {
            match (work, purpose) {
                (Work::Records { bulk } | Work::Stage { bulk }, Purpose::Sink) => {
                    self.out.extend(bulk.into_iter().map(|bulk| Action::DropBulk { bulk }));
                }
                (_, Purpose::Sink) => {}
                other => self.batches.waiting.push_back(other),
            }
        }
    }

    /// Forgets durable work that has not begun; for a store that is gone.
    pub(super) fn drop_waiting_work(&mut self) {
        self.batches.waiting.clear();
        self.batches.era = None;
        self.refuse_words(&Refused::Disk { reason: "the store is closed after a failure".to_owned() });
    }
}

#[cfg(test)]
impl Engine {
    /// The batch in flight, for tests; zero is none.
    pub(super) fn batches_in_flight(&self) -> u64 {
        self.batches.in_flight.as_ref().map_or(0, |(batch, _)| batch.0)
    }
}
