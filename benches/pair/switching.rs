//! Planned moves: for how long nobody acknowledges when the roles are switched under load, and when a master ends cleanly.

use std::time::{Duration, Instant};

use crate::bench::{Bench, VALUE_BYTES};
use crate::figures::Latencies;
use crate::host::Request;
use crate::process::{Pair, Timing};
use crate::workload::Load;

const SWITCHES: u64 = 100;
const CLEAN_ENDS: u64 = 20;
/// Long enough that a takeover by silence would stand out.
const TIMING: Timing = Timing { heartbeat_ms: 1_000, takeover_delay_ms: 5_000 };

/// Each is measured from the word to the first acknowledgement of the other node.
pub fn measure(bench: &mut Bench) {
    let (switches, ends) = (bench.scaled(SWITCHES), bench.scaled(CLEAN_ENDS));
    let mut pair = Pair::start(bench.dir(), &TIMING);
    pair.master().ask(&Request::Load(Load { entries: 10_000, bytes: VALUE_BYTES, per_set: 1_000, stride: 1 }));
    let times = (0..switches).map(|number| switch(&mut pair, number as usize % 2)).collect();
    bench.figures.add_latencies("switch", &Latencies::of(times, Duration::from_secs(1)));
    let first = switches as usize % 2;
    let times = (0..ends).map(|number| clean_end(&mut pair, (first + number as usize) % 2)).collect();
    bench.figures.add_latencies("clean_end", &Latencies::of(times, Duration::from_secs(1)));
}

/// The roles are switched while a caller commits 1,000 changes a second.
fn switch(pair: &mut Pair, master: usize) -> Duration {
    pair.ready();
    pair.nodes[master].ask(&Request::CommitUntilRefused);
    pair.nodes[1 - master].send(&Request::FirstCommit);
    let begun = Instant::now();
    pair.nodes[master].send(&Request::SwitchRoles);
    pair.nodes[1 - master].receive();
    let took = begun.elapsed();
    pair.nodes[master].receive();
    took
}

/// The master ends at the end of its input.
fn clean_end(pair: &mut Pair, master: usize) -> Duration {
    pair.ready();
    pair.nodes[1 - master].send(&Request::FirstCommit);
    let begun = Instant::now();
    pair.nodes[master].end();
    pair.nodes[1 - master].receive();
    let took = begun.elapsed();
    pair.nodes[master].start_again();
    took
}
