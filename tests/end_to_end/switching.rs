//! Planned moves: switches of roles under load and under kills, clean shutdowns that hand over, pause and freeze.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{FAST, Pair, Program, Witness, turn};

/// Options with which a takeover takes a minute: whoever serves before was handed mastership.
const PATIENT: &[&str] = &["--heartbeat", "100ms", "--takeover-delay", "60s", "--hold-down", "1h"];

fn pair_with(witness: Option<&Witness>, options: &[&str]) -> Pair {
    let mut all: Vec<String> = options.iter().map(|word| (*word).into()).collect();
    all.extend(witness.map(Witness::option).into_iter().flatten());
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    Pair::enrol(&all)
}

/// Writes changes to the master while its shadow is told to switch. Returns the keys that were acknowledged.
fn switch_under_load(pair: &mut Pair, round: usize) -> Vec<String> {
    let (old, new) = (round % 2, (round + 1) % 2);
    let keys: Vec<String> = (0..40).map(|n| format!("load/{round}/{n}")).collect();
    keys.iter().for_each(|key| pair.nodes[old].write(&format!("put {key} {round}")));
    pair.nodes[new].ok("switch-roles");
    let status = pair.nodes[new].ok("status");
    pair.nodes[new].check(status["serving"] == true, "it was answered before it served");
    let mut acknowledged = answered(&mut pair.nodes[old], &keys, &["not_master"]);
    let after = format!("after/{round}");
    pair.nodes[new].ok(&format!("put {after} {round}"));
    acknowledged.push(after);
    pair.nodes[old].status("the old master to be a shadow", |status| status["role"] == "shadow");
    pair.in_sync();
    acknowledged
}

/// Reads the answers to these puts. What is refused is refused with one of these words.
fn answered(node: &mut Program, keys: &[String], words: &[&str]) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for key in keys {
        let answer = node.answer(&format!("put {key}"));
        if answer["ok"] == true {
            acknowledged.push(key.clone());
        } else {
            let known = answer["error"].as_str().is_some_and(|word| words.contains(&word));
            node.check(known, &format!("refused: {answer}"));
        }
    }
    acknowledged
}

fn hold(pair: &mut Pair, keys: &[String]) {
    for node in &mut pair.nodes {
        for key in keys {
            let found = node.ok(&format!("get {key}"));
            node.check(!found["value"].is_null(), &format!("{key} was acknowledged and is lost"));
        }
    }
}

fn switches(witness: Option<&Witness>, options: &[&str], rounds: usize) {
    let mut pair = pair_with(witness, options);
    let acknowledged: Vec<String> = (0..rounds).flat_map(|round| switch_under_load(&mut pair, round)).collect();
    assert!(acknowledged.len() > rounds, "hardly anything was acknowledged: {acknowledged:?}");
    hold(&mut pair, &acknowledged);
    for node in &mut pair.nodes {
        assert_eq!(node.ok("diverged")["diverged"], serde_json::json!([]), "nothing was left behind");
        assert!(node.alerts("takeover").is_empty(), "a planned switch is no takeover");
        let status = node.ok("status");
        node.check(!status["takeover"]["why_not"].to_string().contains("hold_down"), "it counted for the hold-down");
    }
}

#[test]
fn twenty_switches_under_load_lose_nothing() {
    let _turn = turn();
    switches(None, PATIENT, 20);
}

#[test]
fn twenty_switches_of_a_witnessed_synchronous_pair_lose_nothing() {
    let _turn = turn();
    let options = [PATIENT, &["--replication", "sync"]].concat();
    switches(Some(&Witness::new()), &options, 20);
}

/// `cargo test --test end_to_end a_hundred_switches -- --ignored`
#[test]
#[ignore = "takes a minute"]
fn a_hundred_switches_in_a_row_lose_nothing() {
    let _turn = turn();
    switches(None, PATIENT, 100);
    let options = [PATIENT, &["--replication", "sync"]].concat();
    switches(Some(&Witness::new()), &options, 100);
}

/// At which step a node is killed.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The operator has just said it.
    Said,
    /// The master has let go.
    LetGo,
    /// The shadow is master.
    Taken,
}

fn is_role(event: &Value, role: &str, serving: bool) -> bool {
    event["event"] == "role" && event["role"] == role && event["serving"] == serving
}

/// A node is killed at a step of a switch and starts again. Whatever became of the switch, one node serves in the end, both hold the
/// same, and nothing that both nodes held is lost.
fn killed_in_the_middle(witness: Option<&Witness>) {
    let options = [FAST, &["--replication", "sync", "--sync-timeout", "500ms"]].concat();
    let mut pair = pair_with(witness, &options);
    let mut kept = Vec::new();
    let mut master = 0;
    for (round, (step, kills_master)) in
        [Step::Said, Step::LetGo, Step::Taken].into_iter().flat_map(|step| [(step, true), (step, false)]).enumerate()
    {
        let (old, new) = (master, 1 - master);
        let key = format!("round/{round}");
        let answer = pair.nodes[old].ok(&format!("put {key} {round}"));
        if answer["replicated"] == true {
            kept.push(key);
        }
        pair.in_sync();
        pair.nodes.iter_mut().for_each(Program::skip_to_now);
        pair.nodes[old].write("switch-roles");
        match step {
            Step::Said => {}
            Step::LetGo => {
                pair.nodes[old]
                    .wait("the master to let go", |event| event["event"] == "role" && event["serving"] == false);
            }
            Step::Taken => {
                pair.nodes[new].wait("the shadow to serve", |event| is_role(event, "master", true));
            }
        }
        let killed = if kills_master { old } else { new };
        if killed == new {
            // Its answer is read, so that the next command has its own.
            let answer = pair.nodes[old].answer("switch-roles");
            pair.nodes[old].check(answer["ok"].is_boolean(), "no answer");
        }
        pair.restart(killed);
        pair.in_sync();
        let serving: Vec<usize> = (0..2).filter(|node| pair.nodes[*node].ok("status")["serving"] == true).collect();
        assert_eq!(serving.len(), 1, "{step:?}, the master killed: {kills_master}: {serving:?} serve");
        master = serving[0];
        hold(&mut pair, &kept);
    }
}

#[test]
fn a_node_that_is_killed_in_the_middle_of_a_switch_costs_nothing() {
    let _turn = turn();
    killed_in_the_middle(None);
}

#[test]
fn a_witnessed_node_that_is_killed_in_the_middle_of_a_switch_costs_nothing() {
    let _turn = turn();
    killed_in_the_middle(Some(&Witness::new()));
}

/// `quit` and SIGTERM of a master whose shadow is in sync, four times in a row: the shadow serves without waiting for the delay, and
/// nobody is held down.
fn clean_ends(witness: Option<&Witness>, options: &[&str]) {
    let mut pair = pair_with(witness, options);
    for round in 0..4 {
        let (old, new) = (round % 2, (round + 1) % 2);
        pair.nodes[old].ok(&format!("put round/{round} {round}"));
        pair.in_sync();
        pair.nodes[new].skip_to_now();
        if round < 2 {
            pair.nodes[old].quit();
        } else {
            pair.nodes[old].signal(Signal::TERM);
            pair.nodes[old].ends_well();
        }
        let taken = pair.nodes[new].wait("the hand-over", |event| is_role(event, "master", true));
        pair.nodes[new].check(taken["reason"] == "switched" || witness.is_some(), &format!("it took over: {taken}"));
        pair.nodes[new].ok(&format!("put after/{round} {round}"));
        pair.start_again(old);
        pair.nodes[old].status("the old master to be a shadow", |status| status["role"] == "shadow");
    }
    pair.in_sync();
    for node in &mut pair.nodes {
        assert!(node.alerts("takeover").is_empty());
        assert_eq!(node.ok("digest")["entries"], 8);
    }
}

#[test]
fn a_master_that_ends_cleanly_hands_over() {
    let _turn = turn();
    clean_ends(None, PATIENT);
    clean_ends(None, &[PATIENT, &["--replication", "sync"]].concat());
}

#[test]
fn a_witnessed_master_that_ends_cleanly_hands_over() {
    let _turn = turn();
    let options = [PATIENT, &["--sync-timeout", "500ms"]].concat();
    clean_ends(Some(&Witness::new()), &options);
    clean_ends(Some(&Witness::new()), &[&options[..], &["--replication", "sync"]].concat());
}

/// With `--handover off`, and while failover is paused, a clean end hands over nothing.
#[test]
fn a_master_that_is_told_so_ends_without_a_hand_over() {
    let _turn = turn();
    let mut pair = pair_with(None, &[PATIENT, &["--handover", "off"]].concat());
    pair.nodes[0].quit();
    pair.start_again(0);
    pair.nodes[0].serving();
    pair.in_sync();
    let mut pair = pair_with(None, PATIENT);
    pair.nodes[1].ok("pause");
    pair.nodes[0].status("the pause to arrive", |status| status["paused"] == true);
    pair.nodes[0].quit();
    pair.start_again(0);
    pair.nodes[0].serving();
}

#[test]
fn a_pause_holds_on_both_nodes_and_over_restarts() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("pause");
    let paused =
        |status: &Value| status["paused"] == true && status["takeover"]["why_not"].to_string().contains("\"paused\"");
    pair.nodes[1].status("the pause to arrive", paused);
    pair.nodes[0].refused("switch-roles", "paused");
    pair.restart(1);
    pair.in_sync();
    pair.nodes[1].status("the pause to be remembered", paused);
    pair.nodes[0].kill();
    pair.nodes[1].alerts_until("somebody to be told", |alerts| {
        alerts.iter().any(|alert| alert["kind"] == "needs_operator" && alert["subject"] == "no_takeover")
    });
    let status = pair.nodes[1].ok("status");
    pair.nodes[1].check(status["role"] == "shadow", "it took over");
    pair.nodes[1].ok("resume");
    pair.nodes[1].serving();
    // The later word holds: the former master learns it when it comes back.
    pair.start_again(0);
    pair.nodes[0].status("the end of the pause to arrive", |status| status["paused"] == false);
    pair.nodes[0].alerts_until("the alert to end", |alerts| !alerts.iter().any(|alert| alert["subject"] == "paused"));
}

#[test]
fn a_frozen_pair_refuses_changes_and_goes_on_with_all_else() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("put k v");
    pair.nodes[1].ok("freeze");
    pair.nodes[0].status("the freeze to arrive", |status| status["frozen"] == true);
    pair.nodes[0].refused("put k w", "frozen");
    assert_eq!(pair.nodes[0].ok("get k")["value"], "v");
    assert!(!pair.nodes[0].alerts("needs_operator").is_empty());
    pair.in_sync();
    pair.nodes[0].ok("switch-roles");
    pair.nodes[1].serving();
    pair.nodes[1].refused("put k w", "frozen");
    pair.in_sync();
    pair.restart(1);
    pair.in_sync();
    let master = (0..2).find(|node| pair.nodes[*node].ok("status")["serving"] == true).unwrap();
    pair.nodes[master].refused("put k w", "frozen");
    pair.nodes[1 - master].ok("unfreeze");
    pair.nodes[master].status("the end of the freeze to arrive", |status| status["frozen"] == false);
    pair.nodes[master].ok("put k w");
}

#[test]
fn a_switch_is_refused_with_its_word() {
    let _turn = turn();
    let mut pair = Pair::enrol(PATIENT);
    pair.cut();
    for node in 0..2 {
        pair.nodes[node].status("the link to be lost", |status| status["link"]["state"] == "lost");
        pair.nodes[node].refused("switch-roles", "not_in_sync");
    }
    pair.heal();
    pair.in_sync();
    pair.nodes[1].ok("disconnect");
    pair.nodes[1].refused("switch-roles", "held");
    pair.nodes[0].status("the hold to arrive", |status| status["link"]["state"] == "held");
    pair.nodes[0].refused("switch-roles", "held");
    pair.nodes[1].ok("reconnect");
    pair.in_sync();
    pair.nodes[1].ok("switch-roles");
    pair.nodes[1].ok("put k v");
}
