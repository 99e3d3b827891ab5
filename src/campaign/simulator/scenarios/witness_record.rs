//! Scenarios about the record at the witness: the length of the lease in it, its loss, and what it still binds.

use super::script::{LEASE_MS_MAX, Script};
use crate::campaign::simulator::step::{Step, Verb, WitnessFault};
use crate::testing::Side::{A, B};

impl Script<'_> {
    pub(super) fn unequal_leases(&mut self) {
        self.plan.lease_ms = [Some(LEASE_MS_MAX), Some(self.random.range(100, 120))];
        self.come_together();
        self.step(Step::Cut { from: A });
        self.run(900, 1_500);
    }

    pub(super) fn wiped_while_held(&mut self) {
        self.long_leases();
        self.come_together();
        self.partition();
        self.run(520, 900);
        self.witness_fault(WitnessFault::Wipe);
        self.run(0, 250);
        self.operator(B, Verb::TakeOver { accept_loss: true });
        self.run(200, 900);
    }

    pub(super) fn pairing_reset(&mut self) {
        self.plan.lease_ms = [Some(LEASE_MS_MAX); 2];
        self.come_together();
        self.lose_witness(A);
        self.partition();
        // Until its link is given up, while it still holds mastership.
        self.run(310, 380);
        self.operator(A, Verb::Reset);
        self.run(900, 1_600);
    }
}
