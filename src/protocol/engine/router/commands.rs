//! Operators, and shutdown.

use crate::protocol::engine::durable::{Adopted, Requester, Update};
use crate::protocol::engine::{
    Action, Command, CommandAnswer, CommandRefusal, Engine, EnrolVerdict, Moment, Notice, Now, Quarantine, RoleReason,
    Ticket, Transition,
};
use crate::protocol::failover::{NodeState, micros};
use crate::protocol::wire::{Bye, RefusalKind, SwitchObstacle};

impl Engine {
    pub(in super::super) fn command(&mut self, now: Now, ticket: Ticket, command: Command) {
        if self.shutdown.is_under_way() {
            return self.refuse(ticket, CommandRefusal::Stopped);
        }
        let needs_store = !matches!(
            command,
            Command::Shutdown
                | Command::Disconnect
                | Command::Reconnect
                | Command::TakeOver
                | Command::TakeOverAcceptingLoss
        );
        if self.authority.state() == NodeState::Broken && needs_store {
            let reason = "the store is closed after a failure".to_owned();
            return self.refuse(ticket, CommandRefusal::Disk { reason });
        }
        match command {
            Command::Enable => self.update(Requester::Operator(ticket), Update::Enabled(true)),
            Command::Disable => self.update(Requester::Operator(ticket), Update::Enabled(false)),
            Command::Token(token) => self.token(now, ticket, token),
            Command::Disconnect => self.hold(now, ticket, true),
            Command::Reconnect => self.hold(now, ticket, false),
            Command::Resync => self.resync(ticket),
            Command::Reset => self.reset(ticket),
            Command::Acknowledge { alert } => self.acknowledge(ticket, alert),
            Command::TakeOver => self.take_over(now, ticket, false),
            Command::TakeOverAcceptingLoss => self.take_over(now, ticket, true),
            Command::Replicate(mode) => self.replicate(now, ticket, mode),
            Command::SwitchRoles => self.switch_roles(now, ticket),
            Command::Pause(on) => self.pause(ticket, on),
            Command::Freeze(on) => self.freeze(ticket, on),
            Command::Rotate => self.rotate(now, ticket),
            Command::ReplaceShadow(token) => self.replace_shadow(now, ticket, token),
            Command::Shutdown => {
                self.shutdown.begin(ticket, Moment(now.at.0 + micros(self.setup.options.timeouts.drain)));
                self.hand_over_before_stop(now);
            }
        }
    }

    /// Takes an update of the durable state. The requester is answered once the update is durable.
    pub(super) fn update(&mut self, requester: Requester, update: Update) {
        if !self.durable.update(requester, update) {
            self.refuse_update(requester, CommandRefusal::Overloaded);
        }
    }

    /// Updates are durable: they are in force from now on.
    pub(super) fn adopt_updates(&mut self, now: Now) {
        for Adopted { requester, update, had_peer, alerts } in self.durable.written(self.alerts.log_mut()) {
            for (change, alert) in alerts {
                self.out.push(Action::Notify(Notice::Alert { change, alert }));
            }
            match update {
                Update::Forgotten | Update::Replaced { .. } => {
                    self.authority.ask_witness_soon();
                    self.links.forget_peer();
                    self.alerts.start_counting(self.log.revision());
                }
                Update::Enrolled { .. } if !had_peer => {
                    self.commits.begin_era();
                    if let Some(witnessed) = self.authority.witnessed_mut() {
                        witnessed.covers.new_peer();
                        witnessed.client.ask_soon();
                    }
                    self.alerts.start_counting(self.log.revision());
                    self.links.new_peer(now.at);
                }
                Update::Paused(_) | Update::Frozen(_) => self.modes_turned(),
                Update::PeerKeys { keys, .. } => self.peer_keys_stored(keys),
                _ => {}
            }
            match requester {
                Requester::Operator(ticket) => self.answer(ticket, Ok(())),
                Requester::Enrolling(ask) => {
                    self.out.push(Action::AnswerEnrol { ask, verdict: EnrolVerdict::Stored });
                }
                Requester::Peer => {}
            }
        }
    }

    fn hold(&mut self, now: Now, ticket: Ticket, held: bool) {
        if self.durable.peer.is_none() {
            return self.refuse(ticket, CommandRefusal::NoPeer);
        }
        if held {
            self.close_all_links(now, Some(Bye::Held), "held by this node's operator");
        }
        self.links.set_held(held, now.at);
        if matches!(self.authority.state(), NodeState::CheckingStartup | NodeState::Stalled) {
            // While the link was held the peer could not answer, so its time to answer begins anew.
            self.authority.restart_clock(now.at);
        }
        self.answer(ticket, Ok(()));
    }

    fn resync(&mut self, ticket: Ticket) {
        if self.durable.peer.is_none() {
            return self.refuse(ticket, CommandRefusal::NoPeer);
        }
        let foreign = [Some(RefusalKind::ForeignHistory), Some(RefusalKind::Blank)];
        let refused = self.links.refusal().is_some_and(|refusal| foreign.contains(&refusal.kind));
        if self.authority.state() == NodeState::Following && refused {
            // An operator of the shadow accepts a master that does not have what the shadow has shown.
            self.work.queue(Quarantine { common: self.session.last_common() });
        } else {
            self.session.want_full_push();
        }
        self.answer(ticket, Ok(()));
    }

    fn reset(&mut self, ticket: Ticket) {
        let state = self.authority.state();
        // A takeover under way, at the host, at the witness or on the disk, would make a master of a node that forgot its peer.
        let changing = matches!(
            state,
            NodeState::AskingHost
                | NodeState::AskingWitness
                | NodeState::Promoting
                | NodeState::OpeningEra
                | NodeState::SteppingDown
        );
        let wanted = self.authority.takeover().wanted().is_some();
        if self.links.any() || changing || wanted {
            return self.refuse(ticket, CommandRefusal::PeerConnected);
        }
        self.update(Requester::Operator(ticket), Update::Forgotten);
    }

    fn acknowledge(&mut self, ticket: Ticket, alert: u64) {
        let (_, expected) = self.durable.expected(self.alerts.log());
        match expected.alerts().iter().find(|raised| raised.id == alert) {
            Some(raised) => {
                let count = raised.count;
                self.update(Requester::Operator(ticket), Update::Seen { alert, count });
            }
            None => self.refuse(ticket, CommandRefusal::UnknownAlert),
        }
    }

    pub(super) fn answer(&mut self, ticket: Ticket, answer: CommandAnswer) {
        self.out.push(Action::AnswerCommand { ticket, answer });
    }

    pub(super) fn refuse(&mut self, ticket: Ticket, refusal: CommandRefusal) {
        self.answer(ticket, Err(refusal));
    }

    // Shutdown.

    /// Continues a shutdown: accepted change sets first, then the durable state, then a last message to the peer.
    pub(in super::super) fn advance_shutdown(&mut self, now: Now) {
        let Some(until) = self.shutdown.deadline() else { return };
        if now.at >= until {
            // Change sets that are durable here may wait for the shadow or the witness for ever.
            self.drop_commits();
        }
        let writable = self.authority.is_serving() && !self.commits.is_empty();
        let broken = self.authority.is_out_of_service();
        let unsaved = self.durable.is_unsaved() && self.durable.deadline().is_none() && !broken;
        let switches = self.switchover.is_under_way() && now.at < until;
        if self.work.is_idle() && !writable && !unsaved && !switches {
            self.stop(now);
        }
    }

    /// The driver waits no longer for the batch in flight: what that batch holds is in doubt.
    pub(in super::super) fn abandon(&mut self, now: Now) {
        if self.shutdown.deadline().is_some() {
            self.abandon_batch();
            self.stop(now);
        }
    }

    /// Answers every caller, tells the peer, and stops.
    fn stop(&mut self, now: Now) {
        self.drop_commits();
        self.drop_waiting_updates(&CommandRefusal::Stopped);
        self.end_doubt(|reason| CommandRefusal::InDoubt { reason });
        if let Some(ticket) = self.commits.cancel_switch() {
            self.refuse(ticket, CommandRefusal::Stopped);
        }
        self.leave();
        self.call_off(now, SwitchObstacle::Stopping);
        self.switch_asked_is_off(CommandRefusal::Stopped);
        if let Some(ticket) = self.rotation.take_waiter() {
            self.refuse(ticket, CommandRefusal::Stopped);
        }
        self.call_off_replacement(CommandRefusal::Stopped);
        self.refuse_takeover_waiters(&CommandRefusal::Stopped);
        for link in self.links.ids() {
            self.close(link, Some(Bye::Shutdown));
        }
        self.links.clear();
        if let Some(ticket) = self.shutdown.finish() {
            self.answer(ticket, Ok(()));
        }
        self.out.push(Action::Stop);
        self.authority.apply(now.at, Transition::Stopped, RoleReason::Stopped);
    }
}
