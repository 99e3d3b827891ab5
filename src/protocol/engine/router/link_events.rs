//! Connections: opened, heard, refused, closed.

use std::time::Duration;

use crate::model::limits::MODE_CHANGES_AHEAD_MAX;
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::engine::alerts::texts;
use crate::protocol::engine::links::Refused;
use crate::protocol::engine::{
    Action, DialFailureKind, Engine, LinkId, LinkState, Moment, Mutant, Notice, Now, RoleReason, Transition,
};
use crate::protocol::failover::{NodeState, micros};
use crate::protocol::wire::{Bye, Message, Misbehaviour, Refusal, RefusalKind};

impl Engine {
    pub(super) fn forgets_peer(&self) -> bool {
        self.durable.peer.is_none() || self.durable.is_being_reset()
    }

    pub(in super::super) fn link_up(&mut self, now: Now, link: LinkId, dialled: bool) {
        if dialled {
            self.links.dial_succeeded();
        }
        if self.forgets_peer() || self.shutdown.is_under_way() || self.authority.is_out_of_service() {
            self.out.push(Action::Close { link });
            return;
        }
        if self.links.is_held_here() {
            self.links.heard(link, now.at);
            return self.close(link, Some(Bye::Held));
        }
        if let Some(oldest) = self.links.excess() {
            self.close(oldest, None);
            self.drop_connection(now, oldest, "too many links");
        }
        self.links.opened(link, dialled, now.at);
    }

    pub(in super::super) fn link_down(&mut self, now: Now, link: LinkId, reason: &str) {
        if self.links.connection(link).is_some() {
            self.links.dial_later(now.at, self.setup.timing.heartbeat_us, false, now.random);
            self.drop_connection(now, link, reason);
        }
    }

    pub(in super::super) fn dial_failed(&mut self, now: Now, how: DialFailureKind, reason: String) {
        let began = self.links.dial_failed(now.at);
        let slow = how != DialFailureKind::Unreachable;
        self.links.dial_later(now.at, self.setup.timing.heartbeat_us, slow, now.random);
        match how {
            DialFailureKind::Unreachable => self.links.unreachable(reason),
            DialFailureKind::WrongKey { shown } => {
                let peer = self.durable.peer.as_ref().map(|peer| peer.address.clone()).unwrap_or_default();
                let message = texts::stranger_answers(&self.own_named(&reason, shown));
                self.raise(now, NewAlert::new(AlertKind::UnpermittedPeer, peer, message));
                self.note_refusal(None, reason, false);
            }
            DialFailureKind::RefusedByPeer => {
                self.links.forgotten_by_peer();
                self.note_refusal(None, reason, true);
            }
        }
        if self.authority.state() == NodeState::Stalled && began < self.authority.since() {
            // This dial began before the node stalled, so its failure says nothing of the time since.
            self.links.dial_at(now.at);
        } else if !self.is_bound() && !self.links.is_duplicate() {
            self.transition(now, Transition::Confirmed, RoleReason::PeerUnreachable);
        }
    }

    /// Notes that one node refuses the other, and tells the host if that is news.
    fn note_refusal(&mut self, kind: Option<RefusalKind>, reason: String, alive: bool) {
        let news = self.links.refused(Refused { kind, reason: reason.clone(), alive });
        if let (true, Some(kind)) = (news, kind) {
            self.out.push(Action::Notify(Notice::Refused { kind, reason }));
        }
    }

    pub(in super::super) fn message(&mut self, now: Now, link: LinkId, message: Message) {
        let Some(connection) = self.links.connection(link) else { return };
        let (accepted, said, early) = (connection.hello().is_some(), connection.hello_sent(), connection.is_early());
        let message = match message {
            Message::Hello(hello) if !said && !early => {
                self.links.hello_early(link, hello);
                return self.links.heard(link, now.at);
            }
            message => message,
        };
        self.links.heard(link, now.at);
        match message {
            Message::Hello(hello) if !accepted && said => self.hello(now, link, hello),
            Message::Bye(bye) => self.bye(now, link, bye),
            Message::Refuse(refusal) => self.refused_by_peer(now, link, refusal),
            _ if !accepted => self.refuse_misbehaviour(now, link, Misbehaviour::MessageBeforeHello),
            Message::Hello(_) => self.refuse_misbehaviour(now, link, Misbehaviour::SecondHello),
            // A link that lost against another one is closed already, or about to be.
            _ if !self.links.is_active(link) => {}
            message if self.is_out_of_reach(message.latest_epoch()) => {
                self.refuse_misbehaviour(now, link, Misbehaviour::EpochOutOfReach);
            }
            Message::Modes(modes) if modes.are_beyond(self.durable.moves.modes, MODE_CHANGES_AHEAD_MAX) => {
                self.refuse_misbehaviour(now, link, Misbehaviour::ModesOutOfReach);
            }
            Message::Heartbeat(beat) => self.heartbeat(now, link, beat),
            Message::HeartbeatAck(ack) => self.heartbeat_answered(now, link, &ack),
            Message::Switch(step) => self.switch_step(now, link, step),
            Message::Modes(modes) => self.peer_modes(link, modes),
            Message::CopySeen(seen) => self.copy_seen(now, &seen),
            Message::NextKey { key } => self.peer_next_key(link, key),
            Message::KeyPinned { key } => self.key_pinned(key),
            other => self.session_message(now, link, other),
        }
    }

    fn bye(&mut self, now: Now, link: LinkId, bye: Bye) {
        let reason = match bye {
            Bye::Held => "held by the peer's operator",
            Bye::Shutdown => "the peer stopped",
            Bye::Duplicate => "another link stays",
            Bye::Reset => "the peer forgot the pairing",
        };
        // On a link that does not count it may be the word of a copy, or of an earlier run.
        if bye == Bye::Shutdown && self.links.is_active(link) {
            self.links.peer_stops();
        }
        let held = bye == Bye::Held;
        self.links.closed_by_peer(held);
        self.close(link, None);
        self.drop_connection(now, link, reason);
        if bye == Bye::Reset {
            // The peer is alive and refuses this node from now on, so this node must not take over when it is silent.
            self.links.forgotten_by_peer();
            self.note_refusal(None, reason.to_owned(), true);
        }
        self.links.dial_later(now.at, self.setup.timing.heartbeat_us, held, now.random);
    }

    fn refused_by_peer(&mut self, now: Now, link: LinkId, refusal: Refusal) {
        let kind = refusal.kind;
        self.refusal_alert(now, kind, &refusal.reason);
        self.note_refusal(Some(kind), refusal.reason, true);
        self.end_refused(now, link);
        if kind == RefusalKind::DuplicateIdentity {
            self.stop_as_duplicate(now);
        }
    }

    /// This node refuses the peer, and tells it why.
    pub(super) fn refuse_peer(&mut self, now: Now, link: LinkId, kind: RefusalKind, reason: String) {
        self.refusal_alert(now, kind, &reason);
        self.out.push(Action::Send { link, message: Message::Refuse(Refusal { kind, reason: reason.clone() }) });
        self.note_refusal(Some(kind), reason, true);
        self.end_refused(now, link);
    }

    fn end_refused(&mut self, now: Now, link: LinkId) {
        self.close(link, None);
        self.drop_connection(now, link, "refused");
        self.links.dial_later(now.at, self.setup.timing.heartbeat_us, true, now.random);
    }

    /// The peer broke the protocol: closes the link. The next one comes after a pause.
    pub(super) fn refuse_misbehaviour(&mut self, now: Now, link: LinkId, what: Misbehaviour) {
        self.refuse_breach(now, link, &what);
    }

    fn refuse_breach(&mut self, now: Now, link: LinkId, what: &dyn std::fmt::Display) {
        self.refuse_peer(now, link, RefusalKind::ProtocolError, format!("the peer broke the protocol: {what}"));
    }

    /// The peer sent what cannot be read.
    pub(in super::super) fn malformed(&mut self, now: Now, link: LinkId, what: &str) {
        if self.links.connection(link).is_some() {
            self.refuse_breach(now, link, &what);
        }
    }

    /// Closes a link, with a last message or without.
    pub(super) fn close(&mut self, link: LinkId, word: Option<Bye>) {
        if let Some(bye) = word {
            self.out.push(Action::Send { link, message: Message::Bye(bye) });
        }
        self.out.push(Action::Close { link });
    }

    /// Closes every link, and dials again at once.
    pub(super) fn close_all_links(&mut self, now: Now, word: Option<Bye>, reason: &str) {
        for link in self.links.ids() {
            self.close(link, word);
            self.drop_connection(now, link, reason);
        }
        self.links.dial_afresh(now.at);
    }

    /// A connection has ended.
    pub(super) fn drop_connection(&mut self, now: Now, link: LinkId, reason: &str) {
        if self.links.dropped(link, now.at, reason) {
            self.session_ended(now);
            self.switch_link_lost();
            self.renewal_waits();
            self.rotation.peer_lost();
            self.transition(now, Transition::LinkLost, RoleReason::LinkLost);
        }
    }

    /// Dials, sends heartbeats and closes silent links, each when it is due.
    pub(in super::super) fn advance_links(&mut self, now: Now) {
        if self.shutdown.is_under_way() || self.authority.is_out_of_service() {
            return;
        }
        let lost_us = self.setup.timing.lost_after_us;
        let hello_us = lost_us.max(micros(self.setup.options.timeouts.connect));
        for link in self.links.silent(now.at, lost_us, hello_us) {
            self.close(link, None);
            self.drop_connection(now, link, "the peer is silent");
            self.links.dial_at(now.at);
        }
        self.advance_contest(now);
        self.send_hellos(now);
        self.beat(now);
        self.dial(now);
    }

    fn dial(&mut self, now: Now) {
        if self.links.was_up() && self.setup.makes(Mutant::NeverRedials) {
            return;
        }
        let due = self.links.dial_due().is_some_and(|at| at <= now.at);
        if !due || self.forgets_peer() || self.durable.detached {
            return;
        }
        let Some(peer) = &self.durable.peer else { return };
        let left_us = match self.authority.state() {
            // The last dial before a takeover ends within the takeover delay.
            NodeState::Following | NodeState::AskingHost => self.links.silence_us(now.at).map_or(u64::MAX, |silence| {
                let left = self.setup.timing.delay_us.saturating_sub(silence);
                if left == 0 { u64::MAX } else { left }
            }),
            _ => u64::MAX,
        };
        let within = self.setup.options.timeouts.connect.min(Duration::from_micros(left_us));
        self.out.push(Action::Dial { address: peer.address.clone(), within });
        self.links.dialled(now.at);
    }

    pub(super) fn links_deadline(&self) -> Option<Moment> {
        let dial = self.links.dial_due().filter(|_| !self.forgets_peer());
        self.links.deadline(self.setup.timing.lost_after_us).into_iter().chain(dial).min()
    }

    /// The state of the link, and why.
    pub(in super::super) fn link_state(&self) -> (LinkState, String) {
        match self.durable.peer {
            Some(_) => self.links.state(self.session.in_progress()),
            None => (LinkState::None, String::new()),
        }
    }
}
