//! What can be done to a pair of real nodes, drawn from a seed.

use std::time::Duration;

use crate::campaign::simulator::random::{Random, mix};
use crate::protocol::engine::{LogBounds, Options, Replication, Timeouts};
use crate::testing::{Crash, Side};

/// Takeover delay of every history.
pub const TAKEOVER_DELAY: Duration = Duration::from_millis(500);

/// Seeds with this bit are the histories of the seeds without it, with operators who switch, pause and freeze.
pub const OPERATED: u64 = 1 << 40;

/// Seeds with this bit are the histories of the seeds without it, with operators who export, import and restore.
pub const KEPT: u64 = 1 << 41;

/// By how much a wall clock is wrong: a year, milliseconds.
const YEAR_MS: i64 = 365 * 24 * 3_600_000;

/// One history.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whether there is a witness.
    pub witnessed: bool,
    /// Whether commits wait for the shadow.
    pub replication: Replication,
    /// How much faster than true time each clock runs, in millionths.
    pub rate_ppm: [i64; 2],
    /// Change sets in the log at the most.
    pub log_changes: u64,
    /// What is done, and the time that passes after it, microseconds.
    pub steps: Vec<(Step, u64)>,
}

/// One thing that happens to the pair. A step that makes no sense when it comes is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Wait,
    /// A caller commits so many change sets in a row.
    Commit { node: Side, count: u8, large: bool },
    /// Nothing sent by this node arrives.
    Cut { from: Side },
    /// Everything arrives again.
    Heal,
    /// All connections break.
    Reset,
    /// One way takes up to this long, microseconds.
    Latency { us: u64 },
    /// The next dials of this node are refused.
    Refuse { from: Side, dials: u64 },
    /// The process or the machine of this node ends.
    Crash { node: Side, how: Crash },
    /// Power is cut at the nth change of the disk.
    CrashAtWrite { node: Side, nth: u64, how: Crash },
    /// A crashed or stopped node starts again.
    Start { node: Side },
    /// A node is shut down cleanly.
    Shutdown { node: Side },
    /// A node stands still.
    Pause { node: Side },
    /// It goes on.
    Resume { node: Side },
    /// A node stands still in the middle of a poll, at the nth read of its clock.
    Stall { node: Side, reads: u64, us: u64 },
    /// The disk is full, or has room again.
    DiskFull { node: Side, full: bool },
    /// The nth sync fails.
    FailSync { node: Side, nth: u64 },
    /// The disk hangs, or goes on.
    DiskHangs { node: Side, hangs: bool },
    /// A job on the disk takes up to this long, microseconds.
    DiskTakes { node: Side, us: u64 },
    /// The witness is out of reach of this node, or within it.
    Witness { node: Side, reachable: bool },
    /// Answers of the witness are lost.
    WitnessLoses { node: Side, count: u64 },
    /// Questions to the witness land late, microseconds.
    WitnessLate { node: Side, count: u64, us: u64 },
    /// The wall clock is set, by so many milliseconds.
    Wall { node: Side, ms: i64 },
    /// What the host answers to "may I take over".
    MayTakeOver { node: Side, allowed: bool },
    /// Whether the host accepts what is pushed.
    Validates { node: Side, accepts: bool },
    /// An operator's command.
    Operator { node: Side, word: Word },
}

/// What an operator says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Take over, unless something is lost by it.
    TakeOver,
    /// Take over, whatever is lost.
    TakeOverWithLoss,
    /// Send everything again.
    Resync,
    /// Hold the link.
    Disconnect,
    /// Let it go.
    Reconnect,
    /// Commits wait for the shadow from now on, or do not.
    Replicate(Replication),
    /// Switch the roles.
    SwitchRoles,
    /// Pause automatic failover, or let it go on.
    Pause(bool),
    /// Freeze the configuration, or let it be changed again.
    Freeze(bool),
    /// Write what is visible to a file.
    Export,
    /// Make an export the configuration: the newest one, or one so many before it.
    Import { back: u8 },
    /// Go back to such an export of this pair.
    Restore { back: u8 },
}

impl Plan {
    /// The history of this seed.
    pub fn drawn(seed: u64) -> Self {
        if seed & KEPT != 0 {
            let mut plan = Self::drawn(seed & !KEPT);
            add_backups(&mut Random::new(mix(seed)), &mut plan.steps);
            return plan;
        }
        if seed & OPERATED != 0 {
            let mut plan = Self::drawn(seed & !OPERATED);
            add_operators(&mut Random::new(mix(seed)), &mut plan.steps);
            return plan;
        }
        let mut random = Random::new(mix(seed ^ 0x0073_6865_6c6c));
        let witnessed = random.percent(75);
        let replication = if random.percent(70) { Replication::Synchronous } else { Replication::Asynchronous };
        // Their difference stays below 1 %.
        let rate = |random: &mut Random| if random.percent(30) { random.range(0, 8_000) as i64 - 4_000 } else { 0 };
        let rate_ppm = [rate(&mut random), rate(&mut random)];
        let log_changes = *random.pick(&[3, 20, 100_000]);
        let count = random.range(6, 24);
        let steps = (0..count).flat_map(|_| steps(&mut random, witnessed)).collect();
        Self { witnessed, replication, rate_ppm, log_changes, steps }
    }

    /// The knobs of both nodes.
    pub fn options(&self) -> Options {
        Options {
            heartbeat: Duration::from_millis(100),
            takeover_delay: TAKEOVER_DELAY,
            timeouts: Timeouts {
                connect: Duration::from_millis(300),
                sync: Duration::from_millis(300),
                hook: Duration::from_millis(300),
                drain: Duration::from_millis(200),
                ..Timeouts::default()
            },
            hold_down: Duration::from_secs(3),
            replication: self.replication,
            log: LogBounds { changes: self.log_changes, ..Options::default().log },
            ..Options::default()
        }
    }

    /// Whether nothing acknowledged may be lost.
    pub fn is_lossless(&self) -> bool {
        let waives = |step: &Step| {
            matches!(
                step,
                Step::Operator { word: Word::TakeOverWithLoss | Word::Replicate(Replication::Asynchronous), .. }
            )
        };
        let synchronous = self.replication == Replication::Synchronous;
        self.witnessed && synchronous && !self.steps.iter().any(|(step, _)| waives(step))
    }
}

/// Operators switch roles, and sometimes pause or freeze; callers commit right before.
fn add_operators(random: &mut Random, steps: &mut Vec<(Step, u64)>) {
    for _ in 0..random.range(1, 6) {
        let at = random.below(steps.len() as u64 + 1) as usize;
        let node = *random.pick(&Side::BOTH);
        let on = random.percent(50);
        let step = match random.below(10) {
            0 => Step::Operator { node, word: Word::Pause(on) },
            1 => Step::Operator { node, word: Word::Freeze(on) },
            2 => Step::Shutdown { node },
            _ => Step::Operator { node, word: Word::SwitchRoles },
        };
        steps.insert(at, (step, random.range(0, 30_000)));
        for node in Side::BOTH {
            let commit = Step::Commit { node, count: random.range(1, 4) as u8, large: false };
            steps.insert(at, (commit, random.range(0, 2_000)));
        }
    }
}

/// Operators export on either node, and import and restore on either: the master does it, the shadow refuses. Callers commit right
/// before and after.
fn add_backups(random: &mut Random, steps: &mut Vec<(Step, u64)>) {
    for _ in 0..random.range(3, 9) {
        let at = random.below(steps.len() as u64 + 1) as usize;
        let back = random.below(3) as u8;
        let word = match random.below(10) {
            0..5 => Word::Export,
            5..8 => Word::Import { back },
            _ => Word::Restore { back },
        };
        for node in Side::BOTH {
            let commit = Step::Commit { node, count: random.range(1, 4) as u8, large: false };
            steps.insert(at, (commit, random.range(0, 3_000)));
            steps.insert(at, (Step::Operator { node, word }, random.range(0, 4_000)));
            let commit = Step::Commit { node, count: random.range(1, 3) as u8, large: random.percent(10) };
            steps.insert(at, (commit, random.range(0, 30_000)));
        }
    }
}

fn pause_us(random: &mut Random) -> u64 {
    match random.below(10) {
        0..3 => random.range(0, 2_000),
        3..7 => random.range(1_000, 200_000),
        _ => random.range(100_000, 1_200_000),
    }
}

/// A step; one that matters most while a change set is under way comes with some.
fn steps(random: &mut Random, witnessed: bool) -> Vec<(Step, u64)> {
    let step = step(random, witnessed);
    let with_commits = match step {
        Step::Stall { node, .. } | Step::CrashAtWrite { node, .. } | Step::FailSync { node, .. } => {
            random.percent(60).then_some(node)
        }
        _ => None,
    };
    match with_commits {
        Some(node) => {
            let master = if random.percent(70) { node } else { node.other() };
            let commit = Step::Commit { node: master, count: random.range(1, 4) as u8, large: false };
            vec![(step, random.range(0, 2_000)), (commit, pause_us(random))]
        }
        None => vec![(step, pause_us(random))],
    }
}

fn step(random: &mut Random, witnessed: bool) -> Step {
    let node = *random.pick(&Side::BOTH);
    match random.below(100) {
        0..34 => Step::Commit { node, count: random.range(1, 6) as u8, large: random.percent(6) },
        34..66 => network_or_process(random, node),
        66..80 => disk(random, node),
        80..90 if witnessed => witness(random, node),
        90..97 => host(random, node, witnessed),
        _ => Step::Wait,
    }
}

fn network_or_process(random: &mut Random, node: Side) -> Step {
    match random.below(32) {
        0..4 => Step::Cut { from: node },
        4..7 => Step::Heal,
        7..9 => Step::Reset,
        9..11 => Step::Latency { us: *random.pick(&[500, 5_000, 40_000, 120_000]) },
        11 => Step::Refuse { from: node, dials: random.range(1, 4) },
        12..16 => Step::Crash { node, how: crash(random) },
        16..19 => Step::CrashAtWrite { node, nth: random.range(1, 40), how: power(random) },
        19..24 => Step::Start { node },
        24 => Step::Shutdown { node },
        25..27 => Step::Pause { node },
        27..29 => Step::Resume { node },
        _ => Step::Stall { node, reads: random.range(1, 40), us: random.range(50_000, 1_500_000) },
    }
}

fn crash(random: &mut Random) -> Crash {
    if random.percent(50) { Crash::Process } else { power(random) }
}

fn power(random: &mut Random) -> Crash {
    *random.pick(&[Crash::Power, Crash::TornPower])
}

fn disk(random: &mut Random, node: Side) -> Step {
    match random.below(8) {
        0 => Step::DiskFull { node, full: true },
        1 => Step::DiskFull { node, full: false },
        2..4 => Step::FailSync { node, nth: random.range(1, 6) },
        4 => Step::DiskHangs { node, hangs: true },
        5 => Step::DiskHangs { node, hangs: false },
        _ => Step::DiskTakes { node, us: *random.pick(&[300, 5_000, 60_000]) },
    }
}

fn witness(random: &mut Random, node: Side) -> Step {
    match random.below(8) {
        0..3 => Step::Witness { node, reachable: false },
        3..5 => Step::Witness { node, reachable: true },
        5..7 => Step::WitnessLoses { node, count: random.range(1, 3) },
        _ => Step::WitnessLate { node, count: random.range(1, 3), us: random.range(50_000, 2_000_000) },
    }
}

fn host(random: &mut Random, node: Side, witnessed: bool) -> Step {
    match random.below(12) {
        0 => Step::Wall { node, ms: *random.pick(&[-YEAR_MS, -10_000, 10_000, YEAR_MS]) },
        1 => Step::MayTakeOver { node, allowed: false },
        2 => Step::MayTakeOver { node, allowed: true },
        3 => Step::Validates { node, accepts: false },
        4 => Step::Validates { node, accepts: true },
        5 | 6 => Step::Operator { node, word: Word::Resync },
        7 => Step::Operator { node, word: Word::Disconnect },
        8 => Step::Operator { node, word: Word::Reconnect },
        9 => Step::Operator { node, word: if random.percent(50) { Word::TakeOver } else { Word::Reconnect } },
        10 if witnessed && random.percent(30) => Step::Operator { node, word: Word::TakeOverWithLoss },
        _ => {
            let replication = *random.pick(&[Replication::Synchronous, Replication::Asynchronous]);
            Step::Operator { node, word: Word::Replicate(replication) }
        }
    }
}
