//! When the peer is dialled.
//!
//! | | begins | leads to a link | fails |
//! |---|---|---|---|
//! | none under way | under way | - | - |
//! | under way | - | none under way | none under way; the next one after a pause that grows |

use super::Moment;
use crate::protocol::failover::Backoff;

/// The dial under way, and when the next one is due.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    dial: Dial,
    next_at: Moment,
    /// When one failed last.
    failed_at: Option<Moment>,
    backoff: Backoff,
}

/// The dial under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dial {
    None,
    UnderWay { since: Moment },
}

impl Dialer {
    pub(super) fn new(at: Moment) -> Self {
        Self { dial: Dial::None, next_at: at, failed_at: None, backoff: Backoff::default() }
    }

    /// When the next dial is due; `None` while one is under way.
    pub(super) fn due(&self) -> Option<Moment> {
        (self.dial == Dial::None).then_some(self.next_at)
    }

    pub(super) fn begins(&mut self, at: Moment) {
        self.dial = Dial::UnderWay { since: at };
    }

    /// The dial under way has led to a connection.
    pub(super) fn ended(&mut self) {
        self.dial = Dial::None;
    }

    /// The dial led to no connection. Returns when it had begun.
    pub(super) fn failed(&mut self, at: Moment) -> Moment {
        self.failed_at = Some(at);
        match std::mem::replace(&mut self.dial, Dial::None) {
            Dial::UnderWay { since } => since,
            Dial::None => at,
        }
    }

    /// Whether a dial failed since then.
    pub(super) fn failed_since(&self, at: Moment) -> bool {
        self.failed_at.is_some_and(|failed| failed >= at)
    }

    /// The next dial comes after a pause that grows with every failure.
    pub(super) fn wait(&mut self, at: Moment, heartbeat_us: u64, slow: bool, random: u64) {
        self.next_at = self.backoff.next(at, heartbeat_us, slow, random);
    }

    /// The next dial comes no earlier than this.
    pub(super) fn wait_until(&mut self, at: Moment) {
        self.next_at = at;
    }

    /// Pauses are short again.
    pub(super) fn succeeded(&mut self) {
        self.backoff.reset();
    }
}
