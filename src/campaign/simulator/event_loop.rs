//! Lets time pass: takes what is scheduled in its order and hands it to whom it concerns.

use super::schedule::Scheduled;
use super::world::World;
use crate::campaign::violation::{Checked, Invariant};
use crate::protocol::engine::Event;
use crate::testing::Side;

/// More events than this at one moment are an engine that spins.
const SPIN_MAX: u64 = 2_000;

impl World {
    /// Lets time pass.
    pub fn run(&mut self, us: u64) -> Checked {
        let end = self.now + us;
        while let Some((at, event)) = self.schedule.pop_until(end) {
            self.now = self.now.max(at);
            let events = self.schedule.count_at(self.now);
            Invariant::Bounded.check(events < SPIN_MAX, || "the engines spin: no time passes".into())?;
            self.dispatch(event)?;
        }
        self.now = end;
        Ok(())
    }

    /// When something happens next.
    pub fn next_event_at(&mut self) -> Option<u64> {
        self.schedule.next_at(&self.machines)
    }

    /// Lets one thing happen.
    pub fn run_one_event(&mut self) -> Checked {
        let Some((at, event)) = self.schedule.pop_until(u64::MAX) else {
            return Ok(());
        };
        self.now = self.now.max(at);
        self.dispatch(event)
    }

    fn dispatch(&mut self, event: Scheduled) -> Checked {
        if let Scheduled::QuestionArrives { side, run, ask, question, back } = event {
            return self.question_arrives((side, run, ask), *question, back);
        }
        let Some(side) = event.side() else {
            return Ok(());
        };
        if self.machine(side).paused_at.is_some() {
            self.schedule.defer(side, event);
            return Ok(());
        }
        let current = self.machine(side).run;
        match event {
            Scheduled::Arrival { conn, to } => self.arrival(conn, to),
            Scheduled::Timer { run, set, .. } => {
                let due = run == current && self.machine(side).driver.timer.is_some_and(|(_, now)| now == set);
                if due { self.event(side, Event::Timer) } else { Ok(()) }
            }
            Scheduled::DialEnds { run, dial, refused, .. } if run == current => self.dial_ended(side, dial, refused),
            Scheduled::BatchEnds { run, batch, .. } if run == current => self.batch_ended(side, batch),
            Scheduled::GroupWritten { run, batch, .. } if run == current => self.group_written(side, batch),
            Scheduled::Read { run, read, .. } if run == current => self.read(side, read),
            Scheduled::HostAnswers { run, question, .. } if run == current => self.host_answered(side, question),
            Scheduled::Renewed { run, event, .. } if run == current => self.event(side, *event),
            Scheduled::GivesUpDisk { run, .. } if run == current => self.event(side, Event::Abandoned),
            Scheduled::WitnessAnswers { run, ask, answer, .. } if run == current => {
                self.witness_answered(side, ask, answer)
            }
            Scheduled::WitnessTimesOut { run, ask, .. } if run == current => self.witness_timed_out(side, ask),
            _ => Ok(()),
        }
    }

    /// A node that was paused goes on. What waited for it comes now, its timer first where that is asked for.
    pub fn deliver_deferred(&mut self, side: Side, timer_first: bool) {
        let mut waiting = self.schedule.take_deferred(side);
        if timer_first {
            waiting.sort_by_key(|event| !matches!(event, Scheduled::Timer { .. }));
        }
        for event in waiting {
            self.after(0, event);
        }
    }
}
