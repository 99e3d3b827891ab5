//! Checks all paths within bounds that fit into a test run, and within deeper bounds on demand.

mod mutants;

use std::collections::BTreeSet;
use std::time::Instant;

use stateright::{Checker, Expectation, Model};

use super::bounds::Bounds;
use super::choice::FaultKind;
use super::*;
use crate::campaign::simulator::step::{Step, Verb};
use crate::protocol::engine::Replication;
use crate::testing::Side;

/// Both modes of a witnessed pair.
const MODES: [Replication; 2] = [Replication::Synchronous, Replication::Asynchronous];

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Tries everything within these bounds. Returns which of the interesting states were met.
fn explore(name: &str, bounds: Bounds) -> BTreeSet<&'static str> {
    let begin = Instant::now();
    let checker = Check { bounds: bounds.clone(), wanted: None }.checker().threads(2).spawn_dfs().join();
    let (generated, unique) = (checker.state_count(), checker.unique_state_count());
    let (depth, seconds) = (checker.max_depth(), begin.elapsed().as_secs_f64());
    let mode = bounds.replication;
    println!("{mode:?}, {name}: {generated} states, {unique} unique, depth {depth}, {seconds:.1} s");
    let mut met = BTreeSet::new();
    for (property, path) in checker.discoveries() {
        match checker.model().property(property).expectation {
            Expectation::Sometimes => {
                met.insert(property);
            }
            _ => {
                panic!(
                    "{name}: \"{property}\" does not hold\n{}",
                    counterexample::describe(&bounds, &path.into_actions())
                )
            }
        }
    }
    met
}

/// Explores all of these. Fails where the interesting states were never met.
fn explore_all(spaces: Vec<(&str, Bounds)>) {
    let mut met = BTreeSet::new();
    for (name, bounds) in spaces {
        met.append(&mut explore(name, bounds));
    }
    let missing: Vec<_> = [TAKEN_OVER, RETURNED, FENCED, ALONE, SWITCHED, PAUSED]
        .into_iter()
        .filter(|what| !met.contains(what))
        .collect();
    assert!(missing.is_empty(), "never met: {missing:?}");
}

/// The master is gone, and the shadow is about to take over.
fn master_gone() -> Vec<Step> {
    vec![Step::Crash { node: Side::A, silent: true, kept: 0 }, Step::Run { us: 400_000 }]
}

/// An operator of the master has just said that the roles are to be switched.
fn switching() -> Vec<Step> {
    vec![Step::Operator { node: Side::A, verb: Verb::SwitchRoles }]
}

/// Extreme clock rates: one clock fast, the other slow.
const EXTREMES: [[i64; 2]; 2] = [[9_900, -9_900], [-9_900, 9_900]];

/// Bounds of the default run. Each mode takes some twenty seconds.
fn shallow(mode: Replication) -> Vec<(&'static str, Bounds)> {
    let crash_cut_pause = vec![FaultKind::Commit, FaultKind::Crash, FaultKind::Cut, FaultKind::Pause];
    let (beats, events) = (Bounds::beats(mode, 2), Bounds::events(mode, 1));
    let single = Bounds::beats(mode, 1);
    vec![
        (
            "a crash, a cut and a pause, with restart",
            Bounds { kinds: crash_cut_pause, faults: 3, onsets: 1, lengths: vec![2, 8], ..beats.clone() },
        ),
        ("any two faults at heartbeats", Bounds { onsets: 2, ..beats.clone() }),
        ("any fault at a heartbeat, the master's clock fast", Bounds { rates_ppm: EXTREMES[0], ..single.clone() }),
        ("any fault at a heartbeat, the shadow's clock fast", Bounds { rates_ppm: EXTREMES[1], ..single.clone() }),
        ("any fault at a heartbeat, then whole again", Bounds { settles: true, onsets: 2, ..single }),
        (
            "a fault at any event of a switch of roles, then whole again",
            Bounds { beginning: switching(), settles: true, onsets: 1, ..events.clone() },
        ),
        ("a fault at any event", Bounds { onsets: 3, closes: true, ..events.clone() }),
        (
            "an operator's word and a fault at heartbeats",
            Bounds {
                kinds: vec![FaultKind::Commit, FaultKind::Crash, FaultKind::Cut, FaultKind::Operator],
                onsets: 2,
                lengths: vec![2, 8],
                ..beats.clone()
            },
        ),
        (
            "an operator's word at any event, then whole again",
            Bounds { kinds: vec![FaultKind::Commit, FaultKind::Operator], settles: true, onsets: 1, ..events.clone() },
        ),
        (
            "two faults at any events of a takeover",
            Bounds { beginning: master_gone(), faults: 2, onsets: 1, lengths: vec![2], ..events },
        ),
    ]
}

/// Deeper bounds.
fn deep(mode: Replication, depth: usize) -> Vec<(&'static str, Bounds)> {
    let fewer = depth.saturating_sub(1).max(1);
    let (beats, rates) = (Bounds::beats(mode, depth), Bounds::beats(mode, fewer));
    let events = Bounds { onsets: 8, ..Bounds::events(mode, fewer) };
    let faults = vec![FaultKind::Crash, FaultKind::Cut, FaultKind::Swap];
    vec![
        ("faults at heartbeats", beats),
        ("fewer, the master's clock fast", Bounds { rates_ppm: EXTREMES[0], ..rates.clone() }),
        ("fewer, the shadow's clock fast", Bounds { rates_ppm: EXTREMES[1], ..rates.clone() }),
        ("fewer, then whole again", Bounds { settles: true, onsets: 2, ..rates }),
        ("a fault and a commit at any event", Bounds { faults: 1, closes: true, ..events.clone() }),
        ("faults at any event", Bounds { kinds: faults, ..events.clone() }),
        (
            "faults at any event of a switch of roles",
            Bounds { beginning: switching(), faults: fewer, onsets: 1, lengths: vec![2], ..events.clone() },
        ),
        (
            "an operator's word and faults at heartbeats",
            Bounds {
                kinds: vec![
                    FaultKind::Commit,
                    FaultKind::Crash,
                    FaultKind::Cut,
                    FaultKind::Unreachable,
                    FaultKind::Operator,
                ],
                ..Bounds::beats(mode, depth)
            },
        ),
        (
            "an operator's word and a fault at any event",
            Bounds {
                kinds: vec![FaultKind::Crash, FaultKind::Cut, FaultKind::Swap, FaultKind::Operator],
                faults: fewer,
                ..events.clone()
            },
        ),
        (
            "faults at any event of a takeover",
            Bounds { beginning: master_gone(), faults: depth, onsets: 2, lengths: vec![2], ..events },
        ),
    ]
}

#[test]
fn a_synchronous_pair_holds_its_invariants_on_every_path() {
    explore_all(shallow(Replication::Synchronous));
}

#[test]
fn an_asynchronous_pair_holds_its_invariants_on_every_path() {
    explore_all(shallow(Replication::Asynchronous));
}

/// `SHADOWPAIR_DEPTH=3 cargo test --release --lib deeper_bounds -- --ignored --nocapture`
///
/// The number is how many kinds of fault a path has at heartbeats. At any event it is one less.
#[test]
#[ignore = "takes minutes at depth 3, hours above"]
fn deeper_bounds() {
    let depth = number("SHADOWPAIR_DEPTH").unwrap_or(3);
    MODES.into_iter().for_each(|mode| explore_all(deep(mode, depth)));
}
