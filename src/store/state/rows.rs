//! The rows of the state as bytes, little-endian. `docs/STORAGE.md` has the table.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use redb::WriteTransaction;

use super::{Head, META, STATE_VERSION, redb_io};
use crate::model::{Digest, EntryHash, Epoch, Era, History, Key, NodeId, Revision};
use crate::store::log::LogPosition;
use crate::store::view::{EntryRef, Meta, ValueRef};

pub(super) fn write_head(txn: &WriteTransaction, head: &Head) -> io::Result<()> {
    let mut table = txn.open_table(META).map_err(redb_io)?;
    let meta = &head.meta;
    let mut bytes = STATE_VERSION.to_le_bytes().to_vec();
    bytes.extend_from_slice(&meta.revision.epoch.as_u64().to_le_bytes());
    bytes.extend_from_slice(&meta.revision.seq.to_le_bytes());
    bytes.extend_from_slice(&meta.digest.0);
    bytes.extend_from_slice(&meta.chain.to_le_bytes());
    for number in [
        meta.entries,
        meta.bytes,
        meta.end.segment,
        meta.end.offset,
        head.next_value,
        head.confirmed.epoch.as_u64(),
        head.confirmed.seq,
        head.undo_bytes,
        head.undo_from,
    ] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    table.insert("head", bytes.as_slice()).map_err(redb_io)?;
    let eras = meta.history.eras().iter().flat_map(|era| {
        let numbers = [era.epoch.as_u64().to_le_bytes(), era.first_seq.to_le_bytes()];
        numbers.into_iter().flatten().chain(era.node.0)
    });
    table.insert("history", eras.collect::<Vec<u8>>().as_slice()).map_err(redb_io)?;
    Ok(())
}

/// `None`: there is no head. The inner error: the version of a newer one.
pub(super) fn read_head(txn: &redb::ReadTransaction) -> io::Result<Option<Result<Head, u32>>> {
    let table = match txn.open_table(META) {
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
        return Ok(Some(Err(version)));
    }
    let revision = input.revision()?;
    let digest = Digest(input.take()?);
    let chain = u32::from_le_bytes(input.take()?);
    let (entries, bytes) = (input.number()?, input.number()?);
    let end = LogPosition { segment: input.number()?, offset: input.number()? };
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
    let meta = Meta { revision, chain, digest, entries, bytes, history, end };
    Ok(Some(Ok(Head { meta, next_value, confirmed, undo_bytes, undo_from })))
}

/// Fields of a stored row, little-endian.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(|| corrupt("a row"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> io::Result<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn revision(&mut self) -> io::Result<Revision> {
        Ok(Revision::new(Epoch::from_u64(self.number()?), self.number()?))
    }
}

/// An inline entry: 1 (secret: 2), hash, value.
pub(super) fn stored_inline(secret: bool, hash: &EntryHash, value: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(33 + value.len());
    stored.push(1 + u8::from(secret));
    stored.extend_from_slice(&hash.0);
    stored.extend_from_slice(value);
    stored
}

/// An entry in chunks: 3 (secret: 4), hash, length, number of the value.
pub(super) fn stored_large(secret: bool, hash: &EntryHash, bytes: u64, id: u64) -> Vec<u8> {
    let mut stored = vec![3 + u8::from(secret)];
    stored.extend_from_slice(&hash.0);
    stored.extend_from_slice(&bytes.to_le_bytes());
    stored.extend_from_slice(&id.to_le_bytes());
    stored
}

/// `None`: there was no entry (undo images only: 0).
pub(super) fn decode(stored: &[u8]) -> io::Result<Option<EntryRef>> {
    let Some(bytes) = stored_bytes(stored)? else { return Ok(None) };
    let value = match stored_value_id(stored)? {
        Some((id, _)) => ValueRef::State(id),
        None => ValueRef::Inline(Bytes::copy_from_slice(&stored[33..])),
    };
    Ok(Some(EntryRef { secret: stored[0].is_multiple_of(2), bytes, hash: stored_hash(stored)?, value }))
}

pub(super) fn stored_hash(stored: &[u8]) -> io::Result<EntryHash> {
    let hash = stored.get(1..33).and_then(|hash| hash.try_into().ok());
    hash.map(EntryHash).ok_or_else(|| corrupt("an entry"))
}

pub(super) fn stored_bytes(stored: &[u8]) -> io::Result<Option<u64>> {
    match (stored.first(), stored.len()) {
        (Some(0), 1) => Ok(None),
        (Some(1 | 2), 33..) => Ok(Some(stored.len() as u64 - 33)),
        (Some(3 | 4), 49) => Ok(stored_value_id(stored)?.map(|(_, bytes)| bytes)),
        _ => Err(corrupt("an entry")),
    }
}

/// Number and length of a large value.
pub(super) fn stored_value_id(stored: &[u8]) -> io::Result<Option<(u64, u64)>> {
    match (stored.first(), stored.len()) {
        (Some(3 | 4), 49) => {
            let mut fields = Fields(&stored[33..]);
            let bytes = fields.number()?;
            Ok(Some((fields.number()?, bytes)))
        }
        _ => Ok(None),
    }
}

pub(super) fn key_of(bytes: &[u8]) -> io::Result<Key> {
    let text = std::str::from_utf8(bytes).map_err(|_| corrupt("a key"))?;
    Key::new(text).map_err(|_| corrupt("a key"))
}

pub(super) fn corrupt(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} of the state makes no sense"))
}
