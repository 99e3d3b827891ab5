//! A full push: reading a snapshot in pieces, and loading pieces into a state file of their own.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::ReadError;
use super::log::LogPosition;
use super::state::{Loader, State};
use super::view::{Entries, EntryRef, Meta, ValueReader, ValueRef, View};
use crate::model::limits::CHUNK_BYTES;
use crate::model::{DigestKey, EntryHasher, Key};
use crate::protocol::wire::SnapshotHeader;
use crate::protocol::wire::record::{Item, decode_items, encode_item};

/// A full push being read.
pub struct Export {
    view: Arc<View>,
    entries: Entries,
    /// The large value that is being read.
    value: Option<ValueReader>,
    /// An item that found no room in the last piece.
    left: Vec<u8>,
    done: bool,
}

impl Export {
    pub(super) fn new(view: Arc<View>) -> Self {
        let entries = Entries::new(&view, "");
        Self { view, entries, value: None, left: Vec::new(), done: false }
    }

    /// The next piece, of about `max_bytes` (one item at the least); `None` at the end.
    ///
    /// # Errors
    /// The configuration could not be read; the push must be begun anew.
    pub fn next(&mut self, max_bytes: usize) -> Result<Option<Bytes>, ReadError> {
        let mut piece = std::mem::take(&mut self.left);
        while !self.done && piece.len() < max_bytes {
            let before = piece.len();
            if !self.item(&mut piece)? {
                self.done = true;
            } else if before > 0 && piece.len() > max_bytes {
                self.left = piece.split_off(before);
                break;
            }
        }
        Ok((!piece.is_empty()).then(|| piece.into()))
    }

    fn item(&mut self, out: &mut Vec<u8>) -> Result<bool, ReadError> {
        if let Some(value) = &mut self.value {
            if let Some(piece) = value.next() {
                encode_item(out, &Item::Chunk(&piece?));
                return Ok(true);
            }
            self.value = None;
        }
        let Some(entry) = self.entries.next() else { return Ok(false) };
        let (key, entry) = entry?;
        let EntryRef { secret, bytes, .. } = entry;
        match &entry.value {
            ValueRef::Inline(value) => encode_item(out, &Item::Entry { key, value, secret }),
            ValueRef::Log(_) | ValueRef::State(_) => {
                self.value = Some(self.view.open(&key, entry));
                encode_item(out, &Item::Large { key, bytes, secret });
            }
        }
        Ok(true)
    }
}

/// A full push being loaded.
pub(super) struct Staging {
    pub(super) header: SnapshotHeader,
    pub(super) generation: u64,
    keys: DigestKey,
    loader: Loader,
    value: Option<Arriving>,
    /// Something came that no snapshot has.
    broken: bool,
}

/// A large value being loaded.
struct Arriving {
    key: Key,
    secret: bool,
    bytes: u64,
    got: u64,
    id: u64,
    number: u32,
    hasher: EntryHasher,
}

impl Staging {
    pub(super) fn new(state: State, generation: u64, header: &SnapshotHeader, keys: DigestKey) -> Self {
        Self { header: header.clone(), generation, keys, loader: Loader::new(state), value: None, broken: false }
    }

    /// Loads a piece. What is malformed is remembered and told by [`Staging::finish`].
    ///
    /// # Errors
    /// What the system says; the staging is to be dropped.
    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        for item in decode_items(piece) {
            if self.broken {
                return Ok(());
            }
            match item {
                Ok(item) => self.item(item)?,
                Err(_) => self.broken = true,
            }
        }
        Ok(())
    }

    fn item(&mut self, item: Item<'_>) -> io::Result<()> {
        match (item, &mut self.value) {
            (Item::Entry { key, value, secret }, None) if self.loader.follows(&key) => {
                let hash = self.keys.entry(&key, value, secret);
                self.loader.inline(&key, secret, &hash, value)
            }
            (Item::Large { key, bytes, secret }, None) if self.loader.follows(&key) => {
                let hasher = self.keys.hasher(&key, bytes, secret);
                let id = self.loader.begin_value();
                self.value = Some(Arriving { key, secret, bytes, got: 0, id, number: 0, hasher });
                Ok(())
            }
            (Item::Chunk(bytes), Some(value))
                if bytes.len() as u64 == (value.bytes - value.got).min(CHUNK_BYTES as u64) =>
            {
                value.hasher.update(bytes);
                self.loader.chunk(value.id, value.number, bytes)?;
                value.got += bytes.len() as u64;
                value.number += 1;
                if value.got < value.bytes {
                    return Ok(());
                }
                let Some(value) = self.value.take() else { return Ok(()) };
                self.loader.end_value(&value.key, value.secret, &value.hasher.finish(), value.bytes, value.id)
            }
            _ => {
                self.broken = true;
                Ok(())
            }
        }
    }

    /// Everything came: makes it durable. The second value says whether it is what the header said.
    ///
    /// # Errors
    /// What the system says; what is left is a file that nobody points to.
    pub(super) fn finish(self) -> io::Result<(State, bool)> {
        let header = self.header;
        let found = self.loader.meta();
        let good = !self.broken
            && self.value.is_none()
            && (found.digest, found.entries, found.bytes) == (header.position.digest, header.entries, header.bytes);
        let meta = Meta {
            revision: header.position.revision,
            chain: header.chain,
            digest: found.digest,
            entries: found.entries,
            bytes: found.bytes,
            history: Arc::new(header.history),
            end: LogPosition::FIRST,
        };
        Ok((self.loader.finish(meta)?, good))
    }
}
