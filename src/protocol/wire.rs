//! Frames and versioned messages: the one place that knows how they look as bytes (`docs/PROTOCOL.md` says it byte by
//! byte).
//!
//! Reading order: [`Message`] is what the engine says and hears; [`Frame`]s cut a byte stream into bounded pieces;
//! [`encode`] and [`decode`] turn one into the other by way of the frozen structs of version 1, so that the types of the
//! engine may move while the bytes stay. Nothing here does I/O, and nothing here trusts a length before it was
//! compared with its bound.

mod codec;
mod enrol;
mod error;
mod frame;
#[cfg(test)]
pub(crate) mod golden;
mod message;
mod misbehaviour;
pub mod record;
mod v1;
mod witness;

pub use codec::{
    BulkPrefix, decode, decode_bulk, decode_enrol, durable_format, encode, encode_bulk, encode_enrol,
    enrol_proof_input, open_durable, seal_durable,
};
pub use enrol::EnrolMessage;
pub use error::WireError;
#[cfg(any(fuzzing, test))]
pub use frame::HEADER_BYTES;
pub use frame::{Frame, FrameDecoder, FrameKind};
pub use message::*;
pub use misbehaviour::Misbehaviour;
pub use witness::{decode_witness, encode_witness};
