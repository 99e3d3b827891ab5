//! Draws a plan from a seed. What a seed means must not change: kept seeds replay the histories that once failed.

use super::plan::Plan;
use super::random::Random;
use super::scenarios::Scenario;
use super::step::{Fate, Step, Verb, WitnessFault};
use crate::protocol::engine::{Failover, Replication};
use crate::testing::Side;

/// Number of entries that callers use.
const KEYS: u64 = 12;
/// Longest time between two steps: six times the takeover delay.
const RUN_US_MAX: u64 = 3_000_000;

/// So many of a hundred plans have a witness.
pub const WITNESSED_PERCENT: u64 = 60;
/// So many of a hundred plans with a witness begin with a scenario, and so many without.
const SCENARIO_PERCENT: [u64; 2] = [25, 5];
/// Largest error of a clock, parts per million: less than 1 %.
const RATE_PPM_MAX: i64 = 9_900;

/// Seeds with this bit are the histories of the seeds without it, with operators who switch, pause and freeze.
pub const OPERATED: u64 = 1 << 40;
/// Seeds with this bit are the histories of the seeds without it, with an operator who replaces the shadow.
pub const REPLACED: u64 = 1 << 41;

/// The plan of this seed, where so many of a hundred plans have a witness.
pub fn draw_plan(seed: u64, witnessed_percent: u64) -> Plan {
    if seed & REPLACED != 0 {
        let mut plan = draw_plan(seed & !REPLACED, witnessed_percent);
        add_replacements(&mut Random::new(seed), &mut plan);
        return plan;
    }
    if seed & OPERATED != 0 {
        let mut plan = draw_plan(seed & !OPERATED, witnessed_percent);
        add_operators(&mut Random::new(seed), &mut plan);
        add_renewals(&mut Random::new(seed ^ 0x6e3), &mut plan);
        return plan;
    }
    let witnessed = Random::new(seed ^ 0x0a5c).percent(witnessed_percent);
    let mut random = Random::new(seed ^ 0x5eed);
    let byzantine = seed % 8 == 7;
    let mut plan = Plan {
        failover: if random.percent(75) { Failover::Automatic } else { Failover::Manual },
        hold_down_s: if random.percent(80) { 0 } else { 5 },
        witnessed,
        blank_witness: random.percent(10),
        replication: if random.percent(50) { Replication::Synchronous } else { Replication::Asynchronous },
        sync_timeout_ms: *random.pick(&[200, 200, 2_000]),
        lease_ms: draw_leases(&mut random),
        rates_ppm: draw_rates(&mut random, witnessed),
        log_changes: random.range(2, 20) as usize,
        stored: false,
        byzantine,
        gone: random.percent(12).then(|| *random.pick(&Side::BOTH)),
        steps: Vec::new(),
    };
    let mut beginning = Random::new(seed ^ 0x7e3e);
    if !byzantine && beginning.percent(SCENARIO_PERCENT[usize::from(!witnessed)]) {
        let scenario =
            if witnessed { *beginning.pick(&Scenario::WITNESSED) } else { *beginning.pick(&Scenario::UNWITNESSED) };
        scenario.begin(&mut beginning, &mut plan);
    } else if random.percent(85) {
        // Most histories begin with a pair that has come together.
        plan.steps.push(Step::Run { us: 1_000_000 });
    }
    for _ in 0..random.range(5, 50) {
        let step = draw_step(&mut random, &plan);
        plan.steps.push(step);
        if random.percent(60) {
            plan.steps.push(Step::Run { us: draw_time(&mut random) });
        }
    }
    plan
}

/// Operators switch roles, and sometimes pause or freeze, between the steps of a plan and right behind them.
fn add_operators(random: &mut Random, plan: &mut Plan) {
    for _ in 0..random.range(1, 6) {
        let at = random.below(plan.steps.len() as u64 + 1) as usize;
        let node = *random.pick(&Side::BOTH);
        let on = random.percent(60);
        let verb = match random.below(10) {
            0 => Verb::Pause { on },
            1 => Verb::Freeze { on },
            2 => Verb::Shutdown,
            _ => Verb::SwitchRoles,
        };
        plan.steps.insert(at, Step::Operator { node, verb });
        if random.percent(70) {
            plan.steps.insert(at + 1, Step::Run { us: draw_time(random).min(40_000) });
        }
    }
}

/// Operators renew the keys of nodes whose disks are never rolled back, and whose pairing nobody forgets: a node that forgot the
/// peer's new key is separated from it.
fn add_renewals(random: &mut Random, plan: &mut Plan) {
    let older = |step: &Step| {
        matches!(
            step,
            Step::RollBack { .. } | Step::Blank { .. } | Step::Operator { verb: Verb::Token { .. } | Verb::Reset, .. }
        )
    };
    if plan.steps.iter().any(older) {
        return;
    }
    for _ in 0..random.below(4) {
        let at = random.below(plan.steps.len() as u64 + 1) as usize;
        plan.steps.insert(at, Step::Operator { node: *random.pick(&Side::BOTH), verb: Verb::Rotate });
        if random.percent(50) {
            plan.steps.insert(at + 1, Step::Run { us: draw_time(random).min(3_000) });
        }
    }
}

/// An operator of a node that may be replaced is there at any time, and sometimes has to say it twice.
fn add_replacements(random: &mut Random, plan: &mut Plan) {
    let node = *random.pick(&Side::BOTH);
    for _ in 0..random.range(1, 4) {
        let at = random.below(plan.steps.len() as u64 + 1) as usize;
        let verb = Verb::ReplaceShadow { secret: random.bits() };
        plan.steps.insert(at, Step::Operator { node, verb: Verb::Enable });
        plan.steps.insert(at + 1, Step::Run { us: draw_time(random).min(40_000) });
        plan.steps.insert(at + 2, Step::Operator { node, verb });
    }
}

/// A plan of this seed that is this scenario and nothing after it.
pub fn draw_scenario(seed: u64, scenario: Scenario) -> Plan {
    let mut plan = draw_plan(seed, if scenario.is_witnessed() { 100 } else { 0 });
    scenario.begin(&mut Random::new(seed ^ 0x7e3e_0001), &mut plan);
    // Both nodes stay: what matters is how both go on.
    (plan.gone, plan.byzantine) = (None, false);
    plan
}

/// Leases between the heartbeat interval and the longest that fits into the takeover delay; sometimes each node has its own.
fn draw_leases(random: &mut Random) -> [Option<u64>; 2] {
    let mut lease = || random.percent(40).then(|| random.range(100, 488));
    let first = lease();
    let second = lease();
    if random.percent(70) { [first; 2] } else { [first, second] }
}

fn draw_rates(random: &mut Random, witnessed: bool) -> [i64; 2] {
    let rates = [random.range(0, 9_000) as i64 - 4_500, random.range(0, 9_000) as i64 - 4_500];
    match random.below(4) {
        0 if witnessed => [RATE_PPM_MAX, -RATE_PPM_MAX],
        1 if witnessed => [-RATE_PPM_MAX, RATE_PPM_MAX],
        _ => rates,
    }
}

/// Mostly short beside the timings, so that steps come while much is under way.
fn draw_time(random: &mut Random) -> u64 {
    match random.below(10) {
        0..=3 => random.below(2_000),
        4..=6 => random.below(100_000),
        7..=8 => random.below(800_000),
        _ => random.below(RUN_US_MAX),
    }
}

fn draw_step(random: &mut Random, plan: &Plan) -> Step {
    let node = *random.pick(&Side::BOTH);
    let kept = random.below(256) as u8;
    if plan.byzantine && random.percent(60) {
        return Step::ByzantinePeer { node, seed: random.bits() };
    }
    if plan.witnessed && random.percent(14) {
        return Step::Witness { what: draw_witness_fault(random, node) };
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
        0..=33 => draw_commit(random, node),
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
        83..=84 => Step::DiskLatency { node, us: *random.pick(&[100, 5_000, 60_000, 400_000, 3_000_000]) },
        85..=86 => Step::MayTakeOver { node, allowed: random.percent(50) },
        87..=89 => Step::Validation { node, accepts: random.percent(60) },
        90..=92 => Step::CrashAt { node, silent: random.percent(50), kept, actions: random.below(6) as u8 },
        93 => Step::WallJump { node, ms: draw_wall_jump(random) },
        94..=95 => Step::SlowConns { us: *random.pick(&[2_000, 30_000, 250_000]) },
        96 => Step::HalfReset { node },
        97 => Step::Ghost { node, us: *random.pick(&[10_000, 300_000, 2_000_000]) },
        _ => Step::Operator { node, verb: draw_verb(random) },
    }
}

/// Up to an hour either way, or up to a year.
fn draw_wall_jump(random: &mut Random) -> i64 {
    let ms = random.range(0, 7_200_000) as i64 - 3_600_000;
    if ms % 2 == 0 { ms } else { ms * 24 * 365 }
}

fn draw_witness_fault(random: &mut Random, node: Side) -> WitnessFault {
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
        // A record that was tampered with takes promises away. It is rare, so that most histories keep them.
        _ if random.percent(70) => WitnessFault::Cut { node, cut: false },
        98 => WitnessFault::Restore,
        _ if random.percent(70) => WitnessFault::Wipe,
        _ => WitnessFault::Foreign,
    }
}

fn draw_commit(random: &mut Random, node: Side) -> Step {
    let value = random.percent(80).then(|| random.bits());
    Step::Commit { node, key: random.below(KEYS) as u8, value, guarded: random.percent(15) }
}

fn draw_verb(random: &mut Random) -> Verb {
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
