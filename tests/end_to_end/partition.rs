//! A partition without a witness.

use crate::harness::{FAST, Pair, turn};

/// Without a witness a partition makes two masters. Both nodes report beforehand that it can. On contact the lower (epoch, node)
/// yields; the changes that only it had are kept in quarantine and listed.
#[test]
fn after_a_partition_one_yields_and_its_changes_are_kept() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("put shared before");
    pair.in_sync();
    for node in &mut pair.nodes {
        assert_eq!(node.ok("status")["two_masters_possible"], true, "it is said beforehand");
    }
    pair.cut();
    pair.nodes[1].serving();
    let mut yielding = pair.nodes[0].ok("put shared by-the-first");
    for change in 0..49 {
        yielding = pair.nodes[0].ok(&format!("put first/{change} {change}"));
    }
    pair.nodes[0].ok("delete shared");
    for change in 0..50 {
        pair.nodes[1].ok(&format!("put second/{change} {change}"));
    }
    assert_eq!(pair.nodes[0].ok("status")["serving"], true, "both serve");
    assert!(yielding["revision"]["epoch"].as_str().unwrap().starts_with("1."));

    pair.heal();
    pair.nodes[0].wait("the lower epoch to yield", |event| event["event"] == "role" && event["role"] == "shadow");
    pair.in_sync();
    let [first, second] = &mut pair.nodes;
    assert_eq!(second.ok("status")["role"], "master");
    assert_eq!(first.ok("get shared")["value"], "before");
    assert_eq!(first.ok("get second/49")["value"], "49");
    assert!(first.ok("get first/7")["value"].is_null());

    let lost = first.ok("diverged");
    let lost = lost["diverged"].as_array().unwrap();
    assert_eq!(lost.len(), 1, "one per epoch lost: {lost:?}");
    let changes = lost[0]["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 50, "49 keys and one that was changed and deleted");
    let seven = changes.iter().find(|change| change["key"] == "first/7").unwrap();
    assert!(seven["old"].is_null() && seven["new"] == "7", "{seven}");
    let shared = changes.iter().find(|change| change["key"] == "shared").unwrap();
    assert!(shared["old"] == "before" && shared["new"].is_null(), "{shared}");
    assert_eq!(first.alerts("diverged").len(), 1);
    // An alert tells of the two masters after the partition.
    let told = first.alerts("two_masters").len() + second.alerts("two_masters").len();
    assert!(told >= 1, "somebody says that two masters met");

    first.kill();
    pair.start_again(0);
    let again = pair.nodes[0].ok("diverged");
    assert_eq!(again["diverged"][0]["changes"].as_array().map(Vec::len), Some(50), "it outlives a restart");
}
