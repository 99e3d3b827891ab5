//! A former master yields: what only it has goes to quarantine, then it is a shadow.

use super::mastership::remember_takeover;
use super::{Engine, Mutant, Now, Quarantine, QuarantineReceipt, StatePurpose, StoreState};
use crate::model::{Relation, Revision};
use crate::protocol::alerts::{AlertKind, NewAlert};
use crate::protocol::failover::{NodeState, Transition};
use crate::protocol::wire::Role;

impl Engine {
    /// Quarantines what the one who outranks this node never had, then makes the new role durable.
    pub(super) fn advance_yield(&mut self, now: Now) {
        if !self.work.is_idle() || now.at < self.retry_at {
            return;
        }
        if self.makes(Mutant::ForgetsQuarantine) {
            self.durable_state.complete = false;
            return self.persist_yield();
        }
        let Some(winner) = self.session.yields_to.as_deref() else { return self.persist_yield() };
        match self.relation(winner) {
            Relation::Same | Relation::Ahead => self.persist_yield(),
            Relation::Behind => self.quarantine(winner.position.revision),
            Relation::Diverged { common } => self.quarantine(common),
            Relation::Foreign => self.quarantine(Revision::NONE),
        }
    }

    /// An era without change sets is no loss.
    fn quarantine(&mut self, common: Revision) {
        if common.seq == self.head.revision.seq {
            self.durable_state.complete = false;
            return self.persist_yield();
        }
        if self.session.set_aside == Some(self.head.revision) {
            // Only the role has still to be stored.
            return self.persist_yield();
        }
        self.work.queue(Quarantine { common });
    }

    pub(super) fn quarantined(&mut self, now: Now, receipt: QuarantineReceipt) {
        let QuarantineReceipt { from, to, change_sets } = receipt;
        let lost = match &self.damage {
            Some(damage) => format!("; what was damaged could not be kept: {damage}"),
            None => String::new(),
        };
        let whose =
            if self.node_state == NodeState::TakingTail { "shadow that repairs it" } else { "master it follows" };
        let message = format!(
            "{change_sets} change sets ({from} to {to}) that this node committed are not in the history of the \
             {whose}; they are kept in quarantine: look at them with `diverged`{lost}"
        );
        let trouble = NewAlert::new(AlertKind::Diverged, from.epoch.to_string(), message);
        self.raise(now, NewAlert { times: change_sets, revisions: Some((from, to)), ..trouble });
        self.durable_state.complete = false;
        self.session.set_aside = Some(self.head.revision);
        if self.node_state == NodeState::Yielding {
            self.persist_yield();
        } else {
            self.state_changed();
            self.close_all_links(now, None, "the copy is replaced");
        }
    }

    fn persist_yield(&mut self) {
        let durable_state = crate::protocol::engine::DurableState { role: Role::Shadow, ..self.state_now() };
        self.work.queue(StoreState { state: Box::new(durable_state), purpose: StatePurpose::StepDown });
    }

    pub(super) fn yielded(&mut self, now: Now) {
        self.durable_state.role = Role::Shadow;
        remember_takeover(&mut self.durable_state.takeovers_ms, now);
        self.state_changed();
        self.session.forget_winner();
        self.drop_covers(now);
        if let Some(witnessed) = &mut self.witnessed {
            witnessed.deposed = None;
            witnessed.register.outdated();
        }
        self.transition(now, Transition::Yielded, "yielded");
        // New hellos say who is who now.
        self.close_all_links(now, None, "this node is the shadow now");
    }
}
