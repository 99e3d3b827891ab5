//! The upgrade drill. The last version left the data directories of a pair (`tests/golden/pair-v2`): the shadow was stopped, and
//! the master was killed with a change that the shadow lacks. This version starts on them, with an older peer and with a new one.
//!
//! A node with `newest_protocol` speaks as an older program does: its hello offers no more, it sends nothing that came later, and it
//! ends a link on which something comes that it does not know.

use bytes::Bytes;

use super::*;
use crate::model::limits::VALUE_INLINE_BYTES_MAX;
use crate::node::OperatorError;
use crate::protocol::wire::{Versions, decode_witness, golden};
use crate::store::disk::Disk;

/// The newest version of the last release.
const LAST: u16 = 2;

/// What the golden directories hold. The master alone has the last one.
fn left_behind() -> Vec<(String, Bytes)> {
    let large = Bytes::from(vec![7; 300_000]);
    assert!(large.len() > VALUE_INLINE_BYTES_MAX);
    let entry = |key: &str, value: &'static str| (key.to_owned(), Bytes::from(value));
    vec![
        ("large".to_owned(), large),
        entry("last", "word"),
        entry("motd", "hello"),
        entry("password", "hunter2"),
        entry("routes/api", "10.0.0.9:80"),
        entry("routes/web", "10.0.0.8:80"),
    ]
}

fn options(newest_protocol: u16) -> Options {
    Options { newest_protocol, hold_down: Duration::ZERO, ..Options::default() }
}

/// Two machines with what the last version left on them. Nothing runs yet.
fn golden_pair(seed: u64, witnessed: bool) -> Pair {
    let pair = Pair::builder(seed).witnessed(witnessed).options(options(Versions::OURS.max)).build();
    for (path, bytes) in golden::directory("pair-v2") {
        let (side, path) = match path.iter().next().and_then(|first| first.to_str()) {
            Some("a") => (Side::A, path.strip_prefix("a").unwrap()),
            Some("b") => (Side::B, path.strip_prefix("b").unwrap()),
            _ => continue,
        };
        let sim = &pair.machine(side).disk.sim;
        let path = std::path::Path::new("/node").join(path);
        let file = sim.open(&path, true).unwrap();
        file.write_at(0, &bytes).unwrap();
        file.sync().unwrap();
        sim.sync_dir(path.parent().unwrap()).unwrap();
    }
    let record = golden::directory("pair-v2").into_iter().find(|(path, _)| path.ends_with("witness")).unwrap().1;
    pair.world.register.hold(decode_witness(&record).unwrap());
    pair
}

/// Installs a version on this machine, and starts it.
fn install(pair: &Pair, side: Side, newest_protocol: u16) {
    pair.node(side).set_options(options(newest_protocol));
    pair.node(side).restart().unwrap();
}

fn whole_under(pair: &Pair, master: Side) {
    let whole = |pair: &Pair| pair.is_whole() && pair.master() == Some(master);
    pair.run_until(MINUTE, whole).unwrap_or_else(|error| panic!("{error}\n{}", pair.last_lines()));
    let position = |side| pair.node(side).status().unwrap().engine.position;
    assert_eq!(position(Side::A), position(Side::B));
    assert_eq!(entries(pair, Side::A), entries(pair, Side::B));
}

fn entries(pair: &Pair, side: Side) -> Vec<(String, Bytes)> {
    let snapshot = pair.node(side).handle().config().snapshot();
    let read = |entry: crate::store::Entry| {
        assert_eq!(entry.secret, entry.key.as_str() == "password");
        (entry.key.as_str().to_owned(), snapshot.get(&entry.key).unwrap().unwrap())
    };
    snapshot.scan("").map(|entry| read(entry.unwrap())).collect()
}

/// Kills the master, waits until the other one serves, changes something there, and starts the killed one again.
fn fail_over(pair: &Pair, how: Crash, mark: &str) {
    let dead = pair.master().unwrap();
    pair.block_on(put(pair.node(dead).handle(), "before", mark));
    pair.run_until(MINUTE, Pair::is_whole).unwrap();
    pair.node(dead).crash(how);
    pair.run_until(MINUTE, |pair| pair.master() == Some(dead.other())).unwrap();
    pair.block_on(put(pair.node(dead.other()).handle(), "after", mark));
    pair.node(dead).restart().unwrap();
    whole_under(pair, dead.other());
    let has = |key: &str| entries(pair, dead).contains(&(key.to_owned(), Bytes::copy_from_slice(mark.as_bytes())));
    assert!(has("before") && has("after"));
}

/// Everything that a pair does without a common newer version: changes at a rate, a full push, and no word that the older node does not
/// know, so that the link stays.
fn works_together(pair: &Pair) {
    let master = pair.master().unwrap();
    let connected = pair.connected();
    pair.block_on(async {
        let config = pair.node(master).handle().config();
        let begun: Vec<_> = (0..60)
            .map(|number| config.try_commit(ChangeSet::new().put("load", number.to_string())).unwrap())
            .collect();
        for pending in begun {
            pending.committed().await.unwrap();
        }
        let large = ChangeSet::new().put("bulk", vec![9; 2_000_000]);
        config.commit(large).await.unwrap();
        config.commit(ChangeSet::new().delete("bulk")).await.unwrap();
        pair.node(master.other()).handle().operator().resync().await.unwrap();
    });
    whole_under(pair, master);
    for side in Side::BOTH {
        let operator = pair.node(side).handle().operator();
        let refused = pair.block_on(async { operator.switch_roles().await });
        assert_eq!(refused, Err(OperatorError::PeerTooOld), "{side:?}");
        // A mode holds on its own node, and the older one hears nothing of it.
        pair.block_on(async { operator.freeze().await.and(operator.unfreeze().await) }).unwrap();
    }
    pair.run_for(Duration::from_secs(3));
    whole_under(pair, master);
    assert_eq!(pair.connected(), connected, "the link was lost: {}", pair.last_lines());
}

/// One node is upgraded, the pair fails over in both directions, then the other node is upgraded.
fn drill(seed: u64, witnessed: bool, first: Side) {
    let pair = golden_pair(seed, witnessed);
    install(&pair, first, Versions::OURS.max);
    install(&pair, first.other(), LAST);
    whole_under(&pair, Side::A);
    assert_eq!(entries(&pair, Side::B), left_behind());
    for side in Side::BOTH {
        let place = pair.node(side).handle().local().get("place").unwrap().unwrap();
        assert_eq!(place, format!("{side:?}"), "its own entry");
        assert!(pair.node(side).handle().operator().history().eras().len() >= 3, "the lineage");
    }
    works_together(&pair);
    fail_over(&pair, Crash::Process, "one way");
    works_together(&pair);
    fail_over(&pair, Crash::Power, "the other way");
    // The other one follows, as OPERATIONS.md says: it stops, and the upgraded one serves.
    if pair.master() == Some(first) {
        fail_over(&pair, Crash::Process, "once more");
    }
    let last = first.other();
    let stopping = pair.node(last).handle();
    pair.block_on(async { stopping.shutdown().await });
    pair.run_until(MINUTE, |pair| pair.master() == Some(first)).unwrap();
    install(&pair, last, Versions::OURS.max);
    whole_under(&pair, first);
    // What both know now works.
    for new in [last, first] {
        let operator = pair.node(new).handle().operator();
        pair.block_on(async { operator.switch_roles().await }).unwrap();
        whole_under(&pair, new);
    }
}

#[test]
fn a_pair_of_the_last_version_is_upgraded_shadow_first_and_fails_over_in_both_directions_meanwhile() {
    drill(1, true, Side::B);
    drill(2, false, Side::B);
}

/// Nobody should, and it works: the nodes agree on what both speak.
#[test]
fn the_master_may_be_upgraded_first_too() {
    drill(3, true, Side::A);
    drill(4, false, Side::A);
}

#[test]
fn both_nodes_may_be_upgraded_at_once() {
    for (seed, witnessed) in [(5, true), (6, false)] {
        let pair = golden_pair(seed, witnessed);
        Side::BOTH.into_iter().for_each(|side| install(&pair, side, Versions::OURS.max));
        whole_under(&pair, Side::A);
        assert_eq!(entries(&pair, Side::B), left_behind());
        let operator = pair.node(Side::B).handle().operator();
        pair.block_on(async { operator.switch_roles().await }).unwrap();
        whole_under(&pair, Side::B);
        fail_over(&pair, Crash::Power, "new");
    }
}

/// The master does not come back in the middle of the upgrade.
#[test]
fn an_upgraded_shadow_takes_over_from_an_old_master_that_is_gone() {
    for (seed, witnessed) in [(7, true), (8, false)] {
        let pair = golden_pair(seed, witnessed);
        install(&pair, Side::A, LAST);
        install(&pair, Side::B, Versions::OURS.max);
        whole_under(&pair, Side::A);
        pair.node(Side::A).crash(Crash::Power);
        pair.run_until(MINUTE, |pair| pair.master() == Some(Side::B)).unwrap();
        assert_eq!(entries(&pair, Side::B), left_behind());
    }
}

fn tree(pair: &Pair, side: Side) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let sim = &pair.machine(side).disk.sim;
    let read = |path: &std::path::Path| crate::store::disk::read_file(sim, path, 1 << 30).unwrap().unwrap();
    sim.files().into_iter().map(|(path, _)| (path.clone(), read(&path))).collect()
}

/// A way back to a program that does not know the format: it is refused, and the directory is as it was. The newer program goes on.
#[test]
fn a_downgrade_is_refused_and_nothing_is_touched() {
    for how in [None, Some(Crash::Process), Some(Crash::Power)] {
        let pair = Pair::builder(10).options(options(Versions::OURS.max)).start().unwrap();
        pair.block_on(put(pair.node(Side::A).handle(), "key", "value"));
        pair.run_until(MINUTE, Pair::is_whole).unwrap();
        match how {
            Some(how) => pair.node(Side::B).crash(how),
            None => {
                let stopping = pair.node(Side::B).handle();
                pair.block_on(async { stopping.shutdown().await });
                pair.machine(Side::B).end();
            }
        }
        // As a program whose format of the pointer is newer leaves it.
        let sim = &pair.machine(Side::B).disk.sim;
        let file = sim.open("/node/current".as_ref(), false).unwrap();
        let mut pointer = vec![0; 20];
        file.read_at(0, &mut pointer).unwrap();
        let known = pointer.clone();
        pointer[4] += 1;
        let sum = crc32c::crc32c(&pointer[..16]).to_le_bytes();
        pointer[16..].copy_from_slice(&sum);
        file.write_at(0, &pointer).unwrap();
        let before = tree(&pair, Side::B);
        let refused = pair.node(Side::B).restart().unwrap_err();
        assert!(refused.to_string().contains("newer than"), "{refused}");
        let after = tree(&pair, Side::B);
        let changed: Vec<_> = after.iter().filter(|file| !before.contains(file)).map(|(path, _)| path).collect();
        assert!(before.len() == after.len() && changed.is_empty(), "{how:?}: {changed:?}");
        pair.block_on(put(pair.node(Side::A).handle(), "key", "meanwhile"));
        sim.open("/node/current".as_ref(), false).unwrap().write_at(0, &known).unwrap();
        pair.node(Side::B).restart().unwrap();
        whole_under(&pair, Side::A);
    }
}
