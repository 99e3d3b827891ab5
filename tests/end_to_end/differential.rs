//! Repairs of a copy that is out of the log's reach: only what differs is sent.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Pair, turn};

/// Options with which a takeover takes a second and a half, and the log holds five change sets.
const OPTIONS: &[&str] =
    &["--heartbeat", "300ms", "--takeover-delay", "1500ms", "--hold-down", "0s", "--log-changes", "5"];
/// Bytes of keys and values of the configuration, about.
const BYTES: u64 = 4_000_000;

fn is_synced(event: &Value) -> bool {
    event["event"] == "synced"
}

fn carried(pair: &Pair) -> u64 {
    pair.proxies.iter().map(|proxy| proxy.bytes_carried()).sum()
}

/// A pair with 20,000 entries, the second node stopped since (killed, it may not remember that its copy is complete), and of the entries 1,000 different by now: 900 changed, 50 gone, 50 new.
fn apart() -> Pair {
    let mut pair = Pair::enrolling_after(OPTIONS, &["load 20000 200 k/"], |_| {});
    let first = pair.nodes[1].wait("the first push", is_synced);
    // Of two connections one ends, perhaps when all of it has arrived.
    pair.nodes[1].check(first["how"] == "full" || first["how"] == "none", &format!("first contact: {first}"));
    pair.in_sync();
    pair.nodes[1].quit();
    pair.nodes[0].ok("load 900 200 k/");
    for at in 0..50 {
        pair.nodes[0].ok(&format!("delete k/{:06}", 10_000 + at));
    }
    pair.nodes[0].ok("load 50 200 new/");
    pair.nodes[0].skip_to_now();
    pair
}

/// The value of an entry, as text or in base 64; nothing where there is no such entry.
fn value(pair: &mut Pair, node: usize, key: &str) -> Option<String> {
    let reply = pair.nodes[node].ok(&format!("get {key}"));
    ["value", "value_base64"].iter().find_map(|name| reply[*name].as_str().map(str::to_owned))
}

/// Both nodes have the same, deletions included.
fn is_whole(pair: &mut Pair) {
    pair.in_sync();
    for (key, there) in [("k/000000", true), ("k/000899", true), ("k/010000", false), ("new/000049", true)] {
        let [master, shadow] = [0, 1].map(|node| value(pair, node, key));
        pair.nodes[1].check(master == shadow && shadow.is_some() == there, &format!("{key}: {master:?}, {shadow:?}"));
    }
}

#[test]
fn a_shadow_out_of_the_logs_reach_is_sent_what_differs() {
    let _turn = turn();
    let mut pair = apart();
    let before = carried(&pair);
    pair.start_again(1);
    for node in &mut pair.nodes {
        let synced = node.wait("the repair", is_synced);
        node.check(synced["how"] == "differential", &format!("what differs is enough: {synced}"));
        node.check(synced["entries"] == 950, &format!("950 entries are new or changed: {synced}"));
        let bytes = synced["bytes"].as_u64().unwrap();
        node.check(bytes < BYTES / 10 && bytes > 950 * 200, &format!("a tenth of {BYTES} is too much: {synced}"));
    }
    is_whole(&mut pair);
    let bytes = carried(&pair) - before;
    pair.nodes[0].check(bytes < BYTES / 8, &format!("{bytes} bytes were carried, of {BYTES}"));
    // An operator's resync is a full push all the same, whichever node he asks.
    for asked in [0, 1] {
        pair.nodes[1].skip_to_now();
        pair.nodes[asked].ok("resync");
        let synced = pair.nodes[1].wait("the full push", is_synced);
        let bytes = synced["bytes"].as_u64().unwrap();
        pair.nodes[1].check(synced["how"] == "full" && bytes > BYTES, &format!("all of it was asked for: {synced}"));
        is_whole(&mut pair);
    }
}

/// Either node is killed in the middle of it, and the link cut.
#[test]
fn what_differs_is_sent_again_after_a_kill() {
    let _turn = turn();
    let mut pair = apart();
    pair.proxies.iter().for_each(|proxy| proxy.slow(100_000));
    pair.start_again(1);
    for killed in [1, 0] {
        // The hello and what is compared take less, all that differs more.
        let enough = carried(&pair) + 130_000;
        while carried(&pair) < enough {
            pair.nodes[1].check(!pair.nodes[1].has_printed("\"differential\""), "it was over too soon");
            pair.proxies.iter().for_each(|proxy| _ = proxy.wait_for_bytes(1_000, Duration::from_millis(50)));
        }
        pair.restart(killed);
    }
    pair.proxies.iter().for_each(|proxy| proxy.slow(0));
    let synced = pair.nodes[1].wait("the repair", is_synced);
    pair.nodes[1].check(synced["how"] == "differential", &format!("what differs is enough: {synced}"));
    is_whole(&mut pair);
    assert_eq!(pair.nodes[0].ok("status")["role"], "master");
}
