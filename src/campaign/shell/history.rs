//! One history: a whole pair, the steps of a plan, the end of the faults, and the wait until the pair is whole again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use super::backups::{Backups, Kept};
use super::host::{Callers, Host, say};
use super::invariants::{HostInvariants, Scene, read};
use super::plan::{Plan, Step, Word};
use super::story::{self, Played, Trace};
use crate::campaign::violation::{Checked, Invariant, Violation};
use crate::testing::{Pair, Side};

/// Time within which a pair must be whole after the faults have ended: the hold-down, and many takeover delays.
const SETTLE: Duration = Duration::from_secs(30);
/// Time within which a commit must be answered when there are no faults.
const ANSWER: Duration = Duration::from_secs(5);

/// What a history contained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Steps.
    pub steps: u64,
    /// Change sets acknowledged.
    pub acknowledged: u64,
    /// Change sets acknowledged as durable on both nodes.
    pub replicated: u64,
    /// Times that the other node became master.
    pub takeovers: u64,
    /// Exports that were compared with what was visible.
    pub exports: u64,
    /// Imports that were acknowledged.
    pub imports: u64,
    /// Whether it was asserted to the end that nothing acknowledged is lost; 1 or 0.
    pub lossless: u64,
    /// Simulated time, microseconds.
    pub simulated_us: u64,
    /// Connections that were made.
    pub connections: u64,
    /// A sum over every decision of the schedule.
    pub fingerprint: u64,
}

/// Runs the history of this seed; a broken invariant becomes a story with fewer steps.
pub fn run(seed: u64, plan: Plan) -> Result<Summary, String> {
    let with = |steps| Plan { steps, ..plan.clone() };
    story::run(seed, plan.steps.clone(), with, "shell::tests::replay", attempt)
}

/// Runs these steps; `trace` takes what happened, where somebody wants to read it.
pub fn attempt(seed: u64, plan: &Plan, trace: &mut Trace) -> Result<Summary, Violation> {
    story::play(|told| History::new(seed, plan, told), trace).map(|history| history.summary())
}

struct History {
    pair: Pair,
    plan: Plan,
    hosts: [Arc<Host>; 2],
    callers: Callers,
    backups: Backups,
    invariants: HostInvariants,
    /// A clean shutdown has come to its end.
    stopped: [Arc<AtomicBool>; 2],
    /// One was asked for, and the node was not started since.
    stopping: [bool; 2],
}

impl Played for History {
    fn play(&mut self) -> Checked {
        for (step, us) in self.plan.steps.clone() {
            self.pair.scheduler().note(|| format!("-- {step:?}"));
            self.apply(step);
            self.run_for(Duration::from_micros(us))?;
        }
        self.check_liveness()
    }

    fn pair(&self) -> &Pair {
        &self.pair
    }
}

impl History {
    fn new(seed: u64, plan: &Plan, told: bool) -> Result<Self, Violation> {
        let hosts = [Arc::new(Host::default()), Arc::new(Host::default())];
        let pair = Pair::builder(seed)
            .options(plan.options())
            .witnessed(plan.witnessed)
            .traced(told)
            .hooks(Side::A, Arc::clone(&hosts[0]) as _)
            .hooks(Side::B, Arc::clone(&hosts[1]) as _)
            .start();
        let pair = pair.map_err(|error| Violation { invariant: Invariant::WholeAgain, what: error.to_string() })?;
        for side in Side::BOTH {
            pair.node(side).clock().rate(plan.rate_ppm[side.index()]);
        }
        let invariants = HostInvariants::new(plan.witnessed, plan.is_lossless());
        let (callers, backups, stopped) = Default::default();
        Ok(Self { pair, plan: plan.clone(), hosts, callers, backups, invariants, stopped, stopping: [false; 2] })
    }

    fn summary(&self) -> Summary {
        Summary {
            steps: self.plan.steps.len() as u64,
            acknowledged: self.invariants.acknowledged.len() as u64,
            replicated: self.invariants.replicated,
            takeovers: self.invariants.takeovers,
            exports: self.invariants.imports.compared,
            imports: self.invariants.imports.done(),
            lossless: u64::from(self.plan.is_lossless()),
            simulated_us: self.pair.scheduler().now_us(),
            connections: self.pair.connected(),
            fingerprint: self.pair.fingerprint(),
        }
    }

    /// Lets time pass; what must hold is looked at whenever something has happened.
    fn run_for(&mut self, time: Duration) -> Checked {
        self.run_until(time, |_| false).map(|_| ())
    }

    /// The same, until `done` says so; returns whether it did.
    fn run_until(&mut self, time: Duration, mut done: impl FnMut(&Self) -> bool) -> Result<bool, Violation> {
        let until_us = self.pair.scheduler().now_us() + time.as_micros() as u64;
        loop {
            self.pair.scheduler().run_ready();
            let answers = self.callers.take_answers();
            self.invariants.check(&Scene::of(&self.pair), self.callers.asked, answers)?;
            self.invariants.imports.asked(std::mem::take(&mut self.backups.imports));
            self.take_backups()?;
            if done(self) {
                return Ok(true);
            }
            if !self.pair.scheduler().step(until_us) {
                return Ok(false);
            }
        }
    }

    /// Looks at what operators were answered who export and import.
    fn take_backups(&mut self) -> Checked {
        for (side, kept) in self.backups.take_answers() {
            let exported = if let Kept::Exported { file, .. } = kept { Some(file) } else { None };
            self.invariants.imports.answer(kept)?;
            if let Some(file) = exported.filter(|file| self.invariants.imports.knows(*file)) {
                self.backups.keep(&self.pair, side, file);
            }
        }
        Ok(())
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Wait => {}
            Step::Commit { node, count, large } => self.commit(node, count, large),
            Step::Operator { node, word } => self.say(node, word),
            Step::Start { node } => self.start(node),
            Step::Shutdown { node } => self.shutdown(node),
            Step::Cut { from } => self.pair.link().cut_one_way(from),
            Step::Heal => self.pair.link().heal(),
            Step::Reset => self.pair.link().reset(),
            Step::Latency { us } => self.pair.link().latency(Duration::from_micros(us / 4), Duration::from_micros(us)),
            Step::Refuse { from, dials } => self.pair.link().refuse(from, dials),
            Step::Witness { .. } | Step::WitnessLoses { .. } | Step::WitnessLate { .. } => self.apply_to_witness(step),
            Step::MayTakeOver { node, allowed } => self.hosts[node as usize].may_take_over.store(allowed, SeqCst),
            Step::Validates { node, accepts } => self.hosts[node as usize].accepts.store(accepts, SeqCst),
            Step::Wall { node, ms } => {
                let (clock, by) = (self.pair.node(node).clock(), Duration::from_millis(ms.unsigned_abs()));
                if ms < 0 { clock.wall_back(by) } else { clock.wall_forward(by) }
            }
            Step::Crash { node, .. }
            | Step::CrashAtWrite { node, .. }
            | Step::Pause { node }
            | Step::Resume { node }
            | Step::Stall { node, .. }
            | Step::DiskFull { node, .. }
            | Step::FailSync { node, .. }
            | Step::DiskHangs { node, .. }
            | Step::DiskTakes { node, .. } => self.apply_to_machine(node, step),
        }
    }

    fn apply_to_machine(&mut self, side: Side, step: Step) {
        let (node, machine) = (self.pair.node(side), self.pair.machine(side));
        match step {
            Step::Crash { how, .. } if !machine.is_down() => machine.crash(how),
            Step::CrashAtWrite { nth, how, .. } if !machine.is_down() => machine.crash_at_write(nth, how),
            Step::Pause { .. } if !machine.is_down() => node.pause(),
            Step::Resume { .. } => node.resume(),
            Step::Stall { reads, us, .. } if !machine.is_down() => self.pair.scheduler().stall(side, Some((reads, us))),
            Step::DiskFull { full: true, .. } => node.disk().fill(),
            Step::DiskFull { full: false, .. } => node.disk().make_room(),
            Step::FailSync { nth, .. } => machine.disk.sim.fail_sync(nth),
            Step::DiskHangs { hangs: true, .. } => node.disk().freeze(),
            Step::DiskHangs { hangs: false, .. } => node.disk().thaw(),
            Step::DiskTakes { us, .. } => {
                node.disk().latency(Duration::from_micros(us / 4), Duration::from_micros(us));
            }
            _ => {}
        }
    }

    fn apply_to_witness(&mut self, step: Step) {
        let witness = self.pair.witness();
        match step {
            Step::Witness { node, reachable: false } => witness.unreachable_from(node),
            Step::Witness { node, reachable: true } => witness.reachable_from(node),
            Step::WitnessLoses { node, count } => witness.lose_answers(node, count),
            Step::WitnessLate { node, count, us } => witness.land_late(node, count, Duration::from_micros(us)),
            _ => {}
        }
    }

    fn commit(&mut self, side: Side, count: u8, large: bool) {
        if let Some(node) = self.pair.machine(side).node() {
            self.callers.commit(self.pair.node(side), &node, count, large);
        }
    }

    fn say(&mut self, side: Side, word: Word) {
        let Some(node) = self.pair.machine(side).node() else { return };
        match word {
            Word::Export | Word::Import { .. } | Word::Restore { .. } => {
                self.backups.say(&self.pair, side, &node, word);
            }
            _ => say(&self.pair, side, &node, word),
        }
    }

    /// Whether this node is paused, and whether it is frozen.
    fn modes(&self, side: Side) -> (bool, bool) {
        let modes = self.pair.node(side).status().map(|status| status.engine.modes).unwrap_or_default();
        (modes.paused.on, modes.frozen.on)
    }

    /// An operator ends what an operator has paused or frozen.
    fn end_modes(&mut self) {
        for side in Side::BOTH {
            let (paused, frozen) = self.modes(side);
            let words = [(paused, Word::Pause(false)), (frozen, Word::Freeze(false))];
            words.into_iter().filter(|(on, _)| *on).for_each(|(_, word)| self.say(side, word));
        }
    }

    fn start(&mut self, side: Side) {
        let (machine, stopped) = (self.pair.machine(side), &mut self.stopped[side as usize]);
        if stopped.load(SeqCst) {
            machine.end();
        }
        if let Some(error) = machine.take_failure() {
            self.pair.scheduler().note(|| format!("{side:?} had not started: {error}"));
            machine.end();
        }
        if machine.is_down() {
            *stopped = Arc::default();
            self.stopping[side as usize] = false;
            machine.start(None);
        }
    }

    fn shutdown(&mut self, side: Side) {
        if let Some(node) = self.pair.machine(side).node() {
            self.stopping[side as usize] = true;
            let stopped = Arc::clone(&self.stopped[side as usize]);
            self.pair.node(side).spawn(async move {
                node.shutdown().await;
                stopped.store(true, SeqCst);
            });
        }
    }

    /// Ends the faults. 8: the pair becomes whole within a bound, and acknowledges.
    fn check_liveness(&mut self) -> Checked {
        self.pair.scheduler().note(|| "-- the faults end".into());
        self.end_faults();
        let whole = self.until_whole()?;
        if !whole {
            // What a host refused is tried again only with a newer revision.
            Side::BOTH.into_iter().for_each(|side| self.commit(side, 1, false));
        }
        let whole = whole || self.until_whole()?;
        // An import that is under way would replace what comes next.
        let idle = |history: &Self| history.backups.idle();
        let whole = whole && (idle(self) || (self.run_until(SETTLE, idle)? && self.until_whole()?));
        Invariant::WholeAgain.check(whole, || format!("not whole {SETTLE:?} after the faults: {}", self.short()))?;
        self.acknowledges()?;
        self.nothing_is_left()
    }

    fn end_faults(&mut self) {
        let pair = &self.pair;
        pair.link().latency(Duration::from_micros(100), Duration::from_millis(1));
        pair.witness().up();
        for side in Side::BOTH {
            let (node, machine, host) = (pair.node(side), pair.machine(side), &self.hosts[side as usize]);
            pair.link().refuse(side, 0);
            host.accepts.store(true, SeqCst);
            host.may_take_over.store(true, SeqCst);
            machine.disk.sim.fail_sync(0);
            machine.disk.sim.stop(0);
            machine.disk.set_quick();
            node.disk().make_room();
            node.disk().thaw();
            pair.scheduler().stall(side, None);
            node.resume();
        }
        pair.link().heal();
    }

    fn until_whole(&mut self) -> Result<bool, Violation> {
        let mut spent = Duration::ZERO;
        while spent < SETTLE {
            for side in Side::BOTH {
                self.start(side);
            }
            // An operator's `disconnect` ends only with `reconnect`.
            if spent.is_zero() {
                Side::BOTH.into_iter().for_each(|side| self.say(side, Word::Reconnect));
            }
            self.end_modes();
            let slice = Duration::from_millis(500);
            // A node that hands over may need a while until it has stopped.
            let free = |history: &Self| {
                history.stopping == [false; 2]
                    && Side::BOTH.into_iter().all(|side| history.modes(side) == (false, false))
            };
            if self.run_until(slice, move |history| history.pair.is_whole() && free(history))? {
                return Ok(true);
            }
            spent += slice;
        }
        Ok(false)
    }

    /// A commit is acknowledged, and both nodes show it. It may meet the end of a switch of roles, and is then refused once.
    fn acknowledges(&mut self) -> Checked {
        let mut id = self.callers.asked;
        let mut shown = self.commit_is_shown()?;
        if !shown && self.invariants.is_refused(id) && self.until_whole()? {
            id = self.callers.asked;
            shown = self.commit_is_shown()?;
        }
        Invariant::WholeAgain.check(shown, || {
            let answered = self.invariants.acknowledged.get(&id);
            format!("the pair is whole, and a commit is not shown by both: {answered:?}; {}", self.short())
        })
    }

    /// Commits on the master. Returns whether both nodes show that within the time for an answer.
    fn commit_is_shown(&mut self) -> Result<bool, Violation> {
        let master = self.pair.master();
        Invariant::WholeAgain.check(master.is_some(), || "the pair is whole without a master".into())?;
        let id = self.callers.asked;
        master.into_iter().for_each(|master| self.commit(master, 1, false));
        let shown = move |history: &Self| Side::BOTH.into_iter().all(|side| history.shows(side, id));
        let answered = move |history: &Self| history.invariants.is_answered(id);
        self.run_until(ANSWER, move |history| {
            history.invariants.is_refused(id) || (answered(history) && shown(history))
        })?;
        Ok(answered(self) && shown(self))
    }

    fn shows(&self, side: Side, id: u64) -> bool {
        let snapshot = self.pair.machine(side).node().map(|node| node.config().snapshot());
        snapshot.is_some_and(|snapshot| read(&snapshot).is_ok_and(|(marks, _)| marks.contains(&id)))
    }

    /// 2: both nodes hold everything that was acknowledged, where that is promised. 7: no task and no connection leaks.
    fn nothing_is_left(&mut self) -> Checked {
        self.run_for(Duration::from_secs(1))?;
        for side in Side::BOTH {
            let Some(node) = self.pair.machine(side).node() else { continue };
            if self.plan.is_lossless() {
                self.invariants.has_all(side.into(), &node.config().snapshot())?;
            }
        }
        let load = self.pair.scheduler().load();
        Invariant::Bounded.check(load.tasks <= 60 && self.pair.connections() <= 4, || {
            format!("after the end {load:?}, {} connections", self.pair.connections())
        })
    }

    fn short(&self) -> String {
        let of = |side: Side| {
            let status = self.pair.node(side).status()?;
            let engine = &status.engine;
            Some(format!(
                "{side:?} {:?} serving {} {} {:?} {} in sync {} {:?}",
                engine.role,
                engine.serving,
                engine.position.revision,
                engine.link.state,
                engine.link.reason,
                engine.in_sync,
                engine.why_not
            ))
        };
        format!("{:?}", Side::BOTH.map(of))
    }
}
