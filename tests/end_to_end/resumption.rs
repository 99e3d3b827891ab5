//! Full pushes over links that break: what arrived is kept. And repairs of a copy that is out of the log's reach: only what differs is
//! sent.

use std::time::Duration;

use crate::harness::{Pair, turn};

/// Options with which a takeover takes a second and a half.
const CALM: &[&str] = &["--heartbeat", "300ms", "--takeover-delay", "1500ms", "--hold-down", "0s"];
/// Bytes of keys and values of the configuration, about.
const BYTES: u64 = 3_000_000;
/// Bytes per second of the link.
const RATE: u64 = 700_000;

fn carried(pair: &Pair) -> u64 {
    pair.proxies.iter().map(|proxy| proxy.bytes_carried()).sum()
}

/// Waits until so many bytes were carried since the beginning.
fn wait_for(pair: &mut Pair, bytes: u64) {
    for _ in 0..300 {
        if carried(pair) >= bytes {
            return;
        }
        // Either proxy may carry the link.
        pair.proxies.iter().for_each(|proxy| _ = proxy.wait_for_bytes(20_000, Duration::from_millis(100)));
    }
    pair.nodes[1].fail(&format!("{} bytes of {bytes} were carried", carried(pair)));
}

fn cut(pair: &Pair) {
    pair.cut();
    pair.heal();
}

/// The first full push over a slow link, cut four times: by the network, by a restart of the shadow, while the master changes what
/// was sent already, and by a restart of the master. It costs hardly more than one push.
#[test]
fn a_full_push_that_is_cut_goes_on_where_it_stopped() {
    let _turn = turn();
    let mut pair = Pair::enrolling_after(CALM, &["load 3000 1000"], |proxy| proxy.slow(RATE));
    let step = BYTES / 5;
    wait_for(&mut pair, step);
    cut(&pair);
    wait_for(&mut pair, 2 * step);
    pair.restart(1);
    wait_for(&mut pair, 3 * step);
    let first = pair.nodes[0].ok("list")["entries"][0]["key"].as_str().unwrap().to_owned();
    let second = pair.nodes[0].ok("list")["entries"][1]["key"].as_str().unwrap().to_owned();
    pair.nodes[0].ok(&format!("put {first} changed"));
    pair.nodes[0].ok(&format!("delete {second}"));
    pair.nodes[0].ok("put ! before all");
    pair.nodes[0].ok("put ~ behind all");
    cut(&pair);
    wait_for(&mut pair, 4 * step);
    pair.restart(0);
    pair.in_sync();
    let bytes = carried(&pair);
    pair.nodes[0].check(bytes < BYTES * 13 / 10, &format!("{bytes} bytes were carried for {BYTES}"));
    pair.nodes[0].check(bytes > BYTES * 9 / 10, &format!("only {bytes} bytes were carried for {BYTES}"));
    let status = pair.nodes[1].ok(&format!("get {first}"));
    assert_eq!(status["value"], "changed");
}

/// A full push that an operator asked for, of a shadow that has a complete copy: the same, and no takeover.
#[test]
fn a_resync_that_is_cut_goes_on_where_it_stopped() {
    let _turn = turn();
    let mut pair = Pair::enrolling_after(CALM, &["load 3000 1000"], |_| {});
    pair.in_sync();
    let before = carried(&pair);
    pair.proxies.iter().for_each(|proxy| proxy.slow(RATE));
    pair.nodes.iter_mut().for_each(|node| node.skip_to_now());
    pair.nodes[0].ok("resync");
    for part in 1..=3 {
        wait_for(&mut pair, before + part * BYTES / 4);
        cut(&pair);
    }
    pair.nodes[1].wait("the full push", |event| event["event"] == "synced" && event["how"] == "full");
    pair.in_sync();
    let bytes = carried(&pair) - before;
    pair.nodes[0].check(bytes < BYTES * 13 / 10, &format!("{bytes} bytes were carried for {BYTES}"));
    assert_eq!(pair.nodes[0].ok("status")["role"], "master");
}

/// The log of the master does not reach back to its shadow any more: what differs is sent, and no more.
#[test]
fn a_shadow_out_of_the_logs_reach_is_sent_what_differs() {
    let _turn = turn();
    let options = [CALM, &["--log-changes", "5"]].concat();
    let mut pair = Pair::enrolling_after(&options, &["load 3000 1000"], |_| {});
    pair.in_sync();
    pair.nodes[1].kill();
    let entries = pair.nodes[0].ok("list");
    let key = |at: usize| entries["entries"][at]["key"].as_str().unwrap().to_owned();
    for at in 0..10 {
        pair.nodes[0].ok(&format!("put {} changed", key(at * 200)));
        pair.nodes[0].ok(&format!("delete {}", key(at * 200 + 1)));
    }
    pair.nodes[0].ok("put ~new behind all");
    let before = carried(&pair);
    pair.nodes[0].skip_to_now();
    pair.start_again(1);
    for node in &mut pair.nodes {
        let synced = node.wait("the repair", |event| event["event"] == "synced");
        node.check(synced["how"] == "differential", &format!("what differs is enough: {synced}"));
        node.check(synced["entries"] == 11, &format!("eleven entries differ: {synced}"));
    }
    pair.in_sync();
    let bytes = carried(&pair) - before;
    pair.nodes[0].check(bytes < BYTES / 20, &format!("{bytes} bytes were carried, of {BYTES}"));
    assert_eq!(pair.nodes[1].ok("get ~new")["value"], "behind all");
    // An operator's resync is a full push all the same.
    pair.nodes[1].skip_to_now();
    pair.nodes[0].ok("resync");
    pair.nodes[1].wait("the full push", |event| event["event"] == "synced" && event["how"] == "full");
    pair.in_sync();
}
