//! A pair with a million entries: loading it, changing it, pushing it, restarting it.

use std::time::Instant;

use crate::bench::{Bench, VALUE_BYTES};
use crate::commits::run_of;
use crate::harness::Proxy;
use crate::host::{Reply, Request};
use crate::process::{Pair, Timing};
use crate::workload::{Load, Run, key};

/// Entries that differ, in the part `differential`.
const DIFFERENT: u64 = 1_000;
/// How often each of them is set: more change sets than the log holds then.
const PASSES: u64 = 3;
const LARGE_VALUES: u64 = 100;
const LARGE_BYTES: usize = 4 << 20;

pub fn load(bench: &mut Bench) {
    let entries = bench.entries();
    for (name, synchronous) in [("load.async", false), ("load", true)] {
        let mut pair = Pair::start(bench.dir(), &Timing::default());
        pair.synchronous(synchronous);
        bench.figures.add(name, pair.load(entries));
        pair.ready();
        if synchronous {
            bench.keep_large(pair);
        }
    }
}

pub fn random(bench: &mut Bench) {
    let run = Run { milliseconds: bench.scaled(8_000), ..run_of(64, bench.entries()) };
    let latencies = bench.large().master().run(run);
    bench.figures.add_latencies("callers.random", &latencies);
}

pub fn full_push(bench: &mut Bench) {
    let pushed = push(bench.large());
    bench.figures.add("content", (bench.entries() * (VALUE_BYTES + key(0).len()) as u64) as f64);
    add_push(bench, "push", &pushed);
}

pub fn large_values(bench: &mut Bench) {
    let entries = bench.scaled(LARGE_VALUES);
    let mut pair = Pair::start(bench.dir(), &Timing::default());
    pair.master().ask(&Request::Load(Load { entries, bytes: LARGE_BYTES, per_set: 1, stride: 1 }));
    pair.ready();
    let pushed = push(&mut pair);
    let bytes = (entries * LARGE_BYTES as u64) as f64;
    bench.figures.add("large.rate", bytes / pushed.seconds);
    add_push(bench, "large", &pushed);
}

/// What a full push cost.
pub struct Pushed {
    /// Until the shadow had it durably and both were at the same position.
    pub seconds: f64,
    bytes: f64,
    cpu: [f64; 2],
    pub peak: [f64; 2],
    written: f64,
    to_device: f64,
}

/// Asks for a full push, and measures it on both nodes.
pub fn push(pair: &mut Pair) -> Pushed {
    pair.ready();
    let before = pair.nodes.each_ref().map(|node| {
        node.reset_peak();
        node.usage()
    });
    let Reply::Synced { seconds, bytes, .. } = pair.shadow().ask(&Request::Resync) else { panic!("not synced") };
    let after = pair.nodes.each_ref().map(|node| node.usage());
    pair.ready();
    Pushed {
        seconds,
        bytes: bytes as f64,
        cpu: [0, 1].map(|side| after[side].cpu - before[side].cpu),
        peak: after.map(|usage| usage.peak),
        written: after[1].written - before[1].written,
        to_device: after[1].to_device - before[1].to_device,
    }
}

fn add_push(bench: &mut Bench, name: &str, pushed: &Pushed) {
    let figures = &mut bench.figures;
    figures.add(format!("{name}.time"), pushed.seconds);
    figures.add(format!("{name}.bytes"), pushed.bytes);
    figures.add(format!("{name}.written"), pushed.written);
    figures.add(format!("{name}.to_device"), pushed.to_device);
    for (side, role) in ["master", "shadow"].into_iter().enumerate() {
        figures.add(format!("{name}.cpu_{role}"), pushed.cpu[side]);
        figures.add(format!("{name}.peak_{role}"), pushed.peak[side]);
    }
}

/// From the start of the program to its first read. The log holds changes that the state lacks.
pub fn restart(bench: &mut Bench) {
    let run = Run { milliseconds: 500, ..run_of(64, bench.entries()) };
    bench.large().master().run(run);
    let seconds = restart_of(bench.large());
    bench.figures.add("restart", seconds);
}

pub fn restart_of(pair: &mut Pair) -> f64 {
    let shadow = pair.shadow();
    shadow.kill();
    let begun = Instant::now();
    shadow.start_again();
    shadow.ask(&Request::Get(key(0)));
    let seconds = begun.elapsed().as_secs_f64();
    pair.ready();
    seconds
}

/// The shadow is away while 1,000 entries change, further back than the log reaches.
pub fn differential(bench: &mut Bench) {
    let entries = bench.entries();
    let proxies = [Proxy::new(), Proxy::new()];
    let mut pair = Pair::start_through(bench.dir(), &Timing::default(), Some(&proxies));
    pair.load(entries);
    pair.ready();
    let carried = |proxies: &[Proxy; 2]| proxies.iter().map(Proxy::bytes_carried).sum::<u64>() as f64;
    let before = carried(&proxies);
    let full = push(&mut pair);
    let full_bytes = carried(&proxies) - before;

    for node in &mut pair.nodes {
        node.kill();
        node.launch.log_changes = Some(DIFFERENT);
        node.start_again();
    }
    pair.ready();
    pair.synchronous(false);
    pair.shadow().ask(&Request::Disconnect);
    for _ in 0..PASSES {
        let load = Load { entries: DIFFERENT, bytes: VALUE_BYTES, per_set: 1, stride: entries / DIFFERENT };
        pair.master().ask(&Request::Load(load));
    }
    let before = carried(&proxies);
    let Reply::Synced { how, seconds, .. } = pair.shadow().ask(&Request::Reconnect) else { panic!("not synced") };
    if how != "differential" {
        println!("differential: the pair came together by a push of the kind {how}");
        return;
    }
    bench.figures.add("differential.bytes", carried(&proxies) - before);
    bench.figures.add("differential.full_bytes", full_bytes);
    bench.figures.add("differential.time", seconds);
    bench.figures.add("differential.full_time", full.seconds);
}
