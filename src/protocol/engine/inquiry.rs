//! A master by its directory asks before it serves: its peer, and the witness where there is one.

use super::{Engine, Failover, Moment, Mutant, Now};
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::failover::{NodeState, Transition};

impl Engine {
    pub(super) fn advance_inquiry(&mut self, now: Now) {
        self.advance_answer(now);
        if self.node_state != NodeState::Inquiring || !self.durable_state.complete {
            return;
        }
        if self.witnessed.is_some() {
            return self.advance_witnessed_inquiry(now);
        }
        let Some(peer) = &self.durable_state.peer else {
            let first = self.history.eras().is_empty();
            return self.transition(now, Transition::NoPeer, if first { "first_start" } else { "no_peer" });
        };
        let waited_us = now.at.0.saturating_sub(self.since.0);
        let delay_us = peer.takeover_delay_ms.saturating_mul(1_000).max(self.timing.delay_us);
        let automatic = self.options.failover == Failover::Automatic;
        let free = !self.links.is_outranked();
        if automatic && free && waited_us >= delay_us && self.links.active().is_none() && !self.links.is_held() {
            let message = "the peer was silent when this master started, so it serves without having asked it: \
                           if the peer has taken over behind a cut cable, there are two masters until they meet";
            self.raise(now, NewAlert::new(AlertKind::ShadowLost, super::trouble::PEER, message));
            self.transition(now, Transition::PeerSilent, "peer_silent");
        }
    }

    /// The peer has answered: what follows from it is done, and tried again where it failed.
    pub(super) fn advance_answer(&mut self, now: Now) {
        let answer = self.session.answer_of_peer();
        // A damaged copy does not become the configuration by itself, not even where nobody has a better one.
        let allowed = |turn: Transition| {
            turn != Transition::PeerFollows || (self.durable_state.complete && self.answer_counts(now.at))
        };
        if let Some(turn) = answer.filter(|turn| allowed(*turn)) {
            self.transition(now, turn, "peer_answered");
        }
    }

    /// Whether the peer's answer lets a master serve: with a witness, only one that is a promise (rule 19), and only where the
    /// register, if it was to be read, has nothing against it.
    fn answer_counts(&self, at: Moment) -> bool {
        let Some(witnessed) = &self.witnessed else { return true };
        witnessed.deposed.is_none() && witnessed.consulted && self.is_promised(at)
    }

    /// With a witness: its record decides, and so does the peer's promise. Which of the two comes first does not matter, but
    /// both are asked (rule 19).
    fn advance_witnessed_inquiry(&mut self, now: Now) {
        self.register_changed(now);
        self.advance_wish(now);
        let Some(witnessed) = self.witnessed.as_ref().filter(|_| self.node_state == NodeState::Inquiring) else {
            return;
        };
        if witnessed.deposed.is_some() || !witnessed.consulted {
            return;
        }
        let first = self.history.eras().is_empty();
        let lone = self.durable_state.peer.is_none();
        if lone && !self.is_bound() {
            return self.transition(now, Transition::NoPeer, if first { "first_start" } else { "no_peer" });
        }
        let delay_us = self.timing.delay_us;
        let patient = !lone && now.at.0 < self.since.0 + delay_us && !self.links.failed_since(self.since);
        let asking = self.links.active().is_some() && now.at.0 < self.since.0 + 2 * delay_us;
        let remembered = witnessed.register.record().is_some_and(|record| !self.is_behind_epoch(record));
        let own = witnessed.register.names(self.durable_state.node) && self.register_flaw().is_none() && remembered;
        let refused = self.links.refusal().is_some_and(|refusal| refusal.alive);
        if own && !witnessed.register.is_stale() && !asking && (!patient || refused) {
            self.transition(now, Transition::WitnessVouches, "witness");
        }
    }

    /// Begins to ask whether this node still is the master: the witness is asked anew as well.
    pub(super) fn begin_inquiry(&mut self, now: Now) {
        if let Some(witnessed) = &mut self.witnessed {
            witnessed.consulted = false;
        }
        self.drop_covers(now);
    }

    pub(super) fn ask_witness_soon(&mut self) {
        if let Some(witnessed) = &mut self.witnessed {
            witnessed.ask_soon();
        }
    }

    pub(super) fn begin_stint(&mut self) {
        self.commits.begin_stint();
        let skips = self.makes(Mutant::NewMasterDoesNotWait);
        if let Some(witnessed) = &mut self.witnessed {
            witnessed.stint += 1;
            witnessed.alone = skips;
        }
        if skips {
            self.commits.give_up();
        }
    }
}
