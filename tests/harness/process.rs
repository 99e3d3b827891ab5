//! One running program.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::WAIT_MAX;

/// How a program is started.
#[derive(Clone)]
pub struct Launch {
    pub program: &'static str,
    pub arguments: Vec<OsString>,
    /// A command that starts the program, for example in a namespace of its own.
    pub wrapper: Vec<OsString>,
}

impl Launch {
    /// `master` or `shadow`, with this data directory.
    pub fn new(program: &'static str, data: &Path) -> Self {
        let arguments = vec!["--json".into(), "--data".into(), data.into()];
        Self { program, arguments, wrapper: Vec::new() }
    }

    /// One more argument, or several.
    pub fn with<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    fn command(&self) -> Command {
        let program = example(self.program);
        let mut words = self.wrapper.iter().cloned().chain([program.into_os_string()]).chain(self.arguments.clone());
        let mut command = Command::new(words.next().expect("there is a program"));
        command.args(words);
        command
    }

    /// Runs it to its end without input. Returns its exit status, its output and its error output.
    pub fn run(&self) -> (ExitStatus, String, String) {
        let output = self.command().stdin(Stdio::null()).output().expect("the program can be run");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status, text(output.stdout), text(output.stderr))
    }

    /// Starts it and waits for its event `started`.
    pub fn start(&self) -> Program {
        let mut program = self.spawn();
        let started = program.next_event(WAIT_MAX).unwrap_or_else(|| program.fail("it did not start"));
        program.check(started["event"] == "started", &format!("the first event is {started}"));
        program.started = started;
        program
    }

    /// Starts it without waiting.
    pub fn spawn(&self) -> Program {
        let mut child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let transcript = Arc::new(Mutex::new(Vec::new()));
        let (sender, lines) = channel();
        let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let lines_seen = transcript.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                note(&lines_seen, "<", &line);
                let value = serde_json::from_str(&line)
                    .unwrap_or_else(|e| serde_json::json!({"not_json": line, "why": e.to_string()}));
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let lines_seen = transcript.clone();
        let errors = std::thread::spawn(move || {
            let lines = BufReader::new(err).lines().map_while(Result::ok);
            lines.fold(None, |panic, line| {
                note(&lines_seen, "!", &line);
                panic.or_else(|| (line.starts_with("thread '") && line.contains(" panicked at ")).then_some(line))
            })
        });
        let stdin = child.stdin.take();
        Program {
            errors: Some(errors),
            launch: self.clone(),
            child,
            stdin,
            lines,
            waiting: VecDeque::new(),
            transcript,
            started: Value::Null,
        }
    }
}

/// Most lines of a transcript that are kept: enough for any test. A program that runs for minutes keeps its last ones.
const TRANSCRIPT_LINES_MAX: usize = 20_000;

fn note(transcript: &Mutex<Vec<String>>, mark: &str, line: &str) {
    let shown: String = line.chars().take(600).collect();
    let mut transcript = transcript.lock().expect("nobody panics with the transcript");
    if transcript.len() == TRANSCRIPT_LINES_MAX {
        transcript.drain(..TRANSCRIPT_LINES_MAX / 2);
    }
    transcript.push(format!("{mark} {shown}"));
}

/// The path of an example. `cargo test` builds tests as `target/PROFILE/deps/THIS`, and examples as
/// `target/PROFILE/examples/NAME`.
pub fn example(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("this program has a path");
    let profile = this.parent().and_then(Path::parent).expect("deps stands in a profile's folder");
    let path = profile.join("examples").join(name);
    assert!(path.exists(), "{} is not built: say `cargo build --examples`", path.display());
    path
}

/// A running program, its commands and its events. Killed when dropped.
pub struct Program {
    launch: Launch,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    /// Events that were read and not waited for yet.
    waiting: VecDeque<Value>,
    transcript: Arc<Mutex<Vec<String>>>,
    /// Reads its log, and ends with the line of a panic in it.
    errors: Option<JoinHandle<Option<String>>>,
    /// Its first event.
    pub started: Value,
}

impl Program {
    /// Writes a command and returns its answer. Events before it are kept for [`Program::wait`].
    pub fn say(&mut self, command: &str) -> Value {
        self.write(command);
        self.answer(command)
    }

    /// Writes a command without waiting for its answer.
    pub fn write(&mut self, command: &str) {
        note(&self.transcript, ">", command);
        let stdin = self.stdin.as_mut().expect("input is open");
        let wrote =
            stdin.write_all(command.as_bytes()).and_then(|()| stdin.write_all(b"\n")).and_then(|()| stdin.flush());
        if let Err(e) = wrote {
            self.fail(&format!("cannot say {command:?}: {e}"));
        }
    }

    /// The next answer, which must be to this command.
    pub fn answer(&mut self, command: &str) -> Value {
        let end = Instant::now() + 3 * WAIT_MAX;
        while let Some(value) = self.read(end) {
            if value["event"] == "reply" {
                let name = command.split(' ').next().unwrap_or_default();
                self.check(value["command"] == name, &format!("{value} answers {command:?}"));
                return value;
            }
            self.waiting.push_back(value);
        }
        self.fail(&format!("no answer to {command:?}"))
    }

    /// Writes a command that must succeed.
    pub fn ok(&mut self, command: &str) -> Value {
        let reply = self.say(command);
        self.check(reply["ok"] == true, &format!("{command:?} is answered by {reply}"));
        reply
    }

    /// Writes a command that must fail with this error.
    pub fn refused(&mut self, command: &str, error: &str) -> Value {
        let reply = self.say(command);
        self.check(reply["ok"] == false && reply["error"] == error, &format!("{command:?} is answered by {reply}"));
        self.check(reply["message"].as_str().is_some_and(|m| !m.is_empty()), &format!("{reply} says nothing"));
        reply
    }

    /// Waits for an event, and drops the events before it.
    pub fn wait(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + WAIT_MAX;
        loop {
            let next = self.waiting.pop_front().or_else(|| self.read(end));
            match next {
                Some(event) if wanted(&event) => return event,
                Some(_) => (),
                None => self.fail(&format!("waited for {what}")),
            }
        }
    }

    /// Drops the events so far, so that the next wait is for a new one.
    pub fn skip_to_now(&mut self) {
        self.waiting.clear();
        while self.lines.try_recv().is_ok() {}
    }

    /// The next event, if it comes in time.
    pub fn next_event(&mut self, at_most: Duration) -> Option<Value> {
        self.waiting.pop_front().or_else(|| self.read(Instant::now() + at_most))
    }

    /// Repeats a command after every event, and a few times a second, until the answer is as wanted.
    pub fn until(&mut self, command: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + WAIT_MAX;
        loop {
            let reply = self.say(command);
            if wanted(&reply) {
                return reply;
            }
            if Instant::now() > end {
                self.fail(&format!("waited for {what}; {command:?} says {reply}"));
            }
            if let Some(event) = self.read((Instant::now() + Duration::from_millis(50)).min(end)) {
                self.waiting.push_back(event);
            }
        }
    }

    /// Waits until status is as wanted.
    pub fn status(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.until("status", what, wanted)
    }

    /// Waits until it serves as master.
    pub fn serving(&mut self) -> Value {
        self.status("mastership", |status| status["role"] == "master" && status["serving"] == true)
    }

    /// The alerts that stand, of this kind.
    pub fn alerts(&mut self, kind: &str) -> Vec<Value> {
        let reply = self.ok("alerts");
        let alerts = reply["alerts"].as_array().cloned().unwrap_or_else(|| self.fail("alerts is no list"));
        alerts.into_iter().filter(|alert| alert["kind"] == kind).collect()
    }

    /// Waits until the alerts that stand are as wanted.
    pub fn alerts_until(&mut self, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let list = |reply: &Value| reply["alerts"].as_array().cloned().unwrap_or_default();
        list(&self.until("alerts", what, |reply| wanted(&list(reply))))
    }

    /// The address on which it listens.
    pub fn listen(&self) -> String {
        self.started["listen"].as_str().expect("started says where it listens").to_owned()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, as near to a power cut as a process can come.
    pub fn kill(&mut self) {
        note(&self.transcript, "*", "kill -9");
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Starts it again with its old command line, after [`Program::kill`] or [`Program::quit`].
    pub fn start_again(&mut self) {
        *self = self.launch.start();
    }

    /// How it is started.
    pub fn launch(&self) -> &Launch {
        &self.launch
    }

    /// Ends it by closing its input.
    pub fn quit(&mut self) {
        self.stdin.take();
        self.ends_well();
    }

    /// Waits for a clean end.
    pub fn ends_well(&mut self) {
        self.wait("stopped", kind_is("stopped"));
        let status = self.exit();
        self.check(status.success(), &format!("it ended with {status}"));
    }

    /// Waits for its end: output is closed then.
    pub fn exit(&mut self) -> ExitStatus {
        let end = Instant::now() + WAIT_MAX;
        while self.read(end).is_some() {}
        self.check(Instant::now() < end, "it does not end");
        self.child.wait().expect("it can be waited for")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid() as i32).expect("a process has a number");
        kill_process(pid, signal).expect("it takes signals");
    }

    /// Whether it ever printed this.
    pub fn has_printed(&self, words: &str) -> bool {
        let transcript = self.transcript.lock().expect("nobody panics with the transcript");
        transcript.iter().any(|line| line.starts_with('<') && line.contains(words))
    }

    /// Waits for a line on standard error that contains this.
    pub fn logs(&self, words: &str) {
        let end = Instant::now() + WAIT_MAX;
        let logged =
            |transcript: &[String]| transcript.iter().any(|line| line.starts_with('!') && line.contains(words));
        while !logged(&self.transcript.lock().expect("nobody panics with the transcript")) {
            self.check(Instant::now() < end, &format!("it never logged {words:?}"));
            std::thread::yield_now();
        }
    }

    /// Closes its input.
    pub fn close_input(&mut self) {
        self.stdin.take();
    }

    /// Bytes resident in memory.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// The most bytes that were ever resident.
    pub fn resident_peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it has memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Time spent computing, in clock ticks of 10 ms.
    pub fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it runs");
        let after_name = stat.rsplit_once(')').expect("a name in brackets").1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        fields[11].parse::<u64>().expect("user time") + fields[12].parse::<u64>().expect("system time")
    }

    /// Fails with the transcript if this does not hold.
    pub fn check(&self, holds: bool, otherwise: &str) {
        if !holds {
            self.fail(otherwise);
        }
    }

    /// Fails with the transcript.
    pub fn fail(&self, why: &str) -> ! {
        panic!("{why}\n{}", self.transcript())
    }

    /// Its command line, and the end of its transcript.
    pub fn transcript(&self) -> String {
        let transcript = self.transcript.lock().expect("nobody panics with the transcript");
        let shown = transcript[transcript.len().saturating_sub(2_000)..].join("\n");
        format!("--- {} {:?}\n{shown}\n---", self.launch.program, self.launch.arguments)
    }

    fn read(&mut self, end: Instant) -> Option<Value> {
        match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(value) if value.get("not_json").is_some() => self.fail(&format!("not a JSON line: {value}")),
            Ok(value) => Some(value),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        // What a wrapper has started may live on and keep the pipe open.
        let errors = self.errors.take().filter(|_| self.launch.wrapper.is_empty());
        let panic = errors.and_then(|errors| errors.join().ok().flatten());
        if let Some(panic) = panic.filter(|_| !std::thread::panicking()) {
            self.fail(&format!("the program panicked: {panic}"));
        }
    }
}

/// An event of this kind.
pub fn kind_is(kind: &str) -> impl Fn(&Value) -> bool {
    move |event| event["event"] == kind
}
