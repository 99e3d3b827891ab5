//! A pair under load, with one fault after another.
//!
//! [`client`] writes to the nodes and remembers what they acknowledged, [`one_master`] checks that two never served at once,
//! [`fault`] draws the faults, [`report`] has the downtimes. This file joins them in one loop on one thread. It reads the output of
//! the programs, keeps them busy, and waits for nothing but their output.

#![allow(dead_code, reason = "each binary that includes this uses a part of it")]

mod client;
mod fault;
pub mod one_master;
mod report;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Absence, Pair, Random, WAIT_MAX, WITNESSED, Witness};
use client::{Client, Observation};
pub use fault::FaultKind;
use fault::{Fault, FaultBag};
use one_master::OneMasterCheck;
pub use report::Report;

/// How long a stopped process stands still.
const STOPPED: Duration = Duration::from_secs(3);
/// The longest wait for output before the nodes get new commands.
const WAIT: Duration = Duration::from_millis(1);

/// A pair with its client, its faults, and what is checked.
pub struct Campaign {
    pair: Pair,
    witness: Witness,
    client: Client,
    check: OneMasterCheck,
    random: Random,
    faults: FaultBag,
    report: Report,
    alive: [bool; 2],
    /// Whether each node said last that it is connected and in sync.
    whole: [bool; 2],
}

impl Campaign {
    /// Enrols a pair. The seed is drawn, or `SHADOWPAIR_SEED`.
    pub fn begin() -> Self {
        let random = Random::new();
        let witness = Witness::new();
        let pair = Pair::witnessed(&witness, ["master", "shadow"]);
        Self {
            pair,
            witness,
            client: Client::new(),
            check: OneMasterCheck::default(),
            random,
            faults: FaultBag::default(),
            report: Report::default(),
            alive: [true; 2],
            whole: [true; 2],
        }
    }

    pub fn seed(&self) -> u64 {
        self.random.seed()
    }

    /// Makes faults until this time is over, and ends the last one.
    pub fn run_faults_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let fault = self.faults.draw(&mut self.random);
            self.make(&fault);
        }
    }

    /// Makes one fault of this kind, with a whole pair before it.
    pub fn run_fault(&mut self, kind: FaultKind) {
        let fault = Fault { waits_for_whole_pair: true, ..Fault::draw(kind, &mut self.random) };
        self.make(&fault);
    }

    /// Kills the master under load, waits until the other node acknowledges, and only then starts the first one again.
    pub fn take_over(&mut self) {
        let Fault { before, .. } = Fault::draw(FaultKind::KillMaster, &mut self.random);
        self.heal();
        self.client.set_paused(false);
        self.run_for(before / 3);
        let master = self.client.master();
        self.client.watch_for_an_answer();
        let since = Instant::now();
        self.kill(master);
        self.wait_for_answer(FaultKind::KillMaster, since);
        if self.client.master() == master {
            self.fail("the node that was killed acknowledged");
        }
        self.start(master);
    }

    fn make(&mut self, fault: &Fault) {
        if fault.waits_for_whole_pair {
            self.wait_for_replication();
            self.heal();
        }
        self.client.set_paused(false);
        self.run_for(fault.before);
        let master = self.client.master();
        self.client.watch_for_an_answer();
        let since = Instant::now();
        match fault.kind {
            FaultKind::KillMaster => {
                self.kill(master);
                self.run_for(fault.length);
                self.start(master);
            }
            FaultKind::KillBoth => {
                let (first, second) = (fault.direction, 1 - fault.direction);
                self.kill(first);
                self.kill(second);
                self.start(first);
                self.run_for(fault.length / 8);
                self.start(second);
            }
            FaultKind::Stop => {
                self.pair.nodes[master].signal(Signal::STOP);
                self.run_for(STOPPED);
                self.pair.nodes[master].signal(Signal::CONT);
            }
            FaultKind::Cut => {
                self.pair.cut();
                self.run_for(fault.length);
                self.pair.heal();
            }
            FaultKind::CutOneWay => {
                // Either node may have dialled. So one direction of the link is one direction of one proxy and the opposite one of the other.
                self.pair.proxies[fault.direction].hold_to_node();
                self.pair.proxies[1 - fault.direction].hold_from_node();
                self.run_for(fault.length);
                self.pair.heal();
            }
            FaultKind::WitnessGone => {
                self.witness.take_away(if fault.direction == 0 { Absence::Missing } else { Absence::Failing });
                self.run_for(fault.length);
                self.witness.bring_back();
            }
        }
        self.wait_for_answer(fault.kind, since);
    }

    /// Waits for the acknowledgement of a change that was requested after the fault, if none came yet.
    fn wait_for_answer(&mut self, kind: FaultKind, since: Instant) {
        self.until("an acknowledgement after the fault", |campaign| campaign.client.first_answer().is_some());
        let answered = self.client.first_answer().unwrap_or(since);
        self.report.add(kind, answered.saturating_duration_since(since));
    }

    /// Waits until the pair is whole, and looks for every acknowledged change on both nodes.
    pub fn end(mut self) -> Report {
        self.heal();
        self.until("the last answers", |campaign| campaign.client.idle());
        self.pair.in_sync();
        let mut lost = Vec::new();
        for node in &mut self.pair.nodes {
            lost.extend(self.client.missing_on(node));
        }
        self.report.set_counts(&self.client);
        let wrong: Vec<String> = self.check.findings().iter().cloned().chain(lost).collect();
        if !wrong.is_empty() {
            let shown = wrong[..wrong.len().min(20)].join("\n");
            let found = format!("{} findings, the first of them:\n{shown}\n{}", wrong.len(), self.report);
            if WITNESSED {
                self.pair.nodes[0].fail(&found);
            }
            println!("{found}\nThis is expected: without a witness a partition can make two masters.");
        }
        self.report
    }

    /// Waits until the pair is whole. Under load the shadow is always a little behind, so that no changes are requested meanwhile.
    fn heal(&mut self) {
        self.client.set_paused(true);
        self.whole = [false; 2];
        self.until("the pair to be whole", |campaign| campaign.whole == [true; 2]);
    }

    /// Waits until a change is durable on both nodes: a pair must become whole under load too.
    fn wait_for_replication(&mut self) {
        if WITNESSED {
            self.client.watch_for_an_answer();
            self.until("a change on both disks", |campaign| campaign.client.on_both());
        }
    }

    /// Runs until this holds.
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + WAIT_MAX;
        while !holds(self) {
            self.step(end);
            if Instant::now() > end {
                self.fail(&format!("waited for {what}"));
            }
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step(end);
        }
    }

    /// Writes commands to the nodes and reads their output.
    fn step(&mut self, end: Instant) {
        for node in [0, 1] {
            if self.alive[node] {
                self.client.ask(node, &mut self.pair.nodes[node]);
            }
        }
        let mut any = false;
        for node in [0, 1] {
            while let Some(line) = self.line(node, Duration::ZERO) {
                any = true;
                self.read(node, &line);
            }
        }
        if any {
            return;
        }
        // No output: wait for the node that most likely has some next.
        let master = self.client.master();
        let node = if self.alive[master] { master } else { 1 - master };
        let wait = WAIT.min(end.saturating_duration_since(Instant::now()));
        if let Some(line) = self.line(node, wait) {
            self.read(node, &line);
        }
    }

    fn line(&mut self, node: usize, at_most: Duration) -> Option<Value> {
        self.pair.nodes[node].next_event(at_most)
    }

    fn read(&mut self, node: usize, line: &Value) {
        if line["event"] == "started" {
            self.pair.nodes[node].started = line.clone();
            self.pair.proxies[node].forward_to(&self.pair.nodes[node].listen());
        }
        match self.client.read_line(node, line) {
            Ok(Observation { evidence, whole }) => {
                self.whole[node] = whole.unwrap_or(self.whole[node]);
                if let Some(evidence) = evidence
                    && !self.check.add(evidence)
                    && WITNESSED
                {
                    self.fail(&self.check.findings().join("\n"));
                }
            }
            Err(wrong) => self.fail(&wrong),
        }
    }

    fn kill(&mut self, node: usize) {
        self.pair.nodes[node].kill();
        self.alive[node] = false;
        // Its output before it died counts.
        while let Some(line) = self.line(node, WAIT_MAX) {
            self.read(node, &line);
        }
        self.client.died(node);
        self.whole[node] = false;
    }

    fn start(&mut self, node: usize) {
        self.pair.nodes[node] = self.pair.nodes[node].launch().spawn();
        self.alive[node] = true;
    }

    fn fail(&self, why: &str) -> ! {
        eprintln!("{}", self.pair.nodes[1].transcript());
        self.pair.nodes[0].fail(&format!("SHADOWPAIR_SEED={}: {why}\n{}", self.seed(), self.report))
    }
}
