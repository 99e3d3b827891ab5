use crate::model::{NodeId, PairId, Password};

/// A message of the enrolment protocol. The order is request or authenticate, accepted, confirm, stored. The master may answer a request or a
/// confirm with refused, which ends the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnrolMessage {
    /// The enrolling node asks to join.
    Request {
        /// Its name.
        name: String,
        /// The address where it accepts connections.
        address: String,
        /// Its takeover delay, milliseconds.
        takeover_delay_ms: u64,
        /// Proves that it knows a token's secret. The proof is bound to this connection.
        proof: [u8; 32],
    },
    /// The master accepts, and sends what the enrolling node must store.
    Accepted {
        /// The pair.
        pair: PairId,
        /// The master's name.
        name: String,
        /// The address where the master accepts connections.
        address: String,
    },
    /// The master refuses.
    Refused {
        /// The reason, a stable word. It does not reveal which part of the proof was wrong.
        word: String,
    },
    /// The enrolling node has stored the pairing.
    Confirm,
    /// The master has stored the pairing.
    Stored,
    /// As `Accepted`, from a master that is not named after the key that it shows: it has renewed its key.
    AcceptedBy {
        /// The master.
        node: NodeId,
        /// The pair.
        pair: PairId,
        /// The master's name.
        name: String,
        /// The address where the master accepts connections.
        address: String,
    },
    /// The enrolling node asks to join as a user of the master's host.
    Authenticate {
        /// Its name.
        name: String,
        /// The address where it accepts connections.
        address: String,
        /// Its takeover delay, milliseconds.
        takeover_delay_ms: u64,
        /// The user.
        user: String,
        /// The user's password. The handshake has shown before that the master has the key that the enrolling node expects.
        password: Password,
    },
}
