use std::net::SocketAddr;

use crate::model::WitnessRecord;
use crate::protocol::engine::{EngineStatus, WitnessStatus};

/// What a node says of itself, as plain data.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// What the engine says: role, serving, epoch, position, link, takeover, alerts.
    pub engine: EngineStatus,
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where its peer dials.
    pub advertise: String,
    /// The kind of its witness ([`Witness::kind`](crate::Witness::kind)), where there is one; what is known of it stands in
    /// `engine`.
    pub witness: Option<&'static str>,
    /// When this was written, in microseconds of the suspend-aware clock; `last_seen_us` ages from here.
    pub written_us: u64,
}

impl Status {
    /// Whether a reader of the one would do anything else with the other: what only ages is not looked at.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        // Every renewal counts on, and nothing else of it is news.
        let settled = |record: &WitnessRecord| WitnessRecord { counter: 0, ..record.clone() };
        let witness = |seen: &WitnessStatus| WitnessStatus { record: seen.record.as_ref().map(settled), ..*seen };
        let still = |status: &EngineStatus| EngineStatus {
            last_seen_us: None,
            round_trip_us: None,
            witness: status.witness.as_ref().map(witness),
            ..status.clone()
        };
        self.listen == other.listen && still(&self.engine) == still(&other.engine)
    }
}
