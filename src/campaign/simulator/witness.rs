//! The witness: one compare-and-swap register, and each node's route to it.

use std::collections::VecDeque;

use super::step::{Fate, WitnessFault};
use crate::model::{PairId, WitnessRecord, WitnessVersion};

/// A linearizable compare-and-swap register with versions that are never used twice.
#[derive(Clone, Debug)]
pub struct WitnessRegister {
    value: Option<(WitnessRecord, u64)>,
    /// A copy that somebody made.
    copy: Option<WitnessRecord>,
    versions: u64,
    /// How each node reaches it.
    pub routes: [WitnessRoute; 2],
    /// Somebody wiped or replaced the record: what it remembered counts no more.
    pub tampered: bool,
    /// The record went back to an older one: it no longer says who may be master.
    pub regressed: bool,
}

/// The way from a node to the witness.
#[derive(Clone, Debug)]
pub struct WitnessRoute {
    /// Nothing gets through.
    pub cut: bool,
    /// Time to an answer, microseconds.
    pub us: u64,
    /// Fates of the next questions.
    pub fates: VecDeque<Fate>,
    /// Fates of the next swaps; they go before `fates`.
    pub swaps: VecDeque<Fate>,
}

impl WitnessRoute {
    /// Open and fast.
    pub fn healthy() -> Self {
        Self { cut: false, us: 300, fates: VecDeque::new(), swaps: VecDeque::new() }
    }
}

impl WitnessRegister {
    /// A register that holds this.
    pub fn new(record: Option<WitnessRecord>) -> Self {
        Self {
            value: record.map(|record| (record, 1)),
            copy: None,
            versions: 1,
            routes: [WitnessRoute::healthy(), WitnessRoute::healthy()],
            tampered: false,
            regressed: false,
        }
    }

    /// The record with its version.
    pub fn versioned(&self) -> Option<(WitnessRecord, WitnessVersion)> {
        self.value.as_ref().map(|(record, version)| (record.clone(), WitnessVersion::new(version)))
    }

    /// The record.
    pub fn record(&self) -> Option<&WitnessRecord> {
        self.value.as_ref().map(|(record, _)| record)
    }

    /// Whether a swap that names this version would be done.
    pub fn matches(&self, expected: Option<&WitnessVersion>) -> bool {
        let version = self.value.as_ref().map(|(_, version)| WitnessVersion::new(version));
        version.as_ref() == expected
    }

    /// Replaces the record under a fresh version.
    pub fn put(&mut self, record: Option<WitnessRecord>) -> WitnessVersion {
        self.versions += 1;
        self.value = record.map(|record| (record, self.versions));
        WitnessVersion::new(self.versions)
    }

    /// A fault of the witness, or of a node's route to it.
    pub fn apply(&mut self, fault: WitnessFault) {
        match fault {
            WitnessFault::Cut { node, cut } => self.routes[node.index()].cut = cut,
            WitnessFault::Latency { node, us } => self.routes[node.index()].us = us,
            WitnessFault::Fate { node, fate } => self.routes[node.index()].fates.push_back(fate),
            WitnessFault::Swap { node, fate } => self.routes[node.index()].swaps.push_back(fate),
            _ => self.tamper(fault),
        }
    }

    /// Somebody changes the record by hand.
    fn tamper(&mut self, what: WitnessFault) {
        match what {
            WitnessFault::Keep => self.copy = self.record().cloned(),
            WitnessFault::Restore => {
                if let Some(copy) = self.copy.clone()
                    && self.record() != Some(&copy)
                {
                    self.put(Some(copy));
                    (self.tampered, self.regressed) = (true, true);
                }
            }
            WitnessFault::Wipe => {
                self.tampered |= self.value.is_some();
                self.put(None);
            }
            WitnessFault::Foreign => {
                if let Some(record) = self.record().cloned() {
                    self.put(Some(WitnessRecord { pair: PairId([0xf0; 16]), ..record }));
                    self.tampered = true;
                }
            }
            WitnessFault::Cut { .. }
            | WitnessFault::Latency { .. }
            | WitnessFault::Fate { .. }
            | WitnessFault::Swap { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::witness_record as record;

    #[test]
    fn a_version_is_never_used_twice() {
        let mut register = WitnessRegister::new(Some(record(0)));
        let first = WitnessVersion::new(1);
        assert!(register.matches(Some(&first)) && !register.matches(None));
        let second = register.put(Some(record(1)));
        assert!(!register.matches(Some(&first)) && register.matches(Some(&second)));
        register.tamper(WitnessFault::Keep);
        register.tamper(WitnessFault::Wipe);
        assert!(register.matches(None) && !register.matches(Some(&second)));
        register.tamper(WitnessFault::Restore);
        assert_eq!(register.record(), Some(&record(1)));
        assert!(!register.matches(Some(&second)) && register.regressed);
    }
}
