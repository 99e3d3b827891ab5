//! Thousands of random histories of real nodes.

use std::sync::atomic::{AtomicU64, Ordering};

use super::history::{Summary, attempt, run};
use super::plan::{KEPT, OPERATED, Plan, Step};
use crate::campaign::violation::{Invariant, Violation};
use crate::node::mutants::{self, Mutant};
use crate::protocol::engine::Replication;
use crate::testing::Side;

/// Histories of the default run. `SHADOWPAIR_SHELL_RUNS` asks for another number, `SHADOWPAIR_FIRST` begins elsewhere.
const RUNS: u64 = 2_000;

pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The panic of a history under test belongs into its story, not between the lines of the test run.
pub fn quietly<T>(run: impl FnOnce() -> T) -> T {
    std::panic::set_hook(Box::new(|_| {}));
    let result = run();
    drop(std::panic::take_hook());
    result
}

/// Runs these seeds on two threads; each history stays on one.
pub fn histories<T: Send>(seeds: std::ops::Range<u64>, run: impl Fn(u64) -> T + Sync) -> Vec<(u64, T)> {
    let next = AtomicU64::new(seeds.start);
    let worker = || {
        let mut results = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return results;
            }
            results.push((seed, run(seed)));
        }
    };
    quietly(|| {
        std::thread::scope(|scope| {
            let threads = [scope.spawn(worker), scope.spawn(worker)];
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        })
    })
}

#[test]
fn random_histories_of_real_nodes_hold_every_invariant() {
    let (first, runs) = (number("SHADOWPAIR_FIRST").unwrap_or(0), number("SHADOWPAIR_SHELL_RUNS").unwrap_or(RUNS));
    let total = campaign(first, runs);
    if runs >= RUNS {
        // Histories in which nothing happens prove nothing.
        assert!(total.acknowledged > 10_000 && total.replicated > 3_000 && total.takeovers > 400, "{total:?}");
        assert!(total.lossless > 500, "{total:?}");
    }
}

/// The same histories with operators who switch roles, pause and freeze.
#[test]
fn histories_of_real_nodes_with_planned_moves_hold_every_invariant() {
    let (first, runs) = (number("SHADOWPAIR_FIRST").unwrap_or(0), number("SHADOWPAIR_SHELL_RUNS").unwrap_or(RUNS));
    let runs = runs / 4;
    let total = campaign(first | OPERATED, runs);
    assert!(runs < RUNS / 4 || total.takeovers > runs * 3 / 4, "{total:?}");
}

/// The same histories with operators who export, import and restore, in the middle of all that happens.
#[test]
fn histories_of_real_nodes_with_exports_and_imports_hold_every_invariant() {
    let (first, runs) = (number("SHADOWPAIR_FIRST").unwrap_or(0), number("SHADOWPAIR_SHELL_RUNS").unwrap_or(RUNS));
    // Each costs as much as six of the others.
    let runs = runs / 8;
    let total = campaign(first | KEPT, runs);
    assert!(runs < RUNS / 8 || (total.exports > runs && total.imports > runs / 4), "{total:?}");
}

fn campaign(first: u64, runs: u64) -> Summary {
    let begin = std::time::Instant::now();
    let mut total = Summary::default();
    for (_, result) in histories(first..first + runs, |seed| run(seed, Plan::drawn(seed))) {
        let summary = result.unwrap_or_else(|story| panic!("{story}"));
        total.steps += summary.steps;
        total.acknowledged += summary.acknowledged;
        total.replicated += summary.replicated;
        total.takeovers += summary.takeovers;
        total.exports += summary.exports;
        total.imports += summary.imports;
        total.lossless += summary.lossless;
        total.simulated_us += summary.simulated_us;
        total.connections += summary.connections;
    }
    let (real, simulated) = (begin.elapsed().as_secs_f64(), total.simulated_us as f64 / 1e6);
    println!("{runs} histories of real nodes in {real:.1} s: {:.0} a second", runs as f64 / real);
    println!("{simulated:.0} s simulated, {} TLS connections, {} steps", total.connections, total.steps);
    println!(
        "acknowledged {} ({} as durable on both), takeovers {}",
        total.acknowledged, total.replicated, total.takeovers
    );
    println!("exports {}, imports {}", total.exports, total.imports);
    println!("nothing lost promised to the end in {}", total.lossless);
    total
}

/// `SHADOWPAIR_SEED=7 cargo test --lib shell::tests::replay -- --nocapture`
#[test]
fn replay() {
    let Some(seed) = number("SHADOWPAIR_SEED") else { return };
    let summary = quietly(|| run(seed, Plan::drawn(seed))).unwrap_or_else(|story| panic!("{story}"));
    println!("seed {seed}: {summary:?}");
}

#[test]
fn a_seed_means_the_same_every_time() {
    let told = |seed| {
        let mut trace = Some(Vec::new());
        let result = attempt(seed, &Plan::drawn(seed), &mut trace);
        (result, trace)
    };
    for (seed, (one, other)) in histories(0..40, |seed| (told(seed), told(seed))) {
        assert_eq!(one, other, "seed {seed}");
    }
}

#[test]
fn every_plan_has_options_that_a_node_accepts() {
    for seed in 0..2_000 {
        assert_eq!(Plan::drawn(seed).options().validate(), Ok(()), "seed {seed}");
    }
}

/// Every kind of violation with the first seed of it, instead of the story of one:
/// `cargo test --lib shell::tests::survey -- --ignored --nocapture`
#[test]
#[ignore = "a tool for whoever works on the shell"]
fn survey() {
    let (first, runs) = (number("SHADOWPAIR_FIRST").unwrap_or(0), number("SHADOWPAIR_SHELL_RUNS").unwrap_or(RUNS));
    let begin = std::time::Instant::now();
    let mut kinds = std::collections::BTreeMap::<String, (u64, u64, String)>::new();
    for (seed, result) in histories(first..first + runs, |seed| attempt(seed, &Plan::drawn(seed), &mut None)) {
        if let Err(violation) = result {
            let text = violation.to_string();
            let kind: String = text.chars().filter(|c| !c.is_ascii_digit()).take(60).collect();
            kinds.entry(kind).or_insert((0, seed, text)).0 += 1;
        }
    }
    println!("{runs} histories in {:.1} s", begin.elapsed().as_secs_f64());
    for (count, seed, text) in kinds.values() {
        println!("{count:>6} x, first seed {seed}: {text}");
    }
}

/// Seeds that are tried for a mistake before it counts as not found.
const TRIES: u64 = 2_000;

/// The first violation that a mistake causes, in a history that holds without it.
fn found(mutant: Mutant, plans: impl Iterator<Item = (u64, Plan)>) -> Option<(u64, Violation)> {
    quietly(|| {
        plans.into_iter().find_map(|(seed, plan)| {
            mutants::make(Some(mutant));
            let result = attempt(seed, &plan, &mut None);
            mutants::make(None);
            let violation = result.err()?;
            attempt(seed, &plan, &mut None).is_ok().then_some((seed, violation))
        })
    })
}

/// The master stands still for longer than its lease, at every read of its clock in turn, while a change set is under way.
fn stalls() -> impl Iterator<Item = (u64, Plan)> {
    (1..=60).map(|reads| {
        let stall = Step::Stall { node: Side::A, reads, us: 1_500_000 };
        let commit = Step::Commit { node: Side::A, count: 1, large: false };
        let steps = vec![(stall, 0), (commit, 2_500_000)];
        let replication = Replication::Asynchronous;
        (reads, Plan { witnessed: true, replication, rate_ppm: [0; 2], log_changes: 20, steps })
    })
}

/// Each mistake in the shell is found, by an invariant that is named for it.
#[test]
fn mistakes_in_the_shell_are_found() {
    let tries = number("SHADOWPAIR_TRIES").unwrap_or(TRIES);
    let drawn = |first: u64| (first..first + tries).map(|seed| (seed, Plan::drawn(seed)));
    let refused: &[Invariant] = &[Invariant::NothingOfRefused, Invariant::Contract, Invariant::NothingLost];
    let disk: &[Invariant] = &[Invariant::WholeAgain, Invariant::OneMaster, Invariant::NoBlankMaster];
    // `IgnoreFailedState` is rare: the seeds below its first one are known not to show it, and would take most of the time.
    let mistakes: [(Mutant, &[Invariant], u64); 5] = [
        (Mutant::AnswerBeforeCompletion, refused, 0),
        (Mutant::ServeWithoutAuthority, &[Invariant::OneMaster], 0),
        (Mutant::LoseBulk, &[Invariant::WholeAgain], 0),
        (Mutant::IgnoreFailedState, disk, 1_650),
        (Mutant::ReverseGroup, &[Invariant::Contract, Invariant::NothingOfRefused], 0),
    ];
    let tried = |(mutant, expected, first)| (mutant, expected, found(mutant, drawn(first)));
    let mut found: Vec<_> = mistakes.into_iter().map(tried).collect();
    let unauthorised = Mutant::AnswerWithoutAuthority;
    let kept = (0..TRIES).map(|seed| (seed | KEPT, Plan::drawn(seed | KEPT)));
    found.push((Mutant::ImportInTwo, &[Invariant::OneRevision], self::found(Mutant::ImportInTwo, kept)));
    found.push((unauthorised, &[Invariant::OneMaster], self::found(unauthorised, stalls())));
    for (mutant, expected, violation) in found {
        let (seed, violation) = violation.unwrap_or_else(|| panic!("{mutant:?} is not found"));
        println!("{mutant:?}: seed {seed}: {violation}");
        assert!(expected.contains(&violation.invariant), "{mutant:?}: {violation}");
    }
}
