//! What a node knows of the witness' register, and what follows from it.
//!
//! Every age here counts by this node's own clock, from when it first *received* the value that is still there: never
//! from a time in the record and never from before its last start (`FAILOVER.md`, rule 2). Leases: Gray and Cheriton 1989;
//! judged by the observer's clock from an unchanged counter: as in etcd's and Kubernetes' leader election.

use std::time::Duration;

use super::{micros, waited};
use crate::model::{Epoch, Moment, NodeId, PairId, Revision, WitnessRecord, WitnessVersion};

/// The register as this node knows it.
#[derive(Clone, Debug, Default)]
pub struct Register {
    value: Option<Value>,
    /// The last read that was answered found no value.
    missing: bool,
    /// The last question was answered.
    reachable: bool,
    /// Since when no question was answered, where the last was not.
    silent_since: Option<Moment>,
    /// What was read last may have been replaced by a swap whose outcome is unknown.
    stale: bool,
}

/// A value, and since when it is known.
#[derive(Clone, Debug)]
struct Value {
    record: WitnessRecord,
    version: WitnessVersion,
    since: Moment,
}

/// What is wrong with the register itself. No node mends that by itself after enrolment: an operator decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It has no value, although this node has seen one.
    Missing,
    /// Its value is older than one that this node has seen.
    Older,
    /// It belongs to another pair.
    Foreign,
}

impl Flaw {
    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "record_missing",
            Self::Older => "record_older",
            Self::Foreign => "record_foreign",
        }
    }
}

impl Register {
    /// A read was answered.
    pub fn read(&mut self, found: Option<(WitnessRecord, WitnessVersion)>, at: Moment) {
        self.answered();
        self.stale = false;
        self.missing = found.is_none();
        self.value = found.map(|(record, version)| match self.value.take() {
            Some(known) if known.record == record && known.version == version => known,
            _ => Value { record, version, since: at },
        });
    }

    /// A swap of this node's own was done.
    pub fn swapped(&mut self, record: WitnessRecord, version: WitnessVersion, at: Moment) {
        self.answered();
        (self.stale, self.missing) = (false, false);
        self.value = Some(Value { record, version, since: at });
    }

    /// A swap met another value: what is known is no longer true.
    pub fn conflicted(&mut self) {
        self.answered();
        self.stale = true;
    }

    /// Somebody else is known to have replaced the value.
    pub fn outdated(&mut self) {
        self.stale = true;
    }

    /// A question was not answered. What is known stays known, but a swap may have landed.
    pub fn unanswered(&mut self, at: Moment) {
        self.reachable = false;
        self.stale = true;
        self.silent_since.get_or_insert(at);
    }

    fn answered(&mut self) {
        self.reachable = true;
        self.silent_since = None;
    }

    /// Whether the last question was answered.
    pub fn is_reachable(&self) -> bool {
        self.reachable
    }

    /// Since when nothing was answered.
    pub fn silent_since(&self) -> Option<Moment> {
        self.silent_since
    }

    /// Whether it must be read before it can be swapped.
    pub fn is_stale(&self) -> bool {
        self.stale || (self.value.is_none() && !self.missing)
    }

    /// The last read found no value.
    pub fn is_missing(&self) -> bool {
        self.missing
    }

    /// Its value as last seen.
    pub fn record(&self) -> Option<&WitnessRecord> {
        self.value.as_ref().map(|value| &value.record)
    }

    /// The version of that value.
    pub fn version(&self) -> Option<&WitnessVersion> {
        self.value.as_ref().map(|value| &value.version)
    }

    /// What is wrong with it, for a node of this pair that has seen a value of the epoch `seen`.
    pub fn flaw(&self, pair: PairId, seen: Epoch) -> Option<Flaw> {
        match self.record() {
            Some(record) if record.pair != pair => Some(Flaw::Foreign),
            Some(record) if record.epoch < seen => Some(Flaw::Older),
            None if self.missing && seen != Epoch::NONE => Some(Flaw::Missing),
            _ => None,
        }
    }

    /// Whether it names this node as the holder.
    pub fn names(&self, node: NodeId) -> bool {
        self.record().is_some_and(|record| record.holder == node)
    }

    /// When the lease in the record is over for this observer, if nothing renews it.
    pub fn lease_over(&self) -> Option<Moment> {
        let value = self.value.as_ref()?;
        Some(Moment(value.since.0.saturating_add(micros(waited(value.record.lease)))))
    }

    /// The value that replaces the known one.
    pub fn next(&self, draft: Draft) -> WitnessRecord {
        let known = self.record();
        WitnessRecord {
            pair: draft.pair,
            holder: draft.holder,
            epoch: draft.epoch,
            lease: draft.lease,
            in_sync: draft.in_sync,
            // Never lowered: rule 10.
            revision: draft.revision.max(known.map_or(Revision::NONE, |record| record.revision)),
            counter: known.map_or(0, |record| record.counter).wrapping_add(1),
        }
    }
}

/// What a node wants to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The pair.
    pub pair: PairId,
    /// This node.
    pub holder: NodeId,
    /// Its epoch.
    pub epoch: Epoch,
    /// How long others wait.
    pub lease: Duration,
    /// Who is in sync.
    pub in_sync: Option<NodeId>,
    /// What is known to be acknowledged.
    pub revision: Revision,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: PairId = PairId([1; 16]);
    const NODE: NodeId = NodeId([2; 32]);

    fn draft(epoch: Epoch) -> Draft {
        let revision = Revision::NONE;
        Draft { pair: PAIR, holder: NODE, epoch, lease: Duration::from_millis(100), in_sync: None, revision }
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
        assert_eq!(register.lease_over(), Some(Moment(1_000 + 102_100 + 1_000)));
        let renewed = value(&register, Epoch::FIRST, 2);
        register.read(renewed, Moment(60_000));
        assert_eq!(register.lease_over(), Some(Moment(60_000 + 102_100 + 1_000)));
    }

    #[test]
    fn what_was_not_answered_must_be_read_before_it_is_swapped() {
        let mut register = Register::default();
        assert!(register.is_stale() && !register.is_missing());
        register.read(None, Moment(0));
        assert!(!register.is_stale() && register.is_missing());
        register.unanswered(Moment(5));
        register.unanswered(Moment(9));
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
        let record = register.next(Draft { revision: high, ..draft(Epoch::FIRST) });
        register.swapped(record, WitnessVersion::new(1), Moment(0));
        assert_eq!(register.next(draft(Epoch::new(2, 0))).revision, high);
    }
}
