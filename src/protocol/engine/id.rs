//! When an event happened, and the numbers by which events and actions name things.

use crate::model::Moment;

/// When an event happened, and the randomness that it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// By the suspend-aware clock.
    pub at: Moment,
    /// By the wall clock, milliseconds since 1970. For people; nothing is decided by it but the life of a token.
    pub wall_ms: u64,
    /// Fresh random bits: jitter, ids, incarnations.
    pub random: u64,
}

/// One TLS connection, authenticated. Chosen by the shell, unique in its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// One batch of durable work. Chosen by the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// A caller that waits: a commit, an operator. Chosen by the shell, unique in its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);
