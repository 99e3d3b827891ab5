//! The driver's part in asking the witness.

use super::injected_bug::InjectedBug;
use super::schedule::Scheduled;
use super::step::Fate;
use super::world::World;
use crate::campaign::violation::Checked;
use crate::protocol::engine::{Event, Moment, WitnessAnswer, WitnessQuestion};
use crate::protocol::failover::micros;
use crate::testing::Side;

impl World {
    /// A node asks the witness. Whatever the fate of the question, the node gets exactly one answer.
    pub fn ask_witness(&mut self, side: Side, ask: u64, question: WitnessQuestion) -> Checked {
        let swaps = matches!(question, WitnessQuestion::Swap { .. });
        if let WitnessQuestion::Swap { record, .. } = &question {
            self.check_swap_request(side, record)?;
        }
        let now = self.now;
        let machine = self.machine(side);
        machine.witness_client.pending = Some(ask);
        machine.witness_client.last = ask;
        let run = machine.run;
        let end = Moment(machine.clock.at(now).0.saturating_add(micros(machine.options.witness_timeout())));
        let wait = machine.clock.when(end).saturating_sub(now);
        let way = &mut self.witness.routes[side.index()];
        let (cut, us) = (way.cut, way.us);
        let fate = match (cut, swaps) {
            (true, _) => None,
            (false, true) => way.swaps.pop_front().or_else(|| way.fates.pop_front()),
            (false, false) => way.fates.pop_front(),
        };
        if cut {
            // Some networks report it at once.
            let wait = if self.random.percent(40) { us.min(wait) } else { wait };
            self.after(wait, Scheduled::WitnessTimesOut { side, run, ask });
            return Ok(());
        }
        self.after(wait, Scheduled::WitnessTimesOut { side, run, ask });
        let there = self.random.below(us + 1);
        let back = us - there + self.random.below(us / 4 + 1);
        let mut land = |us: u64, back: Option<u64>| {
            let question = Box::new(question.clone());
            self.after(us, Scheduled::QuestionArrives { side, run, ask, question, back });
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

    /// A question arrives at the witness. The node that asked may be gone by now.
    pub fn question_arrives(
        &mut self,
        from: (Side, u64, u64),
        question: WitnessQuestion,
        back: Option<u64>,
    ) -> Checked {
        let (side, run, ask) = from;
        let agrees = self.bug == Some(InjectedBug::AgreeingWitness);
        let answer = match question {
            WitnessQuestion::Read => WitnessAnswer::Holds(self.witness.versioned().map(Box::new)),
            WitnessQuestion::Swap { expected, .. } if !agrees && !self.witness.matches(expected.as_ref()) => {
                WitnessAnswer::Conflict
            }
            WitnessQuestion::Swap { record, .. } => {
                self.note(|| format!("the witness holds {record:?} now, by {side:?}"));
                let machine = &self.machines[side.index()];
                let late = machine.run != run || machine.witness_client.last != ask;
                self.check_swap(side, &record, late)?;
                let version = self.witness.put(Some(*record));
                self.check_in_sync_node()?;
                WitnessAnswer::Swapped(version)
            }
        };
        if let Some(us) = back {
            self.after(us, Scheduled::WitnessAnswers { side, run, ask, answer });
        }
        Ok(())
    }

    /// An answer reaches its node. An answer that is no longer waited for is dropped.
    pub fn witness_answered(&mut self, side: Side, ask: u64, answer: WitnessAnswer) -> Checked {
        let lost = self.witness.routes[side.index()].cut;
        if lost || self.machine(side).witness_client.pending.take_if(|asked| *asked == ask).is_none() {
            return Ok(());
        }
        self.event(side, Event::WitnessAnswered { ask, answer })
    }

    /// The node gives up waiting for an answer.
    pub fn witness_timed_out(&mut self, side: Side, ask: u64) -> Checked {
        if self.machine(side).witness_client.pending.take_if(|asked| *asked == ask).is_none() {
            return Ok(());
        }
        let answer = WitnessAnswer::Unknown { reason: "no answer in time".into() };
        self.event(side, Event::WitnessAnswered { ask, answer })
    }
}
