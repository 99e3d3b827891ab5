//! The standing of the node: what turns it, and what entering one asks for.

use super::{Action, BeginEra, CommandRefusal, Engine, LinkState, Moment, Mutant, Notice, Now};
use crate::model::limits::TAKEOVERS_KEPT_MAX;
use crate::model::{Epoch, Era, Revision};
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::engine::Failover;
use crate::protocol::failover::{Candidate, NodeState, Transition, held_down, micros};
use crate::protocol::wire::{RefusalKind, Role};

/// What the host was told last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    role: Option<(Role, bool, Epoch)>,
    link: Option<(LinkState, Option<RefusalKind>)>,
}

impl Engine {
    /// Turns the standing, if the table says so, and does what entering the new one asks for.
    pub(super) fn transition(&mut self, now: Now, turn: Transition, reason: &'static str) {
        let Some(next) = self.node_state.transition(turn) else { return };
        let before = std::mem::replace(&mut self.node_state, next);
        self.since = now.at;
        self.reason = reason;
        match next {
            NodeState::Opening => {
                self.begin_stint();
                self.persist_era(self.epoch_after_restart(now));
                if self.makes(Mutant::ServesBeforeEra) {
                    self.transition(now, Transition::EraDurable, reason);
                }
            }
            NodeState::Promoting => {
                self.begin_stint();
                let next = self.epoch().max(self.links.highest_seen()).promoted(now.random);
                self.persist_era(self.won_epoch().unwrap_or(next));
            }
            NodeState::Serving if before == NodeState::Stalled => self.release(now),
            NodeState::Serving => self.publish_head(),
            NodeState::AskingHost => {
                self.question += 1;
                self.out.push(Action::AskMayTakeOver { question: self.question });
            }
            NodeState::Stalled => {
                self.takeover_deadline = Moment(now.at.0 + self.wish_us());
                self.ask_peer(now);
                self.ask_witness_soon();
                if before != NodeState::Serving {
                    // What is durable here shows, whether or not this node may write: its readers saw it before the restart.
                    self.publish_head();
                }
            }
            NodeState::Yielding => {
                self.end_claim();
                self.drop_commits();
            }
            NodeState::Broken => {
                self.end_claim();
                self.drop_commits();
                self.close_all_links(now, None, "the store failed");
                self.drop_waiting_work();
            }
            NodeState::Inquiring if matches!(before, NodeState::Serving | NodeState::Stalled) => {
                self.end_claim();
                self.drop_commits();
                self.close_all_links(now, None, "this node is not the master that the witness names");
            }
            // What the host said is not what an operator wishes.
            NodeState::Following if before == NodeState::AskingHost => return,
            NodeState::Following => self.end_claim(),
            NodeState::Inquiring => {
                self.end_claim();
                self.begin_inquiry(now);
            }
            NodeState::TakingTail | NodeState::Claiming => {}
        }
        self.answer_takeover_waiters(next);
    }

    /// An operator's take-over is answered when this node holds mastership, or will not.
    fn answer_takeover_waiters(&mut self, standing: NodeState) {
        let answer = match standing {
            NodeState::Serving => Ok(()),
            NodeState::Opening
            | NodeState::Promoting
            | NodeState::AskingHost
            | NodeState::Stalled
            | NodeState::Claiming
            // The wish stands, until its time comes or is over.
            | NodeState::TakingTail => return,
            NodeState::Broken => Err(CommandRefusal::Disk { reason: "the store is closed".to_owned() }),
            NodeState::Yielding => Err(CommandRefusal::NotMaster { master: self.master_elsewhere() }),
            NodeState::Following | NodeState::Inquiring => Err(CommandRefusal::LeaseHeld),
        };
        for ticket in std::mem::take(&mut self.takeover_waiters) {
            self.answer(ticket, answer.clone());
        }
    }

    /// An operator's take-over will not be.
    pub(super) fn refuse_takeover_waiters(&mut self, refused: &CommandRefusal) {
        for ticket in std::mem::take(&mut self.takeover_waiters) {
            self.refuse(ticket, refused.clone());
        }
    }

    /// Does what the standing waits for and time or ground now allow.
    pub(super) fn advance_standing(&mut self, now: Now) {
        if self.stopping.is_some() {
            return;
        }
        if self.session.winner().is_some() {
            // It was met while an era was being made durable, which is over now.
            self.transition(now, Transition::Outranked, "yielded");
        }
        if self.witnessed.as_ref().is_some_and(|witnessed| witnessed.deposed.is_some()) {
            // It was found out while an era was being made durable.
            self.transition(now, Transition::Deposed, "deposed");
        }
        match self.node_state {
            NodeState::Broken => self.advance_reopen(now),
            NodeState::Inquiring if now.at >= self.retry_at => self.advance_inquiry(now),
            NodeState::TakingTail => {
                self.advance_answer(now);
                self.advance_wish(now);
            }
            NodeState::Yielding => self.advance_yield(now),
            NodeState::Stalled if self.is_bound() => self.advance_uncovered(now),
            NodeState::Stalled if self.nobody_answers(now) => {
                self.transition(now, Transition::Confirmed, "peer_unreachable")
            }
            NodeState::Stalled => self.advance_patience(now),
            NodeState::Following => self.advance_watch(now),
            // Whatever the host says: an operator has spoken.
            NodeState::AskingHost => self.advance_wish(now),
            _ => {}
        }
    }

    fn end_claim(&mut self) {
        if let Some(witnessed) = &mut self.witnessed {
            witnessed.claim = None;
        }
    }

    /// A master without a cover serves again as soon as it has one.
    fn advance_uncovered(&mut self, now: Now) {
        if self.covered_until().is_some() && self.is_covered(now.at) {
            return self.transition(now, Transition::Confirmed, "confirmed");
        }
        self.advance_patience(now);
    }

    /// An operator who wants a master to serve that has no cover is not kept waiting for ever.
    fn advance_patience(&mut self, now: Now) {
        if !self.takeover_waiters.is_empty() && now.at >= self.takeover_deadline {
            let reachable = self.witness_status().is_none_or(|status| status.reachable);
            let refused = if reachable { CommandRefusal::LeaseHeld } else { CommandRefusal::WitnessUnreachable };
            if let Some(witnessed) = &mut self.witnessed {
                witnessed.recreate = false;
            }
            self.refuse_takeover_waiters(&refused);
        }
    }

    /// Whether a master that was stopped has nobody left to ask: a peer that keeps closing or refusing the link for as
    /// long as a takeover and a dial take does not act as master, or it would have said so.
    fn nobody_answers(&self, now: Now) -> bool {
        self.durable_state.peer.is_none()
            || (self.links.active().is_none() && !self.links.is_held() && now.at >= self.stall_deadline())
    }

    pub(super) fn stall_deadline(&self) -> Moment {
        Moment(self.since.0 + self.timing.delay_us + micros(self.options.connect_timeout))
    }

    fn advance_watch(&mut self, now: Now) {
        self.advance_named(now);
        self.advance_wish(now);
        let ready = now.at >= self.retry_at && self.work.is_idle() && self.node_state == NodeState::Following;
        if ready && self.may_still_take_over(now) {
            self.transition(now, Transition::Silence, "takeover");
        }
    }

    /// The deadline that the standing waits for, if it waits for one.
    pub(super) fn standing_deadline(&self) -> Option<Moment> {
        match self.node_state {
            NodeState::Broken | NodeState::Yielding => Some(self.retry_at),
            NodeState::Stalled => {
                let wish = Some(self.takeover_deadline).filter(|_| !self.takeover_waiters.is_empty());
                let alone = Some(self.stall_deadline()).filter(|_| !self.is_bound());
                wish.into_iter().chain(alone).min()
            }
            NodeState::Inquiring => {
                let peer_us =
                    self.durable_state.peer.as_ref().map_or(0, |peer| peer.takeover_delay_ms.saturating_mul(1_000));
                let silent = Moment(self.since.0.saturating_add(peer_us.max(self.timing.delay_us)));
                Some(silent.max(self.retry_at))
            }
            NodeState::Following => {
                let heard = self.links.silent_since();
                Some(Moment(heard.0 + self.timing.delay_us).max(self.retry_at))
            }
            _ => None,
        }
    }

    /// What speaks for and against a takeover by this node itself.
    pub(super) fn candidate(&self, at: Moment, wall_ms: u64) -> Candidate {
        // The witness vouches for a shadow that has not heard its master since it started.
        let vouched = self.witnessed.is_some() && self.register_word(at).is_none();
        Candidate {
            shadow: !self.node_state.is_master() && self.node_state != NodeState::Yielding,
            enrolled: self.durable_state.peer.is_some() && !self.durable_state.detached && !self.updates.forget(),
            manual: self.options.failover == Failover::Manual,
            complete: self.durable_state.complete || self.makes(Mutant::IncompleteTakesOver),
            syncing: self.session.lacks() && !self.makes(Mutant::IncompleteTakesOver),
            contact: self.links.last_heard().is_some() || vouched,
            held: self.links.is_held(),
            hold_down: held_down(&self.durable_state.takeovers_ms, self.options.hold_down, wall_ms),
            broken: self.node_state == NodeState::Broken,
            refused: self
                .links
                .refusal()
                .is_some_and(|refusal| refusal.alive && refusal.kind != Some(RefusalKind::Protest)),
            witness: self.register_word(at),
        }
    }

    /// The clock loop was late: this node was stopped, or starved. What it believes of its peer's silence is worth
    /// nothing, and a master is one no longer until it has asked.
    pub(super) fn notice_lateness(&mut self, now: Now) {
        let late_us = self.due.map_or(0, |due| now.at.0.saturating_sub(due.0));
        if late_us <= self.timing.stall_us {
            return;
        }
        self.links.forgive(now.at);
        self.work.restart_clock(now.at);
        if self.node_state == NodeState::Inquiring {
            self.since = now.at;
        }
        if self.is_bound() && matches!(self.node_state, NodeState::Serving | NodeState::Stalled) {
            self.drop_covers(now);
        }
        if self.durable_state.peer.is_some() {
            self.transition(now, Transition::Late, "stalled");
        }
    }

    fn epoch_after_restart(&self, now: Now) -> Epoch {
        let untouched = self.history.eras().is_empty() && self.damage.is_none();
        // Whoever knows of it already was led under it by a disk that is gone, and a witness that is away may: rule 17.
        let unknown = self.links.highest_seen().max(self.recorded_epoch()) == Epoch::NONE;
        let asked = self.durable_state.peer.is_none() || self.knows_register();
        if untouched && unknown && asked && self.epoch() == Epoch::FIRST {
            return Epoch::FIRST;
        }
        let step = if self.makes(Mutant::ReusesIncarnation) { 0 } else { now.random };
        self.highest_known_epoch().restarted(step)
    }

    /// A new era, durable state first: a crash in between leaves a master that asks before it serves.
    pub(super) fn era_work(&self, now: Now, epoch: Epoch) -> BeginEra {
        let mut durable_state = self.state_now();
        if self.node_state == NodeState::Promoting {
            remember_takeover(&mut durable_state.takeovers_ms, now);
        }
        durable_state.role = Role::Master;
        durable_state.complete = true;
        durable_state.epoch = epoch;
        durable_state.detached = false;
        let era = Era { epoch, first_seq: self.head.revision.seq + 1, node: self.durable_state.node };
        BeginEra { state: Box::new(durable_state), era }
    }

    pub(super) fn era_durable(&mut self, now: Now) {
        let first_seq = self.head.revision.seq + 1;
        let _follows =
            self.history.begin(Era { epoch: self.head.revision.epoch, first_seq, node: self.durable_state.node });
        let promoted = self.node_state == NodeState::Promoting;
        self.durable_state.role = Role::Master;
        self.durable_state.epoch = self.head.revision.epoch;
        (self.durable_state.complete, self.durable_state.detached) = (true, false);
        let reason = self.reason;
        if promoted {
            remember_takeover(&mut self.durable_state.takeovers_ms, now);
            let message = match reason {
                "operator" => "this node took over as master by an operator's word",
                _ => {
                    "this node took over as master: the master was silent for the takeover delay. \
                      When the former master returns it becomes the shadow"
                }
            };
            self.raise(now, NewAlert::new(AlertKind::Takeover, super::trouble::THIS_NODE, message));
            self.session.became_master();
            self.links.outranked_by_peer(false);
            self.troubles_of_new_master();
            // The link, if one is up, was agreed upon in other roles.
            self.close_all_links(now, None, "this node became master");
        }
        let covered = self.is_covered(now.at);
        self.transition(now, if covered { Transition::EraDurable } else { Transition::EraDurableUncovered }, reason);
        self.end_claim();
    }

    pub(super) fn era_failed(&mut self, now: Now) {
        if self.node_state == NodeState::Promoting {
            // The role of master may have reached the durable state.
            self.durable_state.role = Role::Shadow;
            self.state_changed();
        }
        if self.session.is_sink() {
            // Work of the sink was dropped for the era: the hellos are said again.
            self.close_all_links(now, None, "the takeover was given up");
        }
        self.transition(now, Transition::EraFailed, "disk_trouble");
    }

    /// Whether the peer has been silent for the takeover delay.
    pub(super) fn is_silent(&self, at: Moment) -> bool {
        at.0.saturating_sub(self.links.silent_since().0) >= self.timing.delay_us
    }

    /// Whether what led to a takeover still holds: much may have happened while the host or the disk was asked.
    pub(super) fn may_still_take_over(&self, now: Now) -> bool {
        // Without a witness a peer that was never heard is not known to be silent: `no_contact`.
        self.is_silent(now.at)
            && self.candidate(now.at, now.wall_ms).why_not().is_empty()
            && self.hurdle(now.at).is_none()
    }

    /// The master was heard again before anything of this node's own promotion was written.
    pub(super) fn call_off_promotion(&mut self, now: Now) {
        // One that is won at the witness is not given back.
        let won = self.won_epoch().is_some();
        if !won && self.node_state == NodeState::Promoting && self.reason == "takeover" && self.work.cancel_era() {
            self.era_failed(now);
        }
    }

    pub(super) fn reopened(&mut self, now: Now) {
        self.shown = self.shown.min(self.head.revision);
        self.publish_head();
        self.disk_works(now);
        self.retry_at = now.at;
        // Whoever asks for mastership now is asked first, and a damaged copy is none to lead with.
        match self.durable_state.role {
            Role::Master => self.transition(now, Transition::ReopenedAsMaster, "reopened"),
            Role::Shadow => self.transition(now, Transition::ReopenedAsShadow, "reopened"),
        }
    }

    pub(super) fn host_answered(&mut self, now: Now, question: u64, allowed: bool, reason: String) {
        if question != self.question || self.node_state != NodeState::AskingHost {
            return;
        }
        if self.stopping.is_some() || !self.may_still_take_over(now) {
            return self.transition(now, Transition::MasterHeard, "master_heard");
        }
        if allowed && self.witnessed.is_some() {
            return self.begin_claim(now, "takeover", false);
        }
        if allowed {
            return self.transition(now, Transition::HostAllows, "takeover");
        }
        let message = format!("the master is silent, and the host does not allow this node to take over: {reason}");
        self.raise(now, NewAlert::new(AlertKind::ShadowLost, super::trouble::PEER, message));
        self.retry_at = Moment(now.at.0 + self.timing.delay_us);
        self.transition(now, Transition::HostRefuses, "host_refused");
    }

    /// An operator makes this node master.
    pub(super) fn take_over(&mut self, now: Now, ticket: super::Ticket, accept_loss: bool) {
        match self.node_state {
            NodeState::Serving | NodeState::Stalled => {
                if let Some(witnessed) = &mut self.witnessed {
                    witnessed.recreate = accept_loss;
                }
                if self.node_state == NodeState::Serving {
                    return self.answer(ticket, Ok(()));
                }
                // A master that was stopped, or has no cover, learns by itself whether it still is one.
                self.takeover_waiters.push(ticket);
                self.takeover_deadline = Moment(now.at.0 + self.wish_us());
            }
            NodeState::Opening | NodeState::Promoting | NodeState::Claiming => self.takeover_waiters.push(ticket),
            NodeState::Inquiring | NodeState::TakingTail => {
                if !self.durable_state.complete && !accept_loss {
                    return self.refuse(ticket, CommandRefusal::Incomplete);
                }
                if self.is_bound() {
                    return self.claim_by_operator(now, ticket, accept_loss);
                }
                self.durable_state.complete = true;
                self.takeover_waiters.push(ticket);
                self.transition(now, Transition::OperatorTakesOver, "operator");
            }
            NodeState::Following | NodeState::AskingHost => self.promote_by_operator(now, ticket, accept_loss),
            NodeState::Yielding => self.refuse(ticket, CommandRefusal::Loss { missing: None }),
            NodeState::Broken => self.refuse(ticket, CommandRefusal::Disk { reason: "the store is closed".to_owned() }),
        }
    }

    fn promote_by_operator(&mut self, now: Now, ticket: super::Ticket, accept_loss: bool) {
        if self.is_bound() && !self.durable_state.detached {
            return self.claim_by_operator(now, ticket, accept_loss);
        }
        if !accept_loss && !self.in_sync() {
            let refused = self.loss_to_peer();
            return self.refuse(ticket, refused);
        }
        self.takeover_waiters.push(ticket);
        self.transition(now, Transition::OperatorTakesOver, "operator");
    }

    /// The refusal that names what the peer is known to hold and this node does not.
    pub(super) fn loss_to_peer(&self) -> CommandRefusal {
        let known = self.links.peer_position().map(|position| position.revision);
        let own = self.head.revision;
        let first = |to: Revision| Revision::new(to.epoch, own.seq + 1);
        CommandRefusal::Loss { missing: known.filter(|known| *known > own).map(|to| (first(to), to)) }
    }

    /// Tells the host what changed.
    pub(super) fn tell_changes(&mut self) {
        let serving = self.node_state == NodeState::Serving && self.stopping.is_none();
        let role = (self.durable_state.role, serving, self.epoch());
        if self.told.role != Some(role) {
            // A shadow's epoch moves with its master's; that is no change of role.
            let told = self.told.role.map(|(role, serving, _)| (role, serving));
            let news = told != Some((role.0, role.1)) || (serving && self.told.role.is_some_and(|t| t.2 != role.2));
            self.told.role = Some(role);
            if news {
                let (role, serving, epoch) = role;
                self.out.push(Action::Notify(Notice::Role { role, serving, epoch, reason: self.reason }));
            }
        }
        let (state, reason) = self.link_state();
        // One failed dial after the other for reasons that differ in their wording is no news.
        let refusal = self.links.refusal().and_then(|refusal| refusal.kind);
        if self.told.link != Some((state, refusal)) {
            self.told.link = Some((state, refusal));
            self.out.push(Action::Notify(Notice::Link { state, reason }));
        }
    }

    /// Sets the timer to the next deadline. Nodes with a peer wake at every heartbeat interval at the least, so that a
    /// stop is found out soon.
    pub(super) fn set_timer(&mut self, now: Now) {
        let idle_us = if self.durable_state.peer.is_some() { self.timing.heartbeat_us } else { 3_600_000_000 };
        let deadlines = [
            Some(Moment(now.at.0 + idle_us)),
            self.standing_deadline(),
            self.links_deadline(),
            self.session.deadline(),
            self.unsaved.deadline(),
            self.slow_disk_deadline(),
            self.trouble_deadline(),
            self.stopping.map(|(_, until)| until),
        ];
        let witness = [self.witness_deadlines(), self.claim_deadlines()].into_iter().flatten();
        let deadlines = deadlines.into_iter().chain(witness).chain(self.commits_deadlines());
        // What could not be done yet (a batch is in flight) comes with its own event: never wake in a loop for it.
        let soonest = Moment(now.at.0 + 1_000);
        let due = deadlines.flatten().filter(|at| *at > now.at).min().unwrap_or(soonest).max(soonest);
        if self.due != Some(due) {
            self.due = Some(due);
            self.out.push(Action::SetTimer { at: due });
        }
    }
}

/// The hold-down is the pair's: a takeover counts on the node that it made master, and on the one that yields to it.
pub(super) fn remember_takeover(takeovers_ms: &mut Vec<u64>, now: Now) {
    takeovers_ms.retain(|at| now.wall_ms.saturating_sub(*at) < 24 * 3_600_000);
    if takeovers_ms.len() >= TAKEOVERS_KEPT_MAX {
        takeovers_ms.remove(0);
    }
    takeovers_ms.push(now.wall_ms);
}
