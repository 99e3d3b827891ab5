use super::*;
use crate::model::ChangeSet;
use crate::node::CommitError;
use crate::protocol::engine::{AlertKind, Replication};

const MINUTE: Duration = Duration::from_secs(60);

fn synchronous(seed: u64) -> Pair {
    let options = Options { replication: Replication::Synchronous, ..Options::default() };
    Pair::builder(seed).options(options).start().unwrap()
}

async fn put(node: Node, key: &str, value: &str) {
    node.config().commit(ChangeSet::new().put(key, value.to_owned())).await.unwrap();
}

#[test]
fn a_pair_enrols_and_replicates() {
    let pair = synchronous(1);
    assert_eq!(pair.master(), Some(Side::A));
    pair.block_on(put(pair.node(Side::A).handle(), "key", "value"));
    pair.run_until(MINUTE, Pair::is_whole).unwrap();
    let shadow = pair.node(Side::B).handle();
    assert_eq!(shadow.config().snapshot().get("key").unwrap().unwrap(), "value");
}

#[test]
fn the_shadow_takes_over_from_a_master_without_power_and_goes_on_as_its_peer() {
    let pair = synchronous(2);
    pair.block_on(put(pair.node(Side::A).handle(), "key", "value"));
    pair.node(Side::A).crash(Crash::Power);
    pair.run_until(MINUTE, |pair| pair.master() == Some(Side::B)).unwrap();
    let master = pair.node(Side::B).handle();
    assert_eq!(master.config().snapshot().get("key").unwrap().unwrap(), "value");
    pair.block_on(put(master, "key", "other"));
    pair.node(Side::A).restart().unwrap();
    pair.run_until(MINUTE, Pair::is_whole).unwrap();
    assert_eq!(pair.master(), Some(Side::B));
    assert_eq!(pair.node(Side::A).handle().config().snapshot().get("key").unwrap().unwrap(), "other");
}

#[test]
fn a_seed_means_the_same_every_time() {
    let run = |seed| {
        let pair = synchronous(seed);
        pair.node(Side::A).pause();
        pair.run_for(MINUTE);
        pair.node(Side::A).resume();
        pair.run_for(MINUTE);
        (pair.trace(), pair.fingerprint())
    };
    for seed in 0..4 {
        let (one, other) = (run(seed), run(seed));
        assert_eq!(one.0, other.0);
        assert_eq!(one.1, other.1);
    }
}

fn has_alert(pair: &Pair, side: Side, kind: AlertKind) -> bool {
    pair.node(side).status().is_some_and(|status| status.engine.alerts.iter().any(|alert| alert.kind == kind))
}

/// Nothing writes, so only the look at the directory can tell.
#[test]
fn an_idle_master_whose_directory_is_gone_stops_serving_and_the_shadow_takes_over() {
    let pair = synchronous(3);
    pair.block_on(put(pair.node(Side::A).handle(), "key", "value"));
    let delay = Options::default().takeover_delay;
    pair.node(Side::A).disk().unmount();
    pair.run_until(delay, |pair| has_alert(pair, Side::A, AlertKind::DiskTrouble)).unwrap();
    let refused =
        pair.block_on(async { pair.node(Side::A).handle().config().commit(ChangeSet::new().put("key", "late")).await });
    assert!(matches!(refused, Err(CommitError::NotMaster { .. })), "{refused:?}");
    pair.run_until(MINUTE, |pair| pair.master() == Some(Side::B)).unwrap();
    let master = pair.node(Side::B).handle();
    assert_eq!(master.config().snapshot().get("key").unwrap().unwrap(), "value");
    pair.node(Side::A).disk().mount();
    pair.run_until(MINUTE, Pair::is_whole).unwrap();
    assert_eq!(pair.master(), Some(Side::B));
    pair.run_until(MINUTE, |pair| !has_alert(pair, Side::A, AlertKind::DiskTrouble)).unwrap();
}

#[test]
fn a_shadow_whose_directory_is_gone_says_so_and_does_not_take_over() {
    let pair = synchronous(4);
    pair.node(Side::B).disk().unmount();
    pair.run_until(MINUTE, |pair| has_alert(pair, Side::B, AlertKind::DiskTrouble)).unwrap();
    pair.node(Side::A).crash(Crash::Power);
    pair.run_for(MINUTE);
    assert_eq!(pair.master(), None);
    pair.node(Side::B).disk().mount();
    pair.run_until(MINUTE, |pair| pair.master() == Some(Side::B)).unwrap();
}
