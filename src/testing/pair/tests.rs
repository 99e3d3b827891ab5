use super::*;

mod audit;
mod gateway;
mod planned_moves;
mod rotation;
mod upgrade;

use crate::model::ChangeSet;
use crate::node::CommitError;
use crate::protocol::alerts::Severity;
use crate::protocol::engine::{AlertKind, Replication, RoleReason, Timeouts};

const MINUTE: Duration = Duration::from_secs(60);

fn synchronous(seed: u64) -> Pair {
    let options = Options { replication: Replication::Synchronous, ..Options::default() };
    Pair::builder(seed).options(options).start().unwrap()
}

/// Short times, so that a history of many moves is soon over.
fn fast(replication: Replication) -> Options {
    Options {
        heartbeat: Duration::from_millis(100),
        takeover_delay: Duration::from_millis(500),
        hold_down: Duration::ZERO,
        replication,
        ..Options::default()
    }
}

async fn put(node: Node, key: &str, value: &str) {
    node.config().commit(ChangeSet::new().put(key, value.to_owned())).await.unwrap();
}

#[test]
fn a_pair_enrols_and_replicates() {
    let pair = synchronous(1);
    assert_eq!(pair.master(), Some(Side::A));
    pair.block_on(put(pair.node(Side::A).handle(), "key", "value"));
    pair.run_until(MINUTE, Pair::is_whole).unwrap();
    let shadow = pair.node(Side::B).handle();
    assert_eq!(shadow.config().snapshot().get("key").unwrap().unwrap(), "value");
}

#[test]
fn the_shadow_takes_over_from_a_master_without_power_and_goes_on_as_its_peer() {
    let pair = synchronous(2);
    pair.block_on(put(pair.node(Side::A).handle(), "key", "value"));
    pair.node(Side::A).crash(Crash::Power);
    pair.run_until(MINUTE, |pair| pair.master() == Some(Side::B)).unwrap();
    let master = pair.node(Side::B).handle();
    assert_eq!(master.config().snapshot().get("key").unwrap().unwrap(), "value");
    pair.block_on(put(master, "key", "other"));
    pair.node(Side::A).restart().unwrap();
    pair.run_until(MINUTE, Pair::is_whole).unwrap();
    assert_eq!(pair.master(), Some(Side::B));
    assert_eq!(pair.node(Side::A).handle().config().snapshot().get("key").unwrap().unwrap(), "other");
}

#[test]
fn a_seed_means_the_same_every_time() {
    let run = |seed| {
        let pair = synchronous(seed);
        pair.node(Side::A).pause();
        pair.run_for(MINUTE);
        pair.node(Side::A).resume();
        pair.run_for(MINUTE);
        (pair.trace(), pair.fingerprint())
    };
    for seed in 0..4 {
        let (one, other) = (run(seed), run(seed));
        assert_eq!(one.0, other.0);
        assert_eq!(one.1, other.1);
    }
}

/// The host learns of the end before it comes, and still commits. Then the other node serves, long before any takeover.
#[test]
fn a_switch_of_roles_is_announced_and_takes_far_less_than_a_takeover() {
    for (seed, witnessed) in [(21, true), (22, false)] {
        let grace = Duration::from_secs(1);
        let timeouts = Timeouts { grace, ..Timeouts::default() };
        let options = Options { replication: Replication::Synchronous, timeouts, ..Options::default() };
        let pair = Pair::builder(seed).options(options).witnessed(witnessed).start().unwrap();
        pair.block_on(put(pair.node(Side::A).handle(), "key", "value"));
        pair.run_until(MINUTE, Pair::is_whole).unwrap();
        let (old, new) = (pair.node(Side::A).handle(), pair.node(Side::B).handle());
        let said = pair.elapsed();
        pair.block_on(async {
            let mastership = old.mastership().await.unwrap();
            let operator = old.operator();
            let switch = operator.switch_roles();
            let host = async {
                mastership.ending().await;
                assert!(mastership.check().is_ok(), "it ends after its announcement");
                put(old.clone(), "last", "word").await;
                mastership.ended().await
            };
            let (switched, ended) = tokio::join!(switch, host);
            assert_eq!((switched, ended.reason), (Ok(()), RoleReason::Switched));
            let mastership = new.mastership().await.unwrap();
            assert!(mastership.check().is_ok());
        });
        let took = pair.elapsed() - said;
        assert!(took >= grace && took < grace + Duration::from_millis(200), "{took:?}");
        assert_eq!(new.config().snapshot().get("last").unwrap().unwrap(), "word");
        pair.block_on(put(new, "key", "other"));
        pair.run_until(MINUTE, Pair::is_whole).unwrap();
    }
}

/// A clean stop hands over, four times in a row, without a hold-down and far within the takeover delay.
#[test]
fn a_clean_stop_hands_over_at_once() {
    for (seed, witnessed) in [(23, true), (24, false)] {
        let pair = Pair::builder(seed).witnessed(witnessed).start().unwrap();
        for round in 0..4 {
            let master = pair.master().unwrap();
            pair.block_on(put(pair.node(master).handle(), "round", &round.to_string()));
            pair.run_until(MINUTE, Pair::is_whole).unwrap();
            let begun = pair.elapsed();
            let node = pair.node(master).handle();
            pair.node(master).spawn(async move { node.shutdown().await });
            pair.run_until(MINUTE, |pair| pair.master() == Some(master.other())).unwrap();
            let took = pair.elapsed() - begun;
            assert!(took < Duration::from_millis(200), "{took:?}");
            pair.run_for(Duration::from_secs(20));
            pair.node(master).restart().unwrap();
        }
        pair.run_until(MINUTE, Pair::is_whole).unwrap();
        assert!(!has_alert(&pair, Side::A, AlertKind::Takeover) && !has_alert(&pair, Side::B, AlertKind::Takeover));
    }
}

fn has_alert(pair: &Pair, side: Side, kind: AlertKind) -> bool {
    pair.node(side).status().is_some_and(|status| status.engine.alerts.iter().any(|alert| alert.kind == kind))
}

/// Nothing writes, so only the look at the directory can tell.
#[test]
fn an_idle_master_whose_directory_is_gone_stops_serving_and_the_shadow_takes_over() {
    let pair = synchronous(3);
    pair.block_on(put(pair.node(Side::A).handle(), "key", "value"));
    let delay = Options::default().takeover_delay;
    pair.node(Side::A).disk().unmount();
    pair.run_until(delay, |pair| has_alert(pair, Side::A, AlertKind::DiskTrouble)).unwrap();
    let refused =
        pair.block_on(async { pair.node(Side::A).handle().config().commit(ChangeSet::new().put("key", "late")).await });
    assert!(matches!(refused, Err(CommitError::NotMaster { .. })), "{refused:?}");
    pair.run_until(MINUTE, |pair| pair.master() == Some(Side::B)).unwrap();
    let master = pair.node(Side::B).handle();
    assert_eq!(master.config().snapshot().get("key").unwrap().unwrap(), "value");
    pair.node(Side::A).disk().mount();
    pair.run_until(MINUTE, Pair::is_whole).unwrap();
    assert_eq!(pair.master(), Some(Side::B));
    pair.run_until(MINUTE, |pair| !has_alert(pair, Side::A, AlertKind::DiskTrouble)).unwrap();
}

/// A frozen file system answers questions about names and does not write. Nobody commits, so only the node's own write can tell.
#[test]
fn an_idle_master_whose_disk_hangs_lets_its_shadow_serve_and_follows_it_later() {
    let pair = synchronous(5);
    pair.block_on(put(pair.node(Side::A).handle(), "key", "value"));
    let bound = Options::default().disk_timeout().unwrap();
    pair.node(Side::A).disk().freeze();
    pair.run_until(2 * bound + MINUTE / 4, |pair| pair.master() == Some(Side::B)).unwrap();
    assert!(has_alert(&pair, Side::A, AlertKind::DiskTrouble));
    pair.block_on(put(pair.node(Side::B).handle(), "key", "other"));
    pair.node(Side::A).disk().thaw();
    pair.run_until(MINUTE, Pair::is_whole).unwrap();
    assert_eq!(pair.master(), Some(Side::B));
}

/// Nobody could act in its place, so it waits for its disk.
#[test]
fn a_master_without_a_peer_goes_on_when_its_disk_has_hung() {
    let pair = synchronous(7);
    pair.node(Side::B).crash(Crash::Power);
    let alone = pair.node(Side::A).handle();
    pair.block_on(async { alone.operator().disconnect().await.unwrap() });
    pair.block_on(async { alone.operator().reset().await.unwrap() });
    pair.node(Side::A).disk().freeze();
    pair.run_for(2 * MINUTE);
    assert_eq!(pair.master(), Some(Side::A));
    assert!(!has_alert(&pair, Side::A, AlertKind::DiskTrouble));
    pair.node(Side::A).disk().thaw();
    pair.block_on(put(pair.node(Side::A).handle(), "key", "value"));
}

/// Nobody took over meanwhile, so the master serves again by itself.
#[test]
fn a_master_alone_whose_disk_hung_serves_again() {
    let pair = synchronous(6);
    pair.node(Side::B).crash(Crash::Power);
    pair.node(Side::A).disk().freeze();
    pair.run_until(2 * MINUTE, |pair| pair.master().is_none()).unwrap();
    pair.node(Side::A).disk().thaw();
    pair.run_until(MINUTE, |pair| pair.master() == Some(Side::A)).unwrap();
}

#[test]
fn a_shadow_whose_directory_is_gone_says_so_and_does_not_take_over() {
    let pair = synchronous(4);
    pair.node(Side::B).disk().unmount();
    pair.run_until(MINUTE, |pair| has_alert(pair, Side::B, AlertKind::DiskTrouble)).unwrap();
    pair.node(Side::A).crash(Crash::Power);
    pair.run_for(MINUTE);
    assert_eq!(pair.master(), None);
    pair.node(Side::B).disk().mount();
    pair.run_until(MINUTE, |pair| pair.master() == Some(Side::B)).unwrap();
}

/// About 1.3 MB in 203 change sets: a value that is sent in chunks, one that is a single record, and small ones.
async fn put_much(node: Node) {
    let noise = |bytes: usize, seed: u64| {
        let mut random = crate::testing::random::Random::new(seed);
        (0..bytes).map(|_| (random.bits() >> 32) as u8).collect::<Vec<u8>>()
    };
    for (key, bytes) in [("large", 900_000), ("inline", 250_000)] {
        node.config().commit(ChangeSet::new().put(key, noise(bytes, 1))).await.unwrap();
    }
    for number in 0..200 {
        node.config().commit(ChangeSet::new().put(format!("small/{number}"), noise(800, number))).await.unwrap();
    }
}

/// Runs until the pair is whole. At every moment the link is there, beats come through, and what the shadow has grows.
fn catches_up_steadily(pair: &Pair, limit: Duration) {
    let (mut linked, mut reached, mut slowest_us) = (false, None, 0);
    let steady = |pair: &Pair| {
        for side in Side::BOTH {
            let status = pair.node(side).status().unwrap();
            let link = &status.engine.link;
            linked |= link.state == LinkState::Syncing;
            assert!(!linked || link.state != LinkState::Lost, "{side:?} loses the link: {}", pair.last_lines());
            slowest_us = slowest_us.max(link.last_seen_us.filter(|_| linked).unwrap_or(0));
            assert!(!status.engine.alerts.iter().any(|alert| alert.kind == AlertKind::SlowLink), "{side:?}");
        }
        let at = pair.node(Side::B).status().unwrap().engine.position.revision;
        assert!(reached <= Some(at), "it falls back");
        reached = Some(at);
        assert_eq!(pair.master(), Some(Side::A), "nobody takes over");
        pair.is_whole()
    };
    pair.run_until(limit, steady).unwrap();
    assert!(linked);
    assert!(slowest_us < 1_600_000, "a node is not heard for {slowest_us} microseconds");
    let read = |side| pair.node(side).handle().config().snapshot().get("large").unwrap().unwrap();
    assert!(read(Side::A) == read(Side::B));
}

#[test]
fn a_slow_link_brings_a_shadow_up_to_date_without_being_lost() {
    for (rate, witnessed) in [(16_000, true), (16_000, false), (32_000, false), (64_000, true)] {
        let pair = Pair::builder(rate).witnessed(witnessed).start().unwrap();
        pair.node(Side::B).crash(Crash::Process);
        pair.block_on(put_much(pair.node(Side::A).handle()));
        pair.link().rate(rate);
        pair.node(Side::B).restart().unwrap();
        let needed = Duration::from_secs(1_400_000 / rate);
        catches_up_steadily(&pair, needed * 3 / 2 + MINUTE);
    }
}

#[test]
fn a_full_push_over_a_slow_link_comes_to_an_end() {
    let pair = Pair::builder(5).start().unwrap();
    pair.block_on(put_much(pair.node(Side::A).handle()));
    pair.run_until(MINUTE, Pair::is_whole).unwrap();
    pair.run_for(Duration::from_secs(2));
    pair.link().rate(16_000);
    let shadow = pair.node(Side::B).handle();
    pair.block_on(async { shadow.operator().resync().await }).unwrap();
    pair.run_until(MINUTE, |pair| !pair.is_whole()).unwrap();
    catches_up_steadily(&pair, Duration::from_secs(200));
}

#[test]
fn a_large_change_set_over_a_slow_link_delays_no_heartbeat() {
    let pair = Pair::builder(6).start().unwrap();
    pair.link().rate(16_000);
    let master = pair.node(Side::A).handle();
    let large = ChangeSet::new().put("large", vec![7; 600_000]).put("inline", vec![7; 250_000]);
    pair.block_on(async { master.config().commit(large).await }).unwrap();
    pair.run_until(MINUTE, |pair| !pair.is_whole()).unwrap();
    let whole = |pair: &Pair| {
        let heard = |side| pair.node(side).status().unwrap().engine.link.last_seen_us.unwrap();
        let answers = |side| pair.node(side).status().unwrap().engine.link.round_trip_us < Some(1_200_000);
        assert!(Side::BOTH.into_iter().all(|side| heard(side) < 1_600_000 && answers(side)), "{}", pair.last_lines());
        assert_eq!(pair.master(), Some(Side::A));
        pair.is_whole()
    };
    pair.run_until(2 * MINUTE, whole).unwrap();
}

/// Each node reaches the other by its name, by its own dial. Then no name is resolved any more, or no look-up ends.
fn lose_the_names(pair: &Pair, hangs: bool) {
    for side in Side::BOTH {
        pair.link().refuse(side.other(), 1);
        pair.link().reset();
        pair.run_for(Duration::from_secs(5));
    }
    pair.run_until(MINUTE, Pair::is_whole).unwrap();
    if hangs { pair.link().names_hang() } else { pair.link().names_fail() }
}

#[test]
fn a_resolver_that_fails_or_hangs_parts_no_pair() {
    for hangs in [false, true] {
        let pair = Pair::builder(7).witnessed(false).named(true).start().unwrap();
        let dialled = |side| pair.node(side).status().unwrap().engine.link.peer.clone().unwrap();
        assert!(dialled(Side::A).starts_with("b.pair.example"), "{}", dialled(Side::A));
        lose_the_names(&pair, hangs);
        for _ in 0..5 {
            pair.link().reset();
            let whole = |pair: &Pair| {
                assert!(pair.masters().iter().all(|side| *side == Side::A), "{}", pair.last_lines());
                pair.is_whole()
            };
            pair.run_until(Duration::from_secs(1), |pair| !pair.is_whole()).unwrap();
            pair.run_until(Duration::from_secs(5), whole).unwrap();
        }
    }
}

/// The addresses that worked are in the data directory: a node finds its peer although no name has resolved since it started.
#[test]
fn a_node_that_restarts_while_no_name_resolves_finds_its_peer() {
    for hangs in [false, true] {
        let pair = Pair::builder(8).witnessed(false).named(true).start().unwrap();
        lose_the_names(&pair, hangs);
        // Also where power fails, and where neither remembers anything but what is on its disk.
        pair.node(Side::B).crash(Crash::Power);
        pair.node(Side::A).crash(Crash::Process);
        for side in Side::BOTH {
            pair.node(side).restart().unwrap();
        }
        pair.run_until(Duration::from_secs(4), Pair::is_whole).unwrap();
        assert_eq!(pair.master(), Some(Side::A));
    }
}

fn needs_operator(pair: &Pair, side: Side) -> Vec<String> {
    let alerts = pair.node(side).status().unwrap().engine.alerts.clone().into_iter();
    alerts.filter(|alert| alert.kind == AlertKind::NeedsOperator).map(|alert| alert.subject).collect()
}

/// The link stands and hides that neither could dial the other. Both say so, and it ends with the name server's trouble.
#[test]
fn names_that_do_not_resolve_are_told_of_while_the_link_stands() {
    let pair = Pair::builder(9).named(true).start().unwrap();
    pair.run_for(MINUTE);
    assert!(Side::BOTH.into_iter().all(|side| needs_operator(&pair, side).is_empty()));
    pair.link().names_fail();
    pair.link().reset();
    let told = |pair: &Pair| {
        Side::BOTH.into_iter().all(|side| needs_operator(pair, side) == ["undialable", "peer_undialable"])
    };
    pair.run_until(2 * MINUTE, told).unwrap();
    pair.link().names_work();
    let over = |pair: &Pair| Side::BOTH.into_iter().all(|side| needs_operator(pair, side).is_empty());
    pair.run_until(2 * MINUTE, over).unwrap();
    assert!(pair.is_whole());
}

/// Said at the start, and of an idle node within the interval of the look.
#[test]
fn little_room_is_told_before_the_disk_is_full() {
    let pair = Pair::builder(10).start().unwrap();
    let little = |pair: &Pair, side| {
        let status = pair.node(side).status().unwrap();
        status
            .engine
            .alerts
            .iter()
            .any(|alert| alert.subject.starts_with("room") && alert.severity == Severity::Warning)
    };
    for side in Side::BOTH {
        pair.node(side).disk().leave(5_000_000);
        pair.run_until(MINUTE, |pair| little(pair, side)).unwrap();
        assert!(pair.is_whole());
    }
    pair.node(Side::A).crash(Crash::Process);
    pair.node(Side::A).disk().make_room();
    pair.node(Side::A).restart().unwrap();
    pair.run_until(Duration::from_secs(1), |pair| !little(pair, Side::A)).unwrap();
}

/// The schema of the host's data: the shadow is upgraded first, then the master. The other way round the link is refused, and the
/// master says so.
#[test]
fn an_older_shadow_is_refused_under_a_newer_master_and_a_newer_one_is_not() {
    let pair = Pair::builder(11).start().unwrap();
    let upgrade = |side: Side, schema: u32| {
        pair.node(side).set_options(Options { schema, ..Options::default() });
        pair.node(side).restart().unwrap();
    };
    upgrade(Side::B, 1);
    pair.run_until(MINUTE, Pair::is_whole).unwrap();
    upgrade(Side::A, 2);
    pair.run_until(MINUTE, |pair| has_alert(pair, Side::A, AlertKind::VersionMismatch)).unwrap();
    pair.run_until(MINUTE, |pair| {
        pair.node(Side::B).status().is_some_and(|status| status.engine.link.reason.contains("schema"))
    })
    .unwrap();
    assert!(!pair.is_whole());
    upgrade(Side::B, 2);
    pair.run_until(MINUTE, Pair::is_whole).unwrap();
    assert!(!has_alert(&pair, Side::A, AlertKind::VersionMismatch));
}
