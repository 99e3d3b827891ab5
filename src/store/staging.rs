//! Loads the pieces of a full push into a new state file, and goes on with one that was cut.
//!
//! | what is staged | a new full push begins | its first item says that it goes on there | it begins with anything else |
//! |---|---|---|---|
//! | nothing | loads from the first key | malformed | loads |
//! | a copy of the live state | begun anew | - | - |
//! | a part, in memory or kept by an earlier run | offered | what changed is replaced, then loads behind it | dropped, loads from the first key |

use std::io;
use std::sync::Arc;

use super::comparison::Comparison;
use super::log::LogPosition;
use super::snapshot_piece::{HashedEntry, SnapshotPiece};
use super::state::{LoadedEntry, Loader, StagedNote, StateFile, chunked_row, inline_row};
use super::version::Summary;
use crate::model::limits::CHUNK_BYTES;
use crate::model::{DigestKey, EntryHash, EntryHasher, Key};
use crate::protocol::wire::record::{Item, decode_items};
use crate::protocol::wire::{ResumePoint, SnapshotHeader};

/// How far a received full push is.
pub(super) enum Staged {
    /// There is none.
    Nothing,
    /// An earlier run left a part of one. Whether it is of use is found out when a full push begins.
    Left,
    /// Its pieces are being loaded.
    Loading(Box<Staging>),
    /// It is found out what differs from it.
    Comparing(Box<Comparison>),
    /// All pieces came, and the content is what its header said.
    Verified { state: StateFile, generation: u64 },
}

impl Staged {
    /// Takes it out of use. Returns the generation of its file, where it has one open.
    pub(super) fn close(self) -> Option<u64> {
        match self {
            Self::Nothing | Self::Left | Self::Comparing(_) => None,
            Self::Loading(staging) => Some(staging.generation),
            Self::Verified { mut state, generation } => {
                state.close();
                Some(generation)
            }
        }
    }
}

/// An import that is being loaded, or waits to be committed.
pub(super) struct Import {
    pub(super) number: u64,
    pub(super) staged: Staged,
}

/// A full push that is being loaded.
pub(super) struct Staging {
    pub(super) generation: u64,
    header: SnapshotHeader,
    keys: DigestKey,
    loader: Loader,
    /// How much is loaded.
    point: Option<ResumePoint>,
    /// It began with a copy of the live state: a part of it is of no use.
    of_base: bool,
    /// What is wanted of the source, until it is said.
    wants: Option<Vec<u8>>,
    phase: Phase,
    /// The first item of the next piece was looked at already.
    skips_first: bool,
    /// The large value that is being loaded.
    value: Option<PartialValue>,
    /// Most bytes of keys and values: of a push that has more, nothing more is loaded.
    bytes_max: u64,
    /// Whether something came that no snapshot contains.
    malformed: bool,
}

/// What the next item may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The source has not said yet whether it goes on behind what is loaded.
    Offered,
    /// A change of what was loaded before, or an entry behind it.
    Patching,
    /// An entry behind what is loaded.
    Loading,
}

/// A large value of which some chunks are loaded.
struct PartialValue {
    key: Key,
    secret: bool,
    bytes: u64,
    /// Bytes loaded so far.
    loaded: u64,
    /// Number of the value in the state.
    id: u64,
    /// Number of the next chunk.
    next_chunk: u32,
    hasher: EntryHasher,
}

impl Staging {
    pub(super) fn new(state: StateFile, generation: u64, header: &SnapshotHeader, keys: DigestKey) -> Self {
        let (header, loader, bytes_max) = (header.clone(), Loader::new(state), header.bytes);
        let (point, phase) = (None, Phase::Loading);
        Self::of(generation, header, keys, loader, point, phase, bytes_max)
    }

    fn of(
        generation: u64,
        header: SnapshotHeader,
        keys: DigestKey,
        loader: Loader,
        point: Option<ResumePoint>,
        phase: Phase,
        bytes_max: u64,
    ) -> Self {
        let (of_base, wants, skips_first, value, malformed) = (false, None, false, None, false);
        Self {
            generation,
            header,
            keys,
            loader,
            point,
            of_base,
            wants,
            phase,
            skips_first,
            value,
            bytes_max,
            malformed,
        }
    }

    /// A copy of the live state, without what the source does not have.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn of_base(
        state: StateFile,
        generation: u64,
        comparison: &Comparison,
        keys: DigestKey,
    ) -> io::Result<Self> {
        let loader = Loader::of_base(state, |key, hash| comparison.is_gone(key, hash))?;
        let header = comparison.header.clone();
        let bytes_max = header.bytes.saturating_add(loader.summary().bytes);
        Ok(Self { of_base: true, ..Self::of(generation, header, keys, loader, None, Phase::Patching, bytes_max) })
    }

    /// This is wanted of the source.
    pub(super) fn want(&mut self, wants: Vec<u8>) {
        self.wants = Some(wants);
    }

    /// What is wanted of the source, once.
    pub(super) fn take_wants(&mut self) -> Option<Vec<u8>> {
        self.wants.take()
    }

    /// What an earlier run kept. `None` if it is of no use here.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn reopen(
        state: StateFile,
        generation: u64,
        header: &SnapshotHeader,
        keys: DigestKey,
    ) -> io::Result<Option<Self>> {
        let Some((loader, note)) = Loader::reopen(state)?.filter(|(_, note)| note.pair == pair_of(&keys)) else {
            return Ok(None);
        };
        Ok(Some(Self::of(generation, header.clone(), keys, loader, Some(note.point), Phase::Loading, 0)))
    }

    /// How much is loaded.
    pub(super) fn point(&self) -> Option<&ResumePoint> {
        self.point.as_ref().filter(|_| !self.malformed)
    }

    /// Entries loaded, and the bytes of their keys and values.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.loader.summary().entries, self.loader.summary().bytes)
    }

    /// The entries that were committed.
    #[cfg(test)]
    pub(super) fn snapshot(&self) -> io::Result<Arc<super::state::StateSnapshot>> {
        self.loader.snapshot()
    }

    /// Another full push begins. What is loaded stays until its first item says whether it goes on there.
    ///
    /// # Errors
    /// As [`Staging::write`].
    pub(super) fn offer(&mut self, header: &SnapshotHeader) -> io::Result<()> {
        if let Some(value) = self.value.take() {
            self.loader.drop_values(value.id)?;
        }
        self.bytes_max = header.bytes.saturating_add(self.loader.summary().bytes);
        (self.header, self.phase) = (header.clone(), Phase::Offered);
        Ok(())
    }

    /// Whether the source has not said yet whether it goes on behind what is loaded.
    pub(super) fn is_offered(&self) -> bool {
        self.phase == Phase::Offered
    }

    /// The header of the full push under way.
    pub(super) fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// Whether the first item of the first piece says that the push goes on behind what is loaded. Then it is passed over when the
    /// piece is written.
    pub(super) fn goes_on(&mut self, piece: &SnapshotPiece) -> bool {
        let Some(point) = &mut self.point else { return false };
        let first = decode_items(&piece.bytes).next();
        let goes_on =
            matches!(first, Some(Ok(Item::Continue { after, from })) if (&after, from) == (&point.after, point.from));
        if goes_on {
            point.upto = self.header.position.revision;
            (self.phase, self.skips_first) = (Phase::Patching, true);
        }
        goes_on
    }

    /// Makes what is loaded durable, so that a later run can go on behind it. Does nothing before the first entry.
    ///
    /// # Errors
    /// As [`Staging::write`].
    pub(super) fn keep(&mut self) -> io::Result<()> {
        let Some(point) = self.point().cloned() else { return Ok(()) };
        let note = StagedNote { pair: pair_of(&self.keys), point };
        self.loader.keep(&note, self.value.as_ref().map(|value| value.id))
    }

    /// Loads a piece. If it is malformed, [`Staging::finish`] says that the content is wrong.
    ///
    /// # Errors
    /// What the system says. The staging must be dropped.
    pub(super) fn write(&mut self, piece: &SnapshotPiece) -> io::Result<()> {
        if self.loader.summary().bytes > self.bytes_max {
            self.malformed = true;
        }
        if self.malformed {
            return Ok(());
        }
        let mut hashes = piece.hashes();
        // Inline entries that follow each other go to the state together.
        let mut run: Vec<LoadedEntry<'_>> = Vec::new();
        for item in decode_items(&piece.bytes).skip(usize::from(std::mem::take(&mut self.skips_first))) {
            match item {
                Ok(Item::Entry { key, value, secret }) => {
                    let hashed = hashes.next().unwrap_or_else(|| HashedEntry::of(&self.keys, &key, value, secret));
                    let entry = LoadedEntry { key, secret, hash: hashed.hash, bucket: hashed.bucket, value };
                    if self.value.is_none() && self.follows(run.last(), &entry.key) {
                        run.push(entry);
                    } else {
                        self.load_run(std::mem::take(&mut run))?;
                        self.replace(&entry)?;
                    }
                }
                Ok(item) => {
                    self.load_run(std::mem::take(&mut run))?;
                    self.load(item)?;
                }
                Err(_) => self.malformed = true,
            }
            if self.malformed {
                break;
            }
        }
        self.load_run(run)
    }

    fn load_run(&mut self, run: Vec<LoadedEntry<'_>>) -> io::Result<()> {
        let last = run.last().map(|last| last.key.clone());
        self.loader.add_inline(run)?;
        if let Some(last) = last {
            self.loaded_up_to(last);
        }
        Ok(())
    }

    /// Everything at or before this key is as of this full push.
    fn loaded_up_to(&mut self, after: Key) {
        if self.of_base {
            return;
        }
        let revision = self.header.position.revision;
        self.point = Some(ResumePoint { after, from: revision, upto: revision });
        self.phase = Phase::Loading;
    }

    /// Whether this key comes after the last one of the run, or after the last one that was loaded.
    fn follows(&self, last: Option<&LoadedEntry<'_>>, key: &Key) -> bool {
        last.map_or_else(|| self.loader.follows(key), |last| last.key < *key)
    }

    fn load(&mut self, item: Item<'_>) -> io::Result<()> {
        let patching = self.phase == Phase::Patching;
        match (item, &mut self.value) {
            (Item::Large { key, bytes, secret }, None) if patching || self.loader.follows(&key) => {
                let hasher = self.keys.hasher(&key, bytes, secret);
                let id = self.loader.begin_value();
                self.value = Some(PartialValue { key, secret, bytes, loaded: 0, id, next_chunk: 0, hasher });
                Ok(())
            }
            (Item::Chunk(bytes), Some(value))
                if bytes.len() as u64 == (value.bytes - value.loaded).min(CHUNK_BYTES as u64) =>
            {
                value.hasher.update(bytes);
                self.loader.add_chunk(value.id, value.next_chunk, bytes)?;
                value.loaded += bytes.len() as u64;
                value.next_chunk += 1;
                match value.loaded < value.bytes {
                    true => Ok(()),
                    false => self.end_value(),
                }
            }
            (Item::Delete { key }, None) if patching && !self.loader.follows(&key) => self.loader.replace(&key, None),
            _ => {
                self.malformed = true;
                Ok(())
            }
        }
    }

    /// An entry with an inline value comes that does not follow the last one.
    fn replace(&mut self, entry: &LoadedEntry<'_>) -> io::Result<()> {
        if self.phase != Phase::Patching || self.value.is_some() {
            self.malformed = true;
            return Ok(());
        }
        self.loader.replace(&entry.key, Some(&inline_row(entry.secret, &entry.hash, entry.value)))
    }

    /// The last chunk of a large value is loaded.
    fn end_value(&mut self) -> io::Result<()> {
        let Some(PartialValue { key, secret, bytes, id, hasher, .. }) = self.value.take() else { return Ok(()) };
        let hash = hasher.finish();
        if !self.loader.follows(&key) {
            return self.loader.replace(&key, Some(&chunked_row(secret, &hash, bytes, id)));
        }
        self.loader.end_value(&key, secret, &hash, bytes, id)?;
        self.loaded_up_to(key);
        Ok(())
    }

    /// Makes the loaded state durable, after the last piece. Returns also whether its content is what the header said.
    ///
    /// # Errors
    /// What the system says. A file is left that nothing points to.
    pub(super) fn finish(self) -> io::Result<(StateFile, bool)> {
        let header = self.header;
        let found = self.loader.summary();
        let matches = !self.malformed
            && self.value.is_none()
            && (found.digest, found.entries, found.bytes) == (header.position.digest, header.entries, header.bytes);
        let summary = Summary {
            revision: header.position.revision,
            chain: header.chain,
            digest: found.digest,
            entries: found.entries,
            bytes: found.bytes,
            history: Arc::new(header.history),
            log_end: LogPosition::FIRST,
        };
        Ok((self.loader.finish(summary)?, matches))
    }
}

/// An entry hash that no other pair has.
fn pair_of(keys: &DigestKey) -> EntryHash {
    Key::new("pair").map_or(EntryHash([0; 32]), |key| keys.entry(&key, b"", false))
}
