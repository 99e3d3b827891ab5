//! What a seed stands for.

use super::step::Step;
use crate::protocol::engine::{Failover, Replication};
use crate::testing::Side;

/// One history before it runs: the surroundings of the pair, and the steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whether a takeover is automatic.
    pub failover: Failover,
    /// Hold-down, seconds; zero is off.
    pub hold_down_s: u64,
    /// Whether there is a witness.
    pub witnessed: bool,
    /// Whether the witness begins without a record.
    pub blank_witness: bool,
    /// Whether commits wait for the shadow.
    pub replication: Replication,
    /// How long they wait, milliseconds.
    pub sync_timeout_ms: u64,
    /// Lease of each node, milliseconds; `None` for the default.
    pub lease_ms: [Option<u64>; 2],
    /// Clock rates, parts per million off true time. Without a witness they differ by less than 1 %, with one each is off
    /// by less than that.
    pub rates_ppm: [i64; 2],
    /// Change sets that the log keeps.
    pub log_changes: usize,
    /// Whether both nodes have the real store beside its model.
    pub stored: bool,
    /// Whether the peer may send anything. Then only what must hold against such a peer is asserted.
    pub byzantine: bool,
    /// This node is gone for good when the faults end.
    pub gone: Option<Side>,
    /// What happens, in this order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// The same with the real store under both nodes, unless the peer is byzantine: its records have no bytes.
    pub fn on_stores(self) -> Self {
        Self { stored: !self.byzantine, ..self }
    }
}
