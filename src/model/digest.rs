use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Key, PairId};

/// What a configuration holds, in 256 bits: the sum modulo 2^256 of the [`EntryHash`] of every entry. It does not
/// depend on the order of the entries, and a change costs one subtraction and one addition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

/// Keyed BLAKE3 over key, plain value and flag of one entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EntryHash(pub [u8; 32]);

/// The key of a pair's digests, so that an outsider who sees two digests cannot tell guesses apart.
#[derive(Clone)]
pub struct DigestKey([u8; 32]);

/// Hashes one entry whose value arrives in pieces.
#[derive(Clone)]
pub struct EntryHasher(blake3::Hasher);

impl Digest {
    /// Of an empty configuration.
    pub const ZERO: Self = Self([0; 32]);

    /// Adds an entry.
    pub fn add(&mut self, entry: &EntryHash) {
        let mut carry = 0u16;
        for (sum, byte) in self.0.iter_mut().zip(entry.0) {
            let total = u16::from(*sum) + u16::from(byte) + carry;
            *sum = total as u8;
            carry = total >> 8;
        }
    }

    /// Takes an entry away.
    pub fn remove(&mut self, entry: &EntryHash) {
        let mut borrow = 0i16;
        for (sum, byte) in self.0.iter_mut().zip(entry.0) {
            let total = i16::from(*sum) - i16::from(byte) - borrow;
            *sum = total as u8;
            borrow = i16::from(total < 0);
        }
    }
}

impl DigestKey {
    /// The key of this pair.
    pub fn of(pair: &PairId) -> Self {
        Self(blake3::derive_key("shadowpair 2026 digest v1", &pair.0))
    }

    /// The hash of an entry whose value is at hand.
    pub fn entry(&self, key: &Key, value: &[u8], secret: bool) -> EntryHash {
        let mut hasher = self.hasher(key, value.len() as u64, secret);
        hasher.update(value);
        hasher.finish()
    }

    /// Starts the hash of an entry whose value of `value_bytes` will come in pieces.
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
    /// The next piece of the value.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// All pieces are in.
    pub fn finish(self) -> EntryHash {
        EntryHash(*self.0.finalize().as_bytes())
    }
}

/// The bucket of a key, one of 4,096: the first 12 bits of its BLAKE3 hash. A differential repair compares the digests
/// of buckets before it compares entries.
pub fn bucket_of(key: &Key) -> usize {
    let hash = blake3::hash(key.as_bytes());
    let [first, second, ..] = hash.as_bytes();
    (usize::from(*first) << 4) | (usize::from(*second) >> 4)
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for EntryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
