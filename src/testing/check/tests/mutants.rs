//! The check is checked: it finds deliberate mistakes within small bounds, each by the invariant that is there for it.

use std::time::Duration;

use super::*;
use crate::protocol::engine::Mutant;
use crate::testing::sim::world::Flaw;

/// A path that ends in a violation of this invariant.
fn caught(bounds: &Bounds, mutant: Mutant, wanted: Invariant) -> (Option<Vec<pair::Choice>>, usize) {
    let bounds = Bounds { flaw: Some(Flaw::Engine(mutant)), ..bounds.clone() };
    let check = Check { bounds, wanted: Some(wanted) };
    let checker = check.checker().threads(2).timeout(Duration::from_secs(60)).spawn_dfs().join();
    (checker.discovery("caught").map(|path| path.into_actions()), checker.unique_state_count())
}

/// Where each mistake shows.
#[test]
#[ignore = "a tool for whoever works on the engine"]
fn survey() {
    use Invariant as I;
    use Mutant as M;
    let wanted = [
        (M::SkipsLeaseWait, I::OneMaster),
        (M::IgnoresRegister, I::OneMaster),
        (M::NamedServes, I::OneMaster),
        (M::SwapsBeforeNote, I::RegisterRises),
        (M::UnknownIsSuccess, I::OneMaster),
        (M::ReadExtends, I::OneMaster),
        (M::PromiseFromAnswer, I::OneMaster),
        (M::AloneBeforeRecord, I::NothingLost),
        (M::AloneByRead, I::NothingLost),
        (M::FlagCountsWhenAnswered, I::NothingLost),
        (M::NewMasterDoesNotWait, I::NothingLost),
        (M::AcknowledgesAfterLease, I::OneMaster),
        (M::IgnoresOwnPromise, I::OneMaster),
        (M::IgnoresInSync, I::NothingLost),
        (M::IgnoresRecordedRevision, I::NothingLost),
        (M::ForgetsPromise, I::OneMaster),
        (M::PromisesWhileClaiming, I::OneMaster),
        (M::AnswersBeforeEpoch, I::OneMaster),
        (M::FlagsEarly, I::NothingLost),
        (M::PromisesToOlder, I::OneMaster),
        (M::AnswerIsPromise, I::OneMaster),
    ];
    let only = std::env::var("SHADOWPAIR_FLAW").ok();
    let sync = Replication::Synchronous;
    let spaces = [
        ("beats 1", Bounds::beats(sync, 1)),
        ("events 1", Bounds { onsets: 8, ..Bounds::events(sync, 1) }),
        ("beats 2", Bounds::beats(sync, 2)),
        ("takeover 2", Bounds { onsets: 2, beginning: master_gone(), ..Bounds::events(sync, 2) }),
        ("beats 3", Bounds::beats(sync, 3)),
    ];
    for (mutant, invariant) in wanted {
        if only.as_ref().is_some_and(|only| !format!("{mutant:?}").contains(only.as_str())) {
            continue;
        }
        let found = spaces.iter().find_map(|(name, bounds)| {
            let begin = Instant::now();
            let (path, states) = caught(bounds, mutant, invariant);
            if path.is_none() {
                println!("   ({mutant:?} {name}: {states} states, {:.1} s)", begin.elapsed().as_secs_f64());
            }
            path.map(|path| (name, states, begin.elapsed().as_secs_f64(), path))
        });
        match found {
            None => println!("!! {mutant:?} as {invariant:?}"),
            Some((name, states, seconds, path)) => {
                let short: Vec<_> = path.iter().filter(|choice| **choice != pair::Choice::On).collect();
                println!("   {mutant:?} as {invariant:?}: {name}, {states} states, {seconds:.1} s, {short:?}");
            }
        }
    }
}
