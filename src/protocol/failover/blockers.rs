//! The conditions of a takeover, the hold-down, and the rank of two masters.

use std::time::Duration;

use super::register::Flaw;
use crate::model::limits::HOLD_DOWN_TAKEOVERS;
use crate::model::{Epoch, NodeId};

/// The conditions of an automatic takeover by this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakeoverConditions {
    /// Its role is that of shadow.
    pub shadow: bool,
    /// It serves.
    pub serving: bool,
    /// It has an enrolled peer.
    pub enrolled: bool,
    /// Only an operator decides on a takeover.
    pub manual: bool,
    /// Its copy is complete and verified.
    pub complete: bool,
    /// A repair is under way, or was when the link was lost.
    pub syncing: bool,
    /// It had contact with its master since it started.
    pub contact: bool,
    /// An operator keeps the link closed, on this node or on the peer.
    pub held: bool,
    /// An operator has paused automatic failover.
    pub paused: bool,
    /// There were too many recent takeovers.
    pub hold_down: bool,
    /// The store does not work.
    pub broken: bool,
    /// One side refuses the other.
    pub refused: bool,
    /// What the witness' record holds against a takeover, or against a master that serves.
    pub witness: Option<TakeoverBlocker>,
}

/// Why a node does not take over by itself, or why a master does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TakeoverBlocker {
    /// It is the master.
    Master,
    /// It has no enrolled peer.
    NoPeer,
    /// Only an operator decides on a takeover.
    Manual,
    /// Its copy was never complete and verified.
    Incomplete,
    /// A repair is under way, or was when the link was lost.
    Syncing,
    /// It had no contact with its master since it started.
    NoContact,
    /// An operator keeps the link closed, on this node or on the peer.
    Held,
    /// An operator has paused automatic failover.
    Paused,
    /// There were too many recent takeovers.
    HoldDown,
    /// One side refuses the other.
    Refused,
    /// Its store does not work.
    DiskTrouble,
    /// The witness does not answer.
    WitnessUnreachable,
    /// The witness holds no record.
    RecordMissing,
    /// The witness holds a record older than one that this node has seen.
    RecordOlder,
    /// The witness holds the record of another pair.
    RecordForeign,
    /// The record does not say that this node is in sync.
    NotInSync,
    /// The record names a revision that this node lacks.
    BehindRecord,
    /// For a master: the record names the other node.
    NotNamed,
    /// For a master: the record names a revision that its disk lacks.
    RolledBack,
    /// For a master: another node with this node's identity renews the record.
    Duplicate,
    /// For a master: the peer's promise and the lease have both run out.
    Uncovered,
}

impl TakeoverBlocker {
    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::NoPeer => "no_peer",
            Self::Manual => "manual",
            Self::Incomplete => "incomplete",
            Self::Syncing => "syncing",
            Self::NoContact => "no_contact",
            Self::Held => "held",
            Self::Paused => "paused",
            Self::HoldDown => "hold_down",
            Self::Refused => "refused",
            Self::DiskTrouble => "disk_trouble",
            Self::WitnessUnreachable => "witness_unreachable",
            Self::RecordMissing => "record_missing",
            Self::RecordOlder => "record_older",
            Self::RecordForeign => "record_foreign",
            Self::NotInSync => "not_in_sync",
            Self::BehindRecord => "behind_record",
            Self::NotNamed => "not_named",
            Self::RolledBack => "rolled_back",
            Self::Duplicate => "duplicate",
            Self::Uncovered => "uncovered",
        }
    }
}

impl From<Flaw> for TakeoverBlocker {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Missing => Self::RecordMissing,
            Flaw::Older => Self::RecordOlder,
            Flaw::Foreign => Self::RecordForeign,
        }
    }
}

impl TakeoverConditions {
    /// Why this node does not take over by itself. Empty if it would. Behind [`TakeoverBlocker::Master`]: why it does not serve.
    pub fn blockers(&self) -> Vec<TakeoverBlocker> {
        use TakeoverBlocker as B;
        if !self.shadow {
            let reasons = [(self.manual, B::Manual), (!self.complete, B::Incomplete), (self.held, B::Held)];
            let reasons = reasons.into_iter().filter(|(holds, _)| *holds && !self.serving);
            return [B::Master].into_iter().chain(reasons.map(|(_, blocker)| blocker)).chain(self.witness).collect();
        }
        let reasons = [
            (!self.enrolled, B::NoPeer),
            (self.manual, B::Manual),
            (!self.complete, B::Incomplete),
            (self.complete && self.syncing, B::Syncing),
            (!self.contact, B::NoContact),
            (self.held, B::Held),
            (self.paused, B::Paused),
            (self.hold_down, B::HoldDown),
            (self.refused, B::Refused),
            (self.broken, B::DiskTrouble),
        ];
        reasons.into_iter().filter_map(|(holds, blocker)| holds.then_some(blocker)).chain(self.witness).collect()
    }
}

/// Whether takeovers at these wall-clock times forbid another one now.
pub fn held_down(takeovers_ms: &[u64], hold_down: Duration, wall_ms: u64) -> bool {
    let window_ms = u64::try_from(hold_down.as_millis()).unwrap_or(u64::MAX);
    let recent = takeovers_ms.iter().filter(|at| wall_ms.saturating_sub(**at) < window_ms).count();
    window_ms > 0 && recent >= HOLD_DOWN_TAKEOVERS
}

/// Which of two masters without a witness stays: the one with the higher epoch. If the epochs are equal, the one with the higher
/// id.
pub fn outranks(epoch: Epoch, node: NodeId, other: (Epoch, NodeId)) -> bool {
    (epoch, node) > other
}
