//! What an engine wants done.

use std::time::Duration;

use super::{BulkId, CommandAnswer, CommitAnswer, LinkId, Moment, Ticket, Work};
use crate::model::{Epoch, KeyId, Position, Revision, WitnessRecord, WitnessVersion};
pub use crate::protocol::alerts::AlertChange;

use crate::protocol::alerts::Alert;
use crate::protocol::replication::RepairKind;
use crate::protocol::wire::{Message, RefusalKind, ResumePoint, Role};

/// What the shell must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Do this durable work and report [`super::Event::Persisted`]. The engine asks for one batch at a time.
    Persist(Work),
    /// Make the configuration visible up to here (in memory; at once) and tell watchers.
    Publish {
        /// Up to this revision.
        upto: Revision,
    },
    /// The peer durably holds everything up to here: what was kept to undo it may go.
    Confirm {
        /// Up to this revision.
        upto: Revision,
    },
    /// Queue a control message.
    Send {
        /// On this link.
        link: LinkId,
        /// What to say.
        message: Message,
    },
    /// Read whole records after this position, at most so many bytes (one record at the least), queue them as one
    /// frame, and report [`super::Event::RecordsPushed`]. Where the last position is above the durable mark, they are the group of
    /// [`super::Event::Written`], as a whole.
    PushRecords {
        /// On this link.
        link: LinkId,
        /// Records after this.
        after: Revision,
        /// The last position to send.
        upto: Revision,
        /// The durable mark to send along.
        durable: Revision,
        /// At most so many bytes.
        max_bytes: usize,
    },
    /// Open a snapshot of what is visible now for this transfer and report [`super::Event::SnapshotOpened`].
    OpenSnapshot {
        /// Its number.
        transfer: u64,
        /// Also what is durable and not visible yet.
        withheld: bool,
    },
    /// The snapshot begins with what changed of this part, which the peer has staged, and goes on behind it. Where the log does
    /// not tell what changed, it begins at the first key. Comes before the first piece is asked for.
    ResumeSnapshot {
        /// Of this transfer.
        transfer: u64,
        /// What the peer has.
        point: Box<ResumePoint>,
    },
    /// The snapshot begins with the hashes of the entries in those buckets that differ from the peer's. Comes before the first piece
    /// is asked for.
    CompareSnapshot {
        /// Of this transfer.
        transfer: u64,
        /// The first bytes of the digest of each of the peer's buckets.
        buckets: Vec<u8>,
    },
    /// The hashes were sent. The pieces that follow are of those entries that the peer wants.
    SelectSnapshot {
        /// Of this transfer.
        transfer: u64,
        /// A bit for each of the hashes; none for the whole snapshot.
        wants: Vec<u8>,
    },
    /// Read the next piece of it, queue it as one frame, and report [`super::Event::SnapshotPushed`]; also where it was
    /// closed meanwhile (no bytes, done). As long as the link is up there is exactly one report.
    PushSnapshot {
        /// On this link.
        link: LinkId,
        /// Of this transfer.
        transfer: u64,
        /// At most so many bytes (one item at the least).
        max_bytes: usize,
    },
    /// The snapshot is no longer needed.
    CloseSnapshot {
        /// Its number.
        transfer: u64,
    },
    /// Forget received bulk.
    DropBulk {
        /// Which bytes.
        bulk: BulkId,
    },
    /// Close a link, once what was queued before is written (or the drain timeout is over). No `LinkDown` follows.
    Close {
        /// Which one.
        link: LinkId,
    },
    /// Dial the peer; report `LinkUp` or `DialFailed`. The engine asks for one dial at a time.
    Dial {
        /// Where; the shell tries an address given on the command line beside it.
        address: String,
        /// Bound on name, TCP and TLS together, so that the last dial of a silence ends within the takeover delay.
        within: Duration,
    },
    /// Answer a caller that commits.
    AnswerCommit {
        /// The caller's.
        ticket: Ticket,
        /// Committed, or why not.
        answer: CommitAnswer,
    },
    /// Answer an operator.
    AnswerCommand {
        /// The operator's.
        ticket: Ticket,
        /// Done, or why not.
        answer: CommandAnswer,
    },
    /// Answer a node that asks to enrol.
    AnswerEnrol {
        /// Number of the question.
        ask: u64,
        /// Accepted (store what you need and confirm), stored, or refused.
        verdict: EnrolVerdict,
    },
    /// Ask the host whether this node may take over; report [`super::Event::HostAnswered`].
    AskMayTakeOver {
        /// Number of the question.
        question: u64,
    },
    /// Ask the witness; report [`super::Event::WitnessAnswered`] once, within the witness timeout. The engine asks one
    /// question at a time, but what an earlier one wanted may still be under way.
    AskWitness {
        /// Number of the question.
        ask: u64,
        /// What to ask.
        question: WitnessQuestion,
    },
    /// Wake the engine with [`super::Event::Timer`] at this moment; replaces the timer before it.
    SetTimer {
        /// When.
        at: Moment,
    },
    /// Make the next key of this node, durable beside the one in use; report [`super::Event::KeyMade`].
    MakeKey,
    /// Use the next key of this node, and forget the one before it; report [`super::Event::KeyUsed`].
    UseKey {
        /// The next key.
        key: KeyId,
    },
    /// Tell the host.
    Notify(Notice),
    /// Everything is stored and said: stop.
    Stop,
}

/// A question to the witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WitnessQuestion {
    /// What is your value?
    Read,
    /// Replace this value by that one. A back end never tries it twice by itself.
    Swap {
        /// The value that it replaces; `None` where there must be none.
        expected: Option<WitnessVersion>,
        /// The new one.
        record: Box<WitnessRecord>,
    },
}

/// The answer to a node that asks to enrol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnrolVerdict {
    /// Welcome: store this and confirm.
    Accepted {
        /// The pair.
        pair: crate::model::PairId,
    },
    /// The enrolment is stored.
    Stored,
    /// No. Says nothing of which part was wrong.
    Refused {
        /// In a word: `wrong_proof` whatever is wrong with the proof; to a node that has proved itself `not_master`, `ha_disabled`,
        /// `shadow_enrolled`, `same_node`, `disk`.
        kind: &'static str,
    },
}

/// What the host is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Role or serving changed.
    Role {
        /// Role now.
        role: Role,
        /// Whether this node holds mastership now.
        serving: bool,
        /// Its epoch.
        epoch: Epoch,
        /// Why.
        reason: super::RoleReason,
    },
    /// The link changed.
    Link {
        /// To this state.
        state: super::LinkState,
        /// Why.
        reason: String,
    },
    /// The nodes are at the same position.
    Synced {
        /// How that was reached.
        how: RepairKind,
        /// Where.
        position: Position,
        /// Entries or change sets that were transferred.
        entries: u64,
        /// Bytes that were transferred.
        bytes: u64,
        /// Time it took, microseconds.
        took_us: u64,
    },
    /// An alert changed.
    Alert {
        /// How.
        change: AlertChange,
        /// What it says now.
        alert: Alert,
    },
    /// A dial or a link was refused by the peer, or refused here.
    Refused {
        /// Why, in a word.
        kind: RefusalKind,
        /// In a sentence.
        reason: String,
    },
}
