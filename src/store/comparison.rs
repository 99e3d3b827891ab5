//! Compares the hashes of a snapshot with the entries that are here, for a differential repair.

use std::sync::Arc;

use super::bucket_set::{BucketSet, base_of, short_hash};
use super::error::ReadError;
use super::mutants::{Mutant, is_active};
use super::snapshot_piece::SnapshotPiece;
use super::state::StateSnapshot;
use crate::model::limits::{COMPARED_ENTRIES_MAX, COMPARED_REMOVED_MAX};
use crate::model::{EntryHash, Key, Revision, bucket_of};
use crate::protocol::wire::SnapshotHeader;
use crate::protocol::wire::record::{Item, decode_items};

/// A comparison under way. In memory are 8 bytes and a flag for each entry of the buckets that differ, and a bit for each hash.
pub(super) struct Comparison {
    pub(super) header: SnapshotHeader,
    /// What is compared: the state, without what only the log has.
    state: Arc<StateSnapshot>,
    phase: Phase,
    /// Hashes of the own entries in them, sorted.
    own: Vec<u64>,
    /// Which of them the source has too.
    seen: Vec<bool>,
    /// A bit for each hash of the source that is missing here.
    wants: Vec<u8>,
    /// Hashes of the source so far.
    compared: usize,
}

/// How far it is.
enum Phase {
    /// The source has not said yet whether it compares.
    Offered,
    /// These buckets differ.
    Under(Box<BucketSet>),
    /// The whole snapshot is wanted. What comes up to the last of the hashes is passed over.
    GivenUp,
}

/// What a piece brought.
pub(super) enum Compared {
    /// The source sends the whole snapshot, and this is its first piece.
    NotAnswered,
    /// Further hashes follow.
    More,
    /// The last hash: these are wanted. `None` where so much differs that the whole snapshot is.
    All(Option<Vec<u8>>),
}

impl Comparison {
    pub(super) fn new(header: &SnapshotHeader, state: Arc<StateSnapshot>) -> Self {
        let (own, seen, wants) = (Vec::new(), Vec::new(), Vec::new());
        Self { header: header.clone(), state, phase: Phase::Offered, own, seen, wants, compared: 0 }
    }

    /// The digests of the own buckets.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn base(&self) -> Result<Vec<u8>, ReadError> {
        self.state.buckets().map(|digests| base_of(&digests))
    }

    /// The revision of what is compared.
    pub(super) fn revision(&self) -> Revision {
        self.state.summary.revision
    }

    /// Compares a piece. Where the own entries cannot be read the whole snapshot is wanted, which replaces them.
    pub(super) fn write(&mut self, piece: &SnapshotPiece) -> Compared {
        for item in decode_items(&piece.bytes) {
            let fits = match (item, &self.phase) {
                (Ok(Item::Hashes([])), Phase::Under(_) | Phase::GivenUp) => return Compared::All(self.end()),
                (_, Phase::GivenUp) => false,
                (Ok(Item::Compare(buckets)), Phase::Offered) => match BucketSet::from_bytes(buckets) {
                    Some(buckets) => self.read_own(buckets).unwrap_or_else(|error| {
                        tracing::warn!(%error, "the state cannot be compared: the whole snapshot is asked for");
                        false
                    }),
                    None => false,
                },
                (Ok(Item::Hashes(hashes)), Phase::Under(_)) => self.compare(hashes),
                (_, Phase::Offered) => return Compared::NotAnswered,
                (_, Phase::Under(_)) => false,
            };
            if !fits {
                self.phase = Phase::GivenUp;
            }
        }
        Compared::More
    }

    /// Reads the hashes of the own entries in these buckets. Returns whether they are not too many.
    fn read_own(&mut self, buckets: BucketSet) -> Result<bool, ReadError> {
        for entry in self.state.hashes()? {
            let (key, hash) = entry?;
            if buckets.contains(bucket_of(&key)) {
                self.own.push(short_hash(&hash));
            }
            if self.own.len() > COMPARED_ENTRIES_MAX {
                return Ok(false);
            }
        }
        self.own.sort_unstable();
        self.seen = vec![false; self.own.len()];
        self.phase = Phase::Under(Box::new(buckets));
        Ok(true)
    }

    /// Compares hashes of the source. Returns whether they are not too many.
    fn compare(&mut self, hashes: &[u8]) -> bool {
        for hash in hashes.as_chunks::<8>().0 {
            if self.compared.is_multiple_of(8) {
                self.wants.push(0);
            }
            match (self.own.binary_search(&u64::from_le_bytes(*hash)), self.wants.last_mut()) {
                (Ok(at), _) => self.seen[at] = true,
                (Err(_), Some(byte)) => *byte |= 1 << (self.compared % 8),
                (Err(_), None) => {}
            }
            self.compared += 1;
        }
        self.compared <= COMPARED_ENTRIES_MAX
    }

    /// All hashes came. Returns what is wanted: at least one byte. `None` if that is the whole snapshot.
    fn end(&mut self) -> Option<Vec<u8>> {
        if self.wants.is_empty() {
            self.wants.push(0);
        }
        let gone = self.seen.iter().filter(|seen| !**seen).count();
        let enough = matches!(self.phase, Phase::Under(_)) && gone <= COMPARED_REMOVED_MAX;
        enough.then(|| std::mem::take(&mut self.wants))
    }

    /// Whether the source does not have this own entry: it is gone there, or another one.
    pub(super) fn is_gone(&self, key: &Key, hash: &EntryHash) -> bool {
        let compared = matches!(&self.phase, Phase::Under(buckets) if buckets.contains(bucket_of(key)));
        let seen = || self.own.binary_search(&short_hash(hash)).is_ok_and(|at| self.seen[at]);
        compared && !seen() && !is_active(Mutant::KeepsGone)
    }
}
