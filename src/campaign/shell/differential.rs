//! Random histories of a shadow that was away for longer than the log reaches: it is sent what differs, whatever breaks meanwhile. And
//! mistakes in that: the digest of the whole finds them, and one full push repairs the copy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::campaign::simulator::random::{Random, mix};
use crate::model::ChangeSet;
use crate::model::limits::VALUE_INLINE_BYTES_MAX;
use crate::node::{Node, NodeEvent};
use crate::protocol::alerts::AlertKind;
use crate::protocol::engine::{LogBounds, Options, RepairKind};
use crate::store::mutants::{Mutant, activate};
use crate::testing::{Crash, Pair, Side};

const RUNS: u64 = 40;
const KEYS: u64 = 300;
const SETTLE: Duration = Duration::from_secs(60);

type Map = BTreeMap<String, Bytes>;
/// How the pair came together, one word each time.
type Repairs = Arc<Mutex<Vec<RepairKind>>>;

fn options() -> Options {
    let log = LogBounds { changes: 3, ..Options::default().log };
    Options {
        heartbeat: Duration::from_millis(100),
        takeover_delay: Duration::from_millis(500),
        hold_down: Duration::ZERO,
        log,
        ..Options::default()
    }
}

/// Change sets of random changes, in the configuration and in what a test knows of it.
fn changes(random: &mut Random, map: &mut Map, mark: &str, sets: u64) -> Vec<ChangeSet> {
    let mut change = |set: ChangeSet, number: u64| {
        let key = format!("key/{:03}", random.below(KEYS));
        if random.percent(25) {
            map.remove(&key);
            return set.delete(&key);
        }
        let mut value = format!("{mark} {number}").into_bytes();
        if random.percent(2) {
            value.resize(VALUE_INLINE_BYTES_MAX + 70_000, b'.');
        }
        let value = Bytes::from(value);
        map.insert(key.clone(), value.clone());
        set.put(&key, value)
    };
    // A key is in a change set once.
    (0..sets).map(|number| change(ChangeSet::new(), number)).collect()
}

fn write(pair: &Pair, sets: Vec<ChangeSet>) {
    let config = pair.node(Side::A).handle().config();
    pair.block_on(async {
        for set in sets {
            config.commit(set).await.unwrap();
        }
    });
}

fn content(node: &Node) -> Map {
    let snapshot = node.config().snapshot();
    let keys: Vec<String> = snapshot.scan("").map(|entry| entry.unwrap().key.as_str().to_owned()).collect();
    keys.into_iter().map(|key| (key.clone(), snapshot.get(&key).unwrap().unwrap())).collect()
}

/// Notes how the shadow is repaired from now on.
fn watch(pair: &Pair, repairs: &Repairs) {
    let (node, repairs) = (pair.node(Side::B), repairs.clone());
    let mut events = node.handle().events();
    node.spawn(async move {
        while let Some(event) = events.next().await {
            if let NodeEvent::Synced { how, .. } = event {
                repairs.lock().unwrap_or_else(PoisonError::into_inner).push(how);
            }
        }
    });
}

fn until_whole(pair: &Pair, seed: u64) {
    let whole = pair.run_until(SETTLE, |pair| pair.is_whole() && pair.master() == Some(Side::A));
    assert!(whole.is_ok(), "seed {seed}: the pair is not whole\n{}", pair.trace());
}

/// The shadow is away, the master changes, the shadow comes back. `faults`: and things break meanwhile. Returns how it was repaired,
/// and whether a mismatch was told.
fn history(seed: u64, faults: bool) -> (Vec<RepairKind>, bool) {
    let mut random = Random::new(mix(seed ^ 0x6469_6666));
    let pair = Pair::builder(seed).options(options()).start().unwrap();
    let mut map = Map::new();
    let sets = changes(&mut random, &mut map, "base", 200);
    write(&pair, sets);
    write(&pair, vec![ChangeSet::new().put("gone", "1").put("changed", "1")]);
    until_whole(&pair, seed);
    pair.node(Side::B).crash(*random.pick(&[Crash::Process, Crash::Power, Crash::TornPower]));
    let sets = random.range(5, 60);
    let sets = changes(&mut random, &mut map, "later", sets);
    write(&pair, sets);
    write(&pair, vec![ChangeSet::new().delete("gone").put("changed", "2")]);
    map.insert("changed".into(), "2".into());
    pair.node(Side::B).restart().unwrap();
    let repairs = Repairs::default();
    watch(&pair, &repairs);
    for _ in 0..if faults { random.range(1, 4) } else { 0 } {
        pair.run_for(Duration::from_millis(random.below(120)));
        if random.percent(40) {
            pair.link().reset();
        }
        if random.percent(40) {
            let set = changes(&mut random, &mut map, "meanwhile", 1);
            write(&pair, set);
        }
        pair.machine(Side::B).crash_at_write(random.range(1, 40), Crash::TornPower);
        pair.run_for(Duration::from_millis(random.below(1_000)));
        pair.machine(Side::B).disk.sim.stop(0);
        if pair.machine(Side::B).is_down() {
            pair.node(Side::B).restart().unwrap();
        }
    }
    until_whole(&pair, seed);
    for side in Side::BOTH {
        assert!(content(&pair.node(side).handle()) == map, "seed {seed}: {side:?} holds something else");
    }
    // It goes on from there, also after a start.
    let sets = changes(&mut random, &mut map, "after", 2);
    write(&pair, sets);
    until_whole(&pair, seed);
    pair.node(Side::B).crash(Crash::Power);
    pair.node(Side::B).restart().unwrap();
    until_whole(&pair, seed);
    assert!(content(&pair.node(Side::B).handle()) == map, "seed {seed}: after a start");
    let alerts = |side| pair.node(side).status().map(|status| status.engine.alerts.clone()).unwrap_or_default();
    let told = Side::BOTH.into_iter().flat_map(alerts).any(|alert| match alert.kind {
        AlertKind::DigestMismatch => true,
        AlertKind::Recovered => alert.message.contains(AlertKind::DigestMismatch.as_str()),
        _ => false,
    });
    let repairs = repairs.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (repairs, told)
}

#[test]
fn a_shadow_out_of_the_logs_reach_is_sent_what_differs() {
    for seed in 0..RUNS {
        assert_eq!(history(seed, false), (vec![RepairKind::Differential], false), "seed {seed}");
    }
}

#[test]
fn whatever_breaks_meanwhile_it_comes_together() {
    (0..RUNS).for_each(|seed| drop(history(seed, true)));
}

#[test]
fn a_mistake_in_it_ends_in_one_full_push_and_in_no_loop() {
    for mutant in [Mutant::KeepsGone, Mutant::AlikeHashes] {
        activate(Some(mutant));
        let found: Vec<_> = (0..RUNS / 2).map(|seed| history(seed, false)).collect();
        activate(None);
        for (repairs, told) in found {
            assert_eq!((repairs, told), (vec![RepairKind::Full], true), "{mutant:?}");
        }
    }
}
