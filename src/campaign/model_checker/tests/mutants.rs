//! Mutation tests of the model checker: it must find each mistake within small bounds, by the invariant named for it.

use std::time::Duration;

use super::choice::Choice;
use super::*;
use crate::campaign::simulator::injected_bug::InjectedBug;
use crate::campaign::simulator::step::WitnessFault;
use crate::protocol::engine::Mutant;

/// A mistake, the bounds within which it shows, and the invariant that must catch it.
struct Case {
    mutant: Mutant,
    bounds: Bounds,
    by: Invariant,
}

fn cut(from: Side) -> Step {
    Step::Cut { from }
}

fn unreachable(node: Side) -> Step {
    Step::Witness { what: WitnessFault::Cut { node, cut: true } }
}

/// The nodes have been cut off from each other for so long, microseconds.
fn apart(us: u64) -> Vec<Step> {
    vec![cut(Side::A), cut(Side::B), Step::Run { us }]
}

/// All cases.
fn cases() -> Vec<Case> {
    use Invariant as I;
    use Mutant as M;
    let sync = Replication::Synchronous;
    let beats = |faults: usize| Bounds::beats(sync, faults);
    let events = |faults: usize, kinds: &[FaultKind], beginning: Vec<Step>| Bounds {
        kinds: kinds.to_vec(),
        beginning,
        ..Bounds::events(sync, faults)
    };
    let case = |mutant: M, by: I, bounds: Bounds| Case { mutant, bounds, by };
    let both = Choice::Cut(&Side::BOTH);
    // A slow network, and the longest lease that the takeover delay allows.
    let slow = Bounds {
        lease_ms: Some(480),
        beginning: vec![Step::Latency { us: 100_000 }, Step::Run { us: 1_000_000 }],
        ..beats(2)
    };
    // The witness is slow for the master.
    let far = vec![Step::Witness { what: WitnessFault::Latency { node: Side::A, us: 150_000 } }];
    // The shadow is coming back, and the record names nobody as in sync.
    let back = || {
        let mut steps = apart(100_000);
        steps.push(Step::Commit { node: Side::A, key: 2, value: Some(1), guarded: false });
        steps.extend([Step::Run { us: 1_900_000 }, Step::Heal { from: Side::A }, Step::Heal { from: Side::B }]);
        steps
    };
    let named = || {
        let mut steps = apart(400_000);
        steps.insert(0, unreachable(Side::A));
        steps
    };
    vec![
        case(M::SkipsLeaseWait, I::OneMaster, beats(1)),
        case(M::SwapsBeforeNote, I::RegisterRises, beats(1)),
        case(
            M::NewMasterDoesNotWait,
            I::NothingLost,
            Bounds { onsets: 3, ..events(1, &[FaultKind::Commit, FaultKind::Crash], Vec::new()) },
        ),
        case(M::AloneBeforeRecord, I::NothingLost, beats(1)),
        case(M::IgnoresRegister, I::RegisterRises, beats(2)),
        case(M::UnknownIsSuccess, I::OneMaster, beats(2)),
        case(M::AcknowledgesAfterLease, I::OneMaster, beats(2)),
        case(M::PromiseFromAnswer, I::OneMaster, slow),
        case(
            M::ReadExtends,
            I::OneMaster,
            Bounds { onsets: 4, ..events(2, &[FaultKind::Swap, FaultKind::Unreachable], apart(100_000)) },
        ),
        case(
            M::FlagCountsWhenAnswered,
            I::NothingLost,
            Bounds { onsets: 5, ..events(2, &[FaultKind::Commit, FaultKind::Swap, FaultKind::Cut], back()) },
        ),
        case(
            M::AloneByRead,
            I::NothingLost,
            Bounds {
                onsets: 3,
                lease_ms: Some(480),
                ..events(
                    2,
                    &[FaultKind::Commit, FaultKind::Swap, FaultKind::Cut],
                    [far, back(), vec![Step::Run { us: 150_000 }]].concat(),
                )
            },
        ),
        case(M::KeepsCoversInSwitch, I::OneMaster, events(1, &[FaultKind::Swap], switching())),
        case(M::HandsOverEarly, I::OneMaster, events(1, &[FaultKind::Swap], switching())),
        case(M::ReadyUnnoted, I::RegisterRises, events(1, &[FaultKind::Crash], switching())),
        case(M::ForgetsPause, I::NothingOfRefused, events(2, &[FaultKind::Operator, FaultKind::Crash], Vec::new())),
        case(
            M::NamedServes,
            I::OneMaster,
            Bounds {
                open_faults: vec![both],
                onsets: 2,
                lengths: vec![1, 2, 3, 4, 5],
                ..events(2, &[FaultKind::Swap, FaultKind::Unreachable], named())
            },
        ),
    ]
}

/// A path to a violation of the expected invariant, and how many states were tried.
fn caught(case: &Case, seconds: u64) -> (Option<Vec<Choice>>, usize) {
    let bounds = Bounds { bug: Some(InjectedBug::Engine(case.mutant)), ..case.bounds.clone() };
    let check = Check { bounds, wanted: Some(case.by) };
    let checker = check.checker().threads(2).timeout(Duration::from_secs(seconds)).spawn_dfs().join();
    (checker.discovery("caught").map(|path| path.into_actions()), checker.unique_state_count())
}

#[test]
fn every_mistake_is_found() {
    let found = |case: &Case| caught(case, 300).0.is_some();
    let missed: Vec<_> = cases().into_iter().filter(|case| !found(case)).map(|case| case.mutant).collect();
    assert_eq!(missed, Vec::new());
}

/// By which path each mistake is found, or the one of this name, with what the engines did:
/// `SHADOWPAIR_BUG=ReadExtends cargo test --lib model_checker::tests::mutants::survey -- --ignored --nocapture`
#[test]
#[ignore = "a tool for whoever works on the engine"]
fn survey() {
    let only = std::env::var("SHADOWPAIR_BUG").ok();
    for case in cases() {
        let Case { mutant, by, .. } = &case;
        if only.as_ref().is_some_and(|only| !format!("{mutant:?}").contains(only.as_str())) {
            continue;
        }
        let begin = Instant::now();
        let (path, states) = caught(&case, 300);
        let seconds = begin.elapsed().as_secs_f64();
        println!("{} {mutant:?} ({by:?}): {states} states, {seconds:.1} s", if path.is_some() { "  " } else { "!!" });
        if let Some(path) = path {
            let bounds = Bounds { bug: Some(InjectedBug::Engine(*mutant)), ..case.bounds.clone() };
            let told = counterexample::describe(&bounds, &path);
            let short = told.lines().skip(1).take_while(|line| only.is_some() || !line.starts_with("what happened"));
            short.for_each(|line| println!("{line}"));
        }
    }
}
