use super::*;
use crate::model::ChangeSet;
use crate::protocol::engine::Replication;

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
