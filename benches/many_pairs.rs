//! What many idle pairs in one process cost: memory, processor time, threads, writes.
//!
//! ```text
//! cargo bench --bench many_pairs [-- PAIRS [SECONDS]]
//! ```
//!
//! Both nodes of a pair are in this process, with the default options, on loopback. A pair needs up to 16 open files and 13 MiB of the
//! disk under `TMPDIR`.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that measures: it has a clock, and fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shadowpair::{FirstStart, Node};
use tokio::task::JoinSet;

const PAIRS: usize = 1_000;
const WINDOW: Duration = Duration::from_secs(20);
/// Pairs that start at a time.
const AT_A_TIME: usize = 8;
/// Time after the last start until it is measured: what a start leaves behind is over by then, such as threads that are idle.
const REST: Duration = Duration::from_secs(15);

fn main() {
    // cargo adds an argument of its own.
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let pairs = numbers.next().unwrap_or(PAIRS);
    let window = numbers.next().map_or(WINDOW, |seconds| Duration::from_secs(seconds as u64));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run(pairs, window));
}

async fn run(pairs: usize, window: Duration) {
    let dir = tempfile::tempdir().unwrap();
    let before = Usage::now();
    let begun = Instant::now();
    let nodes = start_all(dir.path(), pairs).await;
    for node in &nodes {
        wait_for(node, |status| status.engine.in_sync).await;
    }
    println!("{pairs} pairs are in sync after {:.1} s", begun.elapsed().as_secs_f64());
    tokio::time::sleep(REST).await;
    let idle = Usage::now();
    tokio::time::sleep(window).await;
    let after = Usage::now();
    let each = |all: u64| all as f64 / pairs as f64;
    let cpu = (after.cpu - idle.cpu).as_secs_f64() / window.as_secs_f64() * 100.0;
    println!(
        "memory      {:>9.0} KiB a pair ({} KiB in all)",
        each(after.memory_kib - before.memory_kib),
        after.memory_kib
    );
    println!("processor   {cpu:>9.1} % of a core in all, {:.4} % a pair", cpu / pairs as f64);
    println!("threads     {:>9}", after.threads);
    println!("open files  {:>9.1} a pair", each(after.files - before.files));
    println!("disk        {:>9.0} KiB a pair", each(disk_kib(dir.path())));
    let switches = (after.switches - idle.switches) as f64 / window.as_secs_f64();
    println!("switches    {:>9.1} a pair and second", switches / pairs as f64);
    let linked = nodes.iter().filter(|node| node.status().engine.in_sync).count();
    assert_eq!(linked, nodes.len(), "an idle pair stays in sync");
    for node in nodes {
        node.shutdown().await;
    }
}

/// Starts all pairs, a few at a time. Returns their nodes.
async fn start_all(dir: &Path, pairs: usize) -> Vec<Node> {
    let (mut starting, mut nodes) = (JoinSet::new(), Vec::new());
    for number in 0..pairs {
        if starting.len() == AT_A_TIME {
            nodes.extend(starting.join_next().await.unwrap().unwrap());
        }
        starting.spawn(start(dir.join(number.to_string())));
    }
    while let Some(pair) = starting.join_next().await {
        nodes.extend(pair.unwrap());
    }
    nodes
}

async fn start(dir: PathBuf) -> [Node; 2] {
    let master = Node::builder(dir.join("a")).first_start(FirstStart::Master).start().await.unwrap();
    drop(master.mastership().await.unwrap());
    master.operator().enable().await.unwrap();
    let (token, _) = master.operator().token(None).await.unwrap();
    let join = FirstStart::Join { master: master.status().listen.to_string(), token };
    let shadow = Node::builder(dir.join("b")).first_start(join).start().await.unwrap();
    wait_for(&shadow, |status| status.engine.in_sync).await;
    [master, shadow]
}

async fn wait_for(node: &Node, holds: impl Fn(&shadowpair::Status) -> bool) {
    let mut events = node.events();
    while !holds(&node.status()) {
        let _ = tokio::time::timeout(Duration::from_millis(200), events.next()).await;
    }
}

/// What this process has used so far.
struct Usage {
    cpu: Duration,
    memory_kib: u64,
    threads: u64,
    files: u64,
    switches: u64,
}

impl Usage {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let number = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let of_thread = |thread: std::io::Result<std::fs::DirEntry>| {
            let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap_or_default();
            number(&status, "voluntary_ctxt_switches:") + number(&status, "nonvoluntary_ctxt_switches:")
        };
        Self {
            cpu: Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32),
            memory_kib: number(&status, "VmRSS:"),
            threads: number(&status, "Threads:"),
            files: std::fs::read_dir("/proc/self/fd").unwrap().count() as u64,
            switches: std::fs::read_dir("/proc/self/task").unwrap().map(of_thread).sum(),
        }
    }
}

/// What the files below this directory take on the disk.
fn disk_kib(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let of_entry = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        match entry.metadata() {
            Ok(found) if found.is_dir() => disk_kib(&entry.path()),
            Ok(found) => found.blocks() / 2,
            Err(_) => 0,
        }
    };
    std::fs::read_dir(dir).unwrap().map(of_entry).sum()
}
