//! A former master steps down: what only it has goes to quarantine, then it is a shadow.

use crate::model::{Relation, Revision};
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::engine::alerts::{Subject, texts};
use crate::protocol::engine::{
    DiskFailure, DurableState, Engine, Mutant, Now, Quarantine, QuarantineReceipt, RoleReason, StatePurpose,
    StoreState, Transition,
};
use crate::protocol::failover::NodeState;
use crate::protocol::wire::Role;

/// The last revision that this node and a peer at `position` have in common. `None` if that peer lacks nothing.
pub(super) fn last_common(relation: Relation, position: Revision) -> Option<Revision> {
    match relation {
        Relation::Same | Relation::Ahead => None,
        Relation::Behind => Some(position),
        Relation::Diverged { common } => Some(common),
        Relation::Foreign => Some(Revision::NONE),
    }
}

impl Engine {
    /// Quarantines what the master that outranks this node never had, then makes the new role durable.
    pub(super) fn advance_step_down(&mut self, now: Now) {
        if !self.work.is_idle() || now.at < self.authority.retry_at() {
            return;
        }
        if self.setup.makes(Mutant::ForgetsQuarantine) {
            self.durable.assume_complete(false);
            return self.store_role();
        }
        let head = self.log.revision();
        let master = self.session.steps_down_for();
        let common = master.and_then(|master| last_common(self.log.relation(master), master.log.position.revision));
        match common {
            None => self.store_role(),
            // An era without change sets is no loss.
            Some(common) if common.seq == head.seq => {
                self.durable.assume_complete(false);
                self.store_role();
            }
            // Only the role has still to be stored.
            Some(_) if self.session.is_quarantined(head) => self.store_role(),
            Some(common) => self.work.queue(Quarantine { common }),
        }
    }

    pub(super) fn store_role(&mut self) {
        let state = DurableState { role: Role::Shadow, ..self.durable.with_alerts(self.alerts.log()) };
        self.work.queue(StoreState { state: Box::new(state), purpose: StatePurpose::StepDown });
    }

    pub(super) fn quarantined(&mut self, now: Now, receipt: QuarantineReceipt) {
        let QuarantineReceipt { from, to, change_sets } = receipt;
        let of_shadow = self.authority.state() == NodeState::TakingTail;
        let message = texts::quarantined(change_sets, (from, to), of_shadow, self.log.damage());
        let alert = NewAlert::new(AlertKind::Diverged, from.epoch.to_string(), message);
        self.raise(now, NewAlert { times: change_sets, revisions: Some((from, to)), ..alert });
        self.durable.assume_complete(false);
        self.session.set_quarantined(self.log.revision());
        if self.authority.state() == NodeState::SteppingDown {
            self.store_role();
        } else {
            self.durable.changed();
            self.close_all_links(now, None, "the copy is replaced");
        }
    }

    /// The changes that only this node holds could not be saved. If the store is damaged, they are given up when they
    /// cannot be read for the second time: otherwise nothing would ever repair the store.
    pub(super) fn quarantine_failed(&mut self, now: Now, failure: &DiskFailure) {
        if self.authority.state() == NodeState::TakingTail {
            self.close_all_links(now, None, "what only this node holds could not be saved");
            self.links.dial_at(self.authority.retry_at());
        }
        let head = self.log.revision();
        let Some(damage) = self.log.damage().map(str::to_owned).filter(|_| !failure.full) else { return };
        if !self.session.unreadable_again(head) {
            return;
        }
        self.session.set_quarantined(head);
        let message = texts::unreadable(head, &damage, &failure.reason);
        self.raise(now, NewAlert::new(AlertKind::Diverged, Subject::ThisNode, message));
    }

    /// The role of shadow is durable.
    pub(super) fn stepped_down(&mut self, now: Now) {
        let planned = self.authority.reason() == RoleReason::Switched;
        self.durable.stepped_down((!planned).then_some(now.wall_ms));
        self.session.stepped_down();
        self.authority.drop_covers(now.at);
        self.authority.outdate_record();
        let reason = if planned { RoleReason::Switched } else { RoleReason::SteppedDown };
        self.transition(now, Transition::SteppedDown, reason);
        self.leave();
        let hello = self.links.active().and_then(|connection| connection.hello());
        if planned && hello.is_some_and(|hello| hello.role == Role::Shadow) {
            // The new master closes this link, when it is one: then it has read what was said on it.
            return self.session_ended(now);
        }
        // New hellos tell who is who now.
        self.close_all_links(now, None, "this node is the shadow now");
    }
}
