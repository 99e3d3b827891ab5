//! The quarantine in the node file: for each epoch that a former master lost, its keys with their values before and after.

use std::io;

use bytes::Bytes;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use super::database::{redb_io, redb_read};
use super::error::ReadError;
use super::state::ValueReader;
use super::types::{Diverged, DivergedChange, DivergedSide, DivergedValue};
use crate::model::limits::{QUARANTINE_CHANGE_SETS_MAX, VALUE_INLINE_BYTES_MAX};
use crate::model::{Epoch, Key, Revision};

const DIVERGED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("diverged");
const CHANGES: TableDefinition<'_, (u64, &str), &[u8]> = TableDefinition::new("diverged_changes");
const VALUES: TableDefinition<'_, ValueKey, &[u8]> = TableDefinition::new("diverged_values");

/// Number of the quarantine, key, [`BEFORE`] or [`AFTER`], number of the piece.
type ValueKey = (u64, &'static str, u8, u32);
/// The value before the change sets.
const BEFORE: u8 = 0;
/// The value after the change sets.
const AFTER: u8 = 1;

/// Change sets of one epoch that are to be quarantined.
pub(super) struct ToQuarantine {
    pub(super) epoch: Epoch,
    pub(super) from: Revision,
    pub(super) to: Revision,
    pub(super) changes: Vec<ChangeToQuarantine>,
}

/// One key of a [`ToQuarantine`]: readers of its values before and after.
pub(super) struct ChangeToQuarantine {
    pub(super) key: Key,
    pub(super) secret: bool,
    pub(super) old: Option<ValueReader>,
    pub(super) new: Option<ValueReader>,
}

/// The quarantine as it is now, for a reader.
pub(super) struct QuarantineTables {
    ranges: ReadOnlyTable<u64, &'static [u8]>,
    changes: ReadOnlyTable<(u64, &'static str), &'static [u8]>,
    values: ReadOnlyTable<ValueKey, &'static [u8]>,
}

/// Reads a value of the quarantine piece by piece, so that a large one is never in memory as a whole. A piece has at most
/// [`VALUE_INLINE_BYTES_MAX`] bytes.
pub struct DivergedReader(redb::Range<'static, ValueKey, &'static [u8]>);

impl QuarantineTables {
    pub(super) fn open(transaction: &ReadTransaction) -> Result<Self, ReadError> {
        Ok(Self {
            ranges: transaction.open_table(DIVERGED).map_err(redb_read)?,
            changes: transaction.open_table(CHANGES).map_err(redb_read)?,
            values: transaction.open_table(VALUES).map_err(redb_read)?,
        })
    }

    /// All of it, oldest first.
    pub(super) fn all(&self) -> Result<Vec<Diverged>, ReadError> {
        let mut all = Vec::new();
        for row in self.ranges.iter().map_err(redb_read)? {
            let (id, range) = row.map_err(redb_read)?;
            let (epoch, from, to) = decode_range(range.value());
            all.push(Diverged { id: id.value(), epoch, from, to, changes: self.changes_of(id.value())? });
        }
        Ok(all)
    }

    /// The keys of this number, in order. `None` if there is no such number.
    pub(super) fn keys(&self, id: u64) -> Result<Option<Vec<Key>>, ReadError> {
        if self.ranges.get(id).map_err(redb_read)?.is_none() {
            return Ok(None);
        }
        let rows = self.changes.range((id, "")..(id + 1, "")).map_err(redb_read)?;
        let key = |row: Result<(redb::AccessGuard<'_, _>, _), _>| {
            let (place, _) = row.map_err(redb_read)?;
            let (_, key): (u64, &str) = place.value();
            Key::new(key).map_err(ReadError::of)
        };
        rows.map(key).collect::<Result<Vec<_>, _>>().map(Some)
    }

    /// One change. `None` if there is none.
    pub(super) fn change(&self, id: u64, key: &Key) -> Result<Option<DivergedChange>, ReadError> {
        let Some(flags) = self.flags(id, key.as_str())? else { return Ok(None) };
        let value = |side| self.read(id, key.as_str(), side, flags)?.map(summarised).transpose();
        let (old, new) = (value(BEFORE)?, value(AFTER)?);
        Ok(Some(DivergedChange { key: key.clone(), secret: flags & 1 == 1, old, new }))
    }

    /// Reads one value. `None` if there is none.
    pub(super) fn value(&self, id: u64, key: &Key, side: DivergedSide) -> Result<Option<DivergedReader>, ReadError> {
        let Some(flags) = self.flags(id, key.as_str())? else { return Ok(None) };
        let side = if side == DivergedSide::Old { BEFORE } else { AFTER };
        self.read(id, key.as_str(), side, flags)
    }

    fn changes_of(&self, id: u64) -> Result<Vec<DivergedChange>, ReadError> {
        let keys = self.keys(id)?.unwrap_or_default();
        keys.iter().filter_map(|key| self.change(id, key).transpose()).collect()
    }

    fn flags(&self, id: u64, key: &str) -> Result<Option<u8>, ReadError> {
        let row = self.changes.get((id, key)).map_err(redb_read)?;
        Ok(row.map(|flags| flags.value().first().copied().unwrap_or(0)))
    }

    fn read(&self, id: u64, key: &str, side: u8, flags: u8) -> Result<Option<DivergedReader>, ReadError> {
        if flags & (2 << side) == 0 {
            return Ok(None);
        }
        let pieces = self.values.range((id, key, side, 0)..=(id, key, side, u32::MAX)).map_err(redb_read)?;
        Ok(Some(DivergedReader(pieces)))
    }
}

impl DivergedReader {
    /// Reads all that is left, into memory.
    ///
    /// # Errors
    /// [`ReadError`]. Nothing of the value is returned.
    pub fn whole(self) -> Result<Bytes, ReadError> {
        let mut whole = Vec::new();
        for piece in self {
            whole.extend_from_slice(&piece?);
        }
        Ok(whole.into())
    }
}

impl Iterator for DivergedReader {
    type Item = Result<Bytes, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.0.next()?.map_err(redb_read);
        Some(row.map(|(_, piece)| Bytes::copy_from_slice(piece.value())))
    }
}

/// The value, or its length where it is large.
fn summarised(value: DivergedReader) -> Result<DivergedValue, ReadError> {
    let (mut whole, mut bytes) = (Vec::new(), 0);
    for piece in value {
        let piece = piece?;
        bytes += piece.len() as u64;
        match bytes <= VALUE_INLINE_BYTES_MAX as u64 {
            true => whole.extend_from_slice(&piece),
            false => whole = Vec::new(),
        }
    }
    Ok(match bytes <= VALUE_INLINE_BYTES_MAX as u64 {
        true => DivergedValue::Inline(whole.into()),
        false => DivergedValue::Large { bytes },
    })
}

/// Makes the tables.
pub(super) fn create(transaction: &WriteTransaction) -> io::Result<()> {
    transaction.open_table(DIVERGED).map_err(redb_io)?;
    transaction.open_table(CHANGES).map_err(redb_io)?;
    transaction.open_table(VALUES).map_err(redb_io)?;
    Ok(())
}

/// Removes what has this number. Returns whether there was such a thing.
pub(super) fn remove(transaction: &WriteTransaction, id: u64) -> io::Result<bool> {
    let found = transaction.open_table(DIVERGED).map_err(redb_io)?.remove(id).map_err(redb_io)?.is_some();
    let mut changes = transaction.open_table(CHANGES).map_err(redb_io)?;
    changes.retain_in((id, "")..(id + 1, ""), |_, _| false).map_err(redb_io)?;
    let mut values = transaction.open_table(VALUES).map_err(redb_io)?;
    values.retain_in((id, "", 0, 0)..(id + 1, "", 0, 0), |_, _| false).map_err(redb_io)?;
    Ok(found)
}

/// Stores change sets. The same ones stored again replace what was there. Beyond the bound, the oldest are removed.
pub(super) fn insert(transaction: &WriteTransaction, epoch: ToQuarantine) -> io::Result<()> {
    let id = make_room(transaction, &epoch)?;
    let range =
        [epoch.epoch.as_u64(), epoch.from.epoch.as_u64(), epoch.from.seq, epoch.to.epoch.as_u64(), epoch.to.seq];
    let range: Vec<u8> = range.iter().flat_map(|number| number.to_le_bytes()).collect();
    transaction.open_table(DIVERGED).map_err(redb_io)?.insert(id, range.as_slice()).map_err(redb_io)?;
    let mut changes = transaction.open_table(CHANGES).map_err(redb_io)?;
    let mut values = transaction.open_table(VALUES).map_err(redb_io)?;
    for ChangeToQuarantine { key, secret, old, new } in epoch.changes {
        let flags = u8::from(secret) | u8::from(old.is_some()) << 1 | u8::from(new.is_some()) << 2;
        changes.insert((id, key.as_str()), [flags].as_slice()).map_err(redb_io)?;
        for (side, value) in [(BEFORE, old), (AFTER, new)] {
            for (number, piece) in value.into_iter().flatten().enumerate() {
                let piece = piece.map_err(|error| io::Error::other(error.to_string()))?;
                values.insert((id, key.as_str(), side, number as u32), piece.as_ref()).map_err(redb_io)?;
            }
        }
    }
    Ok(())
}

/// Removes from the quarantine what is to be stored again, and the oldest beyond the bound. Returns the next number.
fn make_room(transaction: &WriteTransaction, new: &ToQuarantine) -> io::Result<u64> {
    let table = transaction.open_table(DIVERGED).map_err(redb_io)?;
    let mut rows = Vec::new();
    for row in table.iter().map_err(redb_io)? {
        let (id, range) = row.map_err(redb_io)?;
        rows.push((id.value(), decode_range(range.value())));
    }
    let next = rows.last().map_or(1, |(id, _)| id + 1);
    let mut total = new.to.seq - new.from.seq + 1;
    let mut removed = Vec::new();
    for (id, (epoch, from, to)) in rows.iter().rev() {
        let same = (*epoch, *from) == (new.epoch, new.from);
        total += if same { 0 } else { to.seq - from.seq + 1 };
        if same || total > QUARANTINE_CHANGE_SETS_MAX {
            removed.push(*id);
        }
    }
    drop(table);
    for id in removed {
        remove(transaction, id)?;
    }
    Ok(next)
}

/// Epoch, first and last change set of a row of the quarantine.
fn decode_range(bytes: &[u8]) -> (Epoch, Revision, Revision) {
    let number = |at: usize| {
        let bytes = bytes.get(at * 8..at * 8 + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    };
    let revision = |at: usize| Revision::new(Epoch::from_u64(number(at)), number(at + 1));
    (Epoch::from_u64(number(0)), revision(1), revision(3))
}
