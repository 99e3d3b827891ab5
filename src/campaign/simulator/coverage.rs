//! What was tried: faults by kind, and events by the state of the node that they met.

use std::collections::BTreeMap;

use super::step::{Fate, Step, Verb, WitnessFault};
use super::summary::Summary;
use crate::protocol::engine::Event;
use crate::protocol::failover::NodeState;

/// More than there are states of a node, and kinds of events.
const SLOTS: usize = 32;

/// Coverage of one history.
#[derive(Clone, Debug)]
pub struct Coverage {
    faults: BTreeMap<&'static str, u64>,
    met: [[u32; SLOTS]; SLOTS],
    states: [Option<NodeState>; SLOTS],
}

impl Default for Coverage {
    fn default() -> Self {
        Self { faults: BTreeMap::new(), met: [[0; SLOTS]; SLOTS], states: [None; SLOTS] }
    }
}

impl Coverage {
    /// Counts a step, if it is a fault and has an effect.
    pub fn count_fault(&mut self, effect: bool, step: Step) {
        if let Some(kind) = fault(step).filter(|_| effect) {
            *self.faults.entry(kind).or_default() += 1;
        }
    }

    /// Counts an event that met a node in this state.
    pub fn count_event(&mut self, state: NodeState, event: &Event) {
        let at = state as usize % SLOTS;
        self.states[at] = Some(state);
        self.met[at][kind(event)] += 1;
    }

    /// Moves the counts into the summary of the history.
    pub fn add_to(&mut self, summary: &mut Summary) {
        summary.faults = std::mem::take(&mut self.faults);
        for (state, met) in self.states.iter().zip(&self.met) {
            let Some(state) = state else { continue };
            for (kind, count) in met.iter().enumerate().filter(|(_, count)| **count > 0) {
                let pair = (format!("{state:?}"), EVENTS.get(kind).copied().unwrap_or("?"));
                summary.coverage.insert(pair, u64::from(*count));
            }
        }
    }
}

/// Kinds of events, in the order of [`kind`].
pub const EVENTS: [&str; 20] = [
    "Timer",
    "LinkUp",
    "LinkDown",
    "DialFailed",
    "Message",
    "Bulk",
    "RecordsPushed",
    "SnapshotOpened",
    "SnapshotPushed",
    "ReadFailed",
    "Commit",
    "Persisted",
    "DiskFailed",
    "HostAnswered",
    "WitnessHolds",
    "WitnessSwapped",
    "WitnessConflict",
    "WitnessUnknown",
    "Command",
    "Outside",
];

fn kind(event: &Event) -> usize {
    use crate::protocol::engine::WitnessAnswer as W;
    match event {
        Event::Timer => 0,
        Event::LinkUp { .. } => 1,
        Event::LinkDown { .. } => 2,
        Event::DialFailed { .. } => 3,
        Event::Message { .. } => 4,
        Event::Bulk { .. } => 5,
        Event::RecordsPushed { .. } => 6,
        Event::SnapshotOpened { .. } => 7,
        Event::SnapshotPushed { .. } => 8,
        Event::ReadFailed { .. } => 9,
        Event::Commit { .. } => 10,
        Event::Persisted(completed) if completed.failure().is_none() => 11,
        Event::Persisted(_) => 12,
        Event::HostAnswered { .. } => 13,
        Event::WitnessAnswered { answer: W::Holds(_), .. } => 14,
        Event::WitnessAnswered { answer: W::Swapped(_), .. } => 15,
        Event::WitnessAnswered { answer: W::Conflict, .. } => 16,
        Event::WitnessAnswered { answer: W::Unknown { .. }, .. } => 17,
        Event::Command { .. } => 18,
        _ => 19,
    }
}

/// The kind of a fault. `None` for other steps: time, commits, the end of a fault, most commands.
fn fault(step: Step) -> Option<&'static str> {
    Some(match step {
        Step::Cut { .. } => "cut one way",
        Step::Reset => "connections dropped",
        Step::HalfReset { .. } => "connections dropped for one",
        Step::SlowConns { .. } => "connections overtaken",
        Step::Ghost { .. } => "connection without a dialler",
        Step::Latency { .. } => "network delay",
        Step::FailDials { .. } => "dials fail",
        Step::Crash { .. } => "crash",
        Step::CrashAt { .. } => "crash at an action",
        Step::RollBack { .. } => "disk rolled back",
        Step::Blank { .. } => "disk blank",
        Step::Pause { .. } => "pause",
        Step::DiskFull { full: true, .. } => "disk full",
        Step::FailSync { .. } => "sync fails",
        Step::DiskLatency { .. } => "disk delay",
        Step::WallJump { .. } => "wall clock jumps",
        Step::MayTakeOver { allowed: false, .. } => "host forbids takeover",
        Step::Validation { accepts: false, .. } => "host refuses pushes",
        Step::ByzantinePeer { .. } => "byzantine peer",
        Step::Operator { verb: Verb::Shutdown, .. } => "shutdown",
        Step::Operator { verb: Verb::TakeOver { .. }, .. } => "takeover ordered",
        Step::Operator { verb: Verb::SwitchRoles, .. } => "switch of roles",
        Step::Operator { verb: Verb::ReplaceShadow { .. }, .. } => "shadow replaced",
        Step::Operator { verb: Verb::Pause { on: true }, .. } => "failover paused",
        Step::Operator { verb: Verb::Freeze { on: true }, .. } => "pair frozen",
        Step::Operator { verb: Verb::Rotate, .. } => "key renewed",
        Step::Witness { what } => return witness_fault(what),
        _ => return None,
    })
}

fn witness_fault(what: WitnessFault) -> Option<&'static str> {
    Some(match what {
        WitnessFault::Cut { cut: true, .. } => "witness unreachable",
        WitnessFault::Latency { .. } => "witness delay",
        WitnessFault::Fate { fate: Fate::QuestionLost, .. } | WitnessFault::Swap { fate: Fate::QuestionLost, .. } => {
            "witness question lost"
        }
        WitnessFault::Fate { fate: Fate::AnswerLost, .. } | WitnessFault::Swap { fate: Fate::AnswerLost, .. } => {
            "witness answer lost"
        }
        WitnessFault::Fate { fate: Fate::Late { .. }, .. } | WitnessFault::Swap { fate: Fate::Late { .. }, .. } => {
            "witness question late"
        }
        WitnessFault::Fate { fate: Fate::Twice { .. }, .. } | WitnessFault::Swap { fate: Fate::Twice { .. }, .. } => {
            "witness question twice"
        }
        WitnessFault::Restore => "witness record older",
        WitnessFault::Wipe => "witness record missing",
        WitnessFault::Foreign => "witness record foreign",
        WitnessFault::Cut { cut: false, .. } | WitnessFault::Keep => return None,
    })
}
