//! Reads the store beside the writer.

use std::sync::Arc;

use bytes::Bytes;

use super::error::ReadError;
use super::export::Export;
use super::log::{Cursor, Log, RecordsRead};
use super::publication::Publication;
use super::quarantine_tables::DivergedReader;
use super::snapshot::Snapshot;
use super::types::{Diverged, DivergedChange, DivergedSide};
use crate::model::{DigestKey, Key, Revision};
use crate::protocol::wire::SnapshotHeader;

/// Reads the store, and never waits for the writer. Clones share.
#[derive(Clone)]
pub struct Reader(pub(super) Arc<Publication>);

impl Reader {
    /// What is visible now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.0.view.load_full())
    }

    /// Makes durable change sets and eras up to this revision visible. Works in memory only. Returns the keys that changed,
    /// by revision, for watchers. An era changes no key.
    pub fn publish(&self, upto: Revision) -> Vec<(Revision, Vec<Key>)> {
        self.0.publish(upto)
    }

    /// The key with which the pair hashes its entries.
    pub fn digest_key(&self) -> DigestKey {
        self.0.view.load().keys.clone()
    }

    /// Notes that the peer durably has everything up to here. The next maintenance removes the undo images of it.
    pub fn confirm(&self, upto: Revision) {
        self.0.confirm(upto);
    }

    /// Whether a checkpoint should begin now: what it would move takes this much memory, or the log holds files only for it.
    pub fn wants_checkpoint(&self, from_bytes: u64) -> bool {
        self.0.memory() >= from_bytes
            || Log::is_held_by_state(&self.0.log_index.load(), self.0.view.load().state.summary.log_end)
    }

    /// Reads complete durable records after `after` and up to `upto`: at most `max_bytes`, and at least one record. `None` if
    /// the log does not reach back to `after`, or never had it.
    ///
    /// If a change set is larger than `max_bytes`, `last` of the answer stays before it. Then the next call passes `next` of
    /// the answer as `cursor`, with the same `after`, and goes on behind what was read. Without a cursor, or with one of
    /// another position, the read begins right after `after`.
    ///
    /// # Errors
    /// The disk failed, or the log is damaged.
    pub fn records_after(
        &self,
        after: Revision,
        cursor: Option<Cursor>,
        upto: Revision,
        max_bytes: usize,
    ) -> Result<Option<RecordsRead>, ReadError> {
        self.0.log_index.load().read(after, cursor, upto, max_bytes)
    }

    /// Opens what is visible now for a full push. The header has this number of the transfer.
    ///
    /// # Errors
    /// None at present. [`Export::next`] reports what fails later.
    pub fn export(&self, transfer: u64) -> Result<(SnapshotHeader, Export), ReadError> {
        Ok(Export::new(self.0.view.load_full(), self.0.log_index.load_full(), transfer))
    }

    /// The same with what is durable and not visible yet.
    ///
    /// # Errors
    /// As [`Reader::export`].
    pub fn export_withheld(&self, transfer: u64) -> Result<(SnapshotHeader, Export), ReadError> {
        Ok(Export::new(self.0.durable_view(), self.0.log_index.load_full(), transfer))
    }

    /// What is in quarantine, oldest first.
    ///
    /// # Errors
    /// The disk failed.
    pub fn diverged(&self) -> Result<Vec<Diverged>, ReadError> {
        self.0.node_file.load().quarantined()?.all()
    }

    /// The keys that are in quarantine under this number, in order. `None` if there is no such number.
    ///
    /// # Errors
    /// The disk failed.
    pub fn diverged_keys(&self, id: u64) -> Result<Option<Vec<Key>>, ReadError> {
        self.0.node_file.load().quarantined()?.keys(id)
    }

    /// What is in quarantine of one key. `None` if there is nothing.
    ///
    /// # Errors
    /// The disk failed.
    pub fn diverged_change(&self, id: u64, key: &Key) -> Result<Option<DivergedChange>, ReadError> {
        self.0.node_file.load().quarantined()?.change(id, key)
    }

    /// Reads one value that is in quarantine. `None` if there is none.
    ///
    /// # Errors
    /// The disk failed.
    pub fn diverged_value(&self, id: u64, key: &Key, side: DivergedSide) -> Result<Option<DivergedReader>, ReadError> {
        self.0.node_file.load().quarantined()?.value(id, key, side)
    }

    /// The value of a local entry.
    ///
    /// # Errors
    /// The disk failed.
    pub fn local(&self, key: &str) -> Result<Option<Bytes>, ReadError> {
        self.0.node_file.load().local(key)
    }

    /// Keys of the local entries with this prefix, in order.
    ///
    /// # Errors
    /// The disk failed.
    pub fn local_keys(&self, prefix: &str) -> Result<Vec<Key>, ReadError> {
        self.0.node_file.load().local_keys(prefix)
    }
}
