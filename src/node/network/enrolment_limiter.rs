//! Slows down those who guess tokens and passwords.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::limits::{
    ENROL_ATTEMPTS_MAX, ENROL_FORGET, ENROL_FREE_FAILURES, ENROL_PAUSE_MAX, ENROL_PAUSE_MIN, ENROL_SOURCES_MAX,
};
use crate::node::environment::later;
use crate::protocol::engine::Moment;

/// Failed attempts to enrol, by source, and how many attempts are under way. Clones share.
///
/// An attempt counts as failed from its beginning until it has succeeded, so that attempts at the same time are no way around the
/// pause. One that comes within the pause is not judged, and does not make the pause longer.
#[derive(Clone, Default)]
pub struct EnrolmentLimiter(Arc<Mutex<Attempts>>);

#[derive(Default)]
struct Attempts {
    under_way: usize,
    sources: BTreeMap<IpAddr, Failures>,
    /// Those of all sources for which there was no room.
    others: Failures,
}

/// The failures in a row of one source.
#[derive(Clone, Copy, Default)]
struct Failures {
    count: u32,
    last: Moment,
    /// Until when no further attempt is judged.
    paused_until: Moment,
}

/// An attempt that may be judged. It has failed unless it [succeeded](Attempt::succeeded).
pub struct Attempt {
    limiter: EnrolmentLimiter,
    source: IpAddr,
    counts: bool,
}

/// The attempt is not judged: there were too many before it, or there are too many now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl EnrolmentLimiter {
    /// Whether an attempt from there may be judged now.
    ///
    /// # Errors
    /// [`TooMany`]. Nothing is counted.
    pub fn begin(&self, from: IpAddr, now: Moment) -> Result<Attempt, TooMany> {
        let source = source_of(from);
        let mut attempts = self.lock();
        if attempts.under_way >= ENROL_ATTEMPTS_MAX {
            return Err(TooMany);
        }
        let failures = attempts.of(source, now);
        if now < failures.paused_until {
            return Err(TooMany);
        }
        let count = failures.count.saturating_add(1);
        *failures = Failures { count, last: now, paused_until: later(now, pause(count)) };
        attempts.under_way += 1;
        drop(attempts);
        Ok(Attempt { limiter: self.clone(), source, counts: true })
    }

    /// A node from there is enrolled: its failures are forgotten.
    pub fn forget(&self, from: IpAddr) {
        self.lock().sources.remove(&source_of(from));
    }

    fn lock(&self) -> MutexGuard<'_, Attempts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempts {
    /// The failures of this source, and of all others with it where there is no room for it.
    fn of(&mut self, source: IpAddr, now: Moment) -> &mut Failures {
        let is_old = |failures: &Failures| now > later(failures.last, ENROL_FORGET);
        self.sources.retain(|_, failures| !is_old(failures));
        if is_old(&self.others) {
            self.others = Failures::default();
        }
        if self.sources.len() >= ENROL_SOURCES_MAX && !self.sources.contains_key(&source) {
            return &mut self.others;
        }
        self.sources.entry(source).or_default()
    }
}

impl Attempt {
    /// The proof was right: it is no failure. Those before it still count, so that one user's password buys no guesses at others.
    /// A second call does nothing.
    pub fn succeeded(&mut self) {
        if !std::mem::take(&mut self.counts) {
            return;
        }
        let mut attempts = self.limiter.lock();
        let Attempts { sources, others, .. } = &mut *attempts;
        let failures = sources.get_mut(&self.source).unwrap_or(others);
        failures.count = failures.count.saturating_sub(1);
        // An attempt that may be judged comes after every earlier pause, so this one is its own.
        failures.paused_until = failures.last;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.limiter.lock().under_way -= 1;
    }
}

/// The pause after so many failures in a row.
fn pause(failures: u32) -> Duration {
    match failures.checked_sub(ENROL_FREE_FAILURES + 1) {
        None => Duration::ZERO,
        Some(doublings) => {
            ENROL_PAUSE_MIN.saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(ENROL_PAUSE_MAX)
        }
    }
}

/// What counts as one source: an IPv4 address, or the network of an IPv6 address, of which a host has 2^64.
fn source_of(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn source(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn fails(limiter: &EnrolmentLimiter, from: IpAddr, at: u64) -> bool {
        limiter.begin(from, Moment(at)).is_ok()
    }

    #[test]
    fn the_pause_grows_and_another_source_is_not_held_up() {
        let limiter = EnrolmentLimiter::default();
        let mut at = 10 * SECOND;
        for _ in 0..ENROL_FREE_FAILURES {
            assert!(fails(&limiter, source(1), at), "somebody mistypes");
        }
        for pause_s in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            assert!(fails(&limiter, source(1), at));
            for early in [0, pause_s * SECOND - 1] {
                assert!(!fails(&limiter, source(1), at + early), "{pause_s} s");
            }
            assert!(fails(&limiter, source(2), at) || pause_s > 1, "another source");
            at += pause_s * SECOND;
        }
        assert!(fails(&limiter, source(1), at + 1 + ENROL_FORGET.as_micros() as u64));
        assert!(fails(&limiter, source(1), at + 1 + ENROL_FORGET.as_micros() as u64), "forgotten");
    }

    #[test]
    fn attempts_at_the_same_time_count_until_one_succeeds() {
        let limiter = EnrolmentLimiter::default();
        let mut under_way: Vec<_> =
            (0..=ENROL_FREE_FAILURES).map(|_| limiter.begin(source(1), Moment(0)).unwrap()).collect();
        assert!(limiter.begin(source(1), Moment(0)).is_err(), "they have not failed yet, and count");
        under_way.pop().unwrap().succeeded();
        assert!(limiter.begin(source(1), Moment(0)).is_ok());
    }

    #[test]
    fn a_right_password_buys_no_guesses_at_other_users() {
        let limiter = EnrolmentLimiter::default();
        let right = |at| {
            let mut attempt = limiter.begin(source(1), Moment(at)).unwrap();
            attempt.succeeded();
            attempt.succeeded();
        };
        for _ in 0..ENROL_FREE_FAILURES {
            assert!(fails(&limiter, source(1), 0), "guesses");
            right(0);
        }
        let mut at = 0;
        for pause_s in [1, 2, 4] {
            assert!(fails(&limiter, source(1), at), "one guess more");
            assert!(!fails(&limiter, source(1), at + pause_s * SECOND - 1), "{pause_s} s");
            at += pause_s * SECOND;
            right(at);
        }
    }

    #[test]
    fn attempts_under_way_are_bounded() {
        let limiter = EnrolmentLimiter::default();
        let mut under_way: Vec<_> =
            (0..ENROL_ATTEMPTS_MAX).map(|n| limiter.begin(source(n as u8), Moment(0)).unwrap()).collect();
        assert!(limiter.begin(source(99), Moment(0)).is_err());
        under_way.pop();
        assert!(limiter.begin(source(99), Moment(0)).is_ok());
        drop(under_way);
        assert_eq!(limiter.lock().under_way, 0);
    }

    #[test]
    fn the_table_is_bounded_and_who_finds_no_room_is_slowed_down_with_all_others() {
        let limiter = EnrolmentLimiter::default();
        let host = |n: usize| IpAddr::from([10, 1, (n / 256) as u8, (n % 256) as u8]);
        for n in 0..ENROL_SOURCES_MAX {
            assert!(fails(&limiter, host(n), 1));
        }
        let judged = (0..1_000).filter(|n| fails(&limiter, host(ENROL_SOURCES_MAX + n), 1)).count();
        assert_eq!(judged, ENROL_FREE_FAILURES as usize + 1);
        assert_eq!(limiter.lock().sources.len(), ENROL_SOURCES_MAX);
        assert!(fails(&limiter, host(0), 1), "a source with an entry of its own");
    }

    #[test]
    fn the_addresses_of_one_network_are_one_source() {
        let of = |text: &str| source_of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), source(1));
    }
}
