//! The hosts as processes, and what the kernel counts of them.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use crate::bench::VALUE_BYTES;
use crate::figures::Latencies;
use crate::harness::Proxy;
use crate::host::{Launch, Reply, Request};
use crate::workload::{Load, Run};

/// A program that answers lines, and ends with this. It is killed when it is dropped.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// This program again, with these arguments.
    pub fn start(arguments: &[&str]) -> Self {
        let this = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(this);
        let command = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this program can be started");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, input, output }
    }

    pub fn write_line(&mut self, line: &str) {
        let input = self.input.as_mut().expect("its input has not ended");
        writeln!(input, "{line}").expect("the program reads");
    }

    pub fn read_line(&mut self) -> String {
        let mut line = String::new();
        let bytes = self.output.read_line(&mut line).expect("the program writes");
        assert!(bytes > 0, "the program ended; its error output says why");
        line
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) {
        let _ = self.child.wait();
    }

    pub fn kill(&mut self) {
        // It fails only where the program has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its input ends, and with that the program.
    pub fn end(&mut self) {
        self.input = None;
    }

    pub fn usage(&self) -> Usage {
        Usage::of(self.child.id())
    }

    /// Lets [`Usage::peak`] count from now.
    pub fn reset_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the kernel counts of a process.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time, in seconds.
    pub cpu: f64,
    /// Bytes given to write calls; what is sent to sockets is not among them.
    pub written: f64,
    /// Bytes that made pages of files dirty, and so go to the device.
    pub to_device: f64,
    /// Resident memory, in bytes.
    pub resident: f64,
    /// The most of it.
    pub peak: f64,
    pub threads: f64,
}

impl Usage {
    pub fn of(pid: u32) -> Self {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        let (io, status, stat) = (read("io"), read("status"), read("stat"));
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a field of the kernel");
            line.split_whitespace().next().and_then(|number| number.parse::<f64>().ok()).expect("a number")
        };
        // Behind the name, which may hold anything: the 12th and 13th field. A tick is 10 ms on every Linux we know of.
        let after_name = stat.rsplit(") ").next().expect("a name in brackets");
        let ticks = after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("ticks"));
        Self {
            cpu: ticks.sum::<f64>() / 100.0,
            written: field(&io, "wchar:"),
            to_device: field(&io, "write_bytes:"),
            resident: field(&status, "VmRSS:") * 1024.0,
            peak: field(&status, "VmHWM:") * 1024.0,
            threads: field(&status, "Threads:"),
        }
    }
}

/// The host of one node.
pub struct NodeProcess {
    process: Process,
    pub launch: Launch,
}

impl NodeProcess {
    /// Returns when the node has started, and as a shadow is enrolled.
    pub fn start(launch: Launch) -> Self {
        let json = serde_json::to_string(&launch).expect("plain data");
        let mut node = Self { process: Process::start(&["host", &json]), launch };
        let started = node.receive();
        assert!(matches!(started, Reply::Started), "{started:?}");
        node
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Its input ends, so that it shuts its node down.
    pub fn end(&mut self) {
        self.process.end();
    }

    /// Starts it again after [`NodeProcess::kill`] or [`NodeProcess::end`], with the directory that it had.
    pub fn start_again(&mut self) {
        self.process.wait();
        *self = Self::start(self.launch.clone());
    }

    pub fn send(&mut self, request: &Request) {
        self.process.write_line(&serde_json::to_string(request).expect("plain data"));
    }

    pub fn receive(&mut self) -> Reply {
        serde_json::from_str(&self.process.read_line()).expect("a reply")
    }

    pub fn ask(&mut self, request: &Request) -> Reply {
        self.send(request);
        self.receive()
    }

    pub fn usage(&self) -> Usage {
        self.process.usage()
    }

    pub fn reset_peak(&self) {
        self.process.reset_peak();
    }

    pub fn run(&mut self, run: Run) -> Latencies {
        match self.ask(&Request::Run(run)) {
            Reply::Ran(latencies) => latencies,
            other => panic!("{other:?}"),
        }
    }

    /// How many changes of role or serving it told.
    pub fn role_changes(&mut self) -> u64 {
        match self.ask(&Request::RoleChanges) {
            Reply::RoleChanges(count) => count,
            other => panic!("{other:?}"),
        }
    }
}

/// Timings of a pair.
#[derive(Clone, Copy)]
pub struct Timing {
    pub heartbeat_ms: u64,
    pub takeover_delay_ms: u64,
}

impl Default for Timing {
    /// The defaults of the crate.
    fn default() -> Self {
        Self { heartbeat_ms: 1_000, takeover_delay_ms: 5_000 }
    }
}

/// An enrolled pair, synchronous, each node in a process of its own. The first node was enrolled as master.
pub struct Pair {
    pub nodes: [NodeProcess; 2],
    _dir: TempDir,
}

impl Pair {
    /// Enrols a pair with its data directories below `dir`, and waits until it is in sync.
    pub fn start(dir: &Path, timing: &Timing) -> Self {
        Self::start_through(dir, timing, None)
    }

    /// The same, with each node dialled through a proxy.
    pub fn start_through(dir: &Path, timing: &Timing, proxies: Option<&[Proxy; 2]>) -> Self {
        let dir = tempfile::tempdir_in(dir).unwrap();
        let launch = |side: usize| {
            let listen = free_address();
            let advertise = proxies.map(|proxies| {
                proxies[side].forward_to(&listen);
                proxies[side].address()
            });
            let Timing { heartbeat_ms, takeover_delay_ms } = *timing;
            let dir: PathBuf = dir.path().join(["first", "second"][side]);
            Launch { dir, listen, advertise, join: None, heartbeat_ms, takeover_delay_ms, log_changes: None }
        };
        let mut first = NodeProcess::start(launch(0));
        let Reply::Token(token) = first.ask(&Request::Token) else { panic!("no token") };
        let master = first.launch.advertise.clone().unwrap_or_else(|| first.launch.listen.clone());
        let second = NodeProcess::start(Launch { join: Some((master, token)), ..launch(1) });
        let mut pair = Self { nodes: [first, second], _dir: dir };
        pair.ready();
        pair
    }

    pub fn master(&mut self) -> &mut NodeProcess {
        &mut self.nodes[0]
    }

    pub fn shadow(&mut self) -> &mut NodeProcess {
        &mut self.nodes[1]
    }

    /// Waits until both nodes are in sync and the shadow could take over.
    pub fn ready(&mut self) {
        self.nodes.iter_mut().for_each(|node| _ = node.ask(&Request::Ready));
    }

    pub fn synchronous(&mut self, wanted: bool) {
        self.nodes.iter_mut().for_each(|node| _ = node.ask(&Request::Synchronous(wanted)));
    }

    /// Sets so many keys in change sets of 1,000. Returns the seconds it took.
    pub fn load(&mut self, entries: u64) -> f64 {
        let load = Load { entries, bytes: VALUE_BYTES, per_set: 1_000, stride: 1 };
        match self.master().ask(&Request::Load(load)) {
            Reply::Took { seconds } => seconds,
            other => panic!("{other:?}"),
        }
    }
}

/// An address that nobody uses now, so that a node keeps it over a restart.
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("bound").to_string()
}
