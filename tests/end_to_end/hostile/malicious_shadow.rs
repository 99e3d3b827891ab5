//! The right key in the wrong hands: somebody has read the shadow's disk, and speaks to the master as the shadow.

use std::collections::BTreeMap;

use serde_json::Value;

use super::attacker::{Attacker, CONTROL, CONTROL_V3, Hello, LARGEST, RECORDS, frame, stolen};
use super::undisturbed;
use crate::harness::{FAST, Pair, turn};

/// What it tries, what the alert says of it, and what is sent. Each costs the attacker the connection.
type Attack = (&'static str, &'static str, Vec<u8>);

/// The bytes of a node's id.
pub fn node_of(status: &Value) -> [u8; 32] {
    let text = status["node"].as_str().unwrap();
    std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
}

fn raw(length: u32, rest: [u8; 4]) -> Vec<u8> {
    [&length.to_le_bytes()[..], &rest].concat()
}

fn control(payload: &[&[u8]]) -> Vec<u8> {
    frame(CONTROL, &payload.concat())
}

/// What may not come first on a connection.
fn before_the_hello(hello: &Hello) -> Vec<Attack> {
    let position = hello.position();
    vec![
        ("a length prefix of 4 GiB", "4294967295 bytes exceeds the bound", raw(u32::MAX, [CONTROL, 1, 0, 0])),
        ("a control frame above its bound", "131073 bytes exceeds the bound", raw(128 * 1024 + 1, [CONTROL, 1, 0, 0])),
        ("a frame of an unknown kind", "kind 9 does not belong", raw(1, [9, 1, 0, 0])),
        ("a frame of the enrolment protocol", "kind 16 does not belong", raw(1, [16, 1, 0, 0])),
        ("a frame of format 0", "no format 0", raw(1, [CONTROL, 0, 0, 0])),
        ("a frame of a newer format", "", raw(1, [CONTROL, 2, 0, 0])),
        ("reserved bytes that are not zero", "reserved bytes", raw(1, [CONTROL, 1, 0, 1])),
        ("a frame of no bytes", "malformed", frame(CONTROL, &[])),
        ("bulk of no bytes", "malformed", frame(RECORDS, &[])),
        ("garbage after the handshake", "does not belong", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        (
            "a heartbeat before the hello",
            "before the hello",
            control(&[&[3, 1, 2, 0], hello.epoch(), position, &[0, 1]]),
        ),
        ("an acknowledgement before the hello", "before the hello", control(&[&[9], position, &[0]])),
        ("a resync before the hello", "before the hello", control(&[&[13]])),
        ("a switch before the hello", "before the hello", frame(CONTROL_V3, &[2, 0])),
        ("a message that nobody knows", "does not decode", control(&[&[99]])),
        ("a message of a version to come", "does not decode", frame(CONTROL_V3, &[77, 1])),
    ]
}

/// Hellos that are none, or of somebody else.
fn hellos(hello: &Hello, victim: [u8; 32]) -> Vec<Attack> {
    let with = |change: &dyn Fn(&mut Hello)| {
        let mut changed = hello.clone();
        change(&mut changed);
        changed.frame()
    };
    let mut endless = LARGEST.to_vec();
    endless.extend([0; 64]);
    let (first, second) = ([&[2, 9, 1][..], &[1; 32]].concat(), [&[3, 1][..], &[1; 32]].concat());
    let whole = hello.payload();
    vec![
        ("a history of 2^64 eras", "does not decode", hello.of_history(&endless).frame()),
        ("a history out of order", "field history", hello.of_history(&[first, second].concat()).frame()),
        ("the last epoch there is", "claims the epoch", hello.of_epoch(&LARGEST).frame()),
        ("a name of control characters", "field name", with(&|hello| hello.texts = b"\x03\x1b[2\x00".to_vec())),
        ("a name that is not UTF-8", "malformed", with(&|hello| hello.texts = vec![2, 0xff, 0xfe, 0])),
        ("a name of 200 bytes", "field name", with(&|hello| hello.texts = [&[200][..], &[b'a'; 200], &[0]].concat())),
        ("a name of 2^64 bytes", "does not decode", with(&|hello| hello.texts = LARGEST.to_vec())),
        ("a number that is longer than needed", "not canonical", with(&|hello| hello.run = vec![0xfb, 7, 0, 1, 0])),
        ("a role that there is not", "field role", with(&|hello| hello.role = vec![9, 0])),
        ("a yes that is neither yes nor no", "malformed", with(&|hello| hello.role = vec![2, 2])),
        (
            "a hello that says its last field twice",
            "left over",
            frame(CONTROL, &[&whole[..], &whole[whole.len() - 9..]].concat()),
        ),
        ("a hello that ends early", "does not decode", frame(CONTROL, &whole[..whole.len() - 3])),
        ("the hello of another pair", "belongs to pair 0909", with(&|hello| hello.pair = vec![9; 16])),
        ("the hello of a node that is not enrolled", "calls itself node 0909", with(&|hello| hello.node = vec![9; 32])),
        ("the victim's own hello", "calls itself node", with(&|hello| hello.node = victim.to_vec())),
        ("a hello of versions to come", "versions 90 to 91", with(&|hello| hello.versions = vec![90, 91])),
        (
            "a hello of versions that end before they begin",
            "field versions",
            with(&|hello| hello.versions = vec![4, 1]),
        ),
    ]
}

/// What a shadow in sync may not say.
fn after_the_hello(hello: &Hello) -> Vec<Attack> {
    let position = hello.position();
    let revision = &position[..position.len() - 32];
    let (digest, epoch) = (&position[position.len() - 32..], hello.epoch());
    vec![
        ("a second hello", "a second hello", hello.frame()),
        ("an ack of bytes that were never sent", "more bulk than was sent", control(&[&[9], position, &LARGEST])),
        ("received bytes that were never sent", "more bulk than was sent", control(&[&[7], &LARGEST])),
        (
            "an ack of the last epoch there is",
            "no history leads to",
            control(&[&[9], &LARGEST, &LARGEST, digest, &[0]]),
        ),
        (
            "a heartbeat of the last epoch there is",
            "no history leads to",
            control(&[&[3, 1, 2, 0], &LARGEST, position, &[0, 1]]),
        ),
        (
            "an answer of the last epoch there is",
            "no history leads to",
            control(&[&[4, 1, 2], &LARGEST, position, &[0]]),
        ),
        ("a rejection of the last epoch there is", "no history leads to", control(&[&[10], &LARGEST, &[1, 0]])),
        ("a repair of the master", "not the sink", control(&[&[5, 1], revision])),
        ("a snapshot for the master", "not the sink", control(&[&[5, 2, 1], position, hello.history(), &[0, 0, 0]])),
        ("ready for a snapshot that was never offered", "never offered", control(&[&[6, 42]])),
        (
            "modes that were turned impossibly often",
            "impossibly often",
            frame(CONTROL_V3, &[&[3][..], &LARGEST, &[1, 0, 0]].concat()),
        ),
        (
            "a switch to the last epoch there is",
            "no history leads to",
            frame(CONTROL_V3, &[&[2, 2][..], &LARGEST].concat()),
        ),
        ("wants of 2^64 entries", "does not decode", frame(CONTROL_V3, &[&[6, 1][..], &LARGEST].concat())),
        ("buckets of another number", "field buckets", frame(CONTROL_V3, &[5, 1, 3, 1, 2, 3])),
        (
            "a copy whose address is longer than its bound",
            "field reason",
            frame(CONTROL_V3, &[&[4, 7, 0, 0xfb, 0x01, 0x08][..], &[b'a'; 2_049]].concat()),
        ),
        ("a reason of control characters", "field reason", control(&[&[12, 0, 2], b"\x1b\x07"])),
        (
            "a resumption behind a key of no bytes",
            "field key",
            frame(CONTROL_V3, &[&[0, 1, 0][..], epoch, &[0], epoch, &[0]].concat()),
        ),
    ]
}

/// The alerts about something that was refused which say this of the last time, each with its count.
pub fn refusals(alerts: &Value, told: &str) -> BTreeMap<u64, u64> {
    let alerts = alerts["alerts"].as_array().unwrap().iter();
    let refused = alerts.filter(|alert| alert["kind"] == "unpermitted_peer" || alert["kind"] == "version_mismatch");
    let refused = refused.filter(|alert| alert["subject"] == "peer");
    let such = refused.filter(|alert| alert["message"].as_str().unwrap().contains(told));
    such.map(|alert| (alert["id"].as_u64().unwrap(), alert["count"].as_u64().unwrap())).collect()
}

/// 50 things that an authenticated shadow must not say. Each ends the link and is told of in an alert; the master goes on, and its memory does not grow.
#[test]
fn a_malicious_shadow_loses_the_link_by_whatever_it_must_not_say() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("put k v");
    pair.in_sync();
    let certificate = stolen(&pair.dir().join("second"));
    let [victim, shadow] = pair.nodes.each_mut().map(|node| node_of(&node.ok("status")));
    pair.nodes[1].kill();
    let master = &mut pair.nodes[0];
    let hello = Attacker::link(master, &certificate).hello(&shadow);
    let before = master.resident();
    let mut attacks = 0;
    let mut attack = |(what, told, frame): Attack, hello: &[u8]| {
        let before = refusals(&master.ok("alerts"), "");
        let mut attacker = Attacker::link(master, &certificate);
        attacker.send(hello);
        attacker.send(&frame);
        master.check(attacker.loses_connection(), &format!("{what} keeps the connection"));
        let counted = |reply: &Value| {
            refusals(reply, told).into_iter().any(|(id, count)| before.get(&id).is_none_or(|before| count > *before))
        };
        master.until("alerts", &format!("the alert about {what}: {told}"), counted);
        attacks += 1;
    };
    before_the_hello(&hello).into_iter().chain(hellos(&hello, victim)).for_each(|frame| attack(frame, &[]));
    after_the_hello(&hello).into_iter().for_each(|frame| attack(frame, &hello.frame()));
    assert_eq!(attacks, 50);
    let grown = master.resident().saturating_sub(before);
    master.check(grown < 16 * 1024 * 1024, &format!("{grown} bytes more after the attacks"));
    pair.nodes[0].alerts_until("the alert", |alerts| alerts.iter().any(|alert| alert["kind"] == "unpermitted_peer"));
    pair.start_again(1);
    undisturbed(&mut pair);
}

/// 50,000 heartbeats at once are answered or end the link; nothing piles up.
#[test]
fn a_flood_of_heartbeats_does_not_fill_the_memory() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let certificate = stolen(&pair.dir().join("second"));
    let shadow = node_of(&pair.nodes[1].ok("status"));
    pair.nodes[1].kill();
    let before = pair.nodes[0].resident();
    let mut attacker = Attacker::link(&pair.nodes[0], &certificate);
    let hello = attacker.hello(&shadow);
    let beat = control(&[&[3, 1, 2, 0], hello.epoch(), hello.position(), &[0, 1]]);
    attacker.send(&hello.frame());
    attacker.send(&beat.repeat(50_000));
    pair.nodes[0].ok("put during 1");
    let grown = pair.nodes[0].resident().saturating_sub(before);
    pair.nodes[0].check(grown < 32 * 1024 * 1024, &format!("{grown} bytes more for heartbeats"));
    drop(attacker);
    pair.start_again(1);
    undisturbed(&mut pair);
}
