//! Copied data directories that run beside the original, and directories restored from an older copy.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{FAST, Pair, Program, Witness, at, turn};

/// The same as [`FAST`], and time enough to restore a directory before anybody takes over.
const PATIENT: &[&str] = &["--heartbeat", "100ms", "--takeover-delay", "4s", "--hold-down", "0s"];

const PROGRAMS: [&str; 2] = ["master", "shadow"];
const NAMES: [&str; 2] = ["first", "second"];

/// Copies a data directory, as `cp -r` does.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Copies the directory of a node while its process stands still. Returns the copy.
fn copy_of(pair: &Pair, node: usize) -> PathBuf {
    let to = pair.dir().join("copy");
    pair.nodes[node].signal(Signal::STOP);
    copy(&pair.dir().join(NAMES[node]), &to);
    pair.nodes[node].signal(Signal::CONT);
    to
}

/// Starts the copy of a node beside it, with the same command line but for directory and port.
fn start_copy(pair: &Pair, node: usize, dir: &Path, options: &[&str]) -> Program {
    at(PROGRAMS[node], dir, &pair.proxies[node], options).start()
}

fn is_of<'a>(kind: &'a str, subject: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |alert| alert["kind"] == kind && alert["subject"] == subject
}

/// Waits for an alert of this kind about this subject, and returns what it says.
fn told(node: &mut Program, kind: &str, subject: &str) -> String {
    let alerts = node.alerts_until(kind, |alerts| alerts.iter().any(is_of(kind, subject)));
    let alert = alerts.into_iter().find(|alert| is_of(kind, subject)(alert)).unwrap();
    assert_eq!(alert["severity"], "error", "{alert}");
    alert["message"].as_str().unwrap().to_owned()
}

/// Waits until a copy says that it is refused, and why.
fn refused_as_a_copy(copy: &mut Program) {
    copy.status("it to be refused", |status| {
        let reason = status["link"]["reason"].as_str().unwrap_or_default();
        status["link"]["state"] == "refused" && reason.starts_with("duplicate_identity")
    });
    told(copy, "duplicate_node", "this node");
}

/// The original says that it has a copy, and where both are: its peer has told it.
fn told_of_its_copy(pair: &mut Pair, node: usize) {
    let said = told(&mut pair.nodes[node], "duplicate_node", "copy of this node");
    assert_eq!(said.matches(&pair.proxies[node].address()).count(), 2, "both are named: {said}");
}

/// Nothing serves here for several takeover delays.
fn does_not_serve(copy: &mut Program) {
    let end = Instant::now() + Duration::from_millis(2_500);
    while let Some(event) = copy.next_event(end.saturating_duration_since(Instant::now())) {
        copy.check(event["event"] != "role" || event["serving"] == false, &format!("a copy serves: {event}"));
    }
    assert_eq!(copy.ok("status")["serving"], false);
}

#[test]
fn a_copy_of_the_shadow_is_refused_and_named_until_the_first_is_gone() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let dir = copy_of(&pair, 1);
    pair.in_sync();
    pair.nodes.iter_mut().for_each(Program::skip_to_now);
    let mut copy = start_copy(&pair, 1, &dir, FAST);
    refused_as_a_copy(&mut copy);
    let said = told(&mut pair.nodes[0], "duplicate_node", "peer");
    assert_eq!(said.matches(&pair.proxies[1].address()).count(), 2, "both are named: {said}");
    told_of_its_copy(&mut pair, 1);
    assert!(copy.ok("status")["takeover"]["why_not"].as_array().unwrap().contains(&"refused".into()));
    // It goes on trying. The link stays with the first.
    does_not_serve(&mut copy);
    for node in &mut pair.nodes {
        while let Some(event) = node.next_event(Duration::ZERO) {
            node.check(event["event"] != "link", &format!("the link flaps: {event}"));
        }
    }
    pair.in_sync();
    assert_eq!(pair.nodes[0].alerts("duplicate_node")[0]["count"], 1, "it is told once");

    // The first is gone: the other one may come, and what was wrong is over for it.
    pair.nodes[1].kill();
    copy.status("it to take the place", |status| status["in_sync"] == true && status["link"]["state"] == "connected");
    copy.alerts_until("its alert to go", |alerts| !alerts.iter().any(is_of("duplicate_node", "this node")));
    // Now the original is the later one. Only one of them takes over.
    pair.nodes[1].start_again();
    refused_as_a_copy(&mut pair.nodes[1]);
    pair.nodes[0].kill();
    copy.serving();
    does_not_serve(&mut pair.nodes[1]);
}

#[test]
fn a_copy_of_the_master_does_not_serve_beside_it() {
    let _turn = turn();
    for witness in [None, Some(Witness::new())] {
        let options =
            witness.as_ref().map_or_else(|| FAST.iter().map(|word| (*word).into()).collect(), Witness::options);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let mut pair = match &witness {
            None => Pair::enrol(&options),
            Some(witness) => Pair::witnessed(witness, PROGRAMS),
        };
        pair.nodes[0].ok("put before x");
        let dir = copy_of(&pair, 0);
        pair.nodes[0].serving();
        pair.in_sync();
        let mut copy = start_copy(&pair, 0, &dir, &options);
        refused_as_a_copy(&mut copy);
        let said = told(&mut pair.nodes[1], "duplicate_node", "peer");
        assert_eq!(said.matches(&pair.proxies[0].address()).count(), 2, "both are named: {said}");
        told_of_its_copy(&mut pair, 0);
        does_not_serve(&mut copy);
        pair.nodes[0].ok("put during x");
        assert_eq!(pair.nodes[0].ok("status")["serving"], true);
        pair.in_sync();
        assert_eq!(pair.nodes[0].alerts("duplicate_node")[0]["count"], 1, "it is told once");
        // The first is gone: the other one is welcome, as master that takes over the tail or as shadow of the one that took over.
        pair.nodes[0].kill();
        copy.status("it to belong to the pair", |status| {
            status["in_sync"] == true && status["link"]["state"] == "connected"
        });
        assert_eq!(copy.ok("get during")["value"], "x");
    }
}

/// Neither can ask the shadow: the witness' record moves, so somebody renews it.
#[test]
fn a_copy_of_a_lone_master_sees_at_the_witness_that_the_other_serves() {
    let _turn = turn();
    let witness = Witness::new();
    let options = witness.options();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut pair = Pair::witnessed(&witness, PROGRAMS);
    pair.nodes[1].kill();
    pair.nodes[0].ok("put alone x");
    let dir = copy_of(&pair, 0);
    pair.nodes[0].serving();
    let mut copy = start_copy(&pair, 0, &dir, &options);
    told(&mut copy, "duplicate_node", "witness");
    let status = copy.ok("status");
    assert!(status["takeover"]["why_not"].as_array().unwrap().contains(&"duplicate".into()), "{status}");
    does_not_serve(&mut copy);
    assert_eq!(pair.nodes[0].ok("status")["serving"], true);
    pair.nodes[0].kill();
    copy.serving();
    copy.alerts_until("its alert to go", |alerts| !alerts.iter().any(is_of("duplicate_node", "witness")));
}

/// Replaces the directory of a node by a copy of it.
fn restore(pair: &mut Pair, node: usize, older: &Path) {
    let dir = pair.dir().join(NAMES[node]);
    pair.nodes[node].kill();
    fs::remove_dir_all(&dir).unwrap();
    copy(older, &dir);
    pair.start_again(node);
}

/// A master restored from an older copy takes back what it lacks, both nodes say so, and the pair is whole without another change.
#[test]
fn a_master_restored_from_an_older_copy_is_told_of_and_in_sync_by_itself() {
    let _turn = turn();
    for witness in [None, Some(Witness::new())] {
        let mut options: Vec<String> = PATIENT.iter().map(|word| (*word).into()).collect();
        options.extend(witness.iter().flat_map(Witness::options).skip(FAST.len()));
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let mut pair = Pair::enrol(&options);
        pair.nodes[0].ok("put old x");
        let older = copy_of(&pair, 0);
        for n in 0..5 {
            pair.nodes[0].ok(&format!("put new/{n} x"));
        }
        pair.in_sync();
        restore(&mut pair, 0, &older);
        pair.nodes[0].serving();
        pair.in_sync();
        assert_eq!(pair.nodes[0].ok("get new/4")["value"], "x");
        for (node, subject) in [(0, "this node"), (1, "peer")] {
            let said = told(&mut pair.nodes[node], "rolled_back", subject);
            assert!(said.contains("5 change sets"), "{said}");
            let alert = pair.nodes[node].alerts("rolled_back")[0].clone();
            let range = [&alert["revisions"]["from"]["seq"], &alert["revisions"]["to"]["seq"]];
            assert_eq!(range, [&Value::from(2), &Value::from(6)], "{alert}");
        }
        pair.nodes[1].status("it to be able to take over", |status| status["takeover"]["able"] == true);
        pair.nodes[0].kill();
        pair.nodes[1].serving();
        assert_eq!(pair.nodes[1].ok("get new/4")["value"], "x");
    }
}

#[test]
fn a_shadow_restored_from_an_older_copy_is_told_of_by_its_master() {
    let _turn = turn();
    let mut pair = Pair::enrol(PATIENT);
    pair.nodes[0].ok("put old x");
    pair.in_sync();
    let older = copy_of(&pair, 1);
    for n in 0..5 {
        pair.nodes[0].ok(&format!("put new/{n} x"));
    }
    pair.in_sync();
    restore(&mut pair, 1, &older);
    let said = told(&mut pair.nodes[0], "rolled_back", "peer");
    assert!(said.contains("5 change sets"), "{said}");
    pair.in_sync();
    assert_eq!(pair.nodes[1].ok("get new/4")["value"], "x");
}

/// Both were restored to the same older copy: only the witness remembers, and no node serves before an operator has decided.
#[test]
fn where_both_were_restored_the_witness_remembers_and_an_operator_decides() {
    let _turn = turn();
    let witness = Witness::new();
    let mut pair = Pair::witnessed(&witness, PROGRAMS);
    pair.nodes[0].ok("put old x");
    pair.in_sync();
    let copies = [0, 1].map(|node: usize| {
        let to = pair.dir().join(format!("older-{node}"));
        pair.nodes[node].signal(Signal::STOP);
        copy(&pair.dir().join(NAMES[node]), &to);
        pair.nodes[node].signal(Signal::CONT);
        to
    });
    pair.nodes[0].serving();
    pair.in_sync();
    pair.nodes[0].ok("put new x");
    // A renewal records what was acknowledged.
    let acknowledged = pair.nodes[0].ok("status")["revision"].clone();
    let end = Instant::now() + Duration::from_millis(800);
    while pair.nodes[0].next_event(end.saturating_duration_since(Instant::now())).is_some() {}
    pair.nodes.iter_mut().for_each(Program::kill);
    for (node, older) in copies.iter().enumerate() {
        let dir = pair.dir().join(NAMES[node]);
        fs::remove_dir_all(&dir).unwrap();
        copy(older, &dir);
    }
    (0..2).for_each(|node| pair.start_again(node));
    let said = told(&mut pair.nodes[0], "rolled_back", "witness");
    assert!(said.contains("--accept-loss"), "{said}");
    let status = pair.nodes[0].ok("status");
    assert!(status["takeover"]["why_not"].as_array().unwrap().contains(&"rolled_back".into()), "{status}");
    let alert = pair.nodes[0].alerts("rolled_back")[0].clone();
    assert_eq!(alert["revisions"]["to"]["seq"], acknowledged["seq"], "{alert}");
    does_not_serve(&mut pair.nodes[0]);
    pair.nodes[0].refused("take-over", "loss");
    pair.nodes[0].ok("take-over --accept-loss");
    pair.nodes[0].serving();
    pair.in_sync();
    assert_eq!(pair.nodes[1].ok("get old")["value"], "x");
}
