//! Scenarios: beginnings that random steps rarely produce, each with random parameters. In each of them the pair depends on one
//! rule of failover, so that an engine without the rule is caught there (see the table in `tests/mutants.rs`).
//!
//! `A` is the master when a history begins, `B` its shadow. The times belong to those of `Machine::options`: heartbeat 100 ms,
//! takeover delay 500 ms, a link is given up after 300 ms.

mod planned;
mod script;
mod with_witness;
mod without_witness;
mod witness_record;

use super::plan::Plan;
use super::random::Random;
use crate::protocol::engine::Failover;
use script::Script;

/// How a history begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// The shadow hears nothing of the master. The master renews its lease, until it loses the witness as well.
    OneWayPartition,
    /// The same, and the shadow's questions take long to reach the witness: what it reads may be newer than its question.
    SlowReads,
    /// The same, but only the master's swaps fail. The answer of the first is lost, and its reads show that it was done.
    ReadsOnly,
    /// The shadow's answers arrive late. Then nothing more of the master reaches the shadow.
    SlowAnswers,
    /// An operator orders a takeover while the shadow's promise to the master runs.
    OrderedTakeover,
    /// The same, but the shadow was restarted meanwhile, and the master's lease is short.
    OrderedTakeoverAfterRestart,
    /// The swap of a takeover arrives late, or its answer is lost. Then the old master is heard again.
    LateSwap,
    /// The old master is heard again while the swap of the takeover is under way.
    HeardDuringSwap,
    /// The old master is heard again while the new one stores its epoch.
    HeardDuringEpochWrite,
    /// The shadow loses power in the middle of its takeover, and is restarted.
    CrashInTakeover,
    /// The master acknowledges alone and dies before it can record the revision.
    LoneMaster,
    /// The swap that names the shadow in sync arrives long after the shadow is away again.
    LateInSyncSwap,
    /// The master restarts without the witness, and callers commit before the shadow has the new era.
    RestartedMaster,
    /// The master's disk is rolled back while the shadow is away.
    MasterRolledBack,
    /// The shadow's disk is rolled back, and the master dies.
    ShadowRolledBack,
    /// A sync of the master fails between commits.
    FailedSync,
    /// The master's lease is long, the shadow's is short.
    UnequalLeases,
    /// The record is wiped while its holder's lease runs, and an operator accepts the loss.
    WipedWhileHeld,
    /// An operator resets the pairing of a master that does not reach the witness.
    PairingReset,
    /// The master's disk does not answer for a long time, and then does what it was asked.
    HungDisk,
    /// Roles are switched while callers commit, and something goes wrong in the middle.
    PlannedSwitch,
    /// The same without a witness.
    PlannedSwitchWithoutWitness,
    /// What is handed over reaches a shadow that loses the witness, and that its former master does not hear any more.
    HandedOverAndCutOff,
    /// Failover is paused, and both nodes restart.
    PausedAndRestarted,
    /// An operator replaces a shadow that is cut off, mostly without the witness. Then its former master dies.
    ShadowReplaced,
    /// Without a witness: the master is paused during a handshake.
    PausedDuringHandshake,
    /// Without a witness: the master dies while the shadow receives its first copy.
    InterruptedCopy,
    /// Without a witness: the master's disk is rolled back to an empty one while the shadow does not answer.
    BlankMaster,
    /// Without a witness: the master's disk is rolled back twice to one copy, and callers commit after each.
    RolledBackTwice,
    /// Without a witness: three takeovers while the wall clocks show another year. Then they are set right.
    WrongClocks,
    /// Without a witness: the master's disk does not answer for a long time, and then does what it was asked.
    HungDiskWithoutWitness,
    /// Without a witness: the shadow's first copy is cut several times, by the network and by restarts, between commits.
    CutPush,
}

impl Scenario {
    /// The scenarios with a witness. Seeds draw by position: the order must not change.
    pub const WITNESSED: [Self; 20] = [
        Self::OneWayPartition,
        Self::SlowReads,
        Self::ReadsOnly,
        Self::SlowAnswers,
        Self::OrderedTakeover,
        Self::OrderedTakeoverAfterRestart,
        Self::LateSwap,
        Self::HeardDuringSwap,
        Self::HeardDuringEpochWrite,
        Self::CrashInTakeover,
        Self::LoneMaster,
        Self::LateInSyncSwap,
        Self::RestartedMaster,
        Self::MasterRolledBack,
        Self::ShadowRolledBack,
        Self::FailedSync,
        Self::UnequalLeases,
        Self::WipedWhileHeld,
        Self::PairingReset,
        Self::HungDisk,
    ];
    /// The scenarios without a witness. Their order must not change either.
    pub const UNWITNESSED: [Self; 5] = [
        Self::PausedDuringHandshake,
        Self::InterruptedCopy,
        Self::BlankMaster,
        Self::RolledBackTwice,
        Self::HungDiskWithoutWitness,
    ];

    /// The scenarios that no seed draws by itself.
    pub const ALONE: [Self; 2] = [Self::WrongClocks, Self::CutPush];

    /// Scenarios of planned moves. No seed draws them by itself.
    pub const PLANNED: [Self; 5] = [
        Self::PlannedSwitch,
        Self::PlannedSwitchWithoutWitness,
        Self::HandedOverAndCutOff,
        Self::PausedAndRestarted,
        Self::ShadowReplaced,
    ];

    /// Whether the pair has a witness.
    pub fn is_witnessed(self) -> bool {
        Self::WITNESSED.contains(&self)
            || matches!(self, Self::PlannedSwitch | Self::HandedOverAndCutOff | Self::ShadowReplaced)
    }

    /// Writes the scenario into a plan, and the surroundings that it needs.
    pub fn begin(self, random: &mut Random, plan: &mut Plan) {
        plan.failover = Failover::Automatic;
        plan.hold_down_s = 0;
        plan.blank_witness = false;
        plan.sync_timeout_ms = 200;
        plan.steps.clear();
        let mut script = Script { random, plan };
        match self {
            Self::OneWayPartition => script.one_way_partition(false),
            Self::SlowReads => script.one_way_partition(true),
            Self::ReadsOnly => script.reads_only(),
            Self::SlowAnswers => script.slow_answers(),
            Self::OrderedTakeover => script.ordered_takeover(),
            Self::OrderedTakeoverAfterRestart => script.ordered_takeover_after_restart(),
            Self::LateSwap => script.late_swap(),
            Self::HeardDuringSwap => script.heard_during_swap(),
            Self::HeardDuringEpochWrite => script.heard_during_epoch_write(),
            Self::CrashInTakeover => script.crash_in_takeover(),
            Self::LoneMaster => script.lone_master(),
            Self::LateInSyncSwap => script.late_in_sync_swap(),
            Self::RestartedMaster => script.restarted_master(),
            Self::MasterRolledBack => script.master_rolled_back(),
            Self::ShadowRolledBack => script.shadow_rolled_back(),
            Self::FailedSync => script.failed_sync(),
            Self::UnequalLeases => script.unequal_leases(),
            Self::WipedWhileHeld => script.wiped_while_held(),
            Self::PairingReset => script.pairing_reset(),
            Self::PausedDuringHandshake => script.paused_during_handshake(),
            Self::InterruptedCopy => script.interrupted_copy(),
            Self::BlankMaster => script.blank_master(),
            Self::RolledBackTwice => script.rolled_back_twice(),
            Self::WrongClocks => script.wrong_clocks(),
            Self::CutPush => script.cut_push(),
            Self::HungDisk | Self::HungDiskWithoutWitness => script.hung_disk(),
            Self::PlannedSwitch | Self::PlannedSwitchWithoutWitness => script.planned_switch(),
            Self::HandedOverAndCutOff => script.handed_over_and_cut_off(),
            Self::PausedAndRestarted => script.paused_and_restarted(),
            Self::ShadowReplaced => script.shadow_replaced(),
        }
    }
}
