//! What a mastership rests on: the peer's promise, or the lease at the witness. Either is enough; a master that has neither
//! acknowledges nothing. (Quorum of any two of principal, mirror and witness: SQL Server's database mirroring.)

use std::time::Duration;

use super::{Authority, Engine, Moment, Mutant, Now};
use crate::model::Epoch;
use crate::model::limits::PEER_DURATION_MAX;
use crate::protocol::failover::{NodeState, Transition, micros, waited};
use crate::protocol::wire::{Heartbeat, HeartbeatAck, Role};

impl Engine {
    /// Whether mastership needs a cover here: there is a witness, and a peer that could take over; or there was one, and the
    /// record does not say yet that nobody but this node counts.
    pub(super) fn is_bound(&self) -> bool {
        let Some(witnessed) = &self.witnessed else { return false };
        let unbound = self.makes(Mutant::UnboundByReset);
        self.durable_state.peer.is_some()
            || (!unbound && self.durable_state.witnessed != Epoch::NONE && !witnessed.unrivalled)
    }

    /// Until when the longer of the covers lasts.
    pub(super) fn covered_until(&self) -> Option<Moment> {
        self.witnessed.as_ref().and_then(|witnessed| witnessed.promise.max(witnessed.lease))
    }

    /// Whether this node may act as master at this moment, as far as covers go.
    pub(super) fn is_covered(&self, at: Moment) -> bool {
        !self.is_bound() || self.covered_until().is_some_and(|until| at <= until)
    }

    /// Whether the peer's promise covers this moment.
    pub(super) fn is_promised(&self, at: Moment) -> bool {
        self.witnessed.as_ref().is_none_or(|witnessed| witnessed.promise.is_some_and(|until| at <= until))
    }

    /// Whether it serves, and until when that may be relied upon.
    pub fn authority(&self) -> Authority {
        let stall = match self.due {
            Some(due) if self.durable_state.peer.is_some() => Moment(due.0.saturating_add(self.timing.stall_us)),
            _ => Moment(u64::MAX),
        };
        let bound = if self.is_bound() && !self.makes(Mutant::AcknowledgesAfterLease) {
            self.covered_until().unwrap_or(Moment(0))
        } else {
            Moment(u64::MAX)
        };
        Authority { serving: self.node_state == NodeState::Serving, until: stall.min(bound) }
    }

    /// Both covers ran out: nothing is acknowledged until one is there again.
    pub(super) fn notice_uncovered(&mut self, now: Now) {
        let serving = self.node_state == NodeState::Serving;
        if serving && !self.is_covered(now.at) && !self.makes(Mutant::AcknowledgesAfterLease) {
            self.transition(now, Transition::Uncovered, "uncovered");
        }
    }

    /// What was asked until now covers nothing any more.
    pub(super) fn drop_covers(&mut self, now: Now) {
        if let Some(witnessed) = &mut self.witnessed {
            (witnessed.promise, witnessed.lease, witnessed.fresh_after) = (None, None, now.at);
            witnessed.ask_soon();
        }
    }

    /// The peer answered a heartbeat that was sent then: a promise counts from there (rule 1).
    pub(super) fn promised_by_peer(&mut self, now: Now, sent: Moment, ack: &HeartbeatAck) {
        let late = self.makes(Mutant::PromiseFromAnswer);
        let any = self.makes(Mutant::AnswerIsPromise);
        let lease = self.options.lease();
        let Some(witnessed) = &mut self.witnessed else { return };
        let promise = if any && ack.promise.is_zero() { lease } else { ack.promise };
        if ack.role != Role::Shadow || promise.is_zero() || sent < witnessed.fresh_after {
            return;
        }
        let from = if late { now.at } else { sent };
        let until = Moment(from.0.saturating_add(micros(promise.min(PEER_DURATION_MAX))));
        witnessed.promise = witnessed.promise.max(Some(until));
    }

    /// The promise that goes with the answer to this heartbeat: "I will not try to take over for this long". Only a shadow
    /// that follows gives one, to a master that leads or asks, and only as long a one as a restart would remember (rule 5).
    pub(super) fn give_promise(&mut self, now: Now, beat: &Heartbeat) -> Duration {
        let own_epoch = self.head.revision.epoch.max(self.durable_state.epoch);
        let claiming = self.node_state == NodeState::Claiming && self.makes(Mutant::PromisesWhileClaiming);
        let won = self.won_epoch().is_some() && self.makes(Mutant::AnswersBeforeEpoch);
        let follows = matches!(self.node_state, NodeState::Following | NodeState::AskingHost) || claiming || won;
        let current = beat.epoch >= own_epoch || won;
        let asked = beat.role == Role::Master && (beat.serving || beat.asks) && current;
        let lease = self.options.lease();
        let named = self.is_named() && !won;
        let Some(witnessed) = &mut self.witnessed else { return Duration::ZERO };
        let stored = Duration::from_millis(witnessed.promise_stored_ms);
        if !follows || !asked || named || stored < lease || self.stopping.is_some() {
            return Duration::ZERO;
        }
        let until = Moment(now.at.0.saturating_add(micros(waited(lease))));
        witnessed.promised_until = witnessed.promised_until.max(until);
        lease
    }

    /// A peer was enrolled: what was settled without one does not count.
    pub(super) fn peer_is_new(&mut self) {
        self.commits.begin_stint();
        if let Some(witnessed) = &mut self.witnessed {
            (witnessed.unrivalled, witnessed.alone) = (false, false);
            witnessed.ask_soon();
        }
    }

    /// The longest promise is durable before it is given.
    pub(super) fn prepare_promise(&mut self) {
        let lease_ms = micros(self.options.lease()).div_ceil(1_000);
        if self.witnessed.is_some() && self.durable_state.promised_ms < lease_ms {
            self.durable_state.promised_ms = lease_ms;
            self.state_changed();
        }
    }

    /// These durable state are durable.
    pub(super) fn promise_stored(&mut self, promised_ms: u64) {
        if let Some(witnessed) = &mut self.witnessed {
            witnessed.promise_stored_ms = witnessed.promise_stored_ms.max(promised_ms);
        }
    }
}
