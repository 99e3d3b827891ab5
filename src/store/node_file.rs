//! The file of what belongs to the node and not to the pair: durable state, local entries, quarantine, and the note of damage.
//! It is not part of the state file, because a full push replaces that.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use super::checksummed_file::ChecksummedFile;
use super::database::{begin_write, open_database, redb_io, redb_read};
use super::disk::{Disk, File, remove_if_present};
use super::error::{ReadError, StoreError};
use super::state::ValueReader;
use super::types::{Diverged, DivergedChange};
use crate::model::limits::{NODE_CACHE_BYTES, QUARANTINE_CHANGE_SETS_MAX};
use crate::model::{Epoch, Key, Revision};
use crate::protocol::engine::{DurableState, decode_durable_state, encode_durable_state};
use crate::protocol::wire::WireError;

/// Newest version of the node file's tables that this program writes and reads.
const NODE_VERSION: u32 = 1;
/// Name of the file.
pub(super) const NODE_FILE: &str = "node.redb";

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const LOCAL: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("local");
const DIVERGED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("diverged");
const CHANGES: TableDefinition<'_, (u64, &str), &[u8]> = TableDefinition::new("diverged_changes");
const VALUES: TableDefinition<'_, ValueKey, &[u8]> = TableDefinition::new("diverged_values");

/// Number of the quarantine, key, [`BEFORE`] or [`AFTER`], number of the piece.
type ValueKey = (u64, &'static str, u8, u32);
/// The value before the change sets.
const BEFORE: u8 = 0;
/// The value after the change sets.
const AFTER: u8 = 1;

/// The open file, which readers read beside the writer.
pub(super) struct NodeFile {
    database: Database,
    storage: ChecksummedFile,
    file: Arc<dyn File>,
}

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

impl NodeFile {
    /// Makes the file, with this durable state.
    pub(super) fn create(disk: &dyn Disk, dir: &Path, durable_state: &DurableState) -> io::Result<Self> {
        let path = dir.join(NODE_FILE);
        remove_if_present(disk, &path)?;
        let file = disk.open(&path, true)?;
        let (database, storage) = open_database(file.clone(), NODE_CACHE_BYTES)?;
        let node = Self { database, storage, file };
        node.write(|transaction| {
            transaction.open_table(LOCAL).map_err(redb_io)?;
            transaction.open_table(DIVERGED).map_err(redb_io)?;
            transaction.open_table(CHANGES).map_err(redb_io)?;
            transaction.open_table(VALUES).map_err(redb_io)?;
            let mut meta = transaction.open_table(META).map_err(redb_io)?;
            meta.insert("version", NODE_VERSION.to_le_bytes().as_slice()).map_err(redb_io)?;
            meta.insert("facts", encode(durable_state)?.as_slice()).map_err(redb_io)?;
            Ok(())
        })?;
        Ok(node)
    }

    /// Opens the file.
    ///
    /// # Errors
    /// [`StoreError::Newer`], [`StoreError::Corrupt`] and [`StoreError::Io`].
    pub(super) fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, StoreError> {
        let unreadable = |source| StoreError::unreadable(NODE_FILE, source);
        let file = disk.open(&dir.join(NODE_FILE), false).map_err(unreadable)?;
        let (database, storage) = open_database(file.clone(), NODE_CACHE_BYTES).map_err(unreadable)?;
        let node = Self { database, storage, file };
        let version = node.meta("version").map_err(unreadable)?;
        let version = version.and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        match version {
            Some(found) if found > NODE_VERSION => {
                Err(StoreError::Newer { what: NODE_FILE.into(), found, known: NODE_VERSION })
            }
            Some(_) => Ok(node),
            None => Err(StoreError::Corrupt { what: NODE_FILE.into(), reason: "it has no version".into() }),
        }
    }

    /// Opens the file again after a failure. This handle stops writing.
    pub(super) fn reopened(&self) -> io::Result<Self> {
        self.fence();
        let (database, storage) = open_database(self.file.clone(), NODE_CACHE_BYTES)?;
        Ok(Self { database, storage, file: self.file.clone() })
    }

    /// Stops writing.
    pub(super) fn fence(&self) {
        self.storage.fence();
    }

    pub(super) fn durable_state(&self) -> Result<DurableState, StoreError> {
        let bytes = self.meta("facts").map_err(|source| StoreError::unreadable(NODE_FILE, source))?.unwrap_or_default();
        let corrupt = |reason: String| StoreError::Corrupt { what: NODE_FILE.into(), reason };
        decode_durable_state(&bytes).map_err(|error| match error {
            WireError::Newer { found, known, .. } => StoreError::Newer { what: "facts".into(), found, known },
            other => corrupt(other.to_string()),
        })
    }

    pub(super) fn write_durable_state(&self, durable_state: &DurableState) -> io::Result<()> {
        self.replace_durable_state(durable_state, false)
    }

    /// Writes the durable state of a node that becomes master, and removes the note of damage: what the node has now counts as
    /// the configuration.
    pub(super) fn write_durable_state_and_accept_damage(&self, durable_state: &DurableState) -> io::Result<()> {
        self.replace_durable_state(durable_state, true)
    }

    fn replace_durable_state(&self, durable_state: &DurableState, accepts_damage: bool) -> io::Result<()> {
        let bytes = encode(durable_state)?;
        self.write(|transaction| {
            let mut meta = transaction.open_table(META).map_err(redb_io)?;
            meta.insert("facts", bytes.as_slice()).map_err(redb_io)?;
            if accepts_damage {
                meta.remove("damage").map_err(redb_io)?;
            }
            Ok(())
        })
    }

    /// The damage that was found and is not repaired yet.
    pub(super) fn damage(&self) -> io::Result<Option<String>> {
        Ok(self.meta("damage")?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Writes or removes the note of damage.
    pub(super) fn note_damage(&self, damage: Option<&str>) -> io::Result<()> {
        self.write(|transaction| {
            let mut meta = transaction.open_table(META).map_err(redb_io)?;
            match damage {
                Some(text) => drop(meta.insert("damage", text.as_bytes()).map_err(redb_io)?),
                None => drop(meta.remove("damage").map_err(redb_io)?),
            }
            Ok(())
        })
    }

    pub(super) fn local(&self, key: &str) -> Result<Option<Bytes>, ReadError> {
        let transaction = self.database.begin_read().map_err(redb_read)?;
        let table = transaction.open_table(LOCAL).map_err(redb_read)?;
        let value = table.get(key).map_err(redb_read)?;
        Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
    }

    pub(super) fn local_keys(&self, prefix: &str) -> Result<Vec<Key>, ReadError> {
        let transaction = self.database.begin_read().map_err(redb_read)?;
        let table = transaction.open_table(LOCAL).map_err(redb_read)?;
        let mut keys = Vec::new();
        for row in table.range(prefix..).map_err(redb_read)? {
            let (key, _) = row.map_err(redb_read)?;
            if !key.value().starts_with(prefix) {
                break;
            }
            keys.push(Key::new(key.value()).map_err(ReadError::of)?);
        }
        Ok(keys)
    }

    /// Number of local entries.
    pub(super) fn local_entries(&self) -> io::Result<u64> {
        let transaction = self.database.begin_read().map_err(redb_io)?;
        transaction.open_table(LOCAL).map_err(redb_io)?.len().map_err(redb_io)
    }

    pub(super) fn put_local(&self, key: &Key, value: Option<&[u8]>) -> io::Result<()> {
        self.write(|transaction| {
            let mut table = transaction.open_table(LOCAL).map_err(redb_io)?;
            match value {
                Some(value) => drop(table.insert(key.as_str(), value).map_err(redb_io)?),
                None => drop(table.remove(key.as_str()).map_err(redb_io)?),
            }
            Ok(())
        })
    }

    /// Stores change sets in quarantine, all or none. The same ones stored again replace what was there. Beyond the bound,
    /// the oldest are removed.
    pub(super) fn quarantine(&self, epochs: Vec<ToQuarantine>) -> io::Result<()> {
        self.write(|transaction| epochs.into_iter().try_for_each(|epoch| insert_quarantine(transaction, epoch)))
    }

    /// What is in quarantine, oldest first.
    pub(super) fn diverged(&self) -> Result<Vec<Diverged>, ReadError> {
        let transaction = self.database.begin_read().map_err(redb_read)?;
        let changes = transaction.open_table(CHANGES).map_err(redb_read)?;
        let values = transaction.open_table(VALUES).map_err(redb_read)?;
        let mut all = Vec::new();
        for row in transaction.open_table(DIVERGED).map_err(redb_read)?.iter().map_err(redb_read)? {
            let (id, range) = row.map_err(redb_read)?;
            let id = id.value();
            let (epoch, from, to) = decode_range(range.value());
            let mut found = Vec::new();
            for row in changes.range((id, "")..(id + 1, "")).map_err(redb_read)? {
                let (place, flags) = row.map_err(redb_read)?;
                let (_, key) = place.value();
                let flags = flags.value().first().copied().unwrap_or(0);
                let value = |side: u8| match flags & (2 << side) {
                    0 => Ok(None),
                    _ => read_value(&values, id, key, side).map(Some),
                };
                let (old, new) = (value(BEFORE)?, value(AFTER)?);
                let key = Key::new(key).map_err(ReadError::of)?;
                found.push(DivergedChange { key, secret: flags & 1 == 1, old, new });
            }
            all.push(Diverged { id, epoch, from, to, changes: found });
        }
        Ok(all)
    }

    fn meta(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let transaction = self.database.begin_read().map_err(redb_io)?;
        let table = transaction.open_table(META).map_err(redb_io)?;
        let value = table.get(name).map_err(redb_io)?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    fn write(&self, change: impl FnOnce(&WriteTransaction) -> io::Result<()>) -> io::Result<()> {
        let transaction = begin_write(&self.database)?;
        change(&transaction)?;
        transaction.commit().map_err(redb_io)
    }
}

fn insert_quarantine(transaction: &WriteTransaction, epoch: ToQuarantine) -> io::Result<()> {
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
    let mut table = transaction.open_table(DIVERGED).map_err(redb_io)?;
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
    for id in removed {
        table.remove(id).map_err(redb_io)?;
        let mut changes = transaction.open_table(CHANGES).map_err(redb_io)?;
        changes.retain_in((id, "")..(id + 1, ""), |_, _| false).map_err(redb_io)?;
        let mut values = transaction.open_table(VALUES).map_err(redb_io)?;
        values.retain_in((id, "", 0, 0)..(id + 1, "", 0, 0), |_, _| false).map_err(redb_io)?;
    }
    Ok(next)
}

fn read_value(
    values: &impl ReadableTable<ValueKey, &'static [u8]>,
    id: u64,
    key: &str,
    side: u8,
) -> Result<Bytes, ReadError> {
    let mut value = Vec::new();
    for row in values.range((id, key, side, 0)..=(id, key, side, u32::MAX)).map_err(redb_read)? {
        value.extend_from_slice(row.map_err(redb_read)?.1.value());
    }
    Ok(value.into())
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

fn encode(durable_state: &DurableState) -> io::Result<Vec<u8>> {
    encode_durable_state(durable_state).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}
