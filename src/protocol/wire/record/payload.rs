//! Reads and writes the parts of a payload. Every length is compared with its bound before it is used.

use super::BadRecord;
use crate::model::Key;
use crate::model::limits::{VALUE_BYTES_MAX, VALUE_INLINE_BYTES_MAX};

/// Reads a payload from its front. Holds what is left of it.
pub(super) struct PayloadReader<'a>(pub(super) &'a [u8]);

impl<'a> PayloadReader<'a> {
    pub(super) fn take(&mut self, bytes: usize) -> Result<&'a [u8], BadRecord> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(BadRecord::Payload)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], BadRecord> {
        self.take(N)?.try_into().map_err(|_| BadRecord::Payload)
    }

    pub(super) fn u8(&mut self) -> Result<u8, BadRecord> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, BadRecord> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, BadRecord> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, BadRecord> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn flag(&mut self) -> Result<bool, BadRecord> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(BadRecord::Payload),
        }
    }

    pub(super) fn key(&mut self) -> Result<Key, BadRecord> {
        let bytes = self.u16()?;
        let text = std::str::from_utf8(self.take(usize::from(bytes))?).map_err(|_| BadRecord::Payload)?;
        Key::new(text).map_err(|_| BadRecord::Payload)
    }

    /// A value that is not sent in chunks, with its length before it.
    pub(super) fn inline_value(&mut self) -> Result<&'a [u8], BadRecord> {
        let bytes = self.u32()? as usize;
        if bytes > VALUE_INLINE_BYTES_MAX {
            return Err(BadRecord::Payload);
        }
        self.take(bytes)
    }

    /// The length of a value that is sent in chunks.
    pub(super) fn large_length(&mut self) -> Result<u64, BadRecord> {
        let bytes = self.u64()?;
        if is_large(bytes) { Ok(bytes) } else { Err(BadRecord::Payload) }
    }
}

/// Appends a key with its length before it.
pub(super) fn put_key(out: &mut Vec<u8>, key: &Key) {
    out.extend_from_slice(&(key.as_bytes().len() as u16).to_le_bytes());
    out.extend_from_slice(key.as_bytes());
}

/// Whether a value of this length is sent in chunks.
fn is_large(bytes: u64) -> bool {
    bytes > VALUE_INLINE_BYTES_MAX as u64 && bytes <= VALUE_BYTES_MAX as u64
}
