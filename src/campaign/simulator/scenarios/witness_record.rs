//! Beginnings in which the record at the witness is what counts: its length of a lease, its loss, and its word that nobody
//! else counts.

use super::{LEASE_MS_MAX, Script};
use crate::campaign::simulator::step::Side::{A, B};
use crate::campaign::simulator::step::{Step, Verb, WitnessFault};

impl Script<'_> {
    pub(super) fn unequal_leases(&mut self) {
        self.plan.lease_ms = [Some(LEASE_MS_MAX), Some(self.random.range(100, 120))];
        self.together();
        self.step(Step::Cut { from: A });
        self.run(900, 1_500);
    }

    pub(super) fn wiped_while_held(&mut self) {
        self.long_leases();
        self.together();
        self.part();
        self.run(520, 900);
        self.strike(WitnessFault::Wipe);
        self.run(0, 250);
        self.operator(B, Verb::TakeOver { accept_loss: true });
        self.run(200, 900);
    }

    pub(super) fn forgotten(&mut self) {
        self.plan.lease_ms = [Some(LEASE_MS_MAX); 2];
        self.together();
        self.away(A);
        self.part();
        // Until its link is given up, and its covers are not over.
        self.run(310, 380);
        self.operator(A, Verb::Reset);
        self.run(900, 1_600);
    }
}
