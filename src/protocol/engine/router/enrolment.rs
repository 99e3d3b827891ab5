//! Join tokens, and nodes that ask to enrol.

use crate::model::KeyId;
use crate::model::limits::TOKENS_MAX;
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::engine::alerts::texts;
use crate::protocol::engine::durable::{Requester, Update};
use crate::protocol::engine::enrolments::Welcome;
use crate::protocol::engine::{
    Action, CommandRefusal, Engine, EnrolProof, EnrolVerdict, Now, Peer, StoredToken, Ticket,
};
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
}
