//! Somebody has read the master's disk, and speaks to the shadow as its master. What the shadow holds does not change by what is
//! not whole and right.

use serde_json::Value;

use super::attacker::{Attacker, CONTROL, Hello, LARGEST, RECORDS, SNAPSHOT, frame, last_checksum, record, stolen};
use super::malicious_shadow::{node_of, refusals};
use crate::harness::{FAST, Pair, content, turn};

/// The number of a position's epoch and seq, little-endian, as bulk has them.
fn revision(position: &[u8]) -> [u64; 2] {
    let mut at = 0;
    let mut number = || {
        let (from, wide) = match position[at] {
            0xfb => (at + 1, 2),
            0xfc => (at + 1, 4),
            0xfd => (at + 1, 8),
            _ => (at, 1),
        };
        at = from + wide;
        position[from..at].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    [number(), number()]
}

fn records(after: [u64; 2], last: [u64; 2], bytes: &[u8]) -> Vec<u8> {
    let numbers = [after, last, last].concat();
    let head: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
    frame(RECORDS, &[&head[..], bytes].concat())
}

/// How an attack ends.
#[derive(Clone, Copy)]
enum End {
    /// The shadow says that it does not match.
    Mismatch,
    /// The shadow closes the connection, and an alert says this of it.
    Closed(&'static str),
    /// It is dropped or waited for.
    Nothing,
}

/// What is sent after the hello, what it tries, and how it ends.
fn attacks(hello: &Hello, last_checksum: u32) -> Vec<(&'static str, Vec<u8>, End)> {
    let position = hello.position();
    let (at, digest) = (revision(position), &position[position.len() - 32..]);
    let next = [at[0], at[1] + 1];
    let incremental = frame(CONTROL, &[&[5, 1][..], &position[..position.len() - 32]].concat());
    let push = |bytes: &[u8]| [&incremental[..], &records(at, next, bytes)].concat();
    let full = |position: &[u8], size: &[u8]| {
        frame(CONTROL, &[&[5, 2, 9][..], position, hello.history(), &[0], size, size].concat())
    };
    let lies = [&position[..position.len() - 32], &[7; 32]].concat();
    let change_set = [&[7; 32][..], &[1, 0, 0, 0, 0, 1, 0, b'k']].concat();
    vec![
        ("a change set chained to another log", push(&record(4, at[0], next[1], 1, &change_set)), End::Mismatch),
        ("a digest that lies", push(&record(4, at[0], next[1], last_checksum, &change_set)), End::Mismatch),
        ("an era of the last epoch", push(&record(1, u64::MAX, at[1], last_checksum, &[9; 32])), End::Mismatch),
        ("half a record", push(&record(4, at[0], next[1], last_checksum, &change_set)[..50]), End::Nothing),
        ("noise in place of a record", push(&[0xa5; 500]), End::Nothing),
        (
            "records of the last epoch",
            [&incremental[..], &records(at, [u64::MAX, 9], &[1])].concat(),
            End::Closed("no history leads to"),
        ),
        (
            "a snapshot of the last epoch",
            full(&[&LARGEST, &LARGEST, digest].concat(), &[0]),
            End::Closed("no history leads to"),
        ),
        (
            "a snapshot outside its history",
            full(&[&[1, 1][..], digest].concat(), &[0]),
            End::Closed("not in its history"),
        ),
        (
            "the end of a snapshot that never began",
            [&incremental[..], &frame(CONTROL, &[8, 9])].concat(),
            End::Closed("never began"),
        ),
        ("a snapshot of 2^64 entries", full(position, &LARGEST), End::Nothing),
        ("a snapshot whose digest lies", full(&lies, &[1]), End::Nothing),
        ("17 MiB of a snapshot that nobody asked for", frame(SNAPSHOT, &[0; 500_000]).repeat(36), End::Closed("bulk")),
    ]
}

#[test]
fn a_malicious_master_changes_nothing_by_what_is_not_right() {
    let _turn = turn();
    let mut pair = Pair::enrol(&[FAST, &["--failover", "manual"]].concat());
    pair.nodes[0].ok("put k v");
    pair.in_sync();
    let certificate = stolen(&pair.dir().join("first"));
    let master = node_of(&pair.nodes[0].ok("status"));
    pair.nodes[0].kill();
    let held = what_it_holds(&mut pair);
    let before = pair.nodes[1].resident();
    let hello = Attacker::link(&pair.nodes[1], &certificate).hello(&master);
    for (what, frames, end) in attacks(&hello, last_checksum(&pair.dir().join("first"))) {
        println!("{what}");
        let mut attacker = Attacker::link(&pair.nodes[1], &certificate);
        attacker.send(&hello.frame());
        attacker.send(&frames);
        let as_expected = match end {
            End::Mismatch => attacker.hears(11),
            End::Closed(told) => {
                let closed = attacker.loses_connection();
                let tells = |reply: &Value| !refusals(reply, told).is_empty();
                pair.nodes[1].until("alerts", &format!("the alert about {what}: {told}"), tells);
                closed
            }
            End::Nothing => true,
        };
        pair.nodes[1].check(as_expected, what);
        assert_eq!(what_it_holds(&mut pair), held, "{what}");
    }
    let grown = pair.nodes[1].resident().saturating_sub(before);
    pair.nodes[1].check(grown < 48 * 1024 * 1024, &format!("{grown} bytes more after the attacks"));
    pair.start_again(0);
    pair.nodes[0].serving();
    pair.in_sync();
    assert_eq!(pair.nodes[1].ok("get k")["value"], "v");
}

/// Position and content of the shadow.
fn what_it_holds(pair: &mut Pair) -> [Value; 2] {
    let mut digest = pair.nodes[1].ok("digest");
    let position = digest["revision"].take();
    [position, content(&digest)]
}
