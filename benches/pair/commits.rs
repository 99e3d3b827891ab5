//! Commits on a pair with little in it.

use crate::bench::{Bench, VALUE_BYTES};
use crate::floor;
use crate::workload::Run;

/// Keys of a configuration of usual size.
const KEYS: u64 = 10_000;
/// Keys that are changed again and again.
const HOT_KEYS: u64 = 1_000;

/// One caller: long enough that checkpoints of the state come within.
pub fn one_caller(bench: &mut Bench) {
    floor::append(bench);
    let run = Run { milliseconds: bench.scaled(15_000), ..run_of(1, KEYS) };
    let pair = bench.small();
    let synchronous = pair.master().run(run.clone());
    pair.synchronous(false);
    let asynchronous = pair.master().run(run);
    pair.synchronous(true);
    pair.ready();
    bench.figures.add_latencies("sync", &synchronous);
    bench.figures.add_latencies("async", &asynchronous);
}

pub fn callers(bench: &mut Bench) {
    for (name, keys) in [("callers.hot", HOT_KEYS), ("callers.some", KEYS)] {
        let run = Run { milliseconds: bench.scaled(8_000), ..run_of(64, keys) };
        let latencies = bench.small().master().run(run);
        bench.figures.add_latencies(name, &latencies);
    }
}

pub fn change_sets(bench: &mut Bench) {
    floor::append_set(bench);
    let run = Run { per_set: 100, milliseconds: bench.scaled(8_000), ..run_of(1, KEYS) };
    let latencies = bench.small().master().run(run);
    bench.figures.add_latencies("set", &latencies);
}

/// So many callers on so many keys, one change in each change set.
pub fn run_of(callers: u64, keys: u64) -> Run {
    Run { callers, keys, bytes: VALUE_BYTES, per_set: 1, milliseconds: 0 }
}
