//! A state that is loaded from a full push that was cut: what is kept of it, and how it goes on.

use std::io;

use redb::{ReadableDatabase, ReadableTable};

use super::file::StateFile;
use super::loader::Loader;
use super::rows::{Fields, STAGED_ROW, corrupt, hash_of, key_of, value_bytes_of, value_number_of, write_header};
use super::tables::{BUCKETS, CHUNKS, ENTRIES, META, UNDO};
use crate::model::{Digest, EntryHash, Key, bucket_of};
use crate::protocol::wire::ResumePoint;
use crate::store::database::redb_io;
use crate::store::error::ReadError;
use crate::store::mutants::{Mutant, is_active};

/// Newest version of the note that this program writes and reads.
const NOTE_VERSION: u32 = 1;

/// What is said of a state that is not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct StagedNote {
    /// An entry hash that no other pair has: entries of another pair are worth nothing here.
    pub(in crate::store) pair: EntryHash,
    /// How much is loaded.
    pub(in crate::store) point: ResumePoint,
}

impl Loader {
    /// Goes on with a state that was not finished, as it was at its last [`Loader::keep`]. `None` if nothing was kept.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::store) fn reopen(state: StateFile) -> io::Result<Option<(Self, StagedNote)>> {
        let mut loader = Self::new(state);
        let transaction = loader.state.database()?.begin_read().map_err(redb_io)?;
        let meta = transaction.open_table(META).map_err(redb_io)?;
        let note = match meta.get(STAGED_ROW).map_err(redb_io)? {
            Some(note) => decode(note.value())?,
            None => return Ok(None),
        };
        let Some(note) = note else { return Ok(None) };
        drop((meta, transaction));
        loader.read_buckets()?;
        loader.last = Some(note.point.after.clone());
        loader.drop_values(loader.state.header.next_value)?;
        Ok(Some((loader, note)))
    }

    /// Begins with a copy of a state, without these of its entries and without undo images.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::store) fn of_base(state: StateFile, is_gone: impl Fn(&Key, &EntryHash) -> bool) -> io::Result<Self> {
        let mut loader = Self::new(state);
        loader.read_buckets()?;
        let read = |error: ReadError| io::Error::other(error.to_string());
        let mut gone = Vec::new();
        for entry in loader.state.snapshot()?.hashes().map_err(read)? {
            let (key, hash) = entry.map_err(read)?;
            if is_gone(&key, &hash) {
                gone.push(key.clone());
            }
            loader.last = Some(key);
        }
        loader.drop_undo()?;
        gone.iter().try_for_each(|key| loader.replace(key, None))?;
        Ok(loader)
    }

    fn read_buckets(&mut self) -> io::Result<()> {
        let transaction = self.state.database()?.begin_read().map_err(redb_io)?;
        for row in transaction.open_table(BUCKETS).map_err(redb_io)?.iter().map_err(redb_io)? {
            let (bucket, digest) = row.map_err(redb_io)?;
            let digest = digest.value().try_into().map_err(|_| corrupt("a bucket digest"))?;
            self.buckets.insert(bucket.value(), (Digest(digest), false));
        }
        Ok(())
    }

    /// Removes all undo images: they are of another history.
    fn drop_undo(&mut self) -> io::Result<()> {
        self.state.header.undo_bytes = 0;
        let transaction = self.transaction()?;
        let mut undo = transaction.open_table(UNDO).map_err(redb_io)?;
        let mut chunks = transaction.open_table(CHUNKS).map_err(redb_io)?;
        while let Some((_, old)) = undo.pop_first().map_err(redb_io)? {
            if let Some((id, _)) = value_number_of(old.value())? {
                chunks.retain_in((id, 0)..(id + 1, 0), |_, _| false).map_err(redb_io)?;
            }
        }
        Ok(())
    }

    /// The entries that were committed.
    #[cfg(test)]
    pub(in crate::store) fn snapshot(&self) -> io::Result<std::sync::Arc<super::read::StateSnapshot>> {
        self.state.snapshot()
    }

    /// Makes what is loaded durable, with this note of it. `partial` is the number of a large value that is not complete.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::store) fn keep(&mut self, note: &StagedNote, partial: Option<u64>) -> io::Result<()> {
        self.transaction()?;
        let Some(mut transaction) = self.take_transaction() else { return Ok(()) };
        transaction.set_durability(redb::Durability::Immediate).map_err(redb_io)?;
        transaction.set_quick_repair(true);
        self.write_buckets(&transaction)?;
        let mut header = self.state.header.clone();
        header.next_value = partial.unwrap_or(header.next_value);
        write_header(&transaction, &header)?;
        let mut note = note.clone();
        if let (true, Ok(later)) = (is_active(Mutant::NoteAhead), Key::new("~")) {
            note.point.after = later;
        }
        transaction.open_table(META).map_err(redb_io)?.insert(STAGED_ROW, encode(&note).as_slice()).map_err(redb_io)?;
        transaction.commit().map_err(redb_io)?;
        self.buckets.values_mut().for_each(|(_, changed)| *changed = false);
        Ok(())
    }

    /// Drops the chunks of the large values from this number on.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::store) fn drop_values(&mut self, from: u64) -> io::Result<()> {
        self.state.header.next_value = from;
        let transaction = self.transaction()?;
        let mut chunks = transaction.open_table(CHUNKS).map_err(redb_io)?;
        chunks.retain_in((from, 0).., |_, _| false).map_err(redb_io)
    }

    /// Replaces or removes an entry at or before the last key. The row is that of the new entry.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::store) fn replace(&mut self, key: &Key, row: Option<&[u8]>) -> io::Result<()> {
        let old = {
            let transaction = self.transaction()?;
            let mut entries = transaction.open_table(ENTRIES).map_err(redb_io)?;
            let old = match row {
                Some(row) => entries.insert(key.as_bytes(), row).map_err(redb_io)?,
                None => entries.remove(key.as_bytes()).map_err(redb_io)?,
            };
            old.map(|old| old.value().to_vec())
        };
        if let Some(old) = &old {
            self.uncount(key, &hash_of(old)?, value_bytes_of(old)?.unwrap_or(0));
            if let Some((id, _)) = value_number_of(old)? {
                let transaction = self.transaction()?;
                let mut chunks = transaction.open_table(CHUNKS).map_err(redb_io)?;
                chunks.retain_in((id, 0)..(id + 1, 0), |_, _| false).map_err(redb_io)?;
            }
        }
        if let Some(row) = row {
            self.count(key, bucket_of(key) as u16, &hash_of(row)?, value_bytes_of(row)?.unwrap_or(0));
        }
        self.count_written(row.map_or(0, <[u8]>::len) + key.as_bytes().len())
    }
}

fn encode(note: &StagedNote) -> Vec<u8> {
    let StagedNote { pair, point: ResumePoint { after, from, upto } } = note;
    let mut bytes = NOTE_VERSION.to_le_bytes().to_vec();
    bytes.extend_from_slice(&pair.0);
    for revision in [from, upto] {
        bytes.extend_from_slice(&revision.epoch.as_u64().to_le_bytes());
        bytes.extend_from_slice(&revision.seq.to_le_bytes());
    }
    bytes.extend_from_slice(after.as_bytes());
    bytes
}

/// `None` where a newer program wrote it.
fn decode(bytes: &[u8]) -> io::Result<Option<StagedNote>> {
    let mut fields = Fields(bytes);
    if u32::from_le_bytes(fields.take()?) != NOTE_VERSION {
        return Ok(None);
    }
    let pair = EntryHash(fields.take()?);
    let (from, upto) = (fields.revision()?, fields.revision()?);
    Ok(Some(StagedNote { pair, point: ResumePoint { after: key_of(fields.0)?, from, upto } }))
}
