//! What the model of the store holds: change sets of one entry, log records, and configurations at a position.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::campaign::simulator::random::mix;
use crate::model::{self, Digest, DigestKey, EntryHash, Era, History, Key, PairId, Position, Revision};

/// Bytes that one record or entry stands for: a few of them fill one step of a push.
pub const ITEM_BYTES: usize = 90_000;

/// A change set of one entry. Its number is unique over both nodes, so that the oracle finds it anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number.
    pub id: u64,
    /// Which entry.
    pub key: u8,
    /// The new value; `None` removes the entry.
    pub value: Option<u64>,
    /// Only if the entry is there.
    pub guarded: bool,
}

/// One record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Checksum of the record before it.
    pub chains_to: u32,
    /// What it holds.
    pub content: RecordBody,
    /// The position that it leads to.
    pub position: Position,
}

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordBody {
    /// Opens an era.
    Era(Era),
    /// A change set.
    Set(Change),
}

/// A configuration at one position.
#[derive(Clone, Debug)]
pub struct State {
    /// Its entries.
    pub entries: BTreeMap<u8, u64>,
    sum: u128,
    /// The digest that the real store must have, where there is one.
    real: Option<(Arc<DigestCache>, Digest)>,
}

/// Real digests of the model's entries, each made once.
#[derive(Debug)]
pub struct DigestCache {
    key: DigestKey,
    known: Mutex<BTreeMap<(u8, u64), EntryHash>>,
}

/// Records or entries on their way from one node to the other, with the real store's bytes for them where there is one.
#[derive(Clone, Debug)]
pub struct Sent<T> {
    /// As the model has them.
    pub items: Arc<[T]>,
    /// As the real store has them.
    pub bytes: Vec<Bytes>,
}

/// Bulk on its way, or received.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Log records.
    Records(Sent<Record>),
    /// Items of a snapshot.
    Snapshot(Sent<SnapshotItem>),
}

/// One item of a snapshot on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotItem {
    /// An entry.
    Entry(u8, u64),
    /// The snapshot goes on where another one was cut.
    Continue {
        /// After this key.
        after: Key,
        /// What changed after this follows first.
        from: Revision,
    },
    /// There is no such entry any more.
    Delete(u8),
    /// The buckets that differ. `None`: too many do.
    Compare(Option<BTreeSet<usize>>),
    /// The entries in them, by their hashes. None at the end.
    Hashes(Vec<(u8, u64)>),
}

/// The bucket of a key in the real store.
pub fn bucket_of(key: u8) -> usize {
    Key::new(key_of(key)).map_or(0, |key| model::bucket_of(&key))
}

/// A configuration at a position, with what is needed to append to it.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The position.
    pub position: Position,
    /// The history up to there.
    pub history: History,
    /// Checksum of its record.
    pub chain: u32,
    /// RecordBody.
    pub state: State,
}

/// The key in the real store.
pub fn key_of(key: u8) -> String {
    format!("entry/{key:02}")
}

/// The value in the real store, and whether it is secret. Most are short, some fill pages, a few are stored in chunks.
pub fn value_of(value: u64) -> (Bytes, bool) {
    let len = match mix(value) % 48 {
        0 => 300_000,
        1..=3 => 20_000,
        spread => (spread * 13) as usize,
    };
    let bytes = value.to_le_bytes().into_iter().chain([0x5a]).cycle().take(8 + len);
    (bytes.collect::<Vec<_>>().into(), value.is_multiple_of(5))
}

impl DigestCache {
    /// Of a pair, whose id is the key of its digests.
    pub fn new(pair: &PairId) -> Self {
        Self { key: DigestKey::of(pair), known: Mutex::default() }
    }

    fn hash(&self, key: u8, value: u64) -> Option<EntryHash> {
        if let Some(hash) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&(key, value)) {
            return Some(*hash);
        }
        let (bytes, secret) = value_of(value);
        let hash = self.key.entry(&Key::new(key_of(key)).ok()?, &bytes, secret);
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert((key, value), hash);
        Some(hash)
    }
}

impl<T> Sent<T> {
    /// Without bytes of a real store.
    pub fn modelled(items: Vec<T>) -> Self {
        Self { items: items.into(), bytes: Vec::new() }
    }
}

impl<T> Deref for Sent<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl State {
    /// Empty.
    pub fn new(digests: Option<&Arc<DigestCache>>) -> Self {
        Self { entries: BTreeMap::new(), sum: 0, real: digests.map(|digests| (digests.clone(), Digest::ZERO)) }
    }

    /// What makes real digests, where there are any.
    pub fn digests(&self) -> Option<&Arc<DigestCache>> {
        self.real.as_ref().map(|(digests, _)| digests)
    }

    /// Sets or removes an entry.
    pub fn apply(&mut self, key: u8, value: Option<u64>) {
        let old = match value {
            Some(value) => self.entries.insert(key, value),
            None => self.entries.remove(&key),
        };
        for (value, add) in [(old, false), (value, true)] {
            let Some(value) = value else { continue };
            let hash = u128::from(mix(value ^ mix(u64::from(key) + 1))) << 32 | u128::from(mix(value) >> 32);
            self.sum = if add { self.sum.wrapping_add(hash) } else { self.sum.wrapping_sub(hash) };
            if let Some((digests, digest)) = &mut self.real
                && let Some(hash) = digests.hash(key, value)
            {
                if add { digest.add(&hash) } else { digest.remove(&hash) }
            }
        }
    }

    /// Its digest.
    pub fn digest(&self) -> Digest {
        if let Some((_, digest)) = &self.real {
            return *digest;
        }
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.sum.to_le_bytes());
        Digest(bytes)
    }
}

impl Record {
    /// The checksum to which the next record chains.
    fn chain(&self) -> u32 {
        let (tag, number) = match self.content {
            RecordBody::Era(era) => (1, era.epoch.as_u64() ^ era.first_seq),
            RecordBody::Set(change) => (2, change.id ^ mix(change.value.unwrap_or(u64::MAX)) ^ u64::from(change.key)),
        };
        mix(u64::from(self.chains_to) ^ mix(number) ^ tag) as u32
    }
}

impl Checkpoint {
    /// The empty configuration.
    pub fn none(digests: Option<&Arc<DigestCache>>) -> Self {
        Self { position: Position::NONE, history: History::default(), chain: 0, state: State::new(digests) }
    }

    /// The record that holds this and follows here.
    pub fn next(&self, content: RecordBody) -> Record {
        let mut state = self.state.clone();
        let revision = match content {
            RecordBody::Era(era) => Revision::new(era.epoch, self.position.revision.seq),
            RecordBody::Set(change) => {
                state.apply(change.key, change.value);
                Revision::new(
                    self.history.last().map_or(self.position.revision.epoch, |era| era.epoch),
                    self.position.revision.seq + 1,
                )
            }
        };
        Record { chains_to: self.chain, content, position: Position { revision, digest: state.digest() } }
    }

    /// Appends a record. Returns `false`, and changes nothing, where the record does not follow or lies about its position.
    pub fn advance(&mut self, record: &Record) -> bool {
        if record.chains_to != self.chain || self.next(record.content) != *record {
            return false;
        }
        match record.content {
            RecordBody::Era(era) => {
                if !self.history.begin(era) {
                    return false;
                }
            }
            RecordBody::Set(change) => self.state.apply(change.key, change.value),
        }
        self.chain = record.chain();
        self.position = record.position;
        true
    }
}
