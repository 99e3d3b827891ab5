//! Mistakes that the crash harness must find. In the program they are all switched off, at compile time.

/// A mistake in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "mistakes are made in tests only"))]
pub enum Mutant {
    /// A group is acknowledged without a sync.
    SkipSync,
    /// A sync that fails is taken for one that went well.
    IgnoreFailedSync,
    /// Damage in the log is cut off like a torn tail.
    CutDamageSilently,
    /// The last change of a change set is forgotten.
    HalfChangeSet,
    /// Received records count before they are accepted.
    NoWithholding,
    /// Rejected records stay where they are.
    KeepRejected,
    /// After a failed sync what is in memory is trusted.
    TrustMemory,
    /// The pointer is switched before the new log is there.
    PointerFirst,
    /// Segments go although the state does not have their records.
    TrimTooMuch,
    /// The blocks of the state are read without their sums.
    IgnoreSums,
}

/// Whether this mistake is made now.
#[cfg(not(test))]
pub(super) const fn made(_: Mutant) -> bool {
    false
}

#[cfg(test)]
thread_local! {
    static MADE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Whether this mistake is made now.
#[cfg(test)]
pub(super) fn made(mutant: Mutant) -> bool {
    MADE.get() == Some(mutant)
}

/// From now on, on this thread, this mistake is made.
#[cfg(test)]
pub fn make(mutant: Option<Mutant>) {
    MADE.set(mutant);
}
