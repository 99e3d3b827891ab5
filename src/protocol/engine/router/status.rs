//! What an engine says of itself.

use crate::protocol::engine::{Engine, EngineStatus, Moment};
#[cfg(test)]
use crate::protocol::failover::NodeState;

impl Engine {
    /// The node's state, for the coverage of the simulator.
    #[cfg(test)]
    pub fn node_state(&self) -> NodeState {
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
