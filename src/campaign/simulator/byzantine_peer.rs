//! Arbitrary well-formed messages, as a peer could send them that is broken or bought.

use std::time::Duration;

use super::random::Random;
use crate::model::{Digest, Epoch, Era, History, NodeId, PairId, Position, Revision, RunId};
use crate::protocol::wire::{
    Bulk, Bye, Heartbeat, HeartbeatAck, Hello, Message, Refusal, RefusalKind, Repair, Role, SnapshotHeader, Versions,
};

/// What a liar knows of the one it lies to, so that some of its lies are close to the truth.
#[derive(Clone, Debug)]
pub struct VictimView {
    /// The pair.
    pub pair: PairId,
    /// Whom the liar is taken for.
    pub liar: NodeId,
    /// Where the victim stands.
    pub head: Position,
    /// Its lineage.
    pub history: History,
}

/// A message, drawn from these bits.
pub fn message(random: &mut Random, log_view: &VictimView) -> Message {
    match random.below(16) {
        0..=1 => Message::Hello(Box::new(hello(random, log_view))),
        2 => Message::Refuse(Refusal { kind: *random.pick(&REFUSALS), reason: text(random) }),
        3 => Message::Bye(*random.pick(&[Bye::Held, Bye::Shutdown, Bye::Duplicate, Bye::Reset])),
        4 => Message::Heartbeat(Heartbeat {
            nonce: number(random),
            role: role(random),
            serving: random.percent(50),
            epoch: epoch(random, log_view),
            position: position(random, log_view),
            asks: random.percent(50),
            wall_ms: number(random),
        }),
        5 => Message::HeartbeatAck(HeartbeatAck {
            nonce: number(random),
            role: role(random),
            epoch: epoch(random, log_view),
            position: position(random, log_view),
            promise: duration(random),
        }),
        6 => Message::Repair(Repair::None),
        7 => Message::Repair(Repair::Incremental { to: position(random, log_view).revision }),
        8 => Message::Repair(Repair::Full(header(random, log_view))),
        9 => Message::SnapshotReady { transfer: number(random) },
        10 => Message::Received { sum: number(random) },
        11 => Message::SnapshotEnd { transfer: number(random) },
        12 => Message::Ack { position: position(random, log_view), received: number(random) },
        13 => Message::Rejected { at: position(random, log_view).revision, reason: text(random) },
        14 => Message::Mismatch { at: position(random, log_view) },
        _ if random.percent(50) => Message::DiskTrouble { full: random.percent(50), reason: text(random) },
        _ => Message::Resync,
    }
}

/// A frame of bulk that is not what it says.
pub fn bulk(random: &mut Random, log_view: &VictimView) -> Bulk {
    if random.percent(50) {
        return Bulk::Snapshot { transfer: number(random) };
    }
    let mut any = || position(random, log_view).revision;
    Bulk::Records { after: any(), last: any(), durable: any() }
}

const REFUSALS: [RefusalKind; 11] = [
    RefusalKind::WrongPair,
    RefusalKind::Protocol,
    RefusalKind::Schema,
    RefusalKind::DataKey,
    RefusalKind::ClockSkew,
    RefusalKind::Disabled,
    RefusalKind::ForeignHistory,
    RefusalKind::Blank,
    RefusalKind::NoMaster,
    RefusalKind::Held,
    RefusalKind::Protest,
];

fn hello(random: &mut Random, log_view: &VictimView) -> Hello {
    Hello {
        versions: Versions { min: number(random) as u16 % 3, max: number(random) as u16 },
        pair: if random.percent(90) { log_view.pair } else { PairId([9; 16]) },
        node: if random.percent(90) { log_view.liar } else { NodeId([9; 32]) },
        run: RunId(number(random)),
        hello_no: number(random),
        linked: random.percent(30),
        name: text(random),
        address: text(random),
        role: role(random),
        serving: random.percent(50),
        epoch: epoch(random, log_view),
        position: position(random, log_view),
        log_floor: position(random, log_view).revision,
        shown: position(random, log_view).revision,
        complete: random.percent(70),
        history: history(random, log_view),
        heartbeat: duration(random),
        takeover_delay: duration(random),
        schema: number(random) as u32,
        data_key: random.percent(20).then_some([3; 32]),
        wall_ms: number(random),
    }
}

fn header(random: &mut Random, log_view: &VictimView) -> SnapshotHeader {
    SnapshotHeader {
        transfer: number(random),
        position: position(random, log_view),
        history: history(random, log_view),
        chain: number(random) as u32,
        entries: number(random),
        bytes: number(random),
    }
}

fn history(random: &mut Random, log_view: &VictimView) -> History {
    if random.percent(40) {
        return log_view.history.clone();
    }
    let mut eras: Vec<Era> = (0..random.below(4))
        .map(|_| Era { epoch: epoch(random, log_view), first_seq: number(random).max(1), node: log_view.liar })
        .collect();
    eras.sort_by_key(|era| (era.epoch, era.first_seq));
    History::from_eras(eras).unwrap_or_default()
}

fn role(random: &mut Random) -> Role {
    if random.percent(50) { Role::Master } else { Role::Shadow }
}

fn epoch(random: &mut Random, log_view: &VictimView) -> Epoch {
    let own = log_view.head.revision.epoch;
    match random.below(6) {
        0..=2 => own,
        3 => Epoch::from_u64(own.as_u64().saturating_sub(random.below(3))),
        4 => own.promoted(random.bits()),
        _ => Epoch::from_u64(number(random)),
    }
}

fn position(random: &mut Random, log_view: &VictimView) -> Position {
    if random.percent(30) {
        return log_view.head;
    }
    let digest = if random.percent(60) { log_view.head.digest } else { Digest([7; 32]) };
    let seq =
        if random.percent(60) { log_view.head.revision.seq.wrapping_add(random.below(5)) } else { number(random) };
    Position { revision: Revision::new(epoch(random, log_view), seq), digest }
}

/// Small, close to a bound, or anything.
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
