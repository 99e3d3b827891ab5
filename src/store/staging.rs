//! Loads the pieces of a full push into a new state file.

use std::io;
use std::sync::Arc;

use super::log::LogPosition;
use super::snapshot_piece::{HashedEntry, SnapshotPiece};
use super::state::{LoadedEntry, Loader, StateFile};
use super::version::Summary;
use crate::model::limits::CHUNK_BYTES;
use crate::model::{DigestKey, EntryHasher, Key};
use crate::protocol::wire::SnapshotHeader;
use crate::protocol::wire::record::{Item, decode_items};

/// How far a received full push is.
pub(super) enum Staged {
    /// There is none.
    Nothing,
    /// Its pieces are being loaded.
    Loading(Box<Staging>),
    /// All pieces came, and the content is what its header said.
    Verified { state: StateFile, generation: u64 },
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
    /// The large value that is being loaded.
    value: Option<PartialValue>,
    /// Whether something came that no snapshot contains.
    malformed: bool,
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
        Self { generation, header: header.clone(), keys, loader: Loader::new(state), value: None, malformed: false }
    }

    /// Loads a piece. If it is malformed, [`Staging::finish`] says that the content is wrong.
    ///
    /// # Errors
    /// What the system says. The staging must be dropped.
    pub(super) fn write(&mut self, piece: &SnapshotPiece) -> io::Result<()> {
        let mut hashes = piece.hashes();
        // Inline entries that follow each other go to the state together.
        let mut run: Vec<LoadedEntry<'_>> = Vec::new();
        for item in decode_items(&piece.bytes) {
            match item {
                Ok(Item::Entry { key, value, secret }) if self.value.is_none() && self.follows(run.last(), &key) => {
                    let hashed = hashes.next().unwrap_or_else(|| HashedEntry::of(&self.keys, &key, value, secret));
                    run.push(LoadedEntry { key, secret, hash: hashed.hash, bucket: hashed.bucket, value });
                }
                Ok(item) => {
                    self.loader.add_inline(std::mem::take(&mut run))?;
                    self.load(item)?;
                }
                Err(_) => self.malformed = true,
            }
            if self.malformed {
                break;
            }
        }
        self.loader.add_inline(run)
    }

    /// Whether this key comes after the last one of the run, or after the last one that was loaded.
    fn follows(&self, last: Option<&LoadedEntry<'_>>, key: &Key) -> bool {
        last.map_or_else(|| self.loader.follows(key), |last| last.key < *key)
    }

    fn load(&mut self, item: Item<'_>) -> io::Result<()> {
        match (item, &mut self.value) {
            (Item::Large { key, bytes, secret }, None) if self.loader.follows(&key) => {
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
                if value.loaded < value.bytes {
                    return Ok(());
                }
                let Some(value) = self.value.take() else { return Ok(()) };
                self.loader.end_value(&value.key, value.secret, &value.hasher.finish(), value.bytes, value.id)
            }
            _ => {
                self.malformed = true;
                Ok(())
            }
        }
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
