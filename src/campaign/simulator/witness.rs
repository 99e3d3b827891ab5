//! The witness: one register that both nodes reach, each over its own bad way, and the shell's part in asking it.

use std::collections::VecDeque;

use super::step::{Fate, Side, WitnessFault};
use super::violation::Checked;
use super::world::{InjectedBug, Scheduled, World};
use crate::model::{PairId, WitnessRecord, WitnessVersion};
use crate::protocol::engine::{Event, Moment, WitnessAnswer, WitnessQuestion};
use crate::protocol::failover::micros;

/// A linearizable compare-and-swap register with versions that are never used twice.
#[derive(Clone, Debug)]
pub struct WitnessRegister {
    value: Option<(WitnessRecord, u64)>,
    /// What somebody copied.
    kept: Option<WitnessRecord>,
    versions: u64,
    /// How each node reaches it.
    pub routes: [WitnessRoute; 2],
    /// Somebody wiped or replaced the record: what it was meant to remember is not promised any more.
    pub tampered: bool,
    /// What it holds is older than what it held once, or was made anew: it no longer says who may be master.
    pub regressed: bool,
}

/// What is between a node and the witness.
#[derive(Clone, Debug)]
pub struct WitnessRoute {
    /// Nothing passes.
    pub cut: bool,
    /// Time to an answer, microseconds.
    pub us: u64,
    /// What becomes of the next questions.
    pub fates: VecDeque<Fate>,
    /// What becomes of the next swaps, before that.
    pub swaps: VecDeque<Fate>,
}

impl WitnessRoute {
    /// Open and quick.
    pub fn good() -> Self {
        Self { cut: false, us: 300, fates: VecDeque::new(), swaps: VecDeque::new() }
    }
}

impl WitnessRegister {
    /// A register that holds this.
    pub fn new(record: Option<WitnessRecord>) -> Self {
        Self {
            value: record.map(|record| (record, 1)),
            kept: None,
            versions: 1,
            routes: [WitnessRoute::good(), WitnessRoute::good()],
            tampered: false,
            regressed: false,
        }
    }

    /// What it holds.
    pub fn record(&self) -> Option<&WitnessRecord> {
        self.value.as_ref().map(|(record, _)| record)
    }

    /// Whether a swap that names this version would be done.
    fn matches(&self, expected: Option<&WitnessVersion>) -> bool {
        let version = self.value.as_ref().map(|(_, version)| WitnessVersion::new(version));
        version.as_ref() == expected
    }

    fn put(&mut self, record: Option<WitnessRecord>) -> WitnessVersion {
        self.versions += 1;
        self.value = record.map(|record| (record, self.versions));
        WitnessVersion::new(self.versions)
    }

    /// Somebody tampers with the record.
    fn tamper(&mut self, what: WitnessFault) {
        match what {
            WitnessFault::Keep => self.kept = self.record().cloned(),
            WitnessFault::Restore => {
                if let Some(kept) = self.kept.clone()
                    && self.record() != Some(&kept)
                {
                    self.put(Some(kept));
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

impl World {
    /// Something happens to the witness, or between a node and it.
    pub fn strike(&mut self, what: WitnessFault) {
        match what {
            WitnessFault::Cut { node, cut } => self.register.routes[node.index()].cut = cut,
            WitnessFault::Latency { node, us } => self.register.routes[node.index()].us = us,
            WitnessFault::Fate { node, fate } => self.register.routes[node.index()].fates.push_back(fate),
            WitnessFault::Swap { node, fate } => self.register.routes[node.index()].swaps.push_back(fate),
            _ => self.register.tamper(what),
        }
    }

    /// A node asks the witness. Whatever becomes of the question, the node gets one answer.
    pub fn ask_witness(&mut self, side: Side, ask: u64, question: WitnessQuestion) -> Checked {
        let swaps = matches!(question, WitnessQuestion::Swap { .. });
        if let WitnessQuestion::Swap { record, .. } = &question {
            self.claims(side, record)?;
        }
        let now = self.now;
        let host = self.host(side);
        host.witness_ask = Some(ask);
        host.last_ask = ask;
        let run = host.run;
        let end = Moment(host.clock.at(now).0.saturating_add(micros(host.options.witness_timeout())));
        let wait = host.clock.when(end).saturating_sub(now);
        let way = &mut self.register.routes[side.index()];
        let (cut, us) = (way.cut, way.us);
        let fate = match (cut, swaps) {
            (true, _) => None,
            (false, true) => way.swaps.pop_front().or_else(|| way.fates.pop_front()),
            (false, false) => way.fates.pop_front(),
        };
        if cut {
            // Some networks say so at once.
            let wait = if self.random.percent(40) { us.min(wait) } else { wait };
            self.after(wait, Scheduled::WitnessOver { side, run, ask });
            return Ok(());
        }
        self.after(wait, Scheduled::WitnessOver { side, run, ask });
        let there = self.random.below(us + 1);
        let back = us - there + self.random.below(us / 4 + 1);
        let mut land = |us: u64, back: Option<u64>| {
            let question = Box::new(question.clone());
            self.after(us, Scheduled::Landing { side, run, ask, question, back });
        };
        match fate {
            None => land(there, Some(back)),
            Some(Fate::QuestionLost) => {}
            Some(Fate::AnswerLost) => land(there, None),
            Some(Fate::Late { us }) => land(us, Some(back)),
            Some(Fate::Twice { us }) => {
                land(there, Some(back));
                land(there + us, Some(back));
            }
        }
        Ok(())
    }

    /// A question arrives at the witness, whatever has become of the node that asked.
    pub fn landing(&mut self, from: (Side, u64, u64), question: WitnessQuestion, back: Option<u64>) -> Checked {
        let (side, run, ask) = from;
        let agrees = self.flaw == Some(InjectedBug::AgreeingWitness);
        let answer = match question {
            WitnessQuestion::Read => {
                let version = |version: &u64| WitnessVersion::new(version);
                let value = self.register.value.as_ref();
                WitnessAnswer::Holds(value.map(|(record, at)| Box::new((record.clone(), version(at)))))
            }
            WitnessQuestion::Swap { expected, .. } if !agrees && !self.register.matches(expected.as_ref()) => {
                WitnessAnswer::Conflict
            }
            WitnessQuestion::Swap { record, .. } => {
                self.tell(|| format!("the witness holds {record:?} now, by {side:?}"));
                let host = &self.hosts[side.index()];
                let late = host.run != run || host.last_ask != ask;
                self.swapped(side, &record, late)?;
                let version = self.register.put(Some(*record));
                self.named_holds_all()?;
                WitnessAnswer::Swapped(version)
            }
        };
        if let Some(us) = back {
            self.after(us, Scheduled::WitnessSaid { side, run, ask, answer });
        }
        Ok(())
    }

    /// An answer of the witness reaches its node. One that was waited for no longer is dropped.
    pub fn witness_said(&mut self, side: Side, ask: u64, answer: WitnessAnswer) -> Checked {
        let lost = self.register.routes[side.index()].cut;
        if lost || self.host(side).witness_ask.take_if(|asked| *asked == ask).is_none() {
            return Ok(());
        }
        self.event(side, Event::WitnessAnswered { ask, answer })
    }

    /// A node has waited for long enough.
    pub fn witness_over(&mut self, side: Side, ask: u64) -> Checked {
        if self.host(side).witness_ask.take_if(|asked| *asked == ask).is_none() {
            return Ok(());
        }
        let answer = WitnessAnswer::Unknown { reason: "no answer in time".into() };
        self.event(side, Event::WitnessAnswered { ask, answer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Epoch, NodeId, Revision};

    fn record(counter: u64) -> WitnessRecord {
        WitnessRecord {
            pair: PairId([1; 16]),
            holder: NodeId([1; 32]),
            epoch: Epoch::FIRST,
            lease: std::time::Duration::from_millis(350),
            in_sync: None,
            revision: Revision::NONE,
            counter,
        }
    }

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
