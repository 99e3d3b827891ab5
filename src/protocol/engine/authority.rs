//! Who may act as master: the node's state, what mastership rests on, the witness, and a takeover under way.
//!
//! Every part owns its state; [`Authority`](super::Authority) is what the shell is told of all of it.
//!
//! | part | holds |
//! |---|---|
//! | [`NodeRole`] | the node's state, why it is so, and since when; its table is [`NodeState::transition`] |
//! | [`Takeover`] | an attempt at the witness, operators who wait for mastership, the question to the host |
//! | [`Witnessed`] | where there is a witness: what is known of it, the covers of a master, this node's own promise |
//!
//! A mastership rests on the peer's promise or on the lease at the witness. Either is enough; a master that has neither
//! acknowledges nothing. (Quorum of any two of principal, mirror and witness: SQL Server's database mirroring.)

mod covers;
mod promise;
mod role;
mod takeover;
mod witness_client;

pub(super) use covers::Covers;
pub(super) use promise::OwnPromise;
pub(super) use role::NodeRole;
pub(super) use takeover::{Attempt, Takeover, WitnessObstacle};
pub(super) use witness_client::{Question, WitnessClient, WitnessTrouble};

use std::time::Duration;

use super::{Moment, RoleReason, TakeoverBlocker};
use crate::model::Epoch;
use crate::protocol::failover::{NodeState, micros, waited};

/// The whole of it.
#[derive(Clone, Debug)]
pub(super) struct AuthorityMachine {
    pub(super) role: NodeRole,
    pub(super) takeover: Takeover,
    /// Where there is a witness.
    pub(super) witnessed: Option<Witnessed>,
}

/// What a node with a witness keeps beside all else.
#[derive(Clone, Debug)]
pub(super) struct Witnessed {
    pub(super) client: WitnessClient,
    pub(super) covers: Covers,
    pub(super) promise: OwnPromise,
    /// Why a master by its directory must not serve, whatever its peer answers.
    pub(super) deposed: Option<Deposed>,
    /// An operator wants a register without a value of this pair to get one.
    pub(super) recreate: bool,
}

/// Why a node that is master by its directory must not serve, whatever its peer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deposed {
    /// The record names the other node.
    NotNamed,
    /// The record names this node, and more than its disk holds.
    RolledBack,
    /// The record names this node, and another one with its identity renews it.
    Duplicate,
}

impl Deposed {
    pub(super) fn reason(self) -> RoleReason {
        match self {
            Self::NotNamed => RoleReason::NotNamed,
            Self::RolledBack => RoleReason::RolledBack,
            Self::Duplicate => RoleReason::Duplicate,
        }
    }

    pub(super) fn blocker(self) -> TakeoverBlocker {
        match self {
            Self::NotNamed => TakeoverBlocker::NotNamed,
            Self::RolledBack => TakeoverBlocker::RolledBack,
            Self::Duplicate => TakeoverBlocker::Duplicate,
        }
    }
}

impl AuthorityMachine {
    /// Of a node that has just started. `promised_ms`: the longest promise that it ever gave.
    pub(super) fn new(at: Moment, state: NodeState, witness: Option<u64>) -> Self {
        Self {
            role: NodeRole::new(at, state),
            takeover: Takeover::new(at),
            witnessed: witness.map(|promised_ms| Witnessed::new(at, promised_ms)),
        }
    }

    pub(super) fn state(&self) -> NodeState {
        self.role.state()
    }

    pub(super) fn is_serving(&self) -> bool {
        self.state() == NodeState::Serving
    }

    /// Whether the store is closed, or the node is stopped.
    pub(super) fn is_out_of_service(&self) -> bool {
        matches!(self.state(), NodeState::Broken | NodeState::Stopped)
    }

    /// Whether this node writes history: it serves, or does as soon as its mastership is confirmed.
    pub(super) fn is_leading(&self) -> bool {
        matches!(self.state(), NodeState::Serving | NodeState::Stalled)
    }

    /// Why a master by its directory must not serve, where that is known.
    pub(super) fn deposed(&self) -> Option<Deposed> {
        self.witnessed.as_ref().and_then(|witnessed| witnessed.deposed)
    }

    /// Whether this node keeps a lease: a master whose era is durable, and that nothing forbids.
    pub(super) fn renews(&self) -> bool {
        self.is_leading() && self.deposed().is_none()
    }

    /// The epoch of a takeover that is won at the witness.
    pub(super) fn won_epoch(&self) -> Option<Epoch> {
        self.takeover.won_epoch()
    }

    /// Whether somebody else renews a record that names its holder: a run that ended may have left one swap behind, not two.
    pub(super) fn is_copied(&self) -> bool {
        self.witnessed.as_ref().is_some_and(|witnessed| witnessed.client.register().renewals_seen() >= 2)
    }

    /// Asks the witness as soon as nothing is under way.
    pub(super) fn ask_witness_soon(&mut self) {
        if let Some(witnessed) = &mut self.witnessed {
            witnessed.client.ask_soon();
        }
    }

    /// What was asked until now covers nothing any more.
    pub(super) fn drop_covers(&mut self, at: Moment) {
        if let Some(witnessed) = &mut self.witnessed {
            witnessed.covers.drop_all(at);
            witnessed.client.ask_soon();
        }
    }

    /// Until when the longer of the covers lasts.
    pub(super) fn covered_until(&self) -> Option<Moment> {
        self.witnessed.as_ref().and_then(|witnessed| witnessed.covers.until())
    }

    /// Whether the peer's promise covers this moment. True where there is no witness, and so nothing to be promised.
    pub(super) fn is_promised(&self, at: Moment) -> bool {
        self.witnessed.as_ref().is_none_or(|witnessed| witnessed.covers.is_promised(at))
    }

    /// The epoch in the record; none where there is no record.
    pub(super) fn recorded_epoch(&self) -> Epoch {
        let record = self.witnessed.as_ref().and_then(|witnessed| witnessed.client.register().record());
        record.map_or(Epoch::NONE, |record| record.epoch)
    }

    /// Whether what is known of the register, where there is one, is what it holds.
    pub(super) fn knows_register(&self) -> bool {
        self.witnessed.as_ref().is_none_or(|witnessed| !witnessed.client.register().is_stale())
    }
}

impl Witnessed {
    /// A node counts as having just given the longest promise that it ever gave (rule 5).
    fn new(at: Moment, promised_ms: u64) -> Self {
        let ever = waited(Duration::from_millis(promised_ms));
        let until = if promised_ms == 0 { Moment(0) } else { Moment(at.0.saturating_add(micros(ever))) };
        Self {
            client: WitnessClient::default(),
            covers: Covers::new(at),
            promise: OwnPromise::new(until, promised_ms),
            deposed: None,
            recreate: false,
        }
    }
}

#[cfg(test)]
mod tests;
