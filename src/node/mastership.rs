use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::watch;

use super::seam::Clock;
use crate::model::Epoch;
use crate::protocol::engine::{Authority, Moment};

/// The right to act as master. Ends on its own when the node loses it, and never comes back: await
/// [`Node::mastership`](crate::Node::mastership) for the next one. Dropping it changes nothing.
#[derive(Debug, Clone)]
pub struct Mastership {
    tenure: Tenure,
    reign: Arc<Reign>,
    clock: Arc<dyn Clock>,
    /// This guard found the clock past its cover: it has ended, whatever the node finds out later.
    lapsed: Arc<watch::Sender<bool>>,
}

/// How long mastership holds at the least, from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remaining {
    /// Nothing bounds it: there is no witness, or no peer that could take over.
    Unbounded,
    /// This long, by the suspend-aware clock, if neither peer nor witness confirms it again. While they do it stays above
    /// zero; work that must be over before another node is master must be over before this.
    For(Duration),
}

/// Mastership has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mastership has ended: {reason}")]
pub struct Ended {
    /// Why, in a stable word.
    pub reason: &'static str,
}

/// The node is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is stopped")]
pub struct Stopped;

impl Mastership {
    /// The fencing token for the host's own external writes.
    pub fn epoch(&self) -> Epoch {
        self.tenure.epoch
    }

    /// Whether it still holds, now. A process that was stopped for too long finds out here, before the node's own
    /// loop had a chance to run. With a witness it says for how long it holds at the least: see [`Remaining`].
    ///
    /// # Errors
    /// [`Ended`], from then on always.
    pub fn check(&self) -> Result<Remaining, Ended> {
        let now = self.clock.now();
        let until = self.reign.until(self.tenure.number, now).filter(|_| !*self.lapsed.borrow());
        if let Some(until) = until {
            return Ok(self.reign.remaining(now, until));
        }
        self.lapsed.send_replace(true);
        Err(self.why())
    }

    /// Waits for its end.
    pub async fn ended(&self) -> Ended {
        let mut lapsed = self.lapsed.subscribe();
        let mut state = self.reign.state.subscribe();
        tokio::select! {
            // Neither sender goes before this guard does.
            _ = lapsed.wait_for(|lapsed| *lapsed) => {}
            _ = state.wait_for(|state| state.tenure != Some(self.tenure)) => {}
        }
        self.lapsed.send_replace(true);
        self.why()
    }

    fn why(&self) -> Ended {
        let state = self.reign.state.borrow();
        let reason = if state.tenure == Some(self.tenure) { "stalled" } else { state.ended };
        Ended { reason }
    }
}

/// One stretch of mastership without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tenure {
    /// Counts from 1 in this run.
    number: u64,
    epoch: Epoch,
}

/// What the guards watch.
#[derive(Debug)]
struct State {
    tenure: Option<Tenure>,
    /// Why the last tenure ended.
    ended: &'static str,
    stopped: bool,
}

/// The mastership of one node as its guards see it: written by the driver, read by any thread.
#[derive(Debug)]
pub struct Reign {
    /// Number of the tenure that runs; zero is none.
    number: AtomicU64,
    /// Until when it may be relied upon.
    until: AtomicU64,
    /// Whether another node may be master from then on, and no earlier. Without a witness the moment says only when this node
    /// must have been stopped.
    witnessed: bool,
    state: watch::Sender<State>,
}

impl Reign {
    pub fn new(witnessed: bool) -> Self {
        let state = State { tenure: None, ended: "not_master", stopped: false };
        Self { number: AtomicU64::new(0), until: AtomicU64::new(0), witnessed, state: watch::Sender::new(state) }
    }

    /// What the engine says now; `reason` is why it said last that role or serving changed. For the driver alone.
    pub fn update(&self, cover: Authority, epoch: Epoch, reason: &'static str, numbers: &mut u64) {
        let running = self.state.borrow().tenure;
        if cover.serving && running.is_some_and(|tenure| tenure.epoch == epoch) {
            self.until.store(cover.until.0, SeqCst);
            return;
        }
        if running.is_some() {
            self.end(reason);
        }
        if cover.serving {
            *numbers += 1;
            self.until.store(cover.until.0, SeqCst);
            self.number.store(*numbers, SeqCst);
            self.state.send_modify(|state| state.tenure = Some(Tenure { number: *numbers, epoch }));
        }
    }

    /// The node is gone: no mastership now or later.
    pub fn stop(&self) {
        self.number.store(0, SeqCst);
        self.state.send_modify(|state| {
            if state.tenure.take().is_some() {
                state.ended = "stopped";
            }
            state.stopped = true;
        });
    }

    /// Whether mastership holds at this moment.
    pub fn holds(&self, at: Moment) -> bool {
        match self.number.load(SeqCst) {
            0 => false,
            number => self.until(number, at).is_some(),
        }
    }

    /// Waits for mastership.
    pub async fn granted(self: &Arc<Self>, clock: &Arc<dyn Clock>) -> Result<Mastership, Stopped> {
        let mut state = self.state.subscribe();
        let tenure = match state.wait_for(|state| state.stopped || state.tenure.is_some()).await {
            Ok(state) => state.tenure.filter(|_| !state.stopped),
            Err(_) => None,
        };
        let lapsed = Arc::new(watch::Sender::new(false));
        let (reign, clock) = (Arc::clone(self), Arc::clone(clock));
        tenure.map(|tenure| Mastership { tenure, reign, clock, lapsed }).ok_or(Stopped)
    }

    /// The end of this tenure's cover, if it holds at this moment. The number is read again after the end: what lies between
    /// belongs to this tenure and no other.
    fn until(&self, number: u64, at: Moment) -> Option<Moment> {
        let before = self.number.load(SeqCst);
        let until = self.until.load(SeqCst);
        let after = self.number.load(SeqCst);
        (before == number && after == number && at.0 <= until).then_some(Moment(until))
    }

    fn remaining(&self, now: Moment, until: Moment) -> Remaining {
        match self.witnessed && until != Moment(u64::MAX) {
            true => Remaining::For(Duration::from_micros(until.0.saturating_sub(now.0))),
            false => Remaining::Unbounded,
        }
    }

    fn end(&self, reason: &'static str) {
        self.number.store(0, SeqCst);
        self.state.send_modify(|state| {
            state.tenure = None;
            state.ended = reason;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::seam::{Environment, later};
    use super::*;

    fn serving(until: Moment) -> Authority {
        Authority { serving: true, until }
    }

    #[tokio::test]
    async fn a_tenure_ends_for_good_with_its_reason() {
        let clock = Environment::real().clock;
        let (reign, mut numbers) = (Arc::new(Reign::new(false)), 0);
        let far = later(clock.now(), Duration::from_secs(60));
        reign.update(serving(far), Epoch::FIRST, "first_start", &mut numbers);
        let first = reign.granted(&clock).await.unwrap();
        assert_eq!((first.check(), first.epoch()), (Ok(Remaining::Unbounded), Epoch::FIRST));
        reign.update(Authority { serving: false, until: far }, Epoch::FIRST, "yielded", &mut numbers);
        assert_eq!(first.check(), Err(Ended { reason: "yielded" }));
        assert_eq!(first.ended().await, Ended { reason: "yielded" });
        reign.update(serving(far), Epoch::FIRST.promoted(0), "takeover", &mut numbers);
        let second = reign.granted(&clock).await.unwrap();
        assert!(first.check().is_err() && second.check().is_ok());
        reign.stop();
        assert_eq!(second.check(), Err(Ended { reason: "stopped" }));
        assert_eq!(reign.granted(&clock).await.unwrap_err(), Stopped);
    }

    #[tokio::test]
    async fn a_stalled_process_fails_its_check_before_the_node_ran() {
        let clock = Environment::real().clock;
        let (reign, mut numbers) = (Arc::new(Reign::new(false)), 0);
        reign.update(serving(Moment(clock.now().0 - 1)), Epoch::FIRST, "first_start", &mut numbers);
        let guard = reign.granted(&clock).await.unwrap();
        assert!(!reign.holds(clock.now()));
        assert_eq!(guard.check(), Err(Ended { reason: "stalled" }));
        // Once said, it stays said.
        reign.update(serving(later(clock.now(), Duration::from_secs(9))), Epoch::FIRST, "confirmed", &mut numbers);
        assert_eq!(guard.check(), Err(Ended { reason: "stalled" }));
        assert_eq!(guard.ended().await, Ended { reason: "stalled" });
    }

    #[tokio::test]
    async fn with_a_witness_the_rest_of_the_cover_is_told() {
        let clock = Environment::real().clock;
        let (reign, mut numbers) = (Arc::new(Reign::new(true)), 0);
        let minute = Duration::from_secs(60);
        reign.update(serving(later(clock.now(), minute)), Epoch::FIRST, "takeover", &mut numbers);
        let guard = reign.granted(&clock).await.unwrap();
        let left = |guard: &Mastership| match guard.check().unwrap() {
            Remaining::For(left) => left,
            Remaining::Unbounded => panic!("the cover is bounded"),
        };
        let first = left(&guard);
        assert!(first <= minute && first > Duration::from_secs(1), "{first:?}");
        // Each renewal moves the end; the guard is the same.
        reign.update(serving(later(clock.now(), 2 * minute)), Epoch::FIRST, "takeover", &mut numbers);
        assert!(left(&guard) > minute);
        // Without a peer there is nobody who could take over.
        reign.update(serving(Moment(u64::MAX)), Epoch::FIRST, "takeover", &mut numbers);
        assert_eq!(guard.check(), Ok(Remaining::Unbounded));
    }
}
