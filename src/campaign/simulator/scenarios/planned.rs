//! Scenarios of planned moves: switches of roles with a fault in the middle, and a pause.

use super::script::{LEASE_MS_MAX, Script};
use crate::campaign::simulator::step::{Fate, Step, Verb, WitnessFault};
use crate::testing::Side::{self, A, B};

impl Script<'_> {
    /// Callers commit, an operator of either node switches, and within the time that takes something goes wrong.
    pub(super) fn planned_switch(&mut self) {
        self.long_leases();
        if self.random.percent(40) {
            self.extreme_clock_rates();
        }
        self.come_together();
        let (network_us, disk_us) = (*self.random.pick(&[50, 500, 5_000]), *self.random.pick(&[100, 5_000, 20_000]));
        self.step(Step::Latency { us: network_us });
        for node in Side::BOTH {
            self.step(Step::DiskLatency { node, us: disk_us });
        }
        for _ in 0..self.random.range(1, 4) {
            let node = *self.random.pick(&Side::BOTH);
            self.before_a_switch();
            self.commits(A, 3, 3);
            self.commits(B, 2, 3);
            self.operator(node, Verb::SwitchRoles);
            // A switch takes some round trips and syncs.
            let us = self.random.below(8 * network_us + 4 * disk_us + 2_000);
            self.step(Step::Run { us: us / 2 });
            self.commits(A, 2, 1);
            self.step(Step::Run { us: us / 2 });
            self.in_the_middle();
            self.commits(Side::A, 2, 60);
            self.commits(Side::B, 2, 60);
            self.run(0, 900);
            self.heal();
            for node in Side::BOTH {
                self.step(Step::Resume { node, timer_first: false });
                self.step(Step::DiskFull { node, full: false });
                self.step(Step::Start { node });
            }
            self.run(100, 1_500);
        }
    }

    /// What shows only when its moment comes.
    fn before_a_switch(&mut self) {
        let node = *self.random.pick(&Side::BOTH);
        let fate = match self.random.below(4) {
            0 => Fate::QuestionLost,
            1 => Fate::AnswerLost,
            _ => Fate::Late { us: self.random.range(50_000, 900_000) },
        };
        match self.random.below(6) {
            0 | 1 if self.plan.witnessed => self.swap(node, fate),
            2 => {
                let kept = self.random.below(256) as u8;
                let actions = self.random.below(5) as u8;
                self.step(Step::FailSync { node, kept });
                if self.random.percent(50) {
                    self.step(Step::CrashAt { node, silent: true, kept, actions });
                }
            }
            _ => {}
        }
    }

    fn in_the_middle(&mut self) {
        let node = *self.random.pick(&Side::BOTH);
        match self.random.below(9) {
            0 | 1 => self.crash(node),
            2 => self.step(Step::Pause { node }),
            3 => self.partition(),
            4 => self.step(Step::Cut { from: node }),
            5 => self.step(Step::Reset),
            6 => self.step(Step::DiskFull { node, full: true }),
            7 if self.plan.witnessed => {
                self.lose_witness(node);
                self.partition();
            }
            _ => {}
        }
    }

    pub(super) fn handed_over_and_cut_off(&mut self) {
        self.plan.lease_ms = [Some(LEASE_MS_MAX); 2];
        self.plan.rates_ppm = [9_900, -9_900];
        self.come_together();
        self.step(Step::Latency { us: 40_000 });
        self.run(200, 400);
        self.operator(A, Verb::SwitchRoles);
        let us = self.random.range(30_000, 90_000);
        self.step(Step::Run { us });
        self.lose_witness(B);
        let us = self.random.range(10_000, 60_000);
        self.step(Step::Run { us });
        self.step(Step::Cut { from: B });
        self.run(700, 1_100);
        self.witness_fault(WitnessFault::Cut { node: B, cut: false });
    }

    pub(super) fn paused_and_restarted(&mut self) {
        self.come_together();
        let node = *self.random.pick(&Side::BOTH);
        self.operator(node, Verb::Pause { on: true });
        self.run(50, 300);
        self.crash(B);
        self.step(Step::Start { node: B });
        self.run(200, 500);
        self.crash(A);
        self.run(900, 1_500);
    }

    pub(super) fn shadow_replaced(&mut self) {
        self.come_together();
        // Else the record is changed at once, whether that is waited for or not.
        if self.random.percent(70) {
            self.lose_witness(A);
        }
        self.partition();
        self.run(0, 250);
        let secret = self.random.bits();
        self.operator(A, Verb::ReplaceShadow { secret });
        self.run(5, 120);
        self.crash(A);
        self.run(1_500, 3_000);
    }
}
