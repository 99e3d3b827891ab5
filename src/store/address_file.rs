//! The file with the addresses at which the peer was last reached. The shell knows what is in it; a node without it lacks nothing but
//! these addresses.

use std::path::Path;

use super::disk::{Disk, read_file, write_file_atomically};
use super::writer::Store;
use crate::model::limits::ADDRESS_BOOK_BYTES_MAX;

/// Name of the file.
const ADDRESSES: &str = "addresses";

impl Store {
    /// What [`Store::keep_addresses`] wrote last into this directory. Empty where there is nothing, or nothing that can be read.
    pub fn addresses(disk: &dyn Disk, dir: &Path) -> Vec<u8> {
        read_file(disk, &dir.join(ADDRESSES), ADDRESS_BOOK_BYTES_MAX).ok().flatten().unwrap_or_default()
    }

    /// Replaces the file, durably. Where that fails, the one before stays, and nothing else is affected.
    pub fn keep_addresses(&mut self, addresses: &[u8]) {
        if self.closed.is_some() {
            return;
        }
        if let Err(error) = write_file_atomically(&*self.dir.disk, &self.dir.dir.join(ADDRESSES), addresses) {
            tracing::debug!(%error, "the addresses of the peer are not stored");
        }
    }
}
