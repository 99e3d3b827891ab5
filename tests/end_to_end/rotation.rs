//! Renewal of keys with the real programs.

use crate::harness::{FAST, Pair, turn};

/// Each node gets a new key under the eyes of the other one, keeps its id, and the pair fails over afterwards as before.
#[test]
fn a_rotated_key_is_used_from_then_on_and_after_restarts() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("put k v");
    pair.in_sync();
    for node in [0, 1] {
        let before = pair.nodes[node].ok("status");
        assert_eq!(before["fingerprint"], before["node"], "it is named after its first key");
        let reply = pair.nodes[node].ok("rotate");
        assert_ne!(reply["fingerprint"], before["fingerprint"], "{reply}");
        assert!(reply["next_fingerprint"].is_null(), "{reply}");
        pair.in_sync();
        let after = pair.nodes[node].ok("status");
        assert_eq!((&after["fingerprint"], &after["node"]), (&reply["fingerprint"], &before["node"]));
        assert!(!pair.dir().join(["first", "second"][node]).join("identity.next.pem").exists());
    }
    pair.restart(0);
    pair.restart(1);
    pair.in_sync();
    pair.nodes[0].kill();
    pair.nodes[1].serving();
    assert_eq!(pair.nodes[1].ok("get k")["value"], "v");
    pair.start_again(0);
    pair.in_sync();
}

/// While the peer is away the next key waits; another renewal is refused.
#[test]
fn a_key_is_renewed_when_the_peer_is_back() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[1].kill();
    pair.nodes[0].status("the link to be down", |status| status["link"]["state"] == "lost");
    let before = pair.nodes[0].ok("status")["fingerprint"].clone();
    let waiting = pair.nodes[0].ok("rotate");
    assert_eq!(waiting["fingerprint"], before);
    assert!(waiting["next_fingerprint"].is_string(), "{waiting}");
    pair.nodes[0].refused("rotate", "rotation_under_way");
    pair.start_again(1);
    pair.in_sync();
    let done = |status: &serde_json::Value| status["fingerprint"] == waiting["next_fingerprint"];
    pair.nodes[0].status("the next key to be in use", done);
    pair.in_sync();
}
