//! How long a takeover takes beyond the delay that was chosen.

use std::time::{Duration, Instant};

use crate::bench::{Bench, VALUE_BYTES};
use crate::figures::Latencies;
use crate::host::Request;
use crate::process::{Pair, Timing};
use crate::workload::Load;

const KILLS: u64 = 200;
pub const TIMING: Timing = Timing { heartbeat_ms: 100, takeover_delay_ms: 500 };

/// The master is killed, its shadow takes over, and it comes back as shadow: again and again.
pub fn measure(bench: &mut Bench) {
    let kills = bench.scaled(KILLS);
    let mut pair = Pair::start(bench.dir(), &TIMING);
    pair.master().ask(&Request::Load(Load { entries: 10_000, bytes: VALUE_BYTES, per_set: 1_000, stride: 1 }));
    let times = (0..kills).map(|kill| takeover(&mut pair, kill as usize % 2)).collect();
    bench.figures.add("heartbeat", TIMING.heartbeat_ms as f64 / 1e3);
    bench.figures.add_latencies("takeover", &Latencies::of(times, Duration::from_secs(1)));
}

/// From the kill of this node to the mastership of the other, without the delay.
fn takeover(pair: &mut Pair, master: usize) -> Duration {
    pair.ready();
    let shadow = 1 - master;
    pair.nodes[shadow].send(&Request::Serving);
    let killed = Instant::now();
    pair.nodes[master].kill();
    pair.nodes[shadow].receive();
    let took = killed.elapsed();
    pair.nodes[master].start_again();
    took.saturating_sub(Duration::from_millis(TIMING.takeover_delay_ms))
}
