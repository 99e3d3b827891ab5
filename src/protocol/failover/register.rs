//! What a node knows of the witness' register, and what follows for leases.
//!
//! Every age counts by this node's own clock, from when it first *received* the current value. It never counts from a time in the
//! record, and never from before this node's last start (`FAILOVER.md`, rule 2). The lease is that of Gray and Cheriton 1989. An
//! observer judges it by its own clock, from an unchanged counter, as in the leader election of etcd and Kubernetes.

use std::time::Duration;

use super::timing::{micros, waited};
use crate::model::{Epoch, Moment, NodeId, PairId, Revision, WitnessRecord, WitnessVersion};

/// The witness' register, as this node knows it.
#[derive(Clone, Debug, Default)]
pub struct Register {
    value: Option<Value>,
    /// Since this moment every answered read has found no value.
    missing_since: Option<Moment>,
    /// Length of the lease in the last value that was seen.
    last_lease: Duration,
    /// Counter of the last value that this node asked to swap in.
    tried: u64,
    /// Whether the last question was answered.
    reachable: bool,
    /// Since when questions stay unanswered. `None` if the last one was answered.
    silent_since: Option<Moment>,
    /// Since when swaps stay unanswered. Answered reads do not end it.
    unwritten_since: Option<Moment>,
    /// A swap with an unknown outcome may have replaced the known value.
    stale: bool,
    /// Renewals by the same holder under the same epoch that reads have shown since this node's last own swap, or since it asked
    /// anew.
    renewals_seen: u32,
}

/// A value, and when it was first received.
#[derive(Clone, Debug)]
struct Value {
    record: WitnessRecord,
    version: WitnessVersion,
    since: Moment,
}

/// A register that holds no usable value. After enrolment no node repairs that by itself: an operator decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It has no value, but this node has seen one.
    Missing,
    /// Its value is older than a value that this node has seen.
    Older,
    /// It belongs to another pair.
    Foreign,
}

impl Register {
    /// Records an answered read.
    pub fn read(&mut self, found: Option<(WitnessRecord, WitnessVersion)>, at: Moment) {
        self.answered();
        self.stale = false;
        match found {
            None => {
                self.missing_since.get_or_insert(at);
                self.value = None;
            }
            Some((record, version)) => {
                let renews = |known: &Value| {
                    let before = &known.record;
                    (before.holder, before.epoch) == (record.holder, record.epoch) && before.counter != record.counter
                };
                if self.value.as_ref().is_some_and(renews) {
                    self.renewals_seen = self.renewals_seen.saturating_add(1);
                }
                let same = self.value.take_if(|known| known.record == record && known.version == version);
                self.holds(same.unwrap_or(Value { record, version, since: at }));
            }
        }
    }

    /// Records that a swap by this node succeeded.
    pub fn swapped(&mut self, record: WitnessRecord, version: WitnessVersion, at: Moment) {
        self.answered();
        (self.stale, self.unwritten_since) = (false, None);
        self.renewals_seen = 0;
        self.holds(Value { record, version, since: at });
    }

    fn holds(&mut self, value: Value) {
        self.last_lease = value.record.lease;
        self.missing_since = None;
        self.value = Some(value);
    }

    /// Records that a swap failed because the register holds another value. The known value is outdated.
    pub fn conflicted(&mut self) {
        self.answered();
        (self.stale, self.unwritten_since) = (true, None);
    }

    /// Marks the known value as outdated: the other node has replaced it.
    pub fn outdated(&mut self) {
        self.stale = true;
    }

    /// Records an unanswered question. The known value stays, but an unanswered swap may have replaced it.
    pub fn unanswered(&mut self, swap: bool, at: Moment) {
        if swap {
            self.unwritten_since.get_or_insert(at);
        }
        self.reachable = false;
        self.stale = true;
        self.silent_since.get_or_insert(at);
    }

    /// How many renewals by the holder reads have shown, none of them this node's own.
    pub fn renewals_seen(&self) -> u32 {
        self.renewals_seen
    }

    /// What was seen of renewals until now says nothing.
    pub fn watch_anew(&mut self) {
        self.renewals_seen = 0;
    }

    fn answered(&mut self) {
        self.reachable = true;
        self.silent_since = None;
    }

    /// Whether the last question was answered.
    pub fn is_reachable(&self) -> bool {
        self.reachable
    }

    /// Since when questions stay unanswered.
    pub fn silent_since(&self) -> Option<Moment> {
        self.silent_since
    }

    /// Since when swaps stay unanswered.
    pub fn unwritten_since(&self) -> Option<Moment> {
        self.unwritten_since
    }

    /// Whether the register must be read before a swap.
    pub fn is_stale(&self) -> bool {
        self.stale || (self.value.is_none() && self.missing_since.is_none())
    }

    /// Whether the last read found no value.
    pub fn is_missing(&self) -> bool {
        self.missing_since.is_some()
    }

    /// The value as last seen.
    pub fn record(&self) -> Option<&WitnessRecord> {
        self.value.as_ref().map(|value| &value.record)
    }

    /// The version of that value.
    pub fn version(&self) -> Option<&WitnessVersion> {
        self.value.as_ref().map(|value| &value.version)
    }

    /// The flaw of the register, for a node of this pair that has seen a value of the epoch `seen`.
    pub fn flaw(&self, pair: PairId, seen: Epoch) -> Option<Flaw> {
        match self.record() {
            Some(record) if record.pair != pair => Some(Flaw::Foreign),
            Some(record) if record.epoch < seen => Some(Flaw::Older),
            None if self.is_missing() && seen != Epoch::NONE => Some(Flaw::Missing),
            _ => None,
        }
    }

    /// Whether the record names this node as the holder.
    pub fn names(&self, node: NodeId) -> bool {
        self.record().is_some_and(|record| record.holder == node)
    }

    /// When the lease in the register ends for this observer, if no renewal comes. A record that is gone may have held a lease
    /// until it disappeared. So a missing record counts with the lease that was last seen in it, and at least with `usual`.
    pub fn lease_over(&self, usual: Duration) -> Option<Moment> {
        let (since, lease) = match (&self.value, self.missing_since) {
            (Some(value), _) => (value.since, value.record.lease),
            (None, Some(since)) => (since, self.last_lease.max(usual)),
            (None, None) => return None,
        };
        Some(Moment(since.0.saturating_add(micros(waited(lease)))))
    }

    /// The value to swap in: `wanted` with a new counter, and with a revision no lower than the recorded one (rule 10).
    pub fn next(&self, wanted: WitnessRecord) -> WitnessRecord {
        let known = self.record();
        WitnessRecord {
            revision: wanted.revision.max(known.map_or(Revision::NONE, |record| record.revision)),
            counter: known.map_or(0, |record| record.counter).max(self.tried).wrapping_add(1),
            ..wanted
        }
    }

    /// Records that a swap to this value is sent. Whatever its outcome, this node never sends the same counter again: an observer
    /// would take two equal values for one, and measure the age from the first.
    pub fn tries(&mut self, record: &WitnessRecord) {
        self.tried = record.counter;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: PairId = PairId([1; 16]);
    const NODE: NodeId = NodeId([2; 32]);

    fn draft(epoch: Epoch) -> WitnessRecord {
        let lease = Duration::from_millis(100);
        WitnessRecord { pair: PAIR, holder: NODE, epoch, lease, in_sync: None, revision: Revision::NONE, counter: 0 }
    }

    fn value(register: &Register, epoch: Epoch, version: u64) -> Option<(WitnessRecord, WitnessVersion)> {
        Some((register.next(draft(epoch)), WitnessVersion::new(version)))
    }

    #[test]
    fn an_age_counts_from_the_first_receipt_of_that_very_value() {
        let mut register = Register::default();
        let first = value(&register, Epoch::FIRST, 1);
        register.read(first.clone(), Moment(1_000));
        register.read(first, Moment(50_000));
        // 100 ms, 2.1 % of it, and a millisecond.
        assert_eq!(register.lease_over(Duration::ZERO), Some(Moment(1_000 + 102_100 + 1_000)));
        let renewed = value(&register, Epoch::FIRST, 2);
        register.read(renewed, Moment(60_000));
        assert_eq!(register.lease_over(Duration::ZERO), Some(Moment(60_000 + 102_100 + 1_000)));
    }

    #[test]
    fn what_was_not_answered_must_be_read_before_it_is_swapped() {
        let mut register = Register::default();
        assert!(register.is_stale() && !register.is_missing());
        register.read(None, Moment(0));
        assert!(!register.is_stale() && register.is_missing());
        register.unanswered(false, Moment(5));
        register.unanswered(false, Moment(9));
        assert_eq!((register.is_stale(), register.silent_since()), (true, Some(Moment(5))));
    }

    #[test]
    fn a_register_that_was_wiped_restored_or_mixed_up_is_recognised() {
        let mut register = Register::default();
        let seen = Epoch::new(3, 0);
        assert_eq!(register.flaw(PAIR, seen), None);
        register.read(None, Moment(0));
        assert_eq!((register.flaw(PAIR, seen), register.flaw(PAIR, Epoch::NONE)), (Some(Flaw::Missing), None));
        let old = value(&register, Epoch::new(2, 0), 1);
        register.read(old, Moment(0));
        assert_eq!(register.flaw(PAIR, seen), Some(Flaw::Older));
        assert_eq!(register.flaw(PairId([9; 16]), seen), Some(Flaw::Foreign));
    }

    #[test]
    fn no_swap_lowers_the_recorded_revision() {
        let mut register = Register::default();
        let high = Revision::new(Epoch::FIRST, 9);
        let record = register.next(WitnessRecord { revision: high, ..draft(Epoch::FIRST) });
        register.swapped(record, WitnessVersion::new(1), Moment(0));
        assert_eq!(register.next(draft(Epoch::new(2, 0))).revision, high);
    }
}
