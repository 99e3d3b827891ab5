//! Plain data of the store's public face.

use bytes::Bytes;

use crate::model::{Epoch, Key, Revision};

/// Bounds of the log.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Most change sets.
    pub log_changes: u64,
    /// Most bytes.
    pub log_bytes: u64,
}

/// Change sets of a former master that the new master never had, in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diverged {
    /// Number in the quarantine.
    pub id: u64,
    /// Epoch that wrote them.
    pub epoch: Epoch,
    /// First change set.
    pub from: Revision,
    /// Last change set.
    pub to: Revision,
    /// The keys that they changed, each once, in key order.
    pub changes: Vec<DivergedChange>,
}

/// One key of a [`Diverged`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DivergedChange {
    /// The key.
    pub key: Key,
    /// Whether a value must never be shown.
    pub secret: bool,
    /// Value before. `None` if there was no entry.
    pub old: Option<Bytes>,
    /// Value after. `None` if the entry was removed.
    pub new: Option<Bytes>,
}

/// One entry of a [`Snapshot`](super::snapshot::Snapshot), without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name of the entry.
    pub key: Key,
    /// Length of its value.
    pub bytes: u64,
    /// Whether logs, alerts and `Debug` must never show the value.
    pub secret: bool,
}
