//! A pair under load, struck again and again.
//!
//! [`client`] writes to the nodes and remembers what they acknowledged, [`one_master`] says when two served, [`fault`] draws what
//! strikes, [`report`] tells how long nobody answered. This file joins them in one loop on one thread: it reads what the
//! programs say, keeps them busy, and never waits but for their output.

#![allow(dead_code, reason = "each binary that includes this uses a part of it")]

mod client;
mod fault;
pub mod one_master;
mod report;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Absence, PATIENCE, Pair, Spread, WITNESSED, Witness};
use client::{Caller, Heard};
pub use fault::Kind;
use fault::{Bag, Strike};
use one_master::Judge;
pub use report::Report;

/// How long a stopped process stands still.
const STOPPED: Duration = Duration::from_secs(3);
/// The longest wait for a line before the nodes are given something to do again.
const BREATH: Duration = Duration::from_millis(1);

/// A pair, its caller, and who judges them.
pub struct Campaign {
    pair: Pair,
    witness: Witness,
    caller: Caller,
    judge: Judge,
    spread: Spread,
    bag: Bag,
    report: Report,
    alive: [bool; 2],
    /// As the last answer said: connected and in sync.
    whole: [bool; 2],
}

impl Campaign {
    /// Enrols a pair. The seed is drawn, or `SHADOWPAIR_SEED`.
    pub fn begin() -> Self {
        let spread = Spread::new();
        let witness = Witness::new();
        let pair = Pair::witnessed(&witness, ["master", "shadow"]);
        Self {
            pair,
            witness,
            caller: Caller::new(),
            judge: Judge::default(),
            spread,
            bag: Bag::default(),
            report: Report::default(),
            alive: [true; 2],
            whole: [true; 2],
        }
    }

    pub fn seed(&self) -> u64 {
        self.spread.seed()
    }

    /// Strikes until this time is over; the last one heals first.
    pub fn strike_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let strike = self.bag.draw(&mut self.spread);
            self.strike(&strike);
        }
    }

    /// One strike of this kind, with a whole pair before it.
    pub fn strike_once(&mut self, kind: Kind) {
        let strike = Strike { calm: true, ..Strike::draw(kind, &mut self.spread) };
        self.strike(&strike);
    }

    /// Kills the master under load and waits until the other acknowledges, and only then starts it again.
    pub fn take_over(&mut self) {
        let Strike { before, .. } = Strike::draw(Kind::KillMaster, &mut self.spread);
        self.heal();
        self.caller.goes_on(true);
        self.go_on_for(before / 3);
        let master = self.caller.master();
        self.caller.watch_for_an_answer();
        let struck = Instant::now();
        self.kill(master);
        self.answered(Kind::KillMaster, struck);
        if self.caller.master() == master {
            self.fail("the one that was killed acknowledged");
        }
        self.start(master);
    }

    fn strike(&mut self, strike: &Strike) {
        if strike.calm {
            self.in_step();
            self.heal();
        }
        self.caller.goes_on(true);
        self.go_on_for(strike.before);
        let master = self.caller.master();
        self.caller.watch_for_an_answer();
        let struck = Instant::now();
        match strike.kind {
            Kind::KillMaster => {
                self.kill(master);
                self.go_on_for(strike.length);
                self.start(master);
            }
            Kind::KillBoth => {
                let (first, second) = (strike.way, 1 - strike.way);
                self.kill(first);
                self.kill(second);
                self.start(first);
                self.go_on_for(strike.length / 8);
                self.start(second);
            }
            Kind::Stop => {
                self.pair.nodes[master].signal(Signal::STOP);
                self.go_on_for(STOPPED);
                self.pair.nodes[master].signal(Signal::CONT);
            }
            Kind::Cut => {
                self.pair.cut();
                self.go_on_for(strike.length);
                self.pair.heal();
            }
            Kind::CutOneWay => {
                // Either node may have dialled: one way of the link is one way of one wire and the other way of the other.
                self.pair.wires[strike.way].hold_towards();
                self.pair.wires[1 - strike.way].hold_from();
                self.go_on_for(strike.length);
                self.pair.heal();
            }
            Kind::WitnessGone => {
                self.witness.take_away(if strike.way == 0 { Absence::Missing } else { Absence::Failing });
                self.go_on_for(strike.length);
                self.witness.bring_back();
            }
        }
        self.answered(strike.kind, struck);
    }

    /// Waits for the acknowledgement of a change that was asked for after the strike, if none came yet.
    fn answered(&mut self, kind: Kind, struck: Instant) {
        self.until("an acknowledgement after the strike", |campaign| campaign.caller.first_answer().is_some());
        let answered = self.caller.first_answer().unwrap_or(struck);
        self.report.struck(kind, answered.saturating_duration_since(struck));
    }

    /// Lets everything heal, and looks for every acknowledged change on both nodes.
    pub fn end(mut self) -> Report {
        self.heal();
        self.until("the last answers", |campaign| campaign.caller.idle());
        self.pair.in_sync();
        let mut lost = Vec::new();
        for node in &mut self.pair.nodes {
            lost.extend(self.caller.missing_on(node));
        }
        self.report.counted(&self.caller);
        let wrong: Vec<String> = self.judge.findings().iter().cloned().chain(lost).collect();
        if !wrong.is_empty() {
            let shown = wrong[..wrong.len().min(20)].join("\n");
            let found = format!("{} findings, the first of them:\n{shown}\n{}", wrong.len(), self.report);
            if WITNESSED {
                self.pair.nodes[0].fail(&found);
            }
            println!("{found}\nThat is as it must be: without a witness a partition makes two masters.");
        }
        self.report
    }

    /// Waits until the pair is whole. Under load the shadow is always a little behind, so nothing is asked for meanwhile.
    fn heal(&mut self) {
        self.caller.goes_on(false);
        self.whole = [false; 2];
        self.until("the pair to be whole", |campaign| campaign.whole == [true; 2]);
    }

    /// Waits until changes wait for both disks again: a pair that is used all the time comes together as well.
    fn in_step(&mut self) {
        if WITNESSED {
            self.caller.watch_for_an_answer();
            self.until("a change on both disks", |campaign| campaign.caller.on_both());
        }
    }

    /// Goes on until this holds.
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            self.step(end);
            if Instant::now() > end {
                self.fail(&format!("waited for {what}"));
            }
        }
    }

    fn go_on_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step(end);
        }
    }

    /// Gives the nodes something to do and hears what they say.
    fn step(&mut self, end: Instant) {
        for node in [0, 1] {
            if self.alive[node] {
                self.caller.ask(node, &mut self.pair.nodes[node]);
            }
        }
        let mut heard = false;
        for node in [0, 1] {
            while let Some(line) = self.line(node, Duration::ZERO) {
                heard = true;
                self.hear(node, &line);
            }
        }
        if heard {
            return;
        }
        // Nobody has anything to say: wait for whoever is likeliest to.
        let master = self.caller.master();
        let node = if self.alive[master] { master } else { 1 - master };
        let breath = BREATH.min(end.saturating_duration_since(Instant::now()));
        if let Some(line) = self.line(node, breath) {
            self.hear(node, &line);
        }
    }

    fn line(&mut self, node: usize, at_most: Duration) -> Option<Value> {
        self.pair.nodes[node].next_event(at_most)
    }

    fn hear(&mut self, node: usize, line: &Value) {
        if line["event"] == "started" {
            self.pair.nodes[node].started = line.clone();
            self.pair.wires[node].leads_to(&self.pair.nodes[node].listen());
        }
        match self.caller.hear(node, line) {
            Ok(Heard { evidence, whole }) => {
                self.whole[node] = whole.unwrap_or(self.whole[node]);
                if let Some(evidence) = evidence
                    && !self.judge.hear(evidence)
                    && WITNESSED
                {
                    self.fail(&self.judge.findings().join("\n"));
                }
            }
            Err(wrong) => self.fail(&wrong),
        }
    }

    fn kill(&mut self, node: usize) {
        self.pair.nodes[node].kill();
        self.alive[node] = false;
        // What it said before it died counts.
        while let Some(line) = self.line(node, PATIENCE) {
            self.hear(node, &line);
        }
        self.caller.died(node);
        self.whole[node] = false;
    }

    fn start(&mut self, node: usize) {
        self.pair.nodes[node] = self.pair.nodes[node].launch().spawn();
        self.alive[node] = true;
    }

    fn fail(&self, why: &str) -> ! {
        eprintln!("{}", self.pair.nodes[1].told());
        self.pair.nodes[0].fail(&format!("SHADOWPAIR_SEED={}: {why}\n{}", self.seed(), self.report))
    }
}
