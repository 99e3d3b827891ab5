//! The open state file of the writer.

use std::io;
use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableDatabase};

use super::apply::{Move, Tick, apply};
use super::read::StateSnapshot;
use super::rows::{STATE_VERSION, StateHeader, StoredHeader, read_header, write_header};
use super::tables::{BUCKETS, CHUNKS, ENTRIES, UNDO};
use crate::model::limits::STATE_CACHE_BYTES;
use crate::model::{DigestKey, Revision};
use crate::store::checksummed_file::ChecksummedFile;
use crate::store::database::{begin_write, open_database, redb_io};
use crate::store::disk::{Disk, File, remove_if_present};
use crate::store::error::{StoreError, invalid_data};
use crate::store::held_file::HeldFile;
use crate::store::log::LogPosition;
use crate::store::version::Summary;

/// The state file.
pub(in crate::store) struct StateFile {
    /// `None` after [`StateFile::close`].
    database: Option<Database>,
    storage: ChecksummedFile,
    file: Arc<dyn File>,
    /// The same file, where its changes were held back at first.
    held: Option<Arc<HeldFile>>,
    pub(super) header: StateHeader,
    /// It is being loaded: when it is dropped, nothing more is written.
    pub(super) is_unfinished: bool,
}

impl Drop for StateFile {
    fn drop(&mut self) {
        if self.is_unfinished {
            self.close();
        }
    }
}

impl StateFile {
    /// Makes an empty state at this position.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::store) fn create(disk: &dyn Disk, path: &Path, summary: Summary) -> io::Result<Self> {
        remove_if_present(disk, path)?;
        let file = disk.open(path, true)?;
        let (database, storage) = open_database(file.clone(), STATE_CACHE_BYTES)?;
        let header = StateHeader { summary, next_value: 1, confirmed: Revision::NONE, undo_bytes: 0, undo_from: 0 };
        let transaction = begin_write(&database)?;
        {
            transaction.open_table(ENTRIES).map_err(redb_io)?;
            transaction.open_table(CHUNKS).map_err(redb_io)?;
            transaction.open_table(BUCKETS).map_err(redb_io)?;
            transaction.open_table(UNDO).map_err(redb_io)?;
            write_header(&transaction, &header)?;
        }
        transaction.commit().map_err(redb_io)?;
        Ok(Self { database: Some(database), storage, file, held: None, header, is_unfinished: false })
    }

    /// Opens an existing state. Nothing is written to it before [`StateFile::release`].
    ///
    /// # Errors
    /// [`StoreError::Newer`], [`StoreError::Corrupt`] and [`StoreError::Io`].
    pub(in crate::store) fn open(disk: &dyn Disk, path: &Path) -> Result<Self, StoreError> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let unreadable = |source| StoreError::unreadable(&name, source);
        let file = disk.open(path, false).and_then(HeldFile::new).map_err(unreadable)?;
        let held = Arc::new(file);
        let file: Arc<dyn File> = held.clone();
        let (database, storage) = open_database(file.clone(), STATE_CACHE_BYTES).map_err(unreadable)?;
        match stored_header(&database).map_err(unreadable)? {
            Some(StoredHeader::Known(header)) => {
                Ok(Self { database: Some(database), storage, file, held: Some(held), header, is_unfinished: false })
            }
            Some(StoredHeader::Newer(found)) => {
                Err(StoreError::Newer { what: name.clone(), found, known: STATE_VERSION })
            }
            None => Err(StoreError::Corrupt { what: name.clone(), reason: "it has no header".into() }),
        }
    }

    /// What was held back is written, and what comes too.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::store) fn release(&self) -> io::Result<()> {
        self.held.as_ref().map_or(Ok(()), |held| held.release())
    }

    pub(in crate::store) fn summary(&self) -> &Summary {
        &self.header.summary
    }

    /// What is committed now, for readers.
    pub(in crate::store) fn snapshot(&self) -> io::Result<Arc<StateSnapshot>> {
        let transaction = self.database()?.begin_read().map_err(redb_io)?;
        StateSnapshot::new(&transaction, self.header.summary.clone()).map(Arc::new)
    }

    /// Moves changes to the state, whole or not at all, and prunes undo images. Returns whether more of them are to be
    /// pruned.
    ///
    /// # Errors
    /// What the system says. The state is closed. Opened again it is as before, or has all of them.
    pub(in crate::store) fn apply(
        &mut self,
        work: &mut Move,
        keys: &DigestKey,
        tick: &mut Tick<'_>,
    ) -> io::Result<bool> {
        let before = self.snapshot()?;
        let applied = apply(self.database()?, &before, self.header.clone(), work, keys, tick);
        // A part of them must not become durable when the database is dropped.
        let (header, more) = applied.inspect_err(|_| self.close())?;
        self.header = header;
        Ok(more)
    }

    /// The storage under it, to fence it.
    pub(in crate::store) fn storage(&self) -> ChecksummedFile {
        self.storage.clone()
    }

    /// Notes, durably, that the log goes on at another position.
    ///
    /// # Errors
    /// As [`StateFile::apply`].
    pub(in crate::store) fn relocate(&mut self, log_end: LogPosition) -> io::Result<()> {
        let mut header = self.header.clone();
        header.summary.log_end = log_end;
        let transaction = begin_write(self.database()?)?;
        write_header(&transaction, &header)?;
        transaction.commit().map_err(redb_io)?;
        self.header = header;
        Ok(())
    }

    /// Opens the file again after a failed transaction, and reads what it holds.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::store) fn reopen(&mut self) -> io::Result<()> {
        self.close();
        let (database, storage) = open_database(self.file.clone(), STATE_CACHE_BYTES)?;
        match stored_header(&database)? {
            Some(StoredHeader::Known(header)) => self.header = header,
            _ => return Err(invalid_data("the state has lost its header")),
        }
        (self.database, self.storage) = (Some(database), storage);
        Ok(())
    }

    /// Stops writing. Readers of an earlier position can go on.
    pub(in crate::store) fn close(&mut self) {
        self.storage.fence();
        self.database = None;
    }

    pub(super) fn database(&self) -> io::Result<&Database> {
        self.database.as_ref().ok_or_else(|| io::Error::other("the state is closed"))
    }
}

fn stored_header(database: &Database) -> io::Result<Option<StoredHeader>> {
    read_header(&database.begin_read().map_err(redb_io)?)
}
