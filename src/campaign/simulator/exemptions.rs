//! What a history is exempt from: operators may accept a loss, and disks may lose what they held.

use std::collections::BTreeSet;

use crate::protocol::engine::{Replication, Ticket};
use crate::testing::Side;

/// What happened in a history that takes away what is promised to others.
#[derive(Clone, Debug, Default)]
pub struct Exemptions {
    /// Some commit may not have waited for the shadow.
    asynchronous: bool,
    /// An operator accepted a loss, or a disk lost what only it held.
    lost: bool,
    /// An operator accepted a loss.
    accepted: bool,
    /// Commands that accept a loss and are not answered yet.
    offered: BTreeSet<(Side, Ticket)>,
    /// Whose disk was rolled back.
    pub rolled_back: [bool; 2],
}

impl Exemptions {
    /// Of a history with this replication.
    pub fn new(replication: Replication) -> Self {
        Self { asynchronous: replication == Replication::Asynchronous, ..Self::default() }
    }

    /// From now on some commits may not wait for the shadow.
    pub fn commits_do_not_wait(&mut self) {
        self.asynchronous = true;
    }

    /// Whether some commit may not have waited for the shadow.
    pub fn is_asynchronous(&self) -> bool {
        self.asynchronous
    }

    /// From now on acknowledged changes may be lost.
    pub fn may_lose(&mut self) {
        self.lost = true;
    }

    /// An operator offers to accept a loss; the node decides.
    pub fn loss_offered(&mut self, side: Side, ticket: Ticket) {
        self.offered.insert((side, ticket));
    }

    /// The node refused: nothing was accepted.
    pub fn loss_refused(&mut self, side: Side, ticket: Ticket) {
        self.offered.remove(&(side, ticket));
    }

    /// The node did it, or ended: then it may have done it. Without a ticket all offers to this node count.
    pub fn loss_accepted(&mut self, side: Side, ticket: Option<Ticket>) {
        let before = self.offered.len();
        self.offered.retain(|(at, number)| *at != side || ticket.is_some_and(|ticket| ticket != *number));
        self.accepted |= self.offered.len() < before;
        self.lost |= self.accepted;
    }

    /// An operator accepted a loss, or may have.
    pub fn is_loss_accepted(&self) -> bool {
        self.accepted || !self.offered.is_empty()
    }

    /// Nobody accepted a loss, nor may have.
    pub fn nothing_lost_yet(&self) -> bool {
        !self.lost && self.offered.is_empty()
    }

    /// Nothing in the history allows a loss.
    pub fn promises_nothing_lost(&self) -> bool {
        !self.asynchronous && self.nothing_lost_yet()
    }
}
