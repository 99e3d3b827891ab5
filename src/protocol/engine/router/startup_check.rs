//! A node whose directory says master asks before it serves: its peer, and the witness where there is one.

use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::engine::alerts::{Subject, texts};
use crate::protocol::engine::{Engine, Failover, Moment, Now, RoleReason, Transition};
use crate::protocol::failover::NodeState;

impl Engine {
    /// Begins to ask whether this node still is the master. The witness is asked again, and the covers are void.
    pub(super) fn begin_startup_check(&mut self, now: Now) {
        if let Some(witnessed) = self.authority.witnessed_mut() {
            witnessed.client.consult_anew();
        }
        self.authority.drop_covers(now.at);
    }

    pub(super) fn advance_startup_check(&mut self, now: Now) {
        self.advance_answer(now);
        if self.authority.state() != NodeState::CheckingStartup || !self.durable.complete {
            return;
        }
        if self.authority.has_witness() {
            return self.check_with_witness(now);
        }
        let Some(peer) = &self.durable.peer else { return self.serve_without_peer(now) };
        let waited_us = now.at.0.saturating_sub(self.authority.since().0);
        let delay_us = peer.takeover_delay_ms.saturating_mul(1_000).max(self.setup.timing.delay_us);
        let automatic = self.setup.options.failover == Failover::Automatic;
        let links = &self.links;
        let silent = links.active_id().is_none() && !links.is_held() && !links.is_outranked() && !links.is_duplicate();
        if automatic && silent && waited_us >= delay_us {
            self.raise(now, NewAlert::new(AlertKind::ShadowLost, Subject::Peer, texts::PEER_SILENT_AT_START));
            self.transition(now, Transition::PeerSilent, RoleReason::PeerSilent);
        }
    }

    fn serve_without_peer(&mut self, now: Now) {
        let reason = if self.log.is_untouched() { RoleReason::FirstStart } else { RoleReason::NoPeer };
        self.transition(now, Transition::NoPeer, reason);
    }

    /// Makes the transition that the peer's answer calls for. It runs at every event, so a failed attempt is repeated.
    pub(super) fn advance_answer(&mut self, now: Now) {
        let Some(answer) = self.session.answer_of_peer() else { return };
        // A node does not serve a damaged copy by itself, not even where nobody has a better one.
        let counts = self.durable.complete && self.answer_counts(now.at);
        if answer != Transition::PeerFollows || counts {
            self.transition(now, answer, RoleReason::PeerAnswered);
        }
    }

    /// Whether the peer's answer lets this master serve. With a witness, the answer must be a promise (rule 19), the
    /// witness must have been asked, and its record must not speak against this node.
    fn answer_counts(&self, at: Moment) -> bool {
        self.authority.witnessed().is_none_or(|witnessed| {
            let record = witnessed.client.register().record();
            // A copy of this node may serve by the lease alone: then nobody is in sync, or the epoch is its own.
            let lease = record.is_some_and(|record| record.in_sync.is_none()) || !self.wrote_record();
            witnessed.deposed().is_none()
                && witnessed.client.is_consulted()
                && witnessed.covers.is_promised(at)
                && !(lease && self.may_be_held_by_a_copy(at))
        })
    }

    /// With a witness, its record or the peer's promise lets this master serve. Both are asked, in any order (rule 19).
    fn check_with_witness(&mut self, now: Now) {
        self.register_changed(now);
        self.advance_wanted_takeover(now);
        if self.authority.state() != NodeState::CheckingStartup {
            return;
        }
        let Some(witnessed) = self.authority.witnessed() else { return };
        if witnessed.deposed().is_some() || !witnessed.client.is_consulted() || self.links.is_duplicate() {
            return;
        }
        let lone = self.durable.peer.is_none();
        if lone && !self.is_bound() {
            return self.serve_without_peer(now);
        }
        let (delay_us, since) = (self.setup.timing.delay_us, self.authority.since());
        let waits_for_dial = !lone && now.at.0 < since.0 + delay_us && !self.links.failed_since(since);
        let asking = self.links.active_id().is_some() && now.at.0 < since.0 + 2 * delay_us;
        let register = witnessed.client.register();
        let remembered = register.record().is_some_and(|record| !self.is_behind_epoch(record));
        let own = register.names(self.durable.node) && self.register_flaw().is_none() && remembered;
        let refused = self.links.refusal().is_some_and(|refusal| refusal.alive);
        // Where the peer does not answer, a copy of this node may be linked to it: then the record moves.
        let over = !self.may_be_held_by_a_copy(now.at);
        if own && over && !register.is_stale() && !asking && (!waits_for_dial || refused) {
            self.transition(now, Transition::NamedByWitness, RoleReason::Witness);
        }
    }
}
