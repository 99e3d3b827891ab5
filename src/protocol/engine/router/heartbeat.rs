//! Heartbeats and their answers.

use crate::protocol::engine::{Action, Engine, LinkId, Mutant, Now, RoleReason, Transition};
use crate::protocol::failover::NodeState;
use crate::protocol::wire::{Heartbeat, HeartbeatAck, Message, Role};

impl Engine {
    pub(super) fn beat(&mut self, now: Now) {
        let asks = self.asks_for_promise();
        let Some((link, nonce)) = self.links.beat(now.at, self.setup.timing.heartbeat_us) else { return };
        let beat = Heartbeat {
            nonce,
            role: self.durable.role,
            serving: self.authority.is_serving(),
            epoch: self.epoch(),
            position: self.log.head(),
            asks,
            wall_ms: now.wall_ms,
        };
        self.out.push(Action::Send { link, message: Message::Heartbeat(beat) });
    }

    /// Whether this node asks for a promise, because it needs the peer's answer to serve.
    fn asks_for_promise(&self) -> bool {
        let state = self.authority.state();
        let free = self.authority.witnessed().is_some_and(|witnessed| witnessed.deposed().is_none());
        let starting = matches!(state, NodeState::CheckingStartup | NodeState::TakingTail | NodeState::OpeningEra);
        (state == NodeState::Stalled && !self.switchover.is_handing_over()) || (starting && free)
    }

    pub(super) fn heartbeat(&mut self, now: Now, link: LinkId, beat: Heartbeat) {
        self.links.peer_is(beat.epoch, beat.serving);
        if self.authority.won_epoch().is_some() && !self.setup.makes(Mutant::AnswersBeforeEpoch) {
            // The takeover is won, but its epoch is not stored yet. Until it is, this node answers nothing (rule 9).
            return;
        }
        let promise = self.give_promise(now, &beat);
        let ack = HeartbeatAck {
            nonce: beat.nonce,
            role: self.durable.role,
            epoch: self.epoch(),
            position: self.log.head(),
            promise,
        };
        self.out.push(Action::Send { link, message: Message::HeartbeatAck(ack) });
        self.check_skew(now, beat.wall_ms);
        self.peer_position(now, link, beat.position);
        self.check_role(now, link, beat.role);
        let rival = beat.role == Role::Master && beat.serving && !self.authority.is_serving();
        if self.is_bound() && rival && self.session.waits_for_peer() {
            // The peer has begun to serve since its hello, so it does not step down: the hellos are said again.
            self.close_all_links(now, None, "the peer serves");
        }
    }

    pub(super) fn heartbeat_answered(&mut self, now: Now, link: LinkId, ack: &HeartbeatAck) {
        let Some(answered) = self.links.beat_answered(link, ack.nonce, now.at) else { return };
        if let Some(later) = self.links.contest_answered(ack.nonce) {
            self.refuse_duplicate(now, later);
        }
        self.check_round_trip(now);
        self.peer_position(now, link, ack.position);
        let sent = answered.sent;
        #[cfg(test)]
        let sent = self.setup.promised_since(sent, now.at);
        self.promised_by_peer(sent, ack);
        if ack.role == Role::Shadow {
            self.look_at_promise(now, ack.promise);
        }
        if answered.asked && ack.role == Role::Shadow {
            self.session.peer_answered();
            if !self.is_bound() {
                self.transition(now, Transition::Confirmed, RoleReason::Confirmed);
            }
        }
        self.check_role(now, link, ack.role);
    }

    /// Closes the link if the peer's role is not the one in its hello, so that the hellos are said again.
    fn check_role(&mut self, now: Now, link: LinkId, role: Role) {
        let before = self.links.active().and_then(|connection| connection.hello()).map(|hello| hello.role);
        if before.is_some_and(|before| before != role) {
            self.close(link, None);
            self.drop_connection(now, link, "the peer's role changed");
            self.links.dial_at(now.at);
        }
    }
}
