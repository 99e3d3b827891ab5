//! The times of failover: derived from the options in one place.

use std::time::Duration;

use crate::model::Moment;

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
