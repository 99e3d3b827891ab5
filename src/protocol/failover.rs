//! Roles and who may act as master: the standing of a node, and what changes it.
//!
//! [`NodeState::turn`] is the whole machine, one table. The engine watches for what the table calls a [`Turn`], and does
//! what entering a standing asks for. Timings are derived in one place ([`Timing`]) from the validated options.
//!
//! Absent on purpose: fail-back. A master that comes back stays shadow until an operator or the next failure says
//! otherwise.

use std::time::Duration;

use crate::model::{Epoch, Moment, NodeId};

mod register;

pub use register::{Flaw, Register};

/// Where a node stands. The first six belong to the role of master, the next four to that of shadow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeState {
    /// Master by its directory; asks its peer whether that is still so.
    CheckingStartup,
    /// The shadow holds what this master's disk lost; takes it over.
    TakingTail,
    /// Its new era is being made durable.
    OpeningEra,
    /// Acts as master.
    Serving,
    /// Was stopped for too long, or has lost its cover; acknowledges nothing until its mastership is confirmed.
    Stalled,
    /// Another outranks it; its own changes go to quarantine, then it is shadow.
    SteppingDown,
    /// Follows the master, and watches it.
    Following,
    /// The master was silent for the takeover delay; the host is asked.
    AskingHost,
    /// Notes the term that it tries, then swaps the witness' record to itself.
    AskingWitness,
    /// Its era as the new master is being made durable.
    Promoting,
    /// The store failed and is being opened again; either role.
    Broken,
    /// The node is stopped; either role. No transition leads on.
    Stopped,
}

/// What changes a standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transition {
    /// There is no peer to ask.
    NoPeer,
    /// The peer answered as a shadow that has nothing this node lacks.
    PeerFollows,
    /// The peer answered as a shadow that has what this node lacks.
    PeerAhead,
    /// The peer answered as a master that outranks this one.
    Outranked,
    /// The peer did not answer for its own takeover delay.
    PeerSilent,
    /// The link was lost.
    LinkLost,
    /// An operator makes this node master.
    OperatorTakesOver,
    /// The era is durable.
    EraDurable,
    /// The era is durable, but no cover is there any more, or yet.
    EraDurableUncovered,
    /// The era could not be made durable; the store works.
    EraFailed,
    /// This node's own clock loop was late.
    Late,
    /// Neither the peer's promise nor the lease covers now.
    Uncovered,
    /// Mastership is confirmed: without a witness the peer answered as a shadow, or a dial failed; with one, a cover is there.
    Confirmed,
    /// The witness names the other node, or records more than this one holds.
    Deposed,
    /// The witness names this node, and the peer does not answer.
    WitnessVouches,
    /// Role and quarantine are durable.
    SteppedDown,
    /// The master was silent for the takeover delay, and nothing speaks against a takeover.
    Silence,
    /// A takeover has to be won at the witness.
    MustAskWitness,
    /// It is won.
    WitnessWon,
    /// It is not; the role is that of shadow.
    WitnessLost,
    /// It is not; the role is that of master.
    WitnessLostAsMaster,
    /// The host allows it.
    HostAllows,
    /// The host does not.
    HostRefuses,
    /// The master was heard again.
    MasterHeard,
    /// The store failed.
    StoreFailed,
    /// The store is open again; the role is that of master.
    ReopenedAsMaster,
    /// The store is open again; the role is that of shadow.
    ReopenedAsShadow,
    /// The node stops.
    Stopped,
}

impl NodeState {
    #[cfg(test)]
    /// Every standing, for tables.
    pub const ALL: [Self; 12] = [
        Self::CheckingStartup,
        Self::TakingTail,
        Self::OpeningEra,
        Self::Serving,
        Self::Stalled,
        Self::SteppingDown,
        Self::Following,
        Self::AskingHost,
        Self::AskingWitness,
        Self::Promoting,
        Self::Broken,
        Self::Stopped,
    ];

    /// The standing after this turn; `None` where it changes nothing.
    pub fn transition(self, turn: Transition) -> Option<Self> {
        use NodeState as S;
        use Transition as T;
        match (self, turn) {
            (S::Stopped, _) => None,
            (_, T::Stopped) => Some(S::Stopped),
            (S::Broken, T::ReopenedAsMaster) => Some(S::CheckingStartup),
            (S::Broken, T::ReopenedAsShadow) => Some(S::Following),
            (S::Broken, _) => None,
            (_, T::StoreFailed) => Some(S::Broken),

            (
                S::CheckingStartup,
                T::NoPeer | T::PeerFollows | T::PeerSilent | T::WitnessVouches | T::OperatorTakesOver,
            ) => Some(S::OpeningEra),
            (S::CheckingStartup, T::PeerAhead) => Some(S::TakingTail),
            (S::TakingTail, T::PeerFollows | T::OperatorTakesOver) => Some(S::OpeningEra),
            (S::TakingTail, T::LinkLost) => Some(S::CheckingStartup),
            (S::OpeningEra, T::EraDurable) => Some(S::Serving),
            (S::OpeningEra, T::EraFailed) => Some(S::CheckingStartup),
            (S::OpeningEra | S::Promoting, T::EraDurableUncovered) => Some(S::Stalled),
            (S::Serving, T::Late | T::Uncovered) => Some(S::Stalled),
            (S::Stalled, T::Confirmed) => Some(S::Serving),
            (S::CheckingStartup | S::TakingTail | S::Serving | S::Stalled, T::Outranked) => Some(S::SteppingDown),
            (S::Serving | S::Stalled, T::Deposed) => Some(S::CheckingStartup),
            (S::SteppingDown, T::SteppedDown) => Some(S::Following),

            (S::Following, T::Silence) => Some(S::AskingHost),
            (S::Following | S::AskingHost, T::OperatorTakesOver) => Some(S::Promoting),
            (S::Following | S::AskingHost | S::CheckingStartup | S::TakingTail, T::MustAskWitness) => {
                Some(S::AskingWitness)
            }
            (S::AskingWitness, T::WitnessWon) => Some(S::Promoting),
            (S::AskingWitness, T::WitnessLost) => Some(S::Following),
            (S::AskingWitness, T::WitnessLostAsMaster) => Some(S::CheckingStartup),
            (S::AskingHost, T::HostAllows) => Some(S::Promoting),
            (S::AskingHost, T::HostRefuses | T::MasterHeard) => Some(S::Following),
            (S::Promoting, T::EraDurable) => Some(S::Serving),
            (S::Promoting, T::EraFailed) => Some(S::Following),
            _ => None,
        }
    }

    /// Whether the role is that of master here, before and after it is durable.
    pub fn is_master(self) -> bool {
        matches!(self, Self::CheckingStartup | Self::TakingTail | Self::OpeningEra | Self::Serving | Self::Stalled)
    }
}

/// The moments of failover, from the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Interval of heartbeats.
    pub heartbeat_us: u64,
    /// Silence after which the shadow tries to take over.
    pub delay_us: u64,
    /// Silence after which a link is given up, so that a fresh dial ends within the delay.
    pub lost_after_us: u64,
    /// Lateness of the own clock loop that counts as a stop.
    pub stall_us: u64,
    /// Time without a link after which the master calls its shadow lost: three intervals.
    pub shadow_lost_us: u64,
}

impl Timing {
    /// Of a heartbeat interval and a takeover delay.
    pub fn of(heartbeat: Duration, delay: Duration) -> Self {
        let (heartbeat_us, delay_us) = (micros(heartbeat), micros(delay));
        Self {
            heartbeat_us,
            delay_us,
            lost_after_us: (delay_us / 10 * 6).max(heartbeat_us / 2 * 3),
            stall_us: delay_us / 2,
            shadow_lost_us: 3 * heartbeat_us,
        }
    }
}

/// How long to wait for the end of something that lasts this long by another clock: both clocks may be off by 1 %, one fast
/// and the other slow, so (1 + r) / (1 - r) = 1.0203 times as long, and one step of the timer. See `FAILOVER.md`, rule 4.
pub fn waited(time: Duration) -> Duration {
    time + time / 1_000 * 21 + Duration::from_millis(1)
}

/// A duration in whole microseconds.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What speaks for and against a takeover by this node itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakeoverConditions {
    /// Its role is that of shadow.
    pub shadow: bool,
    /// It has an enrolled peer.
    pub enrolled: bool,
    /// An operator decides.
    pub manual: bool,
    /// Its copy is complete and verified.
    pub complete: bool,
    /// It is being brought up to date, or was when the link was lost.
    pub syncing: bool,
    /// It had contact with its master since it started.
    pub contact: bool,
    /// An operator holds the link, here or there.
    pub held: bool,
    /// Too many takeovers of late.
    pub hold_down: bool,
    /// The store does not work.
    pub broken: bool,
    /// One side refuses the other.
    pub refused: bool,
    /// What the witness has against it, or against a master's serving.
    pub witness: Option<TakeoverBlocker>,
}

/// Why a node would not take over by itself now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TakeoverBlocker {
    /// It is the master.
    Master,
    /// It has no enrolled peer.
    NoPeer,
    /// An operator decides.
    Manual,
    /// Its copy was never complete and verified.
    Incomplete,
    /// It is being brought up to date, or was when the link was lost.
    Syncing,
    /// It had no contact with its master since it started.
    NoContact,
    /// An operator holds the link, here or there.
    Held,
    /// Too many takeovers of late.
    HoldDown,
    /// One side refuses the other.
    Refused,
    /// Its store does not work.
    DiskTrouble,
    /// The witness does not answer.
    WitnessUnreachable,
    /// The witness holds no record.
    RecordMissing,
    /// The witness holds an older record than it did.
    RecordOlder,
    /// The witness holds the record of another pair.
    RecordForeign,
    /// The record does not say that this node is in sync.
    NotInSync,
    /// The record names more than this node holds.
    BehindRecord,
    /// Of a master: the record names the other node.
    NotNamed,
    /// Of a master: the record names more than its disk holds.
    RolledBack,
    /// Of a master: neither a promise nor a lease covers now.
    Uncovered,
}

impl TakeoverBlocker {
    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::NoPeer => "no_peer",
            Self::Manual => "manual",
            Self::Incomplete => "incomplete",
            Self::Syncing => "syncing",
            Self::NoContact => "no_contact",
            Self::Held => "held",
            Self::HoldDown => "hold_down",
            Self::Refused => "refused",
            Self::DiskTrouble => "disk_trouble",
            Self::WitnessUnreachable => "witness_unreachable",
            Self::RecordMissing => "record_missing",
            Self::RecordOlder => "record_older",
            Self::RecordForeign => "record_foreign",
            Self::NotInSync => "not_in_sync",
            Self::BehindRecord => "behind_record",
            Self::NotNamed => "not_named",
            Self::RolledBack => "rolled_back",
            Self::Uncovered => "uncovered",
        }
    }
}

impl From<Flaw> for TakeoverBlocker {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Missing => Self::RecordMissing,
            Flaw::Older => Self::RecordOlder,
            Flaw::Foreign => Self::RecordForeign,
        }
    }
}

impl TakeoverConditions {
    /// Why it would not take over by itself; empty when it would.
    pub fn blockers(&self) -> Vec<TakeoverBlocker> {
        use TakeoverBlocker as B;
        if !self.shadow {
            return [B::Master].into_iter().chain(self.witness).collect();
        }
        let reasons = [
            (!self.enrolled, B::NoPeer),
            (self.manual, B::Manual),
            (!self.complete, B::Incomplete),
            (self.complete && self.syncing, B::Syncing),
            (!self.contact, B::NoContact),
            (self.held, B::Held),
            (self.hold_down, B::HoldDown),
            (self.refused, B::Refused),
            (self.broken, B::DiskTrouble),
        ];
        reasons.into_iter().filter_map(|(holds, blocker)| holds.then_some(blocker)).chain(self.witness).collect()
    }
}

/// Takeovers within the hold-down time after which there is none for that time.
pub const HOLD_DOWN_TAKEOVERS: usize = 3;

/// Whether takeovers at these wall-clock times forbid another one now.
pub fn held_down(takeovers_ms: &[u64], hold_down: Duration, wall_ms: u64) -> bool {
    let window_ms = u64::try_from(hold_down.as_millis()).unwrap_or(u64::MAX);
    let recent = takeovers_ms.iter().filter(|at| wall_ms.saturating_sub(**at) < window_ms).count();
    window_ms > 0 && recent >= HOLD_DOWN_TAKEOVERS
}

/// Of two masters without a witness, the one with the higher epoch stays, and of equals the higher id.
pub fn outranks(epoch: Epoch, node: NodeId, other: (Epoch, NodeId)) -> bool {
    (epoch, node) > other
}

/// When to dial again: soon at first, then at about the heartbeat interval, never in step with the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// It worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// It failed: the moment of the next try. `slow` where the peer refused.
    pub fn next(&mut self, at: Moment, heartbeat_us: u64, slow: bool, random: u64) -> Moment {
        let base = (heartbeat_us / 4).clamp(10_000, 250_000);
        let cap = if slow { 2_000_000 } else { heartbeat_us.clamp(100_000, 1_000_000) };
        let wait = base.saturating_mul(1 << self.failures.min(10)).min(cap);
        self.failures = self.failures.saturating_add(1);
        let jitter = wait / 2;
        Moment(at.0 + wait - jitter / 2 + random % jitter.max(1))
    }
}

#[cfg(test)]
mod tests;
