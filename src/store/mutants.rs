//! Deliberate defects of the store that the crash harness must find. Outside tests they are switched off at compile time.
//!
//! Defects of the disk (a sync that does nothing, a failed sync that is reported as done) are in the simulated disk.

/// A deliberate defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "defects are switched on in tests only"))]
pub enum Mutant {
    /// A group is acknowledged without a sync.
    SkipSync,
    /// A failed sync is taken for a successful one.
    IgnoreFailedSync,
    /// Damage in the log is cut off like a torn tail.
    CutDamageSilently,
    /// The last change of a change set is lost.
    HalfChangeSet,
    /// Received records are valid before they are accepted.
    NoWithholding,
    /// Rejected records stay in the log.
    KeepRejected,
    /// After a failed sync, what is in memory is not written again.
    TrustMemory,
    /// The pointer is switched before the new log exists.
    PointerFirst,
    /// Segments are removed although the state does not have their records.
    TrimTooMuch,
    /// What a shadow's master had not said to be durable is visible after a start.
    ShowsAllAtStart,
    /// The blocks of the state are read without a check of their checksums.
    IgnoreSums,
    /// The checksums of the blocks of the state are written after the sync that makes the blocks durable.
    LateSums,
    /// What goes to quarantine is reported as durable while it is in memory only.
    QuarantineInMemory,
    /// A part of a full push is noted up to a later key than it is staged.
    NoteAhead,
    /// What a checkpoint is to move leaves the overlay when it begins.
    LoseOverlay,
    /// The log is trimmed when a checkpoint begins.
    TrimBeforeCheckpoint,
    /// A part of a checkpoint is durable by itself.
    DurableParts,
    /// A checkpoint is not synced.
    SkipStateSync,
    /// A checkpoint goes on after its state file was opened again or replaced.
    CheckpointGoesOn,
    /// A differential repair leaves the entries that its source does not have.
    KeepsGone,
    /// In a differential repair all entries have the same hash.
    AlikeHashes,
}

/// Whether this defect is switched on.
#[cfg(not(test))]
pub(super) const fn is_active(_: Mutant) -> bool {
    false
}

#[cfg(test)]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Whether this defect is switched on.
#[cfg(test)]
pub(super) fn is_active(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

/// Switches this defect on, and all others off, on this thread.
#[cfg(test)]
pub fn activate(mutant: Option<Mutant>) {
    ACTIVE.set(mutant);
}
