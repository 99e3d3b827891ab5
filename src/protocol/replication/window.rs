use std::time::Duration;

use crate::model::limits::{WINDOW_BYTES_MAX, WINDOW_BYTES_MIN};

/// How much bulk may be in flight: so much that its acknowledgement comes back within a fraction of the heartbeat
/// interval. It grows while acknowledgements come early and shrinks when they come late, by the measured time from push
/// to acknowledgement (the idea of delay-based congestion control: TCP Vegas, Brakmo 1994).
#[derive(Clone, Debug)]
pub struct Window {
    bytes: usize,
    in_flight: u64,
    /// Times at which the bytes up to this sum were pushed, for the measurement. One at a time is enough.
    probe: Option<(u64, u64)>,
    pushed: u64,
    early_us: u64,
    late_us: u64,
}

impl Window {
    /// For this heartbeat interval.
    pub fn new(heartbeat: Duration) -> Self {
        let heartbeat_us = u64::try_from(heartbeat.as_micros()).unwrap_or(u64::MAX);
        Self {
            bytes: 8 * WINDOW_BYTES_MIN,
            in_flight: 0,
            probe: None,
            pushed: 0,
            early_us: heartbeat_us / 8,
            late_us: heartbeat_us / 3,
        }
    }

    /// How many bytes may be pushed now.
    pub fn room(&self) -> usize {
        self.bytes.saturating_sub(usize::try_from(self.in_flight).unwrap_or(usize::MAX))
    }

    /// Whether everything pushed was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.in_flight == 0
    }

    /// These bytes are on their way.
    pub fn pushed(&mut self, bytes: usize, at_us: u64) {
        self.in_flight += bytes as u64;
        self.pushed += bytes as u64;
        if self.probe.is_none() && bytes > 0 {
            self.probe = Some((self.pushed, at_us));
        }
    }

    /// Of all bytes pushed, this sum is acknowledged. Returns `false` where it is more than was ever pushed.
    #[must_use]
    pub fn acknowledged(&mut self, sum: u64, at_us: u64) -> bool {
        if sum > self.pushed {
            return false;
        }
        self.in_flight = self.in_flight.min(self.pushed - sum);
        if let Some((mark, since_us)) = self.probe
            && sum >= mark
        {
            self.probe = None;
            let took_us = at_us.saturating_sub(since_us);
            if took_us > self.late_us {
                self.bytes = (self.bytes / 2).max(WINDOW_BYTES_MIN);
            } else if took_us < self.early_us {
                self.bytes = (self.bytes * 2).min(WINDOW_BYTES_MAX);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_on_a_fast_link_and_shrinks_on_a_slow_one() {
        let mut window = Window::new(Duration::from_millis(100));
        let start = window.room();
        window.pushed(1_000, 0);
        assert_eq!(window.room(), start - 1_000);
        assert!(window.acknowledged(1_000, 500));
        assert_eq!(window.room(), 2 * start);
        window.pushed(1_000, 1_000);
        assert!(window.acknowledged(2_000, 90_000));
        assert_eq!(window.room(), start);
        for round in 0..20u64 {
            window.pushed(1_000, round * 1_000_000);
            assert!(window.acknowledged(3_000 + round * 1_000, round * 1_000_000 + 90_000));
        }
        assert_eq!(window.room(), WINDOW_BYTES_MIN);
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_is_refused() {
        let mut window = Window::new(Duration::from_secs(1));
        window.pushed(10, 0);
        assert!(!window.acknowledged(11, 1));
        assert!(window.acknowledged(10, 1) && window.is_empty());
    }
}
