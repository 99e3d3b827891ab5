//! The configuration at one revision, for the host.

use std::sync::Arc;

use bytes::Bytes;

use super::view::{Scan, ValueReader, View};
use super::{Entry, ReadError};
use crate::model::{Digest, History, Key, Revision};

/// The configuration at one revision. Cheap to clone, never changes, never blocks.
#[derive(Clone)]
pub struct Snapshot(pub(super) Arc<View>);

impl Snapshot {
    /// Which revision this is.
    pub fn revision(&self) -> Revision {
        self.0.meta.revision
    }

    /// What it holds.
    pub fn digest(&self) -> Digest {
        self.0.meta.digest
    }

    /// How many entries there are.
    pub fn entries(&self) -> u64 {
        self.0.meta.entries
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> u64 {
        self.0.meta.bytes
    }

    /// Lineage up to here.
    pub fn history(&self) -> History {
        self.0.meta.history.as_ref().clone()
    }

    /// The value of an entry. A large one is whole in memory then; see [`Snapshot::value`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn get(&self, key: impl AsRef<str>) -> Result<Option<Bytes>, ReadError> {
        self.value(key)?.map(ValueReader::whole).transpose()
    }

    /// An entry without its value.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn entry(&self, key: impl AsRef<str>) -> Result<Option<Entry>, ReadError> {
        let Ok(key) = Key::new(key) else { return Ok(None) };
        let entry = self.0.get(key.as_str())?;
        Ok(entry.map(|entry| Entry { key, bytes: entry.bytes, secret: entry.secret }))
    }

    /// The entries whose key begins with this, in key order.
    pub fn scan(&self, prefix: &str) -> Scan {
        Scan::new(self, prefix)
    }

    /// Reads a value in pieces, so that it is never whole in memory. `None` where there is no such entry.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn value(&self, key: impl AsRef<str>) -> Result<Option<ValueReader>, ReadError> {
        let Ok(key) = Key::new(key) else { return Ok(None) };
        Ok(self.0.get(key.as_str())?.map(|entry| self.0.open(&key, entry)))
    }
}
