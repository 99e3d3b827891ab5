//! Plain data of the store's public face.

use std::path::PathBuf;

use bytes::Bytes;

use crate::model::{Epoch, Key, Revision};

/// Bounds of the log.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// In change sets.
    pub log_changes: u64,
    /// In bytes.
    pub log_bytes: u64,
}

/// The data directory could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has it.
    #[error("another process uses the data directory {0}")]
    Locked(PathBuf),
    /// Written by a newer version.
    #[error("{what} has version {found}, newer than {known} which this program knows; nothing was changed")]
    Newer {
        /// Which file.
        what: String,
        /// Its version.
        found: u32,
        /// Newest known.
        known: u32,
    },
    /// A file is damaged.
    #[error("{what} is damaged: {reason}")]
    Corrupt {
        /// Which file.
        what: String,
        /// How.
        reason: String,
    },
    /// The system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Change sets of a former master in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diverged {
    /// Its number.
    pub id: u64,
    /// The epoch that was lost.
    pub epoch: Epoch,
    /// First change set lost.
    pub from: Revision,
    /// Last one.
    pub to: Revision,
    /// Keys that changed, each once, in key order.
    pub changes: Vec<DivergedChange>,
}

/// One key of a [`Diverged`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DivergedChange {
    /// Which one.
    pub key: Key,
    /// Never shown.
    pub secret: bool,
    /// Value before.
    pub old: Option<Bytes>,
    /// Value after.
    pub new: Option<Bytes>,
}

/// One entry of a [`super::Snapshot`], without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub key: Key,
    /// Length of its value.
    pub bytes: u64,
    /// Never shown in logs, alerts or `Debug`.
    pub secret: bool,
}

/// The configuration could not be read. It is unchanged.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The disk failed or the state is damaged.
    #[error("the configuration could not be read: {0}")]
    Disk(String),
}
