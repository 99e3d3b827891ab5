//! The node's state, why it is so, and since when.

use super::{Moment, NodeState, RoleReason};
use crate::protocol::failover::Transition;

/// What a node is. Its table of every state with every transition is [`NodeState::transition`].
#[derive(Clone, Debug)]
pub(in super::super) struct NodeRole {
    state: NodeState,
    reason: RoleReason,
    since: Moment,
    /// Earliest retry of the operation that failed last.
    retry_at: Moment,
}

impl NodeRole {
    pub(super) fn new(at: Moment, state: NodeState) -> Self {
        Self { state, reason: RoleReason::Started, since: at, retry_at: at }
    }

    pub(in super::super) fn state(&self) -> NodeState {
        self.state
    }

    pub(in super::super) fn reason(&self) -> RoleReason {
        self.reason
    }

    /// Since when the state is what it is.
    pub(in super::super) fn since(&self) -> Moment {
        self.since
    }

    pub(in super::super) fn retry_at(&self) -> Moment {
        self.retry_at
    }

    /// Changes the state as the table says. Returns the states before and after; `None` where nothing changes.
    pub(in super::super) fn apply(
        &mut self,
        at: Moment,
        transition: Transition,
        reason: RoleReason,
    ) -> Option<(NodeState, NodeState)> {
        let next = self.state.transition(transition)?;
        let before = std::mem::replace(&mut self.state, next);
        self.since = at;
        self.reason = reason;
        Some((before, next))
    }

    /// The operation that failed is not tried again before this.
    pub(in super::super) fn retry_after(&mut self, at: Moment) {
        self.retry_at = at;
    }

    /// Time that has passed in this state does not count.
    pub(in super::super) fn restart_clock(&mut self, at: Moment) {
        self.since = at;
    }
}
