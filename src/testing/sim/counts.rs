//! What was tried: faults by kind, and which events met which standing.

use std::collections::BTreeMap;

use super::step::{Fate, Step, Strike, Verb};
use crate::protocol::engine::Event;
use crate::protocol::failover::NodeState;
use crate::testing::Summary;

/// Standings and kinds of events that there is room for.
const ROOM: usize = 32;

/// Counts of one history.
#[derive(Clone, Debug)]
pub struct Counts {
    faults: BTreeMap<&'static str, u64>,
    met: [[u32; ROOM]; ROOM],
    standings: [Option<NodeState>; ROOM],
}

impl Default for Counts {
    fn default() -> Self {
        Self { faults: BTreeMap::new(), met: [[0; ROOM]; ROOM], standings: [None; ROOM] }
    }
}

impl Counts {
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
        Event::Persisted { result: Ok(_), .. } => 11,
        Event::Persisted { result: Err(_), .. } => 12,
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
        Step::RollBack { .. } => "disk rolled back",
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

fn strike(what: Strike) -> Option<&'static str> {
    Some(match what {
        Strike::Cut { cut: true, .. } => "witness unreachable",
        Strike::Latency { .. } => "witness delay",
        Strike::Fate { fate: Fate::QuestionLost, .. } | Strike::Swap { fate: Fate::QuestionLost, .. } => {
            "witness question lost"
        }
        Strike::Fate { fate: Fate::AnswerLost, .. } | Strike::Swap { fate: Fate::AnswerLost, .. } => {
            "witness answer lost"
        }
        Strike::Fate { fate: Fate::Late { .. }, .. } | Strike::Swap { fate: Fate::Late { .. }, .. } => {
            "witness question late"
        }
        Strike::Fate { fate: Fate::Twice { .. }, .. } | Strike::Swap { fate: Fate::Twice { .. }, .. } => {
            "witness question twice"
        }
        Strike::Restore => "witness record older",
        Strike::Wipe => "witness record missing",
        Strike::Foreign => "witness record foreign",
        Strike::Cut { cut: false, .. } | Strike::Keep => return None,
    })
}
