//! Reads a value, wherever it is.

use std::sync::Arc;

use bytes::Bytes;

use super::read::StateSnapshot;
use crate::model::{DigestKey, EntryHasher, Key};
use crate::store::error::ReadError;
use crate::store::version::{EntryRef, ValueRef};

/// Reads a value piece by piece, so that a large one is never in memory as a whole. A piece has at most
/// [`VALUE_INLINE_BYTES_MAX`](crate::limits::VALUE_INLINE_BYTES_MAX) bytes. The last piece comes only if the checksum over
/// all of them is right.
///
/// ```no_run
/// # fn copy(snapshot: &shadowpair::Snapshot, out: &mut std::fs::File) -> Result<(), Box<dyn std::error::Error>> {
/// use std::io::Write;
/// if let Some(value) = snapshot.value("images/logo")? {
///     println!("{} bytes", value.bytes());
///     for piece in value {
///         out.write_all(&piece?)?;
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct ValueReader {
    state: Arc<StateSnapshot>,
    entry: EntryRef,
    /// `None` after the end or an error.
    hasher: Option<EntryHasher>,
    /// Bytes read so far.
    read: u64,
    /// Number of the next piece.
    number: u32,
}

impl ValueReader {
    pub(in crate::store) fn new(state: Arc<StateSnapshot>, keys: &DigestKey, key: &Key, entry: EntryRef) -> Self {
        let hasher = keys.hasher(key, entry.bytes, entry.secret);
        Self { state, entry, hasher: Some(hasher), read: 0, number: 0 }
    }

    /// Length of the whole value.
    pub fn bytes(&self) -> u64 {
        self.entry.bytes
    }

    /// Reads all that is left, into memory.
    ///
    /// # Errors
    /// [`ReadError`]. Nothing of the value is returned.
    ///
    /// ```no_run
    /// # fn read(snapshot: &shadowpair::Snapshot) -> Result<(), shadowpair::ReadError> {
    /// if let Some(value) = snapshot.value("motd")?.filter(|value| value.bytes() < 1_000) {
    ///     println!("{:?}", value.whole()?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
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
                let chunk = chunks.get(number as usize).ok_or_else(|| ReadError::damaged("the log"))?;
                let mut bytes = vec![0; chunk.bytes as usize];
                chunk.file.read_at(chunk.offset, &mut bytes).map_err(ReadError::of)?;
                Ok(bytes.into())
            }
            ValueRef::State(id) => self.state.chunk(*id, number)?.ok_or_else(|| ReadError::damaged("the state")),
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
            return Some(Err(ReadError::damaged("a value")));
        }
        self.hasher = Some(hasher);
        Some(Ok(piece))
    }
}
