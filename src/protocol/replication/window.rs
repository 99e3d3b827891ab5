use std::time::Duration;

use crate::model::limits::{WINDOW_BYTES_MAX, WINDOW_BYTES_MIN};

/// Bounds the bulk in flight, so that it is acknowledged within a fraction of the heartbeat interval. The window doubles
/// when an acknowledgement comes early and halves when it comes late, measured from push to acknowledgement (delay-based
/// congestion control, as in TCP Vegas, Brakmo 1994).
#[derive(Clone, Debug)]
pub struct Window {
    /// Size of the window.
    bytes: usize,
    in_flight: u64,
    /// The push whose acknowledgement is being timed. One at a time is enough.
    timed: Option<TimedPush>,
    /// Sum of all bytes pushed.
    pushed: u64,
    /// An acknowledgement within this time is early.
    early_us: u64,
    /// An acknowledgement after this time is late.
    late_us: u64,
}

#[derive(Clone, Copy, Debug)]
struct TimedPush {
    /// Sum of all bytes pushed, this push included.
    sum: u64,
    at_us: u64,
}

impl Window {
    /// A window for this heartbeat interval.
    pub fn new(heartbeat: Duration) -> Self {
        let heartbeat_us = u64::try_from(heartbeat.as_micros()).unwrap_or(u64::MAX);
        Self {
            bytes: 8 * WINDOW_BYTES_MIN,
            in_flight: 0,
            timed: None,
            pushed: 0,
            early_us: heartbeat_us / 8,
            late_us: heartbeat_us / 3,
        }
    }

    /// Bytes that may be pushed now.
    pub fn room(&self) -> usize {
        self.bytes.saturating_sub(usize::try_from(self.in_flight).unwrap_or(usize::MAX))
    }

    /// Whether everything pushed was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.in_flight == 0
    }

    /// So many bytes were pushed.
    pub fn pushed(&mut self, bytes: usize, at_us: u64) {
        self.in_flight += bytes as u64;
        self.pushed += bytes as u64;
        if self.timed.is_none() && bytes > 0 {
            self.timed = Some(TimedPush { sum: self.pushed, at_us });
        }
    }

    /// The peer acknowledged this sum of all bytes pushed. Returns `false` if that is more than was pushed.
    #[must_use]
    pub fn acknowledged(&mut self, sum: u64, at_us: u64) -> bool {
        if sum > self.pushed {
            return false;
        }
        self.in_flight = self.in_flight.min(self.pushed - sum);
        if let Some(push) = self.timed.take_if(|push| sum >= push.sum) {
            let took_us = at_us.saturating_sub(push.at_us);
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
