//! Replication of content: deletions, large values, many entries, binary values.

use crate::harness::{FAST, Pair, turn};

/// A key deleted on the master is deleted on the shadow, by the log and by a full push.
#[test]
fn deletions_arrive_by_increment_and_by_full_push() {
    let _turn = turn();
    let mut pair = Pair::enrol(&[FAST, &["--failover", "manual", "--log-changes", "2"]].concat());
    pair.nodes[0].ok("load 3000 50 k/");
    pair.in_sync();
    pair.nodes[0].ok("delete k/000001");
    pair.nodes[0].ok("begin");
    assert_eq!(pair.nodes[0].ok("delete k/000002")["staged"], 1);
    assert_eq!(pair.nodes[0].ok("put new value with spaces")["staged"], 2);
    pair.nodes[0].ok("commit");
    pair.in_sync();
    assert!(pair.nodes[1].ok("get k/000001")["value"].is_null());
    assert!(pair.nodes[1].ok("get k/000002")["value"].is_null());
    assert_eq!(pair.nodes[1].ok("get new")["value"], "value with spaces");

    pair.cut();
    pair.nodes[1].status("the cut to show", |status| status["link"]["state"] == "lost");
    pair.nodes[0].ok("delete k/000003");
    for change in 0..8 {
        pair.nodes[0].ok(&format!("put beyond {change}"));
    }
    pair.nodes[1].skip_to_now();
    pair.heal();
    let synced = pair.nodes[1].wait("the repair", |event| event["event"] == "synced");
    assert!(synced["how"] == "full" || synced["how"] == "differential", "{synced}");
    pair.in_sync();
    assert!(pair.nodes[1].ok("get k/000003")["value"].is_null());
    let keys = pair.nodes[1].ok("list k/");
    assert_eq!(keys["entries"].as_array().unwrap().len(), 2997);
}

/// The largest value arrives, by the log and by a full push. Memory grows by one such value at most.
#[test]
fn the_largest_value_arrives() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let file = pair.dir().join("value");
    let value: Vec<u8> = (0..64 * 1024 * 1024u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&file, &value).unwrap();
    let put = format!("put-file large {}", file.display());
    pair.nodes[0].ok(&put);
    let before = pair.in_sync();
    pair.nodes[1].ok("resync");
    pair.nodes[1].wait("the full push", |event| event["event"] == "synced" && event["how"] == "full");
    assert_eq!(pair.in_sync(), before);
    // The master has read the whole file, which is one value. Neither node holds a second one, and the shadow never a whole one.
    bounded(&pair, [64 + 48, 48]);
    let entries = pair.nodes[1].ok("list");
    assert_eq!(entries["entries"][0]["bytes"], 64 * 1024 * 1024);
    std::fs::write(&file, [value.as_slice(), &[0]].concat()).unwrap();
    pair.nodes[0].refused(&put, "too_large");
    pair.nodes[0].refused("put-file large /nowhere/at/all", "bad_argument");
    assert_eq!(pair.in_sync(), before);
}

/// A million small entries arrive by a full push. The memory of the nodes does not grow with their size.
#[test]
fn a_million_small_entries_arrive_in_bounded_memory() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("load 1000000 100");
    pair.in_sync();
    pair.nodes[1].skip_to_now();
    pair.nodes[1].ok("resync");
    let synced = pair.nodes[1].wait("the full push", |event| event["event"] == "synced" && event["how"] == "full");
    assert_eq!(synced["entries"], 1_000_000);
    pair.in_sync();
    // A hundred MiB of configuration.
    bounded(&pair, [100, 100]);
}

/// Neither node ever used more than so many MiB of memory.
fn bounded(pair: &Pair, most: [u64; 2]) {
    for (node, most) in pair.nodes.iter().zip(most) {
        let peak = node.resident_peak() / (1024 * 1024);
        println!("{}: {peak} MiB at the most", node.launch().program);
        node.check(peak < most, &format!("{peak} MiB in memory: it follows the size of the content"));
    }
}

/// A value that is not UTF-8 is printed as base64.
#[test]
fn a_value_that_is_not_text_is_told_as_base64() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let file = pair.dir().join("value");
    std::fs::write(&file, [0xff, 0x00, 0x10, 0x80]).unwrap();
    pair.nodes[0].ok(&format!("put-file raw {}", file.display()));
    pair.in_sync();
    let got = pair.nodes[1].ok("get raw");
    assert_eq!(got["value_base64"], "/wAQgA==");
    assert!(got.get("value").is_none(), "{got}");
}
