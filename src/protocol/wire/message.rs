//! The messages between two enrolled nodes, as the engine uses them. These types may change: the frozen bytes are those of
//! `v1`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::frame_kind::FrameKind;
use super::switch::{Modes, Switch};
use crate::model::{Epoch, History, Key, KeyId, NodeId, PairId, Position, Revision, RunId};

/// Whether a node owns the configuration or keeps a copy of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Owns the configuration.
    Master,
    /// Keeps a read-only copy, and takes over when the master is silent for too long.
    Shadow,
}

/// The protocol versions that one node supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest.
    pub min: u16,
    /// The newest.
    pub max: u16,
}

impl Versions {
    /// The versions that this build supports.
    pub const OURS: Self = Self { min: 1, max: 4 };
    /// The first version in which a bulk frame may end within a record or an item.
    const PARTS: u16 = 2;
    /// The first version in which an operator of the shadow may carry a change set to the master.
    const CARRIES: u16 = 3;
    /// The first version in which a snapshot that was cut goes on where it stopped.
    const RESUMES: u16 = 3;
    /// The first version with [`Message::Durable`].
    const MARKS: u16 = 3;
    /// The first version with [`Message::Switch`] and [`Message::Modes`].
    const SWITCH: u16 = 3;
    /// The first version with [`Message::CopySeen`].
    const COPIES: u16 = 3;

    /// The first version with [`Message::NextKey`] and [`Message::KeyPinned`].
    const KEYS: u16 = 4;

    /// The newest version that both support.
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }

    /// Whether a node of these versions knows frames of this kind.
    pub fn have(self, kind: FrameKind) -> bool {
        match kind {
            FrameKind::ControlV3 => self.max >= Self::RESUMES,
            FrameKind::Carried => self.max >= Self::CARRIES,
            FrameKind::Control | FrameKind::Records | FrameKind::Snapshot | FrameKind::Enrolment => true,
        }
    }

    /// Whether the shadow may carry change sets to the master, between this node and a peer of these versions.
    pub fn carries(self, other: Self) -> bool {
        self.common(other).is_some_and(|version| version >= Self::CARRIES)
    }

    /// Whether a bulk frame may end within a record or an item, between this node and a peer of these versions.
    pub fn allows_parts(self, other: Self) -> bool {
        self.common(other).is_some_and(|version| version >= Self::PARTS)
    }

    /// Whether a snapshot that was cut may go on where it stopped, between this node and a peer of these versions.
    pub fn allows_resumption(self, other: Self) -> bool {
        self.common(other).is_some_and(|version| version >= Self::RESUMES)
    }

    /// Whether a source tells its durable mark apart from bulk, between this node and a peer of these versions. So it may push
    /// what is not durable on it yet.
    pub fn tells_marks(self, other: Self) -> bool {
        self.common(other).is_some_and(|version| version >= Self::MARKS)
    }

    /// Whether roles can be switched, and modes told, between this node and a peer of these versions.
    pub fn allows_switch(self, other: Self) -> bool {
        self.common(other).is_some_and(|version| version >= Self::SWITCH)
    }

    /// Whether a node may renew its key, between this node and a peer of these versions.
    pub fn renews_keys(self, other: Self) -> bool {
        self.common(other).is_some_and(|version| version >= Self::KEYS)
    }

    /// Whether a node is told of a copy of itself that its peer has refused, between this node and a peer of these versions.
    pub fn tells_copies(self, other: Self) -> bool {
        self.common(other).is_some_and(|version| version >= Self::COPIES)
    }
}

/// A control message. Bulk (log records and snapshot pieces) has frames of its own, see [`Bulk`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The first message from both sides, sent once.
    Hello(Box<Hello>),
    /// The sender refuses the link, and closes it after this message.
    Refuse(Refusal),
    /// The sender closes the link on purpose.
    Bye(Bye),
    /// Sent by both sides at every heartbeat interval.
    Heartbeat(Heartbeat),
    /// The answer to a heartbeat.
    HeartbeatAck(HeartbeatAck),
    /// Source to sink: how the source brings the sink up to date. It begins a session.
    Repair(Repair),
    /// Sink to source: ready for the pieces of this snapshot.
    SnapshotReady {
        /// Its transfer number.
        transfer: u64,
    },
    /// Sink to source, in place of `SnapshotReady`: a part of a snapshot is staged already. From version 3 on.
    SnapshotResume {
        /// Transfer number of the snapshot that is offered.
        transfer: u64,
        /// What is staged.
        point: Box<ResumePoint>,
    },
    /// Sink to source, in place of `SnapshotReady`: this node has a complete copy, and needs only what differs. From version 3 on.
    SnapshotBase {
        /// Transfer number of the snapshot that is offered.
        transfer: u64,
        /// The first bytes of the digest of each bucket.
        buckets: Vec<u8>,
    },
    /// Sink to source: which of the entries whose hashes came this node lacks. From version 3 on.
    SnapshotWants {
        /// Transfer number of the snapshot.
        transfer: u64,
        /// A bit for each, in order, the lowest of a byte first. Without any byte: the whole snapshot.
        wants: Vec<u8>,
    },
    /// Sink to source: pieces of a snapshot were staged, or bulk was dropped. It says nothing about the sink's position.
    Received {
        /// Bytes of bulk (frame headers excluded) staged, stored or dropped on this link.
        sum: u64,
    },
    /// Source to sink: all pieces were sent and acknowledged. The sink verifies the snapshot and switches to it.
    SnapshotEnd {
        /// Its transfer number.
        transfer: u64,
    },
    /// Sink to source: the sink durably holds this much.
    Ack {
        /// Its durable head.
        position: Position,
        /// Bytes of bulk (frame headers excluded) staged, stored or dropped on this link. The source's window counts by it.
        received: u64,
    },
    /// Sink to source: the sink's host refused records or a snapshot.
    Rejected {
        /// The newest revision that was refused.
        at: Revision,
        /// The host's reason.
        reason: String,
    },
    /// Sink to source: bulk does not follow the sink's head, or does not match its announced content. It needs a full push.
    Mismatch {
        /// The sink's position, or the position that the snapshot turned out to have.
        at: Position,
    },
    /// Sink to source: the sink's disk failed or is full. The source stops pushing until the next `Ack`.
    DiskTrouble {
        /// Whether the disk is full.
        full: bool,
        /// The system's error message.
        reason: String,
    },
    /// An operator of the sender asks for a full push.
    Resync,
    /// Source to sink: the source's own log is durable up to here, so the sink may show as much. From version 3 on.
    Durable {
        /// Up to this revision.
        upto: Revision,
    },
    /// A step of a planned switch of roles. From version 3 on.
    Switch(Switch),
    /// The modes of the pair as the sender knows them. From version 3 on.
    Modes(Modes),
    /// The sender has refused another node with the receiver's identity. From version 3 on.
    CopySeen(CopySeen),
    /// The sender will show this key in handshakes, once the receiver permits it. From version 4 on.
    NextKey {
        /// Its fingerprint.
        key: KeyId,
    },
    /// The sender durably permits this key of the receiver, beside the one in use. From version 4 on.
    KeyPinned {
        /// Its fingerprint.
        key: KeyId,
    },
}

impl Message {
    /// The latest epoch that it names, a hello apart.
    pub fn latest_epoch(&self) -> Epoch {
        let latest = |epochs: &[Epoch]| epochs.iter().copied().max().unwrap_or(Epoch::NONE);
        match self {
            Self::Heartbeat(beat) => latest(&[beat.epoch, beat.position.revision.epoch]),
            Self::HeartbeatAck(ack) => latest(&[ack.epoch, ack.position.revision.epoch]),
            Self::Repair(Repair::Incremental { to }) => to.epoch,
            Self::Repair(Repair::Full(header)) => {
                let eras = header.history.eras().iter().map(|era| era.epoch);
                eras.chain([header.position.revision.epoch]).max().unwrap_or(Epoch::NONE)
            }
            Self::SnapshotResume { point, .. } => latest(&[point.from.epoch, point.upto.epoch]),
            Self::Ack { position, .. } | Self::Mismatch { at: position } => position.revision.epoch,
            Self::Rejected { at, .. } => at.epoch,
            Self::Durable { upto } => upto.epoch,
            Self::Switch(Switch::Prepare { position, epoch } | Switch::HandOver { position, epoch, .. }) => {
                latest(&[position.revision.epoch, *epoch])
            }
            Self::Switch(Switch::Ready { epoch }) => *epoch,
            _ => Epoch::NONE,
        }
    }
}

/// The first message on a link, from both sides: who the sender is and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Protocol versions that the sender supports.
    pub versions: Versions,
    /// Who it is.
    pub sender: HelloSender,
    /// Number of this hello in the sender's run. Of two links, the one with the greater number is younger.
    pub hello_no: u64,
    /// Whether the sender had another link, with hellos exchanged, when it sent this.
    pub linked: bool,
    /// Its role, from its data directory.
    pub role: Role,
    /// Whether it holds mastership now.
    pub serving: bool,
    /// The highest epoch that it has had, tried, or heard of and stored.
    pub epoch: Epoch,
    /// What it holds of the configuration.
    pub log: HelloLog,
    /// Its options, as far as the peer must know them.
    pub options: HelloOptions,
    /// Its wall clock, milliseconds since 1970.
    pub wall_ms: u64,
}

/// The node that sends a hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloSender {
    /// Its pair.
    pub pair: PairId,
    /// Its id.
    pub node: NodeId,
    /// Its run: a restart begins a new one.
    pub run: RunId,
    /// Its name, for status.
    pub name: String,
    /// The address where it accepts connections.
    pub address: String,
}

/// What the sender of a hello holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloLog {
    /// Its durable head.
    pub position: Position,
    /// Its log holds every record after this revision.
    pub floor: Revision,
    /// The newest revision that was visible to its host.
    pub shown: Revision,
    /// Whether it holds a complete, verified copy.
    pub complete: bool,
    /// Its lineage.
    pub history: History,
}

/// The options of a hello's sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloOptions {
    /// Its heartbeat interval.
    pub heartbeat: Duration,
    /// Its takeover delay.
    pub takeover_delay: Duration,
    /// Schema version of the host's data.
    pub schema: u32,
    /// Fingerprint of the pair's data key, if it has one.
    pub data_key: Option<[u8; 32]>,
}

/// Why the sender refuses a link, for the program and for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind of reason.
    pub kind: RefusalKind,
    /// The reason in a sentence.
    pub reason: String,
}

/// Two nodes with one identity, as their peer has met them. It is told to the one that it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopySeen {
    /// The run of the one that was refused.
    pub run: RunId,
    /// Where the one is that was linked first, and is told of this.
    pub first: String,
    /// Where the one is that came later and was refused.
    pub later: String,
}

/// Why a link is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RefusalKind {
    /// The peer belongs to another pair.
    WrongPair,
    /// The nodes have no common protocol version.
    VersionMismatch,
    /// The master's host data has a newer schema version than the shadow's host knows.
    Schema,
    /// The data keys differ.
    DataKey,
    /// The wall clocks differ by more than the bound.
    ClockSkew,
    /// High availability is not enabled.
    Disabled,
    /// The master's history does not contain what the shadow has shown.
    ForeignHistory,
    /// The master has no configuration, and the shadow has one.
    Blank,
    /// Both sides are shadows.
    NoMaster,
    /// An operator holds the link.
    Held,
    /// Another node with the peer's identity is linked, and was there first.
    DuplicateIdentity,
    /// The peer broke the protocol, the sender cannot read its own store, or the kind is newer than this program.
    ProtocolError,
}

impl RefusalKind {
    /// Every kind. A kind missing here would be read as [`Self::ProtocolError`].
    pub(crate) const ALL: [Self; 12] = [
        Self::WrongPair,
        Self::VersionMismatch,
        Self::Schema,
        Self::DataKey,
        Self::ClockSkew,
        Self::Disabled,
        Self::ForeignHistory,
        Self::Blank,
        Self::NoMaster,
        Self::Held,
        Self::ProtocolError,
        Self::DuplicateIdentity,
    ];

    /// The stable word for this kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WrongPair => "wrong_pair",
            Self::VersionMismatch => "version_mismatch",
            Self::Schema => "schema_mismatch",
            Self::DataKey => "key_mismatch",
            Self::ClockSkew => "clock_skew",
            Self::Disabled => "ha_disabled",
            Self::ForeignHistory => "foreign_history",
            Self::Blank => "blank_master",
            Self::NoMaster => "no_master",
            Self::Held => "held",
            Self::DuplicateIdentity => "duplicate_identity",
            Self::ProtocolError => "protocol_error",
        }
    }
}

/// Why the sender closes a link on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Bye {
    /// An operator holds the link.
    Held,
    /// The node stops.
    Shutdown,
    /// Another link between the two nodes is kept.
    Duplicate,
    /// The sender's pairing was reset.
    Reset,
}

/// Sent by both sides at every heartbeat interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Number of the heartbeat on this link. The answer repeats it.
    pub nonce: u64,
    /// Role of the sender.
    pub role: Role,
    /// Whether it holds mastership.
    pub serving: bool,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its durable head.
    pub position: Position,
    /// Whether the sender needs the answer to decide if it may serve, after a stop or a restart.
    pub asks: bool,
    /// Its wall clock, milliseconds since 1970.
    pub wall_ms: u64,
}

/// The answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatAck {
    /// Number of the heartbeat.
    pub nonce: u64,
    /// Role of the node that answers.
    pub role: Role,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its durable head.
    pub position: Position,
    /// For this long, from the moment when the heartbeat was sent, the answering node does not try to take over. Zero is no
    /// promise.
    pub promise: Duration,
}

/// How the source brings the sink up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// The sink is up to date.
    None,
    /// By the log records after the sink's head.
    Incremental {
        /// The source's head when the repair begins.
        to: Revision,
    },
    /// By a snapshot.
    Full(SnapshotHeader),
}

/// Describes a snapshot. It is sent before the pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// Number of the transfer. The source chooses it, unique in its run.
    pub transfer: u64,
    /// Revision and digest of the snapshot.
    pub position: Position,
    /// Lineage up to that revision.
    pub history: History,
    /// Checksum of the log record at `position`. The next record refers to it.
    pub chain: u32,
    /// Number of entries.
    pub entries: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// How far a snapshot that was cut is staged: every entry whose key is at or before `after`. Each of them is as of some
/// revision between `from` and `upto`: a transfer that was resumed before may have brought some of them up to date, and not
/// all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumePoint {
    /// The last key that is staged with its whole value.
    pub after: Key,
    /// Nothing that changed after this revision is certain to be staged.
    pub from: Revision,
    /// Nothing that changed after this revision is staged.
    pub upto: Revision,
}

/// Names received bulk that the shell holds. The shell chooses it, unique in its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BulkId(pub u64);

/// The header of a bulk frame. The bytes after it stay in the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bulk {
    /// Complete log records, in order.
    Records {
        /// Revision before the first of them.
        after: Revision,
        /// Revision after the last complete change set or era in them.
        last: Revision,
        /// How far the source's own log is durable.
        durable: Revision,
    },
    /// A piece of a snapshot.
    Snapshot {
        /// Number of the transfer.
        transfer: u64,
    },
}
