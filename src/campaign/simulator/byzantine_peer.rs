//! A byzantine peer: arbitrary well-formed messages, as a broken or malicious program could send them.

use std::time::Duration;

use super::random::Random;
use crate::model::{Digest, Epoch, Era, History, Key, KeyId, NodeId, PairId, Position, Revision, RunId};
use crate::protocol::wire::{
    Bulk, Bye, CopySeen, Heartbeat, HeartbeatAck, Hello, HelloLog, HelloOptions, HelloSender, Message, Mode, Modes,
    Refusal, RefusalKind, Repair, ResumePoint, Role, SnapshotHeader, Switch, SwitchObstacle, Versions,
};

/// What the byzantine peer knows of its victim, so that some of its messages are close to the truth.
#[derive(Clone, Debug)]
pub struct VictimView {
    /// The pair.
    pub pair: PairId,
    /// The node that the byzantine peer is taken for.
    pub sender: NodeId,
    /// The victim's head.
    pub head: Position,
    /// The victim's history.
    pub history: History,
}

/// A message, drawn from these bits.
pub fn message(random: &mut Random, victim: &VictimView) -> Message {
    match random.below(17) {
        0..=1 => Message::Hello(Box::new(hello(random, victim))),
        2 => Message::Refuse(Refusal { kind: *random.pick(&RefusalKind::ALL), reason: text(random) }),
        3 => Message::Bye(*random.pick(&[Bye::Held, Bye::Shutdown, Bye::Duplicate, Bye::Reset])),
        4 => Message::Heartbeat(Heartbeat {
            nonce: number(random),
            role: role(random),
            serving: random.percent(50),
            epoch: epoch(random, victim),
            position: position(random, victim),
            asks: random.percent(50),
            wall_ms: number(random),
        }),
        5 => Message::HeartbeatAck(HeartbeatAck {
            nonce: number(random),
            role: role(random),
            epoch: epoch(random, victim),
            position: position(random, victim),
            promise: duration(random),
        }),
        6 => Message::Repair(Repair::None),
        7 => Message::Repair(Repair::Incremental { to: position(random, victim).revision }),
        8 => Message::Repair(Repair::Full(header(random, victim))),
        9 => answer_to_offer(number(random)),
        10 => Message::Received { sum: number(random) },
        11 => Message::SnapshotEnd { transfer: number(random) },
        12 => Message::Ack { position: position(random, victim), received: number(random) },
        13 => Message::Rejected { at: position(random, victim).revision, reason: text(random) },
        14 => Message::Mismatch { at: position(random, victim) },
        15 => match point(random, victim) {
            Some(point) => Message::SnapshotResume { transfer: number(random), point: Box::new(point) },
            None => Message::Resync,
        },
        _ if random.percent(50) => Message::DiskTrouble { full: random.percent(50), reason: text(random) },
        _ => switch_or_resync(random, victim),
    }
}

fn switch_or_resync(random: &mut Random, victim: &VictimView) -> Message {
    let mode = |random: &mut Random| Mode { changes: number(random), on: random.percent(50) };
    match random.below(8) {
        0 => Message::Switch(Switch::Ask),
        1 => Message::Switch(Switch::Prepare { position: position(random, victim), epoch: epoch(random, victim) }),
        2 => Message::Switch(Switch::Ready { epoch: epoch(random, victim) }),
        3 => {
            let stops = random.percent(50);
            Message::Switch(Switch::HandOver {
                position: position(random, victim),
                epoch: epoch(random, victim),
                stops,
            })
        }
        4 => Message::Switch(Switch::CallOff { why: *random.pick(&SwitchObstacle::ALL) }),
        5 => Message::Modes(Modes { paused: mode(random), frozen: mode(random) }),
        // Nothing is drawn for it: the order of draws is part of every kept seed.
        6 => {
            let (run, later) = (RunId(victim.head.revision.seq), victim.sender.to_string());
            Message::CopySeen(CopySeen { run, first: String::new(), later })
        }
        // Nothing is drawn for these either.
        _ => {
            let seq = victim.head.revision.seq;
            let key = KeyId([seq as u8; 32]);
            match seq % 4 {
                1 => Message::NextKey { key },
                2 => Message::KeyPinned { key },
                _ => Message::Resync,
            }
        }
    }
}

/// The header of a frame of bulk whose content is something else.
pub fn bulk(random: &mut Random, victim: &VictimView) -> Bulk {
    if random.percent(50) {
        return Bulk::Snapshot { transfer: number(random) };
    }
    let mut any = || position(random, victim).revision;
    Bulk::Records { after: any(), last: any(), durable: any() }
}

fn hello(random: &mut Random, victim: &VictimView) -> Hello {
    let versions = Versions { min: number(random) as u16 % 3, max: number(random) as u16 };
    // The order of draws is part of every kept seed.
    let pair = if random.percent(90) { victim.pair } else { PairId([9; 16]) };
    let node = if random.percent(90) { victim.sender } else { NodeId([9; 32]) };
    let (run, hello_no, linked) = (RunId(number(random)), number(random), random.percent(30));
    Hello {
        versions,
        sender: HelloSender { pair, node, run, name: text(random), address: text(random) },
        hello_no,
        linked,
        role: role(random),
        serving: random.percent(50),
        epoch: epoch(random, victim),
        log: HelloLog {
            position: position(random, victim),
            floor: position(random, victim).revision,
            shown: position(random, victim).revision,
            complete: random.percent(70),
            history: history(random, victim),
        },
        options: HelloOptions {
            heartbeat: duration(random),
            takeover_delay: duration(random),
            schema: number(random) as u32,
            data_key: random.percent(20).then_some([3; 32]),
        },
        wall_ms: number(random),
    }
}

fn header(random: &mut Random, victim: &VictimView) -> SnapshotHeader {
    SnapshotHeader {
        transfer: number(random),
        position: position(random, victim),
        history: history(random, victim),
        chain: number(random) as u32,
        entries: number(random),
        bytes: number(random),
    }
}

/// What a sink says to a snapshot that is offered. It draws nothing, since the order of draws is part of every kept seed.
fn answer_to_offer(transfer: u64) -> Message {
    let lie = |most: u64| transfer.to_le_bytes().into_iter().cycle().take((transfer % most) as usize).collect();
    match transfer % 4 {
        1 => Message::SnapshotBase { transfer, buckets: lie(61) },
        2 => Message::SnapshotWants { transfer, wants: lie(7) },
        _ => Message::SnapshotReady { transfer },
    }
}

fn point(random: &mut Random, victim: &VictimView) -> Option<ResumePoint> {
    let after = Key::new(random.pick(&["!", "entry/05", "~"])).ok()?;
    let mut any = || position(random, victim).revision;
    Some(ResumePoint { after, from: any(), upto: any() })
}

fn history(random: &mut Random, victim: &VictimView) -> History {
    if random.percent(40) {
        return victim.history.clone();
    }
    let mut eras: Vec<Era> = (0..random.below(4))
        .map(|_| Era { epoch: epoch(random, victim), first_seq: number(random).max(1), node: victim.sender })
        .collect();
    eras.sort_by_key(|era| (era.epoch, era.first_seq));
    History::from_eras(eras).unwrap_or_default()
}

fn role(random: &mut Random) -> Role {
    if random.percent(50) { Role::Master } else { Role::Shadow }
}

fn epoch(random: &mut Random, victim: &VictimView) -> Epoch {
    let own = victim.head.revision.epoch;
    match random.below(6) {
        0..=2 => own,
        3 => Epoch::from_u64(own.as_u64().saturating_sub(random.below(3))),
        4 => own.promoted(random.bits()),
        _ => Epoch::from_u64(number(random)),
    }
}

fn position(random: &mut Random, victim: &VictimView) -> Position {
    if random.percent(30) {
        return victim.head;
    }
    let digest = if random.percent(60) { victim.head.digest } else { Digest([7; 32]) };
    let seq = if random.percent(60) { victim.head.revision.seq.wrapping_add(random.below(5)) } else { number(random) };
    Position { revision: Revision::new(epoch(random, victim), seq), digest }
}

/// A number that is small, close to a bound, or anything.
fn number(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => random.below(4),
        1 => u64::MAX - random.below(2),
        2 => random.below(1 << 20),
        _ => random.bits(),
    }
}

fn duration(random: &mut Random) -> Duration {
    match random.below(4) {
        0 => Duration::ZERO,
        1 => Duration::MAX,
        _ => Duration::from_micros(random.below(10_000_000)),
    }
}

fn text(random: &mut Random) -> String {
    match random.below(3) {
        0 => String::new(),
        1 => "a word".into(),
        _ => "é".repeat(random.below(257) as usize),
    }
}
