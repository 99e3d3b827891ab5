//! Which buckets of two configurations differ.

use std::ops::Bound;

use super::error::ReadError;
use super::mutants::{Mutant, is_active};
use super::view::View;
use crate::model::limits::{BASE_DIGEST_BYTES, BUCKETS, COMPARED_ENTRIES_MAX};
use crate::model::{Digest, EntryHash, bucket_of};

/// A set of buckets.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct BucketSet([u8; BUCKETS / 8]);

impl BucketSet {
    /// The set of these bits, the lowest of a byte first.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn contains(&self, bucket: usize) -> bool {
        self.0.get(bucket / 8).is_some_and(|byte| byte >> (bucket % 8) & 1 == 1)
    }

    fn len(&self) -> u64 {
        self.0.iter().map(|byte| u64::from(byte.count_ones())).sum()
    }
}

/// The part of an entry's hash by which entries of one bucket are told apart.
pub(super) fn short_hash(hash: &EntryHash) -> u64 {
    if is_active(Mutant::AlikeHashes) {
        return 0;
    }
    hash.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The digests of buckets as they are sent.
pub(super) fn base_of(digests: &[Digest]) -> Vec<u8> {
    digests.iter().flat_map(|digest| digest.0.into_iter().take(BASE_DIGEST_BYTES)).collect()
}

impl View {
    /// The buckets that differ from those with these digests. `None` if they have too many entries to be compared.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn differing_buckets(&self, base: &[u8]) -> Result<Option<BucketSet>, ReadError> {
        let mut digests = self.state.buckets()?;
        for over in self.overlay.between("", Bound::Unbounded) {
            let Some(digest) = digests.get_mut(bucket_of(&over.key)) else { continue };
            if let Some((hash, _)) = self.state.hash_and_bytes(over.key.as_str())? {
                digest.remove(&hash);
            }
            if let Some(entry) = &over.entry {
                digest.add(&entry.hash);
            }
        }
        let mut differing = BucketSet([0; BUCKETS / 8]);
        for (bucket, (mine, theirs)) in
            base_of(&digests).chunks_exact(BASE_DIGEST_BYTES).zip(base.chunks_exact(BASE_DIGEST_BYTES)).enumerate()
        {
            if mine != theirs
                && let Some(byte) = differing.0.get_mut(bucket / 8)
            {
                *byte |= 1 << (bucket % 8);
            }
        }
        let entries = self.summary.entries * differing.len() / BUCKETS as u64;
        Ok((entries <= COMPARED_ENTRIES_MAX as u64 * 9 / 10).then_some(differing))
    }
}
