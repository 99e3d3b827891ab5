//! Pairs with a witness, and changes that wait for both disks.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Absence, FAST, Pair, Program, Witness, turn};

const PROGRAMS: [&str; 2] = ["master", "shadow"];

/// Commits a change that must be on both disks when it is acknowledged.
fn put_on_both(node: &mut Program, key: &str) {
    let reply = node.ok(&format!("put {key} x"));
    node.check(reply["replicated"] == true, &format!("it is not on both disks: {reply}"));
}

/// Commits a change that one node acknowledges without the other.
fn put_alone(node: &mut Program, key: &str) {
    let reply = node.ok(&format!("put {key} x"));
    node.check(reply["replicated"] == false, &format!("the other is away: {reply}"));
}

fn is_role(serving: bool) -> impl Fn(&Value) -> bool {
    move |event| event["event"] == "role" && event["role"] == "master" && event["serving"] == serving
}

/// Waits until acknowledged changes are on both disks again.
fn in_step_again(node: &mut Program) {
    node.until("put step x", "changes to wait for both disks again", |reply| {
        reply["ok"] == true && reply["replicated"] == true
    });
}

/// Nodes that are connected need no witness.
#[test]
fn the_witness_is_away_while_the_pair_is_connected_and_nothing_stops() {
    let _turn = turn();
    for absence in [Absence::Missing, Absence::Failing] {
        let witness = Witness::new();
        let mut pair = Pair::witnessed(&witness, PROGRAMS);
        let epoch = pair.nodes[0].ok("status")["epoch"].clone();
        witness.take_away(absence);
        pair.nodes.iter_mut().for_each(Program::skip_to_now);
        // Many leases long.
        let end = Instant::now() + Duration::from_secs(2);
        let mut change = 0;
        while Instant::now() < end {
            put_on_both(&mut pair.nodes[0], &format!("during/{change}"));
            change += 1;
        }
        pair.nodes[0].alerts_until("an alert about it", |alerts| {
            alerts.iter().any(|alert| alert["kind"] == "witness_unreachable")
        });
        let status = pair.nodes[0].ok("status");
        assert_eq!((&status["serving"], &status["epoch"]), (&true.into(), &epoch));
        // Without a directory a read is answered (there is no record) and a swap fails: the last one decides. Else nothing is
        // answered.
        assert!(absence == Absence::Missing || status["witness"]["reachable"] == false, "{status}");
        for node in &mut pair.nodes {
            while let Some(event) = node.next_event(Duration::ZERO) {
                node.check(event["event"] != "role", &format!("nothing turns: {event}"));
            }
        }
        witness.bring_back();
        for node in &mut pair.nodes {
            node.alerts_until("the alert to go", |alerts| {
                alerts.iter().all(|alert| alert["kind"] != "witness_unreachable")
            });
            node.status("the witness", |status| status["witness"]["reachable"] == true);
        }
        put_on_both(&mut pair.nodes[0], "after");
        pair.in_sync();
    }
}

/// The master records that it continues alone, and does. The shadow that is behind does not take over, even when it is the only
/// node left; `take-over` tells the operator what would be lost.
#[test]
fn the_shadow_is_away_and_the_master_serves_on_once_that_is_on_record() {
    let _turn = turn();
    let witness = Witness::new();
    let mut pair = Pair::witnessed(&witness, PROGRAMS);
    put_on_both(&mut pair.nodes[0], "before");
    pair.nodes[1].kill();
    put_alone(&mut pair.nodes[0], "alone");
    pair.nodes[0].alerts_until("an alert about it", |alerts| alerts.iter().any(|a| a["kind"] == "shadow_lost"));
    let status = pair.nodes[0].ok("status");
    assert_eq!((&status["serving"], &status["in_sync"]), (&true.into(), &false.into()), "{status}");

    pair.nodes[0].kill();
    pair.start_again(1);
    stays_shadow(&mut pair.nodes[1]);
    let status = pair.nodes[1].ok("status");
    assert_eq!(status["takeover"]["able"], false, "{status}");
    assert!(!status["takeover"]["why_not"].as_array().unwrap().is_empty(), "{status}");
    pair.nodes[1].refused("take-over", "loss");

    pair.start_again(0);
    pair.nodes[0].serving();
    pair.in_sync();
    in_step_again(&mut pair.nodes[0]);
    for node in &mut pair.nodes {
        assert_eq!(node.ok("get alone")["value"], "x");
    }
    // The shadow is in sync again, so that it takes over now.
    pair.in_sync();
    pair.nodes[0].kill();
    pair.nodes[1].serving();
    assert_eq!(pair.nodes[1].ok("get alone")["value"], "x");
}

/// Nothing happens for several takeover delays; a takeover would come within one or two.
fn stays_shadow(shadow: &mut Program) {
    let end = Instant::now() + Duration::from_millis(2_500);
    while let Some(event) = shadow.next_event(end.saturating_duration_since(Instant::now())) {
        shadow.check(!is_role(true)(&event), &format!("it took over: {event}"));
    }
}

/// Without its peer and the witness a master cannot know whether it still is one. It reports that, acknowledges nothing, and
/// continues when either is back.
#[test]
fn with_both_away_the_master_fences_itself_and_returns_by_itself() {
    let _turn = turn();
    let witness = Witness::new();
    let mut pair = Pair::witnessed(&witness, PROGRAMS);
    let epoch = pair.nodes[0].ok("status")["epoch"].clone();
    for (round, absence) in [Absence::Missing, Absence::Failing, Absence::Failing].into_iter().enumerate() {
        pair.nodes[0].skip_to_now();
        pair.nodes[1].kill();
        witness.take_away(absence);
        let fenced = pair.nodes[0].wait("it to fence itself", is_role(false));
        pair.nodes[0].check(fenced["reason"].as_str().is_some_and(|why| !why.is_empty()), "it says why");
        assert_eq!(pair.nodes[0].ok("status")["serving"], false);
        let reply = pair.nodes[0].say(&format!("put fenced/{round} x"));
        let word = reply["error"].as_str().unwrap_or_default();
        pair.nodes[0].check(
            reply["ok"] == false && ["in_doubt", "not_master"].contains(&word),
            &format!("it acknowledges nothing: {reply}"),
        );
        if round == 0 {
            witness.bring_back();
            pair.nodes[0].wait("it to serve again", is_role(true));
            put_alone(&mut pair.nodes[0], "witness-back");
            pair.start_again(1);
        } else {
            pair.start_again(1);
            pair.nodes[0].wait("it to serve again", is_role(true));
            in_step_again(&mut pair.nodes[0]);
            witness.bring_back();
        }
        pair.in_sync();
        in_step_again(&mut pair.nodes[0]);
        pair.nodes[0].status("the witness", |status| status["witness"]["reachable"] == true);
        pair.in_sync();
    }
    let status = pair.nodes[0].ok("status");
    assert_eq!((&status["serving"], &status["epoch"]), (&true.into(), &epoch), "nobody else was master meanwhile");
}

/// The replication mode can change at run time, and every answer says what the change waited for.
#[test]
fn replication_is_switched_while_it_runs() {
    let _turn = turn();
    let witness = Witness::new();
    let mut pair = Pair::witnessed(&witness, PROGRAMS);
    assert_eq!(pair.nodes[0].ok("status")["replication"], "sync");
    put_on_both(&mut pair.nodes[0], "sync");

    pair.nodes[0].ok("replication async");
    pair.nodes[0].status("the other mode", |status| status["replication"] == "async");
    put_alone(&mut pair.nodes[0], "async");
    pair.in_sync();

    pair.nodes[0].ok("replication sync");
    pair.nodes[0].status("the first mode", |status| status["replication"] == "sync");
    in_step_again(&mut pair.nodes[0]);
    put_on_both(&mut pair.nodes[0], "sync-again");
    pair.in_sync();
    pair.nodes[0].refused("replication perhaps", "bad_argument");

    // Both modes told the truth: the shadow takes over with every replicated change.
    pair.nodes[0].kill();
    pair.nodes[1].serving();
    for key in ["sync", "async", "sync-again"] {
        assert_eq!(pair.nodes[1].ok(&format!("get {key}"))["value"], "x");
    }
}

/// Synchronous without a witness: the answer and an alert report a shadow that is behind, and commits go on.
#[test]
fn without_a_witness_a_synchronous_master_says_that_it_goes_on_alone() {
    let _turn = turn();
    let sync = ["--failover", "manual", "--replication", "sync", "--sync-timeout", "300ms"];
    let mut pair = Pair::enrol(&[FAST, &sync].concat());
    put_on_both(&mut pair.nodes[0], "before");
    pair.cut();
    put_alone(&mut pair.nodes[0], "alone");
    pair.nodes[0].alerts_until("an alert about it", |alerts| alerts.iter().any(|a| a["kind"] == "shadow_lost"));
    pair.heal();
    pair.in_sync();
    in_step_again(&mut pair.nodes[0]);
    pair.in_sync();
    assert_eq!(pair.nodes[1].ok("get alone")["value"], "x");
}
