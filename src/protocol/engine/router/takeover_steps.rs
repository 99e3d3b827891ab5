//! A takeover: by this node itself after the master's silence, or by an operator; through the witness where there is one. Note the
//! term durably, win the swap, store the epoch; only then is there mastership. (Test-and-set on shared storage as the third vote:
//! VMware Fault Tolerance, Scales 2010.)

use crate::model::{Revision, WitnessRecord, WitnessVersion};
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::engine::alerts::{Subject, texts};
use crate::protocol::engine::authority::{Attempt, WitnessObstacle};
use crate::protocol::engine::{
    CommandRefusal, Engine, Moment, Mutant, Now, RoleReason, StatePurpose, StoreState, TakeoverBlocker, Ticket,
    Transition,
};
use crate::protocol::failover::{Flaw, NodeState, micros, waited};
use crate::protocol::wire::Role;

impl Engine {
    // By this node itself.

    /// Whether the peer has been silent for the takeover delay.
    fn is_silent(&self, at: Moment) -> bool {
        at >= self.setup.timing.silence_ends(self.links.silent_since())
    }

    /// Whether what led to a takeover still holds: much may have happened while the host or the disk was asked.
    pub(super) fn may_still_take_over(&self, now: Now) -> bool {
        // Without a witness a peer that was never heard is not known to be silent: `no_contact`.
        self.is_silent(now.at)
            && self.takeover_conditions(now.at, now.wall_ms).blockers().is_empty()
            && self.witness_obstacle(now.at).is_none()
    }

    pub(in super::super) fn host_answered(&mut self, now: Now, question: u64, allowed: bool, reason: &str) {
        let current = self.authority.takeover().is_last_question(question);
        if !current || self.authority.state() != NodeState::AskingHost {
            return;
        }
        if self.shutdown.is_under_way() || !self.may_still_take_over(now) {
            return self.transition(now, Transition::MasterHeard, RoleReason::MasterHeard);
        }
        match (allowed, self.authority.has_witness()) {
            (true, true) => self.begin_takeover(now, RoleReason::Takeover, false),
            (true, false) => self.transition(now, Transition::HostAllows, RoleReason::Takeover),
            (false, _) => {
                let message = texts::host_refuses_takeover(reason);
                self.raise(now, NewAlert::new(AlertKind::ShadowLost, Subject::Peer, message));
                self.authority.retry_after(Moment(now.at.0 + self.setup.timing.delay_us));
                self.transition(now, Transition::HostRefuses, RoleReason::HostRefused);
            }
        }
    }

    /// Whether the register names this node although it is no master: rule 8.
    pub(super) fn is_named(&self) -> bool {
        let named =
            self.authority.witnessed().is_some_and(|witnessed| witnessed.client.register().names(self.durable.node));
        named && self.durable.role == Role::Shadow && self.register_flaw().is_none()
    }

    /// A shadow that the register names tries again, with a new term, without waiting for anybody's lease: rule 8.
    pub(super) fn advance_named(&mut self, now: Now) {
        let settled = self.durable.complete && !self.durable.is_being_reset() && !self.links.is_duplicate();
        let free = settled && self.work.is_idle() && now.at >= self.authority.retry_at();
        if free && self.is_named() && self.witness_obstacle(now.at).is_none() {
            self.begin_takeover(now, RoleReason::Takeover, false);
        }
    }

    // By an operator.

    /// An operator makes this node master.
    pub(super) fn take_over(&mut self, now: Now, ticket: Ticket, accept_loss: bool) {
        let state = self.authority.state();
        match state {
            NodeState::Serving | NodeState::Stalled => {
                self.authority.allow_recreation(accept_loss);
                if state == NodeState::Serving {
                    return self.answer(ticket, Ok(()));
                }
                // A master that was stopped, or has no cover, learns by itself whether it still is one.
                self.wait_for_mastership(now, ticket);
            }
            NodeState::OpeningEra | NodeState::Promoting | NodeState::AskingWitness => {
                self.authority.takeover_mut().wait(ticket);
            }
            NodeState::CheckingStartup | NodeState::TakingTail => {
                if !self.durable.complete && !accept_loss {
                    return self.refuse(ticket, CommandRefusal::Incomplete);
                }
                if self.is_bound() {
                    return self.want_takeover(now, ticket, accept_loss);
                }
                self.durable.assume_complete(true);
                self.authority.takeover_mut().wait(ticket);
                self.transition(now, Transition::OperatorTakesOver, RoleReason::Operator);
            }
            NodeState::Following | NodeState::AskingHost => {
                if self.is_bound() && !self.durable.detached {
                    return self.want_takeover(now, ticket, accept_loss);
                }
                if !self.in_sync() {
                    let refusal = self.loss_to_peer();
                    if !accept_loss {
                        return self.refuse(ticket, refusal);
                    }
                    self.give_up(&refusal);
                }
                self.authority.takeover_mut().wait(ticket);
                self.transition(now, Transition::OperatorTakesOver, RoleReason::Operator);
            }
            NodeState::SteppingDown => self.refuse(ticket, CommandRefusal::Loss { missing: None }),
            NodeState::Broken => {
                self.refuse(ticket, CommandRefusal::Disk { reason: "the store is closed".to_owned() });
            }
            NodeState::Stopped => self.refuse(ticket, CommandRefusal::Stopped),
        }
    }

    /// What this refusal would be for is given up, for this takeover alone. The alert of the takeover names it.
    fn give_up(&mut self, refusal: &CommandRefusal) {
        if let CommandRefusal::Loss { missing } = refusal {
            self.authority.takeover_mut().give_up(*missing);
        }
    }

    fn wait_for_mastership(&mut self, now: Now, ticket: Ticket) {
        let deadline = Moment(now.at.0 + self.takeover_wait_us());
        self.authority.takeover_mut().wait(ticket);
        self.authority.takeover_mut().set_deadline(deadline);
    }

    /// The refusal that names what the peer is known to hold and this node does not.
    fn loss_to_peer(&self) -> CommandRefusal {
        let known = self.links.peer_position().map(|position| position.revision);
        let own = self.log.revision();
        let first = |to: Revision| Revision::new(to.epoch, own.seq + 1);
        CommandRefusal::Loss { missing: known.filter(|known| *known > own).map(|to| (first(to), to)) }
    }

    /// An operator makes this node master, through the register. `accept_loss` overrides "in sync", "head" and a
    /// register without a value of this pair. It never overrides a promise, a lease or the swap.
    fn want_takeover(&mut self, now: Now, ticket: Ticket, accept_loss: bool) {
        if self.is_led() {
            return self.refuse(ticket, CommandRefusal::LeaseHeld);
        }
        if let Some(refusal) = self.takeover_refusal(now.at, accept_loss) {
            return self.refuse(ticket, refusal);
        }
        if let Some(refusal) = self.takeover_refusal(now.at, false) {
            self.give_up(&refusal);
        }
        self.wait_for_mastership(now, ticket);
        if self.authority.has_witness() {
            self.authority.takeover_mut().set_attempt(Attempt::Wanted { accept_loss });
            self.authority.ask_witness_soon();
        }
    }

    /// How long an operator's takeover waits for promises and leases to end.
    pub(in super::super) fn takeover_wait_us(&self) -> u64 {
        let options = &self.setup.options;
        2 * (micros(waited(options.lease())) + self.setup.timing.delay_us + micros(options.witness_timeout()))
    }

    /// Whether a master that serves is at the other end of the link.
    fn is_led(&self) -> bool {
        let shadow = self.durable.role == Role::Shadow && !self.is_named();
        self.links.active_id().is_some() && self.links.peer_serves() && shadow
    }

    /// Why an operator is refused at once. An obstacle that time or an answer may remove is waited for instead.
    fn takeover_refusal(&self, at: Moment, accept_loss: bool) -> Option<CommandRefusal> {
        match self.witness_obstacle(at)? {
            WitnessObstacle::Flawed(Flaw::Foreign) => Some(CommandRefusal::WitnessUnreachable),
            _ if accept_loss => None,
            WitnessObstacle::Flawed(_) | WitnessObstacle::NotMade => Some(CommandRefusal::Loss { missing: None }),
            WitnessObstacle::NotInSync | WitnessObstacle::Behind => {
                let own = self.log.revision();
                let recorded = self.authority.register()?.record()?.revision;
                let first = Revision::new(recorded.epoch, own.seq + 1);
                let missing = (recorded > own && recorded.seq > own.seq).then_some((first, recorded));
                Some(CommandRefusal::Loss { missing })
            }
            WitnessObstacle::Unreachable | WitnessObstacle::Promised | WitnessObstacle::Leased => None,
        }
    }

    /// Begins an operator's takeover when nothing prevents it, or refuses it.
    pub(super) fn advance_wanted_takeover(&mut self, now: Now) {
        let Some(accept_loss) = self.authority.takeover().wanted() else { return };
        let led = self.is_led().then_some(CommandRefusal::LeaseHeld);
        let refusal = led.or(self.takeover_refusal(now.at, accept_loss));
        // The peer is connected and holds more than this node: it is given the time to send it.
        let behind = self.authority.state() == NodeState::TakingTail && !accept_loss;
        let obstacle = self.witness_obstacle(now.at);
        let in_the_end = match obstacle {
            _ if behind => self.loss_to_peer(),
            Some(WitnessObstacle::Unreachable) => CommandRefusal::WitnessUnreachable,
            _ => CommandRefusal::LeaseHeld,
        };
        let may_begin = match obstacle {
            _ if refusal.is_some() || behind => false,
            None => true,
            Some(
                WitnessObstacle::NotInSync
                | WitnessObstacle::Behind
                | WitnessObstacle::NotMade
                | WitnessObstacle::Flawed(_),
            ) => accept_loss && self.wait_obstacle(now.at).is_none(),
            Some(_) => false,
        };
        if may_begin && self.work.is_idle() {
            return self.begin_takeover(now, RoleReason::Operator, accept_loss);
        }
        let over = now.at >= self.authority.takeover().deadline();
        if let Some(refusal) = refusal.or(over.then_some(in_the_end)) {
            self.authority.takeover_mut().end_attempt();
            self.refuse_takeover_waiters(&refusal);
        }
    }

    // Obstacles at the witness.

    /// What speaks against a takeover, the gravest first; `None` where nothing does.
    pub(super) fn witness_obstacle(&self, at: Moment) -> Option<WitnessObstacle> {
        let register = self.authority.register()?;
        if !register.is_reachable() || register.is_stale() {
            return Some(WitnessObstacle::Unreachable);
        }
        if let Some(flaw) = self.register_flaw() {
            return Some(WitnessObstacle::Flawed(flaw));
        }
        let Some(record) = register.record() else { return Some(WitnessObstacle::NotMade) };
        let (own, named) = (self.durable.node, self.is_named());
        // A recorded revision outside this history is lacked, even if this head is later.
        let behind = self.lacks_recorded(record.revision) || (named && self.epoch() < record.epoch);
        let setup = &self.setup;
        match () {
            () if record.in_sync != Some(own) && !named && !setup.makes(Mutant::IgnoresInSync) => {
                Some(WitnessObstacle::NotInSync)
            }
            () if behind && !setup.makes(Mutant::IgnoresRecordedRevision) => Some(WitnessObstacle::Behind),
            () => self.wait_obstacle(at),
        }
    }

    /// Until when this node's own promise and the recorded lease are waited for.
    pub(super) fn waits_end(&self) -> (Moment, Option<Moment>) {
        let Some(witnessed) = self.authority.witnessed() else { return (Moment(0), None) };
        let usual = self.setup.options.lease();
        let register = witnessed.client.register();
        let waits = (witnessed.promise.until(), register.lease_over(usual));
        #[cfg(test)]
        let waits = self.setup.misjudged_waits(register, self.alerts.skew_us(), waits);
        waits
    }

    /// The obstacle that only time removes: a promise or a lease that still runs.
    fn wait_obstacle(&self, at: Moment) -> Option<WitnessObstacle> {
        let witnessed = self.authority.witnessed()?;
        let setup = &self.setup;
        let (promised, leased) = self.waits_end();
        let forgotten = witnessed.promise.is_remembered() && setup.makes(Mutant::ForgetsPromise);
        let is_leased = !self.wrote_record() && leased.is_some_and(|over| at <= over);
        match () {
            () if at <= promised && !forgotten && !setup.makes(Mutant::IgnoresOwnPromise) => {
                Some(WitnessObstacle::Promised)
            }
            () if is_leased && !setup.makes(Mutant::SkipsLeaseWait) => Some(WitnessObstacle::Leased),
            () => None,
        }
    }

    /// What keeps this shadow from taking over, or this master from serving, as far as the witness goes.
    pub(super) fn witness_blocker(&self, at: Moment) -> Option<TakeoverBlocker> {
        if self.durable.role == Role::Shadow {
            return self.witness_obstacle(at).and_then(WitnessObstacle::blocker);
        }
        let uncovered = self.authority.state() == NodeState::Stalled && self.is_bound();
        let reachable = self.witness_status().is_none_or(|status| status.reachable);
        // Neither the shadow nor the witness answers, or no answer has come yet.
        let uncovered = uncovered.then_some(match reachable {
            true => TakeoverBlocker::Uncovered,
            false => TakeoverBlocker::WitnessUnreachable,
        });
        let deposed = self.authority.deposed().map(|deposed| deposed.blocker());
        deposed.or(self.register_flaw().map(TakeoverBlocker::from)).or(uncovered)
    }

    // The attempt.

    /// Notes the term of this attempt. The swap is sent when the note is durable: rule 7.
    fn begin_takeover(&mut self, now: Now, reason: RoleReason, accept_loss: bool) {
        let epoch = self.highest_known_epoch().promoted(now.random);
        self.durable.note_term(epoch);
        self.transition(now, Transition::MustAskWitness, reason);
        if let Some(witnessed) = self.authority.witnessed() {
            // The swap may replace only this value, whose lease was waited for: rule 6.
            let version = witnessed.client.register().version().cloned();
            self.authority.takeover_mut().set_attempt(Attempt::Noting { epoch, accept_loss, version });
        }
        let state = Box::new(self.durable.with_alerts(self.alerts.log()));
        self.work.queue(StoreState { state, purpose: StatePurpose::NoteTerm { tried: self.durable.tried } });
        if self.setup.makes(Mutant::SwapsBeforeNote) {
            self.authority.takeover_mut().noted(epoch);
        }
    }

    /// The record to swap in, once the term is durable. What spoke for the takeover must still hold.
    pub(super) fn takeover_to_send(&mut self, now: Now) -> Option<WitnessRecord> {
        if self.authority.state() != NodeState::AskingWitness {
            return None;
        }
        let register = self.authority.register()?;
        let Some(Attempt::Noted { epoch, accept_loss, version }) = self.authority.takeover().attempt() else {
            return None;
        };
        let (epoch, accept_loss, same) = (*epoch, *accept_loss, version.as_ref() == register.version());
        // Its master may have been heard meanwhile.
        let silence = self.authority.reason() == RoleReason::Takeover && !self.is_named();
        let heard = silence && (!self.is_silent(now.at) || self.links.is_duplicate());
        if !same || heard || register.is_stale() || self.wait_obstacle(now.at).is_some() {
            self.takeover_lost(now, &CommandRefusal::LeaseHeld);
            return None;
        }
        let mut record = register.next(WitnessRecord {
            pair: self.durable.pair,
            holder: self.durable.node,
            epoch,
            lease: self.setup.options.lease(),
            // The peer is away: it is not in sync from here on (rule 13).
            in_sync: None,
            revision: Revision::NONE,
            counter: 0,
        });
        if accept_loss && self.lacks_recorded(record.revision) {
            // Only this swap lowers the revision: an operator gave up what is missing. Else this node would step down.
            record.revision = self.log.revision();
        }
        #[cfg(test)]
        let record = self.setup.misrecorded(record);
        Some(record)
    }

    /// The swap is done: this node holds the register. It is master once its epoch is durable too.
    pub(super) fn takeover_won(&mut self, now: Now, sent: Moment, record: WitnessRecord, version: WitnessVersion) {
        let (epoch, lease, alone) = (record.epoch, record.lease, record.in_sync.is_none());
        let Some(witnessed) = self.authority.witnessed_mut() else { return };
        witnessed.client.register_mut().swapped(record, version, now.at);
        self.durable.saw_recorded(epoch);
        // A promise that was given meanwhile, or still runs, makes the swap void: rule 9.
        let promised = self.wait_obstacle(now.at) == Some(WitnessObstacle::Promised)
            && !self.setup.makes(Mutant::PromisesDuringTakeover);
        // A disk that failed meanwhile ended the attempt that sent it, and another one may have noted a higher term: rule 8.
        let own =
            matches!(self.authority.takeover().attempt(), Some(Attempt::Noted { epoch: tried, .. }) if *tried == epoch);
        if self.authority.state() != NodeState::AskingWitness || promised || !own {
            return self.takeover_lost(now, &CommandRefusal::LeaseHeld);
        }
        self.authority.takeover_mut().set_attempt(Attempt::Won { epoch });
        let reason = self.authority.reason();
        self.transition(now, Transition::WitnessWon, reason);
        if let Some(witnessed) = self.authority.witnessed_mut() {
            witnessed.covers.won(Moment(sent.0.saturating_add(micros(lease))), alone);
            witnessed.reinstate();
        }
    }

    /// The attempt is over without mastership. The note of its term stays (rule 7).
    pub(super) fn takeover_lost(&mut self, now: Now, why: &CommandRefusal) {
        let Some(witnessed) = self.authority.witnessed_mut() else { return };
        witnessed.client.ask_soon();
        self.authority.takeover_mut().end_attempt();
        if self.authority.state() != NodeState::AskingWitness {
            return;
        }
        if self.setup.makes(Mutant::DropsNote) {
            self.durable.note_term(crate::model::Epoch::NONE);
            self.durable.changed();
        }
        let heartbeat_us = self.setup.timing.heartbeat_us;
        self.authority.retry_after(Moment(now.at.0 + heartbeat_us / 2 + now.random % heartbeat_us.max(1)));
        self.refuse_takeover_waiters(why);
        let transition = match self.durable.role {
            Role::Master => Transition::WitnessLostAsMaster,
            Role::Shadow => Transition::WitnessLost,
        };
        self.transition(now, transition, RoleReason::TakeoverLost);
    }

    /// When a takeover may become possible, or an operator's wait ends.
    pub(super) fn takeover_deadlines(&self) -> [Option<Moment>; 3] {
        if !self.authority.has_witness() {
            return [None; 3];
        }
        let takeover = self.authority.takeover();
        let wanted = takeover.wanted().map(|_| takeover.deadline());
        let waits = matches!(
            self.authority.state(),
            NodeState::Following | NodeState::AskingHost | NodeState::CheckingStartup | NodeState::TakingTail
        );
        let next = |until: Moment| Moment(until.0.saturating_add(1));
        let (promised, leased) = self.waits_end();
        let promised = Some(next(promised)).filter(|_| waits);
        let leased = leased.map(next).filter(|_| waits);
        [wanted, promised, leased]
    }

    /// A mistake for tests: being named is taken for mastership (rule 8).
    #[cfg(test)]
    pub(super) fn serve_as_named(&mut self, now: Now, epoch: crate::model::Epoch) {
        self.durable.note_term(self.durable.tried.max(epoch));
        self.transition(now, Transition::MustAskWitness, RoleReason::Takeover);
        self.authority.takeover_mut().set_attempt(Attempt::Won { epoch });
        self.transition(now, Transition::WitnessWon, RoleReason::Takeover);
        let until = Moment(now.at.0 + micros(self.setup.options.lease()));
        if let Some(witnessed) = self.authority.witnessed_mut() {
            witnessed.covers.extend_lease(until);
        }
    }
}
