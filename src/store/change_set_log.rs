//! Change sets in the log. Each is a run of records. This module encodes a change set into its records, and assembles change
//! sets from records of the peer or of a recovery, with every check. Before its last record, no part of a change set is
//! valid.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::log::{Log, LogPosition, Replay, ReplayError, Segment};
use super::mutants::{Mutant, is_active};
use super::version::{AppliedChange, EntryRef, LogChunk, ValueRef, chunk_count};
use super::view::{Version, View};
use crate::model::limits::{
    CHANGE_SET_BYTES_MAX, CHANGES_MAX, CHUNK_BYTES, KEY_BYTES_MAX, PART_BYTES, VALUE_INLINE_BYTES_MAX,
};
use crate::model::{Change, ChangeSet, EntryHash, EntryHasher, Epoch, Era, Key, Revision};
use crate::protocol::wire::record::{
    self, Chunk, HEADER_BYTES, Header, Kind, RecordChange, decode_change_set, decode_chunk, decode_era, decode_part,
    encode_change,
};

/// Assembles change sets, record by record.
pub(super) struct Assembler {
    /// The configuration after the last complete change set or era.
    pub(super) tip: View,
    /// The change set that has begun and is not complete.
    pub(super) partial: Option<PartialChangeSet>,
    /// Checksum of the last record.
    pub(super) chain: u32,
    /// The completed versions, in order.
    pub(super) versions: Vec<Version>,
}

/// A change set of which some records are read.
#[derive(Clone)]
pub(super) struct PartialChangeSet {
    changes: Vec<Arc<AppliedChange>>,
    values: Vec<LargeValue>,
    /// Bytes of keys and values.
    bytes: u64,
    /// Checksum of the last record.
    pub(super) chain: u32,
}

/// A large value of a change set.
#[derive(Clone)]
struct LargeValue {
    key: Key,
    secret: bool,
    bytes: u64,
    /// Bytes read so far.
    read: u64,
    hasher: EntryHasher,
    chunks: Vec<LogChunk>,
}

impl Assembler {
    pub(super) fn new(tip: View, partial: Option<PartialChangeSet>) -> Self {
        let chain = partial.as_ref().map_or(tip.summary.chain, |partial| partial.chain);
        Self { tip, partial, chain, versions: Vec::new() }
    }

    fn complete(&mut self, next: View, changes: Vec<Arc<AppliedChange>>) {
        self.tip = next;
        self.partial = None;
        self.versions.push(self.tip.version(changes));
    }

    fn read_era(&mut self, header: &Header, payload: &[u8], end: LogPosition) -> Result<(), ReplayError> {
        let node = decode_era(payload).map_err(|_| ReplayError::Malformed("an era that cannot be decoded"))?;
        if self.partial.is_some() || header.revision.seq != self.tip.summary.revision.seq {
            return Err(ReplayError::Malformed("an era out of place"));
        }
        let mut next = self.tip.clone();
        let history = Arc::make_mut(&mut next.summary.history);
        if !history.begin(Era { epoch: header.revision.epoch, first_seq: header.revision.seq + 1, node }) {
            return Err(ReplayError::Malformed("an era that does not follow the one before"));
        }
        next.summary.revision = header.revision;
        (next.summary.chain, next.summary.log_end) = (header.crc, end);
        self.complete(next, Vec::new());
        Ok(())
    }

    fn read_chunk(&mut self, payload_at: u64, segment: &Segment, payload: &[u8]) -> Result<(), ReplayError> {
        let chunk = decode_chunk(payload).map_err(|_| ReplayError::Malformed("a chunk that cannot be decoded"))?;
        let keys = self.tip.keys.clone();
        let Some(partial) = &mut self.partial else {
            return Err(ReplayError::Malformed("a chunk outside a change set"));
        };
        if let Some((key, secret, bytes)) = chunk.begins {
            if chunk.index as usize != partial.values.len() {
                return Err(ReplayError::Malformed("a large value out of order"));
            }
            partial.bytes += bytes;
            let hasher = keys.hasher(&key, bytes, secret);
            partial.values.push(LargeValue { key, secret, bytes, read: 0, hasher, chunks: Vec::new() });
        }
        if chunk.index as usize + 1 != partial.values.len() || partial.bytes > CHANGE_SET_BYTES_MAX as u64 {
            return Err(ReplayError::Malformed("a chunk out of bounds"));
        }
        let Some(value) = partial.values.last_mut() else {
            return Err(ReplayError::Malformed("a chunk without a value"));
        };
        let expected = (value.bytes - value.read).min(CHUNK_BYTES as u64);
        if chunk.number as usize != value.chunks.len() || chunk.bytes.len() as u64 != expected {
            return Err(ReplayError::Malformed("a chunk out of order"));
        }
        value.read += expected;
        value.hasher.update(chunk.bytes);
        let offset = payload_at + (payload.len() - chunk.bytes.len()) as u64;
        value.chunks.push(LogChunk { file: segment.file.clone(), offset, bytes: expected as u32 });
        Ok(())
    }

    fn read_changes(&mut self, seq: u64, changes: record::Changes<'_>) -> Result<(), ReplayError> {
        let keys = self.tip.keys.clone();
        let Some(partial) = &mut self.partial else {
            return Err(ReplayError::Malformed("changes outside a change set"));
        };
        for change in changes {
            let (key, entry) = match change.map_err(|_| ReplayError::Malformed("a change that cannot be decoded"))? {
                RecordChange::Delete { key } => (key, None),
                RecordChange::Put { key, value, secret } => {
                    partial.bytes += value.len() as u64;
                    let hash = keys.entry(&key, value, secret);
                    let value_ref = ValueRef::Inline(Bytes::copy_from_slice(value));
                    (key, Some(EntryRef { secret, bytes: value.len() as u64, hash, value: value_ref }))
                }
                RecordChange::Large { key, hash, bytes, index, secret } => {
                    let entry = partial.take_large(&key, hash, bytes, index, secret)?;
                    (key, Some(entry))
                }
            };
            partial.bytes += key.as_bytes().len() as u64;
            partial.changes.push(Arc::new(AppliedChange { seq, key, entry }));
            if partial.changes.len() > CHANGES_MAX || partial.bytes > CHANGE_SET_BYTES_MAX as u64 {
                return Err(ReplayError::Malformed("a change set out of bounds"));
            }
        }
        Ok(())
    }

    fn read_change_set(&mut self, header: &Header, payload: &[u8], end: LogPosition) -> Result<(), ReplayError> {
        let (digest, count, changes) =
            decode_change_set(payload).map_err(|_| ReplayError::Malformed("a change set that cannot be decoded"))?;
        self.read_changes(header.revision.seq, changes)?;
        let Some(partial) = self.partial.take() else {
            return Err(ReplayError::Malformed("a change set without changes"));
        };
        if partial.changes.len() != count || count == 0 {
            return Err(ReplayError::Malformed("a change set whose number of changes is wrong"));
        }
        let mut next = self.tip.clone();
        let applied = partial.changes.len() - usize::from(is_active(Mutant::HalfChangeSet));
        for change in &partial.changes[..applied] {
            let twice = next.overlay.get(change.key.as_str()).is_some_and(|entry| entry.seq == header.revision.seq);
            if twice {
                return Err(ReplayError::Malformed("a change set that changes a key twice"));
            }
            next.set(change.clone())?;
        }
        if next.summary.digest != digest && !is_active(Mutant::HalfChangeSet) {
            return Err(ReplayError::Malformed("a change set whose digest is wrong"));
        }
        next.summary.revision = header.revision;
        (next.summary.chain, next.summary.log_end) = (header.crc, end);
        self.complete(next, partial.changes);
        Ok(())
    }
}

impl PartialChangeSet {
    /// The large value of this number, if its chunks are complete and the change names it correctly.
    fn take_large(
        &mut self,
        key: &Key,
        hash: EntryHash,
        bytes: u64,
        index: u32,
        secret: bool,
    ) -> Result<EntryRef, ReplayError> {
        let Some(value) = self.values.get_mut(index as usize) else {
            return Err(ReplayError::Malformed("a large value without chunks"));
        };
        let fits = value.key == *key && value.secret == secret && value.bytes == bytes && value.read == bytes;
        if !fits || value.hasher.clone().finish() != hash {
            return Err(ReplayError::Malformed("a large value whose content is wrong"));
        }
        let chunks = std::mem::take(&mut value.chunks);
        Ok(EntryRef { secret, bytes, hash, value: ValueRef::Log(chunks.into()) })
    }
}

impl Replay for Assembler {
    fn record(
        &mut self,
        at: u64,
        segment: &Arc<Segment>,
        header: &Header,
        payload: &[u8],
    ) -> Result<bool, ReplayError> {
        if header.prev != self.chain {
            return Err(ReplayError::Malformed("a record that does not follow the one before"));
        }
        let end = LogPosition { segment: segment.ordinal, offset: at + header.frame_bytes() as u64 };
        if header.kind == Kind::Era {
            self.read_era(header, payload, end)?;
            self.chain = header.crc;
            return Ok(true);
        }
        let head = self.tip.summary.revision;
        if header.revision != Revision::new(head.epoch, head.seq + 1) || head.epoch == Epoch::NONE {
            return Err(ReplayError::Malformed("a change set out of place"));
        }
        let empty = || PartialChangeSet { changes: Vec::new(), values: Vec::new(), bytes: 0, chain: 0 };
        let partial = self.partial.get_or_insert_with(empty);
        partial.chain = header.crc;
        match header.kind {
            Kind::Chunk => self.read_chunk(at + HEADER_BYTES as u64, segment, payload)?,
            Kind::Part => self.read_changes(header.revision.seq, decode_part(payload))?,
            Kind::Era | Kind::ChangeSet => self.read_change_set(header, payload, end)?,
        }
        self.chain = header.crc;
        Ok(header.kind == Kind::ChangeSet)
    }
}

/// Appends a change set to the log, after the tip, and applies it to the tip. The caller syncs.
///
/// # Errors
/// What the system says. The caller must cut off what was appended, and drop the tip.
pub(super) fn append(log: &mut Log, tip: &mut View, set: &ChangeSet) -> io::Result<Version> {
    let revision = Revision::new(tip.summary.revision.epoch, tip.summary.revision.seq + 1);
    let changes = last_of_each(set);
    let mut large = Vec::new();
    for change in &changes {
        if let Change::Put { key, value, secret } = change
            && value.len() > VALUE_INLINE_BYTES_MAX
        {
            large.push(append_chunks(log, revision, large.len() as u32, key, value, *secret)?);
        }
    }
    let mut large = large.into_iter();
    let mut applied = Vec::with_capacity(changes.len());
    for change in &changes {
        let entry = match change {
            Change::Delete { .. } => None,
            Change::Put { key, value, secret } => {
                let value_ref = match value.len() > VALUE_INLINE_BYTES_MAX {
                    true => ValueRef::Log(large.next().unwrap_or_default().into()),
                    false => ValueRef::Inline(value.clone()),
                };
                let hash = tip.keys.entry(key, value, *secret);
                Some(EntryRef { secret: *secret, bytes: value.len() as u64, hash, value: value_ref })
            }
        };
        let change = Arc::new(AppliedChange { seq: revision.seq, key: change.key().clone(), entry });
        tip.set(change.clone()).map_err(|error| io::Error::other(error.to_string()))?;
        applied.push(change);
    }
    append_changes(log, revision, tip, &applied)?;
    tip.summary.revision = revision;
    (tip.summary.chain, tip.summary.log_end) = (log.writer.chain(), log.position());
    Ok(tip.version(applied))
}

/// Most bytes that a change set can need in the log.
pub(super) fn appended_bytes_max(set: &ChangeSet) -> u64 {
    let frame = (HEADER_BYTES + 64) as u64;
    let chunk = |value: u64| chunk_count(value) * frame + (KEY_BYTES_MAX + 64) as u64;
    let change = |change: &Change| {
        let value = change.bytes() as u64;
        value + 64 + if value > VALUE_INLINE_BYTES_MAX as u64 { chunk(value) } else { 0 }
    };
    let bytes: u64 = set.changes().iter().map(change).sum();
    bytes + (bytes / PART_BYTES as u64 + 2) * frame
}

/// The last change of each key, in the order of the change set.
fn last_of_each(set: &ChangeSet) -> Vec<&Change> {
    let last: HashMap<&Key, usize> = set.changes().iter().enumerate().map(|(i, change)| (change.key(), i)).collect();
    let kept = set.changes().iter().enumerate().filter(|(i, change)| last.get(change.key()) == Some(i));
    kept.map(|(_, change)| change).collect()
}

/// Appends the chunks of a large value. Returns where they are.
fn append_chunks(
    log: &mut Log,
    revision: Revision,
    index: u32,
    key: &Key,
    value: &[u8],
    secret: bool,
) -> io::Result<Vec<LogChunk>> {
    let file = log.current()?.file.clone();
    let mut chunks = Vec::with_capacity(chunk_count(value.len() as u64) as usize);
    for (number, bytes) in value.chunks(CHUNK_BYTES).enumerate() {
        let begins = (number == 0).then(|| (key.clone(), secret, value.len() as u64));
        let chunk = Chunk { index, number: number as u32, begins, bytes };
        let offset = log.encode(|writer, out, base| base + writer.chunk(out, revision, &chunk) as u64)?;
        chunks.push(LogChunk { file: file.clone(), offset, bytes: bytes.len() as u32 });
    }
    Ok(chunks)
}

/// Appends the records with the changes, of which the last one completes the change set.
fn append_changes(log: &mut Log, revision: Revision, tip: &View, changes: &[Arc<AppliedChange>]) -> io::Result<()> {
    let mut encoded = Vec::new();
    let mut index = 0;
    for change in changes {
        if encoded.len() >= PART_BYTES {
            log.encode(|writer, out, _| writer.part(out, revision, &encoded))?;
            encoded.clear();
        }
        let key = change.key.clone();
        match &change.entry {
            None => encode_change(&mut encoded, &RecordChange::Delete { key }),
            Some(EntryRef { secret, bytes, hash, value }) => match value {
                ValueRef::Inline(value) => {
                    encode_change(&mut encoded, &RecordChange::Put { key, value, secret: *secret });
                }
                ValueRef::Log(_) | ValueRef::State(_) => {
                    let large = RecordChange::Large { key, hash: *hash, bytes: *bytes, index, secret: *secret };
                    encode_change(&mut encoded, &large);
                    index += 1;
                }
            },
        }
    }
    let digest = tip.summary.digest;
    log.encode(|writer, out, _| writer.change_set(out, revision, &digest, changes.len(), &encoded))
}
