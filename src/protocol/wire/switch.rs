//! What two nodes say of a planned switch of roles, and the modes of a pair.

use serde::{Deserialize, Serialize};

use crate::model::{Epoch, Position};

/// A step of a planned switch of roles, in the order in which they are said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Shadow to master: the shadow's operator asks for it.
    Ask,
    /// Master to shadow: no change set is under way here, and this is the head. Note a new term above this epoch.
    Prepare {
        /// The master's head.
        position: Position,
        /// The highest epoch that the master knows of.
        epoch: Epoch,
    },
    /// Shadow to master: this term is durable here.
    Ready {
        /// The term.
        epoch: Epoch,
    },
    /// Master to shadow: the sender is not master any more, and will not be by any answer to what it asked before.
    HandOver {
        /// The head of what is handed over.
        position: Position,
        /// The term that the shadow has noted.
        epoch: Epoch,
        /// The sender is stopping, and is not to be waited for.
        stops: bool,
    },
    /// Either way: the switch is off. After a hand-over: the shadow does not take it, and never will.
    CallOff {
        /// Why.
        why: SwitchObstacle,
    },
    /// The answer to [`Switch::Ask`]: no switch begins. One that is under way goes on.
    Refused {
        /// Why.
        why: SwitchObstacle,
    },
}

/// Why a switch of roles does not begin, or is called off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SwitchObstacle {
    /// The node that is asked is not a master that serves.
    NotServing,
    /// The shadow does not hold what the master holds, or there is no link to it.
    NotInSync,
    /// Automatic failover is paused.
    Paused,
    /// Another switch is under way.
    UnderWay,
    /// The disk of either node does not work, or is full.
    Disk,
    /// The witness does not answer, or its record is not one to go on from.
    Witness,
    /// A node is stopping.
    Stopping,
    /// It was not over in time, or the reason is newer than this program.
    TimedOut,
}

impl SwitchObstacle {
    /// Every reason. One missing here would be read as [`Self::TimedOut`].
    pub(crate) const ALL: [Self; 8] = [
        Self::NotServing,
        Self::NotInSync,
        Self::Paused,
        Self::UnderWay,
        Self::Disk,
        Self::Witness,
        Self::Stopping,
        Self::TimedOut,
    ];

    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotServing => "not_serving",
            Self::NotInSync => "not_in_sync",
            Self::Paused => "paused",
            Self::UnderWay => "switch_under_way",
            Self::Disk => "disk_trouble",
            Self::Witness => "witness_unreachable",
            Self::Stopping => "stopping",
            Self::TimedOut => "timed_out",
        }
    }
}

/// What operators have turned on for the pair. Both nodes remember it, and the later word holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modes {
    /// No shadow takes over by itself.
    pub paused: Mode,
    /// The master takes no change sets.
    pub frozen: Mode,
}

/// One mode of the pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mode {
    /// How often it was turned on or off, on either node.
    pub changes: u64,
    /// Whether it is on.
    pub on: bool,
}

impl Mode {
    /// After an operator's word.
    #[must_use]
    pub fn turned(self, on: bool) -> Self {
        if self.on == on { self } else { Self { changes: self.changes.saturating_add(1), on } }
    }

    /// What two nodes with these come to: the later word. Where both said something without the other, on holds.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        if (self.changes, self.on) >= (other.changes, other.on) { self } else { other }
    }
}

impl Modes {
    /// Whether either mode was turned so much more often than here that nobody can have said so.
    pub fn are_beyond(self, here: Self, most: u64) -> bool {
        let beyond = |theirs: Mode, ours: Mode| theirs.changes.saturating_sub(ours.changes) > most;
        beyond(self.paused, here.paused) || beyond(self.frozen, here.frozen)
    }

    /// What two nodes with these come to.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        Self { paused: self.paused.merged(other.paused), frozen: self.frozen.merged(other.frozen) }
    }
}
