//! What is done to a pair: concrete steps, and how a random history of them is drawn.

use serde::{Deserialize, Serialize};

use super::random::Random;
use crate::protocol::engine::Failover;

/// One of the two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Side {
    /// The first master.
    A,
    /// The first shadow.
    B,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// As an index.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// One thing that happens to the pair. A step that makes no sense when it comes (starting a running node) is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Time passes.
    Run {
        /// Microseconds.
        us: u64,
    },
    /// A caller commits.
    Commit {
        /// On this node.
        node: Side,
        /// This entry.
        key: u8,
        /// Sets it, or removes it.
        value: Option<u64>,
        /// Only if the entry is there.
        guarded: bool,
    },
    /// Nothing sent by this node arrives until it is healed.
    Cut {
        /// The sender.
        from: Side,
    },
    /// What was held back arrives.
    Heal {
        /// The sender.
        from: Side,
    },
    /// All connections break.
    Reset,
    /// One way takes about this long from now on.
    Latency {
        /// Microseconds.
        us: u64,
    },
    /// The next dials of this node fail.
    FailDials {
        /// The dialler.
        node: Side,
        /// How many.
        count: u8,
    },
    /// Power is cut.
    Crash {
        /// Of this node.
        node: Side,
        /// The peer is not told by a closed connection.
        silent: bool,
        /// How much of the batch under way reached the disk, of 255.
        kept: u8,
    },
    /// A crashed or stopped node starts again.
    Start {
        /// Which one.
        node: Side,
    },
    /// A node stands still, as under SIGSTOP.
    Pause {
        /// Which one.
        node: Side,
    },
    /// It goes on.
    Resume {
        /// Which one.
        node: Side,
        /// Its timer is seen before what waited in its sockets.
        timer_first: bool,
    },
    /// The disk is full, or has room again.
    DiskFull {
        /// Whose.
        node: Side,
        /// Full?
        full: bool,
    },
    /// The batch under way, or the next one, fails.
    FailSync {
        /// Whose.
        node: Side,
        /// How much of it reached the disk, of 255.
        kept: u8,
    },
    /// A batch takes about this long from now on.
    DiskLatency {
        /// Whose.
        node: Side,
        /// Microseconds.
        us: u64,
    },
    /// What the host answers to "may I take over" from now on.
    MayTakeOver {
        /// Whose host.
        node: Side,
        /// Its answer.
        allowed: bool,
    },
    /// Whether the host accepts what is pushed from now on.
    Validation {
        /// Whose host.
        node: Side,
        /// Its answer.
        accepts: bool,
    },
    /// An operator says something.
    Operator {
        /// To this node.
        node: Side,
        /// What.
        verb: Verb,
    },
    /// The peer of this node is a liar: an arbitrary well-formed message arrives.
    Lie {
        /// At this node.
        node: Side,
        /// From which the message is drawn.
        seed: u64,
    },
}

/// What an operator says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// Close the link and hold it.
    Disconnect,
    /// Let it come again.
    Reconnect,
    /// Ask for a full push.
    Resync,
    /// Become master, with or without accepting a loss.
    TakeOver {
        /// Changes may be lost.
        accept_loss: bool,
    },
    /// Mark the first alert as seen.
    Acknowledge,
    /// Stop.
    Shutdown,
    /// Allow a shadow to be enrolled.
    Enable,
    /// Forbid it.
    Disable,
    /// Remember a join token.
    Token {
        /// From which its secret is made.
        secret: u64,
    },
    /// Forget the pairing.
    Reset,
}

/// What a seed stands for: the surroundings and the steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Who decides on a takeover.
    pub failover: Failover,
    /// Hold-down, seconds; zero is off.
    pub hold_down_s: u64,
    /// Clock rates, parts per million off; they differ by less than 1 %.
    pub rates_ppm: [i64; 2],
    /// Change sets that the log keeps.
    pub log_changes: usize,
    /// Messages of the peer may be lies. Then only what must hold against a liar is asserted.
    pub hostile: bool,
    /// What happens.
    pub steps: Vec<Step>,
}

/// Entries that callers use.
const KEYS: u64 = 12;
/// Longest single stretch of time: six times the takeover delay.
const RUN_US_MAX: u64 = 3_000_000;

impl Plan {
    /// The plan of this seed.
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let hostile = seed % 8 == 7;
        let mut plan = Self {
            failover: if random.percent(75) { Failover::Automatic } else { Failover::Manual },
            hold_down_s: if random.percent(80) { 0 } else { 5 },
            rates_ppm: [random.range(0, 9_000) as i64 - 4_500, random.range(0, 9_000) as i64 - 4_500],
            log_changes: random.range(2, 20) as usize,
            hostile,
            steps: Vec::new(),
        };
        // Most histories begin with a pair that has come together.
        if random.percent(85) {
            plan.steps.push(Step::Run { us: 1_000_000 });
        }
        for _ in 0..random.range(5, 50) {
            let step = draw(&mut random, hostile);
            plan.steps.push(step);
            if random.percent(60) {
                plan.steps.push(Step::Run { us: stretch(&mut random) });
            }
        }
        plan
    }
}

/// Time: most often short beside the timings, so that steps fall into the middle of things.
fn stretch(random: &mut Random) -> u64 {
    match random.below(10) {
        0..=3 => random.below(2_000),
        4..=6 => random.below(100_000),
        7..=8 => random.below(800_000),
        _ => random.below(RUN_US_MAX),
    }
}

fn draw(random: &mut Random, hostile: bool) -> Step {
    let node = *random.pick(&Side::BOTH);
    let kept = random.below(256) as u8;
    if hostile && random.percent(60) {
        return Step::Lie { node, seed: random.bits() };
    }
    match random.below(100) {
        0..=33 => commit(random, node),
        34..=38 => Step::Cut { from: node },
        39..=46 => Step::Heal { from: node },
        47..=49 => Step::Reset,
        50..=52 => Step::Latency { us: *random.pick(&[50, 500, 5_000, 40_000]) },
        53..=55 => Step::FailDials { node, count: random.range(1, 4) as u8 },
        56..=62 => Step::Crash { node, silent: random.percent(50), kept },
        63..=71 => Step::Start { node },
        72..=74 => Step::Pause { node },
        75..=78 => Step::Resume { node, timer_first: random.percent(50) },
        79..=80 => Step::DiskFull { node, full: random.percent(50) },
        81..=82 => Step::FailSync { node, kept },
        83..=84 => Step::DiskLatency { node, us: *random.pick(&[100, 5_000, 60_000, 400_000]) },
        85..=86 => Step::MayTakeOver { node, allowed: random.percent(50) },
        87..=89 => Step::Validation { node, accepts: random.percent(60) },
        _ => Step::Operator { node, verb: verb(random) },
    }
}

fn commit(random: &mut Random, node: Side) -> Step {
    let value = random.percent(80).then(|| random.bits());
    Step::Commit { node, key: random.below(KEYS) as u8, value, guarded: random.percent(15) }
}

fn verb(random: &mut Random) -> Verb {
    match random.below(16) {
        0..=1 => Verb::Disconnect,
        2..=4 => Verb::Reconnect,
        5..=6 => Verb::Resync,
        7 => Verb::TakeOver { accept_loss: random.percent(50) },
        8..=9 => Verb::Acknowledge,
        10..=11 => Verb::Enable,
        12 => Verb::Disable,
        13 => Verb::Token { secret: random.bits() },
        14 if random.percent(20) => Verb::Reset,
        14 => Verb::Disable,
        _ => Verb::Shutdown,
    }
}
