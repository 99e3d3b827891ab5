//! What the model of the store holds: change sets of one entry, records, and configurations at a position.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::campaign::simulator::random::mix;
use crate::model::{Digest, DigestKey, EntryHash, Era, History, Key, PairId, Position, Revision};

/// What a caller wants changed. Its number is unique over both nodes, so that the oracle finds it anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose it is, for the oracle only.
    pub id: u64,
    /// Which entry.
    pub key: u8,
    /// Its value; nothing removes it.
    pub value: Option<u64>,
    /// Only if the entry is there.
    pub guarded: bool,
}

/// One record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Checksum of the record before it.
    pub chains_to: u32,
    /// What it is.
    pub content: RecordBody,
    /// Where it leads.
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
    /// Where the real store stands beside the model: the digest that it must have.
    real: Option<(Arc<DigestCache>, Digest)>,
}

/// RealStore digests of the model's entries, each made once.
#[derive(Debug)]
pub struct DigestCache {
    key: DigestKey,
    known: Mutex<BTreeMap<(u8, u64), EntryHash>>,
}

/// Something on its way from one node to the other, and the bytes that stand for it where the real store made them.
#[derive(Clone, Debug)]
pub struct Sent<T> {
    /// As the model has it.
    pub what: Arc<[T]>,
    /// As the real store has it.
    pub bytes: Vec<Bytes>,
}

/// What of a configuration is needed to go on from it.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Where.
    pub position: Position,
    /// Lineage up to there.
    pub history: History,
    /// Checksum of its record.
    pub chain: u32,
    /// RecordBody.
    pub state: State,
}

/// The key that stands for this one in the real store.
pub fn key_of(key: u8) -> String {
    format!("entry/{key:02}")
}

/// The value that stands for this one in the real store: most are short, some fill pages, a few are stored in chunks. And
/// whether it is secret.
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
    /// For the digests of this pair.
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
    /// Nothing but the model's.
    pub fn modelled(what: Vec<T>) -> Self {
        Self { what: what.into(), bytes: Vec::new() }
    }
}

impl<T> Deref for Sent<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.what
    }
}

impl State {
    /// Empty.
    pub fn new(digests: Option<&Arc<DigestCache>>) -> Self {
        Self { entries: BTreeMap::new(), sum: 0, real: digests.map(|digests| (digests.clone(), Digest::ZERO)) }
    }

    /// What digests are made with, where they are real ones.
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

    /// What it holds.
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
    /// Before anything.
    pub fn none(digests: Option<&Arc<DigestCache>>) -> Self {
        Self { position: Position::NONE, history: History::default(), chain: 0, state: State::new(digests) }
    }

    /// The record that leads on from here with this content.
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

    /// Goes on by a record. `false`, and nothing changed, where it does not follow or is not what it says.
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
