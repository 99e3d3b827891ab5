//! Parses a line of input.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use shadowpair::Replication;
use shadowpair::limits::VALUE_BYTES_MAX;

use super::keeping;
use super::output::Refusal;

/// One command.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Put { key: String, value: Vec<u8> },
    PutFile { key: String, path: PathBuf },
    Delete { key: String },
    Get { key: String },
    List { prefix: String },
    Begin,
    Commit,
    Abort,
    Load(Load),
    Status,
    Alerts,
    Ack { alert: u64 },
    History,
    Digest,
    Keep(keeping::Command),
    Enable,
    Disable,
    Token { life: Option<Duration> },
    Disconnect,
    Reconnect,
    Resync,
    Reset,
    TakeOver { accept_loss: bool },
    Replicate(Replication),
    SwitchRoles,
    Rotate,
    Pause { on: bool },
    Freeze { on: bool },
    ReplaceShadow { life: Option<Duration> },
    Quit,
}

/// What `load` writes.
#[derive(Debug, PartialEq, Eq)]
pub struct Load {
    /// Entries.
    pub count: u64,
    /// Bytes of each value.
    pub size: usize,
    /// The keys begin with this; a number of at least six digits follows.
    pub prefix: String,
}

/// Parses a line. Returns its first word, and the command.
pub fn parse(line: &[u8]) -> (String, Result<Command, Refusal>) {
    let (word, rest) = split_word(line);
    let name: String = String::from_utf8_lossy(word).chars().take(64).collect();
    let command = match name.as_str() {
        "put" => put(rest),
        "put-file" => put_file(rest),
        _ => match keeping::parse(&name, rest) {
            Some(parsed) => parsed.map(Command::Keep),
            None => parse_words(&name, rest),
        },
    };
    (name, command)
}

fn parse_words(name: &str, rest: Option<&[u8]>) -> Result<Command, Refusal> {
    let rest = std::str::from_utf8(rest.unwrap_or_default()).map_err(|_| bad("arguments are UTF-8"))?;
    let words: Vec<&str> = rest.split_ascii_whitespace().collect();
    let command = match (name, words.as_slice()) {
        ("delete", [key]) => Command::Delete { key: (*key).into() },
        ("get", [key]) => Command::Get { key: (*key).into() },
        ("list", []) => Command::List { prefix: String::new() },
        ("list", [prefix]) => Command::List { prefix: (*prefix).into() },
        ("load", [count, size]) => load(count, size, "")?,
        ("load", [count, size, prefix]) => load(count, size, prefix)?,
        ("ack", [alert]) => Command::Ack { alert: number(alert)? },
        ("token", []) => Command::Token { life: None },
        ("token", [life]) => Command::Token { life: Some(duration(life)?) },
        ("replace-shadow", []) => Command::ReplaceShadow { life: None },
        ("replace-shadow", [life]) => Command::ReplaceShadow { life: Some(duration(life)?) },
        ("take-over", []) => Command::TakeOver { accept_loss: false },
        ("take-over", ["--accept-loss"]) => Command::TakeOver { accept_loss: true },
        ("replication", ["sync"]) => Command::Replicate(Replication::Synchronous),
        ("replication", ["async"]) => Command::Replicate(Replication::Asynchronous),
        ("switch-roles", []) => Command::SwitchRoles,
        ("pause", []) => Command::Pause { on: true },
        ("resume", []) => Command::Pause { on: false },
        ("freeze", []) => Command::Freeze { on: true },
        ("unfreeze", []) => Command::Freeze { on: false },
        ("rotate", []) => Command::Rotate,
        ("begin", []) => Command::Begin,
        ("commit", []) => Command::Commit,
        ("abort", []) => Command::Abort,
        ("status", []) => Command::Status,
        ("alerts", []) => Command::Alerts,
        ("history", []) => Command::History,
        ("digest", []) => Command::Digest,
        ("enable", []) => Command::Enable,
        ("disable", []) => Command::Disable,
        ("disconnect", []) => Command::Disconnect,
        ("reconnect", []) => Command::Reconnect,
        ("resync", []) => Command::Resync,
        ("reset", []) => Command::Reset,
        ("quit", []) => Command::Quit,
        _ => return Err(refuse(name)),
    };
    Ok(command)
}

/// Why a line is no command: the word is unknown, not supported yet, or has the wrong arguments.
fn refuse(name: &str) -> Refusal {
    let usage = match name {
        "put-secret" => {
            return Refusal::new("not_supported", format!("{name} comes with a later version"));
        }
        "delete" | "get" => "KEY, without spaces",
        "list" => "[PREFIX]",
        "load" => "COUNT SIZE [PREFIX]",
        "ack" => "ALERT, the id of an alert",
        "token" | "replace-shadow" => "[DURATION]",
        "take-over" => "[--accept-loss]",
        "replication" => "sync or async",
        "begin" | "commit" | "abort" | "status" | "alerts" | "history" | "digest" | "enable" | "disable"
        | "disconnect" | "reconnect" | "resync" | "reset" | "quit" | "switch-roles" | "pause" | "resume" | "freeze"
        | "unfreeze" | "rotate" => "no arguments",
        _ => return Refusal::new("unknown_command", "there is no such command; docs/CLI.md lists them"),
    };
    bad(format!("{name} takes {usage}"))
}

fn duration(text: &str) -> Result<Duration, Refusal> {
    humantime::parse_duration(text).map_err(|e| bad(format!("DURATION, such as 15m: {e}")))
}

fn put(rest: Option<&[u8]>) -> Result<Command, Refusal> {
    let (key, value) = key_and_rest(rest, "put takes KEY VALUE")?;
    Ok(Command::Put { key, value: value.to_vec() })
}

fn put_file(rest: Option<&[u8]>) -> Result<Command, Refusal> {
    let (key, path) = key_and_rest(rest, "put-file takes KEY PATH")?;
    let path = std::str::from_utf8(path).map_err(|_| bad("a PATH is UTF-8"))?;
    Ok(Command::PutFile { key, path: path.into() })
}

/// A key up to the first space, and everything after that space.
fn key_and_rest<'a>(rest: Option<&'a [u8]>, usage: &str) -> Result<(String, &'a [u8]), Refusal> {
    let (key, rest) = split_word(rest.ok_or_else(|| bad(usage))?);
    let key = std::str::from_utf8(key).map_err(|_| bad("a KEY is UTF-8"))?;
    Ok((key.into(), rest.ok_or_else(|| bad(usage))?))
}

fn load(count: &str, size: &str, prefix: &str) -> Result<Command, Refusal> {
    let (count, size): (u64, usize) = (number(count)?, number(size)?);
    if size > VALUE_BYTES_MAX {
        return Err(Refusal::new("too_large", format!("a value has at most {VALUE_BYTES_MAX} bytes")));
    }
    Ok(Command::Load(Load { count, size, prefix: prefix.into() }))
}

fn number<T: FromStr>(text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| bad(format!("{text} is not a number that fits")))
}

fn split_word(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == b' ') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new("bad_argument", message)
}
