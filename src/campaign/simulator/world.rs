//! The pair and what is between its nodes: true time, connections, and everything that is under way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use super::coverage::Coverage;
use super::expected_settings::ExpectedSettings;
use super::network::Connection;
use super::node::{Clock, Host};
use super::oracle::Oracle;
use super::plan::Plan;
use super::random::{Random, mix};
use super::safety::Exemptions;
use super::step::{Fate, Side};
use super::store::Disk;
use super::store::StoreContext;
use super::summary::Summary;
use super::violation::{Checked, Invariant, catch_panic};
use super::witness::WitnessRegister;
use crate::model::{Epoch, NodeId, PairId, Revision, RunId, WitnessRecord};
use crate::protocol::engine::Mutant;
use crate::protocol::engine::{
    BatchId, DurableState, Engine, Event, LinkId, Peer, Start, WitnessAnswer, WitnessQuestion,
};

/// Events at one moment after which an engine is called spinning.
const SPIN_MAX: u64 = 2_000;

/// What is under way.
#[derive(Clone, Debug)]
pub enum Scheduled {
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

impl Scheduled {
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
    pub connections: Vec<Connection>,
    /// What this node sends does not arrive.
    pub cut: [bool; 2],
    /// Time of one way, microseconds.
    pub latency_us: u64,
    /// The judge.
    pub oracle: Oracle,
    /// The witness, asked where there is one.
    pub register: WitnessRegister,
    /// What is not promised to this history.
    pub exemptions: Exemptions,
    /// What the real stores have in common, where they stand under the nodes.
    pub context: Option<Arc<StoreContext>>,
    /// What both disks knew before the first start.
    pub first: [DurableState; 2],
    /// What was done to whom, and what happened in which standing.
    pub coverage: Coverage,
    /// What happened, in words, where somebody wants to read it.
    pub trace: Option<Vec<String>>,
    /// What the history contained.
    pub summary: Summary,
    /// A flaw that is put in on purpose, so that an invariant is seen to catch it.
    pub flaw: Option<InjectedBug>,
    /// Since when nothing has kept the nodes from hearing each other; `None` while something does.
    pub in_touch_since: Option<u64>,
    wakes: BTreeMap<(u64, u64), Scheduled>,
    deferred: [Vec<Scheduled>; 2],
    opening: [BTreeSet<u64>; 2],
    serial: u64,
    spin: (u64, u64),
}

/// A flaw of the surroundings, put in on purpose: each must be caught by an invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedBug {
    /// A mistake of the engine itself.
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
        let register = WitnessRegister::new(Some(record).filter(|_| !plan.blank_witness));
        let exemptions = Exemptions::new(plan.replication);
        let first = [hosts[0].disk.durable_state.clone(), hosts[1].disk.durable_state.clone()];
        Self {
            now: 0,
            random,
            plan,
            hosts,
            connections: Vec::new(),
            cut: [false; 2],
            latency_us: 200,
            oracle,
            register,
            exemptions,
            context: None,
            first,
            coverage: Coverage::default(),
            trace: None,
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
        let context = Arc::new(StoreContext::new(&self.first[0].pair));
        // Of its own: else the rest of the history would be drawn anew.
        let mut random = self.random.clone();
        for host in &mut self.hosts {
            host.disk.stand_on(random.bits(), &context)?;
        }
        self.context = Some(context);
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

    /// A line of the trace.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            let mut line = line();
            if line.len() > 600 {
                line = line.chars().take(600).chain("...".chars()).collect();
            }
            trace.push(format!("{:>12.6}  {line}", now as f64 / 1e6));
        }
    }

    /// Fresh bits for an engine. Where nothing is left to chance they are those of the moment, so that equal situations are equal.
    pub fn bits(&mut self, side: Side) -> u64 {
        if self.random.is_fixed() { mix(self.now << 1 | side.index() as u64) } else { self.random.bits() }
    }

    /// Something will happen after this time.
    pub fn after(&mut self, us: u64, wake: Scheduled) {
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
    pub fn run_one(&mut self) -> Checked {
        let Some(((at, _), wake)) = self.wakes.pop_first() else { return Ok(()) };
        self.now = self.now.max(at);
        self.wake(wake)
    }

    /// Whether anything comes of it.
    fn matters(hosts: &[Host; 2], wake: &Scheduled) -> bool {
        let current = |side: &Side, run: &u64| hosts[side.index()].run == *run;
        match wake {
            Scheduled::Landing { .. } | Scheduled::Arrival { .. } => true,
            Scheduled::Timer { side, run, set } => {
                current(side, run) && hosts[side.index()].timer.is_some_and(|(_, now)| now == *set)
            }
            Scheduled::DialOver { side, run, dial, .. } => {
                current(side, run) && hosts[side.index()].dialing == Some(*dial)
            }
            Scheduled::WitnessSaid { side, run, ask, .. } | Scheduled::WitnessOver { side, run, ask } => {
                current(side, run) && hosts[side.index()].witness_ask == Some(*ask)
            }
            Scheduled::Batch { side, run, .. }
            | Scheduled::Read { side, run, .. }
            | Scheduled::Abandon { side, run }
            | Scheduled::Host { side, run, .. } => current(side, run),
        }
    }

    /// The swap of a node that is on its way to the witness.
    pub fn swap_under_way(&self, from: Side) -> Option<(u64, u64)> {
        let swap = |wake: &Scheduled| match wake {
            Scheduled::Landing { side, question, back, .. } => {
                *side == from && back.is_some() && matches!(**question, WitnessQuestion::Swap { .. })
            }
            _ => false,
        };
        self.wakes.iter().find(|(_, wake)| swap(wake)).map(|(at, _)| *at)
    }

    /// Something becomes of that swap.
    pub fn intercept_swap(&mut self, from: Side, fate: Fate) {
        let Some((at, serial)) = self.swap_under_way(from) else { return };
        let Some(Scheduled::Landing { side, run, ask, question, back }) = self.wakes.remove(&(at, serial)) else {
            return;
        };
        let mut land = |us: u64, back: Option<u64>| {
            let question = question.clone();
            self.wakes.insert((at + us, serial), Scheduled::Landing { side, run, ask, question, back });
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
    pub fn outline(&mut self, text: &mut String) {
        let hosts = &self.hosts;
        self.wakes.retain(|_, wake| Self::matters(hosts, wake));
        let _ = write!(text, "{} {:?} {:?} {:?}", self.now, self.cut, self.register, self.deferred);
        let _ = write!(text, "{:?} {:?} {:?}", self.oracle, self.exemptions, self.opening);
        for host in &self.hosts {
            let _ = write!(text, "{host:?}");
        }
        for (index, conn) in self.connections.iter().enumerate() {
            if conn.links != [None; 2] || conn.to.iter().any(|queue| !queue.is_empty()) {
                let _ = write!(text, "{index} {conn:?}");
            }
        }
        for ((at, _), wake) in &self.wakes {
            let _ = write!(text, "{at} {wake:?}");
        }
    }

    fn wake(&mut self, wake: Scheduled) -> Checked {
        if let Scheduled::Landing { side, run, ask, question, back } = wake {
            return self.landing((side, run, ask), *question, back);
        }
        let Some(side) = wake.side() else { return Ok(()) };
        if self.host(side).paused_at.is_some() {
            self.deferred[side.index()].push(wake);
            return Ok(());
        }
        let current = self.host(side).run;
        match wake {
            Scheduled::Arrival { conn, to } => self.arrival(conn, to),
            Scheduled::Timer { run, set, .. } => {
                let due = run == current && self.host(side).timer.is_some_and(|(_, now)| now == set);
                if due { self.event(side, Event::Timer) } else { Ok(()) }
            }
            Scheduled::DialOver { run, dial, refused, .. } if run == current => self.dial_over(side, dial, refused),
            Scheduled::Batch { run, batch, .. } if run == current => self.batch_done(side, batch),
            Scheduled::Read { run, read, .. } if run == current => self.read(side, read),
            Scheduled::Host { run, question, .. } if run == current => self.host_answers(side, question),
            Scheduled::Abandon { run, .. } if run == current => self.event(side, Event::Abandoned),
            Scheduled::WitnessSaid { run, ask, answer, .. } if run == current => self.witness_said(side, ask, answer),
            Scheduled::WitnessOver { run, ask, .. } if run == current => self.witness_over(side, ask),
            _ => Ok(()),
        }
    }

    /// Starts a node that does not run.
    pub fn start(&mut self, side: Side) -> Checked {
        let random = self.bits(side);
        // Even where nothing is left to chance, no run is another one.
        let run_id = RunId(self.bits(side).wrapping_add(self.host(side).run));
        let now_us = self.now;
        let untold = self.flaw == Some(InjectedBug::Unwitnessed);
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
        self.break_connections(side, "reset by peer");
        let (engine, actions) = catch_panic(move || Engine::start(now, start))?;
        let engine = {
            let mut engine = engine;
            if let Some(InjectedBug::Engine(mutant)) = self.flaw {
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
        self.exemptions.accepted(side, None);
        let pending_calls = self.host(side).pending_calls();
        let made = self.host(side).stop(kept)?;
        let host = self.host(side);
        host.said.stored(&host.disk.durable_state, &pending_calls)?;
        host.said = ExpectedSettings::of(&host.disk.durable_state);
        let node = self.host(side).disk.node();
        self.deferred[side.index()].clear();
        self.oracle.wrote(node, &made)?;
        if kept.is_some() && self.flaw == Some(InjectedBug::ForgetfulDisk) {
            self.host(side).disk.forget_last();
        }
        for conn in &mut self.connections {
            conn.links[side.index()] = None;
            conn.to[side.index()].clear();
        }
        if !silent {
            self.break_connections(side, "closed by peer");
        }
        let host = &self.hosts[side.index()];
        self.oracle.kept(side, &host.disk)?;
        self.oracle.one_revision(&host.disk)
    }

    /// Whether a swap may still land at the witness.
    pub fn swaps_under_way(&self) -> bool {
        let swap = |wake: &Scheduled| match wake {
            Scheduled::Landing { question, .. } => matches!(**question, WitnessQuestion::Swap { .. }),
            _ => false,
        };
        self.wakes.values().any(swap)
    }

    /// Goes on after standing still.
    pub fn resume(&mut self, side: Side, timer_first: bool) {
        let mut waiting = std::mem::take(&mut self.deferred[side.index()]);
        if timer_first {
            waiting.sort_by_key(|wake| !matches!(wake, Scheduled::Timer { .. }));
        }
        for wake in waiting {
            self.after(0, wake);
        }
    }
}
