//! This node's own promise to its master: "I will not try to take over for this long".
//!
//! | | its length is stored | given | its time is over |
//! |---|---|---|---|
//! | none, its length not stored | none, its length stored | not called | - |
//! | none, its length stored | - | given | - |
//! | given, or remembered by a restart | - | given; the later end counts | none |

use std::time::Duration;

use super::{Moment, micros, waited};

/// The promise that this node gave last.
#[derive(Clone, Debug)]
pub(in super::super) struct OwnPromise {
    until: Moment,
    /// What `until` was when this run began.
    remembered_until: Moment,
    /// The longest promise that a restart would remember, milliseconds.
    stored_ms: u64,
}

impl OwnPromise {
    pub(super) fn new(until: Moment, stored_ms: u64) -> Self {
        Self { until, remembered_until: until, stored_ms }
    }

    /// Until when it is waited for.
    pub(in super::super) fn until(&self) -> Moment {
        self.until
    }

    /// Whether it is the one that a restart remembered.
    pub(in super::super) fn is_remembered(&self) -> bool {
        self.until == self.remembered_until
    }

    /// Whether a restart would remember a promise of this length.
    pub(in super::super) fn is_stored(&self, lease: Duration) -> bool {
        Duration::from_millis(self.stored_ms) >= lease
    }

    /// A restart remembers promises of this length from now on.
    pub(in super::super) fn stored(&mut self, promised_ms: u64) {
        self.stored_ms = self.stored_ms.max(promised_ms);
    }

    /// Gives one, at this moment.
    pub(in super::super) fn give(&mut self, at: Moment, lease: Duration) {
        let until = Moment(at.0.saturating_add(micros(waited(lease))));
        self.until = self.until.max(until);
    }
}
