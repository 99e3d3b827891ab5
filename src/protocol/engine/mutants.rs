//! Mistakes that the simulator must find. In the program they are all switched off, at compile time.
//!
//! One that leaves a condition out stands in that condition, as [`Setup::makes`](super::setup::Setup::makes). One that changes what goes
//! into a decision, or what comes out of it, is in `injected.rs`, which only tests compile.

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
    KeepsRefusedUpdate,
    /// A link that was lost is not dialled again.
    NeverRedials,
    /// A repair that is over begins again at every heartbeat.
    RepairsForEver,
    /// A shadow that gave its master the tail back is taken for one that has the master's new era.
    GivesEraUnseen,
    /// A second node with the peer's identity is taken for the peer after a restart.
    TakesCopyForRestart,
    /// A shadow follows a master that lacks what the shadow has shown.
    BlankWipes,
    /// What is being written shows before it is durable.
    ShowsBeforeDurable,
    /// A shadow shows what it holds, also where its master could still lose it.
    ShowsBeyondMark,
    /// A change set is acknowledged when it is in the log, before its sync.
    AcknowledgesWritten,
    /// After a failed sync the same era goes on.
    AppendsAfterFailedSync,
    /// Rule 1: a promise counts from its answer.
    PromiseFromAnswer,
    /// Rule 1: a lease counts from its answer.
    LeaseFromAnswer,
    /// Rule 2: the age of a record counts from when the question was asked.
    AgeFromQuestion,
    /// Rule 3: a read that shows one's own swap extends the lease.
    ReadExtends,
    /// An unknown renewal is taken for success.
    UnknownIsSuccess,
    /// Rule 4: no margin for the rates of two clocks.
    NoMargin,
    /// Rule 4: the margin is left out of the wait for one's own promise only.
    NoMarginOnPromise,
    /// Rule 4: the margin is left out of the wait for the lease only.
    NoMarginOnLease,
    /// Rule 4: one's own length of a lease is waited for, not the one in the record.
    OwnLeaseLength,
    /// Rule 2: a lease is over when the other node's wall clock says so.
    LeaseByOthersClock,
    /// A record that is gone is taken for one that nobody held.
    WipedLeaseIsOver,
    /// Rule 5: a promise is forgotten by a restart.
    ForgetsPromise,
    /// Rule 6: a shadow does not wait for the end of its own promise.
    IgnoresOwnPromise,
    /// Rule 6: a shadow does not wait for the end of the lease.
    SkipsLeaseWait,
    /// Rule 6: a shadow takes over although the record does not say that it is in sync.
    IgnoresInSync,
    /// Rule 6: a shadow takes over although it lacks what is recorded.
    IgnoresRecordedRevision,
    /// Rule 7: the swap goes before the term is durable.
    SwapsBeforeNote,
    /// Rule 7: the note is dropped with the attempt.
    DropsNote,
    /// Rule 8: a shadow that the record names serves without a swap of its own.
    NamedServes,
    /// Rule 9: a promise is given while an attempt is under way, and does not make it void.
    PromisesDuringTakeover,
    /// Rule 9: a node that has won the swap and not stored its epoch answers heartbeats.
    AnswersBeforeEpoch,
    /// Rule 10: a takeover's swap lowers the recorded revision.
    LowersRevision,
    /// Rule 10: a master goes on whose log lacks what is recorded.
    IgnoresRecorded,
    /// Rule 11: a master goes on that the register does not name.
    IgnoresRegister,
    /// Rule 12: a read that shows "nobody in sync" is enough to acknowledge alone.
    AloneByRead,
    /// Rule 12: acknowledged alone before the record says so.
    AloneBeforeRecord,
    /// Rule 13: a new master does not wait for its peer.
    NewMasterDoesNotWait,
    /// Rule 14: "in sync" counts only when its swap is answered.
    FlagCountsWhenAnswered,
    /// Rule 15: "in sync" is asked for before the shadow holds everything.
    FlagsEarly,
    /// Rule 17: an incarnation grows by one, so that an old copy of the disk repeats it.
    ReusesIncarnation,
    /// A master whose pairing was forgotten needs no cover, whatever the record says.
    UnboundByReset,
    /// An epoch is used before it is durable.
    ServesBeforeEra,
    /// Rule 19: an answer without a promise lets a restarted master serve.
    AnswerIsPromise,
    /// A stalled master acknowledges after its lease.
    AcknowledgesAfterLease,
    /// A state that only a person ends is no alert.
    HidesOperatorStates,
    /// What was noted by the wall clock stays as it is when the clock is set.
    TrustsWallClock,
    /// A master whose disk does not answer waits for it for ever.
    WaitsForDisk,
    /// A snapshot that was cut goes on after a later key than the last one that is staged.
    ResumesAtWrongKey,
    /// A snapshot that was cut goes on as if nothing had changed meanwhile.
    ResumesUnchanged,
    /// Rule 21: a master that hands over keeps what it rests on until the role of shadow is stored.
    KeepsCoversInSwitch,
    /// Rule 21: it hands over before the swap is answered, or the role of shadow durable.
    HandsOverEarly,
    /// Rule 21: it does not wait until everything is settled and the shadow holds it.
    SwitchesUndrained,
    /// Rule 21: the shadow says that it is ready before its term is durable.
    ReadyUnnoted,
    /// Rule 22: the new master does not wait for the old one.
    SwitchedDoesNotWait,
    /// Rule 23: what is handed over is a cover.
    HandOverCovers,
    /// A pause is not stored, so that a restart forgets it.
    ForgetsPause,
    /// The next key is used before the peer says that it permits it.
    UsesKeyUnpinned,
    /// The peer is told that its next key is permitted before that is durable.
    PinsUnstored,
    /// Rule 24: a shadow is replaced although the record names it as in sync.
    ReplacesUnrecorded,
}

#[cfg(test)]
mod injected;
