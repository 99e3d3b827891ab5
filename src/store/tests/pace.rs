//! How long commits take while checkpoints run. The test is slow and must be asked for by name:
//! `cargo test --release --lib store::tests::pace -- --ignored --nocapture`.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::size::{make, resident};
use super::*;

/// What the store is asked to do.
struct Load {
    name: &'static str,
    /// Change sets in one group.
    group: u64,
    /// Changes in one change set.
    changes: u64,
    total: u64,
    /// Keys, of which a random one is written; in order if there are as many as changes.
    keys: u64,
    sequential: bool,
    /// Entries that are there before.
    preloaded: u64,
}

fn key(number: u64) -> String {
    format!("key{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Commits, and does what the node does beside it.
struct Host {
    opened: Opened,
    running: Option<JoinHandle<()>>,
}

impl Host {
    fn commit(&mut self, sets: &[ChangeSet]) -> Duration {
        let started = Instant::now();
        let epoch = self.opened.store.head().revision.epoch;
        self.opened.store.commit(epoch, sets).unwrap();
        let head = self.opened.store.head().revision;
        self.opened.reader.publish(head);
        self.opened.reader.confirm(head);
        if self.running.as_ref().is_some_and(JoinHandle::is_finished) {
            self.running = None;
            self.opened.store.complete_checkpoint().unwrap();
        }
        if self.running.is_none() && self.opened.reader.wants_checkpoint(CHECKPOINT_BYTES) {
            let checkpoint = self.opened.store.begin_checkpoint().unwrap();
            self.running = checkpoint.map(|checkpoint| std::thread::spawn(move || checkpoint.run()));
        }
        started.elapsed()
    }
}

fn run(load: &Load) {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(disk::RealDisk);
    let mut opened = make(&disk, &dir.path().join("master"));
    opened.store.begin_era_only(era(1, 1)).unwrap();
    let mut host = Host { opened, running: None };
    let mut next = 0;
    while next < load.preloaded {
        let set = (next..next + 1000).fold(ChangeSet::new(), |set, i| set.put(key(i), large(200, i as u8)));
        host.commit(&[set]);
        next += 1000;
    }
    let value = large(200, 7);
    let (mut written, mut times, mut peak) = (0, Vec::new(), 0);
    let started = Instant::now();
    let mut random = 1u64;
    while written < load.total {
        let sets: Vec<_> = (0..load.group)
            .map(|_| {
                (0..load.changes).fold(ChangeSet::new(), |set, _| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let number = if load.keys == load.total { written } else { (random >> 33) % load.keys };
                    written += 1;
                    let name = if load.sequential { format!("key{number:016x}") } else { key(number) };
                    set.put(name, value.clone())
                })
            })
            .collect();
        times.push(host.commit(&sets));
        if times.len().is_multiple_of(64) {
            peak = peak.max(resident());
        }
    }
    let took = started.elapsed();
    times.sort_unstable();
    let at = |part: f64| times[((times.len() as f64 * part) as usize).min(times.len() - 1)];
    println!(
        "{:24} {took:9.3?} p50 {:9.3?} p99 {:9.3?} p99.9 {:9.3?} max {:9.3?} {peak} MiB resident",
        load.name,
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
    );
}

#[test]
#[ignore = "takes a minute; prints what it measured"]
fn commits_beside_checkpoints() {
    let million = 1_000_000;
    let loads = [
        Load {
            name: "load random",
            group: 1,
            changes: 1000,
            total: million,
            keys: million,
            sequential: false,
            preloaded: 0,
        },
        Load {
            name: "load sequential",
            group: 1,
            changes: 1000,
            total: million,
            keys: million,
            sequential: true,
            preloaded: 0,
        },
        Load {
            name: "64 callers, 10k keys",
            group: 64,
            changes: 1,
            total: 300_000,
            keys: 10_000,
            sequential: false,
            preloaded: 10_000,
        },
        Load {
            name: "64 callers, 1M keys",
            group: 64,
            changes: 1,
            total: 300_000,
            keys: million,
            sequential: false,
            preloaded: million,
        },
        Load {
            name: "sets of 100, 1M keys",
            group: 1,
            changes: 100,
            total: 300_000,
            keys: million,
            sequential: false,
            preloaded: million,
        },
        Load {
            name: "one caller, 10k keys",
            group: 1,
            changes: 1,
            total: 30_000,
            keys: 10_000,
            sequential: false,
            preloaded: 10_000,
        },
    ];
    let only = std::env::var("PACE").unwrap_or_default();
    for load in loads.iter().filter(|load| load.name.contains(&only)) {
        run(load);
    }
}
