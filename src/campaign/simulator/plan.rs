//! What a seed stands for, and how it is drawn.

use super::random::Random;
use super::scenarios::Scenario;
use super::step::{Fate, Side, Step, Verb, WitnessFault};
use crate::protocol::engine::{Failover, Replication};

/// What a seed stands for: the surroundings and the steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Who decides on a takeover.
    pub failover: Failover,
    /// Hold-down, seconds; zero is off.
    pub hold_down_s: u64,
    /// There is a witness.
    pub witnessed: bool,
    /// The witness has never held a record.
    pub blank_witness: bool,
    /// Whether commits wait for the shadow.
    pub replication: Replication,
    /// How long they wait, milliseconds.
    pub sync_timeout_ms: u64,
    /// Lease of each node, milliseconds; `None` for the default.
    pub lease_ms: [Option<u64>; 2],
    /// Clock rates, parts per million off true time. Without a witness they differ by less than 1 %, with one each is off
    /// by less than that.
    pub rates_ppm: [i64; 2],
    /// Change sets that the log keeps.
    pub log_changes: usize,
    /// The real store stands under both nodes, beside its model.
    pub stored: bool,
    /// Messages of the peer may be lies. Then only what must hold against a liar is asserted.
    pub hostile: bool,
    /// This node is gone for good when the faults end.
    pub gone: Option<Side>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// Entries that callers use.
const KEYS: u64 = 12;
/// Longest single stretch of time: six times the takeover delay.
const RUN_US_MAX: u64 = 3_000_000;

/// Of so many of a hundred seeds the pair has a witness.
pub const WITNESSED_PERCENT: u64 = 60;
/// Of so many of a hundred of those the history begins with a theme, and of so many without a witness.
const SCENARIO_PERCENT: [u64; 2] = [25, 5];
/// A clock is off by less than 1 %: its rate, parts per million, is this at the most.
const RATE_PPM_MAX: i64 = 9_900;

impl Plan {
    /// The same with the real store under both nodes, unless the peer lies: a liar's records have no bytes.
    pub fn on_stores(self) -> Self {
        Self { stored: !self.hostile, ..self }
    }

    /// The plan of this seed, where so many of a hundred have a witness.
    pub fn drawn(seed: u64, witnessed_percent: u64) -> Self {
        let witnessed = Random::new(seed ^ 0x0a5c).percent(witnessed_percent);
        let mut random = Random::new(seed ^ 0x5eed);
        let hostile = seed % 8 == 7;
        let mut plan = Self {
            failover: if random.percent(75) { Failover::Automatic } else { Failover::Manual },
            hold_down_s: if random.percent(80) { 0 } else { 5 },
            witnessed,
            blank_witness: random.percent(10),
            replication: if random.percent(50) { Replication::Synchronous } else { Replication::Asynchronous },
            sync_timeout_ms: *random.pick(&[200, 200, 2_000]),
            lease_ms: leases(&mut random),
            rates_ppm: rates(&mut random, witnessed),
            log_changes: random.range(2, 20) as usize,
            stored: false,
            hostile,
            gone: random.percent(12).then(|| *random.pick(&Side::BOTH)),
            steps: Vec::new(),
        };
        let mut themes = Random::new(seed ^ 0x7e3e);
        if !hostile && themes.percent(SCENARIO_PERCENT[usize::from(!witnessed)]) {
            let theme =
                if witnessed { *themes.pick(&Scenario::WITNESSED) } else { *themes.pick(&Scenario::UNWITNESSED) };
            theme.begin(&mut themes, &mut plan);
        } else if random.percent(85) {
            // Most histories begin with a pair that has come together.
            plan.steps.push(Step::Run { us: 1_000_000 });
        }
        for _ in 0..random.range(5, 50) {
            let step = draw(&mut random, &plan);
            plan.steps.push(step);
            if random.percent(60) {
                plan.steps.push(Step::Run { us: stretch(&mut random) });
            }
        }
        plan
    }

    /// The beginning of this kind that the seed draws, and nothing after it.
    pub fn of_scenario(seed: u64, theme: Scenario) -> Self {
        let mut plan = Self::drawn(seed, if theme.is_witnessed() { 100 } else { 0 });
        theme.begin(&mut Random::new(seed ^ 0x7e3e_0001), &mut plan);
        // Nobody is gone: what is to be seen is how both go on.
        (plan.gone, plan.hostile) = (None, false);
        plan
    }
}

/// Leases from the heartbeat interval to what just fits into the takeover delay; sometimes each node its own.
fn leases(random: &mut Random) -> [Option<u64>; 2] {
    let mut lease = || random.percent(40).then(|| random.range(100, 488));
    let first = lease();
    let second = lease();
    if random.percent(70) { [first; 2] } else { [first, second] }
}

fn rates(random: &mut Random, witnessed: bool) -> [i64; 2] {
    let rates = [random.range(0, 9_000) as i64 - 4_500, random.range(0, 9_000) as i64 - 4_500];
    match random.below(4) {
        0 if witnessed => [RATE_PPM_MAX, -RATE_PPM_MAX],
        1 if witnessed => [-RATE_PPM_MAX, RATE_PPM_MAX],
        _ => rates,
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

fn draw(random: &mut Random, plan: &Plan) -> Step {
    let node = *random.pick(&Side::BOTH);
    let kept = random.below(256) as u8;
    if plan.hostile && random.percent(60) {
        return Step::Lie { node, seed: random.bits() };
    }
    if plan.witnessed && random.percent(14) {
        return Step::Witness { what: strike(random, node) };
    }
    if plan.witnessed && random.percent(2) {
        return match random.below(6) {
            0..=2 => Step::KeepCopy { node },
            3..=4 => Step::RollBack { node },
            _ => Step::Blank { node },
        };
    }
    if !plan.witnessed && random.percent(1) {
        return if random.percent(50) { Step::KeepCopy { node } } else { Step::RollBack { node } };
    }
    match random.below(108) {
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
        90..=92 => Step::CrashAt { node, silent: random.percent(50), kept, actions: random.below(6) as u8 },
        93 => Step::WallJump { node, ms: random.range(0, 7_200_000) as i64 - 3_600_000 },
        94..=95 => Step::SlowConns { us: *random.pick(&[2_000, 30_000, 250_000]) },
        96 => Step::HalfReset { node },
        97 => Step::Ghost { node, us: *random.pick(&[10_000, 300_000, 2_000_000]) },
        _ => Step::Operator { node, verb: verb(random) },
    }
}

fn strike(random: &mut Random, node: Side) -> WitnessFault {
    let us = *random.pick(&[1_000, 80_000, 400_000, 2_000_000, 5_000_000]);
    match random.below(100) {
        0..=15 => WitnessFault::Cut { node, cut: true },
        16..=39 => WitnessFault::Cut { node, cut: false },
        40..=59 => WitnessFault::Latency { node, us: *random.pick(&[300, 300, 5_000, 60_000, 150_000, 400_000]) },
        60..=66 => WitnessFault::Fate { node, fate: Fate::QuestionLost },
        67..=76 => WitnessFault::Fate { node, fate: Fate::AnswerLost },
        77..=87 => WitnessFault::Fate { node, fate: Fate::Late { us } },
        88..=96 => WitnessFault::Fate { node, fate: Fate::Twice { us } },
        97 => WitnessFault::Keep,
        // A record that somebody tampered with takes promises away: rare, so that most histories keep them.
        _ if random.percent(70) => WitnessFault::Cut { node, cut: false },
        98 => WitnessFault::Restore,
        _ if random.percent(70) => WitnessFault::Wipe,
        _ => WitnessFault::Foreign,
    }
}

fn commit(random: &mut Random, node: Side) -> Step {
    let value = random.percent(80).then(|| random.bits());
    Step::Commit { node, key: random.below(KEYS) as u8, value, guarded: random.percent(15) }
}

fn verb(random: &mut Random) -> Verb {
    match random.below(17) {
        0..=1 => Verb::Disconnect,
        2..=4 => Verb::Reconnect,
        5..=6 => Verb::Resync,
        7 => Verb::TakeOver { accept_loss: random.percent(50) },
        10 => Verb::Replicate { synchronous: random.percent(50) },
        8..=9 => Verb::Acknowledge,
        11..=12 => Verb::Enable,
        13 => Verb::Disable,
        14 => Verb::Token { secret: random.bits() },
        15 if random.percent(20) => Verb::Reset,
        15 => Verb::Disable,
        _ => Verb::Shutdown,
    }
}
