//! Takeover after the death of a master, and the return of the old master.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{FAST, Launch, Pair, Program, Proxy, content, kind_is, lone_master, token, turn};

/// `load`, kill -9, takeover, restart with the old command line: twenty times, with alternating roles.
#[test]
fn twenty_takeovers_with_alternating_roles_lose_nothing() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("load 10000 200");
    for round in 0..20 {
        let (old, new) = (round % 2, (round + 1) % 2);
        pair.nodes[old].ok(&format!("put round/{round} {round}"));
        let before = pair.in_sync();
        pair.nodes[new].skip_to_now();
        pair.nodes[old].kill();
        pair.nodes[new].wait("the takeover", |event| {
            event["event"] == "role" && event["role"] == "master" && event["serving"] == true
        });
        let after = pair.nodes[new].ok("digest");
        pair.nodes[new].check(content(&after) == before, &format!("the takeover changed the content: {before}"));
        pair.nodes[new].ok(&format!("put after/{round} {round}"));
        pair.start_again(old);
        pair.nodes[old].status("the old master to be a shadow", |status| status["role"] == "shadow");
        pair.in_sync();
        let entries = pair.nodes[old].ok("digest")["entries"].as_u64();
        pair.nodes[old].check(entries == Some(10_000 + 2 * (round as u64 + 1)), "an entry was lost");
        pair.nodes[old].refused("put k v", "not_master");
    }
    let [first, second] = &mut pair.nodes;
    for round in 0..20 {
        assert_eq!(second.ok(&format!("get round/{round}"))["value"], round.to_string());
        assert_eq!(first.ok(&format!("get after/{round}"))["value"], round.to_string());
    }
    assert_eq!(first.ok("diverged")["diverged"], serde_json::json!([]), "nothing was left behind");
    assert!(first.ok("history")["history"].as_array().is_some_and(|eras| eras.len() >= 21));
}

/// Three takeovers within the time of the hold-down, and no fourth: `status` says why.
#[test]
fn the_hold_down_ends_a_row_of_takeovers_and_says_so() {
    let _turn = turn();
    let options: Vec<&str> = FAST.iter().map(|option| if *option == "0s" { "1h" } else { option }).collect();
    let mut pair = Pair::enrol(&options);
    for round in 0..3 {
        let (old, new) = (round % 2, (round + 1) % 2);
        pair.in_sync();
        pair.nodes[old].kill();
        pair.nodes[new].serving();
        pair.start_again(old);
    }
    pair.in_sync();
    pair.nodes[0].skip_to_now();
    pair.nodes[1].kill();
    let held = pair.nodes[0].status("the hold-down to be the reason", |status| {
        status["takeover"]["why_not"] == serde_json::json!(["hold_down"]) && status["link"]["state"] != "connected"
    });
    pair.nodes[0].check(held["serving"] == false && held["takeover"]["able"] == false, "it leads all the same");
    stays_shadow(&mut pair.nodes[0]);
}

/// A process that was stopped is no longer master when it continues.
#[test]
fn a_stopped_master_acknowledges_nothing_when_it_wakes_up_late() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let [master, shadow] = &mut pair.nodes;
    master.ok("put before 1");
    shadow.wait("the change", |event| event["event"] == "changed" && event["revision"]["seq"] == 1);
    shadow.status("both at the same", |status| status["in_sync"] == true);

    master.signal(Signal::STOP);
    master.write("put late 1"); // waits in its pipe while it is stopped
    shadow.serving();
    shadow.ok("put meanwhile 1");
    master.signal(Signal::CONT);
    let late = master.answer("put late 1");
    master.check(late["ok"] == false, &format!("it acknowledged a change that its successor never had: {late}"));
    master.check(
        late["error"] == "not_master" || late["error"] == "in_doubt",
        &format!("a late change is refused with its reason: {late}"),
    );
    master.wait("it yields and says so", |event| event["event"] == "role" && event["role"] == "shadow");
    pair.in_sync();
    let [old, new] = &mut pair.nodes;
    for node in [old, new] {
        assert_eq!(node.ok("get before")["value"], "1");
        assert_eq!(node.ok("get meanwhile")["value"], "1");
        assert!(node.ok("get late")["value"].is_null());
    }
}

/// A node that never had a complete copy does not become master.
#[test]
fn a_shadow_that_never_synced_does_not_take_over_and_says_why() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let wire = Proxy::new();
    let mut master = lone_master(&dir.path().join("a"), &wire, FAST);
    master.ok("load 2000 2000");
    let token = token(&mut master);
    // Too slow for the full push to complete, fast enough for heartbeats.
    let join = ["--listen", "127.0.0.1:0", "--master", &wire.address(), "--token", &token];
    let mut shadow = Launch::new("shadow", &dir.path().join("b")).with(join).with(FAST.iter().copied()).start();
    wire.slow(50_000);
    shadow.status("the first push to be under way", |status| status["link"]["state"] == "syncing");
    let status = shadow.ok("status");
    shadow.check(status["in_sync"] == false, "it cannot be in sync yet");
    shadow.skip_to_now();
    master.kill();
    shadow.status("the master to be missed", |status| status["link"]["state"] == "lost");
    stays_shadow(&mut shadow);
    let status = shadow.ok("status");
    assert_eq!((&status["role"], &status["serving"]), (&"shadow".into(), &false.into()));
    assert_eq!(status["takeover"]["able"], false);
    assert!(!status["takeover"]["why_not"].as_array().unwrap().is_empty(), "{status}");
    shadow.refused("take-over", "loss");
    master.start_again();
    wire.slow(0);
    wire.forward_to(&master.listen());
    shadow.status("the push to end after all", |status| status["in_sync"] == true);
}

/// A shadow that has not heard its master since it started does not take over: it cannot know how far behind it is.
#[test]
fn a_shadow_that_starts_while_its_master_is_away_does_not_take_over() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("put k v");
    let before = pair.in_sync();
    pair.nodes[1].kill();
    pair.nodes[0].kill();
    pair.start_again(1);
    let shadow = &mut pair.nodes[1];
    stays_shadow(shadow);
    let status = shadow.ok("status");
    assert_eq!(
        (&status["role"], &status["serving"], &status["takeover"]["able"]),
        (&"shadow".into(), &false.into(), &false.into())
    );
    assert!(!status["takeover"]["why_not"].as_array().unwrap().is_empty(), "{status}");
    assert_eq!(shadow.ok("get k")["value"], "v", "its own copy can be read");
    pair.start_again(0);
    pair.nodes[0].serving();
    assert_eq!(pair.in_sync(), before);
}

/// Nothing happens for several takeover delays; a takeover would come within one.
fn stays_shadow(shadow: &mut Program) {
    let end = Instant::now() + Duration::from_millis(2500);
    while let Some(event) = shadow.next_event(end.saturating_duration_since(Instant::now())) {
        let takes_over = event["event"] == "role" && event["role"] == "master";
        shadow.check(!takes_over, &format!("it took over: {event}"));
    }
}

/// In manual mode only an operator takes over.
#[test]
fn manual_failover_waits_for_the_operator() {
    let _turn = turn();
    let mut pair = Pair::enrol(&[FAST, &["--failover", "manual"]].concat());
    pair.nodes[0].ok("put k v");
    let before = pair.in_sync();
    pair.nodes[0].kill();
    let shadow = &mut pair.nodes[1];
    let status = shadow.status("the master to be missed", |status| status["link"]["state"] == "lost");
    assert!(status["takeover"]["why_not"].as_array().unwrap().contains(&"manual".into()), "{status}");
    shadow.ok("take-over");
    shadow.serving();
    shadow.ok("put l w");
    pair.start_again(0);
    pair.nodes[0].wait("the end of its time as master", |event| event["event"] == "role" && event["role"] == "shadow");
    assert_ne!(pair.in_sync(), before);
    assert_eq!(pair.nodes[0].ok("get l")["value"], "w");
    let takeovers = pair.nodes[1].alerts("takeover");
    assert_eq!(takeovers.len(), 1, "{takeovers:?}");
}

/// `take-over` on a master changes nothing.
#[test]
fn take_over_on_a_master_changes_nothing() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let before = pair.nodes[0].ok("status");
    pair.nodes[0].ok("take-over");
    let after = pair.nodes[0].ok("status");
    assert_eq!((&before["epoch"], &before["role"]), (&after["epoch"], &after["role"]));
    pair.nodes[0].write("quit");
    pair.nodes[0].wait("stopped", kind_is("stopped"));
}
