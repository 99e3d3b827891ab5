//! One history with a copy, and what is checked of it beside what holds for any pair.

use std::collections::BTreeSet;
use std::time::Duration;

use super::plan::{Plan, Step};
use crate::campaign::shell::host::Callers;
use crate::campaign::shell::invariants::{HostInvariants, Scene, read};
use crate::campaign::shell::story::{self, Played, Trace};
use crate::campaign::violation::{Checked, Invariant, Violation};
use crate::protocol::alerts::AlertKind;
use crate::protocol::engine::LinkState;
use crate::testing::{Crash, Machine, MachineId, Pair, Side, SimulatedNode};

/// While nothing is broken, two that serve are seen within this time: an alert stands on some node.
const SEEN: Duration = Duration::from_secs(3);
/// And one of them has stopped within this time.
const PARTED: Duration = Duration::from_secs(10);
/// Time within which whoever meets two nodes with one identity says so.
const TOLD: Duration = Duration::from_secs(4);
/// Time within which the pair must be whole after the copy has been stopped.
const SETTLE: Duration = Duration::from_secs(30);

/// What a history contained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Change sets acknowledged.
    pub acknowledged: u64,
    /// Those that a copy acknowledged.
    pub by_copies: u64,
    /// Times that another node began to serve.
    pub takeovers: u64,
    /// Whether two with one identity were met and told of as the first row of the table says; 1 or 0.
    pub told: u64,
    /// Whether two nodes served at some time; 1 or 0.
    pub doubled: u64,
    /// The longest time for which two held mastership although there is a witness, microseconds.
    pub doubled_us: u64,
    /// Whether something acknowledged was lost with a witness and synchronous replication, after the two had parted; 1 or 0.
    pub lost: u64,
    /// Whether it was asserted to the end that the first keeps its link; 1 or 0.
    pub strict: u64,
    /// A sum over every decision of the schedule.
    pub fingerprint: u64,
}

/// Runs the history of this seed; a broken invariant becomes a story with fewer steps.
pub fn run(seed: u64, plan: Plan) -> Result<Summary, String> {
    let with = |steps| Plan { steps, ..plan.clone() };
    story::run(seed, plan.steps.clone(), with, "copies::tests::replay", attempt)
}

/// Runs these steps; `trace` takes what happened, where somebody wants to read it.
pub fn attempt(seed: u64, plan: &Plan, trace: &mut Trace) -> Result<Summary, Violation> {
    story::play(|told| History::new(seed, plan, told), trace).map(|history| history.summary())
}

struct History {
    pair: Pair,
    plan: Plan,
    copy: Option<Machine>,
    callers: Callers,
    invariants: HostInvariants,
    /// Of the two with one identity, the one that the peer was linked to when the other came.
    first: Option<MachineId>,
    /// The first may lose its link: something broke while both ran.
    parted: bool,
    /// What is broken now: machines that are cut off, stand still or do not reach the witness.
    broken: BTreeSet<(u8, MachineId)>,
    /// Since when two serve while nothing is broken, microseconds.
    two_since: Option<u64>,
    /// Since when two hold mastership, microseconds.
    doubled_since: Option<u64>,
    summary: Summary,
}

impl Played for History {
    fn play(&mut self) -> Checked {
        for (step, us) in self.plan.steps.clone() {
            self.pair.scheduler().note(|| format!("-- {step:?}"));
            self.apply(step);
            self.run_for(Duration::from_micros(us))?;
        }
        self.both_are_told_of()?;
        self.check_liveness()
    }

    fn pair(&self) -> &Pair {
        &self.pair
    }
}

impl History {
    fn new(seed: u64, plan: &Plan, told: bool) -> Result<Self, Violation> {
        let pair = Pair::builder(seed).options(plan.options()).witnessed(plan.witnessed).traced(told).start();
        let pair = pair.map_err(|error| Violation { invariant: Invariant::WholeAgain, what: error.to_string() })?;
        Ok(Self {
            pair,
            plan: plan.clone(),
            copy: None,
            callers: Callers::default(),
            invariants: HostInvariants::new(plan.witnessed, plan.is_lossless()),
            first: None,
            parted: false,
            broken: BTreeSet::new(),
            two_since: None,
            doubled_since: None,
            summary: Summary::default(),
        })
    }

    fn summary(mut self) -> Summary {
        self.summary.acknowledged = self.invariants.acknowledged.len() as u64;
        self.summary.takeovers = self.invariants.takeovers;
        self.summary.strict = u64::from(!self.parted);
        self.summary.fingerprint = self.pair.fingerprint();
        self.summary
    }

    fn scene(&self) -> Scene<'_> {
        Scene { pair: &self.pair, copy: self.copy.as_ref().map(|machine| (machine, self.plan.of)) }
    }

    fn machine(&self, place: MachineId) -> Option<&Machine> {
        match place {
            MachineId::Node(side) => Some(self.pair.machine(side)),
            MachineId::Copy => self.copy.as_ref(),
        }
    }

    fn on(&self, place: MachineId) -> Option<SimulatedNode<'_>> {
        self.machine(place).map(|machine| self.pair.on(machine))
    }

    fn original(&self) -> MachineId {
        self.plan.of.into()
    }

    fn peer(&self) -> MachineId {
        self.plan.of.other().into()
    }

    fn runs(&self, place: MachineId) -> bool {
        self.machine(place).is_some_and(|machine| !machine.is_down())
    }

    /// Whether both with one identity run.
    fn two_run(&self) -> bool {
        self.runs(MachineId::Copy) && self.runs(self.original())
    }

    fn is_linked(&self, place: MachineId) -> bool {
        let state = self.scene().status(place).map(|status| status.engine.link.state);
        matches!(state, Some(LinkState::Connected | LinkState::Syncing))
    }

    // Steps.

    fn apply(&mut self, step: Step) {
        match step {
            Step::Wait => {}
            Step::Commit { at, count } => self.commit(at, count),
            Step::Copy => {
                let copied = self.pair.machine(self.plan.of).copied();
                self.copy.get_or_insert(copied);
            }
            Step::Start { at } => self.start(at),
            Step::Crash { at, how } => self.crash(at, how),
            Step::Pause { at } if self.runs(at) => self.breaks(0, at),
            Step::Resume { at } => self.mends(0, at),
            Step::Cut { from } => self.breaks(1, from),
            Step::Heal => MachineId::ALL.into_iter().for_each(|from| self.mends(1, from)),
            Step::Witness { at, reachable: false } => self.breaks(2, at),
            Step::Witness { at, reachable: true } => self.mends(2, at),
            Step::Reset => {
                self.part();
                self.pair.link().reset();
            }
            Step::Pause { .. } => {}
        }
    }

    /// Something of this kind breaks at this machine: it stands still, nothing that it sends arrives, or it does not reach the witness.
    fn breaks(&mut self, kind: u8, place: MachineId) {
        self.part();
        self.broken.insert((kind, place));
        match (kind, self.on(place)) {
            (0, Some(node)) => node.pause(),
            (1, _) => self.pair.world().network.cut(place),
            (2, _) => self.pair.world().register.set_reachable(place, false),
            _ => {}
        }
    }

    fn mends(&mut self, kind: u8, place: MachineId) {
        self.broken.remove(&(kind, place));
        match (kind, self.on(place)) {
            (0, Some(node)) => node.resume(),
            (1, _) => self.pair.world().network.heal(place),
            (2, _) => self.pair.world().register.set_reachable(place, true),
            _ => {}
        }
    }

    /// From now on it is not known which of the two is linked, and both may serve for a while.
    fn part(&mut self) {
        if self.copy.is_some() {
            self.pair.scheduler().note(|| "-- from here on the two may part".into());
            (self.parted, self.first) = (true, None);
            self.invariants.excuse();
        }
    }

    fn start(&mut self, place: MachineId) {
        let Some(machine) = self.machine(place).cloned() else { return };
        if machine.take_failure().is_some() {
            machine.end();
        }
        if !machine.is_down() {
            return;
        }
        let other = if place == MachineId::Copy { self.original() } else { MachineId::Copy };
        if place != self.peer() && self.runs(other) {
            match self.is_linked(other) && self.is_linked(self.peer()) && self.broken.is_empty() {
                true => self.first = self.first.or(Some(other)),
                false => self.part(),
            }
        }
        machine.start(None);
    }

    fn crash(&mut self, place: MachineId, how: Crash) {
        if !self.runs(place) {
            return;
        }
        // The end of the later one, or of one that runs alone, parts nothing.
        let later = place != self.peer() && self.first.is_some_and(|first| first != place);
        if (self.two_run() && !later) || (place == self.peer() && self.runs(MachineId::Copy)) {
            self.part();
        }
        self.first = None;
        self.broken.remove(&(0, place));
        if let Some(node) = self.on(place) {
            node.crash(how);
        }
    }

    fn commit(&mut self, place: MachineId, count: u8) {
        let Some(machine) = self.machine(place).cloned() else { return };
        if let Some(node) = machine.node() {
            self.callers.commit(self.pair.on(&machine), &node, count, false);
        }
    }

    // Time.

    fn run_for(&mut self, time: Duration) -> Checked {
        self.run_until(time, |_| false).map(|_| ())
    }

    /// Lets time pass until `done` says so; what must hold is looked at whenever something has happened.
    fn run_until(&mut self, time: Duration, mut done: impl FnMut(&Self) -> bool) -> Result<bool, Violation> {
        let until_us = self.pair.scheduler().now_us() + time.as_micros() as u64;
        loop {
            self.pair.scheduler().run_ready();
            self.look()?;
            if done(self) {
                return Ok(true);
            }
            if !self.pair.scheduler().step(until_us) {
                return Ok(false);
            }
        }
    }

    fn look(&mut self) -> Checked {
        let answers = self.callers.take_answers();
        let by_copy = answers.iter().filter(|answer| answer.place == MachineId::Copy && answer.outcome.is_ok());
        self.summary.by_copies += by_copy.count() as u64;
        let scene = Scene { pair: &self.pair, copy: self.copy.as_ref().map(|machine| (machine, self.plan.of)) };
        self.invariants.check(&scene, self.callers.asked, answers)?;
        self.first_stays()?;
        self.two_are_seen()
    }

    /// Nothing that the later one does reaches the link of the first.
    fn first_stays(&self) -> Checked {
        let Some(first) = self.first else { return Ok(()) };
        let masters = self.scene().masters();
        Invariant::OneMaster.check(masters.len() < 2, || format!("{masters:?} serve, and {first:?} is linked"))?;
        let linked = self.is_linked(first) && self.is_linked(self.peer());
        Invariant::FirstStays
            .check(linked, || format!("{first:?} has lost its link to {:?}: {}", self.peer(), self.short()))
    }

    /// Where two serve although nothing is broken, somebody says so soon, and one of them stops.
    fn two_are_seen(&mut self) -> Checked {
        let now_us = self.pair.scheduler().now_us();
        let masters = self.scene().masters();
        self.summary.doubled |= u64::from(masters.len() > 1);
        if masters.len() > 1 && self.plan.witnessed {
            let lasts_us = now_us - *self.doubled_since.get_or_insert(now_us);
            self.summary.doubled_us = self.summary.doubled_us.max(lasts_us.max(1));
        } else {
            self.doubled_since = None;
        }
        let quiet =
            self.broken.is_empty() && Side::BOTH.into_iter().all(|side| self.scene().node(side.into()).is_some());
        if masters.len() < 2 || !quiet {
            self.two_since = None;
            return Ok(());
        }
        let since = *self.two_since.get_or_insert(now_us);
        let lasts = Duration::from_micros(now_us - since);
        let seen = || self.scene().places().any(|place| self.says_that_two_serve(place));
        Invariant::FirstStays
            .check(lasts < SEEN || seen(), || format!("{masters:?} serve, and nobody says so: {}", self.short()))?;
        Invariant::OneMaster
            .check(lasts < PARTED, || format!("{masters:?} have served for {PARTED:?}: {}", self.short()))
    }

    fn says_that_two_serve(&self, place: MachineId) -> bool {
        let Some(status) = self.scene().status(place) else { return false };
        status
            .engine
            .alerts
            .iter()
            .any(|alert| matches!(alert.kind, AlertKind::DuplicateNode | AlertKind::TwoMasters | AlertKind::RolledBack))
    }

    /// Two with one identity run, and the first is linked: all three say so, and the addresses of both are named.
    fn both_are_told_of(&mut self) -> Checked {
        let Some(first) = self.first.filter(|_| self.two_run()) else { return Ok(()) };
        let later = if first == MachineId::Copy { self.original() } else { MachineId::Copy };
        let peer = self.peer();
        let told = self.run_until(TOLD, move |history| {
            let named = |place, subject| history.names_both(place, subject);
            let refused = history.scene().status(later).map(|status| status.engine.link.state);
            named(peer, "peer") && named(first, "copy of this node") && refused == Some(LinkState::Refused)
        })?;
        self.summary.told = 1;
        Invariant::FirstStays
            .check(told, || format!("not all say that {later:?} is a second {first:?}: {}", self.short()))
    }

    /// Whether an alert about two nodes with one identity stands here that names where both are.
    fn names_both(&self, place: MachineId, subject: &str) -> bool {
        let Some(status) = self.scene().status(place) else { return false };
        let addresses = [self.original(), MachineId::Copy].map(Machine::address);
        let mut alerts = status.engine.alerts.iter();
        alerts.any(|alert| {
            let duplicate = alert.kind == AlertKind::DuplicateNode && alert.subject == subject;
            duplicate && addresses.iter().all(|address| alert.message.contains(address))
        })
    }

    // The end.

    /// The copy is stopped for good, and the faults end. 8: the pair becomes whole within a bound, and acknowledges.
    fn check_liveness(&mut self) -> Checked {
        self.pair.scheduler().note(|| "-- the copy is stopped for good, and the faults end".into());
        self.first = None;
        if let Some(node) = self.on(MachineId::Copy).filter(|_| self.runs(MachineId::Copy)) {
            node.crash(Crash::Process);
        }
        self.look()?;
        self.invariants.disk_gone(MachineId::Copy);
        self.copy = None;
        for (kind, place) in self.broken.clone() {
            self.mends(kind, place);
        }
        self.pair.world().network.heal(MachineId::Copy);
        if !self.until_whole()? {
            self.accept_loss()?;
        }
        let whole = self.until_whole()?;
        Invariant::WholeAgain
            .check(whole, || format!("not whole {SETTLE:?} after the copy's end: {}", self.short()))?;
        self.acknowledges()
    }

    fn until_whole(&mut self) -> Result<bool, Violation> {
        let slice = Duration::from_millis(500);
        for _ in 0..SETTLE.as_micros() / slice.as_micros() {
            Side::BOTH.into_iter().for_each(|side| self.start(side.into()));
            if self.run_until(slice, |history| history.pair.is_whole())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where the copy took something with it that nobody else has, an operator says so on the node that has most.
    fn accept_loss(&mut self) -> Checked {
        let head = |side: &Side| self.pair.node(*side).status().map(|status| status.engine.position.revision);
        let Some(side) = Side::BOTH.into_iter().max_by_key(head) else { return Ok(()) };
        let Some(node) = self.pair.machine(side).node() else { return Ok(()) };
        self.pair.scheduler().note(|| format!("-- an operator accepts the loss on {side:?}"));
        let operator = node.operator();
        self.pair.node(side).spawn(async move { drop(operator.take_over_accepting_loss().await) });
        self.run_for(Duration::from_secs(3))
    }

    /// A commit is acknowledged, and both nodes show it and everything that was acknowledged before.
    fn acknowledges(&mut self) -> Checked {
        let (id, master) = (self.callers.asked, self.pair.master());
        if let Some(side) = master {
            self.commit(side.into(), 1);
        }
        let shown = self.run_until(Duration::from_secs(5), move |history| {
            let shows = |side: Side| {
                let node = history.pair.machine(side).node();
                node.is_some_and(|node| read(&node.config().snapshot()).is_ok_and(|(marks, _)| marks.contains(&id)))
            };
            history.invariants.is_answered(id) && Side::BOTH.into_iter().all(shows)
        })?;
        Invariant::WholeAgain.check(shown, || format!("whole, and no commit is shown by both: {}", self.short()))?;
        for side in Side::BOTH.into_iter().filter(|_| self.plan.is_lossless()) {
            let Some(node) = self.pair.machine(side).node() else { continue };
            let has_all = self.invariants.has_all(side.into(), &node.config().snapshot());
            match self.parted {
                true => self.summary.lost |= u64::from(has_all.is_err()),
                false => has_all?,
            }
        }
        Ok(())
    }

    fn short(&self) -> String {
        let of = |place: MachineId| {
            let status = self.scene().status(place)?;
            let engine = &status.engine;
            let alerts: Vec<_> =
                engine.alerts.iter().map(|alert| (alert.kind.as_str(), alert.subject.as_str())).collect();
            Some(format!(
                "{place:?} {:?} serving {} {} {:?} {} in sync {} {:?} {alerts:?}",
                engine.role,
                engine.serving,
                engine.position.revision,
                engine.link.state,
                engine.link.reason,
                engine.in_sync,
                engine.why_not
            ))
        };
        format!("{:#?}", self.scene().places().map(of).collect::<Vec<_>>())
    }
}
