//! What an engine says of itself.

use crate::protocol::engine::{Engine, EngineStatus, LinkStatus, Moment};
#[cfg(test)]
use crate::protocol::failover::NodeState;

impl Engine {
    /// The node's state, for the coverage of the simulator.
    #[cfg(test)]
    pub fn node_state(&self) -> NodeState {
        self.authority.state()
    }

    /// What the engine says of itself at this moment; `wall_ms` is for the hold-down and the times of alerts.
    pub fn status(&self, at: Moment, wall_ms: u64) -> EngineStatus {
        let (durable, authority) = (&self.durable, self.authority());
        EngineStatus {
            node: durable.node,
            pair: durable.pair,
            role: durable.role,
            serving: authority.serving && at <= authority.until,
            epoch: self.epoch(),
            position: self.log.head(),
            enabled: durable.enabled,
            link: self.link_status(at),
            in_sync: self.in_sync(),
            in_sync_as_of_us: self.links.position_age_us(at).filter(|_| durable.peer.is_some()),
            why_not: self.takeover_conditions(at, wall_ms).blockers(),
            modes: durable.moves.modes,
            replication: self.commits.mode(),
            witness: self.witness_status(),
            alerts: self.alerts.shown(wall_ms),
        }
    }

    fn link_status(&self, at: Moment) -> LinkStatus {
        let (state, reason) = self.link_state();
        let peer = self.durable.peer.as_ref();
        let peer_revision = self.links.peer_position().filter(|_| peer.is_some()).map(|position| position.revision);
        LinkStatus {
            state,
            reason,
            peer: peer.map(|peer| peer.address.clone()),
            peer_revision,
            lag: peer_revision.map(|peer| self.log.revision().seq.abs_diff(peer.seq)),
            last_seen_us: self.links.silence_us(at),
            round_trip_us: self.links.round_trip_us(),
        }
    }
}
