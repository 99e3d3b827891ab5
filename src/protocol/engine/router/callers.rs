//! Callers that commit: taken, written, acknowledged, or refused.

use crate::model::{Conflict, Revision};
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::engine::alerts::{Subject, texts};
use crate::protocol::engine::{
    Action, CommandRefusal, CommitRefusal, Committed, DiskFailure, Engine, Moment, Mutant, Now, RepairKind,
    Replication, Ticket,
};
use crate::protocol::failover::{NodeState, micros};

impl Engine {
    /// A caller wants to commit. A node that was stopped, or lost its authority, lets it wait for a while.
    pub(in super::super) fn commit(&mut self, now: Now, ticket: Ticket, bytes: usize) {
        let taken = match () {
            () if self.shutdown.is_under_way() => Err(CommitRefusal::Stopped),
            () if !self.authority.is_leading() || self.waited_enough(now.at) => Err(self.not_master()),
            () if self.is_frozen() => Err(CommitRefusal::Frozen),
            () => self.commits.enqueue(ticket, bytes),
        };
        if let Err(refusal) = taken {
            self.refuse_commit(ticket, refusal);
        }
    }

    /// Whether a master without authority has let callers wait for the longest time that they may.
    fn waited_enough(&self, at: Moment) -> bool {
        self.uncovered_deadline().is_some_and(|deadline| deadline <= at)
    }

    fn uncovered_deadline(&self) -> Option<Moment> {
        let timeout_us = micros(self.setup.options.timeouts.sync);
        let since = self.authority.since();
        let bound = if self.is_bound() { Moment(since.0 + timeout_us) } else { self.stall_deadline() };
        (self.authority.state() == NodeState::Stalled).then_some(bound)
    }

    /// When the oldest change set that waits for its acknowledgement is in doubt. With a witness: nobody confirmed it
    /// in time. Without: this node was stopped, and nobody has said whether it still is the master.
    fn doubt_deadline(&self) -> Option<Moment> {
        let oldest = self.commits.oldest_since()?;
        let options = &self.setup.options;
        let doubt_us = micros(options.timeouts.sync) + 2 * micros(options.witness_timeout());
        if self.is_bound() { Some(Moment(oldest.0 + doubt_us)) } else { self.uncovered_deadline() }
    }

    /// A group is durable.
    pub(super) fn commits_durable(&mut self, now: Now, verdicts: Vec<(Ticket, Result<Revision, Conflict>)>) {
        if verdicts.iter().any(|(_, verdict)| verdict.is_ok()) {
            self.disk_works(now);
        }
        let leading = self.authority.is_leading();
        let mut refused = Vec::new();
        for (ticket, verdict) in verdicts {
            match verdict {
                Ok(revision) if leading => self.commits.durable(ticket, revision, now.at),
                Ok(revision) => refused.push((ticket, CommitRefusal::InDoubt { revision })),
                Err(conflict) => refused.push((ticket, CommitRefusal::Guard(conflict))),
            }
        }
        self.release(now);
        for (ticket, refusal) in refused {
            self.refuse_commit(ticket, refusal);
        }
    }

    /// The newest revision of this history that the shadow is known to hold durably.
    fn confirmed(&self) -> Revision {
        let confirmed = self.durable.peer.as_ref().map_or(Revision::NONE, |peer| peer.confirmed);
        if self.log.contains(confirmed) { confirmed } else { Revision::NONE }
    }

    /// Whether it is settled that acknowledgements do not need the shadow.
    fn is_alone(&self) -> bool {
        if self.durable.peer.is_none() && !self.is_bound() {
            return true;
        }
        match self.authority.witnessed() {
            // The record says that nobody is in sync. Until the shadow has everything, there is nobody to wait for.
            Some(witnessed) if !self.setup.makes(Mutant::AloneBeforeRecord) => {
                witnessed.covers.is_alone() && !self.commits.joined()
            }
            _ => !self.commits.waits(),
        }
    }

    /// The newest revision that may be acknowledged to callers and shown to readers.
    fn releasable(&self) -> Revision {
        if !self.commits.is_synchronous() || self.is_alone() { self.log.revision() } else { self.confirmed() }
    }

    /// The revision for the record: the newest that this node knows to be acknowledged (asynchronous: confirmed).
    pub(super) fn acknowledged_revision(&self) -> Revision {
        match self.commits.is_synchronous() {
            true if self.is_alone() => self.log.shown(),
            true => self.commits.acknowledged().max(self.confirmed()),
            false => self.confirmed(),
        }
    }

    /// Acknowledges and shows whatever is releasable, if this node holds mastership now.
    pub(super) fn release(&mut self, now: Now) {
        let covered = self.is_covered(now.at) || self.setup.makes(Mutant::AcknowledgesAfterLease);
        if !self.authority.is_serving() || !covered {
            return;
        }
        let (upto, confirmed) = (self.releasable(), self.confirmed());
        if upto > self.log.shown() {
            self.publish(upto);
        }
        let synchronous = self.commits.is_synchronous();
        while let Some(next) = self.commits.acknowledge_next(upto) {
            let replicated = synchronous && next.revision <= confirmed;
            self.acknowledge_commit(next.ticket, Committed { revision: next.revision, replicated });
        }
        if self.log.shown() >= self.log.revision() {
            self.commits.set_blocked(false);
        }
        self.finish_switch_to_asynchronous();
    }

    /// Checks whether the shadow holds everything now.
    pub(super) fn look_at_shadow(&mut self, now: Now) {
        let synced = self.session.source().is_some_and(|source| source.synced());
        if !synced || !self.authority.is_leading() {
            return;
        }
        let holds_all = self.confirmed() == self.log.revision();
        if holds_all && self.alerts.stands(AlertKind::PushFailed) {
            self.recovered(now, RepairKind::Incremental);
        }
        self.commits.shadow_synced(holds_all || self.setup.makes(Mutant::FlagsEarly));
    }

    /// Ends every wait that has lasted too long.
    pub(in super::super) fn advance_commits(&mut self, now: Now) {
        self.look_at_shadow(now);
        if self.switch_deadline().is_some_and(|at| at <= now.at) {
            self.switch_failed();
        }
        if self.waited_enough(now.at) {
            let refusal = self.not_master();
            self.refuse_queue(&refusal);
        }
        let timeout_us = micros(self.setup.options.timeouts.sync);
        let late = self.commits.oldest_since().is_some_and(|oldest| now.at.0 >= oldest.0 + timeout_us);
        // A shadow that has said that it stops is not to be waited for.
        let stopped = self.links.peer_has_stopped() && self.commits.oldest_since().is_some();
        let overdue = self.commits.is_blocked() || late || stopped;
        if self.commits.is_synchronous() && self.commits.waits() && overdue {
            self.give_up_shadow(now);
        }
        self.release(now);
        while self.doubt_deadline().is_some_and(|at| at <= now.at)
            && let Some(oldest) = self.commits.take_oldest()
        {
            self.refuse_commit(oldest.ticket, CommitRefusal::InDoubt { revision: oldest.revision });
            self.commits.set_blocked(self.is_bound());
        }
        if self.commits.is_blocked() {
            self.refuse_queue(&CommitRefusal::Blocked);
        }
    }

    /// Refuses every change set that has not reached the log.
    pub(super) fn refuse_queue(&mut self, refusal: &CommitRefusal) {
        for ticket in self.commits.take_queue() {
            self.refuse_commit(ticket, refusal.clone());
        }
    }

    fn give_up_shadow(&mut self, now: Now) {
        self.commits.give_up_shadow();
        self.authority.ask_witness_soon();
        let head = self.log.revision();
        let stopped = self.links.peer_has_stopped();
        let message = if stopped { texts::SHADOW_STOPPED } else { texts::NOT_CONFIRMED_IN_TIME };
        let alert = NewAlert::new(AlertKind::PushFailed, Subject::Peer, message);
        self.raise(now, NewAlert { revisions: Some((head, head)), ..alert });
    }

    /// The moments at which a wait will have lasted too long.
    pub(super) fn commits_deadlines(&self) -> [Option<Moment>; 4] {
        let uncovered = self.uncovered_deadline().filter(|_| self.commits.has_queue());
        let timeout_us = micros(self.setup.options.timeouts.sync);
        let oldest = self.commits.oldest_since().filter(|_| self.commits.waits());
        let given_up = oldest.map(|since| Moment(since.0 + timeout_us));
        [uncovered, given_up, self.doubt_deadline(), self.switch_deadline()]
    }

    /// An operator changes whether commits wait for the shadow.
    pub(super) fn replicate(&mut self, now: Now, ticket: Ticket, mode: Replication) {
        if let Some(before) = self.commits.cancel_switch() {
            self.refuse(before, CommandRefusal::Overloaded);
        }
        match mode {
            Replication::Synchronous => {
                self.commits.become_synchronous();
                self.look_at_shadow(now);
                self.answer(ticket, Ok(()));
            }
            Replication::Asynchronous => {
                self.commits.want_asynchronous(ticket, now.at);
                if self.authority.is_leading() && self.is_bound() && self.commits.is_synchronous() {
                    // First the record must say that nobody is in sync: rule 12.
                    self.commits.give_up_shadow();
                    self.authority.ask_witness_soon();
                }
                self.finish_switch_to_asynchronous();
            }
        }
    }

    fn finish_switch_to_asynchronous(&mut self) {
        let proven = self.authority.witnessed().is_none_or(|witnessed| witnessed.covers.is_alone());
        if self.authority.is_leading() && self.commits.is_synchronous() && self.is_bound() && !proven {
            return;
        }
        if let Some(ticket) = self.commits.become_asynchronous() {
            self.answer(ticket, Ok(()));
        }
    }

    /// A switch of modes waits for a lease and two answers of the witness at the most.
    fn switch_deadline(&self) -> Option<Moment> {
        let since = self.commits.switching_since()?;
        let bound = self.setup.options.lease() + 2 * self.setup.options.witness_timeout();
        Some(Moment(since.0 + micros(bound)))
    }

    /// A swap that a switch of modes waits for was not answered: the mode stays.
    pub(super) fn switch_failed(&mut self) {
        if let Some(ticket) = self.commits.stay_synchronous() {
            self.refuse(ticket, CommandRefusal::WitnessUnreachable);
        }
    }

    /// A group failed. Its change sets are refused if nothing of them is left, else in doubt until the store reopens.
    pub(super) fn commits_failed(&mut self, tickets: &[Ticket], failure: &DiskFailure) {
        for (ticket, seq) in tickets.iter().zip(self.log.next_seq()..) {
            let revision = Revision::new(self.log.epoch(), seq);
            if self.setup.makes(Mutant::AcknowledgesFailure) {
                self.acknowledge_commit(*ticket, Committed { revision, replicated: false });
                continue;
            }
            let refusal = if failure.full { CommitRefusal::DiskFull } else { CommitRefusal::InDoubt { revision } };
            self.refuse_commit(*ticket, refusal);
        }
    }

    /// Mastership is lost: change sets that have not reached the log are refused, the others are in doubt.
    pub(super) fn drop_commits(&mut self) {
        let refusal = if self.shutdown.is_under_way() { CommitRefusal::Stopped } else { self.not_master() };
        self.refuse_queue(&refusal);
        for waiting in self.commits.take_waiting() {
            self.refuse_commit(waiting.ticket, CommitRefusal::InDoubt { revision: waiting.revision });
        }
    }

    fn not_master(&self) -> CommitRefusal {
        CommitRefusal::NotMaster { master: self.master_elsewhere() }
    }

    /// The address of the peer, unless this node is the master.
    pub(super) fn master_elsewhere(&self) -> Option<String> {
        let elsewhere = !self.authority.state().is_master();
        self.durable.peer.as_ref().map(|peer| peer.address.clone()).filter(|_| elsewhere)
    }

    /// Makes everything durable visible.
    pub(super) fn publish_head(&mut self) {
        if self.log.shown() != self.log.revision() {
            self.publish(self.log.revision());
        }
    }

    fn publish(&mut self, upto: Revision) {
        self.log.show(upto);
        self.out.push(Action::Publish { upto });
        if self.durable.peer.is_none() {
            // There is no peer that could lack it, so the store need not keep what would undo it.
            self.out.push(Action::Confirm { upto });
        }
    }

    pub(in super::super) fn acknowledge_commit(&mut self, ticket: Ticket, committed: Committed) {
        self.out.push(Action::AnswerCommit { ticket, answer: Ok(committed) });
    }

    fn refuse_commit(&mut self, ticket: Ticket, refusal: CommitRefusal) {
        self.out.push(Action::AnswerCommit { ticket, answer: Err(refusal) });
    }
}
