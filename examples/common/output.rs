//! What is printed on standard output: one line per event and answer.

use std::io::Write;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::stream::{self, Missed, Stream, Writer};
use super::view;

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
        #[serde(flatten)]
        more: Map<String, Value>,
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

/// A line of standard output: the object, and for whom it is written.
pub struct OutputLine {
    line: Line,
    json: bool,
    bytes: usize,
}

/// Prints from anywhere, and never waits for a reader.
#[derive(Clone)]
pub struct Printer {
    stream: Stream<OutputLine>,
    json: bool,
}

impl Printer {
    /// Starts the thread that writes. `json`: for programs, not for people.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(json: bool) -> std::io::Result<(Self, Writer<OutputLine>)> {
        let notice = move |Missed { answers, others }| OutputLine::new(view::missed(others, answers), json);
        let (stream, writer) = Stream::start(std::io::stdout(), notice)?;
        Ok((Self { stream, json }, writer))
    }

    /// Queues an event. Without room it is dropped and counted.
    pub fn print(&self, event: Event) {
        self.stream.print(OutputLine::new(event, self.json));
    }

    /// Prints an answer and waits until it is written, as long as the reader reads. So of answers to one who reads, which can be large,
    /// only one waits at a time.
    pub async fn reply(&self, reply: Reply) {
        self.stream.answer(OutputLine::new(Event::Reply(reply), self.json)).await;
    }
}

impl OutputLine {
    fn new(event: Event, json: bool) -> Self {
        let bytes = event.bytes();
        let at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        Self { line: Line { event, at }, json, bytes }
    }
}

impl stream::Line for OutputLine {
    fn is_answer(&self) -> bool {
        matches!(self.line.event, Event::Reply(_))
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        if self.json { write_json(out, &self.line) } else { write_human(out, &self.line) }
    }
}

impl Event {
    /// About as many bytes as it has. Only an answer can be large.
    fn bytes(&self) -> usize {
        const SMALL: usize = 512;
        match self {
            Self::Reply(Reply { body: Body::List { entries, .. }, .. }) => {
                SMALL + entries.iter().map(|entry| entry.key.len() + 48).sum::<usize>()
            }
            Self::Reply(Reply { body: Body::Fields(fields), .. }) | Self::Started(fields) | Self::Alert(fields) => {
                SMALL + fields.values().map(json_bytes).sum::<usize>()
            }
            _ => SMALL,
        }
    }
}

fn json_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(json_bytes).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + json_bytes(value)).sum(),
        _ => 8,
    }
}

fn write_json(out: &mut dyn Write, line: &Line) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// For people: `12:03:04.123  role      role=master serving=true …`, and lists with one item per line.
fn write_human(out: &mut dyn Write, line: &Line) -> std::io::Result<()> {
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
