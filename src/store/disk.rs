//! The seam to the file system: real in production, breakable in tests.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One open file. Positions are bytes.
pub trait File: Send + Sync + std::fmt::Debug {
    /// Length.
    fn len(&self) -> io::Result<u64>;
    /// Fills `buffer` from `offset`; fails at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data` at `offset`.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Cuts or extends (with zeros).
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves room (with zeros) so that later writes cannot find the disk full.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Returns when all that was written is durable.
    fn sync(&self) -> io::Result<()>;
}

/// A file system below one root.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Opens a file for reading and writing; makes it (mode 0600) where `create` is set. With `create`, an existing file is opened as it is.
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn File>>;
    /// Makes a directory (mode 0700) and its parents.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Replaces `to` by `from`, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Takes an exclusive lock on this file (made where missing) until dropped; `WouldBlock` where another process has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
}

/// The file system of this machine.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealDisk;
