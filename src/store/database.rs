//! redb over a checksummed file, as the state and the node file use it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::{Database, Durability, WriteTransaction};

use super::checksummed_file::ChecksummedFile;
use super::disk::File;
use super::error::{ReadError, invalid_data};
use super::mutants::{Mutant, is_active};

/// Opens a database, or makes an empty one in an empty file. redb panics on some damaged files; that is caught.
pub(super) fn open_database(file: Arc<dyn File>, cache_bytes: usize) -> io::Result<(Database, ChecksummedFile)> {
    let file = ChecksummedFile::open(file)?;
    let storage = file.clone();
    let open = || redb::Builder::new().set_cache_size(cache_bytes).create_with_backend(storage);
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(opened) => Ok((opened.map_err(redb_io)?, file)),
        Err(_) => Err(invalid_data("redb panicked on it")),
    }
}

/// Begins a write transaction. After a crash right behind its commit, the database opens without a repair.
pub(super) fn begin_write(database: &Database) -> io::Result<WriteTransaction> {
    let mut transaction = database.begin_write().map_err(redb_io)?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// Begins a write transaction that becomes durable with the next durable one.
pub(super) fn begin_part(database: &Database) -> io::Result<WriteTransaction> {
    let mut transaction = database.begin_write().map_err(redb_io)?;
    if !is_active(Mutant::DurableParts) {
        transaction.set_durability(Durability::None).map_err(redb_io)?;
    }
    Ok(transaction)
}

/// An error of redb as one of the operating system, so that a full disk is still recognised.
pub(super) fn redb_io(error: impl Into<redb::Error>) -> io::Error {
    match error.into() {
        redb::Error::Io(error) => error,
        error => io::Error::other(error.to_string()),
    }
}

/// An error of redb as one of a reader.
pub(super) fn redb_read(error: impl Into<redb::Error>) -> ReadError {
    ReadError::of(redb_io(error))
}
