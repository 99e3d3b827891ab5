//! What the links do by the clock: dial, beat, answer, and give up.

use std::time::Duration;

use super::links::Conn;
use super::{Action, Engine, LinkId, Moment, Mutant, Now};
use crate::protocol::failover::{NodeState, Transition, micros};
use crate::protocol::wire::{Heartbeat, HeartbeatAck, Message, Role};

/// Heartbeats that may be unanswered at once before the oldest is forgotten.
const UNANSWERED_MAX: usize = 16;

impl Engine {
    /// Dials, beats and gives up, as far as it is time.
    pub(super) fn advance_links(&mut self, now: Now) {
        if self.stopping.is_some() || self.node_state == NodeState::Broken {
            return;
        }
        let lost_us = self.timing.lost_after_us;
        let greeting_us = lost_us.max(micros(self.options.connect_timeout));
        let silent = |conn: &&Conn| {
            let bound_us = if conn.hello.is_some() { lost_us } else { greeting_us };
            now.at.0.saturating_sub(conn.heard.0) >= bound_us
        };
        let lost: Vec<LinkId> = self.links.conns.iter().filter(silent).map(|conn| conn.id).collect();
        for link in lost {
            self.close(link, None);
            self.drop_conn(now, link, "the peer is silent");
            self.links.dial_at = now.at;
        }
        self.send_hellos(now);
        self.beat(now);
        self.dial(now);
    }

    fn dial(&mut self, now: Now) {
        let links = &self.links;
        if links.was_up() && self.makes(Mutant::NeverRedials) {
            return;
        }
        let free = !links.dialling && !links.held && !links.any();
        let wanted = free && links.dial_at <= now.at && !self.updates.forget();
        let Some(peer) = self.durable_state.peer.as_ref().filter(|_| wanted && !self.durable_state.detached) else {
            return;
        };
        let left_us = match self.node_state {
            // The last dial of a silence ends within the delay.
            NodeState::Following | NodeState::AskingHost => self.links.silence_us(now.at).map_or(u64::MAX, |silence| {
                let left = self.timing.delay_us.saturating_sub(silence);
                if left == 0 { u64::MAX } else { left }
            }),
            _ => u64::MAX,
        };
        let within = self.options.connect_timeout.min(Duration::from_micros(left_us));
        self.out.push(Action::Dial { address: peer.address.clone(), within });
        self.links.dialling = true;
        self.links.dialled_at = now.at;
    }

    fn beat(&mut self, now: Now) {
        let (role, serving, epoch) = (self.durable_state.role, self.node_state == NodeState::Serving, self.epoch());
        let (position, asks, heartbeat_us) = (self.head, self.asks(), self.timing.heartbeat_us);
        let active = self.links.active;
        let Some(conn) = self.links.conns.iter_mut().find(|conn| Some(conn.id) == active && conn.greeted) else {
            return;
        };
        if conn.next_beat > now.at {
            return;
        }
        conn.next_beat = Moment(now.at.0 + heartbeat_us);
        conn.nonce += 1;
        let nonce = conn.nonce;
        if conn.unanswered.len() == UNANSWERED_MAX {
            conn.unanswered.remove(0);
        }
        conn.unanswered.push((nonce, now.at));
        let beat = Heartbeat { nonce, role, serving, epoch, position, asks, wall_ms: now.wall_ms };
        self.out.push(Action::Send { link: conn.id, message: Message::Heartbeat(beat) });
    }

    /// Whether the peer's answer is to let this node serve: then it is asked for as a promise.
    fn asks(&self) -> bool {
        let free = self.witnessed.as_ref().is_some_and(|witnessed| witnessed.deposed.is_none());
        let starting = matches!(self.node_state, NodeState::Inquiring | NodeState::TakingTail | NodeState::Opening);
        self.node_state == NodeState::Stalled || (starting && free)
    }

    /// A master that was stopped, or started, asks its peer at once; only the answer to this question counts.
    pub(super) fn ask_peer(&mut self, now: Now) {
        let active = self.links.active;
        if let Some(conn) = self.links.conns.iter_mut().find(|conn| Some(conn.id) == active) {
            conn.asked = Some(conn.nonce + 1);
            conn.next_beat = now.at;
        }
    }

    pub(super) fn heartbeat(&mut self, now: Now, link: LinkId, beat: Heartbeat) {
        if self.is_wild(beat.epoch) {
            return self.protest(now, link, "an epoch that no history leads to");
        }
        self.links.highest_seen = self.links.highest_seen.max(beat.epoch);
        self.links.peer_serves = beat.serving;
        if self.won_epoch().is_some() && !self.makes(Mutant::AnswersBeforeEpoch) {
            // Won and not yet stored: whatever it said now would be said by nobody (rule 9).
            return;
        }
        let promise = self.give_promise(now, &beat);
        let ack = HeartbeatAck {
            nonce: beat.nonce,
            role: self.durable_state.role,
            epoch: self.epoch(),
            position: self.head,
            promise,
        };
        self.out.push(Action::Send { link, message: Message::HeartbeatAck(ack) });
        self.check_skew(now, beat.wall_ms);
        self.peer_position(now, link, beat.position);
        self.check_roles(now, link, beat.role);
        let rival = beat.role == Role::Master && beat.serving && self.node_state != NodeState::Serving;
        if self.is_bound() && rival && self.session.waits_for_peer() {
            // It has come to serve since it was met, so it does not yield: the hellos are said again.
            self.close_all_links(now, None, "the peer serves");
        }
    }

    pub(super) fn heartbeat_ack(&mut self, now: Now, link: LinkId, ack: HeartbeatAck) {
        let Some(conn) = self.links.conn(link) else { return };
        let asked = conn.asked.is_some_and(|nonce| ack.nonce >= nonce);
        let Some(at) = conn.unanswered.iter().position(|(nonce, _)| *nonce == ack.nonce) else {
            // An answer to none, or to one so old that it was forgotten: worth nothing.
            return;
        };
        let (_, sent) = conn.unanswered.remove(at);
        let took_us = now.at.0.saturating_sub(sent.0);
        if asked {
            conn.asked = None;
        }
        self.links.round_trip_us = Some(match self.links.round_trip_us {
            Some(before) => (7 * before + took_us) / 8,
            None => took_us,
        });
        self.check_round_trip(now);
        self.peer_position(now, link, ack.position);
        self.promised_by_peer(now, sent, &ack);
        if ack.role == Role::Shadow {
            self.look_at_promise(now, ack.promise);
        }
        if asked && ack.role == Role::Shadow {
            self.session.peer_answered();
            if !self.is_bound() {
                self.transition(now, Transition::Confirmed, "confirmed");
            }
        }
        self.check_roles(now, link, ack.role);
    }

    /// The peer's role is another than the one in its hello: the hellos must be said again.
    fn check_roles(&mut self, now: Now, link: LinkId, role: Role) {
        let greeted_as = self.links.active().and_then(|conn| conn.hello.as_ref()).map(|hello| hello.role);
        if greeted_as.is_some_and(|before| before != role) {
            self.close(link, None);
            self.drop_conn(now, link, "the peer's role changed");
            self.links.dial_at = now.at;
        }
    }

    pub(super) fn links_deadline(&self) -> Option<Moment> {
        let lost_us = self.timing.lost_after_us;
        let conns = self.links.conns.iter().map(|conn| Moment(conn.heard.0 + lost_us));
        let beat = self.links.active().map(|conn| conn.next_beat);
        let dialable = self.durable_state.peer.is_some()
            && !self.updates.forget()
            && !self.links.held
            && !self.links.dialling
            && !self.links.any();
        let dial = dialable.then_some(self.links.dial_at);
        conns.chain(beat).chain(dial).min()
    }
}
