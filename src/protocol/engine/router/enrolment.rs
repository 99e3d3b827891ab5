//! Nodes that ask to enrol, and the shadow that an operator replaces.

use crate::model::KeyId;
use crate::model::limits::TOKENS_MAX;
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::engine::alerts::texts;
use crate::protocol::engine::durable::{Requester, Update};
use crate::protocol::engine::enrolments::{Replacement, Welcome};
use crate::protocol::engine::{
    Action, CommandRefusal, Engine, EnrolProof, EnrolVerdict, Moment, Mutant, Now, Peer, StoredToken, Ticket,
};
use crate::protocol::failover::{NodeState, micros};
use crate::protocol::wire::Role;

impl Engine {
    // Tokens.

    /// An operator wants a join token.
    pub(super) fn token(&mut self, now: Now, ticket: Ticket, token: StoredToken) {
        self.durable.expire_tokens(now.wall_ms);
        let (expected, _) = self.durable.expected(self.alerts.log());
        let refusal = match () {
            () if expected.role == Role::Shadow => CommandRefusal::NotMaster { master: self.master_elsewhere() },
            () if !expected.enabled => CommandRefusal::Disabled,
            () if expected.peer.is_some() => CommandRefusal::ShadowEnrolled,
            () if expected.tokens.len() >= TOKENS_MAX => CommandRefusal::TooManyTokens,
            () => return self.update(Requester::Operator(ticket), Update::Token(token)),
        };
        self.refuse(ticket, refusal);
    }

    // Enrolment.

    /// A node asks to enrol. It has shown its key in the handshake. Until its proof was judged it learns nothing: whatever is wrong
    /// with the proof, and whatever the state of this node, the answer is one word.
    pub(in super::super) fn enrol_asked(
        &mut self,
        now: Now,
        ask: u64,
        (peer, own_key): (Peer, KeyId),
        proof: EnrolProof,
        from: &str,
    ) {
        let verdict = match self.judge_proof(now, &peer, proof) {
            None => Err("wrong_proof"),
            Some(_) if !self.rotation.stays(own_key) => Err("try_later"),
            Some(welcome) => self.enrolment_obstacle(&peer, &welcome).map_or(Ok(welcome), Err),
        };
        match verdict {
            Ok(welcome) => {
                self.enrolments.accept(ask, (peer, own_key), welcome);
                self.authority.ask_witness_soon();
                let pair = self.durable.pair;
                self.out.push(Action::AnswerEnrol { ask, verdict: EnrolVerdict::Accepted { pair } });
            }
            Err(kind) => {
                let message = texts::enrolment_refused(from, kind);
                self.raise(now, NewAlert::new(AlertKind::UnpermittedPeer, "enrolment", message));
                self.out.push(Action::AnswerEnrol { ask, verdict: EnrolVerdict::Refused { kind } });
            }
        }
    }

    /// What a node has proved, if anything. The pinned key is a proof too.
    fn judge_proof(&self, now: Now, peer: &Peer, proof: EnrolProof) -> Option<Welcome> {
        let pinned =
            self.durable.peer.as_ref().filter(|enrolled| enrolled.node == peer.node).map(|enrolled| enrolled.keys);
        if pinned.is_some_and(|keys| keys.current == peer.keys.current || keys.next == Some(peer.keys.current)) {
            return Some(Welcome::Known);
        }
        match proof {
            EnrolProof::Token(at) => {
                let token = self.durable.tokens.get(at).filter(|token| token.expires_ms > now.wall_ms);
                token.cloned().map(Welcome::Token)
            }
            EnrolProof::User => Some(Welcome::User),
            EnrolProof::Nothing => None,
        }
    }

    /// Why a node that has proved itself is not enrolled.
    fn enrolment_obstacle(&self, peer: &Peer, welcome: &Welcome) -> Option<&'static str> {
        let durable = &self.durable;
        match () {
            () if self.shutdown.is_under_way() || durable.role != Role::Master => Some("not_master"),
            () if !durable.enabled => Some("ha_disabled"),
            () if *welcome == Welcome::Known => None,
            () if durable.peer.is_some() => Some("shadow_enrolled"),
            () if peer.node == durable.node => Some("same_node"),
            () => None,
        }
    }

    /// The node that was accepted has stored the pairing.
    pub(in super::super) fn enrol_confirmed(&mut self, ask: u64) {
        // Another enrolment may have come first, with the same token or another one.
        let (expected, _) = self.durable.expected(self.alerts.log());
        let accepted = self.enrolments.confirm(ask).filter(|accepted| match (&expected.peer, &accepted.welcome) {
            (Some(enrolled), _) => enrolled.node == accepted.peer.node,
            (None, Welcome::Token(used)) => expected.tokens.iter().any(|alive| alive.secret == used.secret),
            (None, Welcome::User) => expected.enabled && expected.role == Role::Master,
            // The pairing was forgotten meanwhile.
            (None, Welcome::Known) => false,
        });
        // It would pin a key that this node does not show any more.
        let accepted = accepted.filter(|accepted| self.rotation.stays(accepted.own_key));
        let Some(accepted) = accepted else {
            let verdict = EnrolVerdict::Refused { kind: "shadow_enrolled" };
            return self.out.push(Action::AnswerEnrol { ask, verdict });
        };
        let token = match accepted.welcome {
            Welcome::Token(token) => Some(token),
            Welcome::Known | Welcome::User => None,
        };
        self.update(Requester::Enrolling(ask), Update::Enrolled { peer: accepted.peer, token });
    }

    // Replacing the shadow.

    /// An operator replaces the shadow by a new one, whether it is there or gone. With a witness its record must say first that the
    /// old one is not in sync, so that it cannot take over by it: rule 24. Then one write ends its pin and keeps the token.
    pub(super) fn replace_shadow(&mut self, now: Now, ticket: Ticket, token: StoredToken) {
        let (expected, _) = self.durable.expected(self.alerts.log());
        let refusal = match () {
            () if expected.role == Role::Shadow => CommandRefusal::NotMaster { master: self.master_elsewhere() },
            () if !expected.enabled => CommandRefusal::Disabled,
            () if expected.peer.is_none() => CommandRefusal::NoPeer,
            () if self.switchover.is_under_way() => CommandRefusal::SwitchUnderWay,
            // The token would name the key that is about to go. One that waits for the peer waits until the token is over.
            () if !self.rotation.stays(self.rotation.current()) => CommandRefusal::RotationUnderWay,
            () if self.enrolments.replacement().is_some() => CommandRefusal::Overloaded,
            () => {
                let Some(shadow) = expected.peer.map(|peer| peer.node) else { return };
                self.enrolments.replace(Replacement { ticket, shadow, token, since: now.at });
                return self.authority.ask_witness_soon();
            }
        };
        self.refuse(ticket, refusal);
    }

    /// Whether the shadow is being replaced, so that nobody is to be named as in sync.
    pub(super) fn is_replacing(&self) -> bool {
        self.enrolments.replacement().is_some() || self.durable.is_being_reset()
    }

    /// Ends the pin of a shadow that is being replaced as soon as it cannot take over any more, or gives up.
    pub(in super::super) fn advance_replacement(&mut self, now: Now) {
        if self.enrolments.replacement().is_none() {
            return;
        }
        let unsure = self.authority.state() == NodeState::Stalled && self.is_bound();
        let late = self.replacement_deadline().is_some_and(|at| at <= now.at);
        match () {
            () if unsure || late => self.call_off_replacement(CommandRefusal::WitnessUnreachable),
            () if !self.rotation.stays(self.rotation.current()) => {
                self.call_off_replacement(CommandRefusal::RotationUnderWay);
            }
            () if !self.durable.enabled => self.call_off_replacement(CommandRefusal::Disabled),
            () if !self.still_replaced() => self.call_off_replacement(CommandRefusal::NoPeer),
            () if !self.authority.is_serving() => {
                self.call_off_replacement(CommandRefusal::NotMaster { master: self.master_elsewhere() });
            }
            () if self.is_settled_alone() => {
                let Some(Replacement { ticket, token, .. }) = self.enrolments.take_replacement() else { return };
                // Without a word: it may not be replaced yet if this node dies now.
                self.close_all_links(now, None, "the shadow is replaced");
                self.update(Requester::Operator(ticket), Update::Replaced { token });
            }
            () => {}
        }
    }

    /// Whether the shadow that is to be replaced is still the one that is enrolled.
    fn still_replaced(&self) -> bool {
        let enrolled = self.durable.peer.as_ref().map(|peer| peer.node);
        self.enrolments.replacement().is_some_and(|replacement| enrolled == Some(replacement.shadow))
    }

    /// Whether the record, where there is a witness, says that nobody is in sync, by a swap of this node's own in this era.
    fn is_settled_alone(&self) -> bool {
        let witnessed = self.authority.witnessed().filter(|_| !self.setup.makes(Mutant::ReplacesUnrecorded));
        witnessed.is_none_or(|witnessed| witnessed.covers.is_alone())
    }

    /// A replacement waits for a lease and two answers of the witness at the most.
    pub(super) fn replacement_deadline(&self) -> Option<Moment> {
        let bound = self.setup.options.lease() + 2 * self.setup.options.witness_timeout();
        self.enrolments.replacement().map(|replacement| Moment(replacement.since.0.saturating_add(micros(bound))))
    }

    /// The shadow is not replaced: nothing has changed.
    pub(super) fn call_off_replacement(&mut self, refusal: CommandRefusal) {
        if let Some(replacement) = self.enrolments.take_replacement() {
            self.refuse(replacement.ticket, refusal);
        }
    }
}
