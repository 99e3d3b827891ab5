//! Plain data of the store's public face.

use std::fmt;

use bytes::Bytes;

use crate::model::limits::{LOG_BYTES_MIN, VALUE_INLINE_BYTES_MAX};
use crate::model::{Epoch, Key, Revision};

/// Bounds of the log.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Most change sets.
    pub log_changes: u64,
    /// Most bytes.
    pub log_bytes: u64,
}

impl StoreOptions {
    /// The bounds of the log beside a configuration of so many bytes. Beyond them a full push costs less than the records.
    pub(super) fn beside(self, data_bytes: u64) -> Self {
        Self { log_bytes: self.log_bytes.min(data_bytes.max(LOG_BYTES_MIN)), ..self }
    }
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
    pub old: Option<DivergedValue>,
    /// Value after. `None` if the entry was removed.
    pub new: Option<DivergedValue>,
}

/// A value of a [`DivergedChange`]. `Debug` shows only its length.
#[derive(Clone, PartialEq, Eq)]
pub enum DivergedValue {
    /// It has at most [`VALUE_INLINE_BYTES_MAX`] bytes.
    Inline(Bytes),
    /// It is longer. [`Operator::diverged_value`](crate::Operator::diverged_value) reads it piece by piece.
    Large {
        /// Its length.
        bytes: u64,
    },
}

/// Which value of a [`DivergedChange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DivergedSide {
    /// The one before.
    Old,
    /// The one after.
    New,
}

impl DivergedValue {
    /// Its length.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Inline(value) => value.len() as u64,
            Self::Large { bytes } => *bytes,
        }
    }

    /// The value, unless it is large.
    pub fn inline(&self) -> Option<&Bytes> {
        match self {
            Self::Inline(value) => Some(value),
            Self::Large { .. } => None,
        }
    }
}

impl From<Bytes> for DivergedValue {
    fn from(value: Bytes) -> Self {
        match value.len() <= VALUE_INLINE_BYTES_MAX {
            true => Self::Inline(value),
            false => Self::Large { bytes: value.len() as u64 },
        }
    }
}

impl fmt::Debug for DivergedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes())
    }
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
