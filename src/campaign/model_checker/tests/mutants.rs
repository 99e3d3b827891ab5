//! The check is checked: it finds deliberate mistakes within small bounds, each by the invariant that is there for it.

use std::time::Duration;

use super::state::Choice;
use super::*;
use crate::campaign::simulator::step::WitnessFault;
use crate::campaign::simulator::world::InjectedBug;
use crate::protocol::engine::Mutant;

/// Within these bounds each mistake shows.
struct Field {
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

/// The nodes are kept apart since so long, microseconds.
fn apart(us: u64) -> Vec<Step> {
    vec![cut(Side::A), cut(Side::B), Step::Run { us }]
}

/// The mistakes, where they show, and what must catch them.
fn fields() -> Vec<Field> {
    use Invariant as I;
    use Mutant as M;
    let sync = Replication::Synchronous;
    let beats = |faults: usize| Bounds::beats(sync, faults);
    let events = |faults: usize, kinds: &[Kind], beginning: Vec<Step>| Bounds {
        kinds: kinds.to_vec(),
        beginning,
        ..Bounds::events(sync, faults)
    };
    let field = |mutant: M, by: I, bounds: Bounds| Field { mutant, bounds, by };
    let both = Choice::Cut(&Side::BOTH);
    // A round trip takes long, and the lease is as long as the delay allows.
    let slow = Bounds {
        lease_ms: Some(480),
        beginning: vec![Step::Latency { us: 100_000 }, Step::Run { us: 1_000_000 }],
        ..beats(2)
    };
    // The master reaches the witness after a while only.
    let far = vec![Step::Witness { what: WitnessFault::Latency { node: Side::A, us: 150_000 } }];
    // The shadow is just coming back, and the record names nobody.
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
        field(M::SkipsLeaseWait, I::OneMaster, beats(1)),
        field(M::SwapsBeforeNote, I::RegisterRises, beats(1)),
        field(
            M::NewMasterDoesNotWait,
            I::NothingLost,
            Bounds { onsets: 3, ..events(1, &[Kind::Commit, Kind::Crash], Vec::new()) },
        ),
        field(M::AloneBeforeRecord, I::NothingLost, beats(1)),
        field(M::IgnoresRegister, I::RegisterRises, beats(2)),
        field(M::UnknownIsSuccess, I::OneMaster, beats(2)),
        field(M::AcknowledgesAfterLease, I::OneMaster, beats(2)),
        field(M::PromiseFromAnswer, I::OneMaster, slow),
        field(
            M::ReadExtends,
            I::OneMaster,
            Bounds { onsets: 4, ..events(2, &[Kind::Swap, Kind::Unreachable], apart(100_000)) },
        ),
        field(
            M::FlagCountsWhenAnswered,
            I::NothingLost,
            Bounds { onsets: 5, ..events(2, &[Kind::Commit, Kind::Swap, Kind::Cut], back()) },
        ),
        field(
            M::AloneByRead,
            I::NothingLost,
            Bounds {
                onsets: 3,
                lease_ms: Some(480),
                ..events(
                    2,
                    &[Kind::Commit, Kind::Swap, Kind::Cut],
                    [far, back(), vec![Step::Run { us: 150_000 }]].concat(),
                )
            },
        ),
        field(
            M::NamedServes,
            I::OneMaster,
            Bounds {
                begun: vec![both],
                onsets: 2,
                lengths: vec![1, 2, 3, 4, 5],
                ..events(2, &[Kind::Swap, Kind::Unreachable], named())
            },
        ),
    ]
}

/// A path that ends in a violation of the expected invariant, and how many states were seen.
fn caught(field: &Field, seconds: u64) -> (Option<Vec<Choice>>, usize) {
    let bounds = Bounds { flaw: Some(InjectedBug::Engine(field.mutant)), ..field.bounds.clone() };
    let check = Check { bounds, wanted: Some(field.by) };
    let checker = check.checker().threads(2).timeout(Duration::from_secs(seconds)).spawn_dfs().join();
    (checker.discovery("caught").map(|path| path.into_actions()), checker.unique_state_count())
}

#[test]
fn every_mistake_is_found() {
    let found = |field: &Field| caught(field, 300).0.is_some();
    let missed: Vec<_> = fields().into_iter().filter(|field| !found(field)).map(|field| field.mutant).collect();
    assert_eq!(missed, Vec::new());
}

/// By which path each mistake is found, or the one of this name, with what the engines did:
/// `SHADOWPAIR_FLAW=ReadExtends cargo test --lib model_checker::tests::mutants::survey -- --ignored --nocapture`
#[test]
#[ignore = "a tool for whoever works on the engine"]
fn survey() {
    let only = std::env::var("SHADOWPAIR_FLAW").ok();
    for field in fields() {
        let Field { mutant, by, .. } = &field;
        if only.as_ref().is_some_and(|only| !format!("{mutant:?}").contains(only.as_str())) {
            continue;
        }
        let begin = Instant::now();
        let (path, states) = caught(&field, 300);
        let seconds = begin.elapsed().as_secs_f64();
        println!("{} {mutant:?} ({by:?}): {states} states, {seconds:.1} s", if path.is_some() { "  " } else { "!!" });
        if let Some(path) = path {
            let bounds = Bounds { flaw: Some(InjectedBug::Engine(*mutant)), ..field.bounds.clone() };
            let told = counterexample::told(&bounds, &path);
            let short = told.lines().skip(1).take_while(|line| only.is_some() || !line.starts_with("what happened"));
            short.for_each(|line| println!("{line}"));
        }
    }
}
