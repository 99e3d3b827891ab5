//! The changes in the payload of a part or of a change set.

use std::fmt;

use super::BadRecord;
use super::payload::{PayloadReader, put_key};
use crate::model::{EntryHash, Key};

/// One change as a record carries it.
#[derive(Clone, PartialEq, Eq)]
pub enum RecordChange<'a> {
    /// Sets an entry. The value is part of the change.
    Put {
        /// Name of the entry.
        key: Key,
        /// Its value, at most [`VALUE_INLINE_BYTES_MAX`](crate::model::limits::VALUE_INLINE_BYTES_MAX) bytes.
        value: &'a [u8],
        /// Whether the value must not be shown.
        secret: bool,
    },
    /// Sets an entry. The value came in chunk records before.
    Large {
        /// Name of the entry.
        key: Key,
        /// Its hash, which covers the value.
        hash: EntryHash,
        /// Length of the value.
        bytes: u64,
        /// Which of the change set's large values, counted from zero.
        index: u32,
        /// Whether the value must not be shown.
        secret: bool,
    },
    /// Removes an entry.
    Delete {
        /// Name of the entry.
        key: Key,
    },
}

/// The changes in one record. Ends after the first error.
pub struct Changes<'a> {
    reader: PayloadReader<'a>,
    failed: bool,
}

/// Appends one change to the payload of a part or change set.
pub fn encode_change(out: &mut Vec<u8>, change: &RecordChange<'_>) {
    match change {
        RecordChange::Delete { key } => {
            out.push(0);
            put_key(out, key);
        }
        RecordChange::Put { key, value, secret } => {
            out.push(1 + u8::from(*secret));
            put_key(out, key);
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(value);
        }
        RecordChange::Large { key, hash, bytes, index, secret } => {
            out.push(3 + u8::from(*secret));
            put_key(out, key);
            out.extend_from_slice(&bytes.to_le_bytes());
            out.extend_from_slice(&index.to_le_bytes());
            out.extend_from_slice(&hash.0);
        }
    }
}

/// Reads the changes in the payload of a part, one after the other.
pub fn decode_part(payload: &[u8]) -> Changes<'_> {
    Changes::rest_of(PayloadReader(payload))
}

impl<'a> Changes<'a> {
    /// The changes that are left in a payload.
    pub(super) fn rest_of(reader: PayloadReader<'a>) -> Self {
        Self { reader, failed: false }
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = Result<RecordChange<'a>, BadRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.reader.0.is_empty() {
            return None;
        }
        let change = decode_change(&mut self.reader);
        self.failed = change.is_err();
        Some(change)
    }
}

fn decode_change<'a>(reader: &mut PayloadReader<'a>) -> Result<RecordChange<'a>, BadRecord> {
    let kind = reader.u8()?;
    let key = reader.key()?;
    match kind {
        0 => Ok(RecordChange::Delete { key }),
        1 | 2 => Ok(RecordChange::Put { key, value: reader.inline_value()?, secret: kind == 2 }),
        3 | 4 => {
            let (bytes, index) = (reader.large_length()?, reader.u32()?);
            Ok(RecordChange::Large { key, bytes, index, hash: EntryHash(reader.array()?), secret: kind == 4 })
        }
        _ => Err(BadRecord::Payload),
    }
}

impl fmt::Debug for RecordChange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value, .. } => write!(f, "Put({key:?}, {} bytes)", value.len()),
            Self::Large { key, bytes, .. } => write!(f, "Large({key:?}, {bytes} bytes)"),
            Self::Delete { key } => write!(f, "Delete({key:?})"),
        }
    }
}
