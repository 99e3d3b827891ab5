use crate::model::PairId;

/// What is said on an enrolment connection, in this order: request, accepted, confirm, stored. Refused may stand in
/// the place of either answer and ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnrolMessage {
    /// The enrolee asks.
    Request {
        /// Its name.
        name: String,
        /// Where it can be dialled.
        address: String,
        /// Its takeover delay, milliseconds.
        takeover_delay_ms: u64,
        /// Shows that it knows a token's secret, bound to this very connection.
        proof: [u8; 32],
    },
    /// The master would take it, and tells what the enrolee must store.
    Accepted {
        /// The pair.
        pair: PairId,
        /// The master's name.
        name: String,
        /// Where the master can be dialled.
        address: String,
    },
    /// The master will not, in a word.
    Refused {
        /// Says nothing of which part was wrong.
        word: String,
    },
    /// The enrolee has stored it.
    Confirm,
    /// The master has stored it too.
    Stored,
}
