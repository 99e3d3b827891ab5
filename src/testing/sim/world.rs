//! The pair and what is between its nodes: true time, connections, and everything that is under way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use super::counts::Counts;
use super::disk::Disk;
use super::host::{Clock, Host};
use super::net::Conn;
use super::oracle::{Checked, Invariant, Oracle, Violation};
use super::plan::Plan;
use super::random::{Random, mix};
use super::real::Ledger;
use super::register::Register;
use super::said::Said;
use super::step::{Fate, Side};
use super::vouch::Excuses;
use crate::model::{Epoch, NodeId, PairId, Revision, RunId, WitnessRecord};
#[cfg(test)]
use crate::protocol::engine::Mutant;
use crate::protocol::engine::{
    BatchId, DurableState, Engine, Event, LinkId, Peer, Start, WitnessAnswer, WitnessQuestion,
};
use crate::testing::Summary;

/// Events at one moment after which an engine is called spinning.
const SPIN_MAX: u64 = 2_000;

/// What is under way.
#[derive(Clone, Debug)]
pub enum Wake {
    /// The timer of a run, set for the so-manieth time.
    Timer { side: Side, run: u64, set: u64 },
    /// Something arrives at this end of a connection.
    Arrival { conn: usize, to: Side },
    /// A dial took too long.
    DialOver { side: Side, run: u64, dial: u64, refused: bool },
    /// A batch is done.
    Batch { side: Side, run: u64, batch: BatchId },
    /// Something is read for a push.
    Read { side: Side, run: u64, read: Read },
    /// The host answers.
    Host { side: Side, run: u64, question: u64 },
    /// A node that stops does not wait for its disk any longer.
    Abandon { side: Side, run: u64 },
    /// A question arrives at the witness, whose answer takes so long; `None` where it is lost.
    Landing { side: Side, run: u64, ask: u64, question: Box<WitnessQuestion>, back: Option<u64> },
    /// The witness answers.
    WitnessSaid { side: Side, run: u64, ask: u64, answer: WitnessAnswer },
    /// The witness has not answered in time.
    WitnessOver { side: Side, run: u64, ask: u64 },
}

/// What is read for a push.
#[derive(Clone, Debug)]
pub enum Read {
    /// Records of the log.
    Records { link: LinkId, after: Revision, durable: Revision, max_bytes: usize },
    /// Opens a snapshot.
    Open { transfer: u64 },
    /// A piece of it.
    Piece { link: LinkId, transfer: u64, max_bytes: usize },
}

impl Wake {
    /// Whom it wakes; nobody, where it happens outside of both nodes.
    fn side(&self) -> Option<Side> {
        Some(match self {
            Self::Landing { .. } => return None,
            Self::Timer { side, .. }
            | Self::Arrival { to: side, .. }
            | Self::DialOver { side, .. }
            | Self::Batch { side, .. }
            | Self::Read { side, .. }
            | Self::WitnessSaid { side, .. }
            | Self::WitnessOver { side, .. }
            | Self::Abandon { side, .. }
            | Self::Host { side, .. } => *side,
        })
    }
}

/// The pair.
#[derive(Clone, Debug)]
pub struct World {
    /// True time, microseconds.
    pub now: u64,
    /// For everything that is drawn on the way.
    pub random: Random,
    /// The surroundings.
    pub plan: Plan,
    /// Both nodes.
    pub hosts: [Host; 2],
    /// Connections, those that are gone too.
    pub conns: Vec<Conn>,
    /// What this node sends does not arrive.
    pub cut: [bool; 2],
    /// Time of one way, microseconds.
    pub latency_us: u64,
    /// The judge.
    pub oracle: Oracle,
    /// The witness, asked where there is one.
    pub register: Register,
    /// What is not promised to this history.
    pub excuses: Excuses,
    /// What the real stores have in common, where they stand under the nodes.
    pub ledger: Option<Arc<Ledger>>,
    /// What both disks knew before the first start.
    pub first: [DurableState; 2],
    /// What was done to whom, and what happened in which standing.
    pub counts: Counts,
    /// What happened, in words, where somebody wants to read it.
    pub story: Option<Vec<String>>,
    /// What the history contained.
    pub summary: Summary,
    /// A flaw that is put in on purpose, so that an invariant is seen to catch it.
    pub flaw: Option<Flaw>,
    /// Since when nothing has kept the nodes from hearing each other; `None` while something does.
    pub in_touch_since: Option<u64>,
    wakes: BTreeMap<(u64, u64), Wake>,
    deferred: [Vec<Wake>; 2],
    opening: [BTreeSet<u64>; 2],
    serial: u64,
    spin: (u64, u64),
}

/// A flaw of the surroundings, put in on purpose: each must be caught by an invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A mistake of the engine itself.
    #[cfg(test)]
    Engine(Mutant),
    /// Nobody told the engines that there is a witness.
    Unwitnessed,
    /// The witness agrees to every swap and does those that it should not.
    AgreeingWitness,
    /// A disk forgets a record that it had called durable when power is cut.
    ForgetfulDisk,
    /// A sink writes another value than was sent, and checks nothing.
    WrongContent,
    /// The driver shows what the engine did not allow to be shown.
    EagerReader,
    /// The driver answers a caller twice.
    DoubleAnswer,
    /// A guard that does not hold is reported and the change is written all the same.
    LeakyRefusal,
}

impl World {
    /// A pair that was enrolled and never started.
    pub fn new(seed: u64, plan: Plan) -> Self {
        let mut random = Random::new(seed);
        let pair = PairId(mix(seed).to_le_bytes().repeat(2).try_into().unwrap_or([7; 16]));
        // Which id is lower decides which of two connections stays and who of two equals yields.
        let swapped = u8::from(random.percent(50));
        let ids = [NodeId([1 + swapped; 32]), NodeId([2 - swapped; 32])];
        let hosts = Side::BOTH.map(|side| {
            let clock = Clock {
                offset_us: random.below(1 << 40),
                rate_ppm: plan.rates_ppm[side.index()],
                wall_ms: 1_800_000_000_000 + random.below(20_000),
                jumped_ms: 0,
            };
            let (own, other) = (ids[side.index()], ids[side.other().index()]);
            let peer = Peer {
                node: other,
                name: format!("{:?}", side.other()),
                address: Host::address(side.other()),
                takeover_delay_ms: 500,
                confirmed: Revision::NONE,
            };
            let durable_state = match side {
                Side::A => DurableState { enabled: true, peer: Some(peer), ..DurableState::first_master(own, pair) },
                Side::B => DurableState::first_shadow(own, pair, peer),
            };
            Host::new(side, Disk::new(durable_state, plan.log_changes), clock, &plan)
        });
        let oracle = Oracle::new(plan.hostile);
        let record = WitnessRecord {
            pair,
            holder: ids[0],
            epoch: Epoch::FIRST,
            lease: hosts[0].options.lease(),
            in_sync: None,
            revision: Revision::NONE,
            counter: 0,
        };
        let register = Register::new(Some(record).filter(|_| !plan.blank_witness));
        let excuses = Excuses::new(plan.replication);
        let first = [hosts[0].disk.durable_state.clone(), hosts[1].disk.durable_state.clone()];
        Self {
            now: 0,
            random,
            plan,
            hosts,
            conns: Vec::new(),
            cut: [false; 2],
            latency_us: 200,
            oracle,
            register,
            excuses,
            ledger: None,
            first,
            counts: Counts::default(),
            story: None,
            summary: Summary::default(),
            flaw: None,
            in_touch_since: None,
            wakes: BTreeMap::new(),
            deferred: [Vec::new(), Vec::new()],
            opening: [BTreeSet::new(), BTreeSet::new()],
            serial: 0,
            spin: (0, 0),
        }
    }

    /// Puts the real store under both nodes.
    pub fn stand_on_stores(&mut self) -> Checked {
        let ledger = Arc::new(Ledger::new(&self.first[0].pair));
        // Of its own: else the rest of the history would be drawn anew.
        let mut random = self.random.clone();
        for host in &mut self.hosts {
            host.disk.stand_on(random.bits(), &ledger)?;
        }
        self.ledger = Some(ledger);
        Ok(())
    }

    /// A node.
    pub fn host(&mut self, side: Side) -> &mut Host {
        &mut self.hosts[side.index()]
    }

    /// Snapshots that are being opened.
    pub fn opening(&mut self, side: Side) -> &mut BTreeSet<u64> {
        &mut self.opening[side.index()]
    }

    /// A line of the story.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(story) = &mut self.story {
            let mut line = line();
            if line.len() > 600 {
                line = line.chars().take(600).chain("...".chars()).collect();
            }
            story.push(format!("{:>12.6}  {line}", now as f64 / 1e6));
        }
    }

    /// Fresh bits for an engine. Where nothing is left to chance they are those of the moment, so that equal situations are equal.
    pub fn bits(&mut self, side: Side) -> u64 {
        if self.random.is_fixed() { mix(self.now << 1 | side.index() as u64) } else { self.random.bits() }
    }

    /// Something will happen after this time.
    pub fn after(&mut self, us: u64, wake: Wake) {
        self.serial += 1;
        self.wakes.insert((self.now.saturating_add(us), self.serial), wake);
    }

    /// Lets time pass.
    pub fn run(&mut self, us: u64) -> Checked {
        let end = self.now + us;
        while let Some(entry) = self.wakes.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), wake) = entry.remove_entry();
            self.now = self.now.max(at);
            self.spin = if self.spin.0 == self.now { (self.now, self.spin.1 + 1) } else { (self.now, 0) };
            Invariant::Bounded.check(self.spin.1 < SPIN_MAX, || "the engines spin: no time passes".into())?;
            self.wake(wake)?;
        }
        self.now = end;
        Ok(())
    }

    /// When something happens next; what nobody waits for any more does not count.
    #[cfg_attr(not(test), allow(dead_code, reason = "for the model checker and the tables, which are tests"))]
    pub fn next_at(&mut self) -> Option<u64> {
        while let Some(entry) = self.wakes.first_entry() {
            if Self::matters(&self.hosts, entry.get()) {
                return Some(entry.key().0);
            }
            entry.remove();
        }
        None
    }

    /// Lets one thing happen.
    #[cfg_attr(not(test), allow(dead_code, reason = "for the model checker and the tables, which are tests"))]
    pub fn run_one(&mut self) -> Checked {
        let Some(((at, _), wake)) = self.wakes.pop_first() else { return Ok(()) };
        self.now = self.now.max(at);
        self.wake(wake)
    }

    /// Whether anything comes of it.
    #[cfg_attr(not(test), allow(dead_code, reason = "for the model checker and the tables, which are tests"))]
    fn matters(hosts: &[Host; 2], wake: &Wake) -> bool {
        let current = |side: &Side, run: &u64| hosts[side.index()].run == *run;
        match wake {
            Wake::Landing { .. } | Wake::Arrival { .. } => true,
            Wake::Timer { side, run, set } => {
                current(side, run) && hosts[side.index()].timer.is_some_and(|(_, now)| now == *set)
            }
            Wake::DialOver { side, run, dial, .. } => current(side, run) && hosts[side.index()].dialing == Some(*dial),
            Wake::WitnessSaid { side, run, ask, .. } | Wake::WitnessOver { side, run, ask } => {
                current(side, run) && hosts[side.index()].witness_ask == Some(*ask)
            }
            Wake::Batch { side, run, .. }
            | Wake::Read { side, run, .. }
            | Wake::Abandon { side, run }
            | Wake::Host { side, run, .. } => current(side, run),
        }
    }

    /// The swap of a node that is on its way to the witness.
    #[cfg_attr(not(test), allow(dead_code, reason = "for the model checker and the tables, which are tests"))]
    pub fn swap_under_way(&self, from: Side) -> Option<(u64, u64)> {
        let swap = |wake: &Wake| match wake {
            Wake::Landing { side, question, back, .. } => {
                *side == from && back.is_some() && matches!(**question, WitnessQuestion::Swap { .. })
            }
            _ => false,
        };
        self.wakes.iter().find(|(_, wake)| swap(wake)).map(|(at, _)| *at)
    }

    /// Something becomes of that swap.
    #[cfg_attr(not(test), allow(dead_code, reason = "for the model checker and the tables, which are tests"))]
    pub fn strike_swap(&mut self, from: Side, fate: Fate) {
        let Some((at, serial)) = self.swap_under_way(from) else { return };
        let Some(Wake::Landing { side, run, ask, question, back }) = self.wakes.remove(&(at, serial)) else { return };
        let mut land = |us: u64, back: Option<u64>| {
            let question = question.clone();
            self.wakes.insert((at + us, serial), Wake::Landing { side, run, ask, question, back });
        };
        match fate {
            Fate::QuestionLost => {}
            Fate::AnswerLost => land(0, None),
            Fate::Late { us } => land(us, back),
            Fate::Twice { .. } => land(0, back),
        }
    }

    /// Everything on which the future depends, in a text that is the same where the situation is. Numbers that only tell apart what is
    /// under way are left out as far as the world makes them; what an engine counts stands as it is.
    #[cfg_attr(not(test), allow(dead_code, reason = "for the model checker and the tables, which are tests"))]
    pub fn outline(&mut self, text: &mut String) {
        let hosts = &self.hosts;
        self.wakes.retain(|_, wake| Self::matters(hosts, wake));
        let _ = write!(text, "{} {:?} {:?} {:?}", self.now, self.cut, self.register, self.deferred);
        let _ = write!(text, "{:?} {:?} {:?}", self.oracle, self.excuses, self.opening);
        for host in &self.hosts {
            let _ = write!(text, "{host:?}");
        }
        for (index, conn) in self.conns.iter().enumerate() {
            if conn.links != [None; 2] || conn.to.iter().any(|queue| !queue.is_empty()) {
                let _ = write!(text, "{index} {conn:?}");
            }
        }
        for ((at, _), wake) in &self.wakes {
            let _ = write!(text, "{at} {wake:?}");
        }
    }

    fn wake(&mut self, wake: Wake) -> Checked {
        if let Wake::Landing { side, run, ask, question, back } = wake {
            return self.landing((side, run, ask), *question, back);
        }
        let Some(side) = wake.side() else { return Ok(()) };
        if self.host(side).paused_at.is_some() {
            self.deferred[side.index()].push(wake);
            return Ok(());
        }
        let current = self.host(side).run;
        match wake {
            Wake::Arrival { conn, to } => self.arrival(conn, to),
            Wake::Timer { run, set, .. } => {
                let due = run == current && self.host(side).timer.is_some_and(|(_, now)| now == set);
                if due { self.event(side, Event::Timer) } else { Ok(()) }
            }
            Wake::DialOver { run, dial, refused, .. } if run == current => self.dial_over(side, dial, refused),
            Wake::Batch { run, batch, .. } if run == current => self.batch_done(side, batch),
            Wake::Read { run, read, .. } if run == current => self.read(side, read),
            Wake::Host { run, question, .. } if run == current => self.host_answers(side, question),
            Wake::Abandon { run, .. } if run == current => self.event(side, Event::Abandoned),
            Wake::WitnessSaid { run, ask, answer, .. } if run == current => self.witness_said(side, ask, answer),
            Wake::WitnessOver { run, ask, .. } if run == current => self.witness_over(side, ask),
            _ => Ok(()),
        }
    }

    /// Starts a node that does not run.
    pub fn start(&mut self, side: Side) -> Checked {
        let random = self.bits(side);
        // Even where nothing is left to chance, no run is another one.
        let run_id = RunId(self.bits(side).wrapping_add(self.host(side).run));
        let now_us = self.now;
        let untold = self.flaw == Some(Flaw::Unwitnessed);
        let host = self.host(side);
        if host.engine.is_some() {
            return Ok(());
        }
        host.run += 1;
        let start = Start {
            durable_state: host.disk.durable_state.clone(),
            head: host.disk.head.position,
            log_floor: host.disk.log_floor(),
            history: host.disk.head.history.clone(),
            options: host.options.clone(),
            run: run_id,
            address: Host::address(side),
            witnessed: host.witnessed && !untold,
            damage: None,
        };
        let now = host.clock.now(now_us, random);
        host.started = now.at;
        self.opening(side).clear();
        self.tell(|| format!("{side:?} starts at {:?}, {:?}", start.head, start.durable_state.role));
        // The other side of a connection that a silent crash left behind finds out now.
        self.break_conns(side, "reset by peer");
        let (engine, actions) = Self::unpanicked(move || Engine::start(now, start))?;
        #[cfg(test)]
        let engine = {
            let mut engine = engine;
            if let Some(Flaw::Engine(mutant)) = self.flaw {
                engine.mutate(mutant);
                self.host(side).disk.careless = mutant == Mutant::AppendsAfterFailedSync;
            }
            engine
        };
        self.host(side).engine = Some(engine);
        self.perform(side, actions)?;
        self.judge(side)
    }

    /// A node ends, cleanly or not.
    pub fn end(&mut self, side: Side, kept: Option<u8>, silent: bool) -> Checked {
        self.excuses.accepted(side, None);
        let saying = self.host(side).saying();
        let made = self.host(side).stop(kept)?;
        let host = self.host(side);
        host.said.stored(&host.disk.durable_state, &saying)?;
        host.said = Said::of(&host.disk.durable_state);
        let node = self.host(side).disk.node();
        self.deferred[side.index()].clear();
        self.oracle.wrote(node, &made)?;
        if kept.is_some() && self.flaw == Some(Flaw::ForgetfulDisk) {
            self.host(side).disk.forget_last();
        }
        for conn in &mut self.conns {
            conn.links[side.index()] = None;
            conn.to[side.index()].clear();
        }
        if !silent {
            self.break_conns(side, "closed by peer");
        }
        let host = &self.hosts[side.index()];
        self.oracle.kept(side, &host.disk)?;
        self.oracle.one_revision(&host.disk)
    }

    /// Whether a swap may still land at the witness.
    pub fn swaps_under_way(&self) -> bool {
        let swap = |wake: &Wake| match wake {
            Wake::Landing { question, .. } => matches!(**question, WitnessQuestion::Swap { .. }),
            _ => false,
        };
        self.wakes.values().any(swap)
    }

    /// Goes on after standing still.
    pub fn resume(&mut self, side: Side, timer_first: bool) {
        let mut waiting = std::mem::take(&mut self.deferred[side.index()]);
        if timer_first {
            waiting.sort_by_key(|wake| !matches!(wake, Wake::Timer { .. }));
        }
        for wake in waiting {
            self.after(0, wake);
        }
    }

    /// Runs something of the engine. 7: it never panics.
    pub fn unpanicked<T>(run: impl FnOnce() -> T) -> Result<T, Violation> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Violation { invariant: Invariant::Bounded, what: format!("panic: {}", text.unwrap_or_default()) }
        })
    }
}
