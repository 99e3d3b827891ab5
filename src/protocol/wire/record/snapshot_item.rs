//! The items of a snapshot piece.

use super::BadRecord;
use super::change::{RecordChange, encode_change};
use super::payload::{PayloadReader, put_key};
use crate::model::limits::{BUCKETS, CHUNK_BYTES, HASHES_BYTES, KEY_BYTES_MAX, VALUE_INLINE_BYTES_MAX};
use crate::model::{Epoch, Key, Revision};

/// One item of a snapshot piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// An entry with its value.
    Entry {
        /// Name of the entry.
        key: Key,
        /// Its value, at most [`VALUE_INLINE_BYTES_MAX`](crate::model::limits::VALUE_INLINE_BYTES_MAX) bytes.
        value: &'a [u8],
        /// Whether the value must not be shown.
        secret: bool,
    },
    /// An entry whose value follows in chunk items.
    Large {
        /// Name of the entry.
        key: Key,
        /// Length of the value.
        bytes: u64,
        /// Whether the value must not be shown.
        secret: bool,
    },
    /// The next chunk of that value: [`CHUNK_BYTES`], or what is left.
    Chunk(&'a [u8]),
    /// The first item of a snapshot that goes on where another one was cut. What changed at or before this key follows
    /// first, in the order of keys, then the entries after it.
    Continue {
        /// The last key that is staged.
        after: Key,
        /// What changed after this revision follows.
        from: Revision,
    },
    /// Behind [`Item::Continue`]: there is no such entry any more.
    Delete {
        /// Name of the entry.
        key: Key,
    },
    /// The first item of a snapshot of which only what differs is sent: a bit for each bucket that differs. Without any byte,
    /// too many do.
    Compare(&'a [u8]),
    /// Behind [`Item::Compare`]: the first 8 bytes of the hash of each entry in these buckets, in the order of keys. Without any
    /// byte it is the last of them.
    Hashes(&'a [u8]),
}

/// The items of one snapshot piece. Ends after the first error.
pub struct Items<'a> {
    reader: PayloadReader<'a>,
    failed: bool,
}

/// Appends one item to a snapshot piece.
pub fn encode_item(out: &mut Vec<u8>, item: &Item<'_>) {
    match item {
        Item::Entry { key, value, secret } => {
            encode_change(out, &RecordChange::Put { key: key.clone(), value, secret: *secret });
        }
        Item::Large { key, bytes, secret } => {
            out.push(3 + u8::from(*secret));
            put_key(out, key);
            out.extend_from_slice(&bytes.to_le_bytes());
        }
        Item::Chunk(bytes) => {
            out.push(5);
            out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(bytes);
        }
        Item::Continue { after, from } => {
            out.push(6);
            put_key(out, after);
            out.extend_from_slice(&from.epoch.as_u64().to_le_bytes());
            out.extend_from_slice(&from.seq.to_le_bytes());
        }
        Item::Delete { key } => {
            out.push(7);
            put_key(out, key);
        }
        Item::Compare(buckets) => {
            out.push(8);
            out.extend_from_slice(&(buckets.len() as u16).to_le_bytes());
            out.extend_from_slice(buckets);
        }
        Item::Hashes(hashes) => {
            out.push(9);
            out.extend_from_slice(&(hashes.len() as u32).to_le_bytes());
            out.extend_from_slice(hashes);
        }
    }
}

/// Length of the item at the start of `bytes`; `None` where its length is not there yet. The item need not be whole.
///
/// # Errors
/// [`BadRecord::Payload`]: this is no item.
pub fn item_bytes_at(bytes: &[u8]) -> Result<Option<usize>, BadRecord> {
    let u16_at = |at: usize| Some(usize::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
    let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    let Some(kind) = bytes.first() else { return Ok(None) };
    let (known, value) = match kind {
        1 | 2 => match u16_at(1) {
            Some(key) => (3 + key + 4, u32_at(3 + key)),
            None => return Ok(None),
        },
        3 | 4 => (3, u16_at(1).map(|key| key + 8)),
        5 => (5, u32_at(1)),
        6 => (3, u16_at(1).map(|key| key + 16)),
        7 | 8 => (3, u16_at(1)),
        9 => (5, u32_at(1)),
        _ => return Err(BadRecord::Payload),
    };
    match value {
        None => Ok(None),
        Some(value) if value <= KEY_BYTES_MAX.max(VALUE_INLINE_BYTES_MAX) => Ok(Some(known + value)),
        Some(_) => Err(BadRecord::Payload),
    }
}

/// Reads the items of a snapshot piece, one after the other.
pub fn decode_items(piece: &[u8]) -> Items<'_> {
    Items { reader: PayloadReader(piece), failed: false }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, BadRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.reader.0.is_empty() {
            return None;
        }
        let item = decode_item(&mut self.reader);
        self.failed = item.is_err();
        Some(item)
    }
}

fn decode_item<'a>(reader: &mut PayloadReader<'a>) -> Result<Item<'a>, BadRecord> {
    let kind = reader.u8()?;
    match kind {
        1 | 2 => Ok(Item::Entry { key: reader.key()?, value: reader.inline_value()?, secret: kind == 2 }),
        3 | 4 => Ok(Item::Large { key: reader.key()?, bytes: reader.large_length()?, secret: kind == 4 }),
        5 => {
            let bytes = reader.inline_value()?;
            if bytes.is_empty() || bytes.len() > CHUNK_BYTES {
                return Err(BadRecord::Payload);
            }
            Ok(Item::Chunk(bytes))
        }
        6 => {
            let after = reader.key()?;
            Ok(Item::Continue { after, from: Revision::new(Epoch::from_u64(reader.u64()?), reader.u64()?) })
        }
        7 => Ok(Item::Delete { key: reader.key()? }),
        8 => {
            let bytes = usize::from(reader.u16()?);
            if bytes != 0 && bytes != BUCKETS / 8 {
                return Err(BadRecord::Payload);
            }
            Ok(Item::Compare(reader.take(bytes)?))
        }
        9 => {
            let bytes = reader.inline_value()?;
            if bytes.len() > HASHES_BYTES || !bytes.len().is_multiple_of(8) {
                return Err(BadRecord::Payload);
            }
            Ok(Item::Hashes(bytes))
        }
        _ => Err(BadRecord::Payload),
    }
}
