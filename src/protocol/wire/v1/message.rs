use serde::{Deserialize, Serialize};

use super::text;
use crate::model::{Digest, Epoch, Era, History, NodeId, PairId, Position, Revision, RunId};
use crate::protocol::wire::{
    Bye, Heartbeat, HeartbeatAck, Hello, HelloLog, HelloOptions, HelloSender, Message, Refusal, RefusalKind, Repair,
    Role, SnapshotHeader, Versions, WireError,
};

/// [`Message`], frozen.
#[derive(Serialize, Deserialize)]
pub enum MessageV1 {
    Hello(Box<HelloV1>),
    Refuse { kind: u8, reason: String },
    Bye { why: u8 },
    Heartbeat(HeartbeatV1),
    HeartbeatAck(HeartbeatAckV1),
    Repair(RepairV1),
    SnapshotReady { transfer: u64 },
    Received { sum: u64 },
    SnapshotEnd { transfer: u64 },
    Ack { position: PositionV1, received: u64 },
    Rejected { at: RevisionV1, reason: String },
    Mismatch { at: PositionV1 },
    DiskTrouble { full: bool, reason: String },
    Resync,
}

#[derive(Serialize, Deserialize)]
pub struct HelloV1 {
    versions_min: u16,
    versions_max: u16,
    sender: HelloSenderV1,
    role: u8,
    serving: bool,
    epoch: u64,
    log: HelloLogV1,
    options: HelloOptionsV1,
    wall_ms: u64,
}

#[derive(Serialize, Deserialize)]
pub struct HelloSenderV1 {
    pair: [u8; 16],
    node: [u8; 32],
    run: u64,
    hello_no: u64,
    linked: bool,
    name: String,
    address: String,
}

#[derive(Serialize, Deserialize)]
pub struct HelloLogV1 {
    position: PositionV1,
    floor: RevisionV1,
    shown: RevisionV1,
    complete: bool,
    history: Vec<EraV1>,
}

#[derive(Serialize, Deserialize)]
pub struct HelloOptionsV1 {
    heartbeat_us: u64,
    takeover_delay_us: u64,
    schema: u32,
    data_key: Option<[u8; 32]>,
}

#[derive(Serialize, Deserialize)]
pub struct HeartbeatV1 {
    nonce: u64,
    role: u8,
    serving: bool,
    epoch: u64,
    position: PositionV1,
    asks: bool,
    wall_ms: u64,
}

#[derive(Serialize, Deserialize)]
pub struct HeartbeatAckV1 {
    nonce: u64,
    role: u8,
    epoch: u64,
    position: PositionV1,
    promise_us: u64,
}

#[derive(Serialize, Deserialize)]
pub enum RepairV1 {
    None,
    Incremental { to: RevisionV1 },
    Full(SnapshotHeaderV1),
}

#[derive(Serialize, Deserialize)]
pub struct SnapshotHeaderV1 {
    transfer: u64,
    position: PositionV1,
    history: Vec<EraV1>,
    chain: u32,
    entries: u64,
    bytes: u64,
}

#[derive(Serialize, Deserialize)]
pub struct RevisionV1 {
    epoch: u64,
    seq: u64,
}

#[derive(Serialize, Deserialize)]
pub struct PositionV1 {
    revision: RevisionV1,
    digest: [u8; 32],
}

#[derive(Serialize, Deserialize)]
pub struct EraV1 {
    epoch: u64,
    first_seq: u64,
    node: [u8; 32],
}

impl TryFrom<&Message> for MessageV1 {
    type Error = WireError;

    fn try_from(message: &Message) -> Result<Self, WireError> {
        Ok(match message {
            Message::Hello(hello) => Self::Hello(Box::new(HelloV1::try_from(hello.as_ref())?)),
            Message::Refuse(refusal) => {
                Self::Refuse { kind: refusal_code(refusal.kind), reason: text::send_reason(&refusal.reason) }
            }
            Message::Bye(bye) => Self::Bye { why: bye_code(*bye) },
            Message::Heartbeat(heartbeat) => Self::Heartbeat((*heartbeat).into()),
            Message::HeartbeatAck(ack) => Self::HeartbeatAck((*ack).try_into()?),
            Message::Repair(repair) => Self::Repair(repair.into()),
            Message::SnapshotReady { transfer } => Self::SnapshotReady { transfer: *transfer },
            Message::Received { sum } => Self::Received { sum: *sum },
            Message::SnapshotEnd { transfer } => Self::SnapshotEnd { transfer: *transfer },
            Message::Ack { position, received } => Self::Ack { position: (*position).into(), received: *received },
            Message::Rejected { at, reason } => Self::Rejected { at: (*at).into(), reason: text::send_reason(reason) },
            Message::Mismatch { at } => Self::Mismatch { at: (*at).into() },
            Message::DiskTrouble { full, reason } => {
                Self::DiskTrouble { full: *full, reason: text::send_reason(reason) }
            }
            Message::Resync => Self::Resync,
            Message::SnapshotResume { .. }
            | Message::Switch(_)
            | Message::Modes(_)
            | Message::Durable { .. }
            | Message::CopySeen(_)
            | Message::SnapshotBase { .. }
            | Message::SnapshotWants { .. }
            | Message::NextKey { .. }
            | Message::KeyPinned { .. } => {
                return Err(WireError::Bound { field: "a message of a later version" });
            }
        })
    }
}

impl TryFrom<MessageV1> for Message {
    type Error = WireError;

    fn try_from(message: MessageV1) -> Result<Self, WireError> {
        Ok(match message {
            MessageV1::Hello(hello) => Self::Hello(Box::new((*hello).try_into()?)),
            MessageV1::Refuse { kind, reason } => {
                Self::Refuse(Refusal { kind: refusal_kind(kind), reason: text::reason(&reason)? })
            }
            MessageV1::Bye { why } => Self::Bye(bye_kind(why)),
            MessageV1::Heartbeat(heartbeat) => Self::Heartbeat(heartbeat.try_into()?),
            MessageV1::HeartbeatAck(ack) => Self::HeartbeatAck(ack.try_into()?),
            MessageV1::Repair(repair) => Self::Repair(repair.try_into()?),
            MessageV1::SnapshotReady { transfer } => Self::SnapshotReady { transfer },
            MessageV1::Received { sum } => Self::Received { sum },
            MessageV1::SnapshotEnd { transfer } => Self::SnapshotEnd { transfer },
            MessageV1::Ack { position, received } => Self::Ack { position: position.into(), received },
            MessageV1::Rejected { at, reason } => Self::Rejected { at: at.into(), reason: text::reason(&reason)? },
            MessageV1::Mismatch { at } => Self::Mismatch { at: at.into() },
            MessageV1::DiskTrouble { full, reason } => Self::DiskTrouble { full, reason: text::reason(&reason)? },
            MessageV1::Resync => Self::Resync,
        })
    }
}

impl TryFrom<&Hello> for HelloV1 {
    type Error = WireError;

    fn try_from(hello: &Hello) -> Result<Self, WireError> {
        let Hello { sender, log, options, .. } = hello;
        Ok(Self {
            versions_min: hello.versions.min,
            versions_max: hello.versions.max,
            sender: HelloSenderV1 {
                pair: sender.pair.0,
                node: sender.node.0,
                run: sender.run.0,
                hello_no: hello.hello_no,
                linked: hello.linked,
                name: text::send_name(&sender.name),
                address: text::address(&sender.address)?,
            },
            role: role_code(hello.role),
            serving: hello.serving,
            epoch: hello.epoch.as_u64(),
            log: HelloLogV1 {
                position: log.position.into(),
                floor: log.floor.into(),
                shown: log.shown.into(),
                complete: log.complete,
                history: eras(&log.history),
            },
            options: HelloOptionsV1 {
                heartbeat_us: text::micros(options.heartbeat, "heartbeat")?,
                takeover_delay_us: text::micros(options.takeover_delay, "takeover_delay")?,
                schema: options.schema,
                data_key: options.data_key,
            },
            wall_ms: hello.wall_ms,
        })
    }
}

impl TryFrom<HelloV1> for Hello {
    type Error = WireError;

    fn try_from(hello: HelloV1) -> Result<Self, WireError> {
        let versions = Versions { min: hello.versions_min, max: hello.versions_max };
        if versions.min == 0 || versions.min > versions.max {
            return Err(WireError::Bound { field: "versions" });
        }
        let HelloV1 { sender, log, options, .. } = hello;
        Ok(Self {
            versions,
            sender: HelloSender {
                pair: PairId(sender.pair),
                node: NodeId(sender.node),
                run: RunId(sender.run),
                name: text::name(&sender.name)?,
                address: text::address(&sender.address)?,
            },
            hello_no: sender.hello_no,
            linked: sender.linked,
            role: role(hello.role)?,
            serving: hello.serving,
            epoch: Epoch::from_u64(hello.epoch),
            log: HelloLog {
                position: log.position.into(),
                floor: log.floor.into(),
                shown: log.shown.into(),
                complete: log.complete,
                history: history(log.history)?,
            },
            options: HelloOptions {
                heartbeat: text::duration(options.heartbeat_us, "heartbeat")?,
                takeover_delay: text::duration(options.takeover_delay_us, "takeover_delay")?,
                schema: options.schema,
                data_key: options.data_key,
            },
            wall_ms: hello.wall_ms,
        })
    }
}

impl From<Heartbeat> for HeartbeatV1 {
    fn from(heartbeat: Heartbeat) -> Self {
        let Heartbeat { nonce, role, serving, epoch, position, asks, wall_ms } = heartbeat;
        let (role, epoch, position) = (role_code(role), epoch.as_u64(), position.into());
        Self { nonce, role, serving, epoch, position, asks, wall_ms }
    }
}

impl TryFrom<HeartbeatV1> for Heartbeat {
    type Error = WireError;

    fn try_from(heartbeat: HeartbeatV1) -> Result<Self, WireError> {
        let HeartbeatV1 { nonce, role: code, serving, epoch, position, asks, wall_ms } = heartbeat;
        let (role, epoch, position) = (role(code)?, Epoch::from_u64(epoch), position.into());
        Ok(Self { nonce, role, serving, epoch, position, asks, wall_ms })
    }
}

impl TryFrom<HeartbeatAck> for HeartbeatAckV1 {
    type Error = WireError;

    fn try_from(ack: HeartbeatAck) -> Result<Self, WireError> {
        let HeartbeatAck { nonce, role, epoch, position, promise } = ack;
        let promise_us = text::micros(promise, "promise")?;
        Ok(Self { nonce, role: role_code(role), epoch: epoch.as_u64(), position: position.into(), promise_us })
    }
}

impl TryFrom<HeartbeatAckV1> for HeartbeatAck {
    type Error = WireError;

    fn try_from(ack: HeartbeatAckV1) -> Result<Self, WireError> {
        let HeartbeatAckV1 { nonce, role: code, epoch, position, promise_us } = ack;
        let promise = text::duration(promise_us, "promise")?;
        Ok(Self { nonce, role: role(code)?, epoch: Epoch::from_u64(epoch), position: position.into(), promise })
    }
}

impl From<&Repair> for RepairV1 {
    fn from(repair: &Repair) -> Self {
        match repair {
            Repair::None => Self::None,
            Repair::Incremental { to } => Self::Incremental { to: (*to).into() },
            Repair::Full(header) => Self::Full(SnapshotHeaderV1 {
                transfer: header.transfer,
                position: header.position.into(),
                history: eras(&header.history),
                chain: header.chain,
                entries: header.entries,
                bytes: header.bytes,
            }),
        }
    }
}

impl TryFrom<RepairV1> for Repair {
    type Error = WireError;

    fn try_from(repair: RepairV1) -> Result<Self, WireError> {
        Ok(match repair {
            RepairV1::None => Self::None,
            RepairV1::Incremental { to } => Self::Incremental { to: to.into() },
            RepairV1::Full(header) => Self::Full(SnapshotHeader {
                transfer: header.transfer,
                position: header.position.into(),
                history: history(header.history)?,
                chain: header.chain,
                entries: header.entries,
                bytes: header.bytes,
            }),
        })
    }
}

impl From<Revision> for RevisionV1 {
    fn from(revision: Revision) -> Self {
        Self { epoch: revision.epoch.as_u64(), seq: revision.seq }
    }
}

impl From<RevisionV1> for Revision {
    fn from(revision: RevisionV1) -> Self {
        Self::new(Epoch::from_u64(revision.epoch), revision.seq)
    }
}

impl From<Position> for PositionV1 {
    fn from(position: Position) -> Self {
        Self { revision: position.revision.into(), digest: position.digest.0 }
    }
}

impl From<PositionV1> for Position {
    fn from(position: PositionV1) -> Self {
        Self { revision: position.revision.into(), digest: Digest(position.digest) }
    }
}

fn eras(history: &History) -> Vec<EraV1> {
    let era = |era: &Era| EraV1 { epoch: era.epoch.as_u64(), first_seq: era.first_seq, node: era.node.0 };
    history.eras().iter().map(era).collect()
}

fn history(eras: Vec<EraV1>) -> Result<History, WireError> {
    let era = |era: EraV1| Era { epoch: Epoch::from_u64(era.epoch), first_seq: era.first_seq, node: NodeId(era.node) };
    History::from_eras(eras.into_iter().map(era).collect()).ok_or(WireError::Bound { field: "history" })
}

fn role_code(role: Role) -> u8 {
    match role {
        Role::Master => 1,
        Role::Shadow => 2,
    }
}

fn role(code: u8) -> Result<Role, WireError> {
    [Role::Master, Role::Shadow]
        .into_iter()
        .find(|role| role_code(*role) == code)
        .ok_or(WireError::Bound { field: "role" })
}

fn refusal_code(kind: RefusalKind) -> u8 {
    match kind {
        RefusalKind::WrongPair => 1,
        RefusalKind::VersionMismatch => 2,
        RefusalKind::Schema => 3,
        RefusalKind::DataKey => 4,
        RefusalKind::ClockSkew => 5,
        RefusalKind::Disabled => 6,
        RefusalKind::ForeignHistory => 7,
        RefusalKind::Blank => 8,
        RefusalKind::NoMaster => 9,
        RefusalKind::Held => 10,
        RefusalKind::ProtocolError => 11,
        RefusalKind::DuplicateIdentity => 12,
    }
}

/// A refusal may come from a newer program, before versions are compared. So an unknown kind is still read as a refusal; its
/// text gives the reason.
fn refusal_kind(code: u8) -> RefusalKind {
    RefusalKind::ALL.into_iter().find(|kind| refusal_code(*kind) == code).unwrap_or(RefusalKind::ProtocolError)
}

const BYES: [Bye; 4] = [Bye::Held, Bye::Shutdown, Bye::Duplicate, Bye::Reset];

fn bye_code(bye: Bye) -> u8 {
    match bye {
        Bye::Held => 1,
        Bye::Shutdown => 2,
        Bye::Duplicate => 3,
        Bye::Reset => 4,
    }
}

/// As for refusals: an unknown kind of bye is read as a bye.
fn bye_kind(code: u8) -> Bye {
    BYES.into_iter().find(|bye| bye_code(*bye) == code).unwrap_or(Bye::Shutdown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_number_of_its_own() {
        for code in 1..=RefusalKind::ALL.len() as u8 {
            assert_eq!(refusal_code(refusal_kind(code)), code);
        }
        for code in 1..=BYES.len() as u8 {
            assert_eq!(bye_code(bye_kind(code)), code);
        }
        assert_eq!((refusal_kind(99), bye_kind(99)), (RefusalKind::ProtocolError, Bye::Shutdown));
        assert_eq!((role(1), role(2)), (Ok(Role::Master), Ok(Role::Shadow)));
        assert_eq!(role(3), Err(WireError::Bound { field: "role" }));
    }
}
