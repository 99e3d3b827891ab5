//! A change of the node's state, and what entering a state asks for.

use crate::model::Epoch;
use crate::model::Era;
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::engine::alerts::{Subject, texts};
use crate::protocol::engine::{
    Action, BeginEra, CommandRefusal, Engine, Failover, Moment, Mutant, Now, RoleReason, Transition,
};
use crate::protocol::failover::{NodeState, TakeoverConditions, held_down, micros};

impl Engine {
    /// Changes the node's state, if the table says so, and does what entering the new one asks for.
    pub(super) fn transition(&mut self, now: Now, transition: Transition, reason: RoleReason) {
        if transition == Transition::Confirmed && self.switchover.is_handing_over() {
            // What became of the hand-over decides, not an answer to what was asked before.
            return;
        }
        let Some((before, next)) = self.authority.apply(now.at, transition, reason) else { return };
        if before == NodeState::Following && reason != RoleReason::Switched {
            // Something of this node's own is under way: nothing is handed over to it any more.
            self.switchover.forget();
        }
        match next {
            NodeState::OpeningEra => {
                self.begin_own_era();
                self.work.queue_era(self.epoch_after_restart(now));
                if self.setup.makes(Mutant::ServesBeforeEra) {
                    self.transition(now, Transition::EraDurable, reason);
                }
            }
            NodeState::Promoting => {
                self.begin_own_era();
                let next = self.epoch().max(self.links.highest_epoch()).promoted(now.random);
                self.work.queue_era(self.authority.won_epoch().unwrap_or(next));
            }
            NodeState::Serving if before == NodeState::Stalled => self.release(now),
            NodeState::Serving => self.publish_head(),
            NodeState::AskingHost => {
                let question = self.authority.takeover_mut().ask_host();
                self.out.push(Action::AskMayTakeOver { question });
            }
            NodeState::Stalled => {
                let deadline = Moment(now.at.0 + self.takeover_wait_us());
                self.authority.takeover_mut().set_deadline(deadline);
                self.links.ask_peer(now.at);
                self.authority.ask_witness_soon();
                if before != NodeState::Serving {
                    // Readers saw what is durable here before the restart, so it is shown even without a cover.
                    self.publish_head();
                }
            }
            NodeState::SteppingDown => {
                self.authority.takeover_mut().end_attempt();
                self.drop_commits();
            }
            NodeState::Broken => {
                self.authority.takeover_mut().end_attempt();
                self.drop_commits();
                self.close_all_links(now, None, "the store failed");
                self.drop_waiting_work();
            }
            NodeState::CheckingStartup if matches!(before, NodeState::Serving | NodeState::Stalled) => {
                self.authority.takeover_mut().end_attempt();
                self.drop_commits();
                if let Some(witnessed) = self.authority.witnessed_mut() {
                    // What reads have shown of renewals until now may have been this node's own.
                    witnessed.client.register_mut().watch_anew();
                }
                self.close_all_links(now, None, "this node is not the master that the witness names");
            }
            // An operator's takeover does not end with the host's answer.
            NodeState::Following if before == NodeState::AskingHost => return,
            NodeState::Following => self.authority.takeover_mut().end_attempt(),
            NodeState::CheckingStartup => {
                self.authority.takeover_mut().end_attempt();
                self.begin_startup_check(now);
            }
            NodeState::TakingTail | NodeState::AskingWitness | NodeState::Stopped => {}
        }
        self.answer_takeover_waiters(before, next);
    }

    /// Operators who wait for this node to be master are answered when it is, or will not be. Where the witness may name this node
    /// already it becomes master later, and nobody asks an operator again.
    fn answer_takeover_waiters(&mut self, before: NodeState, state: NodeState) {
        let asks = self.authority.witnessed().is_some_and(|witnessed| witnessed.client.is_asking());
        let may_be_named = match before {
            NodeState::AskingWitness => asks,
            NodeState::Promoting => self.authority.has_witness(),
            _ => false,
        };
        if state == NodeState::Serving {
            self.switch_asked_is_done();
        }
        let answer = match state {
            NodeState::Serving => Ok(()),
            NodeState::OpeningEra
            | NodeState::Promoting
            | NodeState::AskingHost
            | NodeState::Stalled
            | NodeState::AskingWitness
            // The takeover goes on, until its time comes or is over.
            | NodeState::TakingTail => return,
            NodeState::Broken | NodeState::SteppingDown | NodeState::Following | NodeState::CheckingStartup
                if may_be_named =>
            {
                let reason = "the witness was asked for mastership: if it names this node, it becomes master later";
                Err(CommandRefusal::InDoubt { reason: reason.to_owned() })
            }
            NodeState::Broken => Err(CommandRefusal::Disk { reason: "the store is closed".to_owned() }),
            NodeState::SteppingDown => Err(CommandRefusal::NotMaster { master: self.master_elsewhere() }),
            NodeState::Following | NodeState::CheckingStartup => Err(CommandRefusal::LeaseHeld),
            NodeState::Stopped => Err(CommandRefusal::Stopped),
        };
        for ticket in self.authority.takeover_mut().take_waiters() {
            self.answer(ticket, answer.clone());
        }
    }

    /// Refuses the operators who wait for a takeover that will not come.
    pub(super) fn refuse_takeover_waiters(&mut self, refusal: &CommandRefusal) {
        for ticket in self.authority.takeover_mut().take_waiters() {
            self.refuse(ticket, refusal.clone());
        }
    }

    /// Does what the state waits for, where time or events now allow it.
    pub(in super::super) fn advance_state(&mut self, now: Now) {
        if self.shutdown.is_under_way() {
            if self.authority.state() == NodeState::SteppingDown && self.switchover.is_under_way() {
                self.advance_step_down(now);
            }
            return;
        }
        if self.session.is_outranked() {
            // If the other master was met while an era was being made durable, this node can step down only now.
            self.transition(now, Transition::Outranked, RoleReason::SteppedDown);
        }
        if let Some(deposed) = self.authority.deposed() {
            // If that was found out while an era was being made durable, this node can stop serving only now.
            self.transition(now, Transition::Deposed, deposed.reason());
        }
        match self.authority.state() {
            NodeState::Broken => self.advance_reopen(now),
            NodeState::CheckingStartup if now.at >= self.authority.retry_at() => self.advance_startup_check(now),
            NodeState::TakingTail => {
                self.advance_answer(now);
                self.advance_wanted_takeover(now);
            }
            NodeState::SteppingDown => self.advance_step_down(now),
            NodeState::Stalled if self.switchover.is_handing_over() => {}
            NodeState::Stalled if self.is_bound() => {
                // A master without a cover serves again as soon as it has one.
                if self.authority.covered_until().is_some() && self.is_covered(now.at) {
                    return self.transition(now, Transition::Confirmed, RoleReason::Confirmed);
                }
                self.end_takeover_wait(now);
            }
            NodeState::Stalled if self.nobody_answers(now) => {
                self.transition(now, Transition::Confirmed, RoleReason::PeerUnreachable);
            }
            NodeState::Stalled => self.end_takeover_wait(now),
            NodeState::Following => self.advance_watch(now),
            // An operator's takeover does not need the host's answer.
            NodeState::AskingHost => self.advance_wanted_takeover(now),
            _ => {}
        }
    }

    /// Refuses operators who have waited too long for a master without a cover to serve.
    fn end_takeover_wait(&mut self, now: Now) {
        if self.authority.takeover().has_waiters() && now.at >= self.authority.takeover().deadline() {
            let reachable = self.witness_status().is_none_or(|status| status.reachable);
            let refusal = if reachable { CommandRefusal::LeaseHeld } else { CommandRefusal::WitnessUnreachable };
            self.authority.allow_recreation(false);
            self.refuse_takeover_waiters(&refusal);
        }
    }

    /// Whether a master that was stopped has nobody left to ask. A peer that keeps closing or refusing the link for as
    /// long as a takeover and a dial take is not the master: a master would have said so.
    fn nobody_answers(&self, now: Now) -> bool {
        let refused = self.links.is_held() || self.links.is_duplicate();
        let silent = self.links.active_id().is_none() && !refused && now.at >= self.stall_deadline();
        self.durable.peer.is_none() || silent
    }

    pub(super) fn stall_deadline(&self) -> Moment {
        let bound_us = self.setup.timing.delay_us + micros(self.setup.options.timeouts.connect);
        Moment(self.authority.since().0 + bound_us)
    }

    fn advance_watch(&mut self, now: Now) {
        self.advance_named(now);
        self.advance_wanted_takeover(now);
        let role = &self.authority;
        let ready = now.at >= role.retry_at() && self.work.is_idle() && role.state() == NodeState::Following;
        if ready && self.may_still_take_over(now) {
            self.transition(now, Transition::Silence, RoleReason::Takeover);
        }
    }

    /// The deadline that the state waits for, if it waits for one.
    pub(super) fn state_deadline(&self) -> Option<Moment> {
        let role = &self.authority;
        match role.state() {
            NodeState::Broken | NodeState::SteppingDown => Some(role.retry_at()),
            NodeState::Stalled => {
                let takeover = self.authority.takeover();
                let wait = takeover.has_waiters().then(|| takeover.deadline());
                let alone = (!self.is_bound()).then(|| self.stall_deadline());
                wait.into_iter().chain(alone).min()
            }
            NodeState::CheckingStartup => {
                let peer = self.durable.peer.as_ref();
                let peer_us = peer.map_or(0, |peer| peer.takeover_delay_ms.saturating_mul(1_000));
                let wait_us = peer_us.max(self.setup.timing.delay_us);
                Some(Moment(role.since().0.saturating_add(wait_us)).max(role.retry_at()))
            }
            NodeState::Following => {
                let silent = self.setup.timing.silence_ends(self.links.silent_since());
                Some(silent.max(role.retry_at()))
            }
            _ => None,
        }
    }

    /// What speaks for and against a takeover by this node itself.
    pub(in super::super) fn takeover_conditions(&self, at: Moment, wall_ms: u64) -> TakeoverConditions {
        let (state, durable, options) = (self.authority.state(), &self.durable, &self.setup.options);
        let witness = self.witness_blocker(at);
        // With a witness the record proves that the shadow is in sync, so contact since the start is not required.
        let proven = self.authority.has_witness() && witness.is_none();
        let careless = self.setup.makes(Mutant::IncompleteTakesOver);
        TakeoverConditions {
            shadow: !state.is_master() && state != NodeState::SteppingDown,
            serving: state == NodeState::Serving,
            enrolled: durable.peer.is_some() && !durable.detached && !durable.is_being_reset(),
            // A master asks the witness, where there is one, and else an operator.
            manual: options.failover == Failover::Manual && (!state.is_master() || self.waits_for_operator()),
            complete: durable.complete || careless,
            syncing: self.session.is_behind() && !careless,
            contact: self.links.last_heard().is_some() || proven,
            held: self.links.is_held(),
            paused: durable.moves.modes.paused.on,
            hold_down: held_down(&durable.moves.takeovers_ms, options.hold_down, wall_ms),
            broken: self.authority.is_out_of_service(),
            refused: self.links.is_refused(),
            witness,
        }
    }

    /// Whether nothing but an operator, or the peer, tells a restarted master that it may serve.
    fn waits_for_operator(&self) -> bool {
        let asks = self.authority.state() == NodeState::CheckingStartup && self.durable.peer.is_some();
        asks && !self.authority.has_witness()
    }

    /// The clock loop was late: this node was stopped, or starved. So its measure of its peer's silence is void, and a
    /// master must ask again before it acts as one.
    pub(in super::super) fn notice_lateness(&mut self, now: Now) {
        let late_us = self.last_told.timer_at().map_or(0, |due| now.at.0.saturating_sub(due.0));
        if late_us <= self.setup.timing.stall_us {
            return;
        }
        self.links.restart_clocks(now.at);
        // What is handed over may have waited for as long: the one who did it may have taken over again.
        self.switchover.called_off_by_master();
        self.work.restart_clock(now.at);
        self.alerts.operator_states().restart_clocks(now.at);
        if self.authority.state() == NodeState::CheckingStartup {
            self.authority.restart_clock(now.at);
        }
        if self.is_bound() && self.authority.is_leading() {
            self.authority.drop_covers(now.at);
        }
        if self.durable.peer.is_some() {
            self.transition(now, Transition::Late, RoleReason::Stalled);
        }
    }

    // Eras.

    /// The highest epoch that this node has had, tried or followed.
    pub(in super::super) fn epoch(&self) -> Epoch {
        self.durable.epoch.max(self.durable.tried).max(self.log.epoch())
    }

    /// The highest epoch that this node, its peer and the record are known to have had: a new one is above it (rule 17).
    pub(super) fn highest_known_epoch(&self) -> Epoch {
        self.epoch().max(self.links.highest_epoch()).max(self.authority.recorded_epoch())
    }

    fn epoch_after_restart(&self, now: Now) -> Epoch {
        let untouched = self.log.is_untouched() && self.log.damage().is_none();
        // If the peer or the record knows an epoch, a former disk led under it. A silent witness may know one: rule 17.
        let unknown = self.links.highest_epoch().max(self.authority.recorded_epoch()) == Epoch::NONE;
        let asked = self.durable.peer.is_none() || self.authority.knows_register();
        if untouched && unknown && asked && self.epoch() == Epoch::FIRST {
            return Epoch::FIRST;
        }
        let step = if self.setup.makes(Mutant::ReusesIncarnation) { 0 } else { now.random };
        self.highest_known_epoch().restarted(step)
    }

    fn begin_own_era(&mut self) {
        self.commits.begin_era();
        if let Some(witnessed) = self.authority.witnessed_mut() {
            witnessed.covers.begin_era();
        }
        #[cfg(test)]
        if self.setup.makes(Mutant::NewMasterDoesNotWait)
            || (self.setup.makes(Mutant::SwitchedDoesNotWait) && self.authority.reason() == RoleReason::Switched)
        {
            self.commits.give_up_shadow();
            if let Some(witnessed) = self.authority.witnessed_mut() {
                witnessed.covers.assume_alone();
            }
        }
    }

    /// Work for a new era. The state comes first: a crash in between leaves a master that asks before it serves.
    pub(super) fn era_work(&self, now: Now, epoch: Epoch) -> BeginEra {
        let state = self.durable.as_master(epoch, self.alerts.log(), self.takeover_counts(now));
        let era = Era { epoch, first_seq: self.log.next_seq(), node: self.durable.node };
        BeginEra { state: Box::new(state), era }
    }

    /// When the takeover that is being made durable happened, for the hold-down.
    fn takeover_counts(&self, now: Now) -> Option<u64> {
        let planned = self.authority.reason() == RoleReason::Switched;
        (self.authority.state() == NodeState::Promoting && !planned).then_some(now.wall_ms)
    }

    pub(super) fn era_durable(&mut self, now: Now) {
        self.log.begin_own_era(self.durable.node);
        let (takeover_ms, reason) = (self.takeover_counts(now), self.authority.reason());
        self.durable.became_master(self.log.epoch(), takeover_ms);
        if self.authority.state() == NodeState::Promoting {
            self.raise_takeover(now, reason);
            self.session.became_master();
            self.links.set_outranked(false);
            // The alert that its master was silent says nothing of its shadow.
            self.clear(now, |alert| alert.kind == AlertKind::ShadowLost);
            self.alerts.start_counting(self.log.revision());
            // A link that is up was negotiated in the former roles.
            self.close_all_links(now, None, "this node became master");
        }
        let covered = self.is_covered(now.at);
        let transition = if covered { Transition::EraDurable } else { Transition::EraDurableUncovered };
        self.transition(now, transition, reason);
        self.authority.takeover_mut().end_attempt();
        self.switchover.forget();
    }

    /// Says that this node took over, and what an operator gave up for that. Of a planned switch nothing is said: somebody wanted
    /// it, and nothing was wrong.
    fn raise_takeover(&mut self, now: Now, reason: RoleReason) {
        let given_up = self.authority.takeover_mut().take_given_up();
        let message = match (reason, given_up) {
            (RoleReason::Switched, _) => return,
            (_, Some(missing)) => texts::takeover_accepting_loss(missing),
            (RoleReason::Operator, None) => texts::TAKEOVER_BY_OPERATOR.to_owned(),
            _ => texts::TAKEOVER.to_owned(),
        };
        let alert = NewAlert::new(AlertKind::Takeover, Subject::ThisNode, message);
        self.raise(now, NewAlert { revisions: given_up.flatten(), ..alert });
    }

    pub(super) fn era_failed(&mut self, now: Now) {
        self.hand_over_not_begun();
        if self.authority.state() == NodeState::Promoting {
            // The role of master may have reached the durable state.
            self.durable.stayed_shadow();
        }
        if self.session.is_sink() {
            // Work of the sink was dropped for the era: the hellos are said again.
            self.close_all_links(now, None, "the takeover was given up");
        }
        self.transition(now, Transition::EraFailed, RoleReason::DiskTrouble);
    }

    /// The master was heard again before anything of this node's own promotion was written.
    pub(super) fn call_off_promotion(&mut self, now: Now) {
        // A takeover that is won at the witness is not called off.
        if self.promotes_on_silence() && self.work.cancel_era() {
            self.era_failed(now);
        }
    }
}
