//! Change sets as runs of records: encoding them into the log, and putting them together again from records of the
//! peer or of a recovery, with every check on the way. Nothing of a change set counts before its last record.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::ReadError;
use super::log::{Log, LogPosition, Replay, Segment, Unfit};
use super::mutants::{Mutant, made};
use super::view::{Applied, EntryRef, LogChunk, ValueRef, Version, View, chunks_of};
use crate::model::limits::{
    CHANGE_SET_BYTES_MAX, CHANGES_MAX, CHUNK_BYTES, KEY_BYTES_MAX, PART_BYTES, VALUE_INLINE_BYTES_MAX,
};
use crate::model::{Change, ChangeSet, Conflict, EntryHash, EntryHasher, Epoch, Era, Expected, Guard, Key, Revision};
use crate::protocol::wire::record::{
    self, Chunk, HEADER_BYTES, Header, Kind, RecordChange, decode_change_set, decode_chunk, decode_era, decode_part,
    encode_change,
};

/// Puts change sets together, record by record.
pub(super) struct Assembler {
    /// The configuration up to the last whole change set or era.
    pub(super) tip: View,
    /// A change set that has begun.
    pub(super) run: Option<Run>,
    /// Checksum of the last record.
    pub(super) chain: u32,
    /// What became whole, in order.
    pub(super) done: Vec<Version>,
}

/// A change set of which not all records are there.
#[derive(Clone)]
pub(super) struct Run {
    changes: Vec<Applied>,
    values: Vec<Value>,
    bytes: u64,
    /// Checksum of its last record so far.
    pub(super) chain: u32,
}

/// A large value of a change set.
#[derive(Clone)]
struct Value {
    key: Key,
    secret: bool,
    bytes: u64,
    got: u64,
    hasher: EntryHasher,
    chunks: Vec<LogChunk>,
}

impl Assembler {
    pub(super) fn new(tip: View, run: Option<Run>) -> Self {
        let chain = run.as_ref().map_or(tip.meta.chain, |run| run.chain);
        Self { tip, run, chain, done: Vec::new() }
    }

    fn whole(&mut self, next: View, changes: Vec<Applied>) {
        self.tip = next;
        self.run = None;
        self.done.push(self.tip.version(changes));
    }

    fn era(&mut self, header: &Header, payload: &[u8], end: LogPosition) -> Result<(), Unfit> {
        let node = decode_era(payload).map_err(|_| Unfit::Malformed("an era that says not whose it is"))?;
        if self.run.is_some() || header.revision.seq != self.tip.meta.revision.seq {
            return Err(Unfit::Malformed("an era out of place"));
        }
        let mut next = self.tip.clone();
        let history = Arc::make_mut(&mut next.meta.history);
        if !history.begin(Era { epoch: header.revision.epoch, first_seq: header.revision.seq + 1, node }) {
            return Err(Unfit::Malformed("an era that does not follow the one before"));
        }
        next.meta.revision = header.revision;
        (next.meta.chain, next.meta.end) = (header.crc, end);
        self.whole(next, Vec::new());
        Ok(())
    }

    fn chunk(&mut self, payload_at: u64, segment: &Segment, payload: &[u8]) -> Result<(), Unfit> {
        let chunk = decode_chunk(payload).map_err(|_| Unfit::Malformed("a chunk that makes no sense"))?;
        let keys = self.tip.keys.clone();
        let Some(run) = &mut self.run else { return Err(Unfit::Malformed("a chunk of no change set")) };
        if let Some((key, secret, bytes)) = chunk.begins {
            if chunk.index as usize != run.values.len() {
                return Err(Unfit::Malformed("a large value out of order"));
            }
            run.bytes += bytes;
            let hasher = keys.hasher(&key, bytes, secret);
            run.values.push(Value { key, secret, bytes, got: 0, hasher, chunks: Vec::new() });
        }
        if chunk.index as usize + 1 != run.values.len() || run.bytes > CHANGE_SET_BYTES_MAX as u64 {
            return Err(Unfit::Malformed("a chunk out of bounds"));
        }
        let Some(value) = run.values.last_mut() else { return Err(Unfit::Malformed("a chunk of no value")) };
        let expected = (value.bytes - value.got).min(CHUNK_BYTES as u64);
        if chunk.number as usize != value.chunks.len() || chunk.bytes.len() as u64 != expected {
            return Err(Unfit::Malformed("a chunk out of order"));
        }
        value.got += expected;
        value.hasher.update(chunk.bytes);
        let offset = payload_at + (payload.len() - chunk.bytes.len()) as u64;
        value.chunks.push(LogChunk { file: segment.file.clone(), offset, bytes: expected as u32 });
        Ok(())
    }

    fn changes(&mut self, changes: record::Changes<'_>) -> Result<(), Unfit> {
        let keys = self.tip.keys.clone();
        let Some(run) = &mut self.run else { return Err(Unfit::Malformed("changes of no change set")) };
        for change in changes {
            let applied = match change.map_err(|_| Unfit::Malformed("a change that makes no sense"))? {
                RecordChange::Delete { key } => Applied { key, entry: None },
                RecordChange::Put { key, value, secret } => {
                    run.bytes += value.len() as u64;
                    let hash = keys.entry(&key, value, secret);
                    let value_ref = ValueRef::Inline(Bytes::copy_from_slice(value));
                    Applied { key, entry: Some(EntryRef { secret, bytes: value.len() as u64, hash, value: value_ref }) }
                }
                RecordChange::Large { key, hash, bytes, index, secret } => {
                    let entry = run.large(&key, hash, bytes, index, secret)?;
                    Applied { key, entry: Some(entry) }
                }
            };
            run.bytes += applied.key.as_bytes().len() as u64;
            run.changes.push(applied);
            if run.changes.len() > CHANGES_MAX || run.bytes > CHANGE_SET_BYTES_MAX as u64 {
                return Err(Unfit::Malformed("a change set out of bounds"));
            }
        }
        Ok(())
    }

    fn change_set(&mut self, header: &Header, payload: &[u8], end: LogPosition) -> Result<(), Unfit> {
        let (digest, count, changes) =
            decode_change_set(payload).map_err(|_| Unfit::Malformed("a change set that makes no sense"))?;
        self.changes(changes)?;
        let Some(run) = self.run.take() else { return Err(Unfit::Malformed("a change set without changes")) };
        if run.changes.len() != count || count == 0 {
            return Err(Unfit::Malformed("a change set that lacks changes"));
        }
        let mut next = self.tip.clone();
        let kept = run.changes.len() - usize::from(made(Mutant::HalfChangeSet));
        for change in &run.changes[..kept] {
            let twice = next.overlay.get(&change.key).is_some_and(|slot| slot.seq == header.revision.seq);
            if twice {
                return Err(Unfit::Malformed("a change set that changes a key twice"));
            }
            next.set(&change.key, change.entry.clone(), header.revision.seq)?;
        }
        if next.meta.digest != digest && !made(Mutant::HalfChangeSet) {
            return Err(Unfit::Malformed("the digest after a change set is another"));
        }
        next.meta.revision = header.revision;
        (next.meta.chain, next.meta.end) = (header.crc, end);
        self.whole(next, run.changes);
        Ok(())
    }
}

impl Run {
    fn large(&mut self, key: &Key, hash: EntryHash, bytes: u64, index: u32, secret: bool) -> Result<EntryRef, Unfit> {
        let Some(value) = self.values.get_mut(index as usize) else {
            return Err(Unfit::Malformed("a large value that did not come"));
        };
        let fits = value.key == *key && value.secret == secret && value.bytes == bytes && value.got == bytes;
        if !fits || value.hasher.clone().finish() != hash {
            return Err(Unfit::Malformed("a large value that is not what it should be"));
        }
        let chunks = std::mem::take(&mut value.chunks);
        Ok(EntryRef { secret, bytes, hash, value: ValueRef::Log(chunks.into()) })
    }
}

impl Replay for Assembler {
    fn record(&mut self, at: u64, segment: &Arc<Segment>, header: &Header, payload: &[u8]) -> Result<bool, Unfit> {
        if header.prev != self.chain {
            return Err(Unfit::Malformed("a record that does not follow the one before"));
        }
        let end = LogPosition { segment: segment.ordinal, offset: at + header.frame_bytes() as u64 };
        if header.kind == Kind::Era {
            self.era(header, payload, end)?;
            self.chain = header.crc;
            return Ok(true);
        }
        let head = self.tip.meta.revision;
        if header.revision != Revision::new(head.epoch, head.seq + 1) || head.epoch == Epoch::NONE {
            return Err(Unfit::Malformed("a change set out of place"));
        }
        let empty = || Run { changes: Vec::new(), values: Vec::new(), bytes: 0, chain: 0 };
        let run = self.run.get_or_insert_with(empty);
        run.chain = header.crc;
        match header.kind {
            Kind::Chunk => self.chunk(at + HEADER_BYTES as u64, segment, payload)?,
            Kind::Part => self.changes(decode_part(payload))?,
            Kind::Era | Kind::ChangeSet => self.change_set(header, payload, end)?,
        }
        self.chain = header.crc;
        Ok(header.kind == Kind::ChangeSet)
    }
}

/// The guard of a change set that does not hold, if any.
///
/// # Errors
/// The state could not be read.
pub(super) fn conflict(tip: &View, set: &ChangeSet) -> Result<Option<Conflict>, ReadError> {
    for guard in set.guards() {
        match guard {
            Guard::Head(expected) if *expected == tip.meta.revision => {}
            Guard::Head(expected) => {
                return Ok(Some(Conflict::Head { expected: *expected, head: tip.meta.revision }));
            }
            Guard::Key { key, expected } => {
                let entry = tip.get(key.as_str())?;
                let holds = match (expected, &entry) {
                    (Expected::Absent, None) | (Expected::Present, Some(_)) => true,
                    // The hash covers the value: it need not be read.
                    (Expected::Value(value), Some(entry)) => {
                        value.len() as u64 == entry.bytes && tip.keys.entry(key, value, entry.secret) == entry.hash
                    }
                    _ => false,
                };
                if !holds {
                    return Ok(Some(Conflict::Key { key: key.clone() }));
                }
            }
        }
    }
    Ok(None)
}

/// Encodes a change set into the log, right after the tip, and applies it to the tip. The caller syncs.
///
/// # Errors
/// What the system says; what was appended is to be cut off, and the tip to be dropped.
pub(super) fn append(log: &mut Log, tip: &mut View, set: &ChangeSet) -> io::Result<Version> {
    let revision = Revision::new(tip.meta.revision.epoch, tip.meta.revision.seq + 1);
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
        tip.set(change.key(), entry.clone(), revision.seq).map_err(|error| io::Error::other(error.to_string()))?;
        applied.push(Applied { key: change.key().clone(), entry });
    }
    append_changes(log, revision, tip, &applied)?;
    tip.meta.revision = revision;
    (tip.meta.chain, tip.meta.end) = (log.writer.chain(), log.position());
    Ok(tip.version(applied))
}

/// Bytes that a change set needs in the log at the most.
pub(super) fn appended_bytes_max(set: &ChangeSet) -> u64 {
    let frame = (HEADER_BYTES + 64) as u64;
    let chunk = |value: u64| chunks_of(value) * frame + (KEY_BYTES_MAX + 64) as u64;
    let change = |change: &Change| {
        let value = change.bytes() as u64;
        value + 64 + if value > VALUE_INLINE_BYTES_MAX as u64 { chunk(value) } else { 0 }
    };
    let bytes: u64 = set.changes().iter().map(change).sum();
    bytes + (bytes / PART_BYTES as u64 + 2) * frame
}

/// A later change of the same key wins; the order of the rest stays.
fn last_of_each(set: &ChangeSet) -> Vec<&Change> {
    let last: HashMap<&Key, usize> = set.changes().iter().enumerate().map(|(i, change)| (change.key(), i)).collect();
    let kept = set.changes().iter().enumerate().filter(|(i, change)| last.get(change.key()) == Some(i));
    kept.map(|(_, change)| change).collect()
}

fn append_chunks(
    log: &mut Log,
    revision: Revision,
    index: u32,
    key: &Key,
    value: &[u8],
    secret: bool,
) -> io::Result<Vec<LogChunk>> {
    let file = log.current()?.file.clone();
    let mut chunks = Vec::with_capacity(chunks_of(value.len() as u64) as usize);
    for (number, bytes) in value.chunks(CHUNK_BYTES).enumerate() {
        let begins = (number == 0).then(|| (key.clone(), secret, value.len() as u64));
        let chunk = Chunk { index, number: number as u32, begins, bytes };
        let offset = log.write(|writer, out, base| base + writer.chunk(out, revision, &chunk) as u64)?;
        chunks.push(LogChunk { file: file.clone(), offset, bytes: bytes.len() as u32 });
    }
    Ok(chunks)
}

fn append_changes(log: &mut Log, revision: Revision, tip: &View, changes: &[Applied]) -> io::Result<()> {
    let mut encoded = Vec::new();
    let mut index = 0;
    for change in changes {
        if encoded.len() >= PART_BYTES {
            log.write(|writer, out, _| writer.part(out, revision, &encoded))?;
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
    let digest = tip.meta.digest;
    log.write(|writer, out, _| writer.change_set(out, revision, &digest, changes.len(), &encoded))
}
