//! The rarer words of the table "Error words" in `docs/CLI.md`. Each is provoked as an operator meets it; nothing is changed by it, and
//! the way out that the table names works.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{FAST, Launch, Pair, Program, Proxy, SmallDisk, Witness, lone_master, token, turn};

/// Options with which no node takes over by itself, and a silent link stays up for a minute.
const PATIENT: &[&str] = &["--heartbeat", "100ms", "--takeover-delay", "60s", "--failover", "manual"];

/// Role, service, epoch and content of both nodes, which a refused command leaves alone.
fn picture(pair: &mut Pair) -> [Value; 2] {
    pair.nodes.each_mut().map(standing)
}

fn standing(node: &mut Program) -> Value {
    let (status, digest) = (node.ok("status"), node.ok("digest"));
    serde_json::json!([status["role"], status["serving"], status["epoch"], digest["revision"], digest["digest"]])
}

#[test]
fn too_many_tokens_is_over_when_one_has_expired() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let wire = Proxy::new();
    let mut master = lone_master(&dir.path().join("a"), &wire, FAST);
    let first = token(&mut master);
    (2..shadowpair::limits::TOKENS_MAX).for_each(|_| _ = master.ok("token"));
    master.ok("token 3s");
    let before = standing(&mut master);
    master.refused("token", "too_many_tokens");
    master.refused("token 1s", "too_many_tokens");
    assert_eq!(standing(&mut master), before);
    master.until("token", "one to expire", |reply| reply["ok"] == true);
    master.refused("token", "too_many_tokens");
    // None of the others was lost.
    let join = ["--listen", "127.0.0.1:0", "--master", &wire.address(), "--token", &first];
    let mut shadow = Launch::new("shadow", &dir.path().join("b")).with(join).with(FAST).start();
    shadow.status("the first token to do", |status| status["in_sync"] == true);
}

#[test]
fn lease_held_is_told_while_the_master_runs_and_is_over_when_it_stops() {
    let _turn = turn();
    let witness = Witness::new();
    let options = witness.option();
    let options = [PATIENT, &[&options[0], &options[1], "--lease", "2s"]].concat();
    let mut pair = Pair::enrol(&options);
    pair.nodes[0].ok("put k v");
    pair.in_sync();
    let before = picture(&mut pair);
    for command in ["take-over", "take-over --accept-loss"] {
        pair.nodes[1].refused(command, "lease_held");
    }
    assert_eq!(picture(&mut pair), before);
    pair.in_sync();
    pair.nodes[0].kill();
    pair.nodes[1].status("the link to be lost", |status| status["link"]["state"] != "connected");
    // The command itself waits until promise and lease are over.
    pair.nodes[1].until("take-over", "the lease to be over", |reply| reply["ok"] == true);
    pair.nodes[1].serving();
    assert_eq!(pair.nodes[1].ok("get k")["value"], "v");
}

#[test]
fn switch_under_way_is_told_to_a_second_operator_and_the_first_switch_comes_about() {
    let _turn = turn();
    let mut pair = Pair::enrol(&[PATIENT, &["--grace", "3s"]].concat());
    pair.nodes[0].ok("put k v");
    pair.in_sync();
    // Two operators, one at each node. Whose word reaches the master first is not known, and does not matter.
    pair.nodes.iter_mut().for_each(|node| node.write("switch-roles"));
    let answers = pair.nodes.each_mut().map(|node| node.answer("switch-roles"));
    let (first, second): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer["ok"] == true);
    pair.nodes[0].check(first.len() == 1 && second.len() == 1, &format!("one switch, one refusal: {answers:?}"));
    assert_eq!(second[0]["error"], "switch_under_way");
    assert!(second[0]["message"].as_str().unwrap().contains("switch"), "{answers:?}");
    // The second word has changed nothing: the roles were switched once, and can be switched again.
    pair.nodes[1].serving();
    pair.in_sync();
    pair.nodes[1].ok("switch-roles");
    pair.nodes[0].serving();
}

#[test]
fn called_off_says_why_and_the_roles_are_as_before() {
    let _turn = turn();
    let mut pair = Pair::enrol(&[PATIENT, &["--sync-timeout", "2s"]].concat());
    pair.nodes[0].ok("put k v");
    pair.in_sync();
    let before = picture(&mut pair);
    // What the shadow says does not arrive, and the link is not given up yet.
    pair.proxies[0].hold_to_node();
    pair.proxies[1].hold_from_node();
    pair.nodes[0].ok("put k w");
    let refused = pair.nodes[0].refused("switch-roles", "called_off");
    assert_eq!(refused["why"], "timed_out", "{refused}");
    let after = pair.nodes[0].ok("status");
    assert_eq!((&after["role"], &after["serving"]), (&"master".into(), &true.into()), "{after}");
    assert_eq!(after["epoch"], before[0][2], "it never let go");
    pair.nodes[0].ok("put k x");
    pair.heal();
    pair.in_sync();
    let after = pair.nodes[1].ok("status");
    assert_eq!((&after["role"], &after["epoch"]), (&"shadow".into(), &before[1][2]), "{after}");
    // Try again.
    pair.nodes[0].ok("switch-roles");
    pair.nodes[1].serving();
    assert_eq!(pair.nodes[1].ok("get k")["value"], "x");
}

#[test]
fn unanswered_is_told_when_the_link_breaks_and_a_repetition_does_only_what_is_missing() {
    let _turn = turn();
    let mut pair = Pair::enrol(PATIENT);
    pair.nodes[0].ok("put shared 1");
    pair.in_sync();
    // Two masters, of which the first yields and keeps what only it had written.
    pair.nodes[0].ok("disconnect");
    pair.nodes[1].ok("take-over --accept-loss");
    pair.nodes[1].serving();
    pair.nodes[0].ok("put mine 1");
    pair.nodes[0].ok("reconnect");
    pair.nodes[0].status("it to yield", |status| status["role"] == "shadow");
    pair.in_sync();
    let id = pair.nodes[0].ok("diverged")["diverged"][0]["id"].clone();
    let reapply = format!("reapply {id}");
    // The request arrives, and its answer does not.
    pair.proxies[1].hold_from_node();
    pair.proxies[0].hold_to_node();
    pair.nodes[0].write(&reapply);
    pair.nodes[1].until("get mine", "the change to arrive", |reply| reply["value"] == "1");
    let committed = pair.nodes[1].ok("digest");
    pair.cut();
    let refused = pair.nodes[0].answer(&reapply);
    pair.nodes[0].check(refused["error"] == "unanswered", &format!("{refused}"));
    assert_eq!(pair.nodes[0].ok("diverged")["diverged"][0]["id"], id, "nothing is removed from the quarantine");
    pair.heal();
    pair.in_sync();
    let again = pair.nodes[0].ok(&reapply);
    assert_eq!((&again["applied"], &again["unchanged"]), (&0.into(), &1.into()), "{again}");
    assert_eq!(pair.nodes[1].ok("digest")["revision"], committed["revision"], "nothing is written twice");
}

#[test]
fn disk_failed_is_told_of_the_peers_disk_and_the_switch_comes_about_when_it_has_room() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::at(&dir.path().join("disk")) else { return };
    let wire = Proxy::new();
    let mut master = lone_master(&dir.path().join("master"), &wire, PATIENT);
    let token = token(&mut master);
    let join = ["--listen", "127.0.0.1:0", "--master", &wire.address(), "--token", &token];
    let mut shadow = disk.hosts(Launch::new("shadow", &disk.data()).with(join).with(PATIENT), 96).start();
    shadow.status("the start to be in sync", |status| status["in_sync"] == true);
    disk.fill(&shadow);
    let mut told = false;
    for _ in 0..200 {
        master.ok("load 50 20000 fill/");
        told = !master.alerts("disk_trouble").is_empty();
        if told {
            break;
        }
    }
    assert!(told, "the alert stands on the master");
    let before = [standing(&mut master), standing(&mut shadow)];
    let refused = master.refused("switch-roles", "disk_failed");
    assert!(refused["message"].as_str().unwrap().contains("disk"), "{refused}");
    assert_eq!([standing(&mut master), standing(&mut shadow)], before);
    disk.free(&shadow);
    for node in [&mut master, &mut shadow] {
        node.status("both to be in sync", |status| status["in_sync"] == true);
        node.alerts_until("the alert to go", |alerts| alerts.iter().all(|alert| alert["kind"] != "disk_trouble"));
    }
    master.until("switch-roles", "the shadow to take over", |reply| reply["ok"] == true);
    shadow.serving();
}

/// The only file of the state in a data directory.
fn state_file(data: &Path) -> PathBuf {
    let files = std::fs::read_dir(data.join("state")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "redb")).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

/// Turns over one bit of every place where a file has these bytes. A second time puts it right.
fn flip(path: &Path, needle: &[u8]) -> usize {
    let bytes = std::fs::read(path).unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    // The last byte: what is looked for stays as it is up to there, so that a second call finds it.
    let (found, last) = needle.split_at(needle.len() - 1);
    let places: Vec<usize> = (0..bytes.len() - needle.len()).filter(|at| bytes[*at..].starts_with(found)).collect();
    for at in &places {
        let at = at + found.len();
        assert!([last[0], last[0] ^ 1].contains(&bytes[at]));
        file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
    }
    places.len()
}

#[test]
fn read_failed_is_told_of_a_damaged_entry_and_is_over_when_the_disk_is_repaired() {
    let _turn = turn();
    let mut pair = Pair::enrol(PATIENT);
    let value = "a value that is found in the file of the state";
    pair.nodes[0].ok(&format!("put entry/middle {value}"));
    // Enough that the entries are in the state, and not all of them in its cache.
    pair.nodes[0].ok("load 9000 2000 entry/");
    pair.nodes[0].ok("load 3000 2000 other/");
    pair.in_sync();
    // What a start applies goes through the cache, where damage to the file does not show: as often as needed, another start.
    let state = state_file(&pair.dir().join("first"));
    let mut starts = 0;
    let before = loop {
        pair.nodes[0].quit();
        pair.start_again(0);
        pair.nodes[0].serving();
        pair.in_sync();
        let before = picture(&mut pair);
        assert!(flip(&state, value.as_bytes()) > 0, "the entry is in the state");
        if pair.nodes[0].say("get entry/middle")["ok"] == false {
            break before;
        }
        assert!(flip(&state, value.as_bytes()) > 0, "the entry is in the state");
        starts += 1;
        assert!(starts < 10, "the entry is in the cache after each of {starts} starts");
    };
    let export = pair.dir().join("export");
    for command in ["get entry/middle", "content", &format!("export {}", export.display())] {
        pair.nodes[0].refused(command, "read_failed");
    }
    assert!(!export.exists(), "no half export is left");
    assert_eq!(picture(&mut pair), before);
    assert_eq!(pair.nodes[1].ok("get entry/middle")["value"], value, "the other node has it");
    // The disk is repaired, and the node is started again.
    assert!(flip(&state, value.as_bytes()) > 0);
    pair.restart(0);
    pair.nodes[0].serving();
    assert_eq!(pair.nodes[0].ok("get entry/middle")["value"], value);
    pair.nodes[0].ok("content");
    pair.nodes[0].ok(&format!("export {}", export.display()));
    pair.in_sync();
}

/// Kills both nodes, and damages the state of the first one.
fn damage_first(pair: &mut Pair) {
    pair.nodes[1].kill();
    pair.nodes[0].kill();
    let state = state_file(&pair.dir().join("first"));
    std::fs::write(state, vec![0x5a; 20_000]).unwrap();
    pair.nodes[0].start_again();
    pair.proxies[0].forward_to(&pair.nodes[0].listen());
}

#[test]
fn incomplete_is_told_by_a_damaged_master_and_its_shadow_repairs_it() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("load 3000 2000 entry/");
    pair.nodes[0].ok("put k v");
    let content = pair.in_sync();
    damage_first(&mut pair);
    let before = standing(&mut pair.nodes[0]);
    let export = pair.dir().join("export");
    pair.nodes[0].refused("take-over", "incomplete");
    pair.nodes[0].refused(&format!("export {}", export.display()), "incomplete");
    assert!(!export.exists());
    assert_eq!(standing(&mut pair.nodes[0]), before);
    // Its shadow repairs it.
    pair.start_again(1);
    assert_eq!(pair.in_sync(), content);
    assert_eq!(pair.nodes[0].ok("get k")["value"], "v");
    pair.nodes[0].ok(&format!("export {}", export.display()));

    // Where no node has a better copy.
    damage_first(&mut pair);
    let status = pair.nodes[0].ok("status");
    if status["role"] == "shadow" {
        pair.nodes[0].fail("the damaged node is not the master");
    }
    pair.nodes[0].refused("take-over", "incomplete");
    pair.nodes[0].ok("take-over --accept-loss");
    pair.nodes[0].serving();
    pair.nodes[0].ok("put k w");
}
