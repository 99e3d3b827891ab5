//! What a mastership rests on: the peer's promise, or the lease at the witness; and the promise that this node gives.

use std::time::Duration;

use crate::model::Epoch;
use crate::model::limits::{PEER_DURATION_MAX, UNPROMISED_MAX};
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::engine::alerts::{Subject, texts};
use crate::protocol::engine::{Authority, Engine, Moment, Mutant, Now, RoleReason, Transition};
use crate::protocol::failover::{NodeState, micros};
use crate::protocol::wire::{Heartbeat, HeartbeatAck, Role};

impl Engine {
    /// Whether mastership needs a cover here: there is a witness, and a peer that could take over. Without a peer it is
    /// needed as well if a record was ever seen, until the record says that nobody but this node counts.
    pub(super) fn is_bound(&self) -> bool {
        let Some(witnessed) = self.authority.witnessed() else { return false };
        let unbound = self.setup.makes(Mutant::UnboundByReset);
        let recorded = self.durable.witnessed != Epoch::NONE && !witnessed.covers.is_unrivalled();
        self.durable.peer.is_some() || (!unbound && recorded)
    }

    /// Whether this node may act as master at this moment, as far as covers go.
    pub(super) fn is_covered(&self, at: Moment) -> bool {
        !self.is_bound() || self.authority.covered_until().is_some_and(|until| at <= until)
    }

    /// Whether this node serves, and until when a caller may rely on that without asking the engine again. A caller
    /// whose clock shows a later moment was stopped in between: that caller must tell the engine first.
    pub fn authority(&self) -> Authority {
        let stall = match self.last_told.timer_at() {
            Some(due) if self.durable.peer.is_some() => Moment(due.0.saturating_add(self.setup.timing.stall_us)),
            _ => Moment(u64::MAX),
        };
        let bound = if self.is_bound() && !self.setup.makes(Mutant::AcknowledgesAfterLease) {
            self.authority.covered_until().unwrap_or(Moment(0))
        } else {
            Moment(u64::MAX)
        };
        Authority { serving: self.authority.is_serving(), until: stall.min(bound) }
    }

    /// Both covers ran out: nothing is acknowledged until one is there again.
    pub(in super::super) fn notice_uncovered(&mut self, now: Now) {
        let uncovered = self.authority.is_serving() && !self.is_covered(now.at);
        if uncovered && !self.setup.makes(Mutant::AcknowledgesAfterLease) {
            self.transition(now, Transition::Uncovered, RoleReason::Uncovered);
        }
    }

    /// The peer answered the heartbeat that was sent at `sent`: a promise counts from that moment (rule 1).
    pub(super) fn promised_by_peer(&mut self, sent: Moment, ack: &HeartbeatAck) {
        let Some(witnessed) = self.authority.witnessed_mut() else { return };
        let assumed = self.setup.makes(Mutant::AnswerIsPromise) && ack.promise.is_zero();
        let promise = if assumed { self.setup.options.lease() } else { ack.promise };
        if ack.role != Role::Shadow || promise.is_zero() {
            return;
        }
        let until = Moment(sent.0.saturating_add(micros(promise.min(PEER_DURATION_MAX))));
        witnessed.covers.promised(sent, until);
    }

    /// The promise that goes with the answer to this heartbeat: "I will not try to take over for this long". Only a
    /// shadow that follows gives one, to a master that serves or asks, if a restart would remember it (rule 5).
    pub(super) fn give_promise(&mut self, now: Now, beat: &Heartbeat) -> Duration {
        let state = self.authority.state();
        let own_epoch = self.log.epoch().max(self.durable.epoch);
        let asking = state == NodeState::AskingWitness && self.setup.makes(Mutant::PromisesDuringTakeover);
        let won = self.authority.won_epoch().is_some() && self.setup.makes(Mutant::AnswersBeforeEpoch);
        let follows = matches!(state, NodeState::Following | NodeState::AskingHost) || asking || won;
        let current = beat.epoch >= own_epoch || won;
        let asked = beat.role == Role::Master && (beat.serving || beat.asks) && current;
        let named = self.is_named() && !won;
        let lease = self.setup.options.lease();
        let Some(witnessed) = self.authority.witnessed_mut() else { return Duration::ZERO };
        if !follows || !asked || named || !witnessed.promise.is_stored(lease) || self.shutdown.is_under_way() {
            return Duration::ZERO;
        }
        witnessed.promise.give(now.at, lease);
        lease
    }

    /// The longest promise is durable before it is given.
    pub(in super::super) fn prepare_promise(&mut self) {
        if self.authority.has_witness() {
            self.durable.promise_up_to(micros(self.setup.options.lease()).div_ceil(1_000));
        }
    }

    /// The shadow of a serving master answered. One that never promises has no witness, and would take over by its clock alone.
    pub(super) fn look_at_promise(&mut self, now: Now, promise: Duration) {
        let serving = self.authority.is_serving();
        let Some(witnessed) = self.authority.witnessed_mut().filter(|_| serving) else { return };
        let before = witnessed.covers.count_unpromised(!promise.is_zero());
        if !promise.is_zero() && before >= UNPROMISED_MAX {
            self.clear(now, |alert| alert.kind == AlertKind::WitnessUnreachable && Subject::Peer.is_of(alert));
        } else if promise.is_zero() && before + 1 == UNPROMISED_MAX {
            self.raise(
                now,
                NewAlert::new(AlertKind::WitnessUnreachable, Subject::Peer, texts::SHADOW_PROMISES_NOTHING),
            );
        }
    }
}
