//! The time of an event, and the ids that events and actions use.

use crate::model::Moment;

/// The time of an event, and random bits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Suspend-aware clock.
    pub at: Moment,
    /// Wall clock, milliseconds since 1970. It is for people, and for what must outlive a restart: times of alerts, ends of tokens, the
    /// hold-down. It may show anything and be set at any time.
    pub wall_ms: u64,
    /// Fresh random bits: jitter, ids, incarnations.
    pub random: u64,
}

/// One authenticated TLS connection. The shell chooses the id, unique in its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// One batch of durable work. The engine chooses the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// A caller that waits: of a commit, or an operator. The shell chooses the id, unique in its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);
