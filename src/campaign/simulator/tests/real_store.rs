//! The same histories and invariants, with the real store under both nodes, on disks that fail.

use super::*;
use crate::campaign::violation::Violation;
use crate::store::mutants::{Mutant, activate};

/// Seeds of the default run. Seven of eight have a history. `SHADOWPAIR_STORED` asks for another number.
const RUNS: u64 = 500;
/// After so many seeds a mistake of the store counts as not found.
const SEEDS: u64 = 6_000;

/// The mistakes of the store that are found here. Of the others, two need a flipped bit, and two a power cut at a moment that the
/// crash tests (`store::tests::crash`) meet more often.
const FOUND: [Mutant; 8] = [
    Mutant::SkipSync,
    Mutant::IgnoreFailedSync,
    Mutant::HalfChangeSet,
    Mutant::KeepRejected,
    Mutant::TrustMemory,
    Mutant::TrimTooMuch,
    Mutant::QuarantineInMemory,
    Mutant::ShowsAllAtStart,
];

/// The plan of a seed, if it is one for the stores.
fn stored(seed: u64) -> Option<Plan> {
    Some(plan(seed).on_stores()).filter(|plan| plan.stored)
}

/// The first seed at which a mistake of the store is found, and how.
fn found(mutant: Mutant) -> Option<(u64, Violation)> {
    activate(Some(mutant));
    let found = quietly(|| {
        let histories = (0..SEEDS).filter_map(|seed| Some((seed, stored(seed)?)));
        histories
            .filter_map(|(seed, plan)| attempt(seed, plan, None, &mut None).err().map(|found| (seed, found)))
            .next()
    });
    activate(None);
    found
}

#[test]
fn histories_on_the_real_store_hold_every_invariant() {
    let runs = number("SHADOWPAIR_STORED").unwrap_or(RUNS);
    let total = histories_of(runs, 0, stored);
    if runs >= RUNS {
        // Stores without faults prove nothing.
        let count = |what: &str| total.faults.get(what).copied().unwrap_or(0);
        assert!(count("store: recovered from a power cut") > 200, "{total:?}");
        assert!(count("store: a job in doubt is there") > 20, "{total:?}");
        assert!(count("store: nothing of a job in doubt") > 20, "{total:?}");
        assert!(count("store: switched to a snapshot") > 100 && count("store: quarantined") > 5, "{total:?}");
    }
}

/// A full push must be cut between two notes of it, which few histories do but those that are made for it.
#[test]
fn a_part_of_a_push_that_is_noted_wrongly_is_found() {
    activate(Some(Mutant::NoteAhead));
    let found = quietly(|| {
        (0..SEEDS)
            .find(|seed| attempt(*seed, draw_scenario(*seed, Scenario::CutPush).on_stores(), None, &mut None).is_err())
    });
    activate(None);
    assert!(found.is_some());
}

#[test]
fn a_mistake_of_the_store_is_found() {
    let missed: Vec<_> = FOUND.into_iter().filter(|mutant| found(*mutant).is_none()).collect();
    assert_eq!(missed, []);
}

/// `cargo test --lib simulator::tests::real_store::mistakes -- --ignored --nocapture`
#[test]
#[ignore = "a tool for whoever works on the store"]
fn mistakes() {
    let others =
        [Mutant::CutDamageSilently, Mutant::NoWithholding, Mutant::PointerFirst, Mutant::IgnoreSums, Mutant::LateSums];
    for mutant in FOUND.into_iter().chain(others) {
        println!("{mutant:?}: {:?}", found(mutant).map(|(seed, found)| (seed, found.to_string())));
    }
}

#[test]
fn a_seed_means_the_same_every_time_on_the_real_store() {
    for seed in [1, 6, 40] {
        let trace = || {
            let mut trace = Some(Vec::new());
            let result = attempt(seed, plan(seed).on_stores(), None, &mut trace);
            (result.map_err(|violation| violation.to_string()), trace)
        };
        assert_eq!(trace(), trace());
    }
}

/// `SHADOWPAIR_SEED=7 cargo test --lib replay_seed_on_the_real_store -- --nocapture`
#[test]
fn replay_seed_on_the_real_store() {
    let Some(seed) = number("SHADOWPAIR_SEED") else {
        return;
    };
    let Some(plan) = stored(seed) else { return };
    let summary = quietly(|| run(seed, plan)).unwrap_or_else(|trace| panic!("{}", with_share(&trace)));
    println!("seed {seed}: {summary:?}");
}

/// `SHADOWPAIR_STORED=5000 cargo test --lib simulator::tests::real_store::survey -- --ignored --nocapture`
#[test]
#[ignore = "a tool for whoever works on the store or the engine"]
fn survey() {
    let first = number("SHADOWPAIR_FIRST").unwrap_or(0);
    let mut kinds: std::collections::BTreeMap<String, (u64, u64, String)> = std::collections::BTreeMap::new();
    let mut total = Summary::default();
    let begin = std::time::Instant::now();
    quietly(|| {
        for seed in first..first + number("SHADOWPAIR_STORED").unwrap_or(RUNS) {
            let Some(plan) = stored(seed) else { continue };
            match attempt(seed, plan, None, &mut None) {
                Ok(summary) => total += summary,
                Err(violation) => {
                    let text = violation.to_string();
                    let kind: String = text.chars().filter(|c| !c.is_ascii_digit()).take(60).collect();
                    kinds.entry(kind).or_insert((0, seed, text)).0 += 1;
                }
            }
        }
    });
    println!("{:.1} s", begin.elapsed().as_secs_f64());
    for (kind, count) in &total.faults {
        println!("{count:>12}  {kind}");
    }
    for (count, seed, text) in kinds.values() {
        println!("{count:>6} x, first seed {seed}: {text}");
    }
}
