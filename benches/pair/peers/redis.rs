//! Redis with one replica: TLS with client certificates, an append-only file that is synced for every reply, and `WAIT 1`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tempfile::TempDir;

use super::resp::{Client, Reply};
use super::{Server, installed, search_path, until};
use crate::bench::{Bench, VALUE_BYTES};
use crate::figures::Latencies;
use crate::process::{Usage, free_address};
use crate::tls::Authority;
use crate::workload::{Random, Run, WARM_UP, key};

const PROGRAM: &str = "redis-server";

pub fn measure(bench: &mut Bench) {
    let Some(program) = installed(search_path(), PROGRAM) else {
        println!("{PROGRAM} is not installed");
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = Redis::start(bench.dir(), &program);
    let run = Run { callers: 1, keys: 10_000, bytes: VALUE_BYTES, per_set: 1, milliseconds: 0 };
    let mut commits = |name: &str, milliseconds, run: Run| {
        let run = Run { milliseconds: bench.scaled(milliseconds), ..run };
        let latencies = runtime.block_on(redis.run(&run));
        bench.figures.add_latencies(&format!("redis.{name}"), &latencies);
    };
    commits("sync", 15_000, run.clone());
    commits("callers.hot", 8_000, Run { callers: 64, keys: 1_000, ..run.clone() });
    commits("set", 8_000, Run { per_set: 100, ..run.clone() });
    let entries = bench.entries();
    let seconds = runtime.block_on(redis.load(entries));
    bench.figures.add("redis.load", seconds);
    let run = Run { callers: 64, keys: entries, milliseconds: bench.scaled(8_000), ..run };
    let latencies = runtime.block_on(redis.run(&run));
    bench.figures.add_latencies("redis.callers.random", &latencies);
    redis.full_copy(bench, &runtime);
}

/// A primary and its replica.
struct Redis {
    program: PathBuf,
    dir: TempDir,
    client: Arc<ClientConfig>,
    port: u16,
    primary: Server,
    _replica: Server,
}

impl Redis {
    fn start(dir: &Path, program: &Path) -> Self {
        let dir = tempfile::tempdir_in(dir).unwrap();
        let authority = Authority::new();
        authority.write_to(dir.path());
        let (port, other) = (free_port(), free_port());
        let primary = start(program, dir.path(), "primary", port, None);
        let replica = start(program, dir.path(), "replica", other, Some(port));
        let client = authority.client();
        let redis = Self { program: program.into(), dir, client, port, primary, _replica: replica };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        until("the replica", || redis.info(&runtime, other, &["master_link_status:up"]));
        redis
    }

    async fn connect(&self) -> Client {
        Client::connect(Arc::clone(&self.client), self.port).await.unwrap()
    }

    async fn run(&self, run: &Run) -> Latencies {
        let measured_from = Instant::now() + WARM_UP;
        let until = measured_from + Duration::from_millis(run.milliseconds);
        let mut callers = Vec::new();
        for number in 0..run.callers {
            callers.push(tokio::spawn(call(self.connect().await, run.clone(), number, measured_from, until)));
        }
        let mut times = Vec::new();
        for caller in callers {
            times.extend(caller.await.unwrap());
        }
        Latencies::of(times, until - measured_from)
    }

    async fn load(&self, entries: u64) -> f64 {
        let (mut client, mut random) = (self.connect().await, Random::new(entries));
        let begun = Instant::now();
        for first in (0..entries).step_by(1_000) {
            add_set(&mut client, &mut random, first..entries.min(first + 1_000));
            check(&client.answers().await);
        }
        begun.elapsed().as_secs_f64()
    }

    /// A new replica, from its start until it serves, and until its own file is durable.
    fn full_copy(&self, bench: &mut Bench, runtime: &tokio::runtime::Runtime) {
        let (port, begun) = (free_port(), Instant::now());
        std::fs::write(format!("/proc/{}/clear_refs", self.primary.pid()), "5").unwrap();
        let replica = start(&self.program, self.dir.path(), "copy", port, Some(self.port));
        until("the copy", || self.info(runtime, port, &["master_link_status:up", "loading:0"]));
        bench.figures.add("redis.push.online", begun.elapsed().as_secs_f64());
        let durable = ["aof_enabled:1", "aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"];
        until("the copy's file", || self.info(runtime, port, &durable));
        bench.figures.add("redis.push.durable", begun.elapsed().as_secs_f64());
        let (primary, copy) = (Usage::of(self.primary.pid()), Usage::of(replica.pid()));
        for (name, value) in [
            ("peak_primary", primary.peak),
            ("peak_replica", copy.peak),
            ("written", copy.written),
            ("to_device", copy.to_device),
        ] {
            bench.figures.add(format!("redis.push.{name}"), value);
        }
    }

    /// Whether the server at this port says all of it of itself.
    fn info(&self, runtime: &tokio::runtime::Runtime, port: u16, wanted: &[&str]) -> bool {
        runtime.block_on(async {
            let Ok(mut client) = Client::connect(Arc::clone(&self.client), port).await else { return false };
            client.add(&[b"INFO"]);
            let Reply::One(Some(info)) = client.answers().await else { return false };
            wanted.iter().all(|wanted| info.lines().any(|line| line == *wanted))
        })
    }
}

async fn call(mut client: Client, run: Run, number: u64, measured_from: Instant, until: Instant) -> Vec<Duration> {
    let mut random = Random::new(number + 1);
    let mut times = Vec::new();
    loop {
        let begun = Instant::now();
        let keys: Vec<u64> = (0..run.per_set).map(|_| random.below(run.keys)).collect();
        add_set(&mut client, &mut random, keys);
        check(&client.answers().await);
        let ended = Instant::now();
        if ended > until {
            return times;
        }
        if begun >= measured_from {
            times.push(ended - begun);
        }
    }
}

/// Sets these keys, in one transaction where there are several, and waits for the replica.
fn add_set(client: &mut Client, random: &mut Random, keys: impl IntoIterator<Item = u64>) {
    let keys: Vec<u64> = keys.into_iter().collect();
    if keys.len() > 1 {
        client.add(&[b"MULTI"]);
    }
    for number in &keys {
        client.add(&[b"SET", key(*number).as_bytes(), &random.value(VALUE_BYTES)]);
    }
    if keys.len() > 1 {
        client.add(&[b"EXEC"]);
    }
    client.add(&[b"WAIT", b"1", b"0"]);
}

/// The replica has it.
fn check(reply: &Reply) {
    assert_eq!(*reply, Reply::One(Some("1".into())), "replicas that have it");
}

fn start(program: &Path, certificates: &Path, name: &str, port: u16, primary: Option<u16>) -> Server {
    let dir = certificates.join(name);
    std::fs::create_dir_all(&dir).unwrap();
    let file = |name: &str| certificates.join(name).to_str().expect("a plain path").to_owned();
    let port = port.to_string();
    let mut command = Command::new(program);
    command.current_dir(&dir).stdin(Stdio::null()).stdout(Stdio::null());
    command.args(["--port", "0", "--tls-port", &port, "--bind", "127.0.0.1", "--save", "", "--loglevel", "warning"]);
    command.args(["--tls-cert-file", &file("cert.pem"), "--tls-key-file", &file("key.pem")]);
    command.args(["--tls-ca-cert-file", &file("ca.pem"), "--tls-replication", "yes"]);
    command.args(["--appendonly", "yes", "--appendfsync", "always"]);
    command.args(["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"]);
    if let Some(primary) = primary {
        command.args(["--replicaof", "127.0.0.1", &primary.to_string()]);
    }
    Server::start(&mut command)
}

fn free_port() -> u16 {
    free_address().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}
