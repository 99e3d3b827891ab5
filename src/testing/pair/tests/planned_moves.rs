//! What an operator relies on: switches under load and under kills at every step, and exports under load.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::*;
use crate::node::{Exported, OperatorError, Pending};
use crate::store::disk::{Disk, read_file};

const MILLISECOND: Duration = Duration::from_millis(1);

fn numbered(number: u64) -> ChangeSet {
    ChangeSet::new().put(format!("change/{number:06}"), number.to_string()).put("last", number.to_string())
}

fn number_of_changes(pair: &Pair, side: Side) -> u64 {
    let snapshot = pair.node(side).handle().config().snapshot();
    snapshot.scan("change/").map(Result::unwrap).count() as u64
}

/// A caller gives a change to the master every millisecond and waits for no answer before the next one.
async fn thousand_a_second(pair: &Pair, over: &AtomicBool) -> u64 {
    let nodes = Side::BOTH.map(|side| pair.node(side).handle());
    let timer = pair.node(Side::A).timer();
    let waiting: Mutex<VecDeque<(u64, Side, Pending)>> = Mutex::default();
    let handed_over = AtomicBool::new(false);
    let give = |number: u64, side: Side| {
        let pending = nodes[side.index()].config().try_commit(numbered(number));
        pending.map(|pending| waiting.lock().unwrap().push_back((number, side, pending)))
    };
    // What waits when the roles have moved is refused with the address of the new master, and given to that one.
    let to_master = async |number: u64, first: Side| {
        let mut side = first;
        loop {
            match give(number, side) {
                Ok(()) => return,
                Err(CommitError::NotMaster { .. }) => side = side.other(),
                Err(error) => panic!("change {number} is refused, and could wait: {error}"),
            }
            timer.sleep(MILLISECOND).await;
        }
    };
    let handing = async {
        let mut number = 0;
        while !over.load(Ordering::SeqCst) {
            let side = pair.master().unwrap_or(Side::A);
            to_master(number, side).await;
            number += 1;
            timer.sleep(MILLISECOND).await;
        }
        handed_over.store(true, Ordering::SeqCst);
        number
    };
    let hearing = async {
        loop {
            let next = waiting.lock().unwrap().pop_front();
            match next {
                None if handed_over.load(Ordering::SeqCst) => return,
                None => timer.sleep(MILLISECOND).await,
                Some((number, side, pending)) => match pending.committed().await {
                    Ok(_) => {}
                    Err(CommitError::NotMaster { .. }) => {
                        timer.sleep(MILLISECOND).await;
                        to_master(number, side.other()).await;
                    }
                    Err(error) => panic!("change {number} is refused, and could wait: {error}"),
                },
            }
        }
    };
    tokio::join!(handing, hearing).0
}

/// Switches roles so many times, with a pause in between.
async fn switches(pair: &Pair, times: u64, over: &AtomicBool) -> Vec<Duration> {
    let timer = pair.node(Side::B).timer();
    let mut took = Vec::new();
    while (took.len() as u64) < times {
        timer.sleep(Duration::from_millis(20)).await;
        let Some(master) = pair.master() else { continue };
        // Either node may be told.
        let told = if took.len().is_multiple_of(2) { master } else { master.other() };
        let begun = pair.elapsed();
        match pair.node(told).handle().operator().switch_roles().await {
            Ok(()) => took.push(pair.elapsed() - begun),
            // The new shadow has not said yet that it holds all.
            Err(OperatorError::NotInSync) => {}
            Err(error) => panic!("switch {}: {error}", took.len()),
        }
    }
    over.store(true, Ordering::SeqCst);
    took
}

fn switched_under_load(seed: u64, witnessed: bool, replication: Replication) {
    let pair = Pair::builder(seed).options(fast(replication)).witnessed(witnessed).traced(false).start().unwrap();
    let over = AtomicBool::new(false);
    let load = thousand_a_second(&pair, &over);
    let (given, mut took) = pair.block_on(async { tokio::join!(load, switches(&pair, 100, &over)) });
    pair.run_until(MINUTE, Pair::is_whole).unwrap();
    for side in Side::BOTH {
        assert_eq!(number_of_changes(&pair, side), given, "every change was acknowledged, and {side:?} holds it");
        let node = pair.node(side).handle();
        assert_eq!(pair.block_on(async { node.operator().diverged().await }).unwrap(), []);
        assert!(!has_alert(&pair, side, AlertKind::Takeover));
    }
    took.sort();
    println!("{given} changes; a switch took {:?}, at most {:?}", took[50], took[99]);
    assert!(given > 2_000, "{given}");
    assert!(took[50] < Duration::from_millis(50), "{took:?}");
}

#[test]
fn a_hundred_switches_under_a_thousand_changes_a_second_lose_and_refuse_nothing() {
    switched_under_load(31, true, Replication::Synchronous);
    switched_under_load(32, false, Replication::Asynchronous);
}

/// A node dies after every event of a switch in turn. One master, whole again, nothing lost, whatever became of the switch.
fn killed_at_every_step(seed: u64, witnessed: bool) {
    let options = fast(Replication::Synchronous);
    let pair = Pair::builder(seed).options(options).witnessed(witnessed).start().unwrap();
    let (mut changes, mut over) = (0, [0; 2]);
    for events in 0..400 {
        for kills_master in [true, false] {
            let before = pair.master().unwrap();
            let node = pair.node(before).handle();
            pair.block_on(async { node.config().commit(numbered(changes)).await }).unwrap();
            changes += 1;
            pair.run_until(MINUTE, Pair::is_whole).unwrap();
            let operator = node.operator();
            drop(node);
            pair.node(before).spawn(async move { drop(operator.switch_roles().await) });
            let until_us = pair.scheduler().now_us() + 1_000_000;
            for _ in 0..events {
                pair.scheduler().step(until_us);
            }
            let done = pair.is_whole() && pair.master() == Some(before.other());
            over[usize::from(kills_master)] += u32::from(done);
            let victim = if kills_master { before } else { before.other() };
            pair.node(victim).crash(if events % 2 == 0 { Crash::Process } else { Crash::Power });
            pair.run_for(Duration::from_millis(200));
            pair.node(victim).restart().unwrap();
            let whole = |pair: &Pair| {
                assert!(!witnessed || pair.masters().len() < 2, "two masters");
                pair.is_whole()
            };
            let what = format!("after {events} events of a switch, the master killed: {kills_master}");
            pair.run_until(MINUTE, whole).unwrap_or_else(|error| panic!("{what}: {error}\n{}", pair.last_lines()));
            for side in Side::BOTH {
                assert_eq!(number_of_changes(&pair, side), changes, "{what}: {side:?}");
            }
        }
        // The switch was over before the kill, on either side, and some more for luck.
        if over.iter().all(|over| *over > 3) {
            println!("{events} events");
            return;
        }
    }
    panic!("the switch never came to its end");
}

#[test]
fn a_node_killed_after_any_event_of_a_switch_costs_nothing() {
    killed_at_every_step(33, true);
    killed_at_every_step(34, false);
}

const EXPORTS: u64 = 20;

fn file(number: u64) -> String {
    format!("/backup/{number}")
}

/// Twenty exports, on either node in turn, while a change comes every millisecond.
fn exported_under_load(pair: &Pair) -> Vec<(Side, Exported)> {
    let (over, given) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (node, timer) = (pair.node(Side::A).handle(), pair.node(Side::A).timer());
    let load = {
        let (over, given) = (Arc::clone(&over), Arc::clone(&given));
        async move {
            while !over.load(Ordering::SeqCst) {
                let number = given.fetch_add(1, Ordering::SeqCst);
                drop(node.config().try_commit(numbered(number)).unwrap());
                timer.sleep(MILLISECOND).await;
            }
        }
    };
    pair.node(Side::A).spawn(load);
    let mut done = Vec::new();
    for number in 0..EXPORTS {
        pair.run_for(Duration::from_millis(15));
        let side = if number % 2 == 0 { Side::A } else { Side::B };
        let node = pair.node(side).handle();
        let exported = pair.block_on(async { node.operator().export(file(number)).await }).unwrap();
        done.push((side, exported));
    }
    over.store(true, Ordering::SeqCst);
    let mut revisions: Vec<_> = done.iter().map(|(_, exported)| exported.position.revision).collect();
    revisions.sort();
    revisions.dedup();
    assert!(revisions.len() as u64 == EXPORTS && given.load(Ordering::SeqCst) > 10 * EXPORTS, "there was no load");
    done
}

#[test]
fn twenty_exports_under_load_are_each_one_revision_and_each_imports_into_a_fresh_pair() {
    let pair = Pair::builder(35).start().unwrap();
    pair.block_on(put(pair.node(Side::A).handle(), "base", "here"));
    pair.run_until(MINUTE, Pair::is_whole).unwrap();
    let base = pair.node(Side::A).status().unwrap().engine.position.revision.seq;
    let exported = exported_under_load(&pair);
    pair.run_until(MINUTE, Pair::is_whole).unwrap();
    let fresh = Pair::builder(36).start().unwrap();
    fresh.block_on(put(fresh.node(Side::A).handle(), "old", "content"));
    let master = fresh.node(Side::A).handle();
    for (number, (side, exported)) in (0..).zip(exported) {
        let path = file(number);
        let bytes = read_file(&pair.machine(side).disk.sim, Path::new(&path), 1 << 24).unwrap().unwrap();
        for to in [&fresh.machine(Side::A).disk.sim, &pair.machine(Side::A).disk.sim] {
            to.open(Path::new(&path), true).unwrap().write_at(0, &bytes).unwrap();
        }
        let imported = fresh.block_on(async { master.operator().import(&path).await }).unwrap();
        assert_eq!(imported.exported, exported);
        fresh.run_until(MINUTE, Pair::is_whole).unwrap();
        for side in Side::BOTH {
            let node = fresh.node(side).handle();
            let content = fresh.block_on(async { node.operator().content().await }).unwrap();
            assert_eq!((content.content, content.entries), (exported.content, exported.entries), "{side:?}");
            assert_eq!(content.position.digest, imported.digest, "the digest of this pair");
            // One whole revision: the changes up to it, all of them, and the last one in both of its entries.
            let changes = exported.position.revision.seq - base;
            assert_eq!(number_of_changes(&fresh, side), changes);
            let last = node.config().snapshot().get("last").unwrap();
            assert_eq!(last, changes.checked_sub(1).map(|last| Bytes::from(last.to_string())));
            assert_eq!(node.config().snapshot().get("old").unwrap(), None);
        }
        // In the pair that wrote it, the digest is the one that the revision had.
        let own = pair.node(Side::A).handle();
        let restored = pair.block_on(async { own.operator().restore(&path).await }).unwrap();
        assert_eq!(restored.digest, exported.position.digest);
    }
}
