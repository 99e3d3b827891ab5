//! A version of the configuration as plain data. The log, the state and the view hand it to each other.

use std::sync::Arc;

use bytes::Bytes;

use super::disk::File;
use super::log::LogPosition;
use crate::model::limits::{CHUNK_BYTES, OVERLAY_CHANGE_BYTES};
use crate::model::{Digest, EntryHash, History, Key, Position, Revision};

/// All that is known of a version, except its entries.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    pub(super) revision: Revision,
    /// Checksum of the last log record of the version.
    pub(super) chain: u32,
    pub(super) digest: Digest,
    /// Number of entries.
    pub(super) entries: u64,
    /// Bytes of all keys and values.
    pub(super) bytes: u64,
    pub(super) history: Arc<History>,
    /// Where the log goes on after the version.
    pub(super) log_end: LogPosition,
}

/// One change of a change set, as it is applied.
#[derive(Debug)]
pub(super) struct AppliedChange {
    /// Number of the change set.
    pub(super) seq: u64,
    pub(super) key: Key,
    /// `None` if the change removes the entry.
    pub(super) entry: Option<EntryRef>,
}

/// An entry without its key, and where its value is.
#[derive(Clone, Debug)]
pub(super) struct EntryRef {
    pub(super) secret: bool,
    /// Length of the value.
    pub(super) bytes: u64,
    pub(super) hash: EntryHash,
    pub(super) value: ValueRef,
}

/// Where a value is. Large values stay on the disk.
#[derive(Clone, Debug)]
pub(super) enum ValueRef {
    /// In memory.
    Inline(Bytes),
    /// In chunk records of the log. This reference keeps the segment's file readable after its name is removed.
    Log(Arc<[LogChunk]>),
    /// In chunks of the state, under this number.
    State(u64),
}

/// Where the log holds the bytes of one chunk.
#[derive(Clone, Debug)]
pub(super) struct LogChunk {
    pub(super) file: Arc<dyn File>,
    pub(super) offset: u64,
    pub(super) bytes: u32,
}

impl Summary {
    /// Of a configuration without a history, whose log begins here.
    pub(super) fn empty(log_end: LogPosition) -> Self {
        Self {
            revision: Revision::NONE,
            chain: 0,
            digest: Digest::ZERO,
            entries: 0,
            bytes: 0,
            history: Arc::new(History::default()),
            log_end,
        }
    }

    pub(super) fn position(&self) -> Position {
        Position { revision: self.revision, digest: self.digest }
    }
}

impl AppliedChange {
    /// Memory that it takes, about. A large value stays on the disk.
    pub(super) fn memory(&self) -> u64 {
        let value = self.entry.as_ref().map_or(0, |entry| match &entry.value {
            ValueRef::Inline(value) => value.len() as u64,
            ValueRef::Log(_) | ValueRef::State(_) => 0,
        });
        OVERLAY_CHANGE_BYTES + self.key.as_bytes().len() as u64 + value
    }
}

/// Number of chunks of a value of this length.
pub(super) fn chunk_count(bytes: u64) -> u64 {
    bytes.div_ceil(CHUNK_BYTES as u64)
}
