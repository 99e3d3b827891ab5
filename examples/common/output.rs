//! Writes one line per event, on one thread, so that neither the node nor a command waits for a terminal.

use std::io::{BufWriter, Write};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};

/// Most lines that wait to be written. Beyond it, printing waits.
const QUEUE_MAX: usize = 256;

/// One object of the output.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Started(Map<String, Value>),
    Role {
        role: &'static str,
        serving: bool,
        epoch: String,
        reason: &'static str,
    },
    Link {
        state: &'static str,
        peer: Option<String>,
        reason: Option<String>,
    },
    Synced {
        how: &'static str,
        revision: Value,
        entries: u64,
        bytes: u64,
        ms: u64,
    },
    Changed {
        revision: Value,
        keys: u64,
    },
    Alert(Map<String, Value>),
    Error {
        error: &'static str,
        message: String,
    },
    Reply(Reply),
    #[allow(dead_code, reason = "only the gateway has routes")]
    Route {
        route: String,
        state: &'static str,
        listen: Option<String>,
        backend: Option<String>,
        reason: Option<String>,
    },
    Stopped {},
}

/// The answer to a command.
#[derive(Serialize)]
pub struct Reply {
    command: String,
    ok: bool,
    #[serde(flatten)]
    body: Body,
}

/// The content of an answer.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Body {
    Fields(Map<String, Value>),
    /// A list can be long, so that it is written directly and not built as JSON first.
    List {
        revision: Value,
        entries: Vec<ListEntry>,
    },
}

/// One entry of `list`.
#[derive(Serialize)]
pub struct ListEntry {
    pub key: String,
    pub bytes: u64,
    pub secret: bool,
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    error: &'static str,
    message: String,
    more: Vec<(&'static str, Value)>,
}

impl Refusal {
    /// With a stable word for programs, and a sentence for people.
    pub fn new(error: &'static str, message: impl Into<String>) -> Self {
        Self { error, message: message.into(), more: Vec::new() }
    }

    /// The same with one more field.
    pub fn with(mut self, name: &'static str, value: Value) -> Self {
        self.more.push((name, value));
        self
    }
}

impl Reply {
    /// The answer to this command.
    pub fn new(command: String, outcome: Result<Body, Refusal>) -> Self {
        match outcome {
            Ok(body) => Self { command, ok: true, body },
            Err(refusal) => {
                let mut fields = fields(json!({ "error": refusal.error, "message": refusal.message }));
                fields.extend(refusal.more.into_iter().map(|(name, value)| (name.to_owned(), value)));
                Self { command, ok: false, body: Body::Fields(fields) }
            }
        }
    }
}

/// The fields of `json!({ … })`.
pub fn fields(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(fields) => fields,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}

/// An object as it is printed. `at` is when it happened, not when it was written.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    event: Event,
    at: String,
}

struct Job {
    line: Line,
    written: Option<oneshot::Sender<()>>,
}

/// Prints from anywhere.
#[derive(Clone)]
pub struct Printer(mpsc::Sender<Job>);

/// The thread behind it.
pub struct Writer(JoinHandle<()>);

impl Printer {
    /// Starts the thread. `json`: for programs, not for people.
    pub fn start(json: bool) -> (Self, Writer) {
        let (sender, jobs) = mpsc::channel(QUEUE_MAX);
        (Self(sender), Writer(std::thread::spawn(move || write_all(jobs, json))))
    }

    /// Queues an event. It is dropped where output is closed; [`Printer::closed`] tells.
    pub async fn print(&self, event: Event) {
        _ = self.0.send(Job { line: stamped(event), written: None }).await;
    }

    /// Prints an answer and waits until it is written. Answers can be large, so only one waits at a time.
    pub async fn reply(&self, reply: Reply) {
        let (written, done) = oneshot::channel();
        let job = Job { line: stamped(Event::Reply(reply)), written: Some(written) };
        if self.0.send(job).await.is_ok() {
            _ = done.await;
        }
    }

    /// Returns when standard output is closed.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

impl Writer {
    /// Waits until everything is written, at most this long.
    pub fn finish(self, at_most: Duration) {
        let (done, finished) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            _ = self.0.join();
            _ = done.send(());
        });
        _ = finished.recv_timeout(at_most);
    }
}

fn stamped(event: Event) -> Line {
    Line { event, at: humantime::format_rfc3339_millis(SystemTime::now()).to_string() }
}

fn write_all(mut jobs: mpsc::Receiver<Job>, json: bool) {
    let mut out = BufWriter::new(std::io::stdout());
    while let Some(Job { line, written }) = jobs.blocking_recv() {
        let wrote = if json { write_json(&mut out, &line) } else { write_human(&mut out, &line) };
        if wrote.and_then(|()| out.flush()).is_err() {
            return; // the reader is gone: dropping the receiver tells the program
        }
        if let Some(written) = written {
            _ = written.send(());
        }
    }
}

fn write_json(out: &mut impl Write, line: &Line) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// For people: `12:03:04.123  role      role=master serving=true …`, and lists with one item per line.
fn write_human(out: &mut impl Write, line: &Line) -> std::io::Result<()> {
    let time = line.at.get(11..23).unwrap_or(&line.at);
    let Value::Object(mut object) = serde_json::to_value(line)? else { return Ok(()) };
    object.shift_remove("at");
    let event = object.shift_remove("event").unwrap_or_default();
    write!(out, "{time}  {:<8}", event.as_str().unwrap_or_default())?;
    let mut lists = Vec::new();
    for (name, value) in object {
        match value {
            Value::Array(items) if items.iter().any(Value::is_object) => lists.push((name, items)),
            value => write!(out, " {name}={}", human(&value))?,
        }
    }
    writeln!(out)?;
    for (name, items) in lists {
        writeln!(out, "    {name}:")?;
        for item in items {
            writeln!(out, "      {}", human(&item))?;
        }
    }
    Ok(())
}

fn human(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Object(fields) => match (fields.get("epoch"), fields.get("seq")) {
            (Some(Value::String(epoch)), Some(seq)) => format!("{epoch}/{seq}"),
            _ => {
                let fields = fields.iter().map(|(name, value)| format!("{name}={}", human(value)));
                format!("({})", fields.collect::<Vec<_>>().join(" "))
            }
        },
        Value::Array(items) => format!("[{}]", items.iter().map(human).collect::<Vec<_>>().join(" ")),
        other => other.to_string(),
    }
}
