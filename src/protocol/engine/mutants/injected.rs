//! What a mistake changes of an input or of an output. Each function returns what it was given unless its mistake is to be made.

use crate::model::{History, Key, Position, Revision, WitnessRecord};
use crate::protocol::engine::setup::Setup;
use crate::protocol::engine::{Committed, DurableState, Engine, Job, Moment, Mutant, Work};
use crate::protocol::failover::{Register, micros};
use crate::protocol::wire::{Message, Modes};

impl Setup {
    /// Since when the answer to a question counts for a lease, and since when for the age of a record.
    pub(in super::super) fn mistimed(&self, sent: Moment, answered: Moment) -> (Moment, Moment) {
        let lease_from = if self.makes(Mutant::LeaseFromAnswer) { answered } else { sent };
        let seen_at = if self.makes(Mutant::AgeFromQuestion) { sent } else { answered };
        (lease_from, seen_at)
    }

    /// Since when a promise counts.
    pub(in super::super) fn promised_since(&self, sent: Moment, answered: Moment) -> Moment {
        if self.makes(Mutant::PromiseFromAnswer) { answered } else { sent }
    }

    /// Until when a promise and a lease are waited for.
    pub(in super::super) fn misjudged_waits(
        &self,
        register: &Register,
        skew_us: u64,
        (promised, leased): (Moment, Option<Moment>),
    ) -> (Moment, Option<Moment>) {
        let usual = self.options.lease();
        let lease_us = micros(register.record().map_or(usual, |record| record.lease));
        let earlier = |until: Moment, us: u64| Moment(until.0.saturating_sub(us));
        let margin = |lease_us: u64, only: Mutant| {
            if self.makes(Mutant::NoMargin) || self.makes(only) { lease_us / 1_000 * 21 + 1_000 } else { 0 }
        };
        let early_us = match () {
            () if self.makes(Mutant::OwnLeaseLength) => lease_us.saturating_sub(micros(usual)),
            () if self.makes(Mutant::LeaseByOthersClock) => skew_us,
            () => 0,
        };
        let wiped = register.is_missing() && self.makes(Mutant::WipedLeaseIsOver);
        let leased = leased.filter(|_| !wiped);
        let leased = leased.map(|until| earlier(until, margin(lease_us, Mutant::NoMarginOnLease) + early_us));
        (earlier(promised, margin(micros(usual), Mutant::NoMarginOnPromise)), leased)
    }

    /// The record that a takeover swaps in.
    pub(in super::super) fn misrecorded(&self, record: WitnessRecord) -> WitnessRecord {
        let revision = if self.makes(Mutant::LowersRevision) { Revision::NONE } else { record.revision };
        WitnessRecord { revision, ..record }
    }

    /// The position for which a shadow is prepared: this node's head, or whatever the shadow has.
    pub(in super::super) fn misprepared(&self, head: Position, confirmed: Option<Position>) -> Position {
        confirmed.filter(|_| self.makes(Mutant::SwitchesUndrained)).unwrap_or(head)
    }

    /// The lineage of a shadow whose tail was taken over: without this node's new era, or with it.
    pub(in super::super) fn misread_lineage(&self, without: History, with: &History) -> History {
        if self.makes(Mutant::GivesEraUnseen) { with.clone() } else { without }
    }

    /// What is written as durable state.
    pub(in super::super) fn miswritten(&self, mut state: DurableState) -> DurableState {
        if self.makes(Mutant::ForgetsPause) {
            state.moves.modes = Modes::default();
        }
        state
    }

    /// Takes another part of a snapshot for staged than the sink has said.
    pub(in super::super) fn misread_point(&self, head: Revision, mut message: Message) -> Message {
        if let Message::SnapshotResume { point, .. } = &mut message {
            if self.makes(Mutant::ResumesUnchanged) {
                (point.from, point.upto) = (head, head);
            }
            if let (true, Ok(later)) = (self.makes(Mutant::ResumesAtWrongKey), Key::new("~")) {
                point.after = later;
            }
        }
        message
    }
}

impl Engine {
    /// Acknowledges the group in flight, which is in the log and not durable.
    pub(in super::super) fn acknowledge_written(&mut self) {
        let Some(Work::AppendGroup(order)) =
            self.work.limited().filter(|_| self.setup.makes(Mutant::AcknowledgesWritten))
        else {
            return;
        };
        for (ticket, seq) in order.job.context().into_iter().zip(self.log.next_seq()..) {
            let revision = Revision::new(self.log.epoch(), seq);
            self.acknowledge_commit(ticket, Committed { revision, replicated: false });
        }
    }
}
