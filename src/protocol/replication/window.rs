use std::time::Duration;

use crate::model::limits::{WINDOW_BYTES_IDLE, WINDOW_BYTES_MAX, WINDOW_BYTES_MIN};

/// Bounds the bulk in flight, so that what is sent behind it waits for a fraction of the heartbeat interval at most. What
/// counts is the time that bulk spends in queues: from push to acknowledgement, less the shortest such time of the session
/// (delay-based congestion control, as in TCP Vegas, Brakmo 1994). So a long way does not count as a slow one.
///
/// | an acknowledgement comes | the window |
/// |---|---|
/// | at once, and the window was in use | four times as large |
/// | early, and the window was in use | twice as large |
/// | neither early nor late, or the window was not in use | stays |
/// | late | half as large |
/// | none was awaited for a heartbeat interval | [`WINDOW_BYTES_IDLE`] at most: the link may have become another one |
///
/// A window that was not in use says nothing of a larger one (RFC 7661), so small change sets do not open it.
#[derive(Clone, Debug)]
pub struct Window {
    /// Size of the window.
    bytes: usize,
    in_flight: u64,
    /// The push whose acknowledgement is being timed. One at a time is enough.
    timed: Option<TimedPush>,
    /// Sum of all bytes pushed.
    pushed: u64,
    /// The shortest time from push to acknowledgement. The smallest window measures it anew, so that a way that became longer
    /// is found out.
    shortest_us: u64,
    /// An acknowledgement after this time in queues is early.
    early_us: u64,
    /// An acknowledgement after this time in queues is late.
    late_us: u64,
    /// After this time without anything in flight, nothing is known of the link.
    idle_us: u64,
    /// Since when nothing is in flight, while nothing is.
    idle_since_us: u64,
}

#[derive(Clone, Copy, Debug)]
struct TimedPush {
    /// Sum of all bytes pushed, this push included.
    sum: u64,
    at_us: u64,
    /// At least half of the window was in use.
    in_use: bool,
}

impl Window {
    /// A window for this heartbeat interval.
    pub fn new(heartbeat: Duration) -> Self {
        let heartbeat_us = u64::try_from(heartbeat.as_micros()).unwrap_or(u64::MAX);
        Self {
            bytes: WINDOW_BYTES_MIN,
            in_flight: 0,
            timed: None,
            pushed: 0,
            shortest_us: u64::MAX,
            early_us: heartbeat_us / 8,
            late_us: heartbeat_us / 3,
            idle_us: heartbeat_us,
            idle_since_us: 0,
        }
    }

    /// Bytes that may be pushed now; none where that would be a small part of the window.
    pub fn room(&mut self, at_us: u64) -> usize {
        if self.is_empty() && at_us.saturating_sub(self.idle_since_us) > self.idle_us {
            self.bytes = self.bytes.min(WINDOW_BYTES_IDLE);
        }
        let room = self.bytes.saturating_sub(usize::try_from(self.in_flight).unwrap_or(usize::MAX));
        if room < self.bytes / 4 { 0 } else { room }
    }

    /// Whether everything pushed was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.in_flight == 0
    }

    /// So many bytes were pushed.
    pub fn pushed(&mut self, bytes: usize, at_us: u64) {
        self.in_flight += bytes as u64;
        self.pushed += bytes as u64;
        if bytes == 0 {
            return;
        }
        let in_use = self.in_flight >= self.bytes as u64 / 2;
        match &mut self.timed {
            Some(timed) => timed.in_use |= in_use,
            None => self.timed = Some(TimedPush { sum: self.pushed, at_us, in_use }),
        }
    }

    /// The peer acknowledged this sum of all bytes pushed. Returns `false` if that is more than was pushed.
    #[must_use]
    pub fn acknowledged(&mut self, sum: u64, at_us: u64) -> bool {
        if sum > self.pushed {
            return false;
        }
        let left = self.in_flight.min(self.pushed - sum);
        if left == 0 && self.in_flight > 0 {
            self.idle_since_us = at_us;
        }
        self.in_flight = left;
        if let Some(push) = self.timed.take_if(|push| sum >= push.sum) {
            self.resize(at_us.saturating_sub(push.at_us), push.in_use);
        }
        true
    }

    fn resize(&mut self, took_us: u64, in_use: bool) {
        let smallest = self.bytes == WINDOW_BYTES_MIN;
        self.shortest_us = if smallest { took_us } else { self.shortest_us.min(took_us) };
        let queued_us = took_us - self.shortest_us;
        if queued_us > self.late_us {
            self.bytes = (self.bytes / 2).max(WINDOW_BYTES_MIN);
        } else if queued_us < self.early_us && in_use {
            let factor = if took_us < self.early_us / 4 { 4 } else { 2 };
            self.bytes = (self.bytes * factor).min(WINDOW_BYTES_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes full windows over a link of this rate and way for a while. Returns the size of the window after each.
    fn run(bytes_per_second: u64, way_us: u64, rounds: usize) -> Vec<usize> {
        let mut window = Window::new(Duration::from_secs(1));
        let (mut now_us, mut sum) = (0, 0);
        let round = |_| {
            let bytes = window.room(now_us);
            window.pushed(bytes, now_us);
            sum += bytes as u64;
            now_us += way_us + bytes as u64 * 1_000_000 / bytes_per_second;
            assert!(window.acknowledged(sum, now_us));
            window.room(now_us)
        };
        (0..rounds).map(round).collect()
    }

    #[test]
    fn it_opens_within_a_few_round_trips_on_a_fast_link_also_on_a_long_way() {
        let near = run(1_000_000_000, 1_000, 6);
        assert_eq!(near.last(), Some(&WINDOW_BYTES_MAX), "{near:?}");
        let far = run(100_000_000, 400_000, 11);
        assert_eq!(far.last(), Some(&WINDOW_BYTES_MAX), "{far:?}");
    }

    #[test]
    fn on_a_slow_link_a_heartbeat_waits_for_half_an_interval_at_most() {
        for (kib, way_us) in [(16, 10_000), (32, 10_000), (64, 300_000), (1_024, 20_000)] {
            let rate = kib * 1_024;
            let sizes = run(rate, way_us, 200);
            let longest = sizes.iter().map(|bytes| *bytes as u64 * 1_000 / rate).max();
            assert!(longest <= Some(550), "{kib} KiB/s: {longest:?} ms {sizes:?}");
            let sent: usize = sizes[100..].iter().sum();
            assert!(sent as u64 >= rate / 8 * 100 / 4, "{kib} KiB/s: {sizes:?}");
        }
    }

    #[test]
    fn it_halves_when_a_link_becomes_slow_and_finds_out_a_longer_way() {
        let mut window = Window::new(Duration::from_millis(100));
        let (mut at_us, mut sum) = (0, 0);
        let mut round = |window: &mut Window, took_us| {
            let bytes = window.room(at_us);
            window.pushed(bytes, at_us);
            (sum, at_us) = (sum + bytes as u64, at_us + took_us);
            assert!(window.acknowledged(sum, at_us));
            window.room(at_us)
        };
        let mut size = 0;
        for _ in 0..10 {
            size = round(&mut window, 500);
        }
        assert_eq!(size, WINDOW_BYTES_MAX);
        assert_eq!(round(&mut window, 90_000), size / 2);
        for _ in 0..12 {
            size = round(&mut window, 90_000);
        }
        // At the smallest size the way itself is measured again: it became longer, and the window opens once more.
        for _ in 0..12 {
            size = round(&mut window, 90_000);
        }
        assert_eq!(size, WINDOW_BYTES_MAX);
    }

    #[test]
    fn an_idle_link_is_not_taken_for_the_fast_one_that_it_was() {
        let mut window = Window::new(Duration::from_secs(1));
        for round in 0..20u64 {
            let bytes = window.room(round * 1_000);
            window.pushed(bytes, round * 1_000);
            let sum = window.pushed;
            assert!(window.acknowledged(sum, round * 1_000 + 500));
        }
        assert_eq!(window.room(1_000_000), WINDOW_BYTES_MAX);
        assert_eq!(window.room(1_100_000), WINDOW_BYTES_IDLE);
    }

    #[test]
    fn what_does_not_use_the_window_does_not_open_it() {
        let mut window = Window::new(Duration::from_secs(1));
        for round in 1..100u64 {
            window.pushed(100, round * 1_000);
            assert!(window.acknowledged(round * 100, round * 1_000 + 50));
        }
        assert_eq!(window.room(100_000), WINDOW_BYTES_MIN);
    }

    #[test]
    fn nothing_small_is_pushed_into_a_window_that_is_almost_full() {
        let mut window = Window::new(Duration::from_secs(1));
        window.pushed(WINDOW_BYTES_MIN - 10, 0);
        assert_eq!(window.room(1), 0);
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_is_refused() {
        let mut window = Window::new(Duration::from_secs(1));
        window.pushed(10, 0);
        assert!(!window.acknowledged(11, 1));
        assert!(window.acknowledged(10, 1) && window.is_empty());
    }
}
