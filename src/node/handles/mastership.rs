use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::watch;

use crate::model::Epoch;
use crate::node::environment::Clock;
use crate::node::mutants::{Mutant, made};
use crate::protocol::engine::{Authority, Moment, RoleReason};

/// The right to act as master. It ends by itself when the node loses it, and never comes back: await
/// [`Node::mastership`](crate::Node::mastership) for the next one. Dropping it changes nothing.
///
/// ```no_run
/// # async fn example(node: &shadowpair::Node) -> Result<(), Box<dyn std::error::Error>> {
/// # async fn write_elsewhere(_token: u64) {}
/// let mastership = node.mastership().await?;
/// loop {
///     tokio::select! {
///         ended = mastership.ended() => return Err(ended.into()),
///         // The epoch is the fencing token: whoever receives the write refuses a lower one than it has seen.
///         () = write_elsewhere(mastership.epoch().as_u64()) => {}
///     }
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Mastership {
    grant: Grant,
    state: Arc<MastershipState>,
    clock: Arc<dyn Clock>,
    /// Set when this guard saw the clock pass the end of its authority. It stays set, even if the node renews the authority
    /// later.
    lapsed: Arc<watch::Sender<bool>>,
}

/// How long mastership holds at least, from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remaining {
    /// Nothing bounds it: there is no witness, or no peer that could take over.
    Unbounded,
    /// This long, by the suspend-aware clock, if neither peer nor witness confirms it again. While they do, it stays above
    /// zero. Work that must be over before another node becomes master must end within it.
    For(Duration),
}

/// Mastership has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mastership has ended: {reason}")]
pub struct Ended {
    /// Why.
    pub reason: RoleReason,
}

/// The node is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is stopped")]
pub struct Stopped;

impl Mastership {
    /// The epoch of this mastership: the fencing token for what the host writes elsewhere. A later master has a higher one.
    pub fn epoch(&self) -> Epoch {
        self.grant.epoch
    }

    /// Whether mastership holds now, and for how long at least. It reads a clock and some atomics, and never waits. A
    /// process that was stopped for too long finds out here, even before the node's own task ran again.
    ///
    /// # Errors
    /// [`Ended`]; from then on always.
    pub fn check(&self) -> Result<Remaining, Ended> {
        let now = self.clock.now();
        let until = self.state.until(self.grant.number, now).filter(|_| !*self.lapsed.borrow());
        if let Some(until) = until {
            return Ok(self.state.remaining(now, until));
        }
        self.lapsed.send_replace(true);
        Err(self.why())
    }

    /// Waits until mastership has ended, and tells why. Dropping the future changes nothing.
    pub async fn ended(&self) -> Ended {
        let mut lapsed = self.lapsed.subscribe();
        let mut current = self.state.current.subscribe();
        // This guard holds both senders, so neither channel ends.
        tokio::select! {
            biased;
            _ = lapsed.wait_for(|lapsed| *lapsed) => {}
            _ = current.wait_for(|current| current.grant() != Some(self.grant)) => {}
        }
        self.lapsed.send_replace(true);
        self.why()
    }

    /// Waits until this mastership is about to end by plan: for a switch of roles, or a shutdown that hands over. It ends after
    /// [`Timeouts::grace`](crate::Timeouts::grace) at the earliest, unless that is called off. Returns at once where it is about to
    /// end or has ended. A takeover by the other node is not announced.
    ///
    /// ```no_run
    /// # async fn example(node: &shadowpair::Node) -> Result<(), shadowpair::Stopped> {
    /// let mastership = node.mastership().await?;
    /// mastership.ending().await;
    /// // Finish here what is under way; commits still work.
    /// # Ok(())
    /// # }
    /// ```
    pub async fn ending(&self) {
        let mut lapsed = self.lapsed.subscribe();
        let mut current = self.state.current.subscribe();
        tokio::select! {
            biased;
            _ = lapsed.wait_for(|lapsed| *lapsed) => {}
            _ = current.wait_for(|current| current.mastership != Granted::Yes(self.grant)) => {}
        }
    }

    fn why(&self) -> Ended {
        let current = self.state.current.borrow();
        let reason = if current.grant() == Some(self.grant) { RoleReason::Stalled } else { current.ended };
        Ended { reason }
    }
}

/// Mastership, granted to this node once: it begins when the node becomes master and ends when it no longer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Grant {
    /// Counts from 1 in this run.
    number: u64,
    epoch: Epoch,
}

/// What the guards watch.
#[derive(Debug)]
struct Current {
    mastership: Granted,
    /// Why the last grant ended.
    ended: RoleReason,
}

/// Whether this node is master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Granted {
    /// It is not, and may become it.
    No,
    /// It is.
    Yes(Grant),
    /// It is, and this is about to end by plan.
    Ending(Grant),
    /// It is not, and never will be: the node has stopped.
    Never,
}

impl Current {
    fn grant(&self) -> Option<Grant> {
        match self.mastership {
            Granted::Yes(grant) | Granted::Ending(grant) => Some(grant),
            Granted::No | Granted::Never => None,
        }
    }
}

/// The mastership of one node, written by the driver and read by its guards on any thread.
#[derive(Debug)]
pub struct MastershipState {
    /// Number of the current grant; zero where there is none.
    number: AtomicU64,
    /// Until when it may be relied upon.
    until: AtomicU64,
    /// Whether no other node can be master before that moment. Without a witness, the moment only tells that a node that
    /// sees it pass was stopped.
    witnessed: bool,
    current: watch::Sender<Current>,
}

impl MastershipState {
    pub fn new(witnessed: bool) -> Self {
        let current = Current { mastership: Granted::No, ended: RoleReason::Started };
        Self { number: AtomicU64::new(0), until: AtomicU64::new(0), witnessed, current: watch::Sender::new(current) }
    }

    /// Adopts the engine's authority. `reason` is why role or serving changed last; `numbers` counts the grants. Only
    /// the driver calls it.
    pub fn update(&self, authority: Authority, epoch: Epoch, reason: RoleReason, numbers: &mut u64) {
        let running = self.current.borrow().grant();
        if authority.serving && running.is_some_and(|grant| grant.epoch == epoch) {
            self.until.store(authority.until.0, SeqCst);
            return;
        }
        if running.is_some() {
            self.end(reason);
        }
        if authority.serving {
            *numbers += 1;
            self.until.store(authority.until.0, SeqCst);
            self.number.store(*numbers, SeqCst);
            self.current.send_modify(|current| current.mastership = Granted::Yes(Grant { number: *numbers, epoch }));
        }
    }

    /// Whether mastership is about to end by plan. Only the driver calls it, after every update.
    pub fn announce(&self, ending: bool) {
        self.current.send_if_modified(|current| {
            let Some(grant) = current.grant() else { return false };
            let mastership = if ending { Granted::Ending(grant) } else { Granted::Yes(grant) };
            std::mem::replace(&mut current.mastership, mastership) != mastership
        });
    }

    /// The node has stopped: it is not master, now or later.
    pub fn stop(&self) {
        self.number.store(0, SeqCst);
        self.current.send_modify(|current| {
            if current.grant().is_some() {
                current.ended = RoleReason::Stopped;
            }
            current.mastership = Granted::Never;
        });
    }

    /// Whether mastership holds at this moment.
    pub fn holds(&self, at: Moment) -> bool {
        match self.number.load(SeqCst) {
            0 => false,
            number => made(Mutant::ServeWithoutAuthority) || self.until(number, at).is_some(),
        }
    }

    /// Waits for mastership.
    pub async fn granted(self: &Arc<Self>, clock: &Arc<dyn Clock>) -> Result<Mastership, Stopped> {
        let mut current = self.current.subscribe();
        let grant = match current.wait_for(|current| current.mastership != Granted::No).await {
            Ok(current) => current.grant(),
            Err(_) => None,
        };
        let lapsed = Arc::new(watch::Sender::new(false));
        let (state, clock) = (Arc::clone(self), Arc::clone(clock));
        grant.map(|grant| Mastership { grant, state, clock, lapsed }).ok_or(Stopped)
    }

    /// Until when the authority of this grant lasts, if it holds at this moment. The number is read before and after the end, so
    /// that the end belongs to this grant.
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

    fn end(&self, reason: RoleReason) {
        self.number.store(0, SeqCst);
        self.current.send_modify(|current| {
            current.mastership = Granted::No;
            current.ended = reason;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::environment::{Environment, later};

    fn serving(until: Moment) -> Authority {
        Authority { serving: true, until }
    }

    #[tokio::test]
    async fn a_grant_ends_for_good_with_its_reason() {
        let clock = Environment::real().clock;
        let (state, mut numbers) = (Arc::new(MastershipState::new(false)), 0);
        let far = later(clock.now(), Duration::from_secs(60));
        state.update(serving(far), Epoch::FIRST, RoleReason::FirstStart, &mut numbers);
        let first = state.granted(&clock).await.unwrap();
        assert_eq!((first.check(), first.epoch()), (Ok(Remaining::Unbounded), Epoch::FIRST));
        state.update(Authority { serving: false, until: far }, Epoch::FIRST, RoleReason::SteppedDown, &mut numbers);
        assert_eq!(first.check(), Err(Ended { reason: RoleReason::SteppedDown }));
        assert_eq!(first.ended().await, Ended { reason: RoleReason::SteppedDown });
        state.update(serving(far), Epoch::FIRST.promoted(0), RoleReason::Takeover, &mut numbers);
        let second = state.granted(&clock).await.unwrap();
        assert!(first.check().is_err() && second.check().is_ok());
        state.stop();
        assert_eq!(second.check(), Err(Ended { reason: RoleReason::Stopped }));
        assert_eq!(state.granted(&clock).await.unwrap_err(), Stopped);
    }

    #[tokio::test]
    async fn a_stalled_process_fails_its_check_before_the_node_ran() {
        let clock = Environment::real().clock;
        let (state, mut numbers) = (Arc::new(MastershipState::new(false)), 0);
        state.update(serving(Moment(clock.now().0 - 1)), Epoch::FIRST, RoleReason::FirstStart, &mut numbers);
        let guard = state.granted(&clock).await.unwrap();
        assert!(!state.holds(clock.now()));
        assert_eq!(guard.check(), Err(Ended { reason: RoleReason::Stalled }));
        // Once said, it stays said.
        state.update(
            serving(later(clock.now(), Duration::from_secs(9))),
            Epoch::FIRST,
            RoleReason::Confirmed,
            &mut numbers,
        );
        assert_eq!(guard.check(), Err(Ended { reason: RoleReason::Stalled }));
        assert_eq!(guard.ended().await, Ended { reason: RoleReason::Stalled });
    }

    #[tokio::test]
    async fn with_a_witness_the_rest_of_the_authority_is_told() {
        let clock = Environment::real().clock;
        let (state, mut numbers) = (Arc::new(MastershipState::new(true)), 0);
        let minute = Duration::from_secs(60);
        state.update(serving(later(clock.now(), minute)), Epoch::FIRST, RoleReason::Takeover, &mut numbers);
        let guard = state.granted(&clock).await.unwrap();
        let left = |guard: &Mastership| match guard.check().unwrap() {
            Remaining::For(left) => left,
            Remaining::Unbounded => panic!("it is bounded"),
        };
        let first = left(&guard);
        assert!(first <= minute && first > Duration::from_secs(1), "{first:?}");
        // Each renewal moves the end; the guard is the same.
        state.update(serving(later(clock.now(), 2 * minute)), Epoch::FIRST, RoleReason::Takeover, &mut numbers);
        assert!(left(&guard) > minute);
        // Without a peer there is nobody who could take over.
        state.update(serving(Moment(u64::MAX)), Epoch::FIRST, RoleReason::Takeover, &mut numbers);
        assert_eq!(guard.check(), Ok(Remaining::Unbounded));
    }
}
