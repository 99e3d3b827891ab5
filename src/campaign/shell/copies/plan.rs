//! What happens in a history with a copy, drawn from a seed.

use std::time::Duration;

use crate::campaign::simulator::random::{Random, mix};
use crate::protocol::engine::{Options, Replication, Timeouts};
use crate::testing::{Crash, MachineId, Side};

/// One history.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whether there is a witness.
    pub witnessed: bool,
    /// Whether commits wait for the shadow.
    pub replication: Replication,
    /// The node that is copied: A is the first master, B its shadow.
    pub of: Side,
    /// What is done, and the time that passes after it, microseconds.
    pub steps: Vec<(Step, u64)>,
}

/// One thing that happens. A step that makes no sense when it comes is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Wait,
    /// A caller commits so many change sets in a row.
    Commit { at: MachineId, count: u8 },
    /// The disk of the node is copied.
    Copy,
    /// A node starts.
    Start { at: MachineId },
    /// A process or a machine ends.
    Crash { at: MachineId, how: Crash },
    /// A node stands still, or goes on.
    Pause { at: MachineId },
    /// It goes on.
    Resume { at: MachineId },
    /// Nothing sent by this machine arrives.
    Cut { from: MachineId },
    /// Everything arrives again.
    Heal,
    /// All connections break.
    Reset,
    /// The witness is out of reach of this machine, or within it.
    Witness { at: MachineId, reachable: bool },
}

impl Plan {
    /// The history of this seed.
    pub fn drawn(seed: u64) -> Self {
        let mut random = Random::new(mix(seed ^ 0x636f_7079));
        let witnessed = random.percent(65);
        let replication = if random.percent(70) { Replication::Synchronous } else { Replication::Asynchronous };
        let of = *random.pick(&Side::BOTH);
        let mut steps = Vec::new();
        some(&mut random, &mut steps, (0, 4));
        steps.push((Step::Copy, random.range(0, 300_000)));
        some(&mut random, &mut steps, (0, 4));
        match random.below(10) {
            0..4 => beside(&mut random, &mut steps),
            4..7 => instead(&mut random, &mut steps, of),
            _ => storm(&mut random, &mut steps, of),
        }
        Self { witnessed, replication, of, steps }
    }

    /// The knobs of all nodes.
    pub fn options(&self) -> Options {
        Options {
            heartbeat: Duration::from_millis(100),
            takeover_delay: Duration::from_millis(500),
            timeouts: Timeouts {
                connect: Duration::from_millis(300),
                sync: Duration::from_millis(300),
                drain: Duration::from_millis(200),
                ..Timeouts::default()
            },
            hold_down: Duration::ZERO,
            replication: self.replication,
            ..Options::default()
        }
    }

    /// Whether nothing acknowledged may be lost.
    pub fn is_lossless(&self) -> bool {
        self.witnessed && self.replication == Replication::Synchronous
    }
}

const COPY: MachineId = MachineId::Copy;

/// Callers commit, and time passes.
fn some(random: &mut Random, steps: &mut Vec<(Step, u64)>, (low, high): (u64, u64)) {
    for _ in 0..random.range(low, high) {
        let step = if random.percent(75) { commit(random) } else { Step::Wait };
        steps.push((step, random.range(0, 400_000)));
    }
}

fn commit(random: &mut Random) -> Step {
    Step::Commit { at: *random.pick(&MachineId::ALL), count: random.range(1, 4) as u8 }
}

fn how(random: &mut Random) -> Crash {
    *random.pick(&[Crash::Process, Crash::Process, Crash::Power, Crash::TornPower])
}

/// The copy starts, and starts again, beside the original.
fn beside(random: &mut Random, steps: &mut Vec<(Step, u64)>) {
    steps.push((Step::Start { at: COPY }, random.range(0, 800_000)));
    for _ in 0..random.below(3) {
        some(random, steps, (0, 3));
        steps.push((Step::Crash { at: COPY, how: how(random) }, random.range(0, 500_000)));
        steps.push((Step::Start { at: COPY }, random.range(0, 800_000)));
    }
    some(random, steps, (1, 4));
}

/// The original dies, the copy starts, the original comes back.
fn instead(random: &mut Random, steps: &mut Vec<(Step, u64)>, of: Side) {
    let of = MachineId::Node(of);
    steps.push((Step::Crash { at: of, how: how(random) }, random.range(0, 1_500_000)));
    steps.push((Step::Start { at: COPY }, random.range(1_000_000, 3_000_000)));
    some(random, steps, (1, 4));
    if random.percent(70) {
        steps.push((Step::Start { at: of }, random.range(0, 800_000)));
        some(random, steps, (1, 4));
    }
}

/// Everything breaks while both run.
fn storm(random: &mut Random, steps: &mut Vec<(Step, u64)>, of: Side) {
    if random.percent(30) {
        steps.push((Step::Crash { at: MachineId::Node(of), how: how(random) }, random.range(0, 800_000)));
    }
    steps.push((Step::Start { at: COPY }, random.range(0, 800_000)));
    for _ in 0..random.range(3, 12) {
        let at = *random.pick(&MachineId::ALL);
        let step = match random.below(20) {
            0..6 => commit(random),
            6..8 => Step::Cut { from: at },
            8..10 => Step::Heal,
            10 => Step::Reset,
            11..13 => Step::Crash { at, how: how(random) },
            13..16 => Step::Start { at },
            16 => Step::Pause { at },
            17 => Step::Resume { at },
            18 => Step::Witness { at, reachable: false },
            _ => Step::Witness { at, reachable: true },
        };
        steps.push((step, random.range(0, 900_000)));
    }
}
