//! The bytes of a log record and of a snapshot item: the same in the log, in the state's staging and on the wire.
//!
//! The encoding is written by hand, little-endian. So no dependency can change the format, which this folder and
//! `docs/STORAGE.md` define. Decoding accepts any bytes, allocates no more than the input's size, and never panics.
//!
//! A change set is a run `[chunk | part]* change-set` of records with the same revision. It takes effect with its last
//! record. An era is a record of its own and consumes no `seq`.

mod change;
mod error;
mod payload;
mod snapshot_item;

pub use change::{Changes, RecordChange, decode_part, encode_change};
pub use error::{BadRecord, RECORD_VERSION};
pub use snapshot_item::{Item, decode_items, encode_item, item_bytes_at};

use payload::{PayloadReader, put_key};

use crate::model::limits::{CHANGES_MAX, CHUNK_BYTES, RECORD_BYTES_MAX};
use crate::model::{Digest, Epoch, Key, NodeId, Revision};

/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 36;
/// Bytes of the longest record, header included.
#[cfg(test)]
pub const RECORD_FRAME_BYTES_MAX: usize = HEADER_BYTES + RECORD_BYTES_MAX;
/// First four bytes of every record: `SPLR`.
const MAGIC: u32 = u32::from_le_bytes(*b"SPLR");
/// Offset of the checksum, which covers everything before it and the payload.
const CRC_AT: usize = 32;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The start of an epoch. Its `seq` is that of the record before it.
    Era,
    /// A chunk of a large value.
    Chunk,
    /// Changes of the change set that a later record completes.
    Part,
    /// The last changes of a change set, and the digest after it. It completes the change set.
    ChangeSet,
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it holds.
    pub kind: Kind,
    /// The revision that it belongs to.
    pub revision: Revision,
    /// Checksum of the record before it.
    pub prev: u32,
    /// Checksum of this record.
    pub crc: u32,
    /// Bytes of the payload.
    pub payload: usize,
}

/// A chunk of a large value. The first chunk also names the entry, so that its hash can be computed chunk by chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Which of the change set's large values, counted from zero.
    pub index: u32,
    /// Which of the value's chunks, counted from zero.
    pub number: u32,
    /// On the first chunk: the entry's name, whether it is secret, and the length of its value.
    pub begins: Option<(Key, bool, u64)>,
    /// The chunk: [`CHUNK_BYTES`], or what is left of the value.
    pub bytes: &'a [u8],
}

impl Header {
    /// Reads and checks the record at the start of `bytes`; returns it with its payload. Later bytes are ignored.
    ///
    /// # Errors
    /// Any [`BadRecord`] except [`BadRecord::Payload`].
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), BadRecord> {
        let frame = bytes.get(..Self::frame_bytes_at(bytes)?).ok_or(BadRecord::Short)?;
        let (head, payload) = frame.split_at(HEADER_BYTES);
        let mut reader = PayloadReader(&head[8..]);
        let bad = |_| BadRecord::Header;
        let (kind, version) = (reader.u8().map_err(bad)?, reader.u8().map_err(bad)?);
        let zero = reader.u16().map_err(bad)?;
        let revision = Revision::new(Epoch::from_u64(reader.u64().map_err(bad)?), reader.u64().map_err(bad)?);
        let (prev, crc) = (reader.u32().map_err(bad)?, reader.u32().map_err(bad)?);
        if crc != crc32c::crc32c_append(crc32c::crc32c(&head[..CRC_AT]), payload) {
            return Err(BadRecord::Checksum);
        }
        // Checked after the checksum, so that a flipped bit is not taken for a newer version.
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

    /// Length of the record at the start of `bytes`, header included. The whole header must be there; only its magic and
    /// length are checked.
    ///
    /// # Errors
    /// [`BadRecord::Short`] and [`BadRecord::Header`].
    pub fn frame_bytes_at(bytes: &[u8]) -> Result<usize, BadRecord> {
        let mut reader = PayloadReader(bytes.get(..HEADER_BYTES).ok_or(BadRecord::Short)?);
        let magic = reader.u32().map_err(|_| BadRecord::Short)?;
        let payload = reader.u32().map_err(|_| BadRecord::Short)? as usize;
        match magic == MAGIC && payload <= RECORD_BYTES_MAX {
            true => Ok(HEADER_BYTES + payload),
            false => Err(BadRecord::Header),
        }
    }

    /// Length of the record, header included.
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
    /// Continues after the record with this checksum. Before the first record it is zero.
    pub fn new(prev: u32) -> Self {
        Self { prev }
    }

    /// Checksum of the last record.
    pub fn chain(&self) -> u32 {
        self.prev
    }

    /// Appends the start of an epoch.
    pub fn era(&mut self, out: &mut Vec<u8>, revision: Revision, node: &NodeId) {
        self.record(out, Kind::Era, revision, |out| out.extend_from_slice(&node.0));
    }

    /// Appends a chunk of a large value. Returns where in `out` its bytes begin.
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

    /// Appends changes (encoded with [`encode_change`]) of a change set that a later record completes.
    pub fn part(&mut self, out: &mut Vec<u8>, revision: Revision, changes: &[u8]) {
        self.record(out, Kind::Part, revision, |out| out.extend_from_slice(changes));
    }

    /// Appends the record that completes a change set: the digest after it, its number of changes over all its records, and
    /// the last of them.
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

/// Reads the payload of an era: the node that opened it.
///
/// # Errors
/// [`BadRecord::Payload`].
pub fn decode_era(payload: &[u8]) -> Result<NodeId, BadRecord> {
    payload.try_into().map(NodeId).map_err(|_| BadRecord::Payload)
}

/// Reads the payload of a chunk.
///
/// # Errors
/// [`BadRecord::Payload`].
pub fn decode_chunk(payload: &[u8]) -> Result<Chunk<'_>, BadRecord> {
    let mut reader = PayloadReader(payload);
    let index = reader.u32()?;
    let number = reader.u32()?;
    let begins = match number {
        0 => {
            let secret = reader.flag()?;
            Some((reader.key()?, secret, reader.large_length()?))
        }
        _ => None,
    };
    let bytes = reader.0;
    if bytes.is_empty() || bytes.len() > CHUNK_BYTES || index as usize >= CHANGES_MAX {
        return Err(BadRecord::Payload);
    }
    Ok(Chunk { index, number, begins, bytes })
}

/// Reads the payload of a change set: the digest after it, its number of changes over all its records, and the last of
/// them.
///
/// # Errors
/// [`BadRecord::Payload`].
pub fn decode_change_set(payload: &[u8]) -> Result<(Digest, usize, Changes<'_>), BadRecord> {
    let mut reader = PayloadReader(payload);
    let digest = Digest(reader.array()?);
    let count = reader.u32()? as usize;
    Ok((digest, count, Changes::rest_of(reader)))
}

#[cfg(test)]
mod tests;
