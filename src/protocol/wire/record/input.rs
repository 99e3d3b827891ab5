//! Reads the parts of a payload: every length is compared with its bound before it is believed.

use super::{BadRecord, Item, RecordChange, is_large};
use crate::model::limits::{CHUNK_BYTES, VALUE_INLINE_BYTES_MAX};
use crate::model::{EntryHash, Key};

/// What is left to read.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
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

    pub(super) fn inline(&mut self) -> Result<&'a [u8], BadRecord> {
        let bytes = self.u32()? as usize;
        if bytes > VALUE_INLINE_BYTES_MAX {
            return Err(BadRecord::Payload);
        }
        self.take(bytes)
    }

    pub(super) fn large(&mut self) -> Result<u64, BadRecord> {
        let bytes = self.u64()?;
        if is_large(bytes) { Ok(bytes) } else { Err(BadRecord::Payload) }
    }

    pub(super) fn change(&mut self) -> Result<RecordChange<'a>, BadRecord> {
        let kind = self.u8()?;
        let key = self.key()?;
        match kind {
            0 => Ok(RecordChange::Delete { key }),
            1 | 2 => Ok(RecordChange::Put { key, value: self.inline()?, secret: kind == 2 }),
            3 | 4 => {
                let (bytes, index) = (self.large()?, self.u32()?);
                Ok(RecordChange::Large { key, bytes, index, hash: EntryHash(self.array()?), secret: kind == 4 })
            }
            _ => Err(BadRecord::Payload),
        }
    }

    pub(super) fn item(&mut self) -> Result<Item<'a>, BadRecord> {
        let kind = self.u8()?;
        match kind {
            1 | 2 => Ok(Item::Entry { key: self.key()?, value: self.inline()?, secret: kind == 2 }),
            3 | 4 => Ok(Item::Large { key: self.key()?, bytes: self.large()?, secret: kind == 4 }),
            5 => {
                let bytes = self.inline()?;
                if bytes.is_empty() || bytes.len() > CHUNK_BYTES {
                    return Err(BadRecord::Payload);
                }
                Ok(Item::Chunk(bytes))
            }
            _ => Err(BadRecord::Payload),
        }
    }
}
