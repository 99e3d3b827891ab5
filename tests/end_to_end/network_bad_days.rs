//! Networks that other people really have: slow, without names, and with boxes in the middle.

use std::time::Duration;

use crate::harness::{Pair, exclusive};

/// Options with which a takeover takes a second and a half.
const CALM: &[&str] = &["--heartbeat", "300ms", "--takeover-delay", "1500ms", "--hold-down", "0s"];

/// One change set that takes a slow link several takeover delays. The link stays, nobody takes over, and it arrives.
#[test]
fn a_slow_link_carries_a_large_change_set_and_is_not_lost() {
    let _exclusive = exclusive();
    let mut pair = Pair::enrol(CALM);
    pair.proxies.iter().for_each(|proxy| proxy.slow(40_000));
    pair.nodes.iter_mut().for_each(|node| node.skip_to_now());
    pair.nodes[0].ok("load 1 250000");
    pair.nodes[1].status("the change set to be under way", |status| status["in_sync"] == false);
    pair.in_sync();
    for node in &mut pair.nodes {
        while let Some(event) = node.next_event(Duration::ZERO) {
            let lost = event["event"] == "link" && event["state"] == "lost";
            node.check(!lost && event["event"] != "role", "the link is slow, and not lost");
        }
    }
    assert_eq!(pair.nodes[0].ok("status")["serving"], true);
}
