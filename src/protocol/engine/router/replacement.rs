//! The shadow that an operator replaces by a new one: rule 24.

use crate::protocol::engine::durable::{Requester, Update};
use crate::protocol::engine::enrolments::Replacement;
use crate::protocol::engine::{CommandRefusal, Engine, Moment, Mutant, Now, StoredToken, Ticket};
use crate::protocol::failover::{NodeState, micros};
use crate::protocol::wire::Role;

impl Engine {
    /// An operator replaces the shadow by a new one, whether it is there or gone. With a witness its record must say first that the
    /// old one is not in sync, so that it cannot take over by it: rule 24. Then one write ends its pin and keeps the token.
    pub(super) fn replace_shadow(&mut self, now: Now, ticket: Ticket, token: StoredToken) {
        let (expected, _) = self.durable.expected(self.alerts.log());
        let refusal = match () {
            () if expected.role == Role::Shadow => CommandRefusal::NotMaster { master: self.master_elsewhere() },
            () if !expected.enabled => CommandRefusal::Disabled,
            () if expected.peer.is_none() => CommandRefusal::NoPeer,
            () if self.switchover.is_under_way() => CommandRefusal::SwitchUnderWay,
            // The token would name the key that is about to go. One that waits for the peer waits until the token is over.
            () if !self.rotation.stays(self.rotation.current()) => CommandRefusal::RotationUnderWay,
            () if self.enrolments.replacement().is_some() => CommandRefusal::Overloaded,
            () => {
                let Some(shadow) = expected.peer.map(|peer| peer.node) else { return };
                self.enrolments.replace(Replacement { ticket, shadow, token, since: now.at });
                return self.authority.ask_witness_soon();
            }
        };
        self.refuse(ticket, refusal);
    }

    /// Whether the shadow is being replaced, so that nobody is to be named as in sync.
    pub(super) fn is_replacing(&self) -> bool {
        self.enrolments.replacement().is_some() || self.durable.is_being_reset()
    }

    /// Ends the pin of a shadow that is being replaced as soon as it cannot take over any more, or gives up.
    pub(in super::super) fn advance_replacement(&mut self, now: Now) {
        if self.enrolments.replacement().is_none() {
            return;
        }
        let unsure = self.authority.state() == NodeState::Stalled && self.is_bound();
        let late = self.replacement_deadline().is_some_and(|at| at <= now.at);
        match () {
            () if unsure || late => self.call_off_replacement(CommandRefusal::WitnessUnreachable),
            () if !self.rotation.stays(self.rotation.current()) => {
                self.call_off_replacement(CommandRefusal::RotationUnderWay);
            }
            () if !self.durable.enabled => self.call_off_replacement(CommandRefusal::Disabled),
            () if !self.still_replaced() => self.call_off_replacement(CommandRefusal::NoPeer),
            () if !self.authority.is_serving() => {
                self.call_off_replacement(CommandRefusal::NotMaster { master: self.master_elsewhere() });
            }
            () if self.is_settled_alone() => {
                let Some(Replacement { ticket, token, .. }) = self.enrolments.take_replacement() else { return };
                // Without a word: it may not be replaced yet if this node dies now.
                self.close_all_links(now, None, "the shadow is replaced");
                self.update(Requester::Operator(ticket), Update::Replaced { token });
            }
            () => {}
        }
    }

    /// Whether the shadow that is to be replaced is still the one that is enrolled.
    fn still_replaced(&self) -> bool {
        let enrolled = self.durable.peer.as_ref().map(|peer| peer.node);
        self.enrolments.replacement().is_some_and(|replacement| enrolled == Some(replacement.shadow))
    }

    /// Whether the record, where there is a witness, says that nobody is in sync, by a swap of this node's own in this era.
    fn is_settled_alone(&self) -> bool {
        let witnessed = self.authority.witnessed().filter(|_| !self.setup.makes(Mutant::ReplacesUnrecorded));
        witnessed.is_none_or(|witnessed| witnessed.covers.is_alone())
    }

    /// A replacement waits for a lease and two answers of the witness at the most.
    pub(super) fn replacement_deadline(&self) -> Option<Moment> {
        let bound = self.setup.options.lease() + 2 * self.setup.options.witness_timeout();
        self.enrolments.replacement().map(|replacement| Moment(replacement.since.0.saturating_add(micros(bound))))
    }

    /// The shadow is not replaced: nothing has changed.
    pub(super) fn call_off_replacement(&mut self, refusal: CommandRefusal) {
        if let Some(replacement) = self.enrolments.take_replacement() {
            self.refuse(replacement.ticket, refusal);
        }
    }
}
