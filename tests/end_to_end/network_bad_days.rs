//! Networks that other people really have: slow, without names, and with boxes in the middle.

use std::time::Duration;

use crate::harness::{FAST, Launch, Pair, token, turn};

/// Options with which a takeover takes a second and a half.
const CALM: &[&str] = &["--heartbeat", "300ms", "--takeover-delay", "1500ms", "--hold-down", "0s"];

/// One change set that takes a slow link several takeover delays. The link stays, nobody takes over, and it arrives.
#[test]
fn a_slow_link_carries_a_large_change_set_and_is_not_lost() {
    let _turn = turn();
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

/// An address that nobody can dial is refused with a sentence, and nothing is made.
#[test]
fn an_address_that_nobody_can_dial_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0:7443", "[::]:7443", "127.0.0.1:0", "node.example:0"] {
        let data = dir.path().join("data");
        let (status, _, errors) = Launch::new("master", &data).with(["--advertise", address]).run();
        assert_eq!(status.code(), Some(2), "{errors}");
        assert!(errors.contains("nobody can dial") && errors.contains(address), "{errors}");
        assert!(!data.exists(), "nothing is left");
    }
}

/// Both listen on all addresses and advertise nothing. Each dials the other where it was met, so either may lose the link; and both say
/// that nobody can dial what is advertised.
#[test]
fn nodes_that_listen_on_all_addresses_find_each_other_again() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let launch = |program, name: &str| {
        Launch::new(program, &dir.path().join(name)).with(["--listen", "0.0.0.0:0"]).with(FAST.iter().copied())
    };
    let mut master = launch("master", "a").start();
    master.serving();
    let token = token(&mut master);
    let port = master.listen().rsplit_once(':').unwrap().1.to_owned();
    let to = format!("127.0.0.1:{port}");
    let mut shadow = launch("shadow", "b").with(["--master", &to, "--token", &token]).start();
    shadow.status("the pair to be in sync", |status| status["in_sync"] == true);
    for node in [&mut master, &mut shadow] {
        let status = node.ok("status");
        let peer = status["link"]["peer"].as_str().unwrap_or_default().to_owned();
        node.check(peer.starts_with("127.0.0.1:"), "the peer is known by an address that can be dialled");
        for word in ["undialable", "peer_undialable"] {
            let warns = |alert: &serde_json::Value| alert["subject"] == word && alert["severity"] == "warning";
            node.alerts_until(word, |alerts| alerts.iter().any(warns));
        }
    }
    // The shadow is away for a moment and the master dials it, or the other way round.
    shadow.kill();
    master.status("the shadow to be missed", |status| status["link"]["state"] == "lost");
    shadow.start_again();
    master.status("the pair to be in sync again", |status| status["in_sync"] == true);
}

fn key_exchange(pair: &mut Pair, node: usize) -> String {
    let status = pair.nodes[node].status("the link", |status| status["link"]["state"] == "connected");
    status["link"]["key_exchange"].as_str().unwrap_or_default().to_owned()
}

/// A router drops the large hello: the pair enrols and links with the classical key exchange, and says so.
#[test]
fn a_router_that_drops_large_hellos_costs_the_post_quantum_key_exchange_only() {
    let _turn = turn();
    let mut pair = Pair::enrolling_through(FAST, |proxy| proxy.drop_large_hellos(1_200));
    pair.in_sync();
    for node in 0..2 {
        assert_eq!(key_exchange(&mut pair, node), "x25519");
    }
}

/// Where only the post-quantum one is allowed there is no link, and the reason says why.
#[test]
fn a_pair_that_insists_on_the_large_hello_says_why_it_has_no_link() {
    let _turn = turn();
    let mut pair = Pair::enrol(&[FAST, &["--key-exchange", "only"]].concat());
    assert_eq!(key_exchange(&mut pair, 0), "x25519mlkem768");
    pair.proxies.iter().for_each(|proxy| proxy.drop_large_hellos(1_200));
    pair.cut();
    pair.heal();
    let reason = pair.nodes[0].status("the reason", |status| {
        status["link"]["reason"].as_str().is_some_and(|reason| reason.contains("post-quantum"))
    });
    assert!(reason["link"]["reason"].as_str().unwrap().contains("forbid the classical"), "{reason}");
    pair.proxies.iter().for_each(|proxy| proxy.drop_large_hellos(0));
    pair.in_sync();
}
