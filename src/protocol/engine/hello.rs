//! Two hellos: which one is refused, and which node leads, follows or steps down. A pure function of both. The
//! answers of the two sides fit each other.

use super::alerts::texts;
use super::authority::Deposed;
use super::durable::Durable;
use super::own_log::OwnLog;
use super::setup::Setup;
use super::{Epoch, Mutant};
use crate::model::{Relation, WitnessRecord};
use crate::protocol::failover::{NodeState, outranks};
use crate::protocol::wire::{Hello, RefusalKind, Role};

/// The outcome of a negotiation, for this side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Negotiation {
    /// This node is the master and repairs its shadow.
    Lead,
    /// This node is the shadow and is repaired.
    Follow,
    /// This node is the master, and its disk lost change sets that the shadow holds. It copies them before it serves.
    TakeTail,
    /// This node is the shadow, and sends its master the change sets that the master's disk lost.
    GiveTail,
    /// Both are masters, and the peer outranks this node.
    StepDown,
    /// Both are masters, and this node outranks the peer.
    PeerStepsDown,
    /// Both are shadows, since the last master has handed over, and the other one has not taken it yet.
    MeetAsShadows,
    /// The nodes cannot work together.
    Refuse(RefusalKind, String),
}

/// This side's inputs of the negotiation.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnSide<'a> {
    pub(super) setup: &'a Setup,
    pub(super) durable: &'a Durable,
    pub(super) log: &'a OwnLog,
    pub(super) state: NodeState,
    /// The highest epoch that this node has had, tried or followed.
    pub(super) epoch: Epoch,
    /// The outer `None`: there is no witness. The inner value: why this master must not serve, if it must not.
    pub(super) witness: Option<Option<Deposed>>,
    /// The record that the witness holds, as far as this run has seen it.
    pub(super) record: Option<&'a WitnessRecord>,
    /// Whether this node, as a shadow, waits for what it has noted a term for.
    pub(super) awaits: bool,
}

impl OwnSide<'_> {
    /// Whether this epoch is too far ahead to be genuine.
    pub(super) fn is_out_of_reach(&self, epoch: Epoch) -> bool {
        epoch.is_out_of_reach_of(self.epoch)
    }

    /// Why this hello is refused, independent of the roles.
    pub(super) fn refuse_hello(&self, hello: &Hello) -> Option<(RefusalKind, String)> {
        let permitted = self.durable.peer.as_ref().map(|peer| peer.node);
        if hello.sender.pair != self.durable.pair {
            return Some((RefusalKind::WrongPair, format!("the peer belongs to pair {}", hello.sender.pair)));
        }
        if permitted != Some(hello.sender.node) {
            let reason = format!("the peer calls itself node {}, which is not the enrolled one", hello.sender.node);
            return Some((RefusalKind::WrongPair, reason));
        }
        let unreachable_era = hello.log.history.eras().iter().any(|era| self.is_out_of_reach(era.epoch));
        if self.is_out_of_reach(hello.epoch) || unreachable_era {
            return Some((RefusalKind::ProtocolError, format!("the peer claims the epoch {}", hello.epoch)));
        }
        let (ours, theirs) = (self.setup.options.versions(), hello.versions);
        if ours.common(theirs).is_none() {
            let reason = format!(
                "the peer speaks protocol versions {} to {}, this node {} to {}: upgrade the older one",
                theirs.min, theirs.max, ours.min, ours.max
            );
            return Some((RefusalKind::VersionMismatch, reason));
        }
        let ours = self.setup.options.schema;
        let (master, shadow) = match hello.role {
            Role::Master => (hello.options.schema, ours),
            Role::Shadow => (ours, hello.options.schema),
        };
        (hello.role != self.durable.role && master > shadow).then(|| {
            let reason = format!(
                "the master's data has schema version {master}, the shadow knows {shadow}: upgrade the shadow first"
            );
            (RefusalKind::Schema, reason)
        })
    }

    /// Decides the roles of the two nodes.
    pub(super) fn negotiate(&self, hello: &Hello) -> Negotiation {
        let relation = self.log.relation(hello);
        match (self.durable.role, hello.role) {
            (Role::Master, Role::Master) if self.stays_master(hello) => Negotiation::PeerStepsDown,
            (Role::Master, Role::Master) => Negotiation::StepDown,
            (Role::Shadow, Role::Shadow) if self.is_handed_over(hello) => Negotiation::MeetAsShadows,
            (Role::Shadow, Role::Shadow) => Negotiation::Refuse(RefusalKind::NoMaster, texts::BOTH_SHADOWS.to_owned()),
            (Role::Master, Role::Shadow) => {
                let may_take = matches!(self.state, NodeState::CheckingStartup | NodeState::TakingTail);
                if may_take && hello.log.complete && (relation == Relation::Ahead || !self.durable.complete) {
                    Negotiation::TakeTail
                } else {
                    Negotiation::Lead
                }
            }
            (Role::Shadow, Role::Master) => self.negotiate_with_master(hello, relation),
        }
    }

    /// Whether one of two shadows has handed over to the other, or seems to. With a witness the register says who is master.
    fn is_handed_over(&self, hello: &Hello) -> bool {
        let noted = self.durable.tried > self.log.epoch() || self.durable.tried > self.durable.epoch;
        let awaits = self.awaits && noted && self.witness.is_none();
        self.setup.options.versions().allows_switch(hello.versions) && (self.durable.moves.given.is_some() || awaits)
    }

    /// Whether this master stays master when it meets another. With a witness the record decides. If this node does not know the
    /// record, it steps down only for a master that serves: the epoch of one that does not serve may be a term that it tried and
    /// did not win. A hello that is older than the record may have waited in a buffer while this node was stopped.
    fn stays_master(&self, hello: &Hello) -> bool {
        match self.witness {
            Some(deposed) => {
                let served = hello.serving && self.state != NodeState::Serving && !self.was_replaced(hello);
                deposed != Some(Deposed::NotNamed) && !served
            }
            None => outranks(self.epoch, self.durable.node, (hello.epoch, hello.sender.node)),
        }
    }

    /// Whether the record has named this node since the sender of this hello served. Epochs in the record only grow.
    fn was_replaced(&self, hello: &Hello) -> bool {
        self.record.is_some_and(|record| record.holder == self.durable.node && record.epoch >= hello.epoch)
    }

    fn negotiate_with_master(&self, hello: &Hello, relation: Relation) -> Negotiation {
        let (shown, complete) = (self.log.shown(), self.durable.complete);
        let starting = !hello.serving && complete;
        if starting && (relation == Relation::Behind || !hello.log.complete) {
            return Negotiation::GiveTail;
        }
        match relation {
            Relation::Same | Relation::Ahead => Negotiation::Follow,
            // A copy that readers have seen as complete must not be replaced by one that lacks part of it.
            _ if !complete || self.setup.makes(Mutant::BlankWipes) => Negotiation::Follow,
            Relation::Diverged { common } if shown.seq <= common.seq => Negotiation::Follow,
            // An era without change sets holds nothing that could be lost.
            Relation::Behind if shown.seq <= hello.log.position.revision.seq => Negotiation::Follow,
            _ if hello.log.position.revision.seq == 0 => {
                let reason = "the master is blank, and this shadow holds a configuration; \
                              resync here to accept it, or take-over here to serve what this node holds";
                Negotiation::Refuse(RefusalKind::Blank, reason.to_owned())
            }
            _ => {
                let reason = format!(
                    "the master at {} does not have what this shadow has shown ({shown}); resync on the shadow to accept \
                     that (its own changes go to quarantine), or take-over on it to serve what it holds",
                    hello.log.position.revision
                );
                Negotiation::Refuse(RefusalKind::ForeignHistory, reason)
            }
        }
    }
}
