//! Deliberate mistakes in the shell, for mutation tests: the random histories must find each. Outside of tests they are
//! compiled out.

#[cfg(test)]
use crate::protocol::engine::Engine;

/// A mistake in the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "mistakes are made in tests only"))]
pub enum Mutant {
    /// A change set is acknowledged when it is handed to the store.
    AnswerBeforeCompletion,
    /// An acknowledgement is sent without a look at the authority.
    AnswerWithoutAuthority,
    /// Mastership is shown without a look at the authority.
    ServeWithoutAuthority,
    /// One in three numbers given to received bulk loses its frame.
    LoseBulk,
    /// Durable state that could not be written is reported as written.
    IgnoreFailedState,
    /// The change sets of a group are written in the reverse order.
    ReverseGroup,
    /// The engine takes a second node with the peer's identity for the peer after a restart.
    TakeCopyForRestart,
    /// Changes from quarantine are applied again whatever the entries are now.
    ReapplyUnguarded,
    /// An import empties the configuration by one change set, and fills it by another one.
    ImportInTwo,
}

/// Whether this mistake is made now.
#[cfg(not(test))]
pub(in crate::node) const fn made(_: Mutant) -> bool {
    false
}

#[cfg(test)]
thread_local! {
    static MADE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Whether this mistake is made now.
#[cfg(test)]
pub(in crate::node) fn made(mutant: Mutant) -> bool {
    MADE.get() == Some(mutant)
}

/// Makes this mistake on this thread from now on; `None` makes none.
#[cfg(test)]
pub fn make(mutant: Option<Mutant>) {
    MADE.set(mutant);
}

/// The engine of a node that starts, with the mistake that is made now.
#[cfg(test)]
pub(in crate::node) fn in_engine(mut engine: Engine) -> Engine {
    if made(Mutant::TakeCopyForRestart) {
        engine.mutate(crate::protocol::engine::Mutant::TakesCopyForRestart);
    }
    engine
}
