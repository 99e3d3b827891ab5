//! What an engine says of itself.

use super::{Replication, TakeoverBlocker};
use crate::model::{Epoch, NodeId, PairId, Position, Revision, WitnessRecord};
use crate::protocol::alerts::Alert;
use crate::protocol::wire::{Modes, Role};

/// The state of the link to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinkState {
    /// There is no peer.
    None,
    /// Dialling, or waiting to be dialled, for the first time since the start.
    Connecting,
    /// TLS is up, the hellos are under way.
    Handshake,
    /// The shadow is being brought up to date.
    Syncing,
    /// Up.
    Connected,
    /// It was up and is not.
    Lost,
    /// One side refuses the other.
    Refused,
    /// An operator holds it.
    Held,
}

/// The link to the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStatus {
    /// Its state.
    pub state: LinkState,
    /// Why it is so.
    pub reason: String,
    /// Where the peer is dialled.
    pub peer: Option<String>,
    /// The peer's position as last heard.
    pub peer_revision: Option<Revision>,
    /// Change sets the shadow lacks.
    pub lag: Option<u64>,
    /// Microseconds since the peer was last heard.
    pub last_seen_us: Option<u64>,
    /// Smoothed round trip, microseconds.
    pub round_trip_us: Option<u64>,
}

/// What an engine says of itself, as plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineStatus {
    /// This node.
    pub node: NodeId,
    /// Its pair.
    pub pair: PairId,
    /// Its role.
    pub role: Role,
    /// Whether it holds mastership.
    pub serving: bool,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its durable head.
    pub position: Position,
    /// Whether a shadow may be enrolled.
    pub enabled: bool,
    /// The link to the peer.
    pub link: LinkStatus,
    /// At the last heartbeat both had the same revision and digest.
    pub in_sync: bool,
    /// How old `in_sync` is: microseconds since the peer last said where it stands. `None` where there is no peer, or where it
    /// has said nothing since this node started. While the peer is away, `in_sync` stays what it was and this grows.
    pub in_sync_as_of_us: Option<u64>,
    /// Why this node would not take over by itself now; empty when it would.
    pub why_not: Vec<TakeoverBlocker>,
    /// What operators have turned on for the pair.
    pub modes: Modes,
    /// Whether commits wait for the shadow.
    pub replication: Replication,
    /// What is known of the witness, where there is one.
    pub witness: Option<WitnessStatus>,
    /// What stands in the alert log.
    pub alerts: Vec<Alert>,
}

/// What a node knows of its witness.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WitnessStatus {
    /// It answered the last question.
    pub reachable: bool,
    /// Its value as last seen.
    pub record: Option<WitnessRecord>,
}

impl LinkState {
    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Connecting => "connecting",
            Self::Handshake => "handshake",
            Self::Syncing => "syncing",
            Self::Connected => "connected",
            Self::Lost => "lost",
            Self::Refused => "refused",
            Self::Held => "held",
        }
    }
}
