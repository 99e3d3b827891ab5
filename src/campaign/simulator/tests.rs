//! Thousands of random histories. `mutants` shows that the invariants catch mistakes, `real_store` puts the real store under the
//! nodes.

use std::sync::atomic::{AtomicU64, Ordering};

mod mutants;
mod real_store;

use super::coverage::EVENTS;
use super::faults::apply;
use super::generator::{OPERATED, REPLACED, WITNESSED_PERCENT, draw_plan, draw_scenario};
use super::history::{attempt, run};
use super::machine::Machine;
use super::plan::Plan;
use super::scenarios::Scenario;
use super::step::Step;
use super::summary::Summary;
use super::world::World;
use crate::protocol::failover::NodeState;
use crate::testing::Side;

/// Histories of the default run. `SHADOWPAIR_RUNS` asks for another number, `SHADOWPAIR_FIRST` begins elsewhere.
const RUNS: u64 = 20_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The plan of a seed; `SHADOWPAIR_WITNESSED` asks for another share of pairs with a witness, for the replay too.
fn plan(seed: u64) -> Plan {
    draw_plan(seed, number("SHADOWPAIR_WITNESSED").unwrap_or(WITNESSED_PERCENT))
}

/// A report whose replay command draws the same plan.
fn with_share(trace: &str) -> String {
    let share = number("SHADOWPAIR_WITNESSED").map(|share| format!("replay: SHADOWPAIR_WITNESSED={share} "));
    share.map_or(trace.to_owned(), |replay| trace.replacen("replay: ", &replay, 1))
}

/// Runs without the default panic message: a panic of the engine goes into the report of its history.
fn quietly<T>(run: impl FnOnce() -> T) -> T {
    std::panic::set_hook(Box::new(|_| {}));
    let result = run();
    drop(std::panic::take_hook());
    result
}

/// Runs histories on two threads, and adds up what they contained.
fn histories(runs: u64) -> Summary {
    histories_of(runs, 0, |seed| Some(plan(seed)))
}

/// The same with these plans, of seeds that all have these bits. A seed without a plan is left out.
fn histories_of(runs: u64, bits: u64, plan: impl Fn(u64) -> Option<Plan> + Sync) -> Summary {
    let first = number("SHADOWPAIR_FIRST").unwrap_or(0);
    let next = AtomicU64::new(first);
    let end = first + runs;
    let worker = || {
        let mut total = Summary::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= end {
                return Ok(total);
            }
            let seed = number | bits;
            if let Some(plan) = plan(seed) {
                total += run(seed, plan)?;
            }
        }
    };
    let begin = std::time::Instant::now();
    let results: Vec<Result<Summary, String>> = quietly(|| {
        std::thread::scope(|scope| {
            let threads = [scope.spawn(worker), scope.spawn(worker)];
            threads.map(|thread| thread.join().unwrap()).into()
        })
    });
    let mut total = Summary::default();
    for result in results {
        total += result.unwrap_or_else(|trace| panic!("{}", with_share(&trace)));
    }
    report(runs, &total, begin.elapsed().as_secs_f64());
    total
}

fn report(runs: u64, total: &Summary, real: f64) {
    let simulated = total.simulated_us as f64 / 1e6;
    println!("{runs} histories, {} steps, {} events", total.steps, total.events);
    println!("{simulated:.0} s simulated in {real:.1} s: {:.0} times as fast", simulated / real);
    println!("acknowledged {} ({} as durable on both)", total.acknowledged, total.replicated);
    println!("switches {}", total.switches);
    println!(
        "takeovers {}, full pushes {}, quarantines {}",
        total.takeovers, total.pushes.completed, total.quarantines
    );
    println!("full pushes that went on where one was cut {}", total.pushes.resumed);
    println!("repairs by what differed {}", total.pushes.differential);
    println!("one master promised to the end in {}, nothing lost in {}", total.one_master, total.lossless);
    println!("led alone at the end {}, an operator was needed {}", total.served_alone, total.operator_needed);
    println!("faults, {} in all:", total.faults.values().sum::<u64>());
    for (kind, count) in &total.faults {
        println!("{count:>12}  {kind}");
    }
    println!("events by state ({} pairs of {} met):", total.coverage.len(), NodeState::ALL.len() * EVENTS.len());
    for state in NodeState::ALL {
        let name = format!("{state:?}");
        let met = EVENTS.iter().map(|kind| (kind, total.coverage.get(&(name.clone(), *kind)).copied().unwrap_or(0)));
        let line: Vec<String> = met.map(|(kind, count)| format!("{kind} {count}")).collect();
        println!("{name:>12}: {}", line.join(", "));
    }
}

#[test]
fn random_histories_hold_every_invariant() {
    let runs = number("SHADOWPAIR_RUNS").unwrap_or(RUNS);
    let total = histories(runs);
    if runs >= RUNS {
        // Histories in which nothing happens prove nothing.
        assert!(total.takeovers > 100 && total.quarantines > 50 && total.pushes.completed > 100, "{total:?}");
        assert!(total.acknowledged > 10_000 && total.served_alone > 100, "{total:?}");
        assert!(total.pushes.differential > 100, "nothing was repaired by what differed: {total:?}");
        assert!(total.pushes.resumed > 5, "no full push went on where one was cut: {total:?}");
        let unwitnessed = number("SHADOWPAIR_WITNESSED").unwrap_or(WITNESSED_PERCENT) == 0;
        assert!(!unwitnessed || total.operator_needed * 15 < runs, "too often an operator is needed: {total:?}");
    }
}

/// A shadow's first copy is cut again and again, on the model of the store and on the real one.
#[test]
fn a_push_that_is_cut_goes_on_where_it_stopped() {
    let runs = number("SHADOWPAIR_RUNS").unwrap_or(RUNS).min(1_000);
    let total = histories_of(runs, 0, |seed| {
        let plan = draw_scenario(seed, Scenario::CutPush);
        Some(if seed % 4 == 0 { plan.on_stores() } else { plan })
    });
    assert!(total.pushes.resumed * 4 >= runs, "{total:?}");
    let there = total.faults.get("store: a part of a full push is there after a start").copied();
    assert!(there >= Some(runs / 50), "{total:?}");
}

/// The same histories with operators who switch roles, pause and freeze, and each scenario of a planned move.
#[test]
fn histories_with_planned_moves_hold_every_invariant() {
    let runs = number("SHADOWPAIR_RUNS").unwrap_or(RUNS) / 4;
    let total = histories_of(runs, OPERATED, |seed| Some(plan(seed)));
    for scenario in Scenario::PLANNED {
        let total = histories_of(runs / 8, 0, |seed| Some(draw_scenario(seed, scenario)));
        let planned = matches!(scenario, Scenario::PlannedSwitch | Scenario::PlannedSwitchWithoutWitness);
        assert!(!planned || total.switches > runs / 16, "{scenario:?}: {total:?}");
    }
    assert!(total.switches > runs / 20, "{total:?}");
}

/// The same histories with an operator who replaces the shadow at any time.
#[test]
fn histories_with_replaced_shadows_hold_every_invariant() {
    let runs = number("SHADOWPAIR_RUNS").unwrap_or(RUNS) / 8;
    let total = histories_of(runs, REPLACED, |seed| Some(plan(seed)));
    assert!(total.faults.get("shadow replaced").copied() > Some(runs / 2), "{total:?}");
}

/// Whoever is in sync serves while the disk of its master hangs, and not only when it answers again.
#[test]
fn a_shadow_in_sync_serves_while_its_masters_disk_hangs() {
    for seed in 0..100 {
        for scenario in [Scenario::HungDisk, Scenario::HungDiskWithoutWitness] {
            let mut world = World::new(seed, draw_scenario(seed, scenario));
            let mut steps = world.plan.steps.clone();
            assert!(matches!(steps.pop(), Some(Step::DiskLatency { node: Side::A, .. })), "the disk still hangs");
            let run = || {
                world.start(Side::A)?;
                world.start(Side::B)?;
                steps.into_iter().try_for_each(|step| apply(&mut world, step))
            };
            run().unwrap_or_else(|violation| panic!("{scenario:?} {seed}: {violation}"));
            let holds = Side::BOTH.map(|side| world.holds_mastership(side));
            assert_eq!(holds, [false, true], "{scenario:?} {seed}");
            assert!(world.machines[0].driver.batch.is_some(), "{scenario:?} {seed}: the disk answered");
        }
    }
}

/// `SHADOWPAIR_RUNS=1000000 cargo test --release --lib long_campaign -- --ignored --nocapture`
#[test]
#[ignore = "takes many minutes; run it before a release and after a change of the engine"]
fn long_campaign() {
    histories(number("SHADOWPAIR_RUNS").unwrap_or(1_000_000));
}

/// Beyond the default run, each of these once showed a mistake.
#[test]
fn histories_that_once_failed_hold() {
    let once = [
        135_920,
        148_653,
        164_932,
        228_985,
        257_386,
        272_361,
        302_083,
        438_872,
        523_940,
        657_390,
        700_283,
        708_836,
        727_961,
        746_267,
        765_998,
        840_178,
        848_573,
        848_881,
        886_957,
        941_822,
        956_894,
        977_249,
        1_058_654,
        288_072,
        424_428,
        396_401,
        996_900,
        34_212,
        72_483,
        542_011,
        17_098,
        17_918,
        385_137,
        143_525,
        1_099_511_628_516,
        1_099_511_630_144,
    ];
    for seed in once {
        quietly(|| run(seed, plan(seed))).unwrap_or_else(|trace| panic!("{}", with_share(&trace)));
    }
}

/// Takeovers under clocks that show another year, which are then set right.
#[test]
fn wrong_clocks_hold_nobody_down_for_long() {
    let runs = 400;
    let total = histories_of(runs, 0, |seed| Some(draw_scenario(seed, Scenario::WrongClocks)));
    // Three before the clocks are set right, and in the end one more, once the hold-down is over.
    assert!(total.takeovers > 3 * runs, "{total:?}");
}

/// `SHADOWPAIR_SEED=7 cargo test --lib replay_seed_on_the_model -- --nocapture`
#[test]
fn replay_seed_on_the_model() {
    let Some(seed) = number("SHADOWPAIR_SEED") else {
        return;
    };
    let summary = quietly(|| run(seed, plan(seed))).unwrap_or_else(|trace| panic!("{}", with_share(&trace)));
    println!("seed {seed}: {summary:?}");
}

#[test]
fn a_seed_means_the_same_every_time() {
    for seed in [1, 7, 40] {
        let trace = || {
            let mut trace = Some(Vec::new());
            let result = attempt(seed, plan(seed), None, &mut trace);
            (result.map_err(|violation| violation.to_string()), trace)
        };
        assert_eq!(trace(), trace());
    }
}

#[test]
fn steps_are_read_back() {
    let steps = draw_plan(3, 100).steps;
    let text = serde_json::to_string(&steps).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Step>>(&text).unwrap(), steps);
}

#[test]
fn every_plan_has_options_that_a_node_accepts() {
    for seed in 0..2_000 {
        let plan = draw_plan(seed, 50);
        for side in Side::BOTH {
            assert_eq!(Machine::options(side, &plan).validate(), Ok(()), "seed {seed}");
        }
    }
}

/// Every kind of violation with the first seed of it, instead of the trace of one:
/// `cargo test --lib simulator::tests::survey -- --ignored --nocapture`
#[test]
#[ignore = "a tool for whoever works on the engine"]
fn survey() {
    let first = number("SHADOWPAIR_FIRST").unwrap_or(0);
    let mut kinds: std::collections::BTreeMap<String, (u64, u64, String)> = std::collections::BTreeMap::new();
    quietly(|| {
        for seed in first..first + number("SHADOWPAIR_RUNS").unwrap_or(RUNS) {
            if let Err(violation) = attempt(seed, plan(seed), None, &mut None) {
                let text = violation.to_string();
                let kind: String = text.chars().filter(|c| !c.is_ascii_digit()).take(60).collect();
                kinds.entry(kind).or_insert((0, seed, text)).0 += 1;
            }
        }
    });
    for (count, seed, text) in kinds.values() {
        println!("{count:>6} x, first seed {seed}: {text}");
    }
}
