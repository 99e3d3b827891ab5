//! Callers that commit, and what an acknowledgement waits for.
//!
//! Asynchronous: that the change set is durable here. Synchronous: that the shadow holds it too, or that it is settled that
//! the shadow does not count: with a witness, only when the record says so (rules 12 to 15 of `FAILOVER.md`). "No output
//! before the backup has the input" is VMware Fault Tolerance's rule (Scales 2010).
//!
//! | the shadow's part | the shadow has everything | it was silent for too long | a new era |
//! |---|---|---|---|
//! | awaited | joined | given up | awaited |
//! | joined | joined | given up | awaited |
//! | given up | joined | given up | awaited |

use std::collections::VecDeque;

use super::{CommitRefusal, Moment, Replication, Ticket};
use crate::model::Revision;
use crate::model::limits::{GROUP_BYTES_MAX, GROUP_CHANGE_SETS_MAX};

/// Change sets that wait for the log, and answers that wait for the shadow or for mastership.
#[derive(Clone, Debug)]
pub(super) struct Commits {
    mode: Replication,
    queue: VecDeque<(Ticket, usize)>,
    /// Durable here and not acknowledged yet; in the order of their revisions.
    waiting: VecDeque<Waiting>,
    /// The newest revision that was acknowledged in this run.
    acknowledged: Revision,
    shadow: ShadowPart,
    intake: Intake,
    /// An operator wants acknowledgements not to wait any more, once that is settled.
    to_asynchronous: Option<(Ticket, Moment)>,
}

/// What the shadow has to do with acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShadowPart {
    /// Acknowledgements wait for it. It has not had everything since this era began, or since it was last given up.
    Awaited,
    /// Acknowledgements wait for it. It has had everything.
    Joined,
    /// Acknowledgements do not wait for it.
    GivenUp,
}

/// Whether change sets are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intake {
    Open,
    /// A change set that waited for the shadow, and for the witness instead, is in doubt. Until all of them are settled no other is
    /// taken, since nothing bounds how many of them there would be.
    Blocked,
}

/// One change set that waits to be acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) revision: Revision,
    since: Moment,
}

impl Commits {
    pub(super) fn new(mode: Replication) -> Self {
        Self {
            mode,
            queue: VecDeque::new(),
            waiting: VecDeque::new(),
            acknowledged: Revision::NONE,
            shadow: ShadowPart::Awaited,
            intake: Intake::Open,
            to_asynchronous: None,
        }
    }

    /// Whether commits wait for the shadow, by the option or an operator's word.
    pub(super) fn mode(&self) -> Replication {
        self.mode
    }

    pub(super) fn is_synchronous(&self) -> bool {
        self.mode == Replication::Synchronous
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.waiting.is_empty()
    }

    // The queue.

    /// A caller wants to commit. The shell bounds how many wait at a time, where it admits them.
    ///
    /// # Errors
    /// Why it is not taken. Nothing changed.
    pub(super) fn enqueue(&mut self, ticket: Ticket, bytes: usize) -> Result<(), CommitRefusal> {
        if self.is_blocked() {
            return Err(CommitRefusal::Blocked);
        }
        self.queue.push_back((ticket, bytes));
        Ok(())
    }

    /// The next group, and its bytes: all that waits, within the bounds of a group.
    pub(super) fn next_group(&mut self) -> Option<(Vec<Ticket>, usize)> {
        let mut group = Vec::new();
        let mut group_bytes = 0;
        while let Some((ticket, bytes)) = self.queue.front().copied() {
            let full = group_bytes + bytes > GROUP_BYTES_MAX || group.len() >= GROUP_CHANGE_SETS_MAX;
            if full && !group.is_empty() {
                break;
            }
            self.queue.pop_front();
            group_bytes += bytes;
            group.push(ticket);
        }
        (!group.is_empty()).then_some((group, group_bytes))
    }

    /// Takes everything that has not reached the log.
    pub(super) fn take_queue(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.queue).into_iter().map(|(ticket, _)| ticket).collect()
    }

    pub(super) fn has_queue(&self) -> bool {
        !self.queue.is_empty()
    }

    // What is durable and waits.

    /// A change set is durable here.
    pub(super) fn durable(&mut self, ticket: Ticket, revision: Revision, at: Moment) {
        self.waiting.push_back(Waiting { ticket, revision, since: at });
    }

    /// Takes the oldest that waits, if it may be acknowledged up to this revision.
    pub(super) fn acknowledge_next(&mut self, upto: Revision) -> Option<Waiting> {
        let next = self.waiting.front().filter(|waiting| waiting.revision <= upto).copied()?;
        self.waiting.pop_front();
        self.acknowledged = self.acknowledged.max(next.revision);
        Some(next)
    }

    /// Takes the oldest that waits, whatever it waits for.
    pub(super) fn take_oldest(&mut self) -> Option<Waiting> {
        self.waiting.pop_front()
    }

    /// Takes all that waits.
    pub(super) fn take_waiting(&mut self) -> Vec<Waiting> {
        std::mem::take(&mut self.waiting).into()
    }

    /// Since when the oldest waits.
    pub(super) fn oldest_since(&self) -> Option<Moment> {
        self.waiting.front().map(|waiting| waiting.since)
    }

    /// The newest revision that was acknowledged in this run.
    pub(super) fn acknowledged(&self) -> Revision {
        self.acknowledged
    }

    // The shadow's part.

    /// Whether acknowledgements wait for the shadow, where replication is synchronous.
    pub(super) fn waits(&self) -> bool {
        self.shadow != ShadowPart::GivenUp
    }

    /// Whether the shadow has had everything.
    pub(super) fn joined(&self) -> bool {
        self.shadow == ShadowPart::Joined
    }

    /// Whether the record must come to say that nobody is in sync.
    pub(super) fn wants_alone(&self) -> bool {
        self.is_synchronous() && !self.waits()
    }

    /// Acknowledgements wait for the shadow no more.
    pub(super) fn give_up_shadow(&mut self) {
        self.shadow = ShadowPart::GivenUp;
    }

    /// The shadow has what it was sent; `holds_all`: everything that is in the log.
    pub(super) fn shadow_synced(&mut self, holds_all: bool) {
        let joins = match self.mode {
            Replication::Asynchronous => true,
            Replication::Synchronous => holds_all && self.to_asynchronous.is_none(),
        };
        if joins {
            self.shadow = ShadowPart::Joined;
        }
    }

    /// A new era begins, or a new peer: what an earlier one settled does not count.
    pub(super) fn begin_era(&mut self) {
        (self.shadow, self.intake) = (ShadowPart::Awaited, Intake::Open);
    }

    // The intake.

    pub(super) fn is_blocked(&self) -> bool {
        self.intake == Intake::Blocked
    }

    pub(super) fn set_blocked(&mut self, blocked: bool) {
        self.intake = if blocked { Intake::Blocked } else { Intake::Open };
    }

    // Changing the mode.

    /// Commits wait for the shadow from now on.
    pub(super) fn become_synchronous(&mut self) {
        self.mode = Replication::Synchronous;
        self.begin_era();
    }

    /// Commits are not to wait any more, once that is settled. Returns who asked for it before.
    pub(super) fn want_asynchronous(&mut self, ticket: Ticket, at: Moment) {
        self.to_asynchronous = Some((ticket, at));
    }

    /// It is settled. Returns who asked.
    pub(super) fn become_asynchronous(&mut self) -> Option<Ticket> {
        let (ticket, _) = self.to_asynchronous.take()?;
        self.mode = Replication::Asynchronous;
        Some(ticket)
    }

    /// It could not be settled, so the mode stays. Returns who asked.
    pub(super) fn stay_synchronous(&mut self) -> Option<Ticket> {
        let ticket = self.cancel_switch()?;
        if self.shadow == ShadowPart::GivenUp {
            self.shadow = ShadowPart::Awaited;
        }
        Some(ticket)
    }

    /// The change of mode is not wanted any more. Returns who asked.
    pub(super) fn cancel_switch(&mut self) -> Option<Ticket> {
        self.to_asynchronous.take().map(|(ticket, _)| ticket)
    }

    /// Since when an operator waits for the change of mode.
    pub(super) fn switching_since(&self) -> Option<Moment> {
        self.to_asynchronous.map(|(_, since)| since)
    }
}

#[cfg(test)]
mod tests;
