//! Callers that commit.

use std::collections::VecDeque;

use super::{Action, Answer, CommitRefusal, DiskFailure, Engine, Mutant, Now, Refused, Ticket};
use crate::model::Revision;
use crate::model::limits::{COMMIT_QUEUE_BYTES_MAX, COMMIT_QUEUE_MAX, GROUP_BYTES_MAX, GROUP_CHANGE_SETS_MAX};
use crate::protocol::failover::Standing;

/// Change sets that wait for the log, and answers that wait for mastership to be confirmed.
#[derive(Clone, Debug, Default)]
pub(super) struct Commits {
    queue: VecDeque<(Ticket, usize)>,
    bytes: usize,
    /// Durable, but this node was stopped meanwhile: acknowledged once it is known to be master still.
    withheld: Vec<(Ticket, Revision)>,
}

impl Commits {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.withheld.is_empty()
    }

    /// The next group: all that waits, within the bounds of a group.
    pub(super) fn next_group(&mut self) -> Option<Vec<Ticket>> {
        let mut group = Vec::new();
        let mut group_bytes = 0;
        while let Some((ticket, bytes)) = self.queue.front().copied() {
            let full = group_bytes + bytes > GROUP_BYTES_MAX || group.len() >= GROUP_CHANGE_SETS_MAX;
            if full && !group.is_empty() {
                break;
            }
            self.queue.pop_front();
            self.bytes -= bytes;
            group_bytes += bytes;
            group.push(ticket);
        }
        (!group.is_empty()).then_some(group)
    }
}

impl Engine {
    /// A caller wants to commit. A node that was stopped lets it wait until its mastership is confirmed.
    pub(super) fn commit(&mut self, ticket: Ticket, bytes: usize) {
        if self.stopping.is_some() {
            return self.refuse(ticket, Refused::Stopped);
        }
        if !matches!(self.standing, Standing::Serving | Standing::Stalled) {
            let refused = self.not_master();
            return self.refuse(ticket, refused);
        }
        let commits = &mut self.commits;
        let full = commits.queue.len() >= COMMIT_QUEUE_MAX || commits.bytes + bytes > COMMIT_QUEUE_BYTES_MAX;
        if full && !commits.queue.is_empty() {
            return self.refuse(ticket, Refused::Overloaded);
        }
        commits.queue.push_back((ticket, bytes));
        commits.bytes += bytes;
    }

    /// A group is durable.
    pub(super) fn commits_done(
        &mut self,
        now: Now,
        tickets: &[Ticket],
        verdicts: Vec<(Ticket, Result<Revision, CommitRefusal>)>,
    ) {
        let serving = self.standing == Standing::Serving;
        if verdicts.iter().any(|(_, verdict)| verdict.is_ok()) {
            self.disk_works(now);
        }
        if serving {
            self.publish_head();
        }
        debug_assert_eq!(tickets.len(), verdicts.len());
        for (ticket, verdict) in verdicts {
            match verdict {
                Ok(revision) if serving => self.answer(ticket, Answer::Committed { revision, replicated: false }),
                Ok(revision) if self.standing == Standing::Stalled => self.commits.withheld.push((ticket, revision)),
                Ok(revision) => self.refuse(ticket, Refused::InDoubt { revision }),
                Err(CommitRefusal::Guard(conflict)) => self.refuse(ticket, Refused::Guard(conflict)),
            }
        }
    }

    /// A group failed: refused where nothing of it is left, else in doubt until the store was opened again.
    pub(super) fn commits_failed(&mut self, tickets: &[Ticket], failure: &DiskFailure) {
        for (ticket, seq) in tickets.iter().zip(self.head.revision.seq + 1..) {
            let revision = Revision::new(self.head.revision.epoch, seq);
            if self.makes(Mutant::AcknowledgesFailure) {
                self.answer(*ticket, Answer::Committed { revision, replicated: false });
                continue;
            }
            let refused = if failure.full { Refused::DiskFull } else { Refused::InDoubt { revision } };
            self.refuse(*ticket, refused);
        }
    }

    /// Mastership is confirmed: what waited for that is acknowledged.
    pub(super) fn release_withheld(&mut self) {
        self.publish_head();
        for (ticket, revision) in std::mem::take(&mut self.commits.withheld) {
            self.answer(ticket, Answer::Committed { revision, replicated: false });
        }
    }

    /// Mastership is lost: what has not reached the log is refused, what has is in doubt.
    pub(super) fn drop_commits(&mut self) {
        self.commits.bytes = 0;
        let refused = self.not_master();
        for (ticket, _) in std::mem::take(&mut self.commits.queue) {
            self.refuse(ticket, refused.clone());
        }
        for (ticket, revision) in std::mem::take(&mut self.commits.withheld) {
            self.refuse(ticket, Refused::InDoubt { revision });
        }
    }

    /// Refused because another is master, and where that one is dialled.
    pub(super) fn not_master(&self) -> Refused {
        let master = self.facts.peer.as_ref().map(|peer| peer.address.clone());
        let elsewhere = !self.standing.is_master();
        Refused::NotMaster { master: master.filter(|_| elsewhere) }
    }

    /// Makes everything durable visible.
    pub(super) fn publish_head(&mut self) {
        if self.shown != self.head.revision {
            self.shown = self.head.revision;
            self.out.push(Action::Publish { upto: self.shown });
            if self.facts.peer.is_none() {
                // Nobody can turn out never to have had it: what would undo it need not be kept.
                self.out.push(Action::Confirm { upto: self.shown });
            }
        }
    }

    pub(super) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.out.push(Action::Answer { ticket, answer });
    }

    pub(super) fn refuse(&mut self, ticket: Ticket, refused: Refused) {
        self.answer(ticket, Answer::Refused(refused));
    }
}
