//! Mistakes that the simulator must find. In the program they are all switched off, at compile time.

use super::Engine;

/// A mistake in the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "mistakes are made in tests only"))]
pub enum Mutant {
    /// A hello, which may have waited in a buffer for long, confirms a mastership.
    HelloConfirms,
    /// A copy that was never complete may become master.
    IncompleteTakesOver,
    /// The shadow is taken for in sync wherever it stands.
    SkipsRepair,
    /// Changes of a former master go without quarantine.
    ForgetsQuarantine,
    /// A change set that reached a failed disk is acknowledged.
    AcknowledgesFailure,
    /// Change sets that could not be pushed raise no alert.
    HidesFailedPushes,
    /// Failures stand although the pair is in sync again.
    KeepsFailures,
    /// What an operator said stays in force although it could not be stored.
    KeepsRefusedFact,
    /// A link that was lost is not dialled again.
    NeverRedials,
}

impl Engine {
    /// Whether this mistake is to be made.
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
    pub(crate) fn mutate(&mut self, mutant: Mutant) {
        self.mutant = Some(mutant);
    }
}
