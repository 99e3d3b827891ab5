//! The configuration at one revision, as the host reads it.

use std::sync::Arc;

use bytes::Bytes;

use super::error::ReadError;
use super::state::ValueReader;
use super::types::Entry;
use super::view::{View, ViewEntries};
use crate::model::{Digest, EntryHash, History, Key, Revision};

/// The configuration at one revision. It never changes, reading it never waits for a writer, and a clone is cheap.
///
/// ```no_run
/// # fn show(config: &shadowpair::Config) -> Result<(), shadowpair::ReadError> {
/// let snapshot = config.snapshot();
/// println!("{} entries at {}", snapshot.entries(), snapshot.revision());
/// if let Some(backend) = snapshot.get("routes/api")? {
///     println!("{} bytes", backend.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Snapshot(pub(super) Arc<View>);

impl Snapshot {
    /// The revision.
    pub fn revision(&self) -> Revision {
        self.0.summary.revision
    }

    /// The digest of the configuration.
    pub fn digest(&self) -> Digest {
        self.0.summary.digest
    }

    /// Number of entries.
    pub fn entries(&self) -> u64 {
        self.0.summary.entries
    }

    /// Bytes of all keys and values together.
    pub fn bytes(&self) -> u64 {
        self.0.summary.bytes
    }

    /// The history up to this revision.
    pub fn history(&self) -> History {
        self.0.summary.history.as_ref().clone()
    }

    /// The value of an entry. `None` if there is no such entry. A large value is then in memory as a whole; see
    /// [`Snapshot::value`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn get(&self, key: impl AsRef<str>) -> Result<Option<Bytes>, ReadError> {
        self.value(key)?.map(ValueReader::whole).transpose()
    }

    /// An entry without its value. `None` if there is no such entry.
    ///
    /// # Errors
    /// [`ReadError`].
    ///
    /// ```no_run
    /// # fn show(snapshot: &shadowpair::Snapshot) -> Result<(), shadowpair::ReadError> {
    /// let is_secret = snapshot.entry("password")?.is_some_and(|entry| entry.secret);
    /// # Ok(())
    /// # }
    /// ```
    pub fn entry(&self, key: impl AsRef<str>) -> Result<Option<Entry>, ReadError> {
        let Ok(key) = Key::new(key) else { return Ok(None) };
        let entry = self.0.get(key.as_str())?;
        Ok(entry.map(|entry| Entry { key, bytes: entry.bytes, secret: entry.secret }))
    }

    /// The entries whose keys begin with `prefix`, in key order.
    ///
    /// ```no_run
    /// # fn show(snapshot: &shadowpair::Snapshot) -> Result<(), shadowpair::ReadError> {
    /// for entry in snapshot.scan("routes/") {
    ///     let entry = entry?;
    ///     println!("{}: {:?}", entry.key, snapshot.get(&entry.key)?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn scan(&self, prefix: &str) -> Scan {
        Scan { entries: ViewEntries::new(&self.0, prefix) }
    }

    /// The hash of an entry. `None` if there is no such entry.
    pub(crate) fn hash(&self, key: &Key) -> Result<Option<EntryHash>, ReadError> {
        Ok(self.0.get(key.as_str())?.map(|entry| entry.hash))
    }

    /// The hashes of the entries whose keys begin with `prefix`, in key order.
    pub(crate) fn hashes(&self, prefix: &str) -> impl Iterator<Item = Result<(Key, EntryHash), ReadError>> {
        ViewEntries::new(&self.0, prefix).map(|entry| entry.map(|(key, entry)| (key, entry.hash)))
    }

    /// Reads the value of an entry piece by piece, so that a large one is never in memory as a whole. `None` if there is no
    /// such entry.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn value(&self, key: impl AsRef<str>) -> Result<Option<ValueReader>, ReadError> {
        let Ok(key) = Key::new(key) else { return Ok(None) };
        Ok(self.0.get(key.as_str())?.map(|entry| self.0.open(&key, entry)))
    }
}

/// Iterates over entries of a [`Snapshot`], in key order. It ends after the first error.
///
/// ```no_run
/// # fn count(snapshot: &shadowpair::Snapshot) -> Result<u64, shadowpair::ReadError> {
/// let sizes: Result<Vec<u64>, _> = snapshot.scan("").map(|entry| entry.map(|entry| entry.bytes)).collect();
/// # Ok(sizes?.iter().sum())
/// # }
/// ```
pub struct Scan {
    entries: ViewEntries,
}

impl Iterator for Scan {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entries.next()?;
        Some(entry.map(|(key, entry)| Entry { key, bytes: entry.bytes, secret: entry.secret }))
    }
}
