//! Which faults come, when and for how long. All is drawn beforehand, so that a seed is a sequence of faults whatever the nodes do.

use std::fmt;
use std::time::Duration;

use crate::harness::Random;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    KillMaster,
    Stop,
    Cut,
    CutOneWay,
    WitnessGone,
    KillBoth,
}

impl FaultKind {
    pub const ALL: [Self; 6] =
        [Self::KillMaster, Self::Stop, Self::Cut, Self::CutOneWay, Self::WitnessGone, Self::KillBoth];
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::KillMaster => "kill -9 of the master",
            Self::Stop => "master stopped for 3 s",
            Self::Cut => "link cut",
            Self::CutOneWay => "link cut one way",
            Self::WitnessGone => "witness gone",
            Self::KillBoth => "both nodes killed",
        })
    }
}

/// One fault.
#[derive(Debug)]
pub struct Fault {
    pub kind: FaultKind,
    /// Whether it waits until the pair is whole. If not, it may meet what another fault left.
    pub waits_for_whole_pair: bool,
    /// Load before it.
    pub before: Duration,
    /// How long it lasts, if it lasts.
    pub length: Duration,
    /// Which direction, or which node first.
    pub direction: usize,
}

impl Fault {
    pub fn draw(kind: FaultKind, random: &mut Random) -> Self {
        Self {
            kind,
            waits_for_whole_pair: random.below(4) > 0,
            before: Duration::from_millis(100 + random.below(700)),
            length: Duration::from_millis(100 + random.below(2_000)),
            direction: random.below(2) as usize,
        }
    }
}

/// Draws every kind of fault once before any comes again.
#[derive(Default)]
pub struct FaultBag(Vec<FaultKind>);

impl FaultBag {
    pub fn draw(&mut self, random: &mut Random) -> Fault {
        if self.0.is_empty() {
            self.0.extend(FaultKind::ALL);
        }
        let at = random.below(self.0.len() as u64) as usize;
        Fault::draw(self.0.swap_remove(at), random)
    }
}
