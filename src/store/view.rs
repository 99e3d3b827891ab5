//! The configuration at one revision: an ordered overlay in memory (what is in the log and not in the state yet) over
//! a read transaction of the state.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;

use super::log::LogPosition;
use super::state::Base;
use super::{Entry, ReadError, Snapshot};
use crate::model::limits::CHUNK_BYTES;
use crate::model::{Digest, DigestKey, EntryHash, EntryHasher, History, Key, Position, Revision};
use crate::store::disk::File;

/// What a position is, besides its entries.
#[derive(Clone, Debug)]
pub(super) struct Meta {
    pub(super) revision: Revision,
    /// Checksum of the record that led here.
    pub(super) chain: u32,
    pub(super) digest: Digest,
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) history: Arc<History>,
    /// Where in the log the next record begins.
    pub(super) end: LogPosition,
}

/// The configuration at one revision.
#[derive(Clone)]
pub(super) struct View {
    pub(super) meta: Meta,
    pub(super) overlay: OrdMap<Key, Slot>,
    pub(super) base: Arc<Base>,
    pub(super) keys: DigestKey,
}

/// What the overlay holds for a key: `None` where the entry was removed.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// The change set that wrote it.
    pub(super) seq: u64,
    pub(super) entry: Option<EntryRef>,
}

/// An entry, with its value at hand or not.
#[derive(Clone, Debug)]
pub(super) struct EntryRef {
    pub(super) secret: bool,
    pub(super) bytes: u64,
    pub(super) hash: EntryHash,
    pub(super) value: ValueRef,
}

/// Where a value is. Large ones stay on the disk.
#[derive(Clone, Debug)]
pub(super) enum ValueRef {
    Inline(Bytes),
    /// In chunk records of the log. The segment stays readable for as long as it is held here.
    Log(Arc<[LogChunk]>),
    /// In chunks of the state, under this number.
    State(u64),
}

/// The bytes of one chunk in the log.
#[derive(Clone, Debug)]
pub(super) struct LogChunk {
    pub(super) file: Arc<dyn File>,
    pub(super) offset: u64,
    pub(super) bytes: u32,
}

/// One change of a change set, as it is applied.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    pub(super) key: Key,
    pub(super) entry: Option<EntryRef>,
}

/// A change set or an era that is in the log: the configuration after it, and what it changed.
#[derive(Clone)]
pub(super) struct Version {
    pub(super) meta: Meta,
    pub(super) overlay: OrdMap<Key, Slot>,
    pub(super) changes: Arc<[Applied]>,
}

impl Meta {
    /// Of a node without a history.
    pub(super) fn empty(end: LogPosition) -> Self {
        Self {
            revision: Revision::NONE,
            chain: 0,
            digest: Digest::ZERO,
            entries: 0,
            bytes: 0,
            history: Arc::new(History::default()),
            end,
        }
    }

    pub(super) fn position(&self) -> Position {
        Position { revision: self.revision, digest: self.digest }
    }
}

impl EntryRef {
    fn weight(&self, key: &Key) -> u64 {
        key.as_bytes().len() as u64 + self.bytes
    }
}

impl View {
    /// The entry of this key.
    pub(super) fn get(&self, key: &str) -> Result<Option<EntryRef>, ReadError> {
        match self.overlay.get(key) {
            Some(slot) => Ok(slot.entry.clone()),
            None => self.base.get(key),
        }
    }

    /// Applies one change in the overlay and keeps the sums.
    pub(super) fn set(&mut self, key: &Key, entry: Option<EntryRef>, seq: u64) -> Result<(), ReadError> {
        let old = match self.overlay.get(key.as_str()) {
            Some(slot) => slot.entry.as_ref().map(|old| (old.hash, old.bytes)),
            None => self.base.sums_of(key.as_str())?,
        };
        if let Some((hash, bytes)) = old {
            self.meta.digest.remove(&hash);
            self.meta.entries = self.meta.entries.saturating_sub(1);
            self.meta.bytes = self.meta.bytes.saturating_sub(key.as_bytes().len() as u64 + bytes);
        }
        if let Some(entry) = &entry {
            self.meta.digest.add(&entry.hash);
            self.meta.entries += 1;
            self.meta.bytes += entry.weight(key);
        }
        self.overlay.insert(key.clone(), Slot { seq, entry });
        Ok(())
    }

    /// Forgets in the overlay what the state has by now.
    pub(super) fn rebase(&mut self, base: Arc<Base>) {
        let applied = base.meta.revision.seq;
        let kept = self.overlay.iter().filter(|(_, slot)| slot.seq > applied);
        self.overlay = kept.map(|(key, slot)| (key.clone(), slot.clone())).collect();
        self.base = base;
    }

    pub(super) fn version(&self, changes: Vec<Applied>) -> Version {
        Version { meta: self.meta.clone(), overlay: self.overlay.clone(), changes: changes.into() }
    }

    /// The value of an entry of this view, in pieces.
    pub(super) fn open(self: &Arc<Self>, key: &Key, entry: EntryRef) -> ValueReader {
        ValueReader::new(self.base.clone(), self.keys.hasher(key, entry.bytes, entry.secret), entry)
    }
}

/// Pieces of one value. Each is at most [`crate::limits::VALUE_INLINE_BYTES_MAX`] long. The last one comes only if all of
/// them together are what was written.
pub struct ValueReader {
    base: Arc<Base>,
    entry: EntryRef,
    hasher: Option<EntryHasher>,
    read: u64,
    number: u32,
}

impl ValueReader {
    pub(super) fn new(base: Arc<Base>, hasher: EntryHasher, entry: EntryRef) -> Self {
        Self { base, entry, hasher: Some(hasher), read: 0, number: 0 }
    }

    /// Length of the whole value.
    pub fn bytes(&self) -> u64 {
        self.entry.bytes
    }

    /// The whole value.
    ///
    /// # Errors
    /// [`ReadError`]; nothing of the value is returned.
    pub fn whole(self) -> Result<Bytes, ReadError> {
        if let ValueRef::Inline(value) = &self.entry.value {
            return Ok(value.clone());
        }
        let mut whole = Vec::with_capacity(self.entry.bytes as usize);
        for piece in self {
            whole.extend_from_slice(&piece?);
        }
        Ok(whole.into())
    }

    fn piece(&mut self) -> Result<Bytes, ReadError> {
        let number = self.number;
        self.number += 1;
        match &self.entry.value {
            ValueRef::Inline(value) => Ok(value.clone()),
            ValueRef::Log(chunks) => {
                let chunk = chunks.get(number as usize).ok_or_else(|| damaged("the log"))?;
                let mut bytes = vec![0; chunk.bytes as usize];
                chunk.file.read_at(chunk.offset, &mut bytes).map_err(|error| ReadError::Disk(error.to_string()))?;
                Ok(bytes.into())
            }
            ValueRef::State(id) => self.base.chunk(*id, number)?.ok_or_else(|| damaged("the state")),
        }
    }
}

impl Iterator for ValueReader {
    type Item = Result<Bytes, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut hasher = self.hasher.take()?;
        if self.read == self.entry.bytes {
            return None;
        }
        let piece = match self.piece() {
            Ok(piece) => piece,
            Err(error) => return Some(Err(error)),
        };
        hasher.update(&piece);
        self.read += piece.len() as u64;
        let done = self.read >= self.entry.bytes;
        if done && (self.read > self.entry.bytes || hasher.clone().finish() != self.entry.hash) {
            return Some(Err(damaged("a value")));
        }
        self.hasher = Some(hasher);
        Some(Ok(piece))
    }
}

/// Iterates over entries of a [`Snapshot`], in key order.
pub struct Scan {
    entries: Entries,
}

/// Iterates over entries with the way to their values.
pub(super) struct Entries {
    prefix: String,
    overlay: VecDeque<(Key, Slot)>,
    base: Option<super::state::BaseScan>,
    next: Option<(Key, EntryRef)>,
    /// Said first, and then nothing: going on after it would look like the whole.
    failed: Option<ReadError>,
}

impl Scan {
    pub(super) fn new(snapshot: &Snapshot, prefix: &str) -> Self {
        Self { entries: Entries::new(&snapshot.0, prefix) }
    }
}

impl Iterator for Scan {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entries.next()?;
        Some(entry.map(|(key, entry)| Entry { key, bytes: entry.bytes, secret: entry.secret }))
    }
}

impl Entries {
    pub(super) fn new(view: &View, prefix: &str) -> Self {
        let overlay = view.overlay.range::<_, str>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        let overlay = overlay.take_while(|(key, _)| key.as_str().starts_with(prefix));
        let overlay = overlay.map(|(key, slot)| (key.clone(), slot.clone())).collect();
        match view.base.scan(prefix) {
            Ok(base) => Self { prefix: prefix.to_owned(), overlay, base: Some(base), next: None, failed: None },
            Err(error) => Self::failed(error),
        }
    }

    fn failed(error: ReadError) -> Self {
        Self { prefix: String::new(), overlay: VecDeque::new(), base: None, next: None, failed: Some(error) }
    }

    /// The next entry of the state.
    fn peek(&mut self) -> Result<Option<&Key>, ReadError> {
        if self.next.is_none()
            && let Some(base) = &mut self.base
        {
            self.next = base.next().transpose()?.filter(|(key, _)| key.as_str().starts_with(&self.prefix));
            if self.next.is_none() {
                self.base = None;
            }
        }
        Ok(self.next.as_ref().map(|(key, _)| key))
    }

    fn step(&mut self) -> Result<Option<(Key, EntryRef)>, ReadError> {
        loop {
            let order = {
                let over = self.overlay.front().map(|(key, _)| key.clone());
                match (over, self.peek()?) {
                    (None, None) => return Ok(None),
                    (None, Some(_)) => std::cmp::Ordering::Greater,
                    (Some(_), None) => std::cmp::Ordering::Less,
                    (Some(over), Some(base)) => over.cmp(base),
                }
            };
            if order == std::cmp::Ordering::Greater {
                return Ok(self.next.take());
            }
            if order == std::cmp::Ordering::Equal {
                self.next = None;
            }
            if let Some((key, Slot { entry: Some(entry), .. })) = self.overlay.pop_front() {
                return Ok(Some((key, entry)));
            }
        }
    }
}

impl Iterator for Entries {
    type Item = Result<(Key, EntryRef), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        match self.step() {
            Ok(entry) => entry.map(Ok),
            Err(error) => {
                *self = Self::failed(error);
                self.next()
            }
        }
    }
}

/// Chunks of a value of this length.
pub(super) fn chunks_of(bytes: u64) -> u64 {
    bytes.div_ceil(CHUNK_BYTES as u64)
}

pub(super) fn damaged(what: &str) -> ReadError {
    ReadError::Disk(format!("{what} is damaged"))
}
