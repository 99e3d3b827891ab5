//! Hundreds of random histories with a copy.

use std::collections::BTreeMap;

use super::history::{Summary, attempt, run};
use super::plan::{Plan, Step};
use crate::campaign::shell::tests::{histories, number, quietly};
use crate::campaign::violation::Invariant;
use crate::node::mutants::{self, Mutant};
use crate::protocol::engine::Replication;
use crate::testing::{MachineId, Side};

/// Histories of the default run. `SHADOWPAIR_COPY_RUNS` asks for another number, `SHADOWPAIR_FIRST` begins elsewhere.
const RUNS: u64 = 400;

fn seeds() -> std::ops::Range<u64> {
    let (first, runs) = (number("SHADOWPAIR_FIRST").unwrap_or(0), number("SHADOWPAIR_COPY_RUNS").unwrap_or(RUNS));
    first..first + runs
}

#[test]
fn histories_with_a_copy_hold_every_invariant() {
    let begin = std::time::Instant::now();
    let (seeds, mut total) = (seeds(), Summary::default());
    for (_, result) in histories(seeds.clone(), |seed| run(seed, Plan::drawn(seed))) {
        let summary = result.unwrap_or_else(|story| panic!("{story}"));
        total.acknowledged += summary.acknowledged;
        total.by_copies += summary.by_copies;
        total.takeovers += summary.takeovers;
        total.told += summary.told;
        total.doubled += summary.doubled;
        total.strict += summary.strict;
        total.lost += summary.lost;
        total.doubled_us = total.doubled_us.max(summary.doubled_us);
    }
    println!("{} histories with a copy in {:.1} s: {total:?}", seeds.end - seeds.start, begin.elapsed().as_secs_f64());
    if seeds.end - seeds.start >= RUNS {
        // Histories in which nothing happens prove nothing.
        assert!(
            total.told > 100 && total.strict > 150 && total.by_copies > 50 && total.acknowledged > 1_000,
            "{total:?}"
        );
    }
}

/// `SHADOWPAIR_SEED=7 cargo test --lib copies::tests::replay -- --nocapture`
#[test]
fn replay() {
    let Some(seed) = number("SHADOWPAIR_SEED") else { return };
    let summary = quietly(|| run(seed, Plan::drawn(seed))).unwrap_or_else(|story| panic!("{story}"));
    println!("seed {seed}: {summary:?}");
}

#[test]
fn a_seed_with_a_copy_means_the_same_every_time() {
    let told = |seed| {
        let mut trace = Some(Vec::new());
        let result = attempt(seed, &Plan::drawn(seed), &mut trace);
        (result, trace)
    };
    for (seed, (one, other)) in histories(0..12, |seed| (told(seed), told(seed))) {
        assert_eq!(one, other, "seed {seed}");
    }
}

/// Every kind of violation with the first seed of it:
/// `cargo test --lib copies::tests::survey -- --ignored --nocapture`
#[test]
#[ignore = "a tool for whoever works on the shell"]
fn survey() {
    let mut kinds = BTreeMap::<String, (u64, u64, String)>::new();
    let begin = std::time::Instant::now();
    for (seed, result) in histories(seeds(), |seed| attempt(seed, &Plan::drawn(seed), &mut None)) {
        if let Ok(summary) = &result
            && (summary.doubled_us > 0 || summary.lost > 0)
        {
            println!("seed {seed}: {summary:?}");
        }
        if let Err(violation) = result {
            let text = violation.to_string();
            let kind: String = text.chars().filter(|c| !c.is_ascii_digit()).take(50).collect();
            kinds.entry(kind).or_insert((0, seed, text)).0 += 1;
        }
    }
    println!("in {:.1} s", begin.elapsed().as_secs_f64());
    for (count, seed, text) in kinds.values() {
        println!("{count:>6} x, first seed {seed}: {text}");
    }
}

/// A copy of the shadow, and of the master, that just runs beside it.
fn quiet(of: Side) -> Plan {
    let steps = vec![(Step::Copy, 0), (Step::Start { at: MachineId::Copy }, 2_000_000)];
    Plan { witnessed: true, replication: Replication::Synchronous, of, steps }
}

/// A peer that takes a copy for a restart is found: the link of the first breaks.
#[test]
fn a_peer_that_takes_a_copy_for_a_restart_is_found() {
    for of in Side::BOTH {
        mutants::make(Some(Mutant::TakeCopyForRestart));
        let result = attempt(1, &quiet(of), &mut None);
        mutants::make(None);
        let violation = result.expect_err("the mistake is not found");
        assert!(matches!(violation.invariant, Invariant::FirstStays | Invariant::OneMaster), "{violation}");
        let summary = attempt(1, &quiet(of), &mut None).unwrap();
        assert_eq!((summary.told, summary.strict, summary.doubled), (1, 1, 0), "{of:?}");
    }
}

/// What is not promised: the fourth row of the table, with a witness. Whoever closes the gap changes this test and the row.
#[test]
fn two_can_serve_for_a_moment_where_they_part() {
    let plan = Plan::drawn(176);
    let summary = attempt(176, &plan, &mut None).unwrap();
    assert!(plan.witnessed && summary.strict == 0, "{summary:?}");
    assert!((1..500_000).contains(&summary.doubled_us), "less than a takeover delay: {summary:?}");
}
