//! `load`: many entries of pseudo-random bytes, made as they are committed.

use serde_json::{Map, Value, json};
use shadowpair::limits::KEY_BYTES_MAX;
use shadowpair::{ChangeSet, Config};

use super::commands::Load;
use super::output::{Refusal, fields};
use super::{session, view};

/// Entries of one change set.
const SET_ENTRIES_MAX: u64 = 1_000;
/// Most bytes of values in one change set, so that large values need no more memory.
const SET_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Commits the entries, a bounded change set at a time.
pub async fn load(config: &Config, load: &Load) -> Result<Map<String, Value>, Refusal> {
    let mut bytes = PseudoRandom::seeded(config.snapshot().revision().seq, &load.prefix);
    let last = format!("{}{:06}", load.prefix, load.count.saturating_sub(1));
    if last.len() > KEY_BYTES_MAX {
        return Err(Refusal::new("bad_argument", format!("a key has at most {KEY_BYTES_MAX} bytes")));
    }
    let in_set = (SET_BYTES_MAX / load.size.max(1)).max(1) as u64;
    let (mut next, mut revision, mut replicated) = (0, config.snapshot().revision(), load.count > 0);
    while next < load.count {
        let end = load.count.min(next + in_set.min(SET_ENTRIES_MAX));
        let set = (next..end).fold(ChangeSet::new(), |set, number| {
            set.put(format!("{}{number:06}", load.prefix), bytes.take(load.size))
        });
        let committed = config.commit(set).await.map_err(|e| session::commit_refused(e).with("loaded", next.into()))?;
        (revision, replicated) = (committed.revision, replicated && committed.replicated);
        next = end;
    }
    Ok(fields(json!({ "revision": view::revision(revision), "replicated": replicated, "loaded": load.count })))
}

/// SplitMix64 (Steele, Lea and Flood 2014): fast, with another sequence for each seed. Nothing here is secret.
struct PseudoRandom(u64);

impl PseudoRandom {
    /// The position in the history is part of the seed, so that a second `load` of the same keys changes every value.
    fn seeded(seq: u64, prefix: &str) -> Self {
        let mix = |seed: u64, byte: u8| (seed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Self(prefix.bytes().chain(seq.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, mix))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn take(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size + 8);
        while bytes.len() < size {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(size);
        bytes
    }
}
