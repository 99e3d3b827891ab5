//! Scenarios of a pair without a witness.

use super::script::Script;
use crate::campaign::simulator::step::Step;
use crate::testing::Side::{A, B};

impl Script<'_> {
    pub(super) fn paused_during_handshake(&mut self) {
        self.run(900, 1_200);
        self.step(Step::Latency { us: 40_000 });
        self.run(200, 400);
        self.step(Step::Reset);
        self.run(20, 300);
        self.step(Step::Pause { node: A });
        self.run(600, 1_500);
        let timer_first = self.random.percent(50);
        self.step(Step::Resume { node: A, timer_first });
        self.commits(A, 3, 20);
        self.run(100, 600);
    }

    pub(super) fn interrupted_copy(&mut self) {
        self.partition();
        self.run(650, 900);
        self.commits(A, 8, 10);
        let us = self.random.range(1_000, 40_000);
        self.step(Step::DiskLatency { node: B, us });
        self.heal();
        self.run(0, 250);
        self.crash(A);
        self.run(900, 1_500);
    }

    pub(super) fn cut_push(&mut self) {
        self.plan.log_changes = self.random.range(4, 40) as usize;
        self.partition();
        self.run(650, 900);
        self.commits(A, 12, 10);
        // A piece at a time, so that a push takes several heartbeats.
        let us = self.random.range(10_000, 60_000);
        self.step(Step::DiskLatency { node: B, us });
        self.heal();
        for _ in 0..self.random.range(2, 5) {
            self.run(150, 700);
            self.commits(A, 2, 5);
            match self.random.below(4) {
                0 | 1 => self.step(Step::Reset),
                node => {
                    let node = if node == 2 { A } else { B };
                    self.crash(node);
                    self.step(Step::Start { node });
                }
            }
        }
        self.run(900, 1_500);
    }

    pub(super) fn blank_master(&mut self) {
        self.run(900, 1_200);
        self.step(Step::KeepCopy { node: A });
        self.commits(A, 4, 20);
        self.run(200, 400);
        self.step(Step::Pause { node: B });
        self.step(Step::RollBack { node: A });
        self.step(Step::Start { node: A });
        self.run(700, 1_000);
        self.step(Step::Resume { node: B, timer_first: true });
        self.run(300, 900);
    }

    pub(super) fn rolled_back_twice(&mut self) {
        self.come_together();
        self.crash(B);
        self.step(Step::KeepCopy { node: A });
        for _ in 0..2 {
            // The second round begins from the same copy as the first.
            self.step(Step::RollBack { node: A });
            self.step(Step::Start { node: A });
            self.run(700, 1_000);
            self.commits(A, 2, 20);
        }
    }

    pub(super) fn wrong_clocks(&mut self) {
        self.plan.hold_down_s = 5;
        let year_ms = 365 * 24 * 3_600_000;
        let ahead = self.random.percent(70);
        for node in [A, B] {
            self.step(Step::WallJump { node, ms: if ahead { year_ms } else { -year_ms } });
        }
        self.come_together();
        for master in [A, B, A] {
            self.crash(master);
            self.run(700, 900);
            self.step(Step::Start { node: master });
            self.run(300, 500);
        }
        // B is master. One of them is down, or none, while the clocks are set right.
        let down = self.random.percent(50);
        if down {
            self.crash(A);
        }
        for node in [A, B] {
            self.step(Step::WallJump { node, ms: 0 });
        }
        if down {
            self.step(Step::Start { node: A });
        }
        self.run(200, 400);
        self.crash(B);
        self.run(18_000, 20_000);
    }
}
