use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::id::PairId;
use super::key::Key;

/// Checksum of a whole configuration, in 256 bits: the sum modulo 2^256 of a keyed BLAKE3 hash of every entry (key, value
/// and the flag `secret`).
///
/// The order of the entries does not matter, and a change costs one subtraction and one addition. Two nodes of a pair
/// whose digests at a revision are equal hold the same configuration there. Digests of different pairs are keyed
/// differently and cannot be compared.
///
/// ```
/// use shadowpair::{Digest, Position};
/// assert_eq!(Position::NONE.digest, Digest::ZERO);
/// assert_eq!(Digest::ZERO.to_string(), "0".repeat(64));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

/// Keyed BLAKE3 hash of one entry: of its key, its plain value and the flag `secret`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EntryHash(pub [u8; 32]);

/// The key with which a pair hashes its entries. Without it nobody can test a guessed value against a digest.
#[derive(Clone)]
pub struct DigestKey([u8; 32]);

/// Hashes one entry, piece by piece of its value.
#[derive(Clone)]
pub struct EntryHasher(blake3::Hasher);

impl Digest {
    /// Digest of an empty configuration.
    pub const ZERO: Self = Self([0; 32]);

    /// Adds the hash of an entry.
    pub(crate) fn add(&mut self, entry: &EntryHash) {
        self.combine(entry, u64::overflowing_add);
    }

    /// Subtracts the hash of an entry.
    pub(crate) fn remove(&mut self, entry: &EntryHash) {
        self.combine(entry, u64::overflowing_sub);
    }

    /// Adds or subtracts in limbs of 64 bits, the lowest first, with the carry or borrow of each for the next.
    fn combine(&mut self, entry: &EntryHash, step: impl Fn(u64, u64) -> (u64, bool)) {
        let (sums, _) = self.0.as_chunks_mut::<8>();
        let (limbs, _) = entry.0.as_chunks::<8>();
        let mut carry = false;
        for (sum, limb) in sums.iter_mut().zip(limbs) {
            let (partial, first) = step(u64::from_le_bytes(*sum), u64::from_le_bytes(*limb));
            let (total, second) = step(partial, u64::from(carry));
            *sum = total.to_le_bytes();
            carry = first || second;
        }
    }
}

impl DigestKey {
    /// Derives the key of this pair.
    pub fn of(pair: &PairId) -> Self {
        Self(blake3::derive_key("shadowpair 2026 digest v1", &pair.0))
    }

    /// Hashes an entry whose value is in memory.
    pub fn entry(&self, key: &Key, value: &[u8], secret: bool) -> EntryHash {
        let mut hasher = self.hasher(key, value.len() as u64, secret);
        hasher.update(value);
        hasher.finish()
    }

    /// Starts to hash an entry whose value, `value_bytes` long, follows in pieces.
    pub fn hasher(&self, key: &Key, value_bytes: u64, secret: bool) -> EntryHasher {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&(key.as_bytes().len() as u64).to_le_bytes());
        hasher.update(key.as_bytes());
        hasher.update(&[u8::from(secret)]);
        hasher.update(&value_bytes.to_le_bytes());
        EntryHasher(hasher)
    }
}

impl EntryHasher {
    /// Hashes the next piece of the value.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The hash of the entry, after the last piece.
    pub fn finish(self) -> EntryHash {
        EntryHash(*self.0.finalize().as_bytes())
    }
}

/// Number of a key's bucket, one of 4,096: the first 12 bits of the key's BLAKE3 hash. A differential repair compares the
/// digests of buckets first, and entries only within buckets that differ.
pub fn bucket_of(key: &Key) -> usize {
    let hash = blake3::hash(key.as_bytes());
    let [first, second, ..] = hash.as_bytes();
    (usize::from(*first) << 4) | (usize::from(*second) >> 4)
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0[..6]))
    }
}

impl fmt::Debug for EntryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0[..6]))
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn order_free_and_reversible(hashes in prop::collection::vec(any::<[u8; 32]>(), 1..20), at in any::<prop::sample::Index>()) {
            let mut forward = Digest::ZERO;
            hashes.iter().for_each(|hash| forward.add(&EntryHash(*hash)));
            let mut backward = Digest::ZERO;
            hashes.iter().rev().for_each(|hash| backward.add(&EntryHash(*hash)));
            prop_assert_eq!(forward, backward);

            let taken = at.index(hashes.len());
            forward.remove(&EntryHash(hashes[taken]));
            let mut without = Digest::ZERO;
            hashes.iter().enumerate().filter(|(i, _)| *i != taken).for_each(|(_, hash)| without.add(&EntryHash(*hash)));
            prop_assert_eq!(forward, without);
        }

        #[test]
        fn pieces_hash_as_the_whole(value in prop::collection::vec(any::<u8>(), 0..2000), cut in any::<prop::sample::Index>()) {
            let keys = DigestKey::of(&PairId([7; 16]));
            let key = Key::new("k").unwrap();
            let mut hasher = keys.hasher(&key, value.len() as u64, true);
            let cut = if value.is_empty() { 0 } else { cut.index(value.len()) };
            hasher.update(&value[..cut]);
            hasher.update(&value[cut..]);
            prop_assert_eq!(hasher.finish(), keys.entry(&key, &value, true));
        }
    }

    #[test]
    fn key_value_flag_and_pair_all_count() {
        let keys = DigestKey::of(&PairId([7; 16]));
        let other = DigestKey::of(&PairId([8; 16]));
        let (a, b) = (Key::new("a").unwrap(), Key::new("ab").unwrap());
        let all = [
            keys.entry(&a, b"bc", false),
            keys.entry(&b, b"c", false),
            keys.entry(&a, b"bc", true),
            keys.entry(&a, b"bd", false),
            other.entry(&a, b"bc", false),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|two| one != two));
        }
    }
}
