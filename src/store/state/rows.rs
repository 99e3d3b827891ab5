//! The rows of the state as bytes, little-endian. `docs/STORAGE.md` describes them.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use redb::WriteTransaction;

use super::tables::META;
use crate::model::{Digest, EntryHash, Epoch, Era, History, Key, NodeId, Revision};
use crate::store::database::redb_io;
use crate::store::error::invalid_data;
use crate::store::log::LogPosition;
use crate::store::version::{EntryRef, Summary, ValueRef};

/// Newest version of the state's tables that this program writes and reads.
pub(super) const STATE_VERSION: u32 = 1;
/// The row of the table `meta` that says how much of a full push is loaded.
pub(super) const STAGED_ROW: &str = "staged";
/// The row of an undo image whose change set made the entry.
pub(super) const NO_ENTRY: &[u8] = &[0];

/// Where the state is, and what it needs in order to go on.
#[derive(Clone)]
pub(in crate::store) struct StateHeader {
    pub(in crate::store) summary: Summary,
    /// Number of the next large value.
    pub(super) next_value: u64,
    /// The peer has every change set up to here.
    pub(super) confirmed: Revision,
    /// Bytes of keys and values of the undo images.
    pub(super) undo_bytes: u64,
    /// Number of the oldest change set that may have undo images.
    pub(super) undo_from: u64,
}

/// A header as it was read.
pub(super) enum StoredHeader {
    Known(StateHeader),
    /// A newer program wrote it, with this version.
    Newer(u32),
}

pub(super) fn write_header(transaction: &WriteTransaction, header: &StateHeader) -> io::Result<()> {
    let mut table = transaction.open_table(META).map_err(redb_io)?;
    let summary = &header.summary;
    let mut bytes = STATE_VERSION.to_le_bytes().to_vec();
    bytes.extend_from_slice(&summary.revision.epoch.as_u64().to_le_bytes());
    bytes.extend_from_slice(&summary.revision.seq.to_le_bytes());
    bytes.extend_from_slice(&summary.digest.0);
    bytes.extend_from_slice(&summary.chain.to_le_bytes());
    for number in [
        summary.entries,
        summary.bytes,
        summary.log_end.segment,
        summary.log_end.offset,
        header.next_value,
        header.confirmed.epoch.as_u64(),
        header.confirmed.seq,
        header.undo_bytes,
        header.undo_from,
    ] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    table.insert("head", bytes.as_slice()).map_err(redb_io)?;
    let eras = summary.history.eras().iter().flat_map(|era| {
        let numbers = [era.epoch.as_u64().to_le_bytes(), era.first_seq.to_le_bytes()];
        numbers.into_iter().flatten().chain(era.node.0)
    });
    table.insert("history", eras.collect::<Vec<u8>>().as_slice()).map_err(redb_io)?;
    Ok(())
}

/// Reads the header. `None` if there is none.
pub(super) fn read_header(transaction: &redb::ReadTransaction) -> io::Result<Option<StoredHeader>> {
    let table = match transaction.open_table(META) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(redb_io(error)),
    };
    let (Some(head), Some(history)) = (table.get("head").map_err(redb_io)?, table.get("history").map_err(redb_io)?)
    else {
        return Ok(None);
    };
    let mut input = Fields(head.value());
    let version = u32::from_le_bytes(input.take()?);
    if version > STATE_VERSION {
        return Ok(Some(StoredHeader::Newer(version)));
    }
    let revision = input.revision()?;
    let digest = Digest(input.take()?);
    let chain = u32::from_le_bytes(input.take()?);
    let (entries, bytes) = (input.number()?, input.number()?);
    let log_end = LogPosition { segment: input.number()?, offset: input.number()? };
    let next_value = input.number()?;
    let confirmed = input.revision()?;
    let (undo_bytes, undo_from) = (input.number()?, input.number()?);
    let mut eras = Vec::new();
    let mut input = Fields(history.value());
    while !input.0.is_empty() {
        let at = input.revision()?;
        eras.push(Era { epoch: at.epoch, first_seq: at.seq, node: NodeId(input.take()?) });
    }
    let history = Arc::new(History::from_eras(eras).ok_or_else(|| corrupt("the history"))?);
    let summary = Summary { revision, chain, digest, entries, bytes, history, log_end };
    Ok(Some(StoredHeader::Known(StateHeader { summary, next_value, confirmed, undo_bytes, undo_from })))
}

/// The rest of a row, from which fields are read.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(|| corrupt("a row"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> io::Result<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn revision(&mut self) -> io::Result<Revision> {
        Ok(Revision::new(Epoch::from_u64(self.number()?), self.number()?))
    }
}

/// The row of an inline entry: 1 (secret: 2), hash, value.
pub(in crate::store) fn inline_row(secret: bool, hash: &EntryHash, value: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(33 + value.len());
    inline_row_into(&mut row, secret, hash, value);
    row
}

/// Replaces the content of `row` by the row of an inline entry.
pub(super) fn inline_row_into(row: &mut Vec<u8>, secret: bool, hash: &EntryHash, value: &[u8]) {
    row.clear();
    row.push(1 + u8::from(secret));
    row.extend_from_slice(&hash.0);
    row.extend_from_slice(value);
}

/// The row of an entry in chunks: 3 (secret: 4), hash, length, number of the value.
pub(in crate::store) fn chunked_row(secret: bool, hash: &EntryHash, bytes: u64, id: u64) -> Vec<u8> {
    let mut stored = vec![3 + u8::from(secret)];
    stored.extend_from_slice(&hash.0);
    stored.extend_from_slice(&bytes.to_le_bytes());
    stored.extend_from_slice(&id.to_le_bytes());
    stored
}

/// The entry of a row. `None` for [`NO_ENTRY`], which only undo images have.
pub(super) fn entry_of(stored: &[u8]) -> io::Result<Option<EntryRef>> {
    let Some(bytes) = value_bytes_of(stored)? else { return Ok(None) };
    let value = match value_number_of(stored)? {
        Some((id, _)) => ValueRef::State(id),
        None => ValueRef::Inline(Bytes::copy_from_slice(&stored[33..])),
    };
    Ok(Some(EntryRef { secret: stored[0].is_multiple_of(2), bytes, hash: hash_of(stored)?, value }))
}

/// The entry hash of a row.
pub(super) fn hash_of(stored: &[u8]) -> io::Result<EntryHash> {
    let hash = stored.get(1..33).and_then(|hash| hash.try_into().ok());
    hash.map(EntryHash).ok_or_else(|| corrupt("an entry"))
}

/// Length of the value of a row. `None` for [`NO_ENTRY`].
pub(super) fn value_bytes_of(stored: &[u8]) -> io::Result<Option<u64>> {
    match (stored.first(), stored.len()) {
        (Some(0), 1) => Ok(None),
        (Some(1 | 2), 33..) => Ok(Some(stored.len() as u64 - 33)),
        (Some(3 | 4), 49) => Ok(value_number_of(stored)?.map(|(_, bytes)| bytes)),
        _ => Err(corrupt("an entry")),
    }
}

/// Number and length of the large value of a row. `None` if the value is inline.
pub(super) fn value_number_of(stored: &[u8]) -> io::Result<Option<(u64, u64)>> {
    match (stored.first(), stored.len()) {
        (Some(3 | 4), 49) => {
            let mut fields = Fields(&stored[33..]);
            let bytes = fields.number()?;
            Ok(Some((fields.number()?, bytes)))
        }
        _ => Ok(None),
    }
}

/// The key of a row.
pub(super) fn key_of(bytes: &[u8]) -> io::Result<Key> {
    let text = std::str::from_utf8(bytes).map_err(|_| corrupt("a key"))?;
    Key::new(text).map_err(|_| corrupt("a key"))
}

pub(super) fn corrupt(what: &str) -> io::Error {
    invalid_data(format!("{what} of the state cannot be decoded"))
}
