//! What the authenticated peer says beside arbitrary messages: messages that are close to the truth.

use std::time::Duration;

use super::super::input::Input;
use super::identifiers::{PAIR, PEER};
use super::model_store::{ModelStore, position};
use crate::model::{Epoch, Era, History, KeyId, Position, Revision, RunId};
use crate::protocol::wire::{
    Bulk, Bye, Heartbeat, HeartbeatAck, Hello, HelloLog, HelloOptions, HelloSender, Message, Mode, Modes, Repair, Role,
    SnapshotHeader, Switch, SwitchObstacle, Versions,
};

/// What the peer knows of the node.
pub(super) struct Known<'a> {
    pub(super) role: Role,
    pub(super) store: &'a ModelStore,
    /// The last number that was given to a link, a caller or a piece of bulk.
    pub(super) last_id: u64,
    /// The nonce of the node's last heartbeat.
    pub(super) last_heartbeat: u64,
    /// Transfer of the last snapshot that the node offered.
    pub(super) last_transfer: u64,
    pub(super) wall_ms: u64,
}

/// A hello. The bits of `lies`: 1 another role, 2 an epoch more, 4 fewer change sets, 8 more of them, 16 another run, 32 linked,
/// 64 an old version.
pub(super) fn hello(node: &Known<'_>, lies: u8) -> Hello {
    let role = match (node.role, lies & 1 == 0) {
        (Role::Master, true) | (Role::Shadow, false) => Role::Shadow,
        (Role::Shadow, true) | (Role::Master, false) => Role::Master,
    };
    let (log, epoch) = log(node, lies, role);
    let run = RunId(3 + u64::from(lies & 16));
    Hello {
        versions: Versions { min: 1, max: if lies & 64 == 0 { Versions::OURS.max } else { 1 } },
        sender: HelloSender { pair: PAIR, node: PEER, run, name: String::new(), address: "there:1".to_owned() },
        hello_no: node.last_id,
        linked: lies & 32 != 0,
        role,
        serving: role == Role::Master,
        epoch,
        log,
        options: HelloOptions {
            heartbeat: Duration::from_secs(1),
            takeover_delay: Duration::from_secs(5),
            schema: 0,
            data_key: None,
        },
        wall_ms: node.wall_ms,
    }
}

fn log(node: &Known<'_>, lies: u8, role: Role) -> (HelloLog, Epoch) {
    let (mut history, mut revision) = (node.store.history.clone(), node.store.head.revision);
    if lies & 4 != 0 {
        revision.seq = revision.seq.saturating_sub(2);
    }
    if lies & 2 != 0 {
        let epoch = revision.epoch.promoted(5);
        if history.begin(Era { epoch, first_seq: revision.seq.saturating_add(1), node: PEER }) {
            revision.epoch = epoch;
        }
    }
    if lies & 8 != 0 {
        revision.seq = revision.seq.saturating_add(3);
    }
    if revision == Revision::NONE && role == Role::Master {
        history = History::from_eras(vec![Era { epoch: Epoch::FIRST, first_seq: 1, node: PEER }]).unwrap_or_default();
        revision = Revision::new(Epoch::FIRST, 4);
    }
    let position = if revision == Revision::NONE { Position::NONE } else { position(revision) };
    let (floor, complete) = (Revision::NONE, position != Position::NONE);
    (HelloLog { position, floor, shown: revision, complete, history }, revision.epoch)
}

/// A heartbeat. The bits of `lies`: 1 another role, 2 asks, 4 an epoch more, 8 change sets that are not there.
pub(super) fn heartbeat(node: &Known<'_>, lies: u8) -> Message {
    let mut hello = hello(node, lies & 1);
    if lies & 4 != 0 {
        hello.epoch = hello.epoch.promoted(9);
    }
    if lies & 8 != 0 {
        hello.log.position.revision.seq = hello.log.position.revision.seq.saturating_add(7);
    }
    Message::Heartbeat(Heartbeat {
        nonce: node.last_id,
        role: hello.role,
        serving: hello.serving,
        epoch: hello.epoch,
        position: hello.log.position,
        asks: lies & 2 != 0,
        wall_ms: node.wall_ms,
    })
}

/// The answer to the last heartbeat.
pub(super) fn heartbeat_ack(node: &Known<'_>) -> Message {
    let Hello { role, epoch, log, .. } = hello(node, 0);
    let nonce = node.last_heartbeat;
    Message::HeartbeatAck(HeartbeatAck { nonce, role, epoch, position: log.position, promise: Duration::ZERO })
}

/// What begins a session: of a source that has nothing to push, or the acknowledgement of a sink that has everything.
pub(super) fn begin_session(node: &Known<'_>) -> Message {
    match node.role {
        Role::Shadow => Message::Repair(Repair::None),
        Role::Master => Message::Ack { position: node.store.head, received: 0 },
    }
}

/// A message whose numbers are close to those that the engine knows.
pub(super) fn near_message(input: &mut Input<'_>, node: &Known<'_>) -> Message {
    let kind = input.u8();
    let at = near(input, node);
    let transfer = node.last_transfer.wrapping_add(u64::from(input.u8() % 3));
    let sum = u64::from(input.u16());
    let (position, low) = (position(at), sum as u8);
    match kind % 24 {
        0 => Message::Repair(Repair::None),
        1 => Message::Repair(Repair::Incremental { to: at }),
        2 => Message::Repair(Repair::Full(header(node, at, transfer, sum))),
        3 => Message::SnapshotReady { transfer },
        4 => Message::SnapshotEnd { transfer },
        5 => Message::Ack { position, received: sum },
        6 => Message::Received { sum },
        7 => Message::Rejected { at, reason: "no".to_owned() },
        8 => Message::Mismatch { at: position },
        9 => Message::DiskTrouble { full: low.is_multiple_of(2), reason: "full".to_owned() },
        10 => Message::Resync,
        11 => Message::Durable { upto: at },
        12 => Message::Switch(Switch::Ask),
        13 => Message::Switch(Switch::Prepare { position, epoch: at.epoch }),
        14 => Message::Switch(Switch::Ready { epoch: at.epoch }),
        15 => Message::Switch(Switch::HandOver { position, epoch: at.epoch, stops: low.is_multiple_of(2) }),
        16 => Message::Switch(Switch::CallOff { why: pick(&SwitchObstacle::ALL, low) }),
        17 => Message::Modes(Modes {
            paused: Mode { changes: sum, on: low.is_multiple_of(2) },
            frozen: Mode { changes: transfer, on: low.is_multiple_of(3) },
        }),
        18 => Message::NextKey { key: KeyId([low; 32]) },
        19 => Message::KeyPinned { key: KeyId([0x44; 32]) },
        20 => Message::SnapshotBase { transfer, buckets: vec![low; 16_384] },
        21 => Message::SnapshotWants { transfer, wants: vec![low; usize::from(low)] },
        22 => Message::Bye(pick(&[Bye::Held, Bye::Shutdown, Bye::Duplicate, Bye::Reset], low)),
        _ => heartbeat(node, low),
    }
}

/// The header of records that may follow the head.
pub(super) fn records(input: &mut Input<'_>, node: &Known<'_>) -> Bulk {
    let after = if input.u8().is_multiple_of(4) { near(input, node) } else { node.store.head.revision };
    Bulk::Records { after, last: near(input, node), durable: near(input, node) }
}

/// The header of a snapshot that ends here.
fn header(node: &Known<'_>, at: Revision, transfer: u64, bytes: u64) -> SnapshotHeader {
    let mut history = node.store.history.clone();
    if at.epoch > node.store.head.revision.epoch {
        // Where it does not follow, the header lies.
        let _follows = history.begin(Era { epoch: at.epoch, first_seq: at.seq.max(1), node: PEER });
    }
    SnapshotHeader { transfer, position: position(at), history, chain: 0, entries: 3, bytes }
}

/// A revision: the head, a little more or less, or anything.
fn near(input: &mut Input<'_>, node: &Known<'_>) -> Revision {
    let head = node.store.head.revision;
    let (epoch, seq) = (input.u8(), input.u8());
    let epoch = match epoch % 8 {
        0..=3 => head.epoch,
        4 => head.epoch.restarted(1),
        5 => head.epoch.promoted(1),
        6 => Epoch::NONE,
        _ => Epoch::from_u64(input.u64()),
    };
    let seq = match seq {
        0..=127 => head.seq.saturating_add(u64::from(seq % 8)),
        128..=191 => head.seq.saturating_sub(u64::from(seq % 8)),
        _ => input.u64(),
    };
    Revision::new(epoch, seq)
}

fn pick<T: Copy>(all: &[T], number: u8) -> T {
    all[usize::from(number) % all.len()]
}
