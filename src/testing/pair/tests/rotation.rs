//! Renewal of keys: under load, under kills at every step, and with a peer that is away.

use super::*;
use crate::node::OperatorError;
use crate::protocol::engine::OwnKeys;

fn keys(pair: &Pair, side: Side) -> OwnKeys {
    pair.node(side).status().unwrap().keys
}

fn rotate(pair: &Pair, side: Side) -> Result<OwnKeys, OperatorError> {
    let node = pair.node(side).handle();
    pair.block_on(async { node.operator().rotate().await })
}

/// Each node in turn gets a new key, and keeps its id. Nobody takes over, and what is committed meanwhile is there.
#[test]
fn a_key_is_renewed_over_the_live_link() {
    for (seed, witnessed) in [(51, true), (52, false)] {
        let options = fast(Replication::Synchronous);
        let pair = Pair::builder(seed).options(options).witnessed(witnessed).start().unwrap();
        pair.run_until(MINUTE, Pair::is_whole).unwrap();
        for (round, side) in [Side::A, Side::B, Side::A, Side::B].into_iter().enumerate() {
            let (before, node) = (keys(&pair, side), pair.node(side).status().unwrap().engine.node);
            let renewed = rotate(&pair, side).unwrap();
            assert_eq!((renewed, renewed.next), (keys(&pair, side), None));
            assert_ne!(renewed.current, before.current);
            pair.block_on(put(pair.node(Side::A).handle(), "round", &round.to_string()));
            pair.run_until(MINUTE, Pair::is_whole).unwrap();
            assert_eq!(pair.node(side).status().unwrap().engine.node, node, "the node keeps its id");
            assert_eq!(pair.master(), Some(Side::A), "nobody took over");
        }
        for side in Side::BOTH {
            pair.node(side).crash(Crash::Power);
            pair.node(side).restart().unwrap();
        }
        pair.run_until(MINUTE, Pair::is_whole).unwrap();
    }
}

/// A node dies after every event of a renewal in turn. The pair comes together again, and the renewal comes to its end.
fn killed_at_every_step(seed: u64, rotating: Side) {
    let pair = Pair::builder(seed).options(fast(Replication::Synchronous)).witnessed(true).start().unwrap();
    pair.run_until(MINUTE, Pair::is_whole).unwrap();
    let mut over = 0;
    for events in 0..400 {
        for victim in Side::BOTH {
            let before = keys(&pair, rotating).current;
            let operator = pair.node(rotating).handle().operator();
            pair.node(rotating).spawn(async move { drop(operator.rotate().await) });
            let until_us = pair.scheduler().now_us() + 1_000_000;
            for _ in 0..events {
                pair.scheduler().step(until_us);
            }
            over += u32::from(keys(&pair, rotating).current != before && pair.is_whole());
            pair.node(victim).crash(if events % 2 == 0 { Crash::Process } else { Crash::Power });
            pair.run_for(Duration::from_millis(200));
            pair.node(victim).restart().unwrap();
            let settled = |pair: &Pair| {
                assert!(pair.masters().len() < 2, "two masters");
                pair.is_whole() && keys(pair, rotating).next.is_none()
            };
            let what = format!("after {events} events of a renewal by {rotating:?}, {victim:?} killed");
            pair.run_until(MINUTE, settled).unwrap_or_else(|error| panic!("{what}: {error}\n{}", pair.last_lines()));
        }
        if over > 6 {
            println!("{events} events");
            return;
        }
    }
    panic!("the renewal never came to its end");
}

#[test]
fn a_node_killed_after_any_event_of_a_renewal_does_not_separate_the_pair() {
    killed_at_every_step(53, Side::A);
    killed_at_every_step(54, Side::B);
}

/// A peer that was away for all of it learns of the next key when it is back, also where the node was restarted meanwhile.
#[test]
fn a_peer_that_was_away_permits_the_next_key_when_it_is_back() {
    let pair = Pair::builder(55).options(fast(Replication::Asynchronous)).start().unwrap();
    pair.run_until(MINUTE, Pair::is_whole).unwrap();
    pair.node(Side::B).crash(Crash::Process);
    let away =
        |pair: &Pair| pair.node(Side::A).status().is_some_and(|status| status.engine.link.peer_revision.is_none());
    pair.run_for(Duration::from_secs(2));
    let _ = away;
    let before = keys(&pair, Side::A).current;
    let waiting = rotate(&pair, Side::A).unwrap();
    let next = waiting.next.expect("the next key waits for the peer");
    assert_eq!(waiting.current, before);
    assert!(matches!(rotate(&pair, Side::A), Err(OperatorError::RotationUnderWay)));
    pair.node(Side::A).crash(Crash::Power);
    pair.node(Side::A).restart().unwrap();
    pair.run_for(Duration::from_secs(1));
    assert_eq!(keys(&pair, Side::A), waiting);
    pair.node(Side::B).restart().unwrap();
    pair.run_until(MINUTE, |pair| pair.is_whole() && keys(pair, Side::A) == OwnKeys::only(next)).unwrap();
}

/// A node without a peer has nobody to wait for. Tokens that name its old key are worth nothing.
#[test]
fn a_node_without_a_peer_renews_its_key_at_once() {
    let pair = Pair::builder(56).options(fast(Replication::Asynchronous)).start().unwrap();
    pair.run_until(MINUTE, Pair::is_whole).unwrap();
    pair.node(Side::B).crash(Crash::Process);
    pair.run_for(Duration::from_secs(2));
    let node = pair.node(Side::A).handle();
    pair.block_on(async { node.operator().reset().await }).unwrap();
    pair.block_on(async { node.operator().token(None).await }).unwrap();
    let before = keys(&pair, Side::A).current;
    let renewed = rotate(&pair, Side::A).unwrap();
    assert!(renewed.next.is_none() && renewed.current != before, "{renewed:?}");
    let (token, _) = pair.block_on(async { node.operator().token(None).await }).unwrap();
    assert_eq!(token.master(), renewed.current);
}
