//! Operators, and nodes that ask to enrol.

use super::{Action, Command, CommandRefusal, Engine, EnrolVerdict, Moment, Now, Peer, StoredToken, Ticket};
use crate::model::limits::{ENROLLING_MAX, TOKENS_MAX};
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::engine::pending_updates::{Requester, Update};
use crate::protocol::failover::{NodeState, micros};
use crate::protocol::wire::{Bye, RefusalKind, Role};

impl Engine {
    pub(super) fn command(&mut self, now: Now, ticket: Ticket, command: Command) {
        if self.stopping.is_some() {
            return self.refuse(ticket, CommandRefusal::Stopped);
        }
        let waits =
            matches!(command, Command::Shutdown | Command::Disconnect | Command::Reconnect | Command::TakeOver { .. });
        if self.node_state == NodeState::Broken && !waits {
            return self
                .refuse(ticket, CommandRefusal::Disk { reason: "the store is closed after a failure".to_owned() });
        }
        match command {
            Command::Enable => self.request_update(Requester::Operator(ticket), Update::Enabled(true)),
            Command::Disable => self.request_update(Requester::Operator(ticket), Update::Enabled(false)),
            Command::Token(token) => self.token(now, ticket, token),
            Command::Disconnect => self.hold(now, ticket, true),
            Command::Reconnect => self.hold(now, ticket, false),
            Command::Resync => self.resync(ticket),
            Command::Reset => self.reset(ticket),
            Command::Acknowledge { alert } => self.acknowledge(ticket, alert),
            Command::TakeOver { accept_loss } => self.take_over(now, ticket, accept_loss),
            Command::Replicate(mode) => self.replicate(now, ticket, mode),
            Command::Shutdown => {
                self.stopping = Some((ticket, Moment(now.at.0 + micros(self.options.drain_timeout))));
            }
        }
    }

    fn token(&mut self, now: Now, ticket: Ticket, token: StoredToken) {
        self.durable_state.tokens.retain(|token| token.expires_ms > now.wall_ms);
        let (durable_state, _) = self.expected();
        let refused = match () {
            () if durable_state.role == Role::Shadow => CommandRefusal::NotMaster { master: self.master_elsewhere() },
            () if !durable_state.enabled => CommandRefusal::Disabled,
            () if durable_state.peer.is_some() => CommandRefusal::ShadowEnrolled,
            () if durable_state.tokens.len() >= TOKENS_MAX => CommandRefusal::TooManyTokens,
            () => return self.request_update(Requester::Operator(ticket), Update::Token(token)),
        };
        self.refuse(ticket, refused);
    }

    fn hold(&mut self, now: Now, ticket: Ticket, held: bool) {
        if self.durable_state.peer.is_none() {
            return self.refuse(ticket, CommandRefusal::NoPeer);
        }
        if held {
            self.close_all_links(now, Some(Bye::Held), "held by this node's operator");
        }
        self.links.set_held(held, now.at);
        if matches!(self.node_state, NodeState::Inquiring | NodeState::Stalled) {
            // While the link was held nobody could answer: the peer has its whole time from now on.
            self.since = now.at;
        }
        self.answer(ticket, Ok(()));
    }

    fn resync(&mut self, ticket: Ticket) {
        if self.durable_state.peer.is_none() {
            return self.refuse(ticket, CommandRefusal::NoPeer);
        }
        let foreign = [Some(RefusalKind::ForeignHistory), Some(RefusalKind::Blank)];
        let refused = self.links.refusal().is_some_and(|refusal| foreign.contains(&refusal.kind));
        if self.node_state == NodeState::Following && refused {
            self.accept_foreign_master();
        } else {
            self.session.ask_full();
        }
        self.answer(ticket, Ok(()));
    }

    fn reset(&mut self, ticket: Ticket) {
        if self.links.any() {
            return self.refuse(ticket, CommandRefusal::PeerConnected);
        }
        if matches!(self.node_state, NodeState::AskingHost | NodeState::Promoting | NodeState::Yielding) {
            return self.refuse(ticket, CommandRefusal::PeerConnected);
        }
        self.request_update(Requester::Operator(ticket), Update::Forgotten);
    }

    fn acknowledge(&mut self, ticket: Ticket, alert: u64) {
        let (_, alert_log) = self.expected();
        let Some(count) =
            alert_log.alerts().iter().find(|standing| standing.id == alert).map(|standing| standing.count)
        else {
            return self.refuse(ticket, CommandRefusal::UnknownAlert);
        };
        self.request_update(Requester::Operator(ticket), Update::Seen { alert, count });
    }

    /// A node asks to enrol. It has shown its key in the handshake, and a token or none.
    pub(super) fn enrol_asked(&mut self, now: Now, ask: u64, peer: Peer, token: Option<usize>, from: String) {
        let known = self.durable_state.peer.as_ref().is_some_and(|enrolled| enrolled.node == peer.node);
        let token =
            token.and_then(|at| self.durable_state.tokens.get(at)).filter(|token| token.expires_ms > now.wall_ms);
        let token = token.cloned();
        let refused = match () {
            () if self.stopping.is_some() || self.durable_state.role != Role::Master => Some("not_master"),
            () if !self.durable_state.enabled => Some("ha_disabled"),
            // The answer to an enrolment that was stored here got lost: it is given again.
            () if known => None,
            () if self.durable_state.peer.is_some() => Some("shadow_enrolled"),
            () if token.is_none() => Some("wrong_token"),
            () if peer.node == self.durable_state.node => Some("same_node"),
            () => None,
        };
        if let Some(kind) = refused {
            let message = format!("{from} asked to enrol and was refused: {kind}");
            self.raise(now, NewAlert::new(AlertKind::UnpermittedPeer, "enrolment", message));
            self.out.push(Action::AnswerEnrol { ask, verdict: EnrolVerdict::Refused { kind } });
            return;
        }
        if self.enrolling.len() >= ENROLLING_MAX {
            self.enrolling.pop_front();
        }
        self.enrolling.push_back((ask, peer, token));
        self.ask_witness_soon();
        let pair = self.durable_state.pair;
        self.out.push(Action::AnswerEnrol { ask, verdict: EnrolVerdict::Accepted { pair } });
    }

    /// The node that was accepted has stored the pairing.
    pub(super) fn enrol_confirmed(&mut self, ask: u64) {
        let found = self.enrolling.iter().position(|(asked, ..)| *asked == ask);
        let Some((_, peer, token)) = found.and_then(|at| self.enrolling.remove(at)) else {
            return self.refuse_enrolment(ask);
        };
        // Another enrolment may have come first, with the same token or another one.
        let (durable_state, _) = self.expected();
        let welcome = match (&durable_state.peer, &token) {
            (Some(enrolled), _) => enrolled.node == peer.node,
            (None, token) => token.as_ref().is_some_and(|token| durable_state.tokens.contains(token)),
        };
        match welcome {
            true => self.request_update(Requester::Guest(ask), Update::Enrolled { peer, token }),
            false => self.refuse_enrolment(ask),
        }
    }

    fn refuse_enrolment(&mut self, ask: u64) {
        self.out.push(Action::AnswerEnrol { ask, verdict: EnrolVerdict::Refused { kind: "shadow_enrolled" } });
    }
}
