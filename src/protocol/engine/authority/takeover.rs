//! A takeover under way: the attempt at the witness, the operators who wait for it, the question to the host.
//!
//! | attempt | term durable | swapped | conflict or no answer | role changes |
//! |---|---|---|---|---|
//! | none | - | - | - | - |
//! | wanted | - | - | - | none |
//! | noting the term | noted | - | none | none |
//! | noted | - | won | none | none |
//! | won | - | - | - | none, once the era is durable |

use super::{Moment, TakeoverBlocker};
use crate::model::{Epoch, Revision, WitnessVersion};
use crate::protocol::engine::Ticket;
use crate::protocol::failover::Flaw;

/// First and last of what is missing, where known.
pub(in super::super) type Missing = Option<(Revision, Revision)>;

/// A takeover by this node.
#[derive(Clone, Debug)]
pub(in super::super) struct Takeover {
    attempt: Option<Attempt>,
    /// Operators who wait for this node to be master.
    waiters: Vec<Ticket>,
    /// What an operator has given up for it, as far as that is known.
    given_up: Option<Missing>,
    /// Until when they wait for what only time or an answer brings: the end of a lease, a cover.
    deadline: Moment,
    /// Number of the last question to the host.
    question: u64,
}

/// An attempt under way at the witness, or one that an operator wants and that waits for its time.
#[derive(Clone, Debug)]
pub(in super::super) enum Attempt {
    /// An operator wants it; leases and promises must run out first.
    Wanted { accept_loss: bool },
    /// The term is being made durable.
    Noting { epoch: Epoch, accept_loss: bool, version: Option<WitnessVersion> },
    /// The term is durable: the swap may go, if the register still holds this version.
    Noted { epoch: Epoch, accept_loss: bool, version: Option<WitnessVersion> },
    /// The swap is won.
    Won { epoch: Epoch },
}

/// The obstacle to a takeover at the witness, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum WitnessObstacle {
    /// The register is not known: no answer, or what is known may be outdated.
    Unreachable,
    /// It holds nothing that this pair can go on from.
    Flawed(Flaw),
    /// It was never made.
    NotMade,
    /// It does not say that this node is in sync.
    NotInSync,
    /// It records more than this node holds.
    Behind,
    /// This node's own promise to its master runs.
    Promised,
    /// The value has not stood unchanged for its lease.
    Leased,
}

impl WitnessObstacle {
    /// The same for people. What only time removes is no reason.
    pub(in super::super) fn blocker(self) -> Option<TakeoverBlocker> {
        match self {
            Self::Unreachable => Some(TakeoverBlocker::WitnessUnreachable),
            Self::Flawed(flaw) => Some(flaw.into()),
            Self::NotMade => Some(TakeoverBlocker::RecordMissing),
            Self::NotInSync => Some(TakeoverBlocker::NotInSync),
            Self::Behind => Some(TakeoverBlocker::BehindRecord),
            Self::Promised | Self::Leased => None,
        }
    }
}

impl Takeover {
    pub(super) fn new(at: Moment) -> Self {
        Self { attempt: None, waiters: Vec::new(), given_up: None, deadline: at, question: 0 }
    }

    pub(in super::super) fn attempt(&self) -> Option<&Attempt> {
        self.attempt.as_ref()
    }

    pub(in super::super) fn set_attempt(&mut self, attempt: Attempt) {
        self.attempt = Some(attempt);
    }

    pub(in super::super) fn end_attempt(&mut self) {
        (self.attempt, self.given_up) = (None, None);
    }

    /// An operator gives this up for the takeover that is ordered now, and for no other.
    pub(in super::super) fn give_up(&mut self, missing: Missing) {
        self.given_up = Some(missing);
    }

    /// What was given up for the takeover that is done now.
    pub(in super::super) fn take_given_up(&mut self) -> Option<Missing> {
        self.given_up.take()
    }

    /// Terms up to this one are durable.
    pub(in super::super) fn noted(&mut self, tried: Epoch) {
        if let Some(Attempt::Noting { epoch, accept_loss, version }) = self.attempt.clone()
            && tried >= epoch
        {
            self.attempt = Some(Attempt::Noted { epoch, accept_loss, version });
        }
    }

    /// What an operator wants, and whether loss is accepted.
    pub(in super::super) fn wanted(&self) -> Option<bool> {
        match self.attempt {
            Some(Attempt::Wanted { accept_loss }) => Some(accept_loss),
            _ => None,
        }
    }

    pub(super) fn won_epoch(&self) -> Option<Epoch> {
        match self.attempt {
            Some(Attempt::Won { epoch }) => Some(epoch),
            _ => None,
        }
    }

    /// An operator waits for this node to be master.
    pub(in super::super) fn wait(&mut self, ticket: Ticket) {
        self.waiters.push(ticket);
    }

    pub(in super::super) fn has_waiters(&self) -> bool {
        !self.waiters.is_empty()
    }

    pub(in super::super) fn take_waiters(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.waiters)
    }

    /// Until when operators wait.
    pub(in super::super) fn deadline(&self) -> Moment {
        self.deadline
    }

    pub(in super::super) fn set_deadline(&mut self, at: Moment) {
        self.deadline = at;
    }

    /// A new question to the host.
    pub(in super::super) fn ask_host(&mut self) -> u64 {
        self.question += 1;
        self.question
    }

    pub(in super::super) fn is_last_question(&self, question: u64) -> bool {
        self.question == question
    }
}
