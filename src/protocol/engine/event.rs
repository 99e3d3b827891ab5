//! What can happen to an engine.

use super::{LinkId, Peer, StoredToken, Ticket, Undialable};
use crate::model::{KeyId, Revision, WitnessRecord, WitnessVersion};
use crate::protocol::replication::Written;
use crate::protocol::wire::{Bulk, BulkId, Message, SnapshotHeader};

/// What happens to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The timer that the engine set came due.
    Timer,
    /// The shell was told to stop, and does not wait any longer for the batch under way. Everybody is answered; whatever becomes
    /// of that batch is not to be said any more.
    Abandoned,
    /// A connection is up: TLS is done and the pinned peer is at its other end.
    LinkUp {
        /// Which one.
        link: LinkId,
        /// Whether this side dialled it.
        dialled: bool,
    },
    /// Where the other end of a connection is, for alerts. Follows `LinkUp`, where the shell knows it.
    LinkFrom {
        /// Which one.
        link: LinkId,
        /// Address and port, as the system names them.
        address: String,
    },
    /// A connection is gone, for a reason other than [`super::Action::Close`].
    LinkDown {
        /// Which one.
        link: LinkId,
        /// Why.
        reason: String,
    },
    /// The dial that the engine asked for led to no link.
    DialFailed {
        /// In which way.
        how: DialFailureKind,
        /// Why, for people.
        reason: String,
    },
    /// A control message.
    Message {
        /// On this link.
        link: LinkId,
        /// What it says.
        message: Message,
    },
    /// A bulk frame; its bytes wait in the shell until a batch or [`super::Action::DropBulk`] names them.
    Bulk {
        /// On this link.
        link: LinkId,
        /// The bytes.
        bulk: BulkId,
        /// What they are.
        what: Bulk,
        /// How many.
        bytes: usize,
    },
    /// Bytes of a frame came that is not whole yet. They say that the peer's end of this link lives, and nothing else: they
    /// confirm no mastership, renew no promise and accept no hello.
    Progress {
        /// On this link.
        link: LinkId,
    },
    /// The peer sent what is no frame or no message, or more than it may. It is refused like one that says what it must not.
    Malformed {
        /// On this link.
        link: LinkId,
        /// What it sent.
        what: String,
    },
    /// The shell read and queued what [`super::Action::PushRecords`] asked for.
    RecordsPushed {
        /// On this link.
        link: LinkId,
        /// Position after the last record queued; the asked-for position where the log holds nothing newer.
        last: Revision,
        /// Bytes queued.
        bytes: usize,
        /// The log no longer reaches that far back.
        gone: bool,
    },
    /// The snapshot that [`super::Action::OpenSnapshot`] asked for is open.
    SnapshotOpened {
        /// What it is.
        header: SnapshotHeader,
    },
    /// The shell read and queued a piece of the snapshot.
    SnapshotPushed {
        /// Of which transfer.
        transfer: u64,
        /// Bytes queued.
        bytes: usize,
        /// There is no more.
        done: bool,
    },
    /// A snapshot or log could not be read for a push.
    ReadFailed {
        /// What the store says.
        reason: String,
    },
    /// A caller wants to commit a change set that the shell keeps under its ticket, bounds already checked.
    Commit {
        /// Who.
        ticket: Ticket,
        /// Bytes of keys and values.
        bytes: usize,
    },
    /// The group of this batch is in the log, and about to be made durable. Comes once at the most, before its
    /// [`Self::Persisted`]; until then [`super::Action::PushRecords`] may ask for it.
    Written {
        /// Of this batch.
        batch: super::BatchId,
        /// The head after it, and its bytes.
        written: Written,
    },
    /// A batch is done.
    Persisted(super::Completed),
    /// The host answered a question, or did not within its time (then `allowed` is false).
    HostAnswered {
        /// Number of the question.
        question: u64,
        /// Its answer.
        allowed: bool,
        /// Why not.
        reason: String,
    },
    /// The witness answered, or did not within its time.
    WitnessAnswered {
        /// Number of the question, as in [`super::Action::AskWitness`].
        ask: u64,
        /// What it said.
        answer: WitnessAnswer,
    },
    /// An operator's command.
    Command {
        /// Who asks.
        ticket: Ticket,
        /// What.
        command: Command,
    },
    /// A node asks to enrol.
    EnrolAsked {
        /// Number of the question, chosen by the shell.
        ask: u64,
        /// Who.
        peer: Box<Peer>,
        /// The key of this node that it has seen, and would pin.
        own_key: KeyId,
        /// What it has proved beside its key.
        proof: EnrolProof,
        /// Where it comes from, for the alert.
        from: String,
    },
    /// The node that was accepted has stored what it needs.
    EnrolConfirmed {
        /// Number of the question.
        ask: u64,
    },
    /// Somebody was turned away before it became a link.
    Unpermitted {
        /// Address.
        from: String,
        /// Why.
        reason: String,
        /// The key of the certificate that it showed, where it was a node's.
        shown: Option<KeyId>,
        /// How many connections this stands for.
        times: u64,
    },
    /// The next key of this node is durable beside the one in use, or could not be made. Answers [`super::Action::MakeKey`].
    KeyMade(Result<KeyId, super::DiskFailure>),
    /// The next key of this node is the only one it has, or the old one stays. Answers [`super::Action::UseKey`].
    KeyUsed(Result<KeyId, super::DiskFailure>),
    /// The peer has shown its next key in the handshake of a link.
    NextKeyShown {
        /// That key.
        key: KeyId,
    },
    /// When a certificate ends, by the wall clock. Comes at the start, and then every day.
    CertificateEnds {
        /// Whose, and when.
        subject: String,
        /// Days left.
        days: u64,
    },
    /// The store found trouble outside a batch: in maintenance, at a local entry, or in a look at the data directory. Unless the
    /// disk is just full, the store is closed.
    StoreTrouble {
        /// What it says.
        reason: String,
        /// Whether the disk is full.
        full: bool,
    },
    /// How much room is left on the disk. Comes at the start, and then from time to time.
    Room(Room),
    /// Whether the addresses that the nodes advertise can be dialled, where that has changed. Of one that nobody knows it is not said.
    AddressesChecked(Undialable),
    /// Whether lines of the audit log cannot be written, and why. Comes at the start, and then while it is so and when it is over.
    AuditTrouble {
        /// What the system says; `None` where lines can be written.
        reason: Option<String>,
    },
}

/// The room on the disk of the data directory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What a full push of what this node holds needs.
    pub needed: u64,
    /// What may still be written.
    pub free: u64,
}

/// What the witness said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WitnessAnswer {
    /// To a read: this is its value; `None` where there is none.
    Holds(Option<Box<(WitnessRecord, WitnessVersion)>>),
    /// To a swap: done, and this is the version of the new value.
    Swapped(WitnessVersion),
    /// To a swap: the value is another than the one it named. Nothing changed.
    Conflict,
    /// Nobody knows: no answer in time, or an error. A swap may have been done, or may be done later.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// What a node that asks to enrol has proved beside its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnrolProof {
    /// That it knows the token of this index, in [`super::DurableState::tokens`].
    Token(usize),
    /// Nothing.
    Nothing,
    /// That the host knows its user and password.
    User,
}

/// In which way a dial failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DialFailureKind {
    /// Nobody answered in time, or nobody was there.
    Unreachable,
    /// Somebody answered who is not the pinned peer.
    WrongKey {
        /// The key of the certificate that it showed, where it was a node's.
        shown: Option<KeyId>,
    },
    /// The pinned peer does not permit this node.
    RefusedByPeer,
}

/// An operator's command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Allows a shadow to be enrolled.
    Enable,
    /// Forbids it again.
    Disable,
    /// Remembers a join token that the shell made.
    Token(StoredToken),
    /// Closes the link and holds it.
    Disconnect,
    /// Lets it come again.
    Reconnect,
    /// Asks for a full push.
    Resync,
    /// Forgets the pairing.
    Reset,
    /// Marks an alert as seen; a `recovered` one goes.
    Acknowledge {
        /// Which one.
        alert: u64,
    },
    /// Makes this node master, where no change set is lost by that.
    TakeOver,
    /// Makes this node master although change sets may be lost.
    TakeOverAcceptingLoss,
    /// Changes whether commits wait for the shadow, until the next start.
    Replicate(super::Replication),
    /// Makes the shadow master and the master shadow, without loss.
    SwitchRoles,
    /// Pauses automatic failover of the pair, or lets it go on.
    Pause(bool),
    /// Freezes the configuration of the pair, or lets it be changed again.
    Freeze(bool),
    /// Gives this node a new key.
    Rotate,
    /// Stops: what can be stored is stored, the link is closed with a word.
    Shutdown,
    /// Ends the pairing with the shadow, and remembers a join token for another one.
    ReplaceShadow(StoredToken),
}
