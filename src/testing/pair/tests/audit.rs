//! The audit log of both nodes: who did what, and what a bad disk does to it.

use std::path::Path;

use serde_json::Value;

use super::*;
use crate::model::NodeId;
use crate::store::disk::read_file;

fn text(pair: &Pair, side: Side) -> String {
    let path = Path::new(crate::testing::machine::DIR).join("audit.log");
    let bytes = read_file(&pair.machine(side).disk.sim, &path, 1 << 24).unwrap();
    String::from_utf8(bytes.unwrap_or_default()).unwrap()
}

fn lines(pair: &Pair, side: Side) -> Vec<Value> {
    text(pair, side).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What was done and who did it, from this line on.
fn story(lines: &[Value]) -> Vec<(&str, &str)> {
    lines.iter().map(|line| (line["what"].as_str().unwrap(), line["who"].as_str().unwrap())).collect()
}

fn node(pair: &Pair, side: Side) -> NodeId {
    pair.node(side).status().unwrap().engine.node
}

fn whole(pair: &Pair) {
    pair.run_until(MINUTE, Pair::is_whole).unwrap();
    pair.run_for(Duration::from_secs(1));
}

#[test]
fn an_enrolment_is_in_the_log_of_both_nodes() {
    let pair = synchronous(61);
    whole(&pair);
    let [a, b] = Side::BOTH.map(|side| lines(&pair, side));
    assert_eq!(
        story(&a),
        [
            ("pair_made", "node"),
            ("started", "node"),
            ("became_master", "node"),
            ("enabled", "operator"),
            ("token_made", "operator"),
            ("enrolled", "enrolling")
        ]
    );
    assert_eq!(a[5]["node"], node(&pair, Side::B).to_string());
    assert!(a[5]["address"].is_string() && a[4]["expires"].is_string(), "{a:?}");
    assert_eq!(story(&b), [("enrolled", "peer"), ("started", "node")]);
    assert_eq!((&b[0]["node"], &b[1]["role"]), (&node(&pair, Side::A).to_string().into(), &"shadow".into()));
    for line in a.iter().chain(&b) {
        assert!(line["at"].as_str().unwrap().ends_with('Z') && line["epoch"].is_string(), "{line}");
    }
}

#[test]
fn what_operators_do_is_told_with_who_did_it_and_without_what_is_secret() {
    let pair = Pair::builder(62).witnessed(false).start().unwrap();
    whole(&pair);
    let [a, b] = Side::BOTH.map(|side| pair.node(side).handle());
    let begun = Side::BOTH.map(|side| lines(&pair, side).len());
    pair.block_on(put(a.clone(), "password", "hunter2"));
    pair.block_on(async { a.operator().pause().await }).unwrap();
    pair.run_until(MINUTE, |pair| pair.node(Side::B).status().unwrap().engine.modes.paused.on).unwrap();
    pair.block_on(async { b.operator().resume().await }).unwrap();
    pair.run_until(MINUTE, |pair| !pair.node(Side::A).status().unwrap().engine.modes.paused.on).unwrap();
    whole(&pair);
    pair.block_on(async { b.operator().switch_roles().await }).unwrap();
    whole(&pair);
    // Refused commands change nothing and are not told.
    pair.block_on(async { a.operator().reset().await }).unwrap_err();
    pair.block_on(async { b.operator().export("/backup").await }).unwrap();
    pair.block_on(async { b.operator().restore("/backup").await }).unwrap();
    whole(&pair);
    let [of_a, of_b] = Side::BOTH.map(|side| lines(&pair, side).split_off(begun[side.index()]));
    assert_eq!(
        story(&of_a),
        [("failover_paused", "operator"), ("failover_resumed", "peer"), ("became_shadow", "node")]
    );
    assert_eq!((&of_a[2]["reason"], &of_a[1]["node"]), (&"switched".into(), &node(&pair, Side::B).to_string().into()));
    assert_eq!(
        story(&of_b),
        [
            ("failover_paused", "peer"),
            ("failover_resumed", "operator"),
            ("roles_switched", "operator"),
            ("became_master", "node"),
            ("exported", "operator"),
            ("restored", "operator")
        ]
    );
    let epoch = pair.node(Side::B).status().unwrap().engine.epoch.to_string();
    assert_eq!((&of_b[3]["epoch"], &of_b[3]["reason"]), (&epoch.into(), &"switched".into()));
    for side in Side::BOTH {
        let text = text(&pair, side);
        assert!(!text.contains("hunter2") && !text.contains("sp1-"), "{text}");
    }
}

#[test]
fn a_takeover_an_accepted_loss_and_a_reset_are_told() {
    let options = Options { failover: crate::protocol::engine::Failover::Manual, ..Options::default() };
    let pair = Pair::builder(63).options(options).witnessed(false).start().unwrap();
    whole(&pair);
    let b = pair.node(Side::B).handle();
    let begun = lines(&pair, Side::B).len();
    pair.node(Side::A).disk().freeze();
    pair.node(Side::A).crash(Crash::Power);
    pair.run_until(MINUTE, |pair| pair.node(Side::B).status().unwrap().engine.link.state == LinkState::Lost).unwrap();
    pair.block_on(async { b.operator().take_over_accepting_loss().await }).unwrap();
    pair.block_on(async { b.operator().reset().await }).unwrap();
    pair.run_for(Duration::from_secs(1));
    let told = lines(&pair, Side::B).split_off(begun);
    let words = story(&told);
    let wanted = [("loss_accepted", "operator"), ("became_master", "operator"), ("reset", "operator")];
    let at = wanted.map(|line| words.iter().position(|word| *word == line).unwrap_or_else(|| panic!("{told:?}")));
    assert!(at.is_sorted(), "{told:?}");
    // It outlives a reset and a restart.
    pair.node(Side::B).crash(Crash::Power);
    pair.node(Side::B).restart().unwrap();
    pair.run_for(Duration::from_secs(5));
    let after = lines(&pair, Side::B);
    assert_eq!(after[begun..begun + told.len()], told);
    assert_eq!(after[begun + told.len()]["what"], "started");
}

/// A full disk holds up no one. The line waits, an alert says so, and both are over when there is room.
#[test]
fn a_line_that_cannot_be_written_waits_and_is_told_as_an_alert() {
    let pair = Pair::builder(64).witnessed(false).start().unwrap();
    whole(&pair);
    let a = pair.node(Side::A).handle();
    let told = |pair: &Pair| -> Vec<Severity> {
        let status = pair.node(Side::A).status().unwrap();
        let alerts = status.engine.alerts.iter().filter(|alert| alert.subject == "audit log");
        alerts.map(|alert| alert.severity).collect()
    };
    // The store gives room back now and then, and a line takes little.
    let mut given = 0;
    while told(&pair).is_empty() && given < 50 {
        pair.node(Side::A).disk().fill();
        pair.block_on(async { a.operator().disconnect().await }).unwrap();
        pair.run_for(Duration::from_secs(4));
        pair.block_on(async { a.operator().reconnect().await }).unwrap();
        given += 1;
    }
    let written = text(&pair, Side::A);
    assert_eq!(told(&pair), [Severity::Warning], "{given}: {written}");
    assert!(a.status().engine.serving, "it costs no mastership");
    assert!(written.matches("link_held").count() < given);
    pair.node(Side::A).disk().make_room();
    pair.run_until(MINUTE, |pair| told(pair).is_empty()).unwrap();
    whole(&pair);
    let words: Vec<_> = lines(&pair, Side::A).iter().map(|line| line["what"].clone()).collect();
    let links: Vec<_> = words.iter().filter(|word| word.as_str().unwrap().starts_with("link_")).collect();
    assert_eq!(links.len(), 2 * given, "none was lost, and none is there twice");
    assert!(links.chunks(2).all(|two| two == ["link_held", "link_released"]), "in order: {links:?}");
}

/// A clean stop waits until the last line is durable.
#[test]
fn a_clean_stop_is_the_last_line() {
    let pair = synchronous(65);
    whole(&pair);
    let b = pair.node(Side::B).handle();
    pair.block_on(async { b.shutdown().await });
    drop(b);
    pair.node(Side::B).crash(Crash::Power);
    assert_eq!(lines(&pair, Side::B).last().unwrap()["what"], "stopped");
}

#[test]
fn a_renewed_key_is_told_on_both_nodes() {
    let pair = synchronous(66);
    whole(&pair);
    let begun = Side::BOTH.map(|side| lines(&pair, side).len());
    let a = pair.node(Side::A).handle();
    pair.block_on(async { a.operator().rotate().await }).unwrap();
    whole(&pair);
    let [of_a, of_b] = Side::BOTH.map(|side| lines(&pair, side).split_off(begun[side.index()]));
    let mut words = story(&of_a);
    words.sort_unstable();
    assert_eq!(words, [("key_renewed", "node"), ("rotation_commanded", "operator")]);
    assert_eq!(story(&of_b), [("peer_key_permitted", "peer"), ("peer_key_renewed", "peer")]);
    let key = of_a.iter().find_map(|line| line["key"].as_str()).unwrap();
    assert!(of_b.iter().all(|line| line["key"] == key), "{of_b:?}");
}
