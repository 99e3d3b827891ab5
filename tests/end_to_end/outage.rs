//! The link between the nodes fails and comes back.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{FAST, Pair, Random, content, turn};

fn manual() -> Vec<&'static str> {
    [FAST, &["--failover", "manual"]].concat()
}

fn of_kind<'a>(alerts: &'a [Value], kind: &str) -> Vec<&'a Value> {
    alerts.iter().filter(|alert| alert["kind"] == kind).collect()
}

/// While the link is cut, one alert counts the failed pushes and survives a restart. Then the log repairs the shadow, and exactly
/// one warning remains.
#[test]
fn an_outage_is_counted_outlives_a_restart_and_ends_in_one_warning() {
    let _turn = turn();
    let mut pair = Pair::enrol(&manual());
    pair.nodes[0].ok("load 1000 100");
    pair.in_sync();
    pair.cut();
    for change in 0..100 {
        pair.nodes[0].ok(&format!("put during/{change} {change}"));
    }
    let standing = pair.nodes[0].alerts_until("the outage to show", |alerts| {
        !of_kind(alerts, "push_failed").is_empty() && !of_kind(alerts, "shadow_lost").is_empty()
    });
    assert_eq!(of_kind(&standing, "push_failed").len(), 1, "counted, not listed: {standing:?}");
    assert!(of_kind(&standing, "push_failed")[0]["count"].as_u64().unwrap() >= 1);
    assert_eq!(pair.nodes[0].ok("status")["link"]["state"], "lost");

    pair.restart(0);
    let after_restart = pair.nodes[0].alerts("push_failed");
    assert_eq!(after_restart.len(), 1, "alerts survive a restart");
    assert_eq!(after_restart[0]["first"], of_kind(&standing, "push_failed")[0]["first"]);

    pair.nodes[1].skip_to_now();
    pair.heal();
    let synced = pair.nodes[1].wait("the repair", |event| event["event"] == "synced");
    assert_eq!(synced["how"], "incremental", "{synced}");
    pair.in_sync();
    let after = pair.nodes[0].alerts_until("the failure alerts to go", |alerts| {
        of_kind(alerts, "push_failed").is_empty() && of_kind(alerts, "shadow_lost").is_empty()
    });
    let recovered = of_kind(&after, "recovered");
    assert_eq!(recovered.len(), 1, "exactly one warning: {after:?}");
    assert_eq!((&recovered[0]["severity"], &recovered[0]["count"]), (&"warning".into(), &1.into()));
    assert_eq!(pair.nodes[1].ok("get during/99")["value"], "99");

    let id = &recovered[0]["id"];
    pair.nodes[0].ok(&format!("ack {id}"));
    assert!(pair.nodes[0].alerts("recovered").is_empty(), "it stands until it is acknowledged");
    pair.nodes[0].refused(&format!("ack {id}"), "unknown_alert");
}

/// An operator disconnects the link and reconnects it.
#[test]
fn a_held_link_comes_back_when_it_is_let() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    for holder in [0, 1] {
        pair.nodes[holder].ok("disconnect");
        pair.nodes[holder].status("the link to be held", |status| status["link"]["state"] == "held");
        pair.nodes[0].ok(&format!("put held/{holder} x"));
        pair.nodes[1].check(pair.nodes[1].started["role"] == "shadow", "it stays a shadow");
        pair.nodes[holder].ok("reconnect");
        pair.in_sync();
    }
    let status = pair.nodes[0].ok("status");
    assert_eq!((&status["role"], &status["epoch"]), (&"master".into(), &pair.nodes[0].started["epoch"]));
}

/// `resync` on either node makes a full push.
#[test]
fn resync_is_a_full_push_from_either_side() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("load 2000 100");
    let before = pair.in_sync();
    for asking in [0, 1] {
        pair.nodes.iter_mut().for_each(|node| node.skip_to_now());
        pair.nodes[asking].ok("resync");
        for node in &mut pair.nodes {
            let synced = node.wait("the full push", |event| event["event"] == "synced");
            node.check(synced["how"] == "full" && synced["entries"] == 2000, &format!("{synced}"));
        }
        assert_eq!(pair.in_sync(), before);
    }
}

/// Where the log does not reach, the repair is staged: what differs, here everything. Killed anywhere in it, 50 times, the shadow
/// shows the old configuration or the new one, and the push completes after a restart.
#[test]
fn a_push_beyond_the_log_survives_kills_at_fifty_random_points() {
    let _turn = turn();
    let mut random = Random::new();
    let mut pair = Pair::enrol(&[manual().as_slice(), &["--log-changes", "2"]].concat());
    pair.nodes[0].ok("load 2000 1000");
    let mut old = pair.in_sync();
    let mut staged = 0;
    for round in 0..50 {
        pair.cut();
        pair.nodes[1].status("the cut to show", |status| status["link"]["state"] == "lost");
        pair.nodes[0].ok("load 2000 1000");
        for change in 0..8 {
            pair.nodes[0].ok(&format!("put beyond {round}.{change}"));
        }
        let new = content(&pair.nodes[0].ok("digest"));
        pair.nodes[1].skip_to_now();
        pair.heal();
        let victim = (round % 2) as usize;
        // Either node may have dialled, so that the connection runs through either proxy: watch both.
        let goal = 1_000 + random.below(2_300_000);
        carried_in_all(&mut pair, goal);
        pair.nodes[victim].kill();
        if victim == 0 {
            whole(&mut pair, &old, &new);
        }
        pair.start_again(victim);
        whole(&mut pair, &old, &new);
        assert_eq!(pair.in_sync(), new, "round {round}");
        while let Some(event) = pair.nodes[1].next_event(Duration::ZERO) {
            let how = event["how"].as_str().filter(|_| event["event"] == "synced");
            staged += u64::from(matches!(how, Some("full" | "differential")));
        }
        old = new;
    }
    assert!(staged >= 25, "the log reached too far for this story: {staged} staged pushes in 50 rounds");
}

/// Waits until so many bytes went through the proxies since they were healed, or until the push is over.
fn carried_in_all(pair: &mut Pair, goal: u64) {
    let before: u64 = pair.proxies.iter().map(|wire| wire.bytes_carried()).sum();
    for _ in 0..200 {
        let now: u64 = pair.proxies.iter().map(|wire| wire.bytes_carried()).sum();
        if now - before >= goal {
            return;
        }
        // The limit is for a push through the other proxy, or one that is over.
        let busier = usize::from(pair.proxies[1].bytes_carried() > pair.proxies[0].bytes_carried());
        pair.proxies[busier].wait_for_bytes((goal - (now - before)).min(16 * 1024), Duration::from_millis(20));
    }
}

/// The shadow shows the content of exactly one revision.
fn whole(pair: &mut Pair, old: &Value, new: &Value) {
    let shown = content(&pair.nodes[1].ok("digest"));
    pair.nodes[1].check(shown == *old || shown == *new, &format!("half a configuration: {shown}, not {old} or {new}"));
}

/// A link that is cut in one direction counts as lost.
#[test]
fn a_link_broken_one_way_is_found_out_and_heals() {
    let _turn = turn();
    let mut pair = Pair::enrol(&manual());
    for way in 0..2 {
        for wire in &pair.proxies {
            if way == 0 { wire.hold_to_node() } else { wire.hold_from_node() }
        }
        for node in &mut pair.nodes {
            node.status("the silence to show", |status| status["link"]["state"] != "connected");
        }
        pair.nodes[0].ok(&format!("put way/{way} x"));
        pair.heal();
        pair.in_sync();
    }
}

/// While the master is away, `in_sync` is an old word: its age says how old. A node without a peer has none.
#[test]
fn in_sync_shows_its_age() {
    let _turn = turn();
    let mut pair = Pair::enrol(&manual());
    let age = |status: &Value| status["in_sync_as_of"].as_u64();
    let together = pair.nodes[1].ok("status");
    pair.nodes[1].check(age(&together).is_some_and(|ms| ms < 10_000), &format!("{together}"));
    pair.nodes[0].kill();
    pair.nodes[1].status("the age to grow past the takeover delay", |status| {
        status["in_sync"] == true && age(status).is_some_and(|ms| ms > 1_000)
    });
    pair.start_again(0);
    pair.nodes[1].status("the age to be that of a heartbeat again", |status| {
        status["link"]["state"] == "connected" && age(status).is_some_and(|ms| ms < 1_000)
    });
    pair.nodes[1].ok("disconnect");
    pair.nodes[1].status("the link to be down", |status| status["link"]["state"] == "held");
    pair.nodes[1].ok("reset");
    let alone = pair.nodes[1].ok("status");
    pair.nodes[1].check(alone["in_sync_as_of"].is_null() && alone["in_sync"] == false, &format!("{alone}"));
}
