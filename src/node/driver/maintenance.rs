//! When the store is maintained.

use crate::model::limits::MAINTENANCE_PAUSE;
use crate::node::environment::Environment;
use crate::protocol::engine::Moment;

/// Maintenance of the store: one run at a time, and longer pauses while it fails.
#[derive(Default)]
pub struct Maintenance {
    running: bool,
    not_before: Moment,
    failures: u32,
}

impl Maintenance {
    /// Whether a run may begin.
    pub fn may_start(&self, now: Moment) -> bool {
        !self.running && now >= self.not_before
    }

    /// A run begins.
    pub fn start(&mut self) {
        self.running = true;
    }

    /// The run has ended.
    pub fn finish(&mut self, succeeded: bool, environment: &Environment) {
        self.running = false;
        if succeeded {
            self.failures = 0;
            return;
        }
        let pause = MAINTENANCE_PAUSE * (1 << self.failures.min(6));
        self.failures = self.failures.saturating_add(1);
        self.not_before = environment.after(pause);
    }
}
