//! What belongs to the node and not to the configuration: durable state, local entries, quarantine, and the note of damage.
//! A small redb file of its own, because state files are switched.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use super::disk::{Disk, File};
use super::pages::Pages;
use super::state::{begin, broken, open_redb, redb_io, redb_read};
use super::view::ValueReader;
use super::{Diverged, DivergedChange, ReadError, StoreError};
use crate::model::limits::{NODE_CACHE_BYTES, QUARANTINE_CHANGE_SETS_MAX};
use crate::model::{Epoch, Key, Revision};
use crate::protocol::engine::{DurableState, decode_durable_state, encode_durable_state};
use crate::protocol::wire::WireError;

/// Newest version of the node file's tables that this program writes and reads.
const NODE_VERSION: u32 = 1;
/// Its name.
pub(super) const NODE_FILE: &str = "node.redb";

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const LOCAL: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("local");
const DIVERGED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("diverged");
const CHANGES: TableDefinition<'_, (u64, &str), &[u8]> = TableDefinition::new("diverged_changes");
const VALUES: TableDefinition<'_, (u64, &str, u8, u32), &[u8]> = TableDefinition::new("diverged_values");

/// The open file. Readers go beside the writer.
pub(super) struct NodeFile {
    db: Database,
    pages: Pages,
    file: Arc<dyn File>,
}

/// Change sets of one lost epoch, on their way into quarantine.
pub(super) struct Lost {
    pub(super) epoch: Epoch,
    pub(super) from: Revision,
    pub(super) to: Revision,
    pub(super) changes: Vec<LostChange>,
}

/// One key of a [`Lost`]: the ways to its values.
pub(super) struct LostChange {
    pub(super) key: Key,
    pub(super) secret: bool,
    pub(super) old: Option<ValueReader>,
    pub(super) new: Option<ValueReader>,
}

impl NodeFile {
    /// Makes it, with these durable state.
    pub(super) fn create(disk: &dyn Disk, dir: &Path, durable_state: &DurableState) -> io::Result<Self> {
        let path = dir.join(NODE_FILE);
        match disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.open(&path, true)?;
        let (db, pages) = open_redb(file.clone(), NODE_CACHE_BYTES)?;
        let node = Self { db, pages, file };
        node.write(|txn| {
            txn.open_table(LOCAL).map_err(redb_io)?;
            txn.open_table(DIVERGED).map_err(redb_io)?;
            txn.open_table(CHANGES).map_err(redb_io)?;
            txn.open_table(VALUES).map_err(redb_io)?;
            let mut meta = txn.open_table(META).map_err(redb_io)?;
            meta.insert("version", NODE_VERSION.to_le_bytes().as_slice()).map_err(redb_io)?;
            meta.insert("facts", seal(durable_state)?.as_slice()).map_err(redb_io)?;
            Ok(())
        })?;
        Ok(node)
    }

    /// Opens it.
    pub(super) fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, StoreError> {
        let opening = |source| broken(NODE_FILE, source);
        let file = disk.open(&dir.join(NODE_FILE), false).map_err(opening)?;
        let (db, pages) = open_redb(file.clone(), NODE_CACHE_BYTES).map_err(opening)?;
        let node = Self { db, pages, file };
        let version = node.meta("version").map_err(opening)?;
        let version = version.and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        match version {
            Some(found) if found > NODE_VERSION => {
                Err(StoreError::Newer { what: NODE_FILE.into(), found, known: NODE_VERSION })
            }
            Some(_) => Ok(node),
            None => Err(StoreError::Corrupt { what: NODE_FILE.into(), reason: "it has no version".into() }),
        }
    }

    /// The same file, opened anew after a failure; this one writes no more.
    pub(super) fn again(&self) -> io::Result<Self> {
        self.pages.fence();
        let (db, pages) = open_redb(self.file.clone(), NODE_CACHE_BYTES)?;
        Ok(Self { db, pages, file: self.file.clone() })
    }

    /// Writes nothing any more.
    pub(super) fn fence(&self) {
        self.pages.fence();
    }

    pub(super) fn durable_state(&self) -> Result<DurableState, StoreError> {
        let bytes = self.meta("facts").map_err(|source| broken(NODE_FILE, source))?.unwrap_or_default();
        let corrupt = |reason: String| StoreError::Corrupt { what: NODE_FILE.into(), reason };
        decode_durable_state(&bytes).map_err(|error| match error {
            WireError::Newer { found, known, .. } => StoreError::Newer { what: "facts".into(), found, known },
            other => corrupt(other.to_string()),
        })
    }

    pub(super) fn write_durable_state(&self, durable_state: &DurableState) -> io::Result<()> {
        self.replace_facts(durable_state, false)
    }

    /// With them goes the note of damage.
    pub(super) fn write_facts_of_leader(&self, durable_state: &DurableState) -> io::Result<()> {
        self.replace_facts(durable_state, true)
    }

    fn replace_facts(&self, durable_state: &DurableState, accepts_damage: bool) -> io::Result<()> {
        let bytes = seal(durable_state)?;
        self.write(|txn| {
            let mut meta = txn.open_table(META).map_err(redb_io)?;
            meta.insert("facts", bytes.as_slice()).map_err(redb_io)?;
            if accepts_damage {
                meta.remove("damage").map_err(redb_io)?;
            }
            Ok(())
        })
    }

    /// Damage that was found and not repaired yet.
    pub(super) fn damage(&self) -> io::Result<Option<String>> {
        Ok(self.meta("damage")?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    pub(super) fn note_damage(&self, damage: Option<&str>) -> io::Result<()> {
        self.write(|txn| {
            let mut meta = txn.open_table(META).map_err(redb_io)?;
            match damage {
                Some(text) => drop(meta.insert("damage", text.as_bytes()).map_err(redb_io)?),
                None => drop(meta.remove("damage").map_err(redb_io)?),
            }
            Ok(())
        })
    }

    pub(super) fn local(&self, key: &str) -> Result<Option<Bytes>, ReadError> {
        let txn = self.db.begin_read().map_err(redb_read)?;
        let table = txn.open_table(LOCAL).map_err(redb_read)?;
        let value = table.get(key).map_err(redb_read)?;
        Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
    }

    pub(super) fn local_keys(&self, prefix: &str) -> Result<Vec<Key>, ReadError> {
        let txn = self.db.begin_read().map_err(redb_read)?;
        let table = txn.open_table(LOCAL).map_err(redb_read)?;
        let mut keys = Vec::new();
        for row in table.range(prefix..).map_err(redb_read)? {
            let (key, _) = row.map_err(redb_read)?;
            if !key.value().starts_with(prefix) {
                break;
            }
            keys.push(Key::new(key.value()).map_err(|error| ReadError::Disk(error.to_string()))?);
        }
        Ok(keys)
    }

    /// How many local entries there are.
    pub(super) fn local_entries(&self) -> io::Result<u64> {
        let txn = self.db.begin_read().map_err(redb_io)?;
        txn.open_table(LOCAL).map_err(redb_io)?.len().map_err(redb_io)
    }

    pub(super) fn put_local(&self, key: &Key, value: Option<&[u8]>) -> io::Result<()> {
        self.write(|txn| {
            let mut table = txn.open_table(LOCAL).map_err(redb_io)?;
            match value {
                Some(value) => drop(table.insert(key.as_str(), value).map_err(redb_io)?),
                None => drop(table.remove(key.as_str()).map_err(redb_io)?),
            }
            Ok(())
        })
    }

    /// Stores lost change sets, all or none. The same ones stored again replace what was there; the oldest go beyond
    /// the bound.
    pub(super) fn quarantine(&self, lost: Vec<Lost>) -> io::Result<()> {
        self.write(|txn| {
            for lost in lost {
                let id = drop_old(txn, &lost)?;
                let head =
                    [lost.epoch.as_u64(), lost.from.epoch.as_u64(), lost.from.seq, lost.to.epoch.as_u64(), lost.to.seq];
                let head: Vec<u8> = head.iter().flat_map(|number| number.to_le_bytes()).collect();
                txn.open_table(DIVERGED).map_err(redb_io)?.insert(id, head.as_slice()).map_err(redb_io)?;
                for change in lost.changes {
                    let flags = u8::from(change.secret)
                        | u8::from(change.old.is_some()) << 1
                        | u8::from(change.new.is_some()) << 2;
                    let mut changes = txn.open_table(CHANGES).map_err(redb_io)?;
                    changes.insert((id, change.key.as_str()), [flags].as_slice()).map_err(redb_io)?;
                    let mut values = txn.open_table(VALUES).map_err(redb_io)?;
                    for (side, value) in [(0, change.old), (1, change.new)] {
                        for (number, piece) in value.into_iter().flatten().enumerate() {
                            let piece = piece.map_err(|error| io::Error::other(error.to_string()))?;
                            let place = (id, change.key.as_str(), side, number as u32);
                            values.insert(place, piece.as_ref()).map_err(redb_io)?;
                        }
                    }
                }
            }
            Ok(())
        })
    }

    pub(super) fn diverged(&self) -> Result<Vec<Diverged>, ReadError> {
        let txn = self.db.begin_read().map_err(redb_read)?;
        let changes = txn.open_table(CHANGES).map_err(redb_read)?;
        let values = txn.open_table(VALUES).map_err(redb_read)?;
        let mut all = Vec::new();
        for row in txn.open_table(DIVERGED).map_err(redb_read)?.iter().map_err(redb_read)? {
            let (id, head) = row.map_err(redb_read)?;
            let id = id.value();
            let (epoch, from, to) = decode_head(head.value());
            let mut found = Vec::new();
            for row in changes.range((id, "")..(id + 1, "")).map_err(redb_read)? {
                let (place, flags) = row.map_err(redb_read)?;
                let (_, key) = place.value();
                let flags = flags.value().first().copied().unwrap_or(0);
                let side = |side: u8| -> Result<Option<Bytes>, ReadError> {
                    if flags & (2 << side) == 0 {
                        return Ok(None);
                    }
                    let mut value = Vec::new();
                    for row in values.range((id, key, side, 0)..=(id, key, side, u32::MAX)).map_err(redb_read)? {
                        value.extend_from_slice(row.map_err(redb_read)?.1.value());
                    }
                    Ok(Some(value.into()))
                };
                let (old, new) = (side(0)?, side(1)?);
                let key = Key::new(key).map_err(|error| ReadError::Disk(error.to_string()))?;
                found.push(DivergedChange { key, secret: flags & 1 == 1, old, new });
            }
            all.push(Diverged { id, epoch, from, to, changes: found });
        }
        Ok(all)
    }

    fn meta(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let txn = self.db.begin_read().map_err(redb_io)?;
        let table = txn.open_table(META).map_err(redb_io)?;
        let value = table.get(name).map_err(redb_io)?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    fn write(&self, change: impl FnOnce(&WriteTransaction) -> io::Result<()>) -> io::Result<()> {
        let txn = begin(&self.db)?;
        change(&txn)?;
        txn.commit().map_err(redb_io)
    }
}

/// Removes the same quarantine and the oldest ones beyond the bound; returns the number of the next.
fn drop_old(txn: &WriteTransaction, lost: &Lost) -> io::Result<u64> {
    let mut table = txn.open_table(DIVERGED).map_err(redb_io)?;
    let mut rows = Vec::new();
    for row in table.iter().map_err(redb_io)? {
        let (id, head) = row.map_err(redb_io)?;
        rows.push((id.value(), decode_head(head.value())));
    }
    let next = rows.last().map_or(1, |(id, _)| id + 1);
    let mut total = lost.to.seq - lost.from.seq + 1;
    let mut gone = Vec::new();
    for (id, (epoch, from, to)) in rows.iter().rev() {
        let same = (*epoch, *from) == (lost.epoch, lost.from);
        total += if same { 0 } else { to.seq - from.seq + 1 };
        if same || total > QUARANTINE_CHANGE_SETS_MAX {
            gone.push(*id);
        }
    }
    for id in gone {
        table.remove(id).map_err(redb_io)?;
        let mut changes = txn.open_table(CHANGES).map_err(redb_io)?;
        changes.retain_in((id, "")..(id + 1, ""), |_, _| false).map_err(redb_io)?;
        let mut values = txn.open_table(VALUES).map_err(redb_io)?;
        values.retain_in((id, "", 0, 0)..(id + 1, "", 0, 0), |_, _| false).map_err(redb_io)?;
    }
    Ok(next)
}

fn decode_head(bytes: &[u8]) -> (Epoch, Revision, Revision) {
    let number = |at: usize| {
        let bytes = bytes.get(at * 8..at * 8 + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    };
    let revision = |at: usize| Revision::new(Epoch::from_u64(number(at)), number(at + 1));
    (Epoch::from_u64(number(0)), revision(1), revision(3))
}

fn seal(durable_state: &DurableState) -> io::Result<Vec<u8>> {
    encode_durable_state(durable_state).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}
