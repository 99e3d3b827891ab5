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

use super::{Moment, RoleReason, TakeoverBlocker, Transition};
use crate::model::{Epoch, WitnessRecord};
use crate::protocol::failover::{NodeState, Register, micros, waited};

/// Who may act as master: this node's state, a takeover under way, and what it has of the witness.
#[derive(Clone, Debug)]
pub(super) struct AuthorityMachine {
    role: NodeRole,
    takeover: Takeover,
    /// Where there is a witness.
    witnessed: Option<Witnessed>,
}

/// What a node with a witness keeps beside all else. Client, covers and promise are machines with private state of their own.
#[derive(Clone, Debug)]
pub(super) struct Witnessed {
    pub(super) client: WitnessClient,
    pub(super) covers: Covers,
    pub(super) promise: OwnPromise,
    /// Why a master by its directory must not serve, whatever its peer answers.
    deposed: Option<Deposed>,
    /// An operator wants a register without a value of this pair to get one.
    recreate: bool,
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

    // The node's state.

    pub(super) fn state(&self) -> NodeState {
        self.role.state()
    }

    /// Why the state is what it is.
    pub(super) fn reason(&self) -> RoleReason {
        self.role.reason()
    }

    /// Since when the state is what it is.
    pub(super) fn since(&self) -> Moment {
        self.role.since()
    }

    /// Earliest retry of the operation that failed last.
    pub(super) fn retry_at(&self) -> Moment {
        self.role.retry_at()
    }

    /// Changes the state as the table says. Returns the states before and after; `None` where nothing changes.
    pub(super) fn apply(
        &mut self,
        at: Moment,
        transition: Transition,
        reason: RoleReason,
    ) -> Option<(NodeState, NodeState)> {
        self.role.apply(at, transition, reason)
    }

    /// The operation that failed is not tried again before this.
    pub(super) fn retry_after(&mut self, at: Moment) {
        self.role.retry_after(at);
    }

    /// Time that has passed in this state does not count.
    pub(super) fn restart_clock(&mut self, at: Moment) {
        self.role.restart_clock(at);
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
        self.witnessed.as_ref().and_then(Witnessed::deposed)
    }

    /// Whether this node keeps a lease: a master whose era is durable, and that nothing forbids.
    pub(super) fn renews(&self) -> bool {
        self.is_leading() && self.deposed().is_none()
    }

    // A takeover.

    pub(super) fn takeover(&self) -> &Takeover {
        &self.takeover
    }

    pub(super) fn takeover_mut(&mut self) -> &mut Takeover {
        &mut self.takeover
    }

    /// The epoch of a takeover that is won at the witness.
    pub(super) fn won_epoch(&self) -> Option<Epoch> {
        self.takeover.won_epoch()
    }

    // The witness.

    pub(super) fn has_witness(&self) -> bool {
        self.witnessed.is_some()
    }

    pub(super) fn witnessed(&self) -> Option<&Witnessed> {
        self.witnessed.as_ref()
    }

    pub(super) fn witnessed_mut(&mut self) -> Option<&mut Witnessed> {
        self.witnessed.as_mut()
    }

    /// What is known of the witness's register, where there is one.
    pub(super) fn register(&self) -> Option<&Register> {
        self.witnessed.as_ref().map(|witnessed| witnessed.client.register())
    }

    /// The record that it is known to hold.
    pub(super) fn record(&self) -> Option<&WitnessRecord> {
        self.register().and_then(Register::record)
    }

    /// An operator gives up what a lost or foreign value of the register recorded: this node may write a new one. Or no longer.
    pub(super) fn allow_recreation(&mut self, allowed: bool) {
        if let Some(witnessed) = &mut self.witnessed {
            witnessed.allow_recreation(allowed);
        }
    }

    /// This node changes its role: what was read of the record before concerns the former one.
    pub(super) fn outdate_record(&mut self) {
        if let Some(witnessed) = &mut self.witnessed {
            witnessed.reinstate();
            witnessed.client.register_mut().outdated();
        }
    }

    /// Whether somebody else renews a record that names its holder: a run that ended may have left one swap behind, not two.
    pub(super) fn is_copied(&self) -> bool {
        self.register().is_some_and(|register| register.renewals_seen() >= 2)
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
        self.record().map_or(Epoch::NONE, |record| record.epoch)
    }

    /// Whether what is known of the register, where there is one, is what it holds.
    pub(super) fn knows_register(&self) -> bool {
        self.register().is_none_or(|register| !register.is_stale())
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

    /// Why this node must not serve, where that is known.
    pub(super) fn deposed(&self) -> Option<Deposed> {
        self.deposed
    }

    /// This node must not serve, and has no cover any more. Returns whether that is news.
    pub(super) fn depose(&mut self, why: Deposed) -> bool {
        self.covers.end();
        self.deposed.replace(why) != Some(why)
    }

    /// Nothing speaks against this node any more. Returns whether something did.
    pub(super) fn reinstate(&mut self) -> bool {
        self.deposed.take().is_some()
    }

    /// Whether an operator wants a register without a value of this pair to get one.
    pub(super) fn allows_recreation(&self) -> bool {
        self.recreate
    }

    pub(super) fn allow_recreation(&mut self, allowed: bool) {
        self.recreate = allowed;
    }
}

#[cfg(test)]
mod tests;
