//! Makes a loaded state the successor of another one.

use std::io;

use super::file::StateFile;
use super::rows::{NO_ENTRY, chunked_row, inline_row, write_header};
use super::tables::{CHUNKS, UNDO};
use super::value::ValueReader;
use crate::model::{Key, Revision};
use crate::store::database::{begin_write, redb_io};
use crate::store::error::invalid_data;
use crate::store::version::{EntryRef, Summary, ValueRef};

/// An entry before a change: number of the change set, key, entry.
pub(in crate::store) type Undo = (u64, Key, Option<EntryRef>);

impl StateFile {
    /// Gives the state its position, and undo images of what was there before, durably. `open` reads the values of these.
    ///
    /// # Errors
    /// What the system says. The state must be dropped.
    pub(in crate::store) fn adopt(
        &mut self,
        summary: Summary,
        confirmed: Revision,
        undo: Vec<Undo>,
        open: impl Fn(&Key, EntryRef) -> ValueReader,
    ) -> io::Result<()> {
        let mut header = self.header.clone();
        header.undo_from = undo.iter().map(|(seq, ..)| *seq).min().unwrap_or(summary.revision.seq + 1);
        (header.summary, header.confirmed, header.undo_bytes) = (summary, confirmed, 0);
        let transaction = begin_write(self.database()?)?;
        {
            let mut table = transaction.open_table(UNDO).map_err(redb_io)?;
            let mut chunks = transaction.open_table(CHUNKS).map_err(redb_io)?;
            for (seq, key, before) in undo {
                header.undo_bytes += key.as_bytes().len() as u64 + before.as_ref().map_or(0, |entry| entry.bytes);
                let row = match before {
                    None => NO_ENTRY.to_vec(),
                    Some(EntryRef { secret, hash, value: ValueRef::Inline(value), .. }) => {
                        inline_row(secret, &hash, &value)
                    }
                    Some(entry) => {
                        let id = header.next_value;
                        header.next_value += 1;
                        for (number, piece) in open(&key, entry.clone()).enumerate() {
                            let piece = piece.map_err(|error| invalid_data(error.to_string()))?;
                            chunks.insert((id, number as u32), piece.as_ref()).map_err(redb_io)?;
                        }
                        chunked_row(entry.secret, &entry.hash, entry.bytes, id)
                    }
                };
                table.insert((seq, key.as_bytes()), row.as_slice()).map_err(redb_io)?;
            }
        }
        write_header(&transaction, &header)?;
        transaction.commit().map_err(redb_io)?;
        self.header = header;
        Ok(())
    }
}
