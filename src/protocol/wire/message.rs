//! What two enrolled nodes say to each other, as the engine knows it. The bytes are frozen elsewhere in this folder;
//! these types may move.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Epoch, History, NodeId, PairId, Position, Revision, RunId};

/// Whether a node owns the configuration or keeps a copy of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Owns the configuration.
    Master,
    /// Keeps a read-only copy, and takes over when the master falls silent.
    Shadow,
}

/// A range of versions that one side can speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest.
    pub min: u16,
    /// The newest.
    pub max: u16,
}

impl Versions {
    /// What this build speaks.
    pub const OURS: Self = Self { min: 1, max: 1 };

    /// The newest version that both speak.
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }
}

/// A control message. Bulk (log records and snapshot pieces) travels in frames of its own, see [`Bulk`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// First from both sides, once.
    Hello(Box<Hello>),
    /// The hello, or what followed, is not acceptable; the link is closed after it.
    Refuse(Refusal),
    /// The link is closed on purpose.
    Bye(Bye),
    /// At every interval from both sides.
    Heartbeat(Heartbeat),
    /// The answer to one.
    HeartbeatAck(HeartbeatAck),
    /// Source to sink: how the sink will be brought up to date. First word of a session.
    Repair(Repair),
    /// Sink to source: ready for the pieces of this snapshot.
    SnapshotReady {
        /// Which one.
        transfer: u64,
    },
    /// Sink to source: so much bulk was dealt with on this link, without a word on where the copy stands: pieces of a
    /// snapshot were staged, or bulk was dropped.
    Received {
        /// Bytes (frame headers excluded), summed up over the link.
        sum: u64,
    },
    /// Source to sink: all pieces were sent and acknowledged; verify and switch.
    SnapshotEnd {
        /// Which one.
        transfer: u64,
    },
    /// Sink to source: this much of the history is durable here.
    Ack {
        /// Durable head.
        position: Position,
        /// Bytes of bulk (frame headers excluded) dealt with on this link, summed up, dropped ones too. The source
        /// counts its window by it.
        received: u64,
    },
    /// Sink to source: records or a snapshot up to `at` were refused by the host's validation.
    Rejected {
        /// The head that was refused.
        at: Revision,
        /// Why.
        reason: String,
    },
    /// Sink to source: what is here does not follow, or is not what the source says it is. Repair with a full push.
    Mismatch {
        /// Where it was found.
        at: Position,
    },
    /// Sink to source: the disk failed or is full; pushes are of no use until the next `Ack`.
    DiskTrouble {
        /// Whether it is full.
        full: bool,
        /// What the system says.
        reason: String,
    },
    /// Either side's operator asks for a full push.
    Resync,
}

/// The first word on a link, from both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What this side can speak.
    pub versions: Versions,
    /// The pair.
    pub pair: PairId,
    /// This side.
    pub node: NodeId,
    /// This run of it.
    pub run: RunId,
    /// Grows by one with every hello of this run, so that the peer knows which of two links is younger.
    pub hello_no: u64,
    /// Whether this side held another link, hellos exchanged, when it wrote this.
    pub linked: bool,
    /// Its name, for status.
    pub name: String,
    /// Where it can be dialled.
    pub address: String,
    /// Role by its data directory.
    pub role: Role,
    /// Whether it holds mastership now.
    pub serving: bool,
    /// Its epoch: the highest it has had, tried or heard of and stored.
    pub epoch: Epoch,
    /// Its durable head.
    pub position: Position,
    /// Where its log begins: everything after this can be sent as records.
    pub log_floor: Revision,
    /// The newest revision that it has shown to its host.
    pub shown: Revision,
    /// Whether what it holds is a complete, verified copy.
    pub complete: bool,
    /// Its lineage.
    pub history: History,
    /// Its heartbeat interval.
    pub heartbeat: Duration,
    /// Its takeover delay.
    pub takeover_delay: Duration,
    /// Version of the host's data.
    pub schema: u32,
    /// Fingerprint of the pair's data key, where it has one.
    pub data_key: Option<[u8; 32]>,
    /// Its wall clock, milliseconds since 1970.
    pub wall_ms: u64,
}

/// Why a link is refused. The text says the same to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In a word.
    pub kind: RefusalKind,
    /// In a sentence.
    pub reason: String,
}

/// Why a link is refused, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RefusalKind {
    /// Of another pair.
    WrongPair,
    /// No common protocol version.
    Protocol,
    /// The host's data has a newer version on the master than the shadow knows.
    Schema,
    /// The data keys differ.
    DataKey,
    /// The clocks differ beyond the bound.
    ClockSkew,
    /// High availability is not enabled.
    Disabled,
    /// The master's history is foreign to what the shadow has shown.
    ForeignHistory,
    /// The master has no configuration but the shadow has.
    Blank,
    /// Both sides are shadows.
    NoMaster,
    /// An operator holds the link.
    Held,
    /// The sender lacks what it would need (an older epoch, a protocol error).
    Protest,
}

impl RefusalKind {
    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WrongPair => "wrong_pair",
            Self::Protocol => "version_mismatch",
            Self::Schema => "schema_mismatch",
            Self::DataKey => "key_mismatch",
            Self::ClockSkew => "clock_skew",
            Self::Disabled => "ha_disabled",
            Self::ForeignHistory => "foreign_history",
            Self::Blank => "blank_master",
            Self::NoMaster => "no_master",
            Self::Held => "held",
            Self::Protest => "protocol_error",
        }
    }
}

/// Why a link is closed on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Bye {
    /// An operator holds the link.
    Held,
    /// The node stops.
    Shutdown,
    /// Another link between the two stays.
    Duplicate,
    /// The pairing was forgotten.
    Reset,
}

/// At every interval from both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Number of the heartbeat on this link; the answer carries it back.
    pub nonce: u64,
    /// Sender's role.
    pub role: Role,
    /// Whether it holds mastership.
    pub serving: bool,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its durable head.
    pub position: Position,
    /// The sender was stopped, or started again: the answer decides whether it may serve.
    pub asks: bool,
    /// Its wall clock, milliseconds since 1970.
    pub wall_ms: u64,
}

/// The answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatAck {
    /// Which one.
    pub nonce: u64,
    /// Answerer's role.
    pub role: Role,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its durable head.
    pub position: Position,
    /// "I will not try to take over for this long from when you sent this"; zero is no promise.
    pub promise: Duration,
}

/// How the sink will be brought up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// It is.
    None,
    /// By the log after its head.
    Incremental {
        /// The source's head now.
        to: Revision,
    },
    /// By a snapshot, staged.
    Full(SnapshotHeader),
}

/// What a snapshot is, before its pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// Chosen by the source, unique in its run.
    pub transfer: u64,
    /// What will be there.
    pub position: Position,
    /// Lineage up to there.
    pub history: History,
    /// Checksum of the log record at `position`, which the next record chains to.
    pub chain: u32,
    /// Entries that will come.
    pub entries: u64,
    /// Bytes of keys and values that will come.
    pub bytes: u64,
}

/// Received bulk bytes that the shell keeps. Chosen by the shell, unique in its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BulkId(pub u64);

/// A frame of bulk, without its bytes: those stay in the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bulk {
    /// Whole log records, in order.
    Records {
        /// Position before the first of them.
        after: Revision,
        /// Position after the last whole change set or era in them.
        last: Revision,
        /// How far the source's own log is durable.
        durable: Revision,
    },
    /// A piece of a snapshot.
    Snapshot {
        /// Of which transfer.
        transfer: u64,
    },
}
