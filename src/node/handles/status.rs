use std::net::SocketAddr;
use std::sync::Arc;

use crate::model::WitnessRecord;
use crate::protocol::engine::{EngineStatus, LinkStatus, Moment, OwnKeys, WitnessStatus};
use crate::witness::Witness;

/// What a node tells of itself, as plain data.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Role, serving, epoch, position, link, takeover, alerts.
    pub engine: EngineStatus,
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where its peer dials it.
    pub advertise: String,
    /// The kind of its witness ([`Witness::kind`](crate::Witness::kind)), where there is one. `engine.witness` is what the
    /// node knows of it.
    pub witness: Option<&'static str>,
    /// The fingerprints of this node's keys: of the one in use, by which its peer recognises it, and of the one that is to replace it.
    pub keys: OwnKeys,
    /// The key exchange of the link while there is one: `x25519mlkem768` withstands a quantum computer of later, `x25519` does not.
    pub key_exchange: Option<&'static str>,
    /// When this was written, in microseconds of the suspend-aware clock. The ages in `engine`
    /// (`link.last_seen_us`, `in_sync_as_of_us`) count from here.
    pub written_us: u64,
}

impl Status {
    /// Whether both are the same, but for what changes all the time: ages, round trips and the witness's counter.
    pub(in crate::node) fn is_equivalent(&self, other: &Self) -> bool {
        (self.listen, self.keys, self.key_exchange) == (other.listen, other.keys, other.key_exchange)
            && is_still(&self.engine, &other.engine)
    }
}

/// As [`Status::is_equivalent`]. It copies nothing, since it is called at every turn of the node.
fn is_still(one: &EngineStatus, other: &EngineStatus) -> bool {
    let EngineStatus { node, pair, role, serving, epoch, position, enabled, link, .. } = one;
    let EngineStatus { in_sync, in_sync_as_of_us: _, why_not, replication, witness, alerts, .. } = one;
    let LinkStatus { state, reason, peer, peer_revision, lag, last_seen_us: _, round_trip_us: _ } = link;
    let link = &other.link;
    let same_link = (state, reason, peer) == (&link.state, &link.reason, &link.peer)
        && (peer_revision, lag) == (&link.peer_revision, &link.lag);
    let same_witness = match (witness, &other.witness) {
        (Some(one), Some(other)) => is_settled(one, other),
        (one, other) => one.is_none() && other.is_none(),
    };
    same_link
        && same_witness
        && (node, pair, role, serving) == (&other.node, &other.pair, &other.role, &other.serving)
        && (epoch, position, enabled) == (&other.epoch, &other.position, &other.enabled)
        && (in_sync, why_not, replication) == (&other.in_sync, &other.why_not, &other.replication)
        && *alerts == other.alerts
}

/// Whether both know the same of the witness, but for the counter of its record.
fn is_settled(one: &WitnessStatus, other: &WitnessStatus) -> bool {
    let WitnessStatus { reachable, record } = one;
    let settled = |record: &WitnessRecord| WitnessRecord { counter: 0, ..record.clone() };
    *reachable == other.reachable && record.as_ref().map(settled) == other.record.as_ref().map(settled)
}

/// The parts of [`Status`] that the engine does not know.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    pub name: String,
    pub listen: SocketAddr,
    pub advertise: String,
    /// The kind of its witness, where there is one.
    pub witness: Option<&'static str>,
}

impl NodeInfo {
    pub fn new(name: &str, listen: SocketAddr, advertise: &str, witness: Option<&dyn Witness>) -> Self {
        let witness = witness.map(Witness::kind);
        Self { name: name.into(), listen, advertise: advertise.into(), witness }
    }

    pub fn status(
        &self,
        engine: EngineStatus,
        keys: OwnKeys,
        key_exchange: Option<&'static str>,
        at: Moment,
    ) -> Arc<Status> {
        let Self { name, listen, advertise, witness } = self.clone();
        Arc::new(Status { engine, name, listen, advertise, witness, keys, key_exchange, written_us: at.0 })
    }
}
