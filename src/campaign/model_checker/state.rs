//! A state of the check, and its successor after a choice.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::bounds::{BEAT_US, Bounds, Granularity};
use super::choice::{Choice, FaultKind, VERBS};
use crate::campaign::simulator::faults;
use crate::campaign::simulator::liveness;
use crate::campaign::simulator::plan::Plan;
use crate::campaign::simulator::random::Random;
use crate::campaign::simulator::step::Fate;
use crate::campaign::simulator::world::World;
use crate::campaign::violation::{Checked, Invariant, Violation};
use crate::protocol::engine::{Failover, LinkState, TakeoverBlocker};
use crate::protocol::failover::NodeState;
use crate::testing::Side;

/// How much of a batch under way reaches the disk in a crash: nothing, half of it (durable state without its era), all of it.
const KEPT: [u8; 3] = [0, 150, 255];
/// How late a swap arrives: within the lease, and after a takeover.
const LATE_US: [u64; 2] = [250_000, 900_000];

/// Whom a fault of a network can affect.
const TARGETS: [&[Side]; 3] = [&[Side::A], &[Side::B], &Side::BOTH];

/// Where a kind of fault stands on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has not begun.
    Ahead,
    /// It began at this moment, and this choice ends it.
    Since(u64, Choice),
    /// It is over.
    Over,
}

/// A state: the pair, and what may still happen to it.
#[derive(Clone)]
pub struct PairState {
    world: Arc<World>,
    phases: [Phase; FaultKind::ALL.len()],
    /// The last kind of fault at this moment. Faults at one moment come in the order of their kinds.
    last: Option<FaultKind>,
    /// When choices began.
    from: u64,
    settled: bool,
    violation: Option<Violation>,
    fingerprint: [u8; 16],
}

impl PartialEq for PairState {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for PairState {}

impl Hash for PairState {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

impl std::fmt::Debug for PairState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.6} s {:?} {:?}", self.now() as f64 / 1e6, self.phases, self.violation)
    }
}

impl PairState {
    /// A whole pair, after the beginning that the bounds ask for.
    pub fn begin(bounds: &Bounds) -> Self {
        Self::begin_traced(bounds, None)
    }

    /// The same, with a trace where one is given.
    pub fn begin_traced(bounds: &Bounds, trace: Option<Vec<String>>) -> Self {
        let plan = Plan {
            failover: Failover::Automatic,
            hold_down_s: 0,
            witnessed: true,
            blank_witness: false,
            replication: bounds.replication,
            sync_timeout_ms: 200,
            lease_ms: [bounds.lease_ms; 2],
            rates_ppm: bounds.rates_ppm,
            log_changes: 20,
            byzantine: false,
            stored: false,
            gone: None,
            steps: Vec::new(),
        };
        let mut world = World::new(1, plan);
        world.random = Random::fixed();
        world.bug = bounds.bug;
        world.journal.trace = trace;
        let beginning = |world: &mut World| -> Checked {
            world.start(Side::A)?;
            world.start(Side::B)?;
            world.run(10 * BEAT_US)?;
            bounds.beginning.iter().try_for_each(|step| faults::apply(world, *step))
        };
        let violation = beginning(&mut world).err();
        let from = world.now;
        let mut phases = [Phase::Ahead; FaultKind::ALL.len()];
        for choice in &bounds.open_faults {
            if let (Some(kind), Some(end)) = (choice.kind(), choice.ending()) {
                phases[kind as usize] = Phase::Since(from, end);
            }
        }
        let mut pair =
            Self { world: Arc::new(world), phases, last: None, from, settled: false, violation, fingerprint: [0; 16] };
        pair.update_fingerprint();
        pair
    }

    /// True time, microseconds.
    pub fn now(&self) -> u64 {
        self.world.now
    }

    /// The trace so far, where one is kept.
    pub fn trace(&self) -> &[String] {
        self.world.journal.trace.as_deref().unwrap_or_default()
    }

    /// The violation, if there is one.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Whether this invariant is broken.
    pub fn breaks(&self, invariant: Invariant) -> bool {
        self.violation.as_ref().is_some_and(|violation| violation.invariant == invariant)
    }

    /// Whether every invariant holds.
    pub fn holds(&self) -> bool {
        self.violation.is_none()
    }

    /// Whether a shadow took over and serves.
    pub fn was_taken_over(&self) -> bool {
        self.world.journal.summary.takeovers > 0 && self.world.holds_mastership(Side::B)
    }

    /// Whether the first master follows the new one, in sync.
    pub fn returned(&self) -> bool {
        let follows = self.node_state(Side::A) == Some(NodeState::Following);
        let connected = || {
            let machine = &self.world.machines[Side::A.index()];
            let status = machine.engine.as_ref().map(|engine| engine.status(machine.clock.at(self.now()), 0));
            status.is_some_and(|status| status.link.state == LinkState::Connected && status.in_sync)
        };
        follows && self.was_taken_over() && connected()
    }

    /// Whether a master has lost its authority and acknowledges nothing.
    pub fn fenced(&self) -> bool {
        Side::BOTH.into_iter().any(|side| self.node_state(side) == Some(NodeState::Stalled))
    }

    /// Whether a master acknowledged a change that only it holds, the record naming nobody as in sync.
    pub fn acknowledged_alone(&self) -> bool {
        let named = self.world.witness.record().is_some_and(|record| record.in_sync.is_some());
        let alone = self.world.journal.summary.acknowledged > self.world.journal.summary.replicated;
        alone && !named
    }

    /// Whether an operator's switch has made the shadow master, without a takeover.
    pub fn was_switched(&self) -> bool {
        let summary = &self.world.journal.summary;
        summary.switches > 0 && summary.takeovers == 0 && self.world.holds_mastership(Side::B)
    }

    /// Whether a pause keeps the shadow, whose master is away, from taking over.
    pub fn pause_holds(&self) -> bool {
        let machine = &self.world.machines[Side::B.index()];
        let away = self.world.machines[Side::A.index()].engine.is_none();
        let status = machine.engine.as_ref().map(|engine| engine.status(machine.clock.at(self.now()), 0));
        away && status.is_some_and(|status| status.why_not == [TakeoverBlocker::Paused])
    }

    fn node_state(&self, side: Side) -> Option<NodeState> {
        self.world.machines[side.index()].engine.as_ref().map(|engine| engine.node_state())
    }

    /// Adds everything that may happen now.
    pub fn choices(&self, bounds: &Bounds, choices: &mut Vec<Choice>) {
        if self.violation.is_some() || self.settled {
            return;
        }
        if self.now() >= self.end(bounds) {
            choices.extend(bounds.settles.then_some(Choice::Settle));
            return;
        }
        for kind in FaultKind::ALL.into_iter().filter(|kind| self.last.is_none_or(|last| *kind >= last)) {
            match self.phases[kind as usize] {
                Phase::Ahead if self.may_begin(bounds, kind) => self.onsets(kind, choices),
                Phase::Since(since, end) if self.now() > since => {
                    let due = bounds.lengths.iter().any(|beats| since + beats * BEAT_US == self.now());
                    choices.extend(due.then_some(end));
                }
                _ => {}
            }
        }
        choices.push(Choice::Continue);
    }

    /// How a kind of fault can begin now.
    fn onsets(&self, kind: FaultKind, choices: &mut Vec<Choice>) {
        let runs = |side: &Side| {
            let machine = &self.world.machines[side.index()];
            machine.engine.is_some() && machine.paused_at.is_none()
        };
        let running = Side::BOTH.into_iter().filter(runs);
        match kind {
            FaultKind::Commit => {
                let holder = running.clone().find(|side| self.world.holds_mastership(*side));
                choices.extend(holder.map(Choice::Commit));
            }
            FaultKind::Crash => {
                for side in running {
                    let kept =
                        if self.world.machines[side.index()].driver.batch.is_some() { &KEPT[..] } else { &KEPT[..1] };
                    choices.extend(kept.iter().map(|kept| Choice::Crash(side, *kept)));
                }
            }
            FaultKind::Cut => choices.extend(TARGETS.map(Choice::Cut)),
            FaultKind::Pause => choices.extend(running.map(Choice::Pause)),
            FaultKind::Unreachable => choices.extend(TARGETS.map(Choice::Unreachable)),
            FaultKind::Operator => {
                for side in running {
                    choices.extend(VERBS.map(|verb| Choice::Say(side, verb)));
                }
            }
            FaultKind::Swap => {
                for side in Side::BOTH.into_iter().filter(|side| self.world.schedule.has_swap_from(*side)) {
                    let late = LATE_US.map(|us| Fate::Late { us });
                    let fates = [Fate::QuestionLost, Fate::AnswerLost].into_iter().chain(late);
                    choices.extend(fates.map(|fate| Choice::Swap(side, fate)));
                }
            }
        }
    }

    /// When a path ends.
    fn end(&self, bounds: &Bounds) -> u64 {
        self.from + bounds.horizon * BEAT_US
    }

    /// Whether a fault of this kind may begin now, if there is room for another one.
    fn may_begin(&self, bounds: &Bounds, kind: FaultKind) -> bool {
        let ahead = |kind: FaultKind| self.phases[kind as usize] == Phase::Ahead;
        let begun = FaultKind::ALL.into_iter().filter(|kind| *kind != FaultKind::Commit && !ahead(*kind)).count();
        let room = kind == FaultKind::Commit || begun < bounds.faults + bounds.open_faults.len();
        room && ahead(kind) && bounds.kinds.contains(&kind) && self.now() <= self.from + bounds.onsets * BEAT_US
    }

    /// The pair after this choice.
    pub fn after(&self, bounds: &Bounds, choice: Choice) -> Self {
        let mut next = self.clone();
        let world = Arc::make_mut(&mut next.world);
        world.note(|| format!("-- {choice:?}"));
        let result = match choice {
            Choice::Continue => self.advance(bounds, world),
            Choice::Settle => liveness::check_liveness(world),
            _ => choice.steps(bounds.closes).into_iter().try_for_each(|step| faults::apply(world, step)),
        };
        if let Choice::Swap(side, fate) = choice {
            world.schedule.intercept_swap(side, fate);
        }
        let now = world.now;
        next.violation = result.err();
        next.settled = choice == Choice::Settle;
        next.last = choice.kind();
        if let Some(kind) = choice.kind() {
            next.phases[kind as usize] = choice.ending().map_or(Phase::Over, |end| Phase::Since(now, end));
        }
        next.update_fingerprint();
        next
    }

    /// Lets time pass until there is a choice again.
    fn advance(&self, bounds: &Bounds, world: &mut World) -> Checked {
        let now = world.now;
        let ends = self.phases.iter().filter_map(|phase| match phase {
            Phase::Since(since, _) => Some(*since),
            _ => None,
        });
        let ends = ends.flat_map(|since| bounds.lengths.iter().map(move |beats| since + beats * BEAT_US));
        let stop = ends.filter(|end| *end > now).chain([self.end(bounds)]).min().unwrap_or(now);
        let open = FaultKind::ALL.into_iter().any(|kind| self.may_begin(bounds, kind));
        match bounds.granularity {
            _ if !open => world.run(stop - now),
            Granularity::Beat => world.run(stop.min(now + BEAT_US) - now),
            Granularity::Event => match world.next_event_at() {
                Some(at) if at <= stop => world.run_one_event(),
                _ => world.run(stop - now),
            },
        }
    }

    /// Updates the fingerprint by which states are compared.
    fn update_fingerprint(&mut self) {
        let mut text = String::with_capacity(1 << 15);
        Arc::make_mut(&mut self.world).write_outline(&mut text);
        text.push_str(&format!("{:?} {:?} {} {:?}", self.phases, self.last, self.settled, self.violation));
        let whole = blake3::hash(text.as_bytes());
        self.fingerprint.copy_from_slice(&whole.as_bytes()[..16]);
    }
}
