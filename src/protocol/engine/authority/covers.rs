//! What a mastership rests on where there is a witness: the peer's promise and the lease.
//!
//! | | promised | renewed | a takeover is won | deposed | stopped |
//! |---|---|---|---|---|---|
//! | no cover | promise | lease | lease | - | - |
//! | promise | the later end | both | lease alone | none | none, nor from what was asked before |
//! | lease | both | the later end | the new lease alone | none | none, nor from what was asked before |
//!
//! | written of the shadow | "nobody in sync" swapped | "in sync" sent | an era begins | a peer is enrolled |
//! |---|---|---|---|---|
//! | it may be in sync | alone | - | - | - |
//! | alone | - | may be in sync | may be in sync | may be in sync |

use super::Moment;

/// The covers of a master.
#[derive(Clone, Debug)]
pub(in super::super) struct Covers {
    /// Until when the peer's promise covers.
    promise: Option<Moment>,
    /// Until when the lease at the witness covers.
    lease: Option<Moment>,
    /// What was asked before this moment covers nothing: this node was stopped, or took another role.
    fresh_after: Moment,
    /// Counts the eras of this run, so that an answer to an earlier one says nothing of this one.
    era: u64,
    /// What a swap of this era wrote last of the shadow.
    last_swap: LastSwap,
    /// This node has no peer, and the record says so since: a former one cannot take over.
    unrivalled: bool,
    /// Heartbeats in a row that the shadow answered without a promise.
    unpromised: u32,
}

/// What a swap of this era wrote of the shadow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastSwap {
    /// Nothing yet, or that it is in sync: whatever was answered, that may be in the register (rule 14).
    MayBeInSync,
    /// That nobody is in sync (rule 12).
    Alone,
}

impl Covers {
    pub(super) fn new(at: Moment) -> Self {
        Self {
            promise: None,
            lease: None,
            fresh_after: at,
            era: 0,
            last_swap: LastSwap::MayBeInSync,
            unrivalled: false,
            unpromised: 0,
        }
    }

    /// Until when the longer of the two lasts.
    pub(super) fn until(&self) -> Option<Moment> {
        self.promise.max(self.lease)
    }

    pub(in super::super) fn is_promised(&self, at: Moment) -> bool {
        self.promise.is_some_and(|until| at <= until)
    }

    /// Whether it is settled that nobody is in sync.
    pub(in super::super) fn is_alone(&self) -> bool {
        self.last_swap == LastSwap::Alone
    }

    pub(in super::super) fn is_unrivalled(&self) -> bool {
        self.unrivalled
    }

    pub(in super::super) fn era(&self) -> u64 {
        self.era
    }

    /// The peer promised, in an answer to what was sent then.
    pub(in super::super) fn promised(&mut self, sent: Moment, until: Moment) {
        if sent >= self.fresh_after {
            self.promise = self.promise.max(Some(until));
        }
    }

    /// A swap of this node's own, sent then in this era, was done.
    pub(in super::super) fn renewed(&mut self, sent: Moment, until: Moment, alone: bool, lone: bool) {
        if sent >= self.fresh_after {
            self.lease = self.lease.max(Some(until));
        }
        if alone {
            self.last_swap = LastSwap::Alone;
        }
        self.unrivalled = alone && lone;
    }

    /// A takeover is won: its lease is the only cover.
    pub(in super::super) fn won(&mut self, until: Moment, alone: bool) {
        (self.promise, self.lease) = (None, Some(until));
        self.last_swap = if alone { LastSwap::Alone } else { LastSwap::MayBeInSync };
    }

    /// A swap that says "in sync" is sent: from now on that may be in the register, whatever the answer (rule 14).
    pub(in super::super) fn may_be_in_sync(&mut self) {
        self.last_swap = LastSwap::MayBeInSync;
    }

    /// A new era of this node begins: what an earlier one settled does not count.
    pub(in super::super) fn begin_era(&mut self) {
        self.era += 1;
        self.last_swap = LastSwap::MayBeInSync;
    }

    /// A peer was enrolled: what was settled without one does not count.
    pub(in super::super) fn new_peer(&mut self) {
        (self.unrivalled, self.last_swap) = (false, LastSwap::MayBeInSync);
    }

    /// The covers end; what is asked from now on may bring new ones.
    pub(in super::super) fn end(&mut self) {
        (self.promise, self.lease) = (None, None);
    }

    /// The covers end, and what was asked until now brings none.
    pub(super) fn drop_all(&mut self, at: Moment) {
        self.end();
        self.fresh_after = at;
    }

    /// The shadow answered, with a promise or without. Returns how often in a row it had answered without one before.
    pub(in super::super) fn count_unpromised(&mut self, promised: bool) -> u32 {
        let before = self.unpromised;
        self.unpromised = if promised { 0 } else { before.saturating_add(1) };
        before
    }

    /// A mistake for tests: the lease lasts until then, whatever was answered.
    #[cfg(test)]
    pub(in super::super) fn extend_lease(&mut self, until: Moment) {
        self.lease = Some(until);
    }

    /// A mistake for tests: nobody is in sync, whatever was written.
    #[cfg(test)]
    pub(in super::super) fn assume_alone(&mut self) {
        self.last_swap = LastSwap::Alone;
    }
}
