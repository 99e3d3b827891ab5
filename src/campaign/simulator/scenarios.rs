//! Directed beginnings: situations that random steps rarely line up, each with random parameters. In every one of them a rule
//! of failover is what saves the pair, so that a node without the rule is caught there (the table in `tests/mutants.rs`).
//!
//! `A` is the master when a history begins, `B` its shadow. Times hang together with those of `Host::options`: heartbeat
//! 100 ms, takeover delay 500 ms, a link given up after 300 ms.

mod without_witness;
mod witness_record;

use super::plan::Plan;
use super::random::Random;
use super::step::Side::{self, A, B};
use super::step::{Fate, Step, Verb, WitnessFault};
use crate::protocol::engine::{Failover, Replication};

/// The longest lease that fits into the takeover delay, milliseconds: the widest windows.
const LEASE_MS_MAX: u64 = 488;

/// What a history begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// The shadow hears nothing of a master whose lease runs on, until that one's way to the witness fails as well.
    Deaf,
    /// As before, and the shadow's questions take long to reach the witness: what it reads may be newer than its question.
    SlowReads,
    /// As before, but only the master's swaps fail, the first of them by its answer: its reads show that it landed.
    ReadsOnly,
    /// The shadow's answers arrive late, and then nothing more of the master reaches the shadow.
    SlowAnswers,
    /// An operator makes the shadow master while its promise to the old one runs.
    Ordered,
    /// So does one of a shadow that was started again meanwhile, and whose master's lease is short.
    OrderedAfterRestart,
    /// The swap of a takeover lands late, or its answer is lost; then the old master is heard again.
    LateSwap,
    /// The old master is heard again while the swap of the takeover is under way.
    HeardWhileClaiming,
    /// The old master is heard again while the new one stores its epoch.
    HeardWhileStoring,
    /// The shadow loses power in the middle of its takeover, and is started again.
    CrashInTakeover,
    /// The master acknowledges alone and dies before it could record what.
    Alone,
    /// The swap that calls the shadow in sync lands long after the shadow is away again.
    LateFlag,
    /// The master starts again, the witness is away, and callers commit before the shadow has the new era.
    RestartedMaster,
    /// The master's disk becomes an older copy, its shadow is away.
    OldMaster,
    /// The shadow's disk becomes an older copy, its master dies.
    OldShadow,
    /// A sync of the master fails between commits.
    FailedSync,
    /// The master's lease is long, the shadow's own short.
    UnequalLeases,
    /// The record is wiped while its holder's lease runs, and an operator accepts the loss.
    WipedWhileHeld,
    /// A master that does not reach the witness forgets its shadow.
    Forgotten,
    /// Without a witness: the master stops while a new connection is made.
    StoppedInGreeting,
    /// Without a witness: the master dies while its shadow gets its first copy.
    InterruptedCopy,
    /// Without a witness: the master's disk becomes one without content, while the shadow does not answer.
    BlankMaster,
    /// Without a witness: the master's disk becomes an older copy, and callers commit as they did after it was made.
    OldCopy,
}

/// Steps, as they are written down.
struct Script<'a> {
    random: &'a mut Random,
    plan: &'a mut Plan,
}

impl Scenario {
    /// Those of a pair with a witness.
    pub const WITNESSED: [Self; 19] = [
        Self::Deaf,
        Self::SlowReads,
        Self::ReadsOnly,
        Self::SlowAnswers,
        Self::Ordered,
        Self::OrderedAfterRestart,
        Self::LateSwap,
        Self::HeardWhileClaiming,
        Self::HeardWhileStoring,
        Self::CrashInTakeover,
        Self::Alone,
        Self::LateFlag,
        Self::RestartedMaster,
        Self::OldMaster,
        Self::OldShadow,
        Self::FailedSync,
        Self::UnequalLeases,
        Self::WipedWhileHeld,
        Self::Forgotten,
    ];
    /// Those of a pair without one.
    pub const UNWITNESSED: [Self; 4] =
        [Self::StoppedInGreeting, Self::InterruptedCopy, Self::BlankMaster, Self::OldCopy];

    /// Whether it is about a pair with a witness.
    pub fn is_witnessed(self) -> bool {
        Self::WITNESSED.contains(&self)
    }

    /// Writes the beginning into a plan, and what it needs of the surroundings.
    pub fn begin(self, random: &mut Random, plan: &mut Plan) {
        plan.failover = Failover::Automatic;
        plan.hold_down_s = 0;
        plan.blank_witness = false;
        plan.sync_timeout_ms = 200;
        plan.steps.clear();
        let mut script = Script { random, plan };
        match self {
            Self::Deaf => script.deaf(false),
            Self::SlowReads => script.deaf(true),
            Self::ReadsOnly => script.reads_only(),
            Self::SlowAnswers => script.slow_answers(),
            Self::Ordered => script.ordered(),
            Self::OrderedAfterRestart => script.ordered_after_restart(),
            Self::LateSwap => script.late_swap(),
            Self::HeardWhileClaiming => script.heard_while_claiming(),
            Self::HeardWhileStoring => script.heard_while_storing(),
            Self::CrashInTakeover => script.crash_in_takeover(),
            Self::Alone => script.alone(),
            Self::LateFlag => script.late_flag(),
            Self::RestartedMaster => script.restarted_master(),
            Self::OldMaster => script.old_master(),
            Self::OldShadow => script.old_shadow(),
            Self::FailedSync => script.failed_sync(),
            Self::UnequalLeases => script.unequal_leases(),
            Self::WipedWhileHeld => script.wiped_while_held(),
            Self::Forgotten => script.forgotten(),
            Self::StoppedInGreeting => script.stopped_in_greeting(),
            Self::InterruptedCopy => script.interrupted_copy(),
            Self::BlankMaster => script.blank_master(),
            Self::OldCopy => script.old_copy(),
        }
    }
}

impl Script<'_> {
    fn step(&mut self, step: Step) {
        self.plan.steps.push(step);
    }

    /// Time passes: between these, milliseconds.
    fn run(&mut self, from_ms: u64, to_ms: u64) {
        let us = self.random.range(from_ms * 1_000, to_ms * 1_000);
        self.step(Step::Run { us });
    }

    fn commit(&mut self, node: Side) {
        let (key, value) = (self.random.below(8) as u8, Some(self.random.bits()));
        self.step(Step::Commit { node, key, value, guarded: false });
    }

    fn commits(&mut self, node: Side, count: u64, between_ms: u64) {
        for _ in 0..count {
            self.commit(node);
            self.run(0, between_ms);
        }
    }

    fn part(&mut self) {
        self.step(Step::Cut { from: A });
        self.step(Step::Cut { from: B });
    }

    fn heal(&mut self) {
        self.step(Step::Heal { from: A });
        self.step(Step::Heal { from: B });
    }

    fn crash(&mut self, node: Side) {
        let (silent, kept) = (self.random.percent(50), self.random.below(256) as u8);
        self.step(Step::Crash { node, silent, kept });
    }

    fn strike(&mut self, what: WitnessFault) {
        self.step(Step::Witness { what });
    }

    /// A node does not reach the witness.
    fn away(&mut self, node: Side) {
        self.strike(WitnessFault::Cut { node, cut: true });
    }

    fn swap(&mut self, node: Side, fate: Fate) {
        self.strike(WitnessFault::Swap { node, fate });
    }

    fn operator(&mut self, node: Side, verb: Verb) {
        self.step(Step::Operator { node, verb });
    }

    /// The master's clock is the slow one, the shadow's the fast one: a lease lasts longest and is waited for shortest.
    fn far_apart(&mut self) {
        if self.random.percent(75) {
            self.plan.rates_ppm = [-9_900, 9_900];
        }
    }

    fn long_leases(&mut self) {
        self.plan.lease_ms = if self.random.percent(80) { [Some(LEASE_MS_MAX); 2] } else { [None; 2] };
    }

    /// A pair that has come together, with some content.
    fn together(&mut self) {
        self.run(900, 1_200);
        let count = self.random.range(1, 4);
        self.commits(A, count, 20);
        self.run(150, 400);
    }

    fn deaf(&mut self, slow: bool) {
        self.far_apart();
        self.long_leases();
        self.together();
        self.step(Step::Cut { from: A });
        if !slow && self.random.percent(40) {
            let us = self.random.range(20_000, 200_000);
            self.strike(WitnessFault::Latency { node: A, us });
        }
        self.run(300, 900);
        if slow {
            let us = self.random.range(100_000, 230_000);
            self.strike(WitnessFault::Latency { node: B, us });
            self.run(300, 700);
        }
        self.away(A);
        self.commit(A);
        if slow {
            self.run(50, 350);
            self.strike(WitnessFault::Latency { node: B, us: 300 });
        }
        self.run(200, 500);
        self.commit(A);
        self.run(400, 900);
    }

    fn reads_only(&mut self) {
        self.long_leases();
        self.together();
        self.step(Step::Cut { from: A });
        self.run(500, 900);
        self.swap(A, Fate::AnswerLost);
        for _ in 0..6 {
            self.swap(A, Fate::QuestionLost);
        }
        self.run(1_200, 1_800);
    }

    fn slow_answers(&mut self) {
        self.long_leases();
        self.far_apart();
        self.together();
        let us = self.random.range(180_000, 280_000);
        self.step(Step::SlowConns { us });
        self.away(A);
        self.run(us / 1_000 + 10, us / 1_000 + 120);
        self.step(Step::Cut { from: A });
        self.run(1_000, 1_500);
    }

    fn ordered(&mut self) {
        self.together();
        self.away(A);
        self.run(700, 1_100);
        match self.random.below(3) {
            0 => self.operator(B, Verb::Disconnect),
            1 => {
                self.step(Step::Cut { from: A });
                self.run(300, 340);
            }
            _ => {
                self.part();
                self.step(Step::Reset);
                self.run(300, 310);
            }
        }
        self.run(0, 60);
        self.operator(B, Verb::TakeOver { accept_loss: false });
        self.run(600, 1_000);
    }

    fn ordered_after_restart(&mut self) {
        self.plan.lease_ms = [Some(100), Some(LEASE_MS_MAX)];
        self.far_apart();
        self.together();
        self.away(A);
        self.run(100, 400);
        self.part();
        self.crash(B);
        self.run(0, 60);
        self.step(Step::Start { node: B });
        self.run(0, 30);
        self.operator(B, Verb::TakeOver { accept_loss: false });
        self.run(600, 1_000);
    }

    fn late_swap(&mut self) {
        self.long_leases();
        self.together();
        let fate = match self.random.below(3) {
            0 => Fate::AnswerLost,
            _ => Fate::Late { us: self.random.range(200_000, 1_100_000) },
        };
        self.swap(B, fate);
        self.away(A);
        self.step(Step::Cut { from: A });
        self.run(700, 1_100);
        self.heal();
        self.run(500, 1_500);
    }

    fn heard_while_claiming(&mut self) {
        self.long_leases();
        self.together();
        let us = self.random.range(100_000, 240_000);
        self.swap(B, Fate::Late { us });
        self.away(A);
        self.step(Step::Cut { from: A });
        self.run(450, 650);
        self.heal();
        self.run(500, 1_000);
    }

    fn heard_while_storing(&mut self) {
        self.long_leases();
        self.together();
        let us = self.random.range(60_000, 150_000);
        self.step(Step::DiskLatency { node: B, us });
        self.away(A);
        self.step(Step::Cut { from: A });
        self.run(520, 850);
        self.heal();
        self.run(500, 1_000);
        self.step(Step::DiskLatency { node: B, us: 100 });
    }

    fn crash_in_takeover(&mut self) {
        self.together();
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
                self.part();
                self.away(A);
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

    fn alone(&mut self) {
        self.plan.replication = Replication::Synchronous;
        self.together();
        self.part();
        self.run(0, 200);
        self.commit(A);
        // What a commit waits for the shadow, and a little.
        self.run(200, 290);
        self.crash(A);
        self.run(900, 1_500);
    }

    fn late_flag(&mut self) {
        self.plan.replication = Replication::Synchronous;
        self.plan.lease_ms = [Some(self.random.range(200, 400)), Some(LEASE_MS_MAX)];
        self.together();
        self.part();
        self.commit(A);
        self.run(400, 700);
        let us = self.random.range(1_000_000, 1_500_000);
        self.swap(A, Fate::Late { us });
        for _ in 0..8 {
            self.swap(A, Fate::QuestionLost);
        }
        self.heal();
        self.run(150, 500);
        self.part();
        self.commit(A);
        self.run(1_200, 1_800);
    }

    fn restarted_master(&mut self) {
        self.plan.replication = Replication::Synchronous;
        self.together();
        let us = self.random.range(3_000, 20_000);
        self.step(Step::Latency { us });
        self.run(50, 100);
        self.crash(A);
        self.away(A);
        self.step(Step::Start { node: A });
        self.commits(A, 25, 20);
        self.run(100, 500);
    }

    fn old_master(&mut self) {
        self.together();
        self.step(Step::KeepCopy { node: A });
        self.commits(A, 3, 20);
        self.run(200, 400);
        match self.random.percent(50) {
            true => self.part(),
            false => self.step(Step::Pause { node: B }),
        }
        self.step(Step::RollBack { node: A });
        self.step(Step::Start { node: A });
        self.run(1_000, 1_500);
    }

    fn old_shadow(&mut self) {
        self.together();
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

    fn failed_sync(&mut self) {
        self.together();
        let kept = *self.random.pick(&[0, 127, 255]);
        self.step(Step::FailSync { node: A, kept });
        self.commits(A, 3, 2);
        self.run(0, 1_200);
        self.commits(A, 3, 100);
    }
}
