//! What the node's other tasks tell the driver.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::model::KeyId;
use crate::node::network::connection::Connection;
use crate::node::network::dial::DialFailure;
use crate::node::network::receive_budget::ReceivePermit;
use crate::protocol::engine::{EnrolVerdict, Event, LinkId, Peer};
use crate::protocol::wire::{Bulk, Message};
use crate::store::SnapshotPiece;

/// What a task of the node tells the driver.
pub enum Input {
    /// An event that the driver passes to the engine unchanged.
    Engine(Event),
    /// A control message came.
    Message { link: LinkId, message: Message },
    /// Bulk came: whole records or items, and how many bytes the frame had of which they come.
    Bulk { link: LinkId, what: Bulk, piece: SnapshotPiece, counted: usize, permit: ReceivePermit },
    /// A part of a change set that the peer's operator carries here came, or an answer to one.
    Carried { link: LinkId, payload: Bytes },
    /// Bytes of a frame came that is not whole yet.
    Progress { link: LinkId },
    /// The peer sent what is no frame or no message, or more than it may. Nothing more is read from the link.
    Malformed { link: LinkId, what: String },
    /// A connection is gone.
    LinkDown { link: LinkId, reason: String },
    /// The dial that was asked for is over.
    Dialled(Result<Connection, DialFailure>),
    /// The peer dialled.
    Accepted(Connection),
    /// A node asks to enrol.
    EnrolAsked(EnrolmentQuestion),
}

/// A node that asks to enrol.
pub struct EnrolmentQuestion {
    /// Number of the question.
    pub ask: u64,
    /// Who asks.
    pub peer: Peer,
    /// The key that this node has shown, and that the peer is about to pin.
    pub own_key: KeyId,
    /// What it has proved.
    pub proved: Proved,
    /// Where it comes from.
    pub from: String,
    /// Where the verdicts go: accepted, then stored; or refused.
    pub verdicts: mpsc::Sender<EnrolVerdict>,
}

/// What a node that asks to enrol has proved beside its key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Proved {
    /// Nothing.
    Nothing,
    /// That it knows this secret of a token.
    Secret([u8; 16]),
    /// That the host knows its user and password.
    User,
}
