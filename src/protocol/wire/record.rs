//! The bytes of a log record and of a snapshot item: the same in the log, in the state's staging and on the wire.
//!
//! Written by hand, little-endian, so that the format is what this file and `docs/STORAGE.md` say and moves with no
//! dependency. Decoding takes any bytes, allocates nothing beyond what it was given, and never panics.
//!
//! A change set is a run `[chunk | part]* change-set` of records with the same revision; nothing of it counts before
//! its last record. An era is a record of its own and consumes no `seq`.

mod input;

use std::fmt;

use input::Input;

use crate::model::limits::{CHANGES_MAX, CHUNK_BYTES, RECORD_BYTES_MAX, VALUE_BYTES_MAX, VALUE_INLINE_BYTES_MAX};
use crate::model::{Digest, EntryHash, Epoch, Key, NodeId, Revision};

/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 36;
/// Bytes of the largest record with its header.
#[cfg(test)]
pub const RECORD_FRAME_BYTES_MAX: usize = HEADER_BYTES + RECORD_BYTES_MAX;
/// Newest version of the record format that this program writes and reads.
pub const RECORD_VERSION: u8 = 1;

/// First four bytes of every record: `SPLR`.
const MAGIC: u32 = u32::from_le_bytes(*b"SPLR");
/// Offset of the checksum, which covers everything before it and the payload.
const CRC_AT: usize = 32;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Opens an epoch. Its `seq` is that of the head that it follows.
    Era,
    /// A piece of a large value.
    Chunk,
    /// Changes that belong to the change set that comes.
    Part,
    /// The last changes of a change set, and the digest after it.
    ChangeSet,
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub revision: Revision,
    /// Checksum of the record before.
    pub prev: u32,
    /// Checksum of this one.
    pub crc: u32,
    /// Bytes of the payload.
    pub payload: usize,
}

/// Bytes that are no record of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// They end before the record does.
    #[error("the record is cut off")]
    Short,
    /// The header makes no sense.
    #[error("no record begins here")]
    Header,
    /// Written by a newer version.
    #[error("the record has version {found}, newer than {RECORD_VERSION}")]
    Newer {
        /// Its version.
        found: u8,
    },
    /// The checksum does not fit.
    #[error("the checksum of the record does not fit")]
    Checksum,
    /// The checksum fits and the payload makes no sense all the same: whoever wrote it does not keep to the format.
    #[error("the content of the record is malformed")]
    Payload,
}

/// One change as a record carries it.
#[derive(Clone, PartialEq, Eq)]
pub enum RecordChange<'a> {
    /// Sets an entry whose value is at hand.
    Put {
        /// Its name.
        key: Key,
        /// Its value, at most [`VALUE_INLINE_BYTES_MAX`].
        value: &'a [u8],
        /// Never shown.
        secret: bool,
    },
    /// Sets an entry whose value came in chunk records before.
    Large {
        /// Its name.
        key: Key,
        /// Its hash, which covers the value.
        hash: EntryHash,
        /// Length of the value.
        bytes: u64,
        /// Which of the change set's large values, counted from zero.
        index: u32,
        /// Never shown.
        secret: bool,
    },
    /// Removes an entry.
    Delete {
        /// Its name.
        key: Key,
    },
}

/// A chunk of a large value. The first one says what the value is, so that its hash can be computed on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Which of the change set's large values, counted from zero.
    pub index: u32,
    /// Which of its chunks, counted from zero.
    pub number: u32,
    /// On the first chunk: the entry's name, its flag and the length of its value.
    pub begins: Option<(Key, bool, u64)>,
    /// The bytes: [`CHUNK_BYTES`], or what is left.
    pub bytes: &'a [u8],
}

/// One item of a snapshot piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// An entry whose value is at hand.
    Entry {
        /// Its name.
        key: Key,
        /// Its value, at most [`VALUE_INLINE_BYTES_MAX`].
        value: &'a [u8],
        /// Never shown.
        secret: bool,
    },
    /// An entry whose value follows in chunk items.
    Large {
        /// Its name.
        key: Key,
        /// Length of the value.
        bytes: u64,
        /// Never shown.
        secret: bool,
    },
    /// The next piece of that value: [`CHUNK_BYTES`], or what is left.
    Chunk(&'a [u8]),
}

impl Header {
    /// Reads and checks the record at the start of `bytes`; returns it with its payload. What follows is not looked at.
    ///
    /// # Errors
    /// [`BadRecord`], never [`BadRecord::Payload`].
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), BadRecord> {
        let frame = bytes.get(..Self::frame_bytes_at(bytes)?).ok_or(BadRecord::Short)?;
        let (head, payload) = frame.split_at(HEADER_BYTES);
        let mut input = Input(&head[8..]);
        let bad = |_| BadRecord::Header;
        let (kind, version) = (input.u8().map_err(bad)?, input.u8().map_err(bad)?);
        let zero = input.u16().map_err(bad)?;
        let revision = Revision::new(Epoch::from_u64(input.u64().map_err(bad)?), input.u64().map_err(bad)?);
        let (prev, crc) = (input.u32().map_err(bad)?, input.u32().map_err(bad)?);
        if crc != crc32c::crc32c_append(crc32c::crc32c(&head[..CRC_AT]), payload) {
            return Err(BadRecord::Checksum);
        }
        // Only now: a flipped bit is no newer version.
        if version > RECORD_VERSION {
            return Err(BadRecord::Newer { found: version });
        }
        let kind = match kind {
            1 => Kind::Era,
            2 => Kind::Chunk,
            3 => Kind::Part,
            4 => Kind::ChangeSet,
            _ => return Err(BadRecord::Header),
        };
        if version == 0 || zero != 0 {
            return Err(BadRecord::Header);
        }
        Ok((Self { kind, revision, prev, crc, payload: payload.len() }, payload))
    }

    /// Bytes of the record at the start of `bytes`, of which the header must be there; nothing else is checked.
    ///
    /// # Errors
    /// [`BadRecord::Short`] and [`BadRecord::Header`].
    pub fn frame_bytes_at(bytes: &[u8]) -> Result<usize, BadRecord> {
        let mut input = Input(bytes.get(..HEADER_BYTES).ok_or(BadRecord::Short)?);
        let magic = input.u32().map_err(|_| BadRecord::Short)?;
        let payload = input.u32().map_err(|_| BadRecord::Short)? as usize;
        match magic == MAGIC && payload <= RECORD_BYTES_MAX {
            true => Ok(HEADER_BYTES + payload),
            false => Err(BadRecord::Header),
        }
    }

    /// Bytes of the record with its header.
    pub fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.payload
    }
}

/// Appends records to a buffer, each chained to the one before.
#[derive(Debug)]
pub struct Writer {
    prev: u32,
}

impl Writer {
    /// Continues after the record with this checksum (zero before the first).
    pub fn new(prev: u32) -> Self {
        Self { prev }
    }

    /// Checksum of the last record.
    pub fn chain(&self) -> u32 {
        self.prev
    }

    /// Opens an epoch.
    pub fn era(&mut self, out: &mut Vec<u8>, revision: Revision, node: &NodeId) {
        self.record(out, Kind::Era, revision, |out| out.extend_from_slice(&node.0));
    }

    /// A chunk of a large value. Returns where in `out` its bytes begin.
    pub fn chunk(&mut self, out: &mut Vec<u8>, revision: Revision, chunk: &Chunk<'_>) -> usize {
        let mut at = 0;
        self.record(out, Kind::Chunk, revision, |out| {
            out.extend_from_slice(&chunk.index.to_le_bytes());
            out.extend_from_slice(&chunk.number.to_le_bytes());
            if let Some((key, secret, bytes)) = &chunk.begins {
                out.push(u8::from(*secret));
                put_key(out, key);
                out.extend_from_slice(&bytes.to_le_bytes());
            }
            at = out.len();
            out.extend_from_slice(chunk.bytes);
        });
        at
    }

    /// Changes (encoded with [`encode_change`]) of the change set that comes.
    pub fn part(&mut self, out: &mut Vec<u8>, revision: Revision, changes: &[u8]) {
        self.record(out, Kind::Part, revision, |out| out.extend_from_slice(changes));
    }

    /// The end of a change set: the digest after it, how many changes it has in all its records, and the last of them.
    pub fn change_set(&mut self, out: &mut Vec<u8>, revision: Revision, digest: &Digest, count: usize, changes: &[u8]) {
        self.record(out, Kind::ChangeSet, revision, |out| {
            out.extend_from_slice(&digest.0);
            out.extend_from_slice(&(count as u32).to_le_bytes());
            out.extend_from_slice(changes);
        });
    }

    fn record(&mut self, out: &mut Vec<u8>, kind: Kind, revision: Revision, payload: impl FnOnce(&mut Vec<u8>)) {
        let start = out.len();
        let code: u8 = match kind {
            Kind::Era => 1,
            Kind::Chunk => 2,
            Kind::Part => 3,
            Kind::ChangeSet => 4,
        };
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&[code, RECORD_VERSION, 0, 0]);
        out.extend_from_slice(&revision.epoch.as_u64().to_le_bytes());
        out.extend_from_slice(&revision.seq.to_le_bytes());
        out.extend_from_slice(&self.prev.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        payload(out);
        let length = (out.len() - start - HEADER_BYTES) as u32;
        out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c::crc32c(&out[start..start + CRC_AT]);
        let crc = crc32c::crc32c_append(crc, &out[start + HEADER_BYTES..]);
        out[start + CRC_AT..start + HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        self.prev = crc;
    }
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

/// Reads the node of an era's payload.
///
/// # Errors
/// [`BadRecord::Payload`].
pub fn decode_era(payload: &[u8]) -> Result<NodeId, BadRecord> {
    payload.try_into().map(NodeId).map_err(|_| BadRecord::Payload)
}

/// Reads a chunk's payload.
///
/// # Errors
/// [`BadRecord::Payload`].
pub fn decode_chunk(payload: &[u8]) -> Result<Chunk<'_>, BadRecord> {
    let mut input = Input(payload);
    let index = input.u32()?;
    let number = input.u32()?;
    let begins = match number {
        0 => Some((input.flag()?, input.key()?, input.u64()?)),
        _ => None,
    };
    let begins = match begins {
        Some((secret, key, bytes)) if is_large(bytes) => Some((key, secret, bytes)),
        Some(_) => return Err(BadRecord::Payload),
        None => None,
    };
    let bytes = input.0;
    if bytes.is_empty() || bytes.len() > CHUNK_BYTES || index as usize >= CHANGES_MAX {
        return Err(BadRecord::Payload);
    }
    Ok(Chunk { index, number, begins, bytes })
}

/// Reads the changes of a part's payload, one after the other.
pub fn decode_part(payload: &[u8]) -> Changes<'_> {
    Changes { input: Input(payload), failed: false }
}

/// Reads a change set's payload: digest after it, number of changes in all its records, the last of them.
///
/// # Errors
/// [`BadRecord::Payload`].
pub fn decode_change_set(payload: &[u8]) -> Result<(Digest, usize, Changes<'_>), BadRecord> {
    let mut input = Input(payload);
    let digest = Digest(input.array()?);
    let count = input.u32()? as usize;
    Ok((digest, count, Changes { input, failed: false }))
}

/// Changes of one record. Ends after the first error.
pub struct Changes<'a> {
    input: Input<'a>,
    failed: bool,
}

impl<'a> Iterator for Changes<'a> {
    type Item = Result<RecordChange<'a>, BadRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.input.0.is_empty() {
            return None;
        }
        let change = self.input.change();
        self.failed = change.is_err();
        Some(change)
    }
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
    }
}

/// Reads the items of a snapshot piece, one after the other.
pub fn decode_items(piece: &[u8]) -> Items<'_> {
    Items { input: Input(piece), failed: false }
}

/// Items of one snapshot piece. Ends after the first error.
pub struct Items<'a> {
    input: Input<'a>,
    failed: bool,
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, BadRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.input.0.is_empty() {
            return None;
        }
        let item = self.input.item();
        self.failed = item.is_err();
        Some(item)
    }
}

/// Whether a value of this length travels in chunks.
fn is_large(bytes: u64) -> bool {
    bytes > VALUE_INLINE_BYTES_MAX as u64 && bytes <= VALUE_BYTES_MAX as u64
}

fn put_key(out: &mut Vec<u8>, key: &Key) {
    out.extend_from_slice(&(key.as_bytes().len() as u16).to_le_bytes());
    out.extend_from_slice(key.as_bytes());
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

#[cfg(test)]
mod tests;
