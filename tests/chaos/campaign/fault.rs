//! What strikes, when and for how long: all drawn beforehand, so that a seed is a sequence of strikes whatever the nodes do.

use std::fmt;
use std::time::Duration;

use crate::harness::Spread;

/// A kind of strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    KillMaster,
    Stop,
    Cut,
    CutOneWay,
    WitnessGone,
    KillBoth,
}

impl Kind {
    pub const ALL: [Self; 6] =
        [Self::KillMaster, Self::Stop, Self::Cut, Self::CutOneWay, Self::WitnessGone, Self::KillBoth];
}

impl fmt::Display for Kind {
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

/// One strike.
#[derive(Debug)]
pub struct Strike {
    pub kind: Kind,
    /// Whether the pair is whole when it strikes; else one strike meets what another left.
    pub calm: bool,
    /// Load before it.
    pub before: Duration,
    /// How long it lasts, where it is one that lasts.
    pub length: Duration,
    /// Which way, which node first.
    pub way: usize,
}

impl Strike {
    pub fn draw(kind: Kind, spread: &mut Spread) -> Self {
        Self {
            kind,
            calm: spread.below(4) > 0,
            before: Duration::from_millis(100 + spread.below(700)),
            length: Duration::from_millis(100 + spread.below(2_000)),
            way: spread.below(2) as usize,
        }
    }
}

/// Every kind comes once before any comes again.
#[derive(Default)]
pub struct Bag(Vec<Kind>);

impl Bag {
    pub fn draw(&mut self, spread: &mut Spread) -> Strike {
        if self.0.is_empty() {
            self.0.extend(Kind::ALL);
        }
        let at = spread.below(self.0.len() as u64) as usize;
        Strike::draw(self.0.swap_remove(at), spread)
    }
}
