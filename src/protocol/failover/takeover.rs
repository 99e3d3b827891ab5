//! What speaks against a takeover: the conditions, the hold-down, and which of two masters stays.

use std::time::Duration;

use super::register::Flaw;
use crate::model::{Epoch, NodeId};

/// What speaks for and against a takeover by this node itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakeoverConditions {
    /// Its role is that of shadow.
    pub shadow: bool,
    /// It has an enrolled peer.
    pub enrolled: bool,
    /// An operator decides.
    pub manual: bool,
    /// Its copy is complete and verified.
    pub complete: bool,
    /// It is being brought up to date, or was when the link was lost.
    pub syncing: bool,
    /// It had contact with its master since it started.
    pub contact: bool,
    /// An operator holds the link, here or there.
    pub held: bool,
    /// Too many takeovers of late.
    pub hold_down: bool,
    /// The store does not work.
    pub broken: bool,
    /// One side refuses the other.
    pub refused: bool,
    /// What the witness has against it, or against a master's serving.
    pub witness: Option<TakeoverBlocker>,
}

/// Why a node would not take over by itself now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TakeoverBlocker {
    /// It is the master.
    Master,
    /// It has no enrolled peer.
    NoPeer,
    /// An operator decides.
    Manual,
    /// Its copy was never complete and verified.
    Incomplete,
    /// It is being brought up to date, or was when the link was lost.
    Syncing,
    /// It had no contact with its master since it started.
    NoContact,
    /// An operator holds the link, here or there.
    Held,
    /// Too many takeovers of late.
    HoldDown,
    /// One side refuses the other.
    Refused,
    /// Its store does not work.
    DiskTrouble,
    /// The witness does not answer.
    WitnessUnreachable,
    /// The witness holds no record.
    RecordMissing,
    /// The witness holds an older record than it did.
    RecordOlder,
    /// The witness holds the record of another pair.
    RecordForeign,
    /// The record does not say that this node is in sync.
    NotInSync,
    /// The record names more than this node holds.
    BehindRecord,
    /// Of a master: the record names the other node.
    NotNamed,
    /// Of a master: the record names more than its disk holds.
    RolledBack,
    /// Of a master: neither a promise nor a lease covers now.
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
    /// Why it would not take over by itself; empty when it would.
    pub fn blockers(&self) -> Vec<TakeoverBlocker> {
        use TakeoverBlocker as B;
        if !self.shadow {
            return [B::Master].into_iter().chain(self.witness).collect();
        }
        let reasons = [
            (!self.enrolled, B::NoPeer),
            (self.manual, B::Manual),
            (!self.complete, B::Incomplete),
            (self.complete && self.syncing, B::Syncing),
            (!self.contact, B::NoContact),
            (self.held, B::Held),
            (self.hold_down, B::HoldDown),
            (self.refused, B::Refused),
            (self.broken, B::DiskTrouble),
        ];
        reasons.into_iter().filter_map(|(holds, blocker)| holds.then_some(blocker)).chain(self.witness).collect()
    }
}

/// Takeovers within the hold-down time after which there is none for that time.
pub const HOLD_DOWN_TAKEOVERS: usize = 3;

/// Whether takeovers at these wall-clock times forbid another one now.
pub fn held_down(takeovers_ms: &[u64], hold_down: Duration, wall_ms: u64) -> bool {
    let window_ms = u64::try_from(hold_down.as_millis()).unwrap_or(u64::MAX);
    let recent = takeovers_ms.iter().filter(|at| wall_ms.saturating_sub(**at) < window_ms).count();
    window_ms > 0 && recent >= HOLD_DOWN_TAKEOVERS
}

/// Of two masters without a witness, the one with the higher epoch stays, and of equals the higher id.
pub fn outranks(epoch: Epoch, node: NodeId, other: (Epoch, NodeId)) -> bool {
    (epoch, node) > other
}
