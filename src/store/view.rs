//! The configuration at one revision: an overlay in memory, which holds what the state does not have yet, over a snapshot of
//! the state.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use super::error::ReadError;
use super::overlay::Overlay;
use super::state::{StateScan, StateSnapshot, ValueReader};
use super::version::{AppliedChange, EntryRef, Summary};
use crate::model::{DigestKey, Key};

/// A version that the log holds: the configuration after a change set or an era, and what it changed.
#[derive(Clone)]
pub(super) struct Version {
    pub(super) summary: Summary,
    pub(super) overlay: Overlay,
    pub(super) changes: Arc<[Arc<AppliedChange>]>,
}

/// The configuration at one revision.
#[derive(Clone)]
pub(super) struct View {
    pub(super) summary: Summary,
    pub(super) overlay: Overlay,
    pub(super) state: Arc<StateSnapshot>,
    pub(super) keys: DigestKey,
}

/// The entries of a view whose keys begin with a prefix, in key order.
pub(super) struct ViewEntries {
    prefix: String,
    overlay: VecDeque<Arc<AppliedChange>>,
    /// `None` when the state has no further entry.
    state: Option<StateScan>,
    /// The next entry of the state.
    next: Option<(Key, EntryRef)>,
    /// Returned once. After it the iteration ends: to go on would hide that entries are missing.
    failed: Option<ReadError>,
}

impl Version {
    /// Memory that its changes take, about.
    pub(super) fn memory(&self) -> u64 {
        self.changes.iter().map(|change| change.memory()).sum()
    }
}

impl View {
    /// The configuration that the state holds.
    pub(super) fn of_state(state: Arc<StateSnapshot>, keys: &DigestKey) -> Self {
        Self { summary: state.summary.clone(), overlay: Overlay::default(), state, keys: keys.clone() }
    }

    /// The entry of a key.
    pub(super) fn get(&self, key: &str) -> Result<Option<EntryRef>, ReadError> {
        match self.overlay.get(key) {
            Some(over) => Ok(over.entry.clone()),
            None => self.state.get(key),
        }
    }

    /// Applies one change: in the overlay, and in the digest and the sizes.
    pub(super) fn set(&mut self, change: Arc<AppliedChange>) -> Result<(), ReadError> {
        let AppliedChange { key, entry, .. } = &*change;
        let old = match self.overlay.get(key.as_str()) {
            Some(over) => over.entry.as_ref().map(|old| (old.hash, old.bytes)),
            None => self.state.hash_and_bytes(key.as_str())?,
        };
        let key_bytes = key.as_bytes().len() as u64;
        if let Some((hash, bytes)) = old {
            self.summary.digest.remove(&hash);
            self.summary.entries = self.summary.entries.saturating_sub(1);
            self.summary.bytes = self.summary.bytes.saturating_sub(key_bytes + bytes);
        }
        if let Some(entry) = entry {
            self.summary.digest.add(&entry.hash);
            self.summary.entries += 1;
            self.summary.bytes += key_bytes + entry.bytes;
        }
        self.overlay.insert(change);
        Ok(())
    }

    /// This view as the version to which these changes led.
    pub(super) fn version(&self, changes: Vec<Arc<AppliedChange>>) -> Version {
        Version { summary: self.summary.clone(), overlay: self.overlay.clone(), changes: changes.into() }
    }

    /// Reads the value of an entry of this view.
    pub(super) fn open(&self, key: &Key, entry: EntryRef) -> ValueReader {
        ValueReader::new(self.state.clone(), &self.keys, key, entry)
    }
}

impl ViewEntries {
    pub(super) fn new(view: &View, prefix: &str) -> Self {
        Self::between(view, prefix, Bound::Included(prefix))
    }

    /// The entries after this key.
    pub(super) fn after(view: &View, key: &Key) -> Self {
        Self::between(view, "", Bound::Excluded(key.as_str()))
    }

    fn between(view: &View, prefix: &str, from: Bound<&str>) -> Self {
        let overlay = view.overlay.between(prefix, from);
        match view.state.scan(from) {
            Ok(state) => Self { prefix: prefix.to_owned(), overlay, state: Some(state), next: None, failed: None },
            Err(error) => Self::failed(error),
        }
    }

    fn failed(error: ReadError) -> Self {
        Self { prefix: String::new(), overlay: VecDeque::new(), state: None, next: None, failed: Some(error) }
    }

    /// The key of the next entry of the state.
    fn peek_state(&mut self) -> Result<Option<&Key>, ReadError> {
        if self.next.is_none()
            && let Some(state) = &mut self.state
        {
            self.next = state.next().transpose()?.filter(|(key, _)| key.as_str().starts_with(&self.prefix));
            if self.next.is_none() {
                self.state = None;
            }
        }
        Ok(self.next.as_ref().map(|(key, _)| key))
    }

    /// Merges the overlay and the state. Of two entries with the same key, that of the overlay counts.
    fn merge(&mut self) -> Result<Option<(Key, EntryRef)>, ReadError> {
        loop {
            let over = self.overlay.front().map(|change| change.key.clone());
            let order = match (over, self.peek_state()?) {
                (None, None) => return Ok(None),
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some(over), Some(state)) => over.cmp(state),
            };
            if order == Ordering::Greater {
                return Ok(self.next.take());
            }
            if order == Ordering::Equal {
                self.next = None;
            }
            if let Some(change) = self.overlay.pop_front()
                && let Some(entry) = &change.entry
            {
                return Ok(Some((change.key.clone(), entry.clone())));
            }
        }
    }
}

impl Iterator for ViewEntries {
    type Item = Result<(Key, EntryRef), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        match self.merge() {
            Ok(entry) => entry.map(Ok),
            Err(error) => {
                *self = Self::failed(error);
                self.next()
            }
        }
    }
}
