//! Within what everything is tried.

use super::state::Choice;
use crate::campaign::simulator::step::Step;
use crate::campaign::simulator::world::InjectedBug;
use crate::protocol::engine::Replication;

/// Length of a heartbeat interval, microseconds. The takeover delay is five, the lease three and a half.
pub const BEAT_US: u64 = 100_000;

/// At what moments there is a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// At every heartbeat.
    Beat,
    /// At every event.
    Event,
}

/// A kind of fault. Each comes once in a path at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A caller commits, at whoever holds mastership.
    Commit,
    /// A process ends, and starts again later or never.
    Crash,
    /// Nothing passes between the nodes, one way or both.
    Cut,
    /// A process stands still.
    Pause,
    /// The witness cannot be reached, by one node or both.
    Unreachable,
    /// A swap at the witness is lost, or its answer is, or it lands late.
    Swap,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Commit, Self::Crash, Self::Cut, Self::Pause, Self::Unreachable, Self::Swap];
}

/// Bounds of a check.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Whether commits wait for the shadow.
    pub replication: Replication,
    /// Clock rates, parts per million off true time.
    pub rates_ppm: [i64; 2],
    /// Length of the lease, milliseconds; `None` for the default.
    pub lease_ms: Option<u64>,
    /// What is done to a whole pair before there is a choice.
    pub beginning: Vec<Step>,
    /// Faults among it that may end like those of the path, counted from when choices begin.
    pub begun: Vec<Choice>,
    /// Moments of choice.
    pub grain: Grain,
    /// What can be chosen.
    pub kinds: Vec<Kind>,
    /// How many kinds of fault a path holds at the most, commits aside.
    pub faults: usize,
    /// Faults begin within so many beats.
    pub onsets: u64,
    /// A fault ends after one of these numbers of beats, or never.
    pub lengths: Vec<u64>,
    /// Beats until a path ends.
    pub horizon: u64,
    /// A crash closes the connections of the process; else it is a loss of power, and the peer hears nothing.
    pub closes: bool,
    /// At the end all faults are ended, and the pair must become whole.
    pub settles: bool,
    /// Made on purpose.
    pub flaw: Option<InjectedBug>,
}

impl Bounds {
    /// All kinds of fault at heartbeats.
    pub fn beats(replication: Replication, faults: usize) -> Self {
        Self {
            replication,
            rates_ppm: [0; 2],
            lease_ms: None,
            beginning: Vec::new(),
            begun: Vec::new(),
            grain: Grain::Beat,
            kinds: vec![Kind::Commit, Kind::Crash, Kind::Cut, Kind::Pause, Kind::Unreachable],
            faults,
            onsets: 4,
            lengths: vec![1, 4, 8],
            horizon: 16,
            closes: false,
            settles: false,
            flaw: None,
        }
    }

    /// Few faults, at every event.
    pub fn events(replication: Replication, faults: usize) -> Self {
        Self {
            grain: Grain::Event,
            kinds: vec![Kind::Commit, Kind::Crash, Kind::Cut, Kind::Swap],
            onsets: 2,
            lengths: vec![2, 8],
            ..Self::beats(replication, faults)
        }
    }
}
