//! Scenarios of a pair with a witness: partitions, takeovers, lost and late swaps, restarts.

use super::script::{LEASE_MS_MAX, Script};
use crate::campaign::simulator::step::{Fate, Step, Verb, WitnessFault};
use crate::protocol::engine::Replication;
use crate::testing::Side::{A, B};

impl Script<'_> {
    pub(super) fn one_way_partition(&mut self, slow: bool) {
        self.extreme_clock_rates();
        self.long_leases();
        self.come_together();
        self.step(Step::Cut { from: A });
        if !slow && self.random.percent(40) {
            let us = self.random.range(20_000, 200_000);
            self.witness_fault(WitnessFault::Latency { node: A, us });
        }
        self.run(300, 900);
        if slow {
            let us = self.random.range(100_000, 230_000);
            self.witness_fault(WitnessFault::Latency { node: B, us });
            self.run(300, 700);
        }
        self.lose_witness(A);
        self.commit(A);
        if slow {
            self.run(50, 350);
            self.witness_fault(WitnessFault::Latency { node: B, us: 300 });
        }
        self.run(200, 500);
        self.commit(A);
        self.run(400, 900);
    }

    pub(super) fn reads_only(&mut self) {
        self.long_leases();
        self.come_together();
        self.step(Step::Cut { from: A });
        self.run(500, 900);
        self.swap(A, Fate::AnswerLost);
        for _ in 0..6 {
            self.swap(A, Fate::QuestionLost);
        }
        self.run(1_200, 1_800);
    }

    pub(super) fn slow_answers(&mut self) {
        self.long_leases();
        self.extreme_clock_rates();
        self.come_together();
        let us = self.random.range(180_000, 280_000);
        self.step(Step::SlowConns { us });
        self.lose_witness(A);
        self.run(us / 1_000 + 10, us / 1_000 + 120);
        self.step(Step::Cut { from: A });
        self.run(1_000, 1_500);
    }

    pub(super) fn ordered_takeover(&mut self) {
        self.come_together();
        self.lose_witness(A);
        self.run(700, 1_100);
        match self.random.below(3) {
            0 => self.operator(B, Verb::Disconnect),
            1 => {
                self.step(Step::Cut { from: A });
                self.run(300, 340);
            }
            _ => {
                self.partition();
                self.step(Step::Reset);
                self.run(300, 310);
            }
        }
        self.run(0, 60);
        self.operator(B, Verb::TakeOver { accept_loss: false });
        self.run(600, 1_000);
    }

    pub(super) fn ordered_takeover_after_restart(&mut self) {
        self.plan.lease_ms = [Some(100), Some(LEASE_MS_MAX)];
        self.extreme_clock_rates();
        self.come_together();
        self.lose_witness(A);
        self.run(100, 400);
        self.partition();
        self.crash(B);
        self.run(0, 60);
        self.step(Step::Start { node: B });
        self.run(0, 30);
        self.operator(B, Verb::TakeOver { accept_loss: false });
        self.run(600, 1_000);
    }

    pub(super) fn late_swap(&mut self) {
        self.long_leases();
        self.come_together();
        let fate = match self.random.below(3) {
            0 => Fate::AnswerLost,
            _ => Fate::Late { us: self.random.range(200_000, 1_100_000) },
        };
        self.swap(B, fate);
        self.lose_witness(A);
        self.step(Step::Cut { from: A });
        self.run(700, 1_100);
        self.heal();
        self.run(500, 1_500);
    }

    pub(super) fn heard_during_swap(&mut self) {
        self.long_leases();
        self.come_together();
        let us = self.random.range(100_000, 240_000);
        self.swap(B, Fate::Late { us });
        self.lose_witness(A);
        self.step(Step::Cut { from: A });
        self.run(450, 650);
        self.heal();
        self.run(500, 1_000);
    }

    pub(super) fn heard_during_epoch_write(&mut self) {
        self.long_leases();
        self.come_together();
        let us = self.random.range(60_000, 150_000);
        self.step(Step::DiskLatency { node: B, us });
        self.lose_witness(A);
        self.step(Step::Cut { from: A });
        self.run(520, 850);
        self.heal();
        self.run(500, 1_000);
        self.step(Step::DiskLatency { node: B, us: 100 });
    }

    pub(super) fn crash_in_takeover(&mut self) {
        self.come_together();
        if self.random.percent(50) {
            let us = self.random.range(2_000, 20_000);
            self.step(Step::DiskLatency { node: B, us });
        }
        if self.random.percent(30) {
            self.swap(B, Fate::AnswerLost);
        }
        match self.random.percent(50) {
            true => self.crash(A),
            false => {
                self.partition();
                self.lose_witness(A);
            }
        }
        self.run(440, 580);
        if self.random.percent(50) {
            self.crash(B);
        } else {
            let (actions, kept) = (self.random.below(4) as u8, self.random.below(256) as u8);
            self.step(Step::CrashAt { node: B, silent: true, kept, actions });
            self.run(100, 200);
        }
        self.step(Step::Start { node: B });
        self.run(300, 1_200);
    }

    pub(super) fn lone_master(&mut self) {
        self.plan.replication = Replication::Synchronous;
        self.come_together();
        self.partition();
        self.run(0, 200);
        self.commit(A);
        // A little longer than a commit waits for the shadow.
        self.run(200, 290);
        self.crash(A);
        self.run(900, 1_500);
    }

    pub(super) fn late_in_sync_swap(&mut self) {
        self.plan.replication = Replication::Synchronous;
        self.plan.lease_ms = [Some(self.random.range(200, 400)), Some(LEASE_MS_MAX)];
        self.come_together();
        self.partition();
        self.commit(A);
        self.run(400, 700);
        let us = self.random.range(1_000_000, 1_500_000);
        self.swap(A, Fate::Late { us });
        for _ in 0..8 {
            self.swap(A, Fate::QuestionLost);
        }
        self.heal();
        self.run(150, 500);
        self.partition();
        self.commit(A);
        self.run(1_200, 1_800);
    }

    pub(super) fn restarted_master(&mut self) {
        self.plan.replication = Replication::Synchronous;
        self.come_together();
        let us = self.random.range(3_000, 20_000);
        self.step(Step::Latency { us });
        self.run(50, 100);
        self.crash(A);
        self.lose_witness(A);
        self.step(Step::Start { node: A });
        self.commits(A, 25, 20);
        self.run(100, 500);
    }

    pub(super) fn master_rolled_back(&mut self) {
        self.come_together();
        self.step(Step::KeepCopy { node: A });
        self.commits(A, 3, 20);
        self.run(200, 400);
        match self.random.percent(50) {
            true => self.partition(),
            false => self.step(Step::Pause { node: B }),
        }
        self.step(Step::RollBack { node: A });
        self.step(Step::Start { node: A });
        self.run(1_000, 1_500);
    }

    pub(super) fn shadow_rolled_back(&mut self) {
        self.come_together();
        self.step(Step::KeepCopy { node: B });
        self.commits(A, 3, 20);
        self.run(250, 600);
        self.step(Step::RollBack { node: B });
        self.run(0, 50);
        self.crash(A);
        self.run(0, 50);
        self.step(Step::Start { node: B });
        self.run(1_200, 1_800);
    }

    pub(super) fn failed_sync(&mut self) {
        self.come_together();
        let kept = *self.random.pick(&[0, 127, 255]);
        self.step(Step::FailSync { node: A, kept });
        self.commits(A, 3, 2);
        self.run(0, 1_200);
        self.commits(A, 3, 100);
    }
}
