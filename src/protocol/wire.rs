//! Frames and versioned messages, and their bytes. `docs/PROTOCOL.md` specifies the bytes; no other room encodes them.
//!
//! Reading order: [`Message`] is what the engine sends and receives. [`Frame`]s divide a byte stream into bounded pieces.
//! [`encode`] and [`decode`] convert between the two by way of the frozen structs of each version, so that the engine's types
//! may change while the bytes stay the same. Nothing here does I/O. No length is used before it was compared with its
//! bound.

mod carried;
mod codec;
mod enrol;
mod error;
mod frame;
mod frame_kind;
#[cfg(test)]
pub(crate) mod golden;
mod message;
mod misbehaviour;
pub mod record;
mod switch;
mod v1;
mod v3;
mod witness;

pub use carried::{Carried, CarriedOutcome, decode_carried, decode_change_set, encode_carried, encode_change_set};
pub use codec::{
    BulkPrefix, decode, decode_bulk, decode_enrol, decode_v3, durable_format, encode, encode_bulk, encode_enrol,
    enrol_proof_input, open_durable, seal_durable,
};
pub use enrol::EnrolMessage;
pub use error::WireError;
#[cfg(any(fuzzing, test))]
pub use frame::HEADER_BYTES;
pub use frame::{Frame, FrameDecoder};
pub use frame_kind::FrameKind;
pub use message::*;
pub use misbehaviour::Misbehaviour;
pub use switch::*;
pub use witness::{decode_witness, encode_witness};
