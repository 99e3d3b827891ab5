//! Bringing a sink to its source's position, by the cheapest repair that suffices.
//!
//! The master is the source and the shadow the sink; when a restarted master finds its shadow ahead, they change places
//! until the tail is over. Two machines, one session each: [`Source`] and [`Sink`]. Neither knows of roles, links or
//! clocks; the engine passes in where its own history stands ([`Ground`]) and carries out what comes back.
//!
//! Absent on purpose: retries. A session that cannot go on waits for the event that changes its ground (a newer head, an
//! acknowledgement, a new link), so that a refused update is never resent in a loop.

mod sink;
mod source;
mod window;

pub use sink::{Sink, SinkOut};
pub use source::{Source, SourceOut};

use crate::model::{Era, History, Position, Relation, Revision};

/// Where this node's own history stands.
#[derive(Clone, Copy, Debug)]
pub struct LogView<'a> {
    /// Durable head.
    pub head: Position,
    /// The log holds everything after this.
    pub log_floor: Revision,
    /// Lineage up to the head.
    pub history: &'a History,
}

/// What would bring a sink at some position up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// The log after its head.
    Log,
    /// A snapshot.
    Snapshot,
}

impl LogView<'_> {
    /// The cheapest sufficient repair of a sink at `position` with `history`. An incomplete copy needs all of it,
    /// unless it turns out to be the very same.
    pub fn need(&self, position: Position, history: &History, complete: bool) -> Need {
        match self.history.relate(self.head.revision, history, position.revision) {
            Relation::Same if position.digest == self.head.digest => Need::Nothing,
            Relation::Behind if complete && self.reaches(position.revision) => Need::Log,
            _ => Need::Snapshot,
        }
    }

    /// Whether the log holds everything after this position of the lineage.
    pub fn reaches(&self, position: Revision) -> bool {
        position != Revision::NONE && position >= self.log_floor && self.history.contains(self.head.revision, position)
    }
}

/// How a sink was brought up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum How {
    /// It was.
    None,
    /// By the log.
    Incremental,
    /// By what differs.
    Differential,
    /// By a full push.
    Full,
}

impl How {
    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Incremental => "incremental",
            Self::Differential => "differential",
            Self::Full => "full",
        }
    }
}

/// What became of records of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordsReceipt {
    /// They are durable.
    Appended {
        /// Durable head after them.
        head: Position,
        /// Where the log begins now.
        log_floor: Revision,
        /// Eras that began in these records, oldest first.
        eras: Vec<Era>,
    },
    /// The host's validation refused them; nothing is left of them.
    Rejected {
        /// Up to here.
        at: Revision,
        /// Why.
        reason: String,
    },
    /// They do not follow the head, or their content is not what they say; nothing is left of them.
    Mismatch {
        /// Durable head, as before.
        head: Position,
    },
}

#[cfg(test)]
mod tests;
