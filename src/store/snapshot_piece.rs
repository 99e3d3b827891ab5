//! A received piece of a full push. Its entries can be hashed before the store has time for it.

use bytes::Bytes;

use crate::model::{DigestKey, EntryHash, Key, bucket_of};
use crate::protocol::wire::record::{Item, decode_items};

/// Whole items of a snapshot as they came, and the hashes of entries in it, as far as they were computed.
#[derive(Clone, Debug)]
pub struct SnapshotPiece {
    /// The items.
    pub bytes: Bytes,
    /// Those of the first entries with inline values, in order.
    hashed: Vec<HashedEntry>,
}

/// What the digests count of an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct HashedEntry {
    pub(super) hash: EntryHash,
    pub(super) bucket: u16,
}

impl SnapshotPiece {
    /// Hashes the entries of a piece, so that the store need not. Entries beyond the bound on memory are left to it: the
    /// hashes never take more memory than the items, however small these are.
    pub fn hashed(bytes: Bytes, keys: &DigestKey) -> Self {
        let most = bytes.len() / size_of::<HashedEntry>();
        let entries = decode_items(&bytes).map_while(Result::ok).filter_map(|item| match item {
            Item::Entry { key, value, secret } => Some(HashedEntry::of(keys, &key, value, secret)),
            Item::Large { .. }
            | Item::Chunk(_)
            | Item::Continue { .. }
            | Item::Delete { .. }
            | Item::Compare(_)
            | Item::Hashes(_) => None,
        });
        let hashed = entries.take(most).collect();
        Self { bytes, hashed }
    }

    /// The hashes of the first entries with inline values.
    pub(super) fn hashes(&self) -> impl Iterator<Item = HashedEntry> {
        self.hashed.iter().copied()
    }
}

impl HashedEntry {
    pub(super) fn of(keys: &DigestKey, key: &Key, value: &[u8], secret: bool) -> Self {
        Self { hash: keys.entry(key, value, secret), bucket: bucket_of(key) as u16 }
    }
}

/// A piece of which nothing is hashed yet.
impl From<Bytes> for SnapshotPiece {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, hashed: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PairId;
    use crate::protocol::wire::record::encode_item;

    #[test]
    fn the_hashes_are_those_of_the_entries_and_take_no_more_memory_than_the_items() {
        let keys = DigestKey::of(&PairId([7; 16]));
        let key = |number: usize| Key::new(format!("{number}")).unwrap();
        let mut bytes = Vec::new();
        encode_item(&mut bytes, &Item::Large { key: key(0), bytes: 1 << 20, secret: false });
        encode_item(&mut bytes, &Item::Chunk(&[1; 100]));
        for number in 1..100 {
            encode_item(&mut bytes, &Item::Entry { key: key(number), value: b"", secret: number % 2 == 0 });
        }
        let piece = SnapshotPiece::hashed(bytes.into(), &keys);
        let found: Vec<_> = piece.hashes().map(|entry| (entry.hash, usize::from(entry.bucket))).collect();
        let entry = |number| (keys.entry(&key(number), b"", number % 2 == 0), bucket_of(&key(number)));
        assert_eq!(found, (1..=found.len()).map(entry).collect::<Vec<_>>());
        assert!(found.len() > 20 && found.len() < 99 && found.len() * 34 <= piece.bytes.len());
        assert_eq!(SnapshotPiece::hashed(Bytes::from_static(&[9; 500]), &keys).hashes().count(), 0);
    }
}
