//! A client of the pair. It keeps changes under way and remembers what was acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::one_master::{Epoch, Evidence, Wall};
use crate::harness::Program;

/// Most commands under way to the serving node. Its pipe holds far more, so that writing never blocks, not even while the node is
/// stopped.
const UNDER_WAY_MAX: usize = 16;
/// How often each node is asked for its status and for a change, whatever its role.
const POLL: Duration = Duration::from_millis(10);
/// Most reads under way in the last check.
const READS_MAX: usize = 256;
/// Errors with which a change may be refused. Any other one fails the test.
const REFUSALS: [&str; 3] = ["not_master", "in_doubt", "overloaded"];

pub struct Client {
    /// The number of the next change. Each puts its number under a key of its own.
    next: u64,
    acknowledged: Vec<u64>,
    /// Acknowledged changes that both disks had.
    replicated: u64,
    refused: BTreeMap<String, u64>,
    /// Changes that were never answered, because their node died.
    unanswered: u64,
    connections: [Connection; 2],
    /// The node of the highest epoch heard of, that epoch, and whether the node said last that it serves.
    master: usize,
    epoch: Epoch,
    serving: bool,
    paused: bool,
    watch: Watch,
    latest: Wall,
}

/// Commands to one node that are not answered yet.
#[derive(Default)]
struct Connection {
    asked: VecDeque<Asked>,
    polled: Option<Instant>,
    /// The time stamp of its last answer. The next one is produced later.
    answered: Wall,
}

struct Asked {
    command: Command,
    written: Wall,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Command {
    Status,
    Put(u64),
}

/// Waits for the first acknowledgement after a fault.
#[derive(Default)]
struct Watch {
    /// Only changes from this one on count.
    from: u64,
    answered: Option<Instant>,
    on_both: bool,
}

/// What a line of output tells.
#[derive(Default)]
pub struct Observation {
    pub evidence: Option<Evidence>,
    /// Whether the pair is whole, as this node sees it.
    pub whole: Option<bool>,
}

impl Client {
    pub fn new() -> Self {
        Self {
            next: 0,
            acknowledged: Vec::new(),
            replicated: 0,
            refused: BTreeMap::new(),
            unanswered: 0,
            connections: Default::default(),
            master: 0,
            epoch: Epoch(0, 0),
            serving: true,
            paused: false,
            watch: Watch::default(),
            latest: 0,
        }
    }

    /// The node that serves, or served last.
    pub fn master(&self) -> usize {
        self.master
    }

    /// Writes the commands that this node is to get now.
    pub fn ask(&mut self, node: usize, program: &mut Program) {
        let under_way = self.connections[node].asked.len();
        if under_way < UNDER_WAY_MAX && self.connections[node].polled.is_none_or(|polled| polled.elapsed() >= POLL) {
            self.connections[node].polled = Some(Instant::now());
            self.write(node, program, Command::Status);
            self.put(node, program);
        }
        while node == self.master && self.serving && !self.paused && self.connections[node].asked.len() < UNDER_WAY_MAX
        {
            self.put(node, program);
        }
    }

    fn put(&mut self, node: usize, program: &mut Program) {
        if !self.paused {
            self.write(node, program, Command::Put(self.next));
            self.next += 1;
        }
    }

    fn write(&mut self, node: usize, program: &mut Program, command: Command) {
        let written = self.now();
        self.connections[node].asked.push_back(Asked { command, written });
        match command {
            Command::Status => program.write("status"),
            Command::Put(number) => program.write(&format!("put {} {number}", key(number))),
        }
    }

    /// Reads a line of output of this node.
    pub fn read_line(&mut self, node: usize, line: &Value) -> Result<Observation, String> {
        let received = self.now();
        let at = stamp(line).ok_or_else(|| format!("no time in {line}"))?;
        // A stamp has whole milliseconds: the moment was within the next one.
        let not_after = received.min(at + 1_000);
        if line["event"] != "reply" {
            let serves = line["serving"] == true && line["role"] == "master";
            let evidence = serves.then(|| self.evidence(node, line, &line["epoch"], None, not_after)).transpose()?;
            return Ok(Observation { evidence, whole: None });
        }
        let Some(Asked { command, written }) = self.connections[node].asked.pop_front() else {
            return Err(format!("nothing was asked: {line}"));
        };
        let not_before = Some(written.max(self.connections[node].answered));
        self.connections[node].answered = at;
        match command {
            Command::Status => {
                let evidence = (line["serving"] == true)
                    .then(|| self.evidence(node, line, &line["epoch"], not_before, not_after))
                    .transpose()?;
                self.serving &= node != self.master || evidence.is_some();
                let whole = line["in_sync"] == true && line["link"]["state"] == "connected";
                Ok(Observation { evidence, whole: Some(whole) })
            }
            Command::Put(number) => self.put_answered(node, number, line, not_before, not_after),
        }
    }

    fn put_answered(
        &mut self,
        node: usize,
        number: u64,
        line: &Value,
        not_before: Option<Wall>,
        not_after: Wall,
    ) -> Result<Observation, String> {
        if line["ok"] != true {
            let word = line["error"].as_str().filter(|word| REFUSALS.contains(word));
            let word = word.ok_or_else(|| format!("a change was refused by {line}"))?;
            *self.refused.entry(word.into()).or_default() += 1;
            self.serving &= node != self.master;
            return Ok(Observation::default());
        }
        let revision = &line["revision"];
        let mut evidence = self.evidence(node, line, &revision["epoch"], not_before, not_after)?;
        evidence.acknowledged = Some(revision["seq"].as_u64().ok_or_else(|| format!("no position in {line}"))?);
        self.acknowledged.push(number);
        self.replicated += u64::from(line["replicated"] == true);
        if number >= self.watch.from {
            self.watch.answered.get_or_insert_with(Instant::now);
            self.watch.on_both |= line["replicated"] == true;
        }
        Ok(Observation { evidence: Some(evidence), whole: None })
    }

    fn evidence(
        &mut self,
        node: usize,
        line: &Value,
        epoch: &Value,
        not_before: Option<Wall>,
        not_after: Wall,
    ) -> Result<Evidence, String> {
        let epoch = epoch.as_str().and_then(Epoch::parse).ok_or_else(|| format!("no epoch in {line}"))?;
        if epoch >= self.epoch {
            (self.epoch, self.master, self.serving) = (epoch, node, true);
        }
        let answer: String = line.to_string().chars().take(300).collect();
        Ok(Evidence { node, epoch, not_before, not_after, acknowledged: None, answer })
    }

    /// A node died. What it did not answer may have been done or not.
    pub fn died(&mut self, node: usize) {
        self.unanswered +=
            self.connections[node].asked.iter().filter(|asked| asked.command != Command::Status).count() as u64;
        self.connections[node] = Connection::default();
        self.serving &= node != self.master;
    }

    /// Begins to watch for the acknowledgement of a change that is requested from now on.
    pub fn watch_for_an_answer(&mut self) {
        self.watch = Watch { from: self.next, ..Watch::default() };
    }

    /// When that acknowledgement came.
    pub fn first_answer(&self) -> Option<Instant> {
        self.watch.answered
    }

    /// Whether a change since then was durable on both nodes.
    pub fn on_both(&self) -> bool {
        self.watch.on_both
    }

    /// Requests changes, or only asks for the status.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Whether every command is answered.
    pub fn idle(&self) -> bool {
        self.connections.iter().all(|connection| connection.asked.is_empty())
    }

    /// Reads every acknowledged change on this node. Returns those that are missing or have another value.
    pub fn missing_on(&self, program: &mut Program) -> Vec<String> {
        let mut missing = Vec::new();
        let mut reading = VecDeque::new();
        let mut left = self.acknowledged.iter();
        loop {
            while reading.len() < READS_MAX
                && let Some(number) = left.next()
            {
                let command = format!("get {}", key(*number));
                program.write(&command);
                reading.push_back((*number, command));
            }
            let Some((number, command)) = reading.pop_front() else { return missing };
            let answer = program.answer(&command);
            if answer["value"].as_str() != Some(&number.to_string()) {
                missing.push(format!("acknowledged and lost on {}: {number}, now {answer}", program.launch().program));
            }
        }
    }

    fn now(&mut self) -> Wall {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
        let now = Wall::try_from(now.as_micros()).expect("it is before the year 500,000");
        assert!(now >= self.latest, "the wall clock was set back during the run: its result says nothing");
        self.latest = now;
        now
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (acknowledged, replicated) = (self.acknowledged.len(), self.replicated);
        write!(f, "{} changes: {acknowledged} acknowledged ({replicated} on both disks)", self.next)?;
        self.refused.iter().try_for_each(|(word, times)| write!(f, ", {times} {word}"))?;
        write!(f, ", {} never answered", self.unanswered)
    }
}

fn key(number: u64) -> String {
    format!("change/{number}")
}

fn stamp(line: &Value) -> Option<Wall> {
    let at = humantime::parse_rfc3339(line["at"].as_str()?).ok()?;
    Wall::try_from(at.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_micros()).ok()
}
