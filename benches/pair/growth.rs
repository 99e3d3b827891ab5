//! How cost grows with the number of entries.

use crate::bench::Bench;
use crate::million;
use crate::process::{Pair, Timing};

/// Sizes up to the one that was asked for.
pub const SIZES: [u64; 4] = [1_000, 100_000, 1_000_000, 10_000_000];

pub fn measure(bench: &mut Bench) {
    let largest = bench.entries();
    for entries in SIZES.into_iter().filter(|size| *size <= largest) {
        let mut pair = Pair::start(bench.dir(), &Timing::default());
        let loaded = pair.load(entries);
        let pushed = million::push(&mut pair);
        let restarted = million::restart_of(&mut pair);
        let measured = [
            ("load", loaded),
            ("push", pushed.seconds),
            ("peak_master", pushed.peak[0]),
            ("peak_shadow", pushed.peak[1]),
            ("restart", restarted),
        ];
        measured.into_iter().for_each(|(name, value)| bench.figures.add(format!("growth.{entries}.{name}"), value));
    }
}
