//! The session on the connection that counts: what was negotiated, and the one end of it that this node is.
//!
//! | end | `begin_source` | `begin_sink` | `end_source` | `end_sink` |
//! |---|---|---|---|---|
//! | none | source | sink | - | - |
//! | source | - | - | none; the number of the next snapshot is kept | - |
//! | sink | - | - | - | none |
//!
//! | full push | wanted | begins | over | link lost | this node is master now |
//! |---|---|---|---|---|---|
//! | none | wanted | under way | - | - | none |
//! | wanted | - | under way | - | - | none |
//! | under way | wanted | - | none | wanted | none |
//!
//! The ends themselves are machines with tables of their own: [`Source`] and [`Sink`].

use super::hello::Negotiation;
use super::{Moment, Transition};
use crate::model::limits::{LINK_BULK_WAITING_BYTES_MAX, LINK_BULK_WAITING_MAX};
use crate::model::{History, Position, Revision};
use crate::protocol::replication::{Sink, Source};
use crate::protocol::wire::Hello;

/// What is going on with the peer, beside heartbeats.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    negotiated: Option<Negotiated>,
    end: End,
    copy: OwnCopy,
    full_push: FullPush,
    /// Lineage of the snapshot that is being staged.
    staged: Option<History>,
    /// Number of the next snapshot, over all sessions of this run.
    next_transfer: u64,
    /// A snapshot that is wanted and not asked for yet.
    to_open: Option<u64>,
    /// The sink's disk failed: when to say that it is ready again.
    disk_retry_at: Option<Moment>,
    /// Received and not yet handed to the store.
    waiting: Waiting,
    /// How far the source's own log is durable, by its last word.
    source_durable: Option<Revision>,
    /// The last position that is common with a master that was refused.
    common: Option<Revision>,
    former_master: FormerMaster,
}

/// What two hellos came to.
#[derive(Clone, Debug)]
struct Negotiated {
    outcome: Negotiation,
    hello: Box<Hello>,
    at: Moment,
    /// The peer has answered a question on this connection, as a shadow.
    answered: bool,
}

/// Which end of the session this node is.
#[derive(Clone, Debug, Default)]
enum End {
    #[default]
    None,
    Source(Source),
    Sink(Sink),
}

/// Whether this node's copy is known to lack something that the master has. It outlives the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum OwnCopy {
    #[default]
    Current,
    Behind,
}

/// A full push that an operator asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FullPush {
    #[default]
    None,
    Wanted,
    /// Where the link breaks before it is over, the next session goes on with it.
    UnderWay,
}

/// Bulk that waits for the store.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    frames: usize,
    bytes: usize,
}

/// A master that steps down.
#[derive(Clone, Debug, Default)]
struct FormerMaster {
    /// The master that it steps down for, by its hello. It outlives the link: what this node has alone is saved before it is a
    /// shadow, however long that takes.
    follows: Option<Box<Hello>>,
    /// Up to here this node's own changes are in quarantine already.
    quarantined: Option<Revision>,
    /// Changes up to here could not be read when they were to be saved. The second time they are given up.
    unreadable: Option<Revision>,
}

impl Session {
    // What was negotiated.

    /// Two nodes have agreed.
    pub(super) fn agree(&mut self, at: Moment, outcome: Negotiation, hello: Box<Hello>) {
        if outcome == Negotiation::StepDown {
            self.former_master.follows = Some(hello.clone());
        }
        self.negotiated = Some(Negotiated { outcome, hello, at, answered: false });
    }

    /// What was agreed upon, and the peer's hello.
    pub(super) fn agreement(&self) -> Option<(&Negotiation, &Hello)> {
        self.negotiated.as_ref().map(|negotiated| (&negotiated.outcome, &*negotiated.hello))
    }

    /// The master has the tail that this shadow gave, and leads now.
    pub(super) fn follow_instead(&mut self) {
        if let Some(negotiated) = &mut self.negotiated {
            negotiated.outcome = Negotiation::Follow;
        }
    }

    /// The peer has answered the question on this connection, as a shadow.
    pub(super) fn peer_answered(&mut self) {
        if let Some(negotiated) = &mut self.negotiated {
            negotiated.answered = true;
        }
    }

    /// What the peer answered to a master that asks, as long as the link is up.
    pub(super) fn answer_of_peer(&self) -> Option<Transition> {
        let negotiated = self.negotiated.as_ref()?;
        match negotiated.outcome {
            Negotiation::Lead => negotiated.answered.then_some(Transition::PeerFollows),
            Negotiation::TakeTail => {
                let taken = self.sink().is_some_and(|sink| !sink.syncing());
                match (taken, negotiated.answered) {
                    (false, _) => Some(Transition::PeerAhead),
                    (true, true) => Some(Transition::PeerFollows),
                    (true, false) => None,
                }
            }
            _ => None,
        }
    }

    /// Since when the link is one of two shadows, of which one may have handed over to the other.
    pub(super) fn met_as_shadows(&self) -> Option<Moment> {
        let met = self.negotiated.as_ref().filter(|negotiated| negotiated.outcome == Negotiation::MeetAsShadows);
        met.map(|negotiated| negotiated.at)
    }

    /// Whether another master was met that is expected to step down.
    pub(super) fn waits_for_peer(&self) -> bool {
        self.agreement().is_some_and(|(outcome, _)| *outcome == Negotiation::PeerStepsDown)
    }

    /// A master that was met before this moment, serves, and is expected to step down although it has the later epoch.
    pub(super) fn rival(&self, before: Moment) -> Option<&Hello> {
        let negotiated = self.negotiated.as_ref().filter(|negotiated| negotiated.at <= before)?;
        let rival = negotiated.outcome == Negotiation::PeerStepsDown && negotiated.hello.serving;
        rival.then_some(&*negotiated.hello)
    }

    /// Whether a master was met that outranks this one.
    pub(super) fn is_outranked(&self) -> bool {
        self.agreement().is_some_and(|(outcome, _)| *outcome == Negotiation::StepDown)
    }

    /// A master was refused; up to here its history is this node's.
    pub(super) fn refused_at(&mut self, common: Revision) {
        self.common = Some(common);
    }

    /// The last position that is common with a master that was refused.
    pub(super) fn last_common(&self) -> Revision {
        self.common.unwrap_or(Revision::NONE)
    }

    // A former master.

    /// The master for which this node steps down.
    pub(super) fn steps_down_for(&self) -> Option<&Hello> {
        self.former_master.follows.as_deref()
    }

    /// This node is the shadow now.
    pub(super) fn stepped_down(&mut self) {
        self.negotiated = None;
        self.former_master.follows = None;
    }

    /// Whether everything up to this head is in quarantine, or given up.
    pub(super) fn is_quarantined(&self, head: Revision) -> bool {
        self.former_master.quarantined == Some(head)
    }

    pub(super) fn set_quarantined(&mut self, head: Revision) {
        self.former_master.quarantined = Some(head);
    }

    /// What is up to this head could not be read. Returns whether that was so before.
    pub(super) fn unreadable_again(&mut self, head: Revision) -> bool {
        self.former_master.unreadable.replace(head) == Some(head)
    }

    // The two ends.

    pub(super) fn begin_source(&mut self, source: Source) {
        self.end = End::Source(source);
    }

    pub(super) fn begin_sink(&mut self, sink: Sink) {
        self.end = End::Sink(sink);
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.end, End::None)
    }

    pub(super) fn source(&self) -> Option<&Source> {
        match &self.end {
            End::Source(source) => Some(source),
            End::None | End::Sink(_) => None,
        }
    }

    pub(super) fn source_mut(&mut self) -> Option<&mut Source> {
        match &mut self.end {
            End::Source(source) => Some(source),
            End::None | End::Sink(_) => None,
        }
    }

    fn sink(&self) -> Option<&Sink> {
        match &self.end {
            End::Sink(sink) => Some(sink),
            End::None | End::Source(_) => None,
        }
    }

    pub(super) fn sink_mut(&mut self) -> Option<&mut Sink> {
        match &mut self.end {
            End::Sink(sink) => Some(sink),
            End::None | End::Source(_) => None,
        }
    }

    /// Ends the source, and returns it.
    pub(super) fn end_source(&mut self) -> Option<Source> {
        let End::Source(source) = &self.end else { return None };
        let source = source.clone();
        self.next_transfer = source.next_transfer();
        self.end = End::None;
        Some(source)
    }

    /// Ends the sink, and returns it.
    pub(super) fn end_sink(&mut self) -> Option<Sink> {
        let End::Sink(sink) = &self.end else { return None };
        let sink = sink.clone();
        self.end = End::None;
        Some(sink)
    }

    /// Number of the next snapshot.
    pub(super) fn next_transfer(&self) -> u64 {
        self.next_transfer
    }

    /// Whether a repair is under way, or about to be.
    pub(super) fn in_progress(&self) -> bool {
        match &self.end {
            End::Source(source) => !source.synced(),
            End::Sink(sink) => sink.syncing(),
            End::None => true,
        }
    }

    /// What the sink of this source durably holds.
    pub(super) fn confirmed(&self) -> Option<Position> {
        self.source().map(Source::confirmed)
    }

    /// Whether this node is being brought up to date.
    pub(super) fn is_sink(&self) -> bool {
        self.sink().is_some()
    }

    /// Whether pushes get through.
    pub(super) fn is_live(&self) -> bool {
        self.source().is_some_and(|source| source.rejected().is_none())
    }

    /// The link is gone.
    pub(super) fn link_lost(&mut self) {
        if self.full_push == FullPush::UnderWay {
            self.full_push = FullPush::Wanted;
        }
        self.negotiated = None;
        self.disk_retry_at = None;
    }

    // This node's copy, and full pushes.

    /// Whether the copy is known to lack something that the master has.
    pub(super) fn is_behind(&self) -> bool {
        self.copy == OwnCopy::Behind
    }

    /// The master has more.
    pub(super) fn fell_behind(&mut self) {
        self.copy = OwnCopy::Behind;
    }

    /// The copy is complete; whatever it lacks by now is asked for by the next session.
    pub(super) fn caught_up(&mut self) {
        self.copy = OwnCopy::Current;
    }

    pub(super) fn became_master(&mut self) {
        self.copy = OwnCopy::Current;
        self.full_push = FullPush::None;
    }

    /// An operator, here or on the peer, asks for a full push.
    pub(super) fn want_full_push(&mut self) {
        self.full_push = FullPush::Wanted;
    }

    pub(super) fn wants_full_push(&self) -> bool {
        self.full_push == FullPush::Wanted
    }

    pub(super) fn full_push_begins(&mut self) {
        self.full_push = FullPush::UnderWay;
    }

    /// A full push is over.
    pub(super) fn full_push_ended(&mut self) {
        if self.full_push == FullPush::UnderWay {
            self.full_push = FullPush::None;
        }
    }

    // Snapshots and bulk.

    pub(super) fn want_snapshot(&mut self, transfer: Option<u64>) {
        self.to_open = transfer;
    }

    pub(super) fn wanted_snapshot(&self) -> Option<u64> {
        self.to_open
    }

    pub(super) fn stage(&mut self, history: History) {
        self.staged = Some(history);
    }

    /// The lineage of the snapshot that was staged.
    pub(super) fn take_staged(&mut self) -> Option<History> {
        self.staged.take()
    }

    /// A frame of bulk came. Returns whether there was room for it.
    pub(super) fn bulk_waits(&mut self, bytes: usize) -> bool {
        let room =
            self.waiting.frames < LINK_BULK_WAITING_MAX && self.waiting.bytes + bytes <= LINK_BULK_WAITING_BYTES_MAX;
        self.waiting.frames += 1;
        self.waiting.bytes += bytes;
        room
    }

    /// One of the waiting frames is dropped.
    pub(super) fn bulk_dropped(&mut self) {
        self.waiting.frames = self.waiting.frames.saturating_sub(1);
    }

    /// All bulk that waited goes into one batch, or is gone.
    pub(super) fn bulk_taken(&mut self) {
        self.waiting = Waiting::default();
    }

    /// The source says how far its own log is durable.
    pub(super) fn source_is_durable(&mut self, upto: Revision) {
        self.source_durable = Some(upto);
    }

    pub(super) fn source_durable(&self) -> Option<Revision> {
        self.source_durable
    }

    // The sink's disk.

    pub(super) fn retry_disk_at(&mut self, at: Option<Moment>) {
        self.disk_retry_at = at;
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        self.disk_retry_at
    }
}

#[cfg(test)]
mod tests;
