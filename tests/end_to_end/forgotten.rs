//! States that only a person ends, and that somebody forgot.

use serde_json::{Value, json};

use crate::harness::{FAST, Pair, Program, turn};

/// The error that says that a person is needed for this state, if it stands.
fn needed<'a>(alerts: &'a [Value], state: &str) -> Option<&'a Value> {
    let fits = |alert: &&Value| alert["kind"] == "needs_operator" && alert["subject"] == state;
    alerts.iter().find(fits).filter(|alert| alert["severity"] == "error")
}

fn wait_for(node: &mut Program, state: &str) -> Value {
    let alerts = node.alerts_until(state, |alerts| needed(alerts, state).is_some());
    needed(&alerts, state).cloned().unwrap()
}

fn wait_for_end(node: &mut Program) {
    let none = |alerts: &[Value]| alerts.iter().all(|alert| alert["kind"] != "needs_operator");
    node.alerts_until("it to be over", none);
}

/// A hold on the shadow is an error on both nodes before it hurts, and says how long it has lasted. It hurts when the master
/// restarts: nobody serves, and the master says so too. `reconnect` ends all of it.
#[test]
fn a_hold_that_was_forgotten_is_an_error_on_both_nodes() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("put k v");
    let before = pair.in_sync();
    pair.nodes[1].ok("disconnect");
    let held = wait_for(&mut pair.nodes[1], "held");
    pair.nodes[1].check(held["message"].as_str().unwrap().contains("reconnect"), &format!("{held}"));
    wait_for(&mut pair.nodes[0], "held_by_peer");
    let old = |alerts: &[Value]| needed(alerts, "held").is_some_and(|held| held["age_ms"].as_u64() > Some(1_000));
    let aged = pair.nodes[1].alerts_until("it to grow old", old);
    assert_eq!(needed(&aged, "held").unwrap()["first"], held["first"]);

    pair.restart(0);
    wait_for(&mut pair.nodes[0], "held_by_peer");
    wait_for(&mut pair.nodes[0], "not_serving");
    let status = pair.nodes[0].ok("status");
    assert_eq!((&status["serving"], &status["takeover"]["why_not"]), (&false.into(), &json!(["master", "held"])));
    assert!(status["alerts"]["error"].as_u64() >= Some(2), "{status}");

    pair.nodes[1].ok("reconnect");
    pair.nodes[0].serving();
    assert_eq!(pair.in_sync(), before);
    pair.nodes.iter_mut().for_each(wait_for_end);
}

/// With manual failover a shadow whose master is gone calls its operator, and so does a master that restarts alone.
#[test]
fn manual_failover_without_a_master_calls_an_operator() {
    let _turn = turn();
    let mut pair = Pair::enrol(&[FAST, &["--failover", "manual"]].concat());
    pair.nodes[0].ok("put k v");
    pair.in_sync();
    pair.nodes[0].kill();
    wait_for(&mut pair.nodes[1], "no_takeover");
    pair.nodes[1].kill();
    pair.start_again(0);
    wait_for(&mut pair.nodes[0], "not_serving");
    let status = pair.nodes[0].ok("status");
    assert_eq!(status["takeover"]["why_not"], json!(["master", "manual"]), "{status}");
    pair.nodes[0].ok("take-over");
    pair.nodes[0].serving();
    wait_for_end(&mut pair.nodes[0]);
    pair.start_again(1);
    pair.in_sync();
    pair.nodes.iter_mut().for_each(wait_for_end);
}
