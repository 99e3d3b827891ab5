//! A state of the check, and what a choice makes of it.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::bounds::{BEAT_US, Bounds, Grain, Kind};
use crate::campaign::simulator::faults;
use crate::campaign::simulator::liveness;
use crate::campaign::simulator::plan::Plan;
use crate::campaign::simulator::random::Random;
use crate::campaign::simulator::step::{Fate, Side, Step, WitnessFault};
use crate::campaign::simulator::violation::{Checked, Invariant, Violation};
use crate::campaign::simulator::world::World;
use crate::protocol::engine::{Failover, LinkState};
use crate::protocol::failover::NodeState;

/// How much of a batch under way reaches the disk in a crash: nothing, half of it (durable state without their era), all of it.
const KEPT: [u8; 3] = [0, 150, 255];
/// How late a swap lands: within the lease, and after a takeover.
const LATE_US: [u64; 2] = [250_000, 900_000];

/// One choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Time goes on.
    On,
    /// A caller commits.
    Commit(Side),
    /// A process ends; so much of the batch under way is kept, of 255.
    Crash(Side, u8),
    /// It starts again.
    Start(Side),
    /// Nothing that these send arrives.
    Cut(&'static [Side]),
    /// It does again.
    Heal(&'static [Side]),
    /// A process stands still.
    Pause(Side),
    /// It goes on.
    Resume(Side),
    /// These cannot reach the witness.
    Unreachable(&'static [Side]),
    /// They can again.
    Reachable(&'static [Side]),
    /// The swap of this node that is under way meets a fate.
    Swap(Side, Fate),
    /// All faults end, and time passes until the pair is whole.
    Settle,
}

/// Who a fault between two things is about.
const WAYS: [&[Side]; 3] = [&[Side::A], &[Side::B], &Side::BOTH];

/// How far a kind of fault has come in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not there yet.
    Ahead,
    /// Began at this moment; how it ends.
    Since(u64, Choice),
    /// Was there.
    Over,
}

/// A state: the pair, and what may still be done to it.
#[derive(Clone)]
pub struct Pair {
    world: Arc<World>,
    phases: [Phase; Kind::ALL.len()],
    /// The last kind of fault at this moment: those before it in the order come no more.
    last: Option<Kind>,
    /// When choices began.
    from: u64,
    settled: bool,
    violation: Option<Violation>,
    print: [u8; 16],
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.print == other.print
    }
}

impl Eq for Pair {}

impl Hash for Pair {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.print.hash(state);
    }
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.6} s {:?} {:?}", self.now() as f64 / 1e6, self.phases, self.violation)
    }
}

impl Pair {
    /// A whole pair, with what the bounds do to it first.
    pub fn begin(bounds: &Bounds) -> Self {
        Self::begun(bounds, None)
    }

    /// The same, with a trace.
    pub fn begun(bounds: &Bounds, trace: Option<Vec<String>>) -> Self {
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
            hostile: false,
            stored: false,
            gone: None,
            steps: Vec::new(),
        };
        let mut world = World::new(1, plan);
        world.random = Random::fixed();
        world.flaw = bounds.flaw;
        world.trace = trace;
        let beginning = |world: &mut World| -> Checked {
            world.start(Side::A)?;
            world.start(Side::B)?;
            world.run(10 * BEAT_US)?;
            bounds.beginning.iter().try_for_each(|step| faults::apply(world, *step))
        };
        let violation = beginning(&mut world).err();
        let from = world.now;
        let mut phases = [Phase::Ahead; Kind::ALL.len()];
        for choice in &bounds.begun {
            if let (Some(kind), Some(end)) = (kind(*choice), ending(*choice)) {
                phases[kind as usize] = Phase::Since(from, end);
            }
        }
        let mut pair =
            Self { world: Arc::new(world), phases, last: None, from, settled: false, violation, print: [0; 16] };
        pair.imprint();
        pair
    }

    /// True time, microseconds.
    pub fn now(&self) -> u64 {
        self.world.now
    }

    /// The trace so far, where one is told.
    pub fn trace(&self) -> &[String] {
        self.world.trace.as_deref().unwrap_or_default()
    }

    /// What is broken.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Whether this is what is broken.
    pub fn breaks(&self, invariant: Invariant) -> bool {
        self.violation.as_ref().is_some_and(|violation| violation.invariant == invariant)
    }

    /// Whether nothing is.
    pub fn holds(&self) -> bool {
        self.violation.is_none()
    }

    /// Whether a shadow took over and serves.
    pub fn was_taken_over(&self) -> bool {
        self.world.summary.takeovers > 0 && self.world.holds_mastership(Side::B)
    }

    /// Whether the first master follows the other one, and has everything.
    pub fn returned(&self) -> bool {
        let follows = self.node_state(Side::A) == Some(NodeState::Following);
        let connected = || {
            let host = &self.world.hosts[Side::A.index()];
            let status = host.engine.as_ref().map(|engine| engine.status(host.clock.at(self.now()), 0));
            status.is_some_and(|status| status.link == LinkState::Connected && status.in_sync)
        };
        follows && self.was_taken_over() && connected()
    }

    /// Whether a master has lost both its covers, and acknowledges nothing.
    pub fn fenced(&self) -> bool {
        Side::BOTH.into_iter().any(|side| self.node_state(side) == Some(NodeState::Stalled))
    }

    /// Whether something was acknowledged that only one node holds, and the record names nobody as in sync.
    pub fn acknowledged_alone(&self) -> bool {
        let named = self.world.register.record().is_some_and(|record| record.in_sync.is_some());
        let alone = self.world.summary.acknowledged > self.world.summary.replicated;
        alone && !named
    }

    fn node_state(&self, side: Side) -> Option<NodeState> {
        self.world.hosts[side.index()].engine.as_ref().map(|engine| engine.node_state())
    }

    /// Everything that is possible now.
    pub fn choices(&self, bounds: &Bounds, choices: &mut Vec<Choice>) {
        if self.violation.is_some() || self.settled {
            return;
        }
        if self.now() >= self.end(bounds) {
            choices.extend(bounds.settles.then_some(Choice::Settle));
            return;
        }
        for kind in Kind::ALL.into_iter().filter(|kind| self.last.is_none_or(|last| *kind >= last)) {
            match self.phases[kind as usize] {
                Phase::Ahead if self.may_begin(bounds, kind) => self.onsets(kind, choices),
                Phase::Since(since, end) if self.now() > since => {
                    let due = bounds.lengths.iter().any(|beats| since + beats * BEAT_US == self.now());
                    choices.extend(due.then_some(end));
                }
                _ => {}
            }
        }
        choices.push(Choice::On);
    }

    /// How a kind of fault can begin now.
    fn onsets(&self, kind: Kind, choices: &mut Vec<Choice>) {
        let runs = |side: &Side| {
            let host = &self.world.hosts[side.index()];
            host.engine.is_some() && host.paused_at.is_none()
        };
        let running = Side::BOTH.into_iter().filter(runs);
        match kind {
            Kind::Commit => {
                let holder = running.clone().find(|side| self.world.holds_mastership(*side));
                choices.extend(holder.map(Choice::Commit));
            }
            Kind::Crash => {
                for side in running {
                    let kept = if self.world.hosts[side.index()].batch.is_some() { &KEPT[..] } else { &KEPT[..1] };
                    choices.extend(kept.iter().map(|kept| Choice::Crash(side, *kept)));
                }
            }
            Kind::Cut => choices.extend(WAYS.map(Choice::Cut)),
            Kind::Pause => choices.extend(running.map(Choice::Pause)),
            Kind::Unreachable => choices.extend(WAYS.map(Choice::Unreachable)),
            Kind::Swap => {
                for side in Side::BOTH.into_iter().filter(|side| self.world.swap_under_way(*side).is_some()) {
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
    fn may_begin(&self, bounds: &Bounds, kind: Kind) -> bool {
        let ahead = |kind: Kind| self.phases[kind as usize] == Phase::Ahead;
        let begun = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Commit && !ahead(*kind)).count();
        let room = kind == Kind::Commit || begun < bounds.faults + bounds.begun.len();
        room && ahead(kind) && bounds.kinds.contains(&kind) && self.now() <= self.from + bounds.onsets * BEAT_US
    }

    /// The pair after this choice.
    pub fn after(&self, bounds: &Bounds, choice: Choice) -> Self {
        let mut next = self.clone();
        let world = Arc::make_mut(&mut next.world);
        world.tell(|| format!("-- {choice:?}"));
        let result = match choice {
            Choice::On => self.go_on(bounds, world),
            Choice::Settle => liveness::settle(world),
            _ => steps(bounds, choice).into_iter().try_for_each(|step| faults::apply(world, step)),
        };
        if let Choice::Swap(side, fate) = choice {
            world.intercept_swap(side, fate);
        }
        let now = world.now;
        next.violation = result.err();
        next.settled = choice == Choice::Settle;
        next.last = kind(choice);
        if let Some(kind) = kind(choice) {
            next.phases[kind as usize] = ending(choice).map_or(Phase::Over, |end| Phase::Since(now, end));
        }
        next.imprint();
        next
    }

    /// Lets time pass until there is a choice again.
    fn go_on(&self, bounds: &Bounds, world: &mut World) -> Checked {
        let now = world.now;
        let ends = self.phases.iter().filter_map(|phase| match phase {
            Phase::Since(since, _) => Some(*since),
            _ => None,
        });
        let ends = ends.flat_map(|since| bounds.lengths.iter().map(move |beats| since + beats * BEAT_US));
        let stop = ends.filter(|end| *end > now).chain([self.end(bounds)]).min().unwrap_or(now);
        let open = Kind::ALL.into_iter().any(|kind| self.may_begin(bounds, kind));
        match bounds.grain {
            _ if !open => world.run(stop - now),
            Grain::Beat => world.run(stop.min(now + BEAT_US) - now),
            Grain::Event => match world.next_at() {
                Some(at) if at <= stop => world.run_one(),
                _ => world.run(stop - now),
            },
        }
    }

    /// Takes the print by which states are told apart.
    fn imprint(&mut self) {
        let mut text = String::with_capacity(1 << 15);
        Arc::make_mut(&mut self.world).outline(&mut text);
        text.push_str(&format!("{:?} {:?} {} {:?}", self.phases, self.last, self.settled, self.violation));
        let whole = blake3::hash(text.as_bytes());
        self.print.copy_from_slice(&whole.as_bytes()[..16]);
    }
}

/// Of which kind a choice is.
fn kind(choice: Choice) -> Option<Kind> {
    Some(match choice {
        Choice::On | Choice::Settle => return None,
        Choice::Commit(_) => Kind::Commit,
        Choice::Crash(..) | Choice::Start(_) => Kind::Crash,
        Choice::Cut(_) | Choice::Heal(_) => Kind::Cut,
        Choice::Pause(_) | Choice::Resume(_) => Kind::Pause,
        Choice::Unreachable(_) | Choice::Reachable(_) => Kind::Unreachable,
        Choice::Swap(..) => Kind::Swap,
    })
}

/// What ends what this choice begins.
fn ending(choice: Choice) -> Option<Choice> {
    match choice {
        Choice::Crash(side, _) => Some(Choice::Start(side)),
        Choice::Cut(routes) => Some(Choice::Heal(routes)),
        Choice::Pause(side) => Some(Choice::Resume(side)),
        Choice::Unreachable(routes) => Some(Choice::Reachable(routes)),
        _ => None,
    }
}

/// What a choice does to the pair.
fn steps(bounds: &Bounds, choice: Choice) -> Vec<Step> {
    let witness = |node: Side, cut: bool| Step::Witness { what: WitnessFault::Cut { node, cut } };
    match choice {
        Choice::Commit(node) => vec![Step::Commit { node, key: 1, value: Some(7), guarded: false }],
        Choice::Crash(node, kept) => vec![Step::Crash { node, silent: !bounds.closes, kept }],
        Choice::Start(node) => vec![Step::Start { node }],
        Choice::Cut(routes) => routes.iter().map(|from| Step::Cut { from: *from }).collect(),
        Choice::Heal(routes) => routes.iter().map(|from| Step::Heal { from: *from }).collect(),
        Choice::Pause(node) => vec![Step::Pause { node }],
        Choice::Resume(node) => vec![Step::Resume { node, timer_first: false }],
        Choice::Unreachable(routes) => routes.iter().map(|node| witness(*node, true)).collect(),
        Choice::Reachable(routes) => routes.iter().map(|node| witness(*node, false)).collect(),
        Choice::On | Choice::Swap(..) | Choice::Settle => Vec::new(),
    }
}
