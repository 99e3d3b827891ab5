//! The standing of the node: what turns it, and what entering one asks for.

use super::{Action, Answer, Engine, LinkState, Moment, Mutant, Notice, Now, Refused, Work};
use crate::model::limits::TAKEOVERS_KEPT_MAX;
use crate::model::{Epoch, Era, Revision};
use crate::protocol::alerts::{AlertKind, Trouble};
use crate::protocol::engine::Failover;
use crate::protocol::failover::{Candidate, Standing, Turn, held_down, micros};
use crate::protocol::wire::{RefusalKind, Role};

/// What the host was told last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    role: Option<(Role, bool, Epoch)>,
    link: Option<(LinkState, Option<RefusalKind>)>,
}

impl Engine {
    /// Turns the standing, if the table says so, and does what entering the new one asks for.
    pub(super) fn turn(&mut self, now: Now, turn: Turn, reason: &'static str) {
        let Some(next) = self.standing.turn(turn) else { return };
        let before = std::mem::replace(&mut self.standing, next);
        self.since = now.at;
        self.reason = reason;
        match next {
            Standing::Opening => {
                self.begin_stint();
                self.persist_era(self.epoch_after_restart(now));
                if self.makes(Mutant::ServesBeforeEra) {
                    self.turn(now, Turn::EraDurable, reason);
                }
            }
            Standing::Promoting => {
                self.begin_stint();
                let next = self.epoch().max(self.links.highest_seen()).promoted(now.random);
                self.persist_era(self.won_epoch().unwrap_or(next));
            }
            Standing::Serving if before == Standing::Stalled => self.release(now),
            Standing::Serving => self.publish_head(),
            Standing::AskingHost => {
                self.question += 1;
                self.out.push(Action::AskMayTakeOver { question: self.question });
            }
            Standing::Stalled => {
                self.patience = Moment(now.at.0 + self.wish_us());
                self.ask_peer(now);
                self.ask_witness_soon();
                if before != Standing::Serving {
                    // What is durable here shows, whether or not this node may write: its readers saw it before the restart.
                    self.publish_head();
                }
            }
            Standing::Yielding => {
                self.end_claim();
                self.drop_commits();
            }
            Standing::Broken => {
                self.end_claim();
                self.drop_commits();
                self.close_all_links(now, None, "the store failed");
                self.drop_waiting_work();
            }
            Standing::Inquiring if matches!(before, Standing::Serving | Standing::Stalled) => {
                self.end_claim();
                self.drop_commits();
                self.close_all_links(now, None, "this node is not the master that the witness names");
            }
            // What the host said is not what an operator wishes.
            Standing::Following if before == Standing::AskingHost => return,
            Standing::Following => self.end_claim(),
            Standing::Inquiring => {
                self.end_claim();
                self.begin_inquiry(now);
            }
            Standing::TakingTail | Standing::Claiming => {}
        }
        self.keep_promises(next);
    }

    /// An operator's take-over is answered when this node holds mastership, or will not.
    fn keep_promises(&mut self, standing: Standing) {
        let answer = match standing {
            Standing::Serving => Answer::Done,
            Standing::Opening
            | Standing::Promoting
            | Standing::AskingHost
            | Standing::Stalled
            | Standing::Claiming
            // The wish stands, until its time comes or is over.
            | Standing::TakingTail => return,
            Standing::Broken => Answer::Refused(Refused::Disk { reason: "the store is closed".to_owned() }),
            Standing::Yielding => Answer::Refused(self.not_master()),
            Standing::Following | Standing::Inquiring => Answer::Refused(Refused::LeaseHeld),
        };
        for ticket in std::mem::take(&mut self.promised) {
            self.answer(ticket, answer.clone());
        }
    }

    /// An operator's take-over will not be.
    pub(super) fn refuse_promises(&mut self, refused: &Refused) {
        for ticket in std::mem::take(&mut self.promised) {
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
            self.turn(now, Turn::Outranked, "yielded");
        }
        if self.witnessed.as_ref().is_some_and(|witnessed| witnessed.deposed.is_some()) {
            // It was found out while an era was being made durable.
            self.turn(now, Turn::Deposed, "deposed");
        }
        match self.standing {
            Standing::Broken => self.advance_reopen(now),
            Standing::Inquiring if now.at >= self.retry_at => self.advance_inquiry(now),
            Standing::TakingTail => {
                self.advance_answer(now);
                self.advance_wish(now);
            }
            Standing::Yielding => self.advance_yield(now),
            Standing::Stalled if self.is_bound() => self.advance_uncovered(now),
            Standing::Stalled if self.nobody_answers(now) => self.turn(now, Turn::Confirmed, "peer_unreachable"),
            Standing::Stalled => self.advance_patience(now),
            Standing::Following => self.advance_watch(now),
            // Whatever the host says: an operator has spoken.
            Standing::AskingHost => self.advance_wish(now),
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
            return self.turn(now, Turn::Confirmed, "confirmed");
        }
        self.advance_patience(now);
    }

    /// An operator who wants a master to serve that has no cover is not kept waiting for ever.
    fn advance_patience(&mut self, now: Now) {
        if !self.promised.is_empty() && now.at >= self.patience {
            let reachable = self.witness_status().is_none_or(|status| status.reachable);
            let refused = if reachable { Refused::LeaseHeld } else { Refused::WitnessUnreachable };
            if let Some(witnessed) = &mut self.witnessed {
                witnessed.recreate = false;
            }
            self.refuse_promises(&refused);
        }
    }

    /// Whether a master that was stopped has nobody left to ask: a peer that keeps closing or refusing the link for as
    /// long as a takeover and a dial take does not act as master, or it would have said so.
    fn nobody_answers(&self, now: Now) -> bool {
        self.facts.peer.is_none()
            || (self.links.active().is_none() && !self.links.is_held() && now.at >= self.stall_deadline())
    }

    pub(super) fn stall_deadline(&self) -> Moment {
        Moment(self.since.0 + self.timing.delay_us + micros(self.options.connect_timeout))
    }

    fn advance_watch(&mut self, now: Now) {
        self.advance_named(now);
        self.advance_wish(now);
        let ready = now.at >= self.retry_at && self.batches.is_idle() && self.standing == Standing::Following;
        if ready && self.may_still_take_over(now) {
            self.turn(now, Turn::Silence, "takeover");
        }
    }

    /// The deadline that the standing waits for, if it waits for one.
    pub(super) fn standing_deadline(&self) -> Option<Moment> {
        match self.standing {
            Standing::Broken | Standing::Yielding => Some(self.retry_at),
            Standing::Stalled => {
                let wish = Some(self.patience).filter(|_| !self.promised.is_empty());
                let alone = Some(self.stall_deadline()).filter(|_| !self.is_bound());
                wish.into_iter().chain(alone).min()
            }
            Standing::Inquiring => {
                let peer_us = self.facts.peer.as_ref().map_or(0, |peer| peer.takeover_delay_ms.saturating_mul(1_000));
                let silent = Moment(self.since.0.saturating_add(peer_us.max(self.timing.delay_us)));
                Some(silent.max(self.retry_at))
            }
            Standing::Following => {
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
            shadow: !self.standing.is_master() && self.standing != Standing::Yielding,
            enrolled: self.facts.peer.is_some() && !self.facts.detached && !self.words.forget(),
            manual: self.options.failover == Failover::Manual,
            complete: self.facts.complete || self.makes(Mutant::IncompleteTakesOver),
            syncing: self.session.lacks() && !self.makes(Mutant::IncompleteTakesOver),
            contact: self.links.last_heard().is_some() || vouched,
            held: self.links.is_held(),
            hold_down: held_down(&self.facts.takeovers_ms, self.options.hold_down, wall_ms),
            broken: self.standing == Standing::Broken,
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
        self.batches.forgive(now.at);
        if self.standing == Standing::Inquiring {
            self.since = now.at;
        }
        if self.is_bound() && matches!(self.standing, Standing::Serving | Standing::Stalled) {
            self.drop_covers(now);
        }
        if self.facts.peer.is_some() {
            self.turn(now, Turn::Late, "stalled");
        }
    }

    fn epoch_after_restart(&self, now: Now) -> Epoch {
        let untouched = self.history.eras().is_empty() && self.damage.is_none();
        // Whoever knows of it already was led under it by a disk that is gone, and a witness that is away may: rule 17.
        let unknown = self.links.highest_seen().max(self.recorded_epoch()) == Epoch::NONE;
        let asked = self.facts.peer.is_none() || self.knows_register();
        if untouched && unknown && asked && self.epoch() == Epoch::FIRST {
            return Epoch::FIRST;
        }
        let step = if self.makes(Mutant::ReusesIncarnation) { 0 } else { now.random };
        self.highest_known_epoch().restarted(step)
    }

    /// A new era, facts first: a crash in between leaves a master that asks before it serves.
    pub(super) fn era_work(&self, now: Now, epoch: Epoch) -> Work {
        let mut facts = self.facts_now();
        if self.standing == Standing::Promoting {
            remember_takeover(&mut facts.takeovers_ms, now);
        }
        facts.role = Role::Master;
        facts.complete = true;
        facts.epoch = epoch;
        facts.detached = false;
        let era = Era { epoch, first_seq: self.head.revision.seq + 1, node: self.facts.node };
        Work::Era { facts: Box::new(facts), era }
    }

    pub(super) fn era_durable(&mut self, now: Now) {
        let first_seq = self.head.revision.seq + 1;
        let _follows = self.history.begin(Era { epoch: self.head.revision.epoch, first_seq, node: self.facts.node });
        let promoted = self.standing == Standing::Promoting;
        self.facts.role = Role::Master;
        self.facts.epoch = self.head.revision.epoch;
        (self.facts.complete, self.facts.detached) = (true, false);
        let reason = self.reason;
        if promoted {
            remember_takeover(&mut self.facts.takeovers_ms, now);
            let message = match reason {
                "operator" => "this node took over as master by an operator's word",
                _ => {
                    "this node took over as master: the master was silent for the takeover delay. \
                      When the former master returns it becomes the shadow"
                }
            };
            self.raise(now, Trouble::new(AlertKind::Takeover, super::trouble::THIS_NODE, message));
            self.session.became_master();
            self.links.outranked_by_peer(false);
            self.troubles_of_new_master();
            // The link, if one is up, was agreed upon in other roles.
            self.close_all_links(now, None, "this node became master");
        }
        let covered = self.is_covered(now.at);
        self.turn(now, if covered { Turn::EraDurable } else { Turn::EraDurableUncovered }, reason);
        self.end_claim();
    }

    pub(super) fn era_failed(&mut self, now: Now) {
        if self.standing == Standing::Promoting {
            // The role of master may have reached the facts.
            self.facts.role = Role::Shadow;
            self.facts_changed();
        }
        if self.session.is_sink() {
            // Work of the sink was dropped for the era: the hellos are said again.
            self.close_all_links(now, None, "the takeover was given up");
        }
        self.turn(now, Turn::EraFailed, "disk_trouble");
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
        if !won && self.standing == Standing::Promoting && self.reason == "takeover" && self.batches.cancel_era() {
            self.era_failed(now);
        }
    }

    pub(super) fn reopened(&mut self, now: Now) {
        self.shown = self.shown.min(self.head.revision);
        self.publish_head();
        self.disk_works(now);
        self.retry_at = now.at;
        // Whoever asks for mastership now is asked first, and a damaged copy is none to lead with.
        match self.facts.role {
            Role::Master => self.turn(now, Turn::ReopenedAsMaster, "reopened"),
            Role::Shadow => self.turn(now, Turn::ReopenedAsShadow, "reopened"),
        }
    }

    pub(super) fn host_answered(&mut self, now: Now, question: u64, allowed: bool, reason: String) {
        if question != self.question || self.standing != Standing::AskingHost {
            return;
        }
        if self.stopping.is_some() || !self.may_still_take_over(now) {
            return self.turn(now, Turn::MasterHeard, "master_heard");
        }
        if allowed && self.witnessed.is_some() {
            return self.begin_claim(now, "takeover", false);
        }
        if allowed {
            return self.turn(now, Turn::HostAllows, "takeover");
        }
        let message = format!("the master is silent, and the host does not allow this node to take over: {reason}");
        self.raise(now, Trouble::new(AlertKind::ShadowLost, super::trouble::PEER, message));
        self.retry_at = Moment(now.at.0 + self.timing.delay_us);
        self.turn(now, Turn::HostRefuses, "host_refused");
    }

    /// An operator makes this node master.
    pub(super) fn take_over(&mut self, now: Now, ticket: super::Ticket, accept_loss: bool) {
        match self.standing {
            Standing::Serving | Standing::Stalled => {
                if let Some(witnessed) = &mut self.witnessed {
                    witnessed.recreate = accept_loss;
                }
                if self.standing == Standing::Serving {
                    return self.answer(ticket, Answer::Done);
                }
                // A master that was stopped, or has no cover, learns by itself whether it still is one.
                self.promised.push(ticket);
                self.patience = Moment(now.at.0 + self.wish_us());
            }
            Standing::Opening | Standing::Promoting | Standing::Claiming => self.promised.push(ticket),
            Standing::Inquiring | Standing::TakingTail => {
                if !self.facts.complete && !accept_loss {
                    return self.refuse(ticket, Refused::Incomplete);
                }
                if self.is_bound() {
                    return self.claim_by_operator(now, ticket, accept_loss);
                }
                self.facts.complete = true;
                self.promised.push(ticket);
                self.turn(now, Turn::OperatorTakesOver, "operator");
            }
            Standing::Following | Standing::AskingHost => self.promote_by_operator(now, ticket, accept_loss),
            Standing::Yielding => self.refuse(ticket, Refused::Loss { missing: None }),
            Standing::Broken => self.refuse(ticket, Refused::Disk { reason: "the store is closed".to_owned() }),
        }
    }

    fn promote_by_operator(&mut self, now: Now, ticket: super::Ticket, accept_loss: bool) {
        if self.is_bound() && !self.facts.detached {
            return self.claim_by_operator(now, ticket, accept_loss);
        }
        if !accept_loss && !self.in_sync() {
            let refused = self.loss_to_peer();
            return self.refuse(ticket, refused);
        }
        self.promised.push(ticket);
        self.turn(now, Turn::OperatorTakesOver, "operator");
    }

    /// The refusal that names what the peer is known to hold and this node does not.
    pub(super) fn loss_to_peer(&self) -> Refused {
        let known = self.links.peer_position().map(|position| position.revision);
        let own = self.head.revision;
        let first = |to: Revision| Revision::new(to.epoch, own.seq + 1);
        Refused::Loss { missing: known.filter(|known| *known > own).map(|to| (first(to), to)) }
    }

    /// Tells the host what changed.
    pub(super) fn tell_changes(&mut self) {
        let serving = self.standing == Standing::Serving && self.stopping.is_none();
        let role = (self.facts.role, serving, self.epoch());
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
        let idle_us = if self.facts.peer.is_some() { self.timing.heartbeat_us } else { 3_600_000_000 };
        let deadlines = [
            Some(Moment(now.at.0 + idle_us)),
            self.standing_deadline(),
            self.links_deadline(),
            self.session.deadline(),
            self.batches.deadline(),
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
