//! Encodes and decodes with bincode. No other file uses it.
//!
//! Each rule covers something that bincode 2.0.1 does not do itself:
//!
//! - The length of the input is bounded before the decoder runs.
//! - Every decode runs under `with_limit`, so that no length inside the input allocates more than that bound.
//! - Left-over bytes are an error.
//! - A decoded value must encode to the same bytes, because the decoder also accepts longer forms of a number.
//! - The encoded structs have no recursive type, no element of size zero, no hash map, and byte strings of fixed length only.
//! - The format number is not part of what bincode encodes.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::frame::{HEADER_BYTES, frame_header};
use super::v1::{EnrolV1, MessageV1, RequestV1};
use super::v3::MessageV3;
use super::{Bulk, EnrolMessage, Frame, FrameKind, Message, WireError};
use crate::model::limits::{CONTROL_FRAME_BYTES_MAX, ENROL_FRAME_BYTES_MAX};
use crate::model::{Epoch, Revision};

/// Bytes of the header of a records frame, after the frame header: three revisions.
const RECORDS_HEADER_BYTES: usize = 3 * 16;
/// Bytes of the header of a snapshot frame, after the frame header: the transfer.
const SNAPSHOT_HEADER_BYTES: usize = 8;
/// Bytes of the format number before a durable value.
const DURABLE_HEADER_BYTES: usize = 2;

/// The bytes of a bulk frame before its raw bytes: frame header and bulk header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkPrefix {
    bytes: [u8; HEADER_BYTES + RECORDS_HEADER_BYTES],
    len: usize,
}

/// Encodes a control message as one complete frame.
///
/// Free text (names, reasons) is cut to its bound and its control characters are replaced, so that no system's error text
/// makes a link unusable.
///
/// # Errors
/// [`WireError::Bound`] where an address or a duration is out of bounds, [`WireError::TooLong`] where the message is too long.
pub fn encode(message: &Message) -> Result<Bytes, WireError> {
    match MessageV3::of(message) {
        Some(newer) => whole_frame(FrameKind::ControlV3, &newer),
        None => whole_frame(FrameKind::Control, &MessageV1::try_from(message)?),
    }
}

/// Decodes the payload of a [`FrameKind::Control`] frame.
///
/// # Errors
/// [`WireError::Malformed`] and [`WireError::Bound`].
pub fn decode(payload: &[u8]) -> Result<Message, WireError> {
    canonical::<MessageV1, CONTROL_FRAME_BYTES_MAX>("a message", payload)?.try_into()
}

/// Decodes the payload of a [`FrameKind::ControlV3`] frame.
///
/// # Errors
/// As [`decode`].
pub fn decode_v3(payload: &[u8]) -> Result<Message, WireError> {
    canonical::<MessageV3, CONTROL_FRAME_BYTES_MAX>("a message", payload)?.try_into()
}

/// Encodes an enrolment message as one complete frame.
///
/// # Errors
/// As [`encode`].
pub fn encode_enrol(message: &EnrolMessage) -> Result<Bytes, WireError> {
    whole_frame(FrameKind::Enrolment, &EnrolV1::try_from(message)?)
}

/// Decodes the payload of a [`FrameKind::Enrolment`] frame.
///
/// # Errors
/// As [`decode`].
pub fn decode_enrol(payload: &[u8]) -> Result<EnrolMessage, WireError> {
    canonical::<EnrolV1, ENROL_FRAME_BYTES_MAX>("an enrolment message", payload)?.try_into()
}

/// Encodes the fields of an enrolment request that its proof covers.
///
/// # Errors
/// As [`encode`].
pub fn enrol_proof_input(name: &str, address: &str, takeover_delay_ms: u64) -> Result<Vec<u8>, WireError> {
    to_vec("an enrolment request", &RequestV1::new(name, address, takeover_delay_ms)?)
}

/// Encodes what is written before `bytes` raw bytes: frame header and bulk header. The raw bytes are not copied.
///
/// # Errors
/// [`WireError::TooLong`] where the raw bytes do not fit into one frame, [`WireError::Bound`] where there are none.
pub fn encode_bulk(bulk: &Bulk, bytes: usize) -> Result<BulkPrefix, WireError> {
    if bytes == 0 {
        return Err(WireError::Bound { field: "bulk bytes" });
    }
    let (kind, header_bytes) = match bulk {
        Bulk::Records { .. } => (FrameKind::Records, RECORDS_HEADER_BYTES),
        Bulk::Snapshot { .. } => (FrameKind::Snapshot, SNAPSHOT_HEADER_BYTES),
    };
    let mut prefix = BulkPrefix { bytes: [0; _], len: HEADER_BYTES + header_bytes };
    let mut out = &mut prefix.bytes[..];
    out.put_slice(&frame_header(kind, bytes.saturating_add(header_bytes))?);
    match *bulk {
        Bulk::Records { after, last, durable } => {
            for revision in [after, last, durable] {
                out.put_u64_le(revision.epoch.as_u64());
                out.put_u64_le(revision.seq);
            }
        }
        Bulk::Snapshot { transfer } => out.put_u64_le(transfer),
    }
    Ok(prefix)
}

/// Splits a [`FrameKind::Records`] or [`FrameKind::Snapshot`] frame into its header and its raw bytes, which share the
/// frame's buffer.
///
/// # Errors
/// [`WireError::Malformed`] where the frame has no raw bytes or is shorter than its header, [`WireError::UnknownKind`] for a
/// frame of another kind.
pub fn decode_bulk(frame: Frame) -> Result<(Bulk, Bytes), WireError> {
    let mut payload = frame.payload;
    let header_bytes = match frame.kind {
        FrameKind::Records => RECORDS_HEADER_BYTES,
        FrameKind::Snapshot => SNAPSHOT_HEADER_BYTES,
        other => return Err(WireError::UnknownKind { found: other.code() }),
    };
    if payload.len() <= header_bytes {
        return Err(WireError::Malformed { what: "a bulk frame", reason: "it is cut short" });
    }
    let header = payload.split_to(header_bytes);
    let mut numbers =
        header.chunks_exact(8).map(|number| number.iter().rfold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    let mut next = || numbers.next().unwrap_or_default();
    let bulk = match frame.kind {
        FrameKind::Records => {
            let mut revision = || Revision::new(Epoch::from_u64(next()), next());
            Bulk::Records { after: revision(), last: revision(), durable: revision() }
        }
        _ => Bulk::Snapshot { transfer: next() },
    };
    Ok((bulk, payload))
}

/// Encodes a value for storage, with its format number before it.
///
/// The result is decoded once before it is returned, so that an unreadable value never replaces a readable one.
///
/// # Errors
/// [`WireError::Bound`] where the encoding is longer than `MAX` bytes or a reader would refuse it.
pub fn seal_durable<T, const MAX: usize>(what: &'static str, format: u16, value: &T) -> Result<Vec<u8>, WireError>
where
    T: Serialize + DeserializeOwned,
{
    let mut sealed = format.to_le_bytes().to_vec();
    sealed.append(&mut to_vec(what, value)?);
    match open_durable::<T, MAX>(what, format, &sealed) {
        Ok(_) => Ok(sealed),
        Err(_) => Err(WireError::Bound { field: what }),
    }
}

/// The format number of a value that [`seal_durable`] encoded. `None` if the bytes are too few.
pub fn durable_format(sealed: &[u8]) -> Option<u16> {
    sealed.first_chunk::<DURABLE_HEADER_BYTES>().map(|found| u16::from_le_bytes(*found))
}

/// Decodes a value that [`seal_durable`] encoded.
///
/// # Errors
/// [`WireError::Newer`] where its format is newer than `format`, [`WireError::Malformed`] where it is older or damaged.
pub fn open_durable<T, const MAX: usize>(what: &'static str, format: u16, sealed: &[u8]) -> Result<T, WireError>
where
    T: Serialize + DeserializeOwned,
{
    let Some((found, bytes)) = sealed.split_first_chunk::<DURABLE_HEADER_BYTES>() else {
        return Err(WireError::Malformed { what, reason: "it is cut short" });
    };
    match u16::from_le_bytes(*found) {
        0 => Err(WireError::Malformed { what, reason: "there is no format 0" }),
        found if found > format => Err(WireError::Newer { what, found: found.into(), known: format.into() }),
        found if found < format => Err(WireError::Malformed { what, reason: "it has an older format" }),
        _ => canonical::<T, MAX>(what, bytes),
    }
}

impl BulkPrefix {
    /// These bytes, which were encoded elsewhere. `None` if they are too many.
    pub fn of(head: &[u8]) -> Option<Self> {
        let mut prefix = Self { bytes: [0; _], len: head.len() };
        prefix.bytes.get_mut(..head.len())?.copy_from_slice(head);
        Some(prefix)
    }
}

impl AsRef<[u8]> for BulkPrefix {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Encodes a frame, header and payload in one buffer.
fn whole_frame<T: Serialize>(kind: FrameKind, message: &T) -> Result<Bytes, WireError> {
    let payload = Zeroizing::new(to_vec("a message", message)?);
    let mut frame = BytesMut::with_capacity(HEADER_BYTES + payload.len());
    frame.put_slice(&frame_header(kind, payload.len())?);
    frame.put_slice(&payload);
    Ok(frame.freeze())
}

fn to_vec<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, WireError> {
    bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map_err(|_| WireError::Malformed { what, reason: "it could not be encoded" })
}

/// Decodes a value from all of `bytes`, at most `MAX`. Refuses every encoding except the one that [`to_vec`] gives.
fn canonical<T, const MAX: usize>(what: &'static str, bytes: &[u8]) -> Result<T, WireError>
where
    T: Serialize + DeserializeOwned,
{
    if bytes.len() > MAX {
        return Err(WireError::Malformed { what, reason: "it is longer than its bound" });
    }
    let config = bincode::config::standard().with_limit::<MAX>();
    let (value, consumed) = bincode::serde::decode_from_slice::<T, _>(bytes, config)
        .map_err(|_| WireError::Malformed { what, reason: "it does not decode" })?;
    if consumed != bytes.len() {
        return Err(WireError::Malformed { what, reason: "bytes are left over" });
    }
    if *Zeroizing::new(to_vec(what, &value)?) != bytes {
        return Err(WireError::Malformed { what, reason: "it is not canonical" });
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
