//! The times of failover, all derived from the options.

use std::time::Duration;

use crate::model::Moment;

/// The intervals and timeouts of failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Interval of heartbeats.
    pub heartbeat_us: u64,
    /// Silence after which the shadow tries to take over.
    pub delay_us: u64,
    /// Silence after which a link is closed. It is shorter than the takeover delay, so that a new dial still ends within the
    /// delay.
    pub lost_after_us: u64,
    /// Lateness of this node's own clock loop that counts as a stop of the node.
    pub stall_us: u64,
    /// Time without a link after which the master reports its shadow as lost: three heartbeat intervals.
    pub shadow_lost_us: u64,
}

impl Timing {
    /// The times for this heartbeat interval and this takeover delay.
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

    /// The takeover delay's rule: a peer that was heard last at `since` counts as silent from the returned moment on.
    pub fn silence_ends(&self, since: Moment) -> Moment {
        Moment(since.0.saturating_add(self.delay_us))
    }
}

/// How long to wait for the end of an interval that another node's clock measures. Both clocks may be off by 1 %, one fast and
/// the other slow. So the wait is (1 + r) / (1 - r) = 1.0203 times as long, and one step of the timer. See `FAILOVER.md`, rule 4.
pub fn waited(time: Duration) -> Duration {
    time + time / 1_000 * 21 + Duration::from_millis(1)
}

/// A duration in whole microseconds.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The pause before the next dial. It is short at first and grows to about the heartbeat interval. It is jittered, so that the
/// two nodes do not dial at the same moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Resets the pause after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure, and returns the moment of the next attempt. `slow`: the peer refused, so the pause grows longer.
    pub fn next(&mut self, at: Moment, heartbeat_us: u64, slow: bool, random: u64) -> Moment {
        let base = (heartbeat_us / 4).clamp(10_000, 250_000);
        let cap = if slow { 2_000_000 } else { heartbeat_us.clamp(100_000, 1_000_000) };
        let wait = base.saturating_mul(1 << self.failures.min(10)).min(cap);
        self.failures = self.failures.saturating_add(1);
        let jitter = wait / 2;
        Moment(at.0 + wait - jitter / 2 + random % jitter.max(1))
    }
}
