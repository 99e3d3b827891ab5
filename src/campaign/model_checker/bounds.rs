//! The bounds within which the checker tries everything.

use super::choice::{Choice, FaultKind};
use crate::campaign::simulator::injected_bug::InjectedBug;
use crate::campaign::simulator::step::Step;
use crate::protocol::engine::Replication;

/// Length of a heartbeat interval, microseconds. The takeover delay is five, the lease three and a half.
pub const BEAT_US: u64 = 100_000;

/// At which moments there is a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// At every heartbeat.
    Beat,
    /// At every event.
    Event,
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
    /// Steps before the first choice.
    pub beginning: Vec<Step>,
    /// Faults that these steps began and that may end on the path. Their time counts from the first choice.
    pub open_faults: Vec<Choice>,
    /// Moments of choice.
    pub granularity: Granularity,
    /// Kinds of fault that can be chosen.
    pub kinds: Vec<FaultKind>,
    /// Most kinds of fault on a path; commits do not count.
    pub faults: usize,
    /// Faults begin within so many heartbeats.
    pub onsets: u64,
    /// A fault ends after one of these numbers of heartbeats, or never.
    pub lengths: Vec<u64>,
    /// Heartbeats until a path ends.
    pub horizon: u64,
    /// Whether a crash closes the connections of the process. If not, it is a loss of power, and the peer learns nothing.
    pub closes: bool,
    /// Whether all faults end with the path, and the pair must then become whole.
    pub settles: bool,
    /// A mistake that is put in on purpose.
    pub bug: Option<InjectedBug>,
}

impl Bounds {
    /// Any fault, at heartbeats.
    pub fn beats(replication: Replication, faults: usize) -> Self {
        Self {
            replication,
            rates_ppm: [0; 2],
            lease_ms: None,
            beginning: Vec::new(),
            open_faults: Vec::new(),
            granularity: Granularity::Beat,
            kinds: vec![FaultKind::Commit, FaultKind::Crash, FaultKind::Cut, FaultKind::Pause, FaultKind::Unreachable],
            faults,
            onsets: 4,
            lengths: vec![1, 4, 8],
            horizon: 16,
            closes: false,
            settles: false,
            bug: None,
        }
    }

    /// Few faults, at any event.
    pub fn events(replication: Replication, faults: usize) -> Self {
        Self {
            granularity: Granularity::Event,
            kinds: vec![FaultKind::Commit, FaultKind::Crash, FaultKind::Cut, FaultKind::Swap],
            onsets: 2,
            lengths: vec![2, 8],
            ..Self::beats(replication, faults)
        }
    }
}
