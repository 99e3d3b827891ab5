//! The file of what belongs to the node and not to the pair: durable state, local entries, quarantine, and the note of damage.
//! It is not part of the state file, because a full push replaces that.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, Durability, ReadableDatabase, ReadableTableMetadata, TableDefinition, WriteTransaction};

use super::checksummed_file::ChecksummedFile;
use super::database::{begin_write, open_database, redb_io, redb_read};
use super::disk::{Disk, File, remove_if_present};
use super::error::{ReadError, StoreError};
use super::held_file::HeldFile;
use super::mutants::{Mutant, is_active};
use super::quarantine_tables::{self, QuarantineTables, ToQuarantine};
use crate::model::Key;
use crate::model::limits::NODE_CACHE_BYTES;
use crate::protocol::engine::{DurableState, decode_durable_state, encode_durable_state};
use crate::protocol::wire::WireError;

/// Newest version of the node file's tables that this program writes and reads.
const NODE_VERSION: u32 = 1;
/// Name of the file.
pub(super) const NODE_FILE: &str = "node.redb";

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const LOCAL: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("local");

/// The open file, which readers read beside the writer.
pub(super) struct NodeFile {
    database: Database,
    storage: ChecksummedFile,
    file: Arc<dyn File>,
    /// The same file, where its changes were held back at first.
    held: Option<Arc<HeldFile>>,
}

impl NodeFile {
    /// Makes the file, with this durable state.
    pub(super) fn create(disk: &dyn Disk, dir: &Path, durable_state: &DurableState) -> io::Result<Self> {
        let path = dir.join(NODE_FILE);
        remove_if_present(disk, &path)?;
        let file = disk.open(&path, true)?;
        let (database, storage) = open_database(file.clone(), NODE_CACHE_BYTES)?;
        let node = Self { database, storage, file, held: None };
        node.write(|transaction| {
            transaction.open_table(LOCAL).map_err(redb_io)?;
            quarantine_tables::create(transaction)?;
            let mut meta = transaction.open_table(META).map_err(redb_io)?;
            meta.insert("version", NODE_VERSION.to_le_bytes().as_slice()).map_err(redb_io)?;
            meta.insert("facts", encode(durable_state)?.as_slice()).map_err(redb_io)?;
            Ok(())
        })?;
        Ok(node)
    }

    /// Opens the file. Nothing is written to it before [`NodeFile::release`].
    ///
    /// # Errors
    /// [`StoreError::Newer`], [`StoreError::Corrupt`] and [`StoreError::Io`].
    pub(super) fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, StoreError> {
        let unreadable = |source| StoreError::unreadable(NODE_FILE, source);
        let file = disk.open(&dir.join(NODE_FILE), false).and_then(HeldFile::new).map_err(unreadable)?;
        let held = Arc::new(file);
        let file: Arc<dyn File> = held.clone();
        let (database, storage) = open_database(file.clone(), NODE_CACHE_BYTES).map_err(unreadable)?;
        let node = Self { database, storage, file, held: Some(held) };
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

    /// What was held back is written, and what comes too.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn release(&self) -> io::Result<()> {
        self.held.as_ref().map_or(Ok(()), |held| held.release())
    }

    /// Opens the file again after a failure. This handle stops writing.
    pub(super) fn reopened(&self) -> io::Result<Self> {
        self.fence();
        let (database, storage) = open_database(self.file.clone(), NODE_CACHE_BYTES)?;
        Ok(Self { database, storage, file: self.file.clone(), held: None })
    }

    /// Stops writing.
    pub(super) fn fence(&self) {
        self.storage.fence();
    }

    pub(super) fn durable_state(&self) -> Result<DurableState, StoreError> {
        let bytes = self.meta("facts").map_err(|source| StoreError::unreadable(NODE_FILE, source))?.unwrap_or_default();
        let corrupt = |reason: String| StoreError::Corrupt { what: NODE_FILE.into(), reason };
        decode_durable_state(&bytes).map_err(|error| match error {
            WireError::Newer { found, known, .. } => StoreError::Newer { what: "durable state".into(), found, known },
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
        self.write(|transaction| {
            if is_active(Mutant::QuarantineInMemory) {
                transaction.set_quick_repair(false);
                transaction.set_durability(Durability::None).map_err(redb_io)?;
            }
            epochs.into_iter().try_for_each(|epoch| quarantine_tables::insert(transaction, epoch))
        })
    }

    /// Removes what has this number from the quarantine. Returns whether there was such a thing.
    pub(super) fn discard(&self, id: u64) -> io::Result<bool> {
        let mut found = false;
        self.write(|transaction| {
            found = quarantine_tables::remove(transaction, id)?;
            Ok(())
        })?;
        Ok(found)
    }

    /// What is in quarantine.
    pub(super) fn quarantined(&self) -> Result<QuarantineTables, ReadError> {
        QuarantineTables::open(&self.database.begin_read().map_err(redb_read)?)
    }

    fn meta(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let transaction = self.database.begin_read().map_err(redb_io)?;
        let table = transaction.open_table(META).map_err(redb_io)?;
        let value = table.get(name).map_err(redb_io)?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    fn write(&self, change: impl FnOnce(&mut WriteTransaction) -> io::Result<()>) -> io::Result<()> {
        let mut transaction = begin_write(&self.database)?;
        change(&mut transaction)?;
        transaction.commit().map_err(redb_io)
    }
}

fn encode(durable_state: &DurableState) -> io::Result<Vec<u8>> {
    encode_durable_state(durable_state).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}
