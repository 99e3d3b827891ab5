//! A planned switch of roles on the master, step by step; by an operator of either node, or by a clean shutdown. What either node
//! hears of it.

use crate::model::{Epoch, Position, WitnessRecord, WitnessVersion};
use crate::protocol::engine::authority::{Attempt, Deposed};
use crate::protocol::engine::switchover::{Asker, Phase};
use crate::protocol::engine::{
    Action, CommandRefusal, Engine, Failover, Given, Handover, LinkId, Moment, Mutant, Now, RoleReason, StatePurpose,
    StoreState, Ticket, Transition,
};
use crate::protocol::failover::{NodeState, micros};
use crate::protocol::wire::{Message, Role, Switch, SwitchObstacle};

impl Engine {
    // Who wants it.

    /// An operator of this node, whichever it is, wants the roles switched.
    pub(super) fn switch_roles(&mut self, now: Now, ticket: Ticket) {
        if self.durable.peer.is_none() {
            return self.refuse(ticket, CommandRefusal::NoPeer);
        }
        if self.links.is_held() {
            return self.refuse(ticket, CommandRefusal::Held);
        }
        if self.durable.role == Role::Shadow {
            return self.ask_for_switch(now, ticket);
        }
        match self.switch_obstacle() {
            Some(refusal) => self.refuse(ticket, refusal),
            None => self.begin_switch(now, Asker::Operator(ticket)),
        }
    }

    /// A clean shutdown of a master: its shadow is to serve at once. Returns whether that begins.
    pub(super) fn hand_over_before_stop(&mut self, now: Now) {
        let options = &self.setup.options;
        let wanted = options.handover == Handover::WhenInSync && options.failover == Failover::Automatic;
        if wanted && self.switch_obstacle().is_none() && self.durable.role == Role::Master {
            self.begin_switch(now, Asker::Shutdown);
        }
    }

    fn begin_switch(&mut self, now: Now, asker: Asker) {
        let timeouts = &self.setup.options.timeouts;
        // A shutdown has half of its time left for the switch itself.
        let bound = if asker == Asker::Shutdown { timeouts.drain / 2 } else { timeouts.grace };
        self.switchover.begin(asker, Moment(now.at.0 + micros(timeouts.grace.min(bound))));
    }

    /// Why this master does not begin a switch now.
    fn switch_obstacle(&self) -> Option<CommandRefusal> {
        let synced = self.session.source().is_some_and(|source| source.synced());
        let connected = self.links.ready().is_some();
        Some(match () {
            () if self.switchover.is_under_way() || self.is_replacing() => CommandRefusal::SwitchUnderWay,
            () if self.durable.peer.is_none() => CommandRefusal::NoPeer,
            () if !self.authority.is_serving() => CommandRefusal::NotMaster { master: self.master_elsewhere() },
            () if self.links.is_held() => CommandRefusal::Held,
            () if self.durable.moves.modes.paused.on => CommandRefusal::Paused,
            () if connected && !self.peer_switches() => CommandRefusal::PeerTooOld,
            () if self.alerts.disk_fails() => {
                CommandRefusal::Disk { reason: "an alert says that the disk of a node does not work".to_owned() }
            }
            () if !connected || !synced || !self.session.is_live() => CommandRefusal::NotInSync,
            () if !self.can_name_shadow() => CommandRefusal::WitnessUnreachable,
            () => return None,
        })
    }

    /// Whether the register, where this node needs it, can be made to name the shadow.
    fn can_name_shadow(&self) -> bool {
        let reachable = self.authority.witnessed().is_none_or(|witnessed| {
            let register = witnessed.client.register();
            register.is_reachable() && register.names(self.durable.node)
        });
        !self.is_bound() || (reachable && self.register_flaw().is_none())
    }

    /// Whether the peer knows of switches.
    pub(super) fn peer_switches(&self) -> bool {
        let hello = self.links.active().and_then(|connection| connection.hello());
        hello.is_some_and(|hello| self.setup.options.versions().allows_switch(hello.versions))
    }

    pub(super) fn say_step(&mut self, link: LinkId, step: Switch) {
        self.out.push(Action::Send { link, message: Message::Switch(step) });
    }

    // The steps of the master.

    /// Takes the next step, or calls it off.
    pub(in super::super) fn advance_switchover(&mut self, now: Now) {
        self.advance_asked(now);
        self.end_wait_of_two_shadows(now);
        let serving = self.authority.is_serving();
        match self.switchover.phase() {
            Phase::Announced { asker, .. } if serving && self.switchover.is_over(now.at) => {
                let bound = Moment(now.at.0 + micros(self.setup.options.timeouts.sync));
                let stop = self.shutdown.deadline().filter(|_| asker == Asker::Shutdown);
                self.switchover.drain(stop.map_or(bound, |stop| bound.min(stop)));
                self.advance_drain();
            }
            Phase::Draining { .. } if serving => self.advance_drain(),
            Phase::Prepared { position, .. } if serving && self.may_hand_over(position) => self.let_go(now),
            Phase::Leaving { .. } if self.authority.state() != NodeState::SteppingDown => self.leave(),
            Phase::TakingBack => self.take_back(now),
            _ => {}
        }
        self.end_switch_that_cannot_be(now);
    }

    /// Calls off a switch that has become impossible, or has had its time.
    fn end_switch_that_cannot_be(&mut self, now: Now) {
        let lost = self.links.active_id().is_none() || self.session.source().is_none();
        let why = match self.switchover.phase() {
            Phase::Announced { .. } | Phase::Draining { .. } | Phase::Preparing { .. } | Phase::Prepared { .. } => {
                match () {
                    () if !self.authority.is_serving() => SwitchObstacle::NotServing,
                    () if lost => SwitchObstacle::NotInSync,
                    () if self.switchover.is_over(now.at) => SwitchObstacle::TimedOut,
                    () => return,
                }
            }
            Phase::HandingOver { .. }
                if self.authority.state() != NodeState::Stalled && !self.setup.makes(Mutant::KeepsCoversInSwitch) =>
            {
                SwitchObstacle::NotServing
            }
            _ => return,
        };
        self.call_off(now, why);
    }

    fn advance_drain(&mut self) {
        let Some(link) = self.links.ready() else { return };
        if self.is_drained() || self.setup.makes(Mutant::SwitchesUndrained) {
            let position = self.log.head();
            #[cfg(test)]
            let position = self.setup.misprepared(position, self.session.confirmed());
            self.switchover.drained(position);
            let epoch = self.highest_known_epoch();
            self.say_step(link, Switch::Prepare { position, epoch });
        }
    }

    /// Whether every change set is settled, and the shadow holds the same, by its digest.
    fn is_drained(&self) -> bool {
        let stops = self.shutdown.is_under_way();
        let settled = self.commits.oldest_since().is_none() && (!stops || self.commits.is_empty());
        let shown = self.log.shown() == self.log.revision();
        let equal = self.session.confirmed() == Some(self.log.head()) && !self.session.in_progress();
        settled && shown && equal && self.work.is_idle()
    }

    /// Whether nothing has moved since the shadow was asked, and the witness, where it is needed, is free.
    fn may_hand_over(&self, position: Position) -> bool {
        let free = !self.is_bound()
            || self.authority.witnessed().is_some_and(|witnessed| {
                let register = witnessed.client.register();
                !witnessed.client.is_asking() && !register.is_stale() && register.names(self.durable.node)
            });
        let still = self.is_drained() && self.log.head() == position;
        free && self.register_flaw().is_none() && (still || self.setup.makes(Mutant::SwitchesUndrained))
    }

    /// Drops both covers for good. From here on only a new answer of the peer, or a renewal, makes this node serve again, and
    /// neither counts before it is known what became of the swap or of the write: rule 21.
    fn let_go(&mut self, now: Now) {
        self.switchover.hands_over();
        if !self.setup.makes(Mutant::KeepsCoversInSwitch) {
            self.authority.drop_covers(now.at);
            self.transition(now, Transition::HandsOver, RoleReason::Switched);
        }
        if self.is_bound() {
            return;
        }
        if let Some((position, epoch)) = self.switchover.ask_once() {
            let state = self.durable.as_handed_over(Given { epoch, position }, self.alerts.log());
            self.work.queue(StoreState { state: Box::new(state), purpose: StatePurpose::HandOver });
            if self.setup.makes(Mutant::HandsOverEarly) {
                self.send_hand_over(position, epoch);
            }
        }
    }

    /// The record that names the shadow, with this node as in sync.
    pub(super) fn hand_over_to_send(&mut self) -> Option<WitnessRecord> {
        let bound = self.is_bound();
        let peer = self.durable.peer.as_ref().map(|peer| peer.node)?;
        let (_, epoch) = self.switchover.ask_once().filter(|_| bound)?;
        let register = self.authority.register()?;
        let record = register.next(WitnessRecord {
            pair: self.durable.pair,
            holder: peer,
            epoch,
            lease: self.setup.options.lease(),
            in_sync: Some(self.durable.node),
            revision: self.log.revision(),
            counter: 0,
        });
        if self.setup.makes(Mutant::HandsOverEarly) {
            self.send_hand_over(self.log.head(), epoch);
        }
        Some(record)
    }

    pub(super) fn send_hand_over(&mut self, position: Position, epoch: Epoch) {
        if let Some(link) = self.links.ready().filter(|_| self.peer_switches()) {
            let stops = self.shutdown.is_under_way();
            self.say_step(link, Switch::HandOver { position, epoch, stops });
        }
    }

    /// The record names the shadow now.
    pub(super) fn hand_over_swapped(&mut self, now: Now, record: WitnessRecord, version: WitnessVersion) {
        let epoch = record.epoch;
        let Some(witnessed) = self.authority.witnessed_mut() else { return };
        witnessed.client.register_mut().swapped(record, version, now.at);
        if self.durable.saw_recorded(epoch) {
            self.durable.changed();
        }
        let Some((position, epoch)) = self.switchover.handed_over() else {
            // It was called off meanwhile; the register decides.
            return self.register_changed(now);
        };
        if self.setup.makes(Mutant::KeepsCoversInSwitch) {
            self.send_hand_over(position, epoch);
            return self.store_role();
        }
        if let Some(witnessed) = self.authority.witnessed_mut() {
            witnessed.depose(Deposed::NotNamed);
        }
        self.send_hand_over(position, epoch);
        self.transition(now, Transition::HandedOver, RoleReason::Switched);
    }

    /// The swap did not succeed, or nobody knows. Nothing is handed over. Whether this node still is master, a new answer of the
    /// peer or a renewal tells; where the swap lands after all, the register names the shadow, and that decides.
    pub(super) fn hand_over_unanswered(&mut self, now: Now) {
        self.call_off(now, SwitchObstacle::Witness);
    }

    /// The role of shadow is durable, before anything is handed over.
    pub(super) fn hand_over_stored(&mut self, now: Now) {
        let Some((position, epoch)) = self.switchover.handed_over() else {
            // It was called off meanwhile: what is on disk is not what is in force.
            return self.durable.changed();
        };
        self.durable.handed_over(Given { epoch, position });
        self.transition(now, Transition::HandedOver, RoleReason::Switched);
        self.send_hand_over(position, epoch);
        self.stepped_down(now);
    }

    /// It could not be stored. Where the disk was full nothing of it is left. Else the store is opened again, and this node asks its
    /// peer before it serves.
    pub(super) fn hand_over_not_stored(&mut self, now: Now, full: bool) {
        self.call_off(now, if full { SwitchObstacle::Disk } else { SwitchObstacle::NotServing });
    }

    /// This node is the shadow now, and that is stored.
    pub(super) fn leave(&mut self) {
        if let Some(Asker::Operator(ticket)) = self.switchover.left() {
            self.answer(ticket, Ok(()));
        }
    }

    /// It does not come about. The one who asked learns why, and this node goes on.
    pub(super) fn call_off(&mut self, now: Now, why: SwitchObstacle) {
        let phase = self.switchover.phase();
        let Some(asker) = self.switchover.call_off() else { return };
        let let_go = matches!(phase, Phase::HandingOver { .. });
        match asker {
            Asker::Operator(ticket) => {
                let reason = match why {
                    SwitchObstacle::Witness if let_go => {
                        Some("the witness did not answer the swap: if it still makes it, the peer becomes master")
                    }
                    SwitchObstacle::NotServing | SwitchObstacle::Stopping if let_go => {
                        Some("this node had let go of mastership already: look at the status of both nodes")
                    }
                    _ => None,
                };
                let in_doubt = reason.map(|reason| CommandRefusal::InDoubt { reason: reason.to_owned() });
                let refusal = in_doubt.unwrap_or(why.into());
                self.refuse(ticket, refusal);
            }
            Asker::Shadow | Asker::Shutdown => {}
        }
        let told = asker == Asker::Shadow || !matches!(phase, Phase::Announced { .. } | Phase::Draining { .. });
        if let Some(link) = self.links.ready().filter(|_| told && self.peer_switches()) {
            self.say_step(link, Switch::CallOff { why });
        }
        if let_go {
            self.authority.drop_covers(now.at);
            self.links.ask_peer(now.at);
        }
    }

    /// The shadow does not take what was handed over, and never will: this node becomes master again.
    fn take_back(&mut self, now: Now) {
        if self.authority.state() != NodeState::Following {
            if self.authority.state() != NodeState::SteppingDown {
                self.switchover.taken_back();
            }
            return;
        }
        self.switchover.taken_back();
        if self.authority.has_witness() {
            let deadline = Moment(now.at.0 + self.takeover_wait_us());
            self.authority.takeover_mut().set_deadline(deadline);
            self.authority.takeover_mut().set_attempt(Attempt::Wanted { accept_loss: false });
            self.authority.ask_witness_soon();
        } else if self.durable.moves.given.is_some() {
            self.transition(now, Transition::OperatorTakesOver, RoleReason::Switched);
        }
    }

    // What the peer says.

    pub(super) fn switch_step(&mut self, now: Now, link: LinkId, step: Switch) {
        match step {
            Switch::Ask => {
                let refusal = match self.durable.role {
                    Role::Master => self.switch_obstacle(),
                    Role::Shadow => Some(CommandRefusal::NotMaster { master: None }),
                };
                match refusal {
                    _ if self.shutdown.is_under_way() => {
                        self.say_step(link, Switch::Refused { why: SwitchObstacle::Stopping });
                    }
                    Some(refusal) => self.say_step(link, Switch::Refused { why: obstacle(&refusal) }),
                    None => self.begin_switch(now, Asker::Shadow),
                }
            }
            Switch::Prepare { position, epoch } => self.prepare(now, link, position, epoch),
            Switch::Ready { epoch } => {
                if epoch > self.epoch().max(self.authority.recorded_epoch()) {
                    self.switchover.ready(epoch);
                }
            }
            Switch::HandOver { position, epoch, stops } => {
                if stops {
                    self.links.peer_stops();
                }
                self.handed_over_here(now, link, position, epoch);
            }
            Switch::Refused { why } => self.switch_asked_is_off(why.into()),
            Switch::CallOff { why } => {
                self.switch_asked_is_off(why.into());
                self.switchover.called_off_by_master();
                self.call_off(now, why);
                if let Some(Asker::Operator(ticket)) = self.switchover.not_taken() {
                    self.refuse(ticket, why.into());
                }
            }
        }
    }

    /// Whether mastership of this node is about to end by plan: for the host.
    pub fn is_ending(&self) -> bool {
        self.switchover.is_under_way()
    }
}

/// The reason of a refusal, for the peer.
fn obstacle(refusal: &CommandRefusal) -> SwitchObstacle {
    match refusal {
        CommandRefusal::NotMaster { .. } => SwitchObstacle::NotServing,
        CommandRefusal::Paused => SwitchObstacle::Paused,
        CommandRefusal::SwitchUnderWay => SwitchObstacle::UnderWay,
        CommandRefusal::Disk { .. } => SwitchObstacle::Disk,
        CommandRefusal::WitnessUnreachable => SwitchObstacle::Witness,
        _ => SwitchObstacle::NotInSync,
    }
}
