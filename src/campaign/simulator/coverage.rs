//! What was tried: faults by kind, and which events met which standing.

use std::collections::BTreeMap;

use super::step::{Fate, Step, Verb, WitnessFault};
use super::summary::Summary;
use crate::protocol::engine::Event;
use crate::protocol::failover::NodeState;

/// Standings and kinds of events that there is room for.
const ROOM: usize = 32;

/// Coverage of one history.
#[derive(Clone, Debug)]
pub struct Coverage {
    faults: BTreeMap<&'static str, u64>,
    met: [[u32; ROOM]; ROOM],
    standings: [Option<NodeState>; ROOM],
}

impl Default for Coverage {
    fn default() -> Self {
        Self { faults: BTreeMap::new(), met: [[0; ROOM]; ROOM], standings: [None; ROOM] }
    }
}

impl Coverage {
    /// A fault was made, if it was one and had an effect.
    pub fn fault(&mut self, effect: bool, step: Step) {
        if let Some(kind) = fault(step).filter(|_| effect) {
            *self.faults.entry(kind).or_default() += 1;
        }
    }

    /// An event met a node of this standing.
    pub fn happened(&mut self, standing: NodeState, event: &Event) {
        let at = standing as usize % ROOM;
        self.standings[at] = Some(standing);
        self.met[at][kind(event)] += 1;
    }

    /// Adds them to what a history contained.
    pub fn add_to(&mut self, summary: &mut Summary) {
        summary.faults = std::mem::take(&mut self.faults);
        for (standing, met) in self.standings.iter().zip(&self.met) {
            let Some(standing) = standing else { continue };
            for (kind, count) in met.iter().enumerate().filter(|(_, count)| **count > 0) {
                let pair = (format!("{standing:?}"), EVENTS.get(kind).copied().unwrap_or("?"));
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

/// The kind of a fault; `None` for what is none: time, commits, the end of a fault, most operators' words.
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
        Step::RollBack { .. } => "disk rolled_back back",
        Step::Blank { .. } => "disk blank",
        Step::Pause { .. } => "pause",
        Step::DiskFull { full: true, .. } => "disk full",
        Step::FailSync { .. } => "sync fails",
        Step::DiskLatency { .. } => "disk delay",
        Step::WallJump { .. } => "wall clock jumps",
        Step::MayTakeOver { allowed: false, .. } => "host forbids takeover",
        Step::Validation { accepts: false, .. } => "host refuses pushes",
        Step::Lie { .. } => "peer lies",
        Step::Operator { verb: Verb::Shutdown, .. } => "shutdown",
        Step::Operator { verb: Verb::TakeOver { .. }, .. } => "takeover ordered",
        Step::Witness { what } => return strike(what),
        _ => return None,
    })
}

fn strike(what: WitnessFault) -> Option<&'static str> {
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
