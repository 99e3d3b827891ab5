//! What is under way: events that will happen, in the order of their time.

use std::collections::BTreeMap;

use super::machine::Machine;
use super::step::Fate;
use crate::model::Revision;
use crate::protocol::engine::{BatchId, Event, LinkId, WitnessAnswer, WitnessQuestion};
use crate::testing::Side;

/// Something that will happen.
#[derive(Clone, Debug)]
pub enum Scheduled {
    /// The timer of a run; `set` counts how often it was set.
    Timer { side: Side, run: u64, set: u64 },
    /// A frame arrives at this end of a connection.
    Arrival { conn: usize, to: Side },
    /// A dial that led to no link ends.
    DialEnds { side: Side, run: u64, dial: u64, refused: bool },
    /// The disk has done a batch, or failed to.
    BatchEnds { side: Side, run: u64, batch: BatchId },
    /// The group of a batch is in the log.
    GroupWritten { side: Side, run: u64, batch: BatchId },
    /// Content is read for a push.
    Read { side: Side, run: u64, read: Read },
    /// The host answers whether the node may take over.
    HostAnswers { side: Side, run: u64, question: u64 },
    /// The node's key is renewed on the disk, a step of that.
    Renewed { side: Side, run: u64, event: Box<Event> },
    /// A node that stops waits for its disk no longer.
    GivesUpDisk { side: Side, run: u64 },
    /// A question arrives at the witness. Its answer takes `back` microseconds; `None` where it is lost.
    QuestionArrives { side: Side, run: u64, ask: u64, question: Box<WitnessQuestion>, back: Option<u64> },
    /// The witness answers.
    WitnessAnswers { side: Side, run: u64, ask: u64, answer: WitnessAnswer },
    /// The witness has not answered in time.
    WitnessTimesOut { side: Side, run: u64, ask: u64 },
}

/// What is read for a push.
#[derive(Clone, Debug)]
pub enum Read {
    /// Records of the log.
    Records { link: LinkId, after: Revision, upto: Revision, durable: Revision, max_bytes: usize },
    /// Opens a snapshot.
    Open { transfer: u64, withheld: bool },
    /// A piece of it.
    Piece { link: LinkId, transfer: u64, max_bytes: usize },
}

impl Scheduled {
    /// The node that it concerns; `None` for the witness.
    pub fn side(&self) -> Option<Side> {
        Some(match self {
            Self::QuestionArrives { .. } => return None,
            Self::Timer { side, .. }
            | Self::Arrival { to: side, .. }
            | Self::DialEnds { side, .. }
            | Self::BatchEnds { side, .. }
            | Self::GroupWritten { side, .. }
            | Self::Read { side, .. }
            | Self::WitnessAnswers { side, .. }
            | Self::WitnessTimesOut { side, .. }
            | Self::GivesUpDisk { side, .. }
            | Self::Renewed { side, .. }
            | Self::HostAnswers { side, .. } => *side,
        })
    }
}

/// Everything that is under way, by its time and the order in which it was scheduled.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    events: BTreeMap<(u64, u64), Scheduled>,
    /// What came to a node while it stood still.
    deferred: [Vec<Scheduled>; 2],
    serial: u64,
    /// A moment, and how many events came at it.
    busy: (u64, u64),
}

impl Schedule {
    /// Adds an event.
    pub fn insert(&mut self, at: u64, event: Scheduled) {
        self.serial += 1;
        self.events.insert((at, self.serial), event);
    }

    /// Counts an event at this moment; returns how many came at it before.
    pub fn count_at(&mut self, now: u64) -> u64 {
        self.busy = if self.busy.0 == now { (now, self.busy.1 + 1) } else { (now, 0) };
        self.busy.1
    }

    /// Takes the next event, if it comes by this time.
    pub fn pop_until(&mut self, end: u64) -> Option<(u64, Scheduled)> {
        let entry = self.events.first_entry().filter(|entry| entry.key().0 <= end)?;
        let ((at, _), event) = entry.remove_entry();
        Some((at, event))
    }

    /// When something happens next. Events that nobody waits for any more are dropped.
    pub fn next_at(&mut self, machines: &[Machine; 2]) -> Option<u64> {
        while let Some(entry) = self.events.first_entry() {
            if matters(machines, entry.get()) {
                return Some(entry.key().0);
            }
            entry.remove();
        }
        None
    }

    /// Keeps an event for a node that stands still.
    pub fn defer(&mut self, side: Side, event: Scheduled) {
        self.deferred[side.index()].push(event);
    }

    /// Takes what was kept for a node.
    pub fn take_deferred(&mut self, side: Side) -> Vec<Scheduled> {
        std::mem::take(&mut self.deferred[side.index()])
    }

    /// What is kept for both nodes.
    pub fn deferred(&self) -> &[Vec<Scheduled>; 2] {
        &self.deferred
    }

    /// Drops everything that nobody waits for any more, and returns what is left with its time.
    pub fn relevant(&mut self, machines: &[Machine; 2]) -> impl Iterator<Item = (u64, &Scheduled)> {
        self.events.retain(|_, event| matters(machines, event));
        self.events.iter().map(|((at, _), event)| (*at, event))
    }

    /// Whether a swap may still arrive at the witness.
    pub fn has_swap(&self) -> bool {
        self.events.values().any(|event| match event {
            Scheduled::QuestionArrives { question, .. } => {
                matches!(**question, WitnessQuestion::Swap { .. })
            }
            _ => false,
        })
    }

    /// Whether a swap of this node is on its way to the witness and will be answered.
    pub fn has_swap_from(&self, from: Side) -> bool {
        self.swap_from(from).is_some()
    }

    fn swap_from(&self, from: Side) -> Option<(u64, u64)> {
        let swap = |event: &Scheduled| match event {
            Scheduled::QuestionArrives { side, question, back, .. } => {
                *side == from && back.is_some() && matches!(**question, WitnessQuestion::Swap { .. })
            }
            _ => false,
        };
        self.events.iter().find(|(_, event)| swap(event)).map(|(at, _)| *at)
    }

    /// Gives that swap a fate.
    pub fn intercept_swap(&mut self, from: Side, fate: Fate) {
        let Some((at, serial)) = self.swap_from(from) else {
            return;
        };
        let Some(Scheduled::QuestionArrives { side, run, ask, question, back }) = self.events.remove(&(at, serial))
        else {
            return;
        };
        let mut arrive = |us: u64, back: Option<u64>| {
            let question = question.clone();
            self.events.insert((at + us, serial), Scheduled::QuestionArrives { side, run, ask, question, back });
        };
        match fate {
            Fate::QuestionLost => {}
            Fate::AnswerLost => arrive(0, None),
            Fate::Late { us } => arrive(us, back),
            Fate::Twice { .. } => arrive(0, back),
        }
    }
}

/// Whether an event still has an effect.
fn matters(machines: &[Machine; 2], event: &Scheduled) -> bool {
    let current = |side: &Side, run: &u64| machines[side.index()].run == *run;
    match event {
        Scheduled::QuestionArrives { .. } | Scheduled::Arrival { .. } => true,
        Scheduled::Timer { side, run, set } => {
            current(side, run) && machines[side.index()].driver.timer.is_some_and(|(_, now)| now == *set)
        }
        Scheduled::DialEnds { side, run, dial, .. } => {
            current(side, run) && machines[side.index()].driver.dial == Some(*dial)
        }
        Scheduled::WitnessAnswers { side, run, ask, .. } | Scheduled::WitnessTimesOut { side, run, ask } => {
            current(side, run) && machines[side.index()].witness_client.pending == Some(*ask)
        }
        Scheduled::BatchEnds { side, run, .. }
        | Scheduled::GroupWritten { side, run, .. }
        | Scheduled::Read { side, run, .. }
        | Scheduled::GivesUpDisk { side, run }
        | Scheduled::Renewed { side, run, .. }
        | Scheduled::HostAnswers { side, run, .. } => current(side, run),
    }
}
