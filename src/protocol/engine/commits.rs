//! Callers that commit, and what an acknowledgement waits for.
//!
//! Asynchronous: that the change set is durable here. Synchronous: that the shadow holds it too, or that it is settled that
//! the shadow does not count: with a witness, only when the record says so (rules 12 to 15 of `FAILOVER.md`). "No output
//! before the backup has the input" is VMware Fault Tolerance's rule (Scales 2010).

use std::collections::VecDeque;

use super::{
    Action, CommandAnswer, CommandRefusal, CommitRefusal, Committed, DiskFailure, Engine, Moment, Mutant, Now,
    Replication, Ticket,
};
use crate::model::limits::{COMMIT_QUEUE_BYTES_MAX, COMMIT_QUEUE_MAX, GROUP_BYTES_MAX, GROUP_CHANGE_SETS_MAX};
use crate::model::{Conflict, Revision};
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::failover::{NodeState, micros};
use crate::protocol::replication::How;

/// Change sets that wait for the log, and answers that wait for the shadow or for mastership.
#[derive(Clone, Debug)]
pub(super) struct Commits {
    queue: VecDeque<(Ticket, usize)>,
    bytes: usize,
    /// Durable here, not acknowledged yet; in the order of their revisions.
    waiting: VecDeque<Waiting>,
    /// The newest revision that was acknowledged in this run.
    acknowledged: Revision,
    /// Synchronous: acknowledgements wait for the shadow. Ends when it was silent for too long, begins again when it has
    /// everything.
    waits: bool,
    /// The shadow has had everything since this stint began, or since it was last given up.
    joined: bool,
    /// A change set that waited for the shadow, and for the witness instead, is in doubt: until all of them are settled no other
    /// is taken, since nothing bounds how many of them there would be.
    frozen: bool,
    /// An operator wants acknowledgements not to wait any more, once that is settled.
    to_asynchronous: Option<(Ticket, Moment)>,
}

/// One change set that waits to be acknowledged.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    ticket: Ticket,
    revision: Revision,
    since: Moment,
}

impl Default for Commits {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            waiting: VecDeque::new(),
            acknowledged: Revision::NONE,
            waits: true,
            joined: false,
            frozen: false,
            to_asynchronous: None,
        }
    }
}

impl Commits {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.waiting.is_empty()
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

    /// Takes the oldest that waits for its acknowledgement, if it is one of these.
    fn next_waiting(&mut self, fits: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        if self.waiting.front().is_some_and(fits) { self.waiting.pop_front() } else { None }
    }

    /// Whether acknowledgements wait for the shadow, where replication is synchronous.
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// Whether the shadow has had everything.
    pub(super) fn joined(&self) -> bool {
        self.joined
    }

    /// Acknowledgements wait for the shadow no more.
    pub(super) fn give_up(&mut self) {
        (self.waits, self.joined) = (false, false);
    }

    /// A new era begins: what an earlier one settled does not count.
    pub(super) fn begin_stint(&mut self) {
        (self.waits, self.joined, self.frozen) = (true, false, false);
    }
}

impl Engine {
    /// A caller wants to commit. A node that was stopped, or lost its cover, lets it wait for a while.
    pub(super) fn commit(&mut self, now: Now, ticket: Ticket, bytes: usize) {
        if self.stopping.is_some() {
            return self.refuse_commit(ticket, CommitRefusal::Stopped);
        }
        if !matches!(self.node_state, NodeState::Serving | NodeState::Stalled) || self.waited_enough(now.at) {
            let refused = self.not_master();
            return self.refuse_commit(ticket, refused);
        }
        if self.commits.frozen {
            return self.refuse_commit(ticket, CommitRefusal::Frozen);
        }
        let commits = &mut self.commits;
        let waiting = commits.queue.len() + commits.waiting.len();
        let full = waiting >= COMMIT_QUEUE_MAX || commits.bytes + bytes > COMMIT_QUEUE_BYTES_MAX;
        if full && waiting > 0 {
            return self.refuse_commit(ticket, CommitRefusal::Overloaded);
        }
        commits.queue.push_back((ticket, bytes));
        commits.bytes += bytes;
    }

    /// Whether a master without a cover has let callers wait for as long as they do.
    fn waited_enough(&self, at: Moment) -> bool {
        self.uncovered_deadline().is_some_and(|deadline| deadline <= at)
    }

    fn uncovered_deadline(&self) -> Option<Moment> {
        let patience_us = micros(self.options.sync_timeout);
        let bound = if self.is_bound() { Moment(self.since.0 + patience_us) } else { self.stall_deadline() };
        (self.node_state == NodeState::Stalled).then_some(bound)
    }

    /// When a change set that is durable here is in doubt for its caller: with a witness, because nobody confirms it; without,
    /// because this node was stopped, and nobody says whether it still is the master.
    fn doubt_deadline(&self) -> Option<Moment> {
        let oldest = self.commits.waiting.front()?.since;
        let doubt_us = micros(self.options.sync_timeout) + 2 * micros(self.options.witness_timeout());
        if self.is_bound() { Some(Moment(oldest.0 + doubt_us)) } else { self.uncovered_deadline() }
    }

    /// A group is durable.
    pub(super) fn commits_done(&mut self, now: Now, verdicts: Vec<(Ticket, Result<Revision, Conflict>)>, asked: usize) {
        if verdicts.iter().any(|(_, verdict)| verdict.is_ok()) {
            self.disk_works(now);
        }
        let master = matches!(self.node_state, NodeState::Serving | NodeState::Stalled);
        debug_assert_eq!(asked, verdicts.len());
        let mut refused = Vec::new();
        for (ticket, verdict) in verdicts {
            match verdict {
                Ok(revision) if master => self.commits.waiting.push_back(Waiting { ticket, revision, since: now.at }),
                Ok(revision) => refused.push((ticket, CommitRefusal::InDoubt { revision })),
                Err(conflict) => refused.push((ticket, CommitRefusal::Guard(conflict))),
            }
        }
        self.release(now);
        for (ticket, why) in refused {
            self.refuse_commit(ticket, why);
        }
    }

    /// What the shadow is known to hold durably, of this history.
    fn confirmed(&self) -> Revision {
        let confirmed = self.durable_state.peer.as_ref().map_or(Revision::NONE, |peer| peer.confirmed);
        if self.history.contains(self.head.revision, confirmed) { confirmed } else { Revision::NONE }
    }

    /// Whether it is settled that the shadow does not count.
    fn is_alone(&self) -> bool {
        if self.durable_state.peer.is_none() && !self.is_bound() {
            return true;
        }
        match &self.witnessed {
            // Nobody in sync is what the record says: there is nobody to wait for before the shadow has everything.
            Some(witnessed) if !self.makes(Mutant::AloneBeforeRecord) => {
                witnessed.alone && !(self.commits.waits && self.commits.joined)
            }
            _ => !self.commits.waits,
        }
    }

    /// Up to where callers may be answered and readers may see.
    fn releasable(&self) -> Revision {
        match self.options.replication {
            Replication::Asynchronous => self.head.revision,
            Replication::Synchronous if self.is_alone() => self.head.revision,
            Replication::Synchronous => self.confirmed(),
        }
    }

    /// The revision for the record: what is acknowledged (asynchronous: confirmed), as far as this node knows.
    pub(super) fn acknowledged_revision(&self) -> Revision {
        let synchronous = self.options.replication == Replication::Synchronous;
        match self.is_alone() && synchronous {
            true => self.shown,
            false if synchronous => self.commits.acknowledged.max(self.confirmed()),
            false => self.confirmed(),
        }
    }

    /// Acknowledges and shows what may be, if this node holds mastership now.
    pub(super) fn release(&mut self, now: Now) {
        if self.node_state != NodeState::Serving
            || !self.is_covered(now.at) && !self.makes(Mutant::AcknowledgesAfterLease)
        {
            return;
        }
        let (upto, confirmed) = (self.releasable(), self.confirmed());
        if upto > self.shown {
            self.publish(upto);
        }
        let synchronous = self.options.replication == Replication::Synchronous;
        while let Some(Waiting { ticket, revision, .. }) = self.commits.next_waiting(|waiting| waiting.revision <= upto)
        {
            self.commits.acknowledged = self.commits.acknowledged.max(revision);
            let replicated = synchronous && revision <= confirmed;
            self.acknowledge_commit(ticket, Committed { revision, replicated });
        }
        self.commits.frozen &= self.shown < self.head.revision;
        self.finish_switch_to_asynchronous();
    }

    /// The shadow holds more: whether it holds everything.
    pub(super) fn look_at_shadow(&mut self, now: Now) {
        let synced = self.session.source.as_ref().is_some_and(|source| source.synced());
        let master = matches!(self.node_state, NodeState::Serving | NodeState::Stalled);
        if !synced || !master {
            return;
        }
        let holds_all = self.confirmed() == self.head.revision;
        if holds_all && self.stands(AlertKind::PushFailed) {
            self.recovered(now, How::Incremental);
        }
        let all = holds_all || self.makes(Mutant::FlagsEarly);
        match self.options.replication {
            Replication::Asynchronous => self.commits.joined = true,
            Replication::Synchronous if all && self.commits.to_asynchronous.is_none() => {
                (self.commits.waits, self.commits.joined) = (true, true);
            }
            Replication::Synchronous => {}
        }
    }

    /// What has waited for too long.
    pub(super) fn advance_commits(&mut self, now: Now) {
        self.look_at_shadow(now);
        if self.switch_deadline().is_some_and(|at| at <= now.at) {
            self.switch_failed();
        }
        if self.waited_enough(now.at) {
            let refused = self.not_master();
            self.refuse_queue(&refused);
        }
        let oldest = self.commits.waiting.front().map(|waiting| waiting.since);
        let timeout_us = micros(self.options.sync_timeout);
        let synchronous = self.options.replication == Replication::Synchronous;
        let overdue = self.commits.frozen || oldest.is_some_and(|oldest| now.at.0 >= oldest.0 + timeout_us);
        if synchronous && self.commits.waits && overdue {
            self.give_up_waiting(now);
        }
        self.release(now);
        while self.doubt_deadline().is_some_and(|at| at <= now.at)
            && let Some(Waiting { ticket, revision, .. }) = self.commits.waiting.pop_front()
        {
            self.refuse_commit(ticket, CommitRefusal::InDoubt { revision });
            self.commits.frozen = self.is_bound();
        }
        if self.commits.frozen {
            self.refuse_queue(&CommitRefusal::Frozen);
        }
    }

    /// What has not reached the log is refused.
    fn refuse_queue(&mut self, refused: &CommitRefusal) {
        self.commits.bytes = 0;
        for (ticket, _) in std::mem::take(&mut self.commits.queue) {
            self.refuse_commit(ticket, refused.clone());
        }
    }

    fn give_up_waiting(&mut self, now: Now) {
        self.commits.give_up();
        if let Some(witnessed) = &mut self.witnessed {
            witnessed.ask_soon();
        }
        let head = self.head.revision;
        let message =
            "the shadow did not confirm in time: change sets are acknowledged without it until it has everything";
        let trouble = NewAlert::new(AlertKind::PushFailed, super::trouble::PEER, message);
        self.raise(now, NewAlert { revisions: Some((head, head)), ..trouble });
    }

    /// When something waits for too long.
    pub(super) fn commits_deadlines(&self) -> [Option<Moment>; 4] {
        let uncovered = self.uncovered_deadline().filter(|_| !self.commits.queue.is_empty());
        let oldest = self.commits.waiting.front().map(|waiting| waiting.since);
        let timeout_us = micros(self.options.sync_timeout);
        let given_up = oldest.filter(|_| self.commits.waits).map(|since| Moment(since.0 + timeout_us));
        [uncovered, given_up, self.doubt_deadline(), self.switch_deadline()]
    }

    /// An operator changes whether commits wait for the shadow.
    pub(super) fn replicate(&mut self, now: Now, ticket: Ticket, mode: Replication) {
        if let Some((before, _)) = self.commits.to_asynchronous.take() {
            self.refuse(before, CommandRefusal::Overloaded);
        }
        match mode {
            Replication::Synchronous => {
                self.options.replication = mode;
                self.commits.begin_stint();
                self.look_at_shadow(now);
                self.answer(ticket, Ok(()));
            }
            Replication::Asynchronous => {
                self.commits.to_asynchronous = Some((ticket, now.at));
                let serves = matches!(self.node_state, NodeState::Serving | NodeState::Stalled);
                if serves && self.is_bound() && self.options.replication == Replication::Synchronous {
                    // First the record says that nobody is in sync: rule 12.
                    self.commits.give_up();
                    if let Some(witnessed) = &mut self.witnessed {
                        witnessed.ask_soon();
                    }
                }
                self.finish_switch_to_asynchronous();
            }
        }
    }

    fn finish_switch_to_asynchronous(&mut self) {
        let serves = matches!(self.node_state, NodeState::Serving | NodeState::Stalled);
        let synchronous = self.options.replication == Replication::Synchronous;
        let proven = self.witnessed.as_ref().is_none_or(|witnessed| witnessed.alone);
        if serves && synchronous && self.is_bound() && !proven {
            return;
        }
        if let Some((ticket, _)) = self.commits.to_asynchronous.take() {
            self.options.replication = Replication::Asynchronous;
            self.answer(ticket, Ok(()));
        }
    }

    /// A switch of modes waits for a lease and two answers of the witness at the most.
    fn switch_deadline(&self) -> Option<Moment> {
        let (_, since) = self.commits.to_asynchronous?;
        let bound = self.options.lease() + 2 * self.options.witness_timeout();
        Some(Moment(since.0 + micros(bound)))
    }

    /// A swap that a switch of modes waits for was not answered: the mode stays.
    pub(super) fn switch_failed(&mut self) {
        if let Some((ticket, _)) = self.commits.to_asynchronous.take() {
            self.commits.waits = true;
            self.refuse(ticket, CommandRefusal::WitnessUnreachable);
        }
    }

    /// This node stops: the mode stays what it was.
    pub(super) fn switch_stopped(&mut self) {
        if let Some((ticket, _)) = self.commits.to_asynchronous.take() {
            self.refuse(ticket, CommandRefusal::Stopped);
        }
    }

    /// A group failed: refused where nothing of it is left, else in doubt until the store was opened again.
    pub(super) fn commits_failed(&mut self, tickets: &[Ticket], failure: &DiskFailure) {
        for (ticket, seq) in tickets.iter().zip(self.head.revision.seq + 1..) {
            let revision = Revision::new(self.head.revision.epoch, seq);
            if self.makes(Mutant::AcknowledgesFailure) {
                self.acknowledge_commit(*ticket, Committed { revision, replicated: false });
                continue;
            }
            let refused = if failure.full { CommitRefusal::DiskFull } else { CommitRefusal::InDoubt { revision } };
            self.refuse_commit(*ticket, refused);
        }
    }

    /// Mastership is lost: what has not reached the log is refused, what has is in doubt.
    pub(super) fn drop_commits(&mut self) {
        let refused = if self.stopping.is_some() { CommitRefusal::Stopped } else { self.not_master() };
        self.refuse_queue(&refused);
        for Waiting { ticket, revision, .. } in std::mem::take(&mut self.commits.waiting) {
            self.refuse_commit(ticket, CommitRefusal::InDoubt { revision });
        }
    }

    /// Refused because another is master.
    fn not_master(&self) -> CommitRefusal {
        CommitRefusal::NotMaster { master: self.master_elsewhere() }
    }

    /// Where the other node is dialled, where that one is the master.
    pub(super) fn master_elsewhere(&self) -> Option<String> {
        let elsewhere = !self.node_state.is_master();
        self.durable_state.peer.as_ref().map(|peer| peer.address.clone()).filter(|_| elsewhere)
    }

    /// Makes everything durable visible.
    pub(super) fn publish_head(&mut self) {
        if self.shown != self.head.revision {
            self.publish(self.head.revision);
        }
    }

    fn publish(&mut self, upto: Revision) {
        self.shown = upto;
        self.out.push(Action::Publish { upto });
        if self.durable_state.peer.is_none() {
            // Nobody can turn out never to have had it: what would undo it need not be kept.
            self.out.push(Action::Confirm { upto });
        }
    }

    fn acknowledge_commit(&mut self, ticket: Ticket, committed: Committed) {
        self.out.push(Action::AnswerCommit { ticket, answer: Ok(committed) });
    }

    fn refuse_commit(&mut self, ticket: Ticket, refused: CommitRefusal) {
        self.out.push(Action::AnswerCommit { ticket, answer: Err(refused) });
    }

    pub(super) fn answer(&mut self, ticket: Ticket, answer: CommandAnswer) {
        self.out.push(Action::AnswerCommand { ticket, answer });
    }

    pub(super) fn refuse(&mut self, ticket: Ticket, refused: CommandRefusal) {
        self.answer(ticket, Err(refused));
    }
}
