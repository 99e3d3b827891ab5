//! How a scenario writes its steps.

use crate::campaign::simulator::plan::Plan;
use crate::campaign::simulator::random::Random;
use crate::campaign::simulator::step::{Fate, Step, Verb, WitnessFault};
use crate::testing::Side::{self, A, B};

/// The longest lease that fits into the takeover delay, milliseconds. It leaves the most time for mistakes.
pub(super) const LEASE_MS_MAX: u64 = 488;

/// Writes the steps of a scenario into a plan.
pub(super) struct Script<'a> {
    pub(super) random: &'a mut Random,
    pub(super) plan: &'a mut Plan,
}

impl Script<'_> {
    /// Adds a step.
    pub(super) fn step(&mut self, step: Step) {
        self.plan.steps.push(step);
    }

    /// Time passes, between these milliseconds.
    pub(super) fn run(&mut self, from_ms: u64, to_ms: u64) {
        let us = self.random.range(from_ms * 1_000, to_ms * 1_000);
        self.step(Step::Run { us });
    }

    /// A caller commits.
    pub(super) fn commit(&mut self, node: Side) {
        let (key, value) = (self.random.below(8) as u8, Some(self.random.bits()));
        self.step(Step::Commit { node, key, value, guarded: false });
    }

    /// Callers commit so often, with a time between.
    pub(super) fn commits(&mut self, node: Side, count: u64, between_ms: u64) {
        for _ in 0..count {
            self.commit(node);
            self.run(0, between_ms);
        }
    }

    /// Nothing passes between the nodes.
    pub(super) fn partition(&mut self) {
        self.step(Step::Cut { from: A });
        self.step(Step::Cut { from: B });
    }

    /// Everything passes again.
    pub(super) fn heal(&mut self) {
        self.step(Step::Heal { from: A });
        self.step(Step::Heal { from: B });
    }

    /// Power is cut.
    pub(super) fn crash(&mut self, node: Side) {
        let (silent, kept) = (self.random.percent(50), self.random.below(256) as u8);
        self.step(Step::Crash { node, silent, kept });
    }

    /// A fault of the witness.
    pub(super) fn witness_fault(&mut self, what: WitnessFault) {
        self.step(Step::Witness { what });
    }

    /// A node loses the witness.
    pub(super) fn lose_witness(&mut self, node: Side) {
        self.witness_fault(WitnessFault::Cut { node, cut: true });
    }

    /// The fate of a node's next swap.
    pub(super) fn swap(&mut self, node: Side, fate: Fate) {
        self.witness_fault(WitnessFault::Swap { node, fate });
    }

    /// An operator says something.
    pub(super) fn operator(&mut self, node: Side, verb: Verb) {
        self.step(Step::Operator { node, verb });
    }

    /// Mostly a slow clock for the master and a fast one for the shadow: the lease lasts longest, the wait for it is shortest.
    pub(super) fn extreme_clock_rates(&mut self) {
        if self.random.percent(75) {
            self.plan.rates_ppm = [-9_900, 9_900];
        }
    }

    /// Mostly the longest leases.
    pub(super) fn long_leases(&mut self) {
        self.plan.lease_ms = if self.random.percent(80) { [Some(LEASE_MS_MAX); 2] } else { [None; 2] };
    }

    /// The master's disk takes long for what it is asked next. By the end its shadow serves: the disk timeout (800 ms), the
    /// takeover delay, a lease and the questions to the witness are over, and the disk has not answered yet.
    pub(super) fn hung_disk(&mut self) {
        self.come_together();
        self.step(Step::DiskLatency { node: A, us: 8_000_000 });
        let count = self.random.range(1, 3);
        self.commits(A, count, 100);
        self.run(3_000, 3_400);
        self.step(Step::DiskLatency { node: A, us: 100 });
    }

    /// The pair comes together and has some content.
    pub(super) fn come_together(&mut self) {
        self.run(900, 1_200);
        let count = self.random.range(1, 4);
        self.commits(A, count, 20);
        self.run(150, 400);
    }
}
