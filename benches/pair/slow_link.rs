//! A full push over a slow link with short timings while both cores are busy: nobody may take over.

use crate::bench::{Bench, VALUE_BYTES};
use crate::harness::Proxy;
use crate::million;
use crate::process::{Pair, Process, Timing};

const BYTES: u64 = 200_000_000;
const BYTES_PER_SECOND: u64 = 2_000_000;
const TIMING: Timing = Timing { heartbeat_ms: 50, takeover_delay_ms: 200 };

pub fn measure(bench: &mut Bench) {
    let entries = bench.scaled(BYTES) / VALUE_BYTES as u64;
    let proxies = [Proxy::new(), Proxy::new()];
    let mut pair = Pair::start_through(bench.dir(), &TIMING, Some(&proxies));
    pair.load(entries);
    pair.ready();
    let before = role_changes(&mut pair);
    proxies.iter().for_each(|proxy| proxy.slow(BYTES_PER_SECOND));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let burning: Vec<Process> = (0..cores).map(|_| Process::start(&["burn"])).collect();
    let pushed = million::push(&mut pair);
    drop(burning);
    bench.figures.add("slow_link.time", pushed.seconds);
    bench.figures.add("slow_link.role_changes", (role_changes(&mut pair) - before) as f64);
}

fn role_changes(pair: &mut Pair) -> u64 {
    pair.nodes.iter_mut().map(|node| node.role_changes()).sum()
}

/// Keeps a core busy until it is killed.
pub fn burn() {
    loop {
        std::hint::spin_loop();
    }
}
