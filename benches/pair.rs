//! What the pair costs, measured on the real programs, beside what the disk under it costs.
//!
//! ```text
//! cargo bench --bench pair
//! ```
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that measures: it has a clock, and fails by panicking"
)]

#[path = "../tests/chaos/campaign/mod.rs"]
mod campaign;
#[path = "../tests/harness/mod.rs"]
mod harness;

use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use campaign::{Campaign, FaultKind};
use harness::{FAST, Pair};
use shadowpair::{ChangeSet, FirstStart, Node, Options};

const TAKEOVERS: usize = 20;
const TAKEOVER_DELAY: Duration = Duration::from_millis(500);
const COMMITS: usize = 5_000;
const PUSH_ENTRIES: u64 = 200_000;
const FAULTS: usize = 5;
const IDLE_WINDOW: Duration = Duration::from_secs(20);

fn main() {
    build_programs();
    println!("{}\n", machine());
    println!("{:<46} {:>12} {:>12} {:>12}", "", "p50", "p99", "worst");
    let floor = floor();
    row_us("append 200 bytes and sync, us", &floor);
    let commits = commits();
    row_us("commit of one 200-byte change, async, us", &commits);
    println!("{:<46} {:>12.2}", "  the same / the floor", ratio(&commits, &floor));
    row_us("takeover after kill -9, beyond the delay, us", &takeovers());
    full_push();
    idle();
    faults();
}

/// `cargo bench` builds this program, and not the ones it drives.
fn build_programs() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let built = Command::new(cargo).args(["build", "--release", "--examples"]).status().expect("cargo runs");
    assert!(built.success(), "the examples do not build");
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("\t: unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("machine: {cores} x {}, Linux {}", model.trim_start_matches(['\t', ' ', ':']), kernel.trim())
}

fn floor() -> Vec<Duration> {
    let dir = tempfile::tempdir().unwrap();
    let mut file = File::create(dir.path().join("floor")).unwrap();
    let append = |_| {
        let begun = Instant::now();
        file.write_all(&[7; 200]).unwrap();
        file.sync_data().unwrap();
        begun.elapsed()
    };
    sorted((0..COMMITS).map(append).collect())
}

/// One caller, both nodes in this process, the shadow in sync.
fn commits() -> Vec<Duration> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        let start = Node::builder(dir.path().join("a")).first_start(FirstStart::Master).listen("127.0.0.1:0");
        let master = start.start().await.unwrap();
        master.mastership().await.unwrap();
        let operator = master.operator();
        operator.enable().await.unwrap();
        let (token, _) = operator.token(None).await.unwrap();
        let join = FirstStart::Join { master: master.status().listen.to_string(), token };
        let shadow = Node::builder(dir.path().join("b")).first_start(join).listen("127.0.0.1:0").start().await.unwrap();
        shadow.status_watch().wait_for(|status| status.engine.in_sync).await.unwrap();
        let mut times = Vec::with_capacity(COMMITS);
        for n in 0..COMMITS {
            let begun = Instant::now();
            master.config().commit(ChangeSet::new().put(format!("key/{n}"), vec![7; 200])).await.unwrap();
            times.push(begun.elapsed());
        }
        master.shutdown().await;
        shadow.shutdown().await;
        sorted(times)
    })
}

/// From the kill to the `role` event of the one that serves, roles alternating; the chosen delay is taken off.
fn takeovers() -> Vec<Duration> {
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("load 10000 200");
    let takeover = |round: usize| {
        let (old, new) = (round % 2, (round + 1) % 2);
        pair.in_sync();
        pair.nodes[new].skip_to_now();
        let killed = Instant::now();
        pair.nodes[old].kill();
        pair.nodes[new].wait("the takeover", |event| event["event"] == "role" && event["serving"] == true);
        let took = killed.elapsed();
        pair.start_again(old);
        took.saturating_sub(TAKEOVER_DELAY)
    };
    sorted((0..TAKEOVERS).map(takeover).collect())
}

fn full_push() {
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok(&format!("load {PUSH_ENTRIES} 200"));
    pair.in_sync();
    let mut rates = Vec::new();
    let resident = pair.nodes.each_ref().map(|node| node.resident_peak());
    for _ in 0..3 {
        pair.nodes[1].skip_to_now();
        let begun = Instant::now();
        pair.nodes[1].ok("resync");
        let synced = pair.nodes[1].wait("the full push", |event| event["event"] == "synced" && event["how"] == "full");
        let bytes = synced["bytes"].as_f64().unwrap();
        rates.push(bytes / 1e6 / begun.elapsed().as_secs_f64());
        pair.in_sync();
    }
    rates.sort_by(f64::total_cmp);
    println!("{:<46} {:>12.1}", format!("full push of {PUSH_ENTRIES} x 200 B, durable, MB/s"), rates[1]);
    for (node, before) in pair.nodes.iter().zip(resident) {
        let grown = node.resident_peak().saturating_sub(before) as f64 / 1048576.0;
        println!("{:<46} {grown:>12.1}", format!("  memory it takes, {}, MiB", node.launch().program));
    }
}

fn idle() {
    let pair = Pair::enrol(&[]);
    let before = pair.nodes.each_ref().map(|node| node.ticks());
    std::thread::sleep(IDLE_WINDOW); // the window that is measured
    for (node, before) in pair.nodes.iter().zip(before) {
        // A tick is 10 ms on every Linux we know of.
        let share = (node.ticks() - before) as f64 * 0.01 / IDLE_WINDOW.as_secs_f64() * 100.0;
        println!("{:<46} {share:>12.2}", format!("idle at default timing, {}, % of a core", node.launch().program));
        let resident = node.resident() as f64 / 1048576.0;
        println!("{:<46} {resident:>12.1}", "  resident, MiB");
    }
}

/// Downtime after each kind of fault, beside the time that a takeover should take: the takeover delay, and the margin by which
/// the lease is waited out. That time counts from the last heartbeat, so that it may be a little less from the fault. Where no
/// takeover is needed, the downtime is only the work under way.
fn faults() {
    let mut campaign = Campaign::begin();
    for kind in FaultKind::ALL.into_iter().cycle().take(FAULTS * FaultKind::ALL.len()) {
        campaign.run_fault(kind);
    }
    let mut options = Options::default();
    options.takeover_delay = TAKEOVER_DELAY;
    // 2.1 % and a millisecond: twice the error that each clock's rate may have.
    let yardstick = TAKEOVER_DELAY + options.lease().mul_f64(0.021) + Duration::from_millis(1);
    println!(
        "\ndowntime by kind of fault, {FAULTS} of each; takeover delay and lease margin: {} ms",
        yardstick.as_millis()
    );
    println!("{:<46} {:>12} {:>12} {:>12}", "", "median, ms", "worst, ms", "median / it");
    let report = campaign.end();
    for (kind, times) in report.downtimes() {
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        let ratio = median.as_secs_f64() / yardstick.as_secs_f64();
        println!("{:<46} {:>12} {:>12} {ratio:>12.2}", kind.to_string(), median.as_millis(), worst.as_millis());
    }
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort_unstable();
    times
}

fn ratio(times: &[Duration], floor: &[Duration]) -> f64 {
    times[times.len() / 2].as_secs_f64() / floor[floor.len() / 2].as_secs_f64()
}

fn row_us(what: &str, sorted: &[Duration]) {
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize].as_micros();
    println!("{what:<46} {:>12} {:>12} {:>12}", at(0.5), at(0.99), at(1.0));
}
