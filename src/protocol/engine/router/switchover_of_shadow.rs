//! A planned switch of roles on the shadow: it notes a term, takes what is handed over, and answers its operator.

use crate::model::{Epoch, Position};
use crate::protocol::engine::alerts::texts;
use crate::protocol::engine::authority::Attempt;
use crate::protocol::engine::switchover::Phase;
use crate::protocol::engine::{
    CommandRefusal, Engine, Given, LinkId, Moment, Mutant, Now, RoleReason, StatePurpose, StoreState, Ticket,
    Transition,
};
use crate::protocol::failover::{NodeState, micros};
use crate::protocol::wire::{RefusalKind, Role, Switch, SwitchObstacle};

impl Engine {
    // The steps of the shadow.

    /// The master is drained. If this node holds the same, it notes a term that it has not used, and then says so.
    pub(super) fn prepare(&mut self, now: Now, link: LinkId, position: Position, epoch: Epoch) {
        let same = self.log.head() == position && !self.session.in_progress() && self.session.is_sink();
        let why = match () {
            () if self.shutdown.is_under_way() => SwitchObstacle::Stopping,
            () if self.durable.moves.modes.paused.on => SwitchObstacle::Paused,
            () if !same || !self.may_be_handed_over() => SwitchObstacle::NotInSync,
            () if self.setup.makes(Mutant::ReadyUnnoted) => {
                let epoch = self.highest_known_epoch().max(epoch).promoted(now.random);
                self.switchover.awaits(epoch);
                return self.say_step(link, Switch::Ready { epoch });
            }
            () => {
                let epoch = self.highest_known_epoch().max(epoch).promoted(now.random);
                self.durable.note_term(epoch);
                self.switchover.note(position, epoch);
                let state = Box::new(self.durable.with_alerts(self.alerts.log()));
                return self.work.queue(StoreState { state, purpose: StatePurpose::NoteTerm { tried: epoch } });
            }
        };
        self.say_step(link, Switch::CallOff { why });
    }

    /// Whether this shadow could become master by what another hands over: nothing of its own is under way.
    fn may_be_handed_over(&self) -> bool {
        let durable = &self.durable;
        let whole = durable.complete && !durable.detached && !durable.is_being_reset() && !self.links.is_duplicate();
        let free = self.authority.state() == NodeState::Following && self.authority.takeover().attempt().is_none();
        whole && free && durable.role == Role::Shadow
    }

    /// The term of a switch is durable, or that of a takeover.
    pub(super) fn term_noted(&mut self, tried: Epoch) {
        if let Some(epoch) = self.switchover.noted(tried)
            && let Some(link) = self.links.ready()
        {
            self.say_step(link, Switch::Ready { epoch });
        }
    }

    pub(super) fn term_not_noted(&mut self) {
        if let Phase::Noting { .. } = self.switchover.phase() {
            self.switchover.forget();
            if let Some(link) = self.links.ready() {
                self.say_step(link, Switch::CallOff { why: SwitchObstacle::Disk });
            }
        }
    }

    /// The master has handed over. It is taken only with exactly the named head, a term that is noted for it and higher than what
    /// is held, and nothing of one's own under way. It gives no cover: rule 23.
    pub(super) fn handed_over_here(&mut self, now: Now, link: LinkId, position: Position, epoch: Epoch) {
        let phase = self.switchover.phase();
        let promotes = self.authority.state() == NodeState::Promoting;
        if self.durable.role == Role::Master || promotes || matches!(phase, Phase::Taking { .. }) {
            // It is taken already, or this node becomes master without it.
            return;
        }
        let head = self.log.head();
        // An era of this node's own that an earlier attempt has left holds no change set.
        let again = head.revision.epoch == epoch && head.revision.seq == position.revision.seq;
        let exact = head == position || (again && head.digest == position.digest);
        let noted = phase == Phase::Ready { epoch } && self.durable.tried == epoch && epoch >= self.log.epoch();
        if !exact || !noted || !self.may_be_handed_over() || self.shutdown.is_under_way() {
            self.switchover.forget();
            return self.say_step(link, Switch::CallOff { why: SwitchObstacle::NotInSync });
        }
        let era = if epoch > self.log.epoch() { epoch } else { self.highest_known_epoch().promoted(now.random) };
        self.switchover.take();
        self.authority.takeover_mut().set_attempt(Attempt::Won { epoch: era });
        self.transition(now, Transition::GivenMastership, RoleReason::Switched);
        self.authority.outdate_record();
        #[cfg(test)]
        if let Some(witnessed) = self.authority.witnessed_mut().filter(|_| self.setup.makes(Mutant::HandOverCovers)) {
            witnessed.covers.extend_lease(Moment(now.at.0 + micros(self.setup.options.lease())));
        }
    }

    /// The era of what was handed over could not be made durable.
    pub(super) fn hand_over_not_begun(&mut self) {
        if let Phase::Taking { .. } = self.switchover.phase() {
            self.switchover.forget();
            if let Some(link) = self.links.ready().filter(|_| self.peer_switches()) {
                self.say_step(link, Switch::CallOff { why: SwitchObstacle::Disk });
            }
        }
    }

    /// Both nodes are shadows, and the last master has handed over. Whoever has done that says it once more.
    pub(super) fn meet_as_shadows(&mut self) {
        if let Some(Given { epoch, position }) = self.durable.moves.given {
            self.switchover.offered_again();
            self.send_hand_over(position, epoch);
        } else {
            self.switchover.awaits(self.durable.tried);
        }
    }

    /// The peer is a shadow too, and has not handed over: then nobody has.
    pub(super) fn end_wait_of_two_shadows(&mut self, now: Now) {
        let met = self.session.met_as_shadows().filter(|_| self.authority.state() == NodeState::Following);
        let waits = matches!(self.switchover.phase(), Phase::Ready { .. });
        if let (Some(since), Some(link)) = (met.filter(|_| waits), self.links.active_id())
            && now.at.0 >= since.0 + self.setup.timing.delay_us
        {
            self.switchover.await_no_longer();
            self.refuse_peer(now, link, RefusalKind::NoMaster, texts::BOTH_SHADOWS.to_owned());
        }
    }

    // The operator of the shadow.

    /// The shadow's operator wants it: the master decides.
    pub(super) fn ask_for_switch(&mut self, now: Now, ticket: Ticket) {
        let link = self.links.ready().filter(|_| self.authority.state() == NodeState::Following);
        let refusal = match link {
            _ if self.durable.moves.modes.paused.on => CommandRefusal::Paused,
            _ if !self.may_ask_for_switch() => CommandRefusal::SwitchUnderWay,
            None => CommandRefusal::NotInSync,
            Some(_) if !self.peer_switches() => CommandRefusal::PeerTooOld,
            Some(link) => {
                let timeouts = &self.setup.options.timeouts;
                let bound = timeouts.grace + 2 * timeouts.sync + timeouts.drain;
                if self.switchover.wait(ticket, Moment(now.at.0 + micros(bound))) {
                    return self.say_step(link, Switch::Ask);
                }
                CommandRefusal::SwitchUnderWay
            }
        };
        self.refuse(ticket, refusal);
    }

    /// Whether no switch is under way here. One that is handed over is not, once the other node is seen as master.
    fn may_ask_for_switch(&self) -> bool {
        match self.switchover.phase() {
            Phase::Idle => true,
            Phase::Left => self.session.is_sink(),
            _ => false,
        }
    }

    /// This node serves: what its operator asked the master for has come about.
    pub(super) fn switch_asked_is_done(&mut self) {
        self.switchover.forget();
        if let Some(ticket) = self.switchover.answered() {
            self.answer(ticket, Ok(()));
        }
    }

    pub(super) fn switch_asked_is_off(&mut self, refusal: CommandRefusal) {
        if let Some(ticket) = self.switchover.answered() {
            self.refuse(ticket, refusal);
        }
    }

    /// The operator of a shadow has waited for long enough.
    pub(super) fn advance_asked(&mut self, now: Now) {
        if self.switchover.waited_enough(now.at) {
            self.switch_asked_is_unknown(SwitchObstacle::TimedOut);
        }
    }

    /// The link is gone. Before this node is ready the master cannot hand over, and afterwards it cannot say what became of that. Once
    /// the hand-over is taken nothing is to be said: the operator is answered when this node serves.
    pub(super) fn switch_link_lost(&mut self) {
        let taken = matches!(self.switchover.phase(), Phase::Taking { .. }) || self.durable.role == Role::Master;
        if !taken {
            self.switch_asked_is_unknown(SwitchObstacle::NotInSync);
        }
        self.switchover.link_lost();
    }

    /// The master has not said what became of it. Where this node is not ready, nothing did.
    fn switch_asked_is_unknown(&mut self, why: SwitchObstacle) {
        let begun = matches!(self.switchover.phase(), Phase::Ready { .. } | Phase::Taking { .. });
        let reason = "the master has not said what became of it: this node may become master later".to_owned();
        let in_doubt = CommandRefusal::InDoubt { reason };
        self.switch_asked_is_off(if begun || self.durable.role == Role::Master { in_doubt } else { why.into() });
    }
}
