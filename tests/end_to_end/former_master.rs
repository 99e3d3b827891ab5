//! What a former master alone had written: listed, exported, applied again, discarded.

use crate::harness::{FAST, Pair, turn};

/// Fifty changes on each side of a partition, of which five touch the same entries.
#[test]
fn what_the_former_master_wrote_is_applied_again_and_conflicts_are_shown() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.in_sync();
    pair.cut();
    pair.nodes[1].serving();
    for change in 0..50 {
        pair.nodes[0].ok(&format!("put entry/{change:02} first"));
        pair.nodes[1].ok(&format!("put entry/{:02} second", change + 45));
    }
    pair.heal();
    pair.nodes[0].wait("the lower epoch to yield", |event| event["event"] == "role" && event["role"] == "shadow");
    pair.in_sync();

    let lost = pair.nodes[0].ok("diverged")["diverged"].as_array().unwrap().clone();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!(lost[0]["changes"].as_array().unwrap().len(), 50);
    let (id, path) = (lost[0]["id"].clone(), pair.dir().join("lost.jsonl"));
    pair.nodes[0].ok(&format!("export-diverged {id} {}", path.display()));
    let exported = std::fs::read_to_string(&path).unwrap();
    assert_eq!(exported.lines().count(), 51, "a line for the range, and one for each change");
    assert!(exported.lines().nth(1).unwrap().contains(r#""key":"entry/00","old":null,"new":"first""#), "{exported}");

    // One command on the node that wrote them, which is the shadow now.
    let done = pair.nodes[0].ok(&format!("reapply {id}"));
    assert_eq!((&done["applied"], &done["unchanged"]), (&45.into(), &0.into()), "{done}");
    let conflicts = done["conflicts"].as_array().unwrap();
    assert_eq!(conflicts.len(), 5, "{done}");
    let shown = &conflicts[0];
    assert!(shown["key"] == "entry/45" && shown["old"].is_null(), "{shown}");
    assert!(shown["new"] == "first" && shown["now"] == "second", "{shown}");
    pair.in_sync();
    for node in &mut pair.nodes {
        assert_eq!(node.ok("get entry/44")["value"], "first");
        assert_eq!(node.ok("get entry/45")["value"], "second", "nothing newer is overwritten");
    }
    let again = pair.nodes[0].ok(&format!("reapply {id}"));
    assert_eq!((&again["applied"], &again["unchanged"]), (&0.into(), &45.into()), "it may be repeated: {again}");

    pair.nodes[0].ok(&format!("discard {id}"));
    pair.restart(0);
    assert_eq!(pair.nodes[0].ok("diverged")["diverged"].as_array().map(Vec::len), Some(0), "discarded for good");
    pair.nodes[0].refused(&format!("reapply {id}"), "unknown_diverged");
}
