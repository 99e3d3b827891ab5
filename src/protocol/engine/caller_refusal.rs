//! What a caller is answered, by the kind of its call.

use crate::model::{Conflict, Revision};
use crate::protocol::wire::SwitchObstacle;

/// The answer to a commit.
pub type CommitAnswer = Result<Committed, CommitRefusal>;

/// The answer to an operator's command. `Ok` where it is done, or under way.
pub type CommandAnswer = Result<(), CommandRefusal>;

/// A change set that is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// As this revision.
    pub revision: Revision,
    /// Whether it is durable on both nodes.
    pub replicated: bool,
}

/// Why a change set was not committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitRefusal {
    /// This node is not master. Nothing changed.
    NotMaster {
        /// Where the master is dialled, if known.
        master: Option<String>,
    },
    /// A guard did not hold. Nothing changed.
    Guard(Conflict),
    /// An operator has frozen the pair. Nothing changed.
    Frozen,
    /// Earlier change sets are in doubt, since neither the shadow nor the witness answers. Nothing changed.
    Blocked,
    /// It reached the log, and what becomes of it is not known yet.
    InDoubt {
        /// The position it would have.
        revision: Revision,
    },
    /// The disk is full. Nothing changed.
    DiskFull,
    /// The node is stopping. Nothing changed.
    Stopped,
}

/// Why an operator's command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandRefusal {
    /// This node is not master. Nothing changed.
    NotMaster {
        /// Where the master is dialled, if known.
        master: Option<String>,
    },
    /// Too much waits. Nothing changed.
    Overloaded,
    /// The disk is full. Nothing changed.
    DiskFull,
    /// The disk failed. Nothing changed.
    Disk {
        /// What the system says.
        reason: String,
    },
    /// It is not in force, and may be later. The disk failed again when what had been written was to be undone: a node that starts
    /// before the disk has worked again may find it. Or the witness did not answer the swap of a takeover.
    InDoubt {
        /// What the system says.
        reason: String,
    },
    /// The node is stopping. Nothing changed.
    Stopped,
    /// High availability is not enabled on this node. Nothing changed.
    Disabled,
    /// There is an enrolled peer. Nothing changed.
    ShadowEnrolled,
    /// There is no enrolled peer. Nothing changed.
    NoPeer,
    /// The link to the peer is up. Nothing changed.
    PeerConnected,
    /// There is no alert of this number. Nothing changed.
    UnknownAlert,
    /// Too many tokens are alive. Nothing changed.
    TooManyTokens,
    /// This shadow never had a complete copy, so it must not become master. Nothing changed.
    Incomplete,
    /// Change sets would be lost. Nothing changed.
    Loss {
        /// First and last that are known to be missing, where known.
        missing: Option<(Revision, Revision)>,
    },
    /// The master may hold mastership still: its lease, or this node's promise to it, has not run out. Nothing changed.
    LeaseHeld,
    /// The witness did not answer, and without it nobody becomes master. Nothing changed.
    WitnessUnreachable,
    /// The shadow is not connected, or does not hold everything. Nothing changed.
    NotInSync,
    /// An operator holds the link. Nothing changed.
    Held,
    /// Automatic failover is paused. Nothing changed.
    Paused,
    /// A switch of roles is under way. Nothing changed.
    SwitchUnderWay,
    /// The peer's program does not know of switches. Nothing changed.
    PeerTooOld,
    /// The switch of roles was called off. The roles are as before.
    CalledOff {
        /// Why.
        why: SwitchObstacle,
    },
    /// A renewal of this node's key is under way. Nothing changed.
    RotationUnderWay,
}

impl From<SwitchObstacle> for CommandRefusal {
    fn from(why: SwitchObstacle) -> Self {
        match why {
            SwitchObstacle::NotInSync => Self::NotInSync,
            SwitchObstacle::Paused => Self::Paused,
            SwitchObstacle::UnderWay => Self::SwitchUnderWay,
            SwitchObstacle::Disk => Self::Disk { reason: "the disk of a node does not work, or is full".to_owned() },
            SwitchObstacle::Witness => Self::WitnessUnreachable,
            why => Self::CalledOff { why },
        }
    }
}
