//! What a run is given and never changes.

use super::{Mutant, Options};
use crate::model::RunId;
use crate::protocol::failover::Timing;

/// The knobs of this run.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) options: Options,
    pub(super) timing: Timing,
    pub(super) run: RunId,
    /// Where the peer dials this node.
    pub(super) address: String,
    #[cfg(test)]
    mutant: Option<Mutant>,
}

impl Setup {
    pub(super) fn new(options: Options, run: RunId, address: String) -> Self {
        let timing = Timing::of(options.heartbeat, options.takeover_delay);
        Self {
            options,
            timing,
            run,
            address,
            #[cfg(test)]
            mutant: None,
        }
    }

    /// Whether this mistake is to be made. Always false outside tests, at compile time.
    pub(super) fn makes(&self, mutant: Mutant) -> bool {
        #[cfg(test)]
        return self.mutant == Some(mutant);
        #[cfg(not(test))]
        {
            let _ = mutant;
            false
        }
    }

    /// Makes this mistake from now on.
    #[cfg(test)]
    pub(super) fn mutate(&mut self, mutant: Mutant) {
        self.mutant = Some(mutant);
    }
}
