//! Brings a sink to its source's position by the cheapest sufficient repair.
//!
//! The master is the source and the shadow is the sink. When a restarted master finds its shadow ahead, they change places
//! until the master has what its disk lost. Each session has one [`Source`] and one [`Sink`]. Neither knows roles, links or
//! clocks: the engine passes in the state of its own log ([`LogView`]) and executes the outputs.
//!
//! Absent on purpose: retries. A session that cannot continue waits for an event that changes the situation (a newer head, an
//! acknowledgement, a new link), so a refused update is never resent in a loop.

mod sink;
mod source;
mod window;

pub use sink::{Sink, SinkOut};
pub use source::{Source, SourceOut};

use crate::model::{Era, History, Position, Relation, Revision};
use crate::protocol::wire::ResumePoint;

/// The state of this node's own log.
#[derive(Clone, Copy, Debug)]
pub struct LogView<'a> {
    /// Durable head.
    pub head: Position,
    /// What follows the head in the log and is not durable yet.
    pub written: Option<Written>,
    /// The log holds every record after this revision.
    pub log_floor: Revision,
    /// Lineage up to the head.
    pub history: &'a History,
}

/// Records of this node's own that are in its log and not durable yet. They follow its durable head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The head after them.
    pub head: Position,
    /// Their bytes.
    pub bytes: usize,
}

/// What a sink held when the session began.
#[derive(Clone, Copy, Debug)]
pub struct SinkCopy<'a> {
    /// Its durable head.
    pub position: Position,
    /// Its lineage.
    pub history: &'a History,
    /// Whether it is a complete, verified copy.
    pub complete: bool,
    /// Whether it is told how far the source's log is durable, apart from bulk. Only then may it get what is not.
    pub told_marks: bool,
}

/// What brings a sink up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairPlan {
    /// Nothing: it is up to date.
    Nothing,
    /// The log after its head.
    Log,
    /// A snapshot.
    Snapshot,
}

impl LogView<'_> {
    /// The cheapest sufficient repair of a sink's copy. An incomplete copy needs a snapshot, unless its position and digest
    /// are this node's.
    pub fn cheapest_repair(&self, copy: SinkCopy<'_>) -> RepairPlan {
        let SinkCopy { position, history, complete, .. } = copy;
        match self.history.relate(self.head.revision, history, position.revision) {
            Relation::Same if position.digest == self.head.digest => RepairPlan::Nothing,
            Relation::Behind if complete && self.reaches(position.revision) => RepairPlan::Log,
            _ => RepairPlan::Snapshot,
        }
    }

    /// Whether `position` belongs to this node's history and the log holds every record after it.
    pub fn reaches(&self, position: Revision) -> bool {
        position != Revision::NONE && position >= self.log_floor && self.may_hold(position)
    }

    /// Where the log ends, durable or not.
    pub fn end(&self) -> Position {
        self.written.map_or(self.head, |written| written.head)
    }

    /// Whether a sink of this source can hold this revision: it is in the log, durable or not.
    pub fn may_hold(&self, revision: Revision) -> bool {
        self.history.contains(self.end().revision, revision)
    }
}

/// How a sink was brought up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepairKind {
    /// It was up to date already.
    None,
    /// By the log records that it lacked.
    Incremental,
    /// By the entries that differed.
    Differential,
    /// By a full push.
    Full,
}

impl RepairKind {
    /// The stable word for this kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Incremental => "incremental",
            Self::Differential => "differential",
            Self::Full => "full",
        }
    }
}

/// The outcome of storing the peer's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordsReceipt {
    /// They are durable.
    Appended {
        /// Durable head after them.
        head: Position,
        /// The log holds every record after this revision now.
        log_floor: Revision,
        /// Eras that began in these records, oldest first.
        eras: Vec<Era>,
    },
    /// The host's validation refused them. Nothing of them is stored.
    Rejected {
        /// The newest revision that was refused.
        at: Revision,
        /// The host's reason.
        reason: String,
    },
    /// They do not follow the head, or their content does not match their digest. Nothing of them is stored.
    Mismatch {
        /// Durable head, unchanged.
        head: Position,
    },
}

/// What a sink has already when a snapshot is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StagedBefore {
    /// Nothing.
    Nothing,
    /// A part of a snapshot that was cut.
    Part(Box<ResumePoint>),
    /// A complete copy, with the first bytes of the digest of each bucket.
    Base(Vec<u8>),
}

/// How many entries these bits ask for.
fn wanted_entries(wants: &[u8]) -> u64 {
    wants.iter().map(|byte| u64::from(byte.count_ones())).sum()
}

#[cfg(test)]
mod tests;
