//! What an engine says of itself.

use super::{Engine, Moment, Replication, TakeoverBlocker};
use crate::model::{Epoch, NodeId, PairId, Position, Revision, WitnessRecord};
use crate::protocol::alerts::Alert;
use crate::protocol::wire::Role;

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
    /// The link.
    pub link: LinkState,
    /// Why it is so.
    pub link_reason: String,
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
    /// At the last heartbeat both had the same revision and digest.
    pub in_sync: bool,
    /// Why this node would not take over by itself now; empty when it would.
    pub why_not: Vec<TakeoverBlocker>,
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

impl Engine {
    /// The node's state, for the coverage of the simulator.
    #[cfg(test)]
    pub fn node_state(&self) -> crate::protocol::failover::NodeState {
        self.authority.state()
    }

    /// What the engine says of itself at this moment; `wall_ms` is for the hold-down.
    pub fn status(&self, at: Moment, wall_ms: u64) -> EngineStatus {
        let (link, link_reason) = self.link_state();
        let durable = &self.durable;
        let peer_position = self.links.peer_position().filter(|_| durable.peer.is_some());
        let peer_revision = peer_position.map(|position| position.revision);
        let authority = self.authority();
        EngineStatus {
            node: durable.node,
            pair: durable.pair,
            role: durable.role,
            serving: authority.serving && at <= authority.until,
            epoch: self.epoch(),
            position: self.log.head(),
            enabled: durable.enabled,
            link,
            link_reason,
            peer: durable.peer.as_ref().map(|peer| peer.address.clone()),
            peer_revision,
            lag: peer_revision.map(|peer| self.log.revision().seq.abs_diff(peer.seq)),
            last_seen_us: self.links.silence_us(at),
            round_trip_us: self.links.round_trip_us(),
            in_sync: self.in_sync(),
            why_not: self.takeover_conditions(at, wall_ms).blockers(),
            replication: self.commits.mode(),
            witness: self.witness_status(),
            alerts: self.alerts.log().alerts().to_vec(),
        }
    }
}
