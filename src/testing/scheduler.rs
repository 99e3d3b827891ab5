//! A deterministic executor with simulated time: one thread, one queue of events, an order drawn from a seed.
//!
//! Only this executor polls futures, and time stands still meanwhile. When no task is ready, time moves to the next
//! event. The next ready task to poll is drawn. A task or an event belongs to one life of a machine, or to the world
//! around the machines. Those of a machine wait while it is paused, and are dropped when that life ends.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::clock::MachineClock;
use super::machine_id::MachineId;
use super::machine_state::MachineState;
use super::random::{Random, mix};
use crate::node::environment::BoxFuture;

/// Polls and events at one moment from which the simulation counts as spinning.
const SPIN_MAX: u64 = 200_000;
/// A timer fires at most this much late, microseconds.
const TIMER_LATE_US_MAX: u64 = 300;
/// What the clock of the machine of a copy shows at the beginning.
const COPY_BOOTED_US: u64 = 77_000_000;
/// The number of the future that [`Scheduler::block_on`] polls.
const OUTSIDE: TaskId = TaskId(0);

/// What happens at an event.
pub(crate) type Act = Box<dyn FnOnce() + Send>;

/// What the executor knows of one machine.
type Machine = MachineState<(Owner, Act)>;

/// The owner of a task or an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The world around the machines.
    World,
    /// This life of this machine.
    Machine(MachineId, u64),
}

/// The executor. Clones share it.
#[derive(Clone)]
pub(crate) struct Scheduler {
    state: Arc<Mutex<State>>,
    woken: Arc<Mutex<Vec<TaskId>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TaskId(u64);

struct State {
    now_us: u64,
    /// Draws the order of tasks and all that is asked for with [`Scheduler::draw`].
    random: Random,
    /// Draws the random bytes of the nodes.
    bytes: Random,
    events: BTreeMap<(u64, u64), (Owner, Act)>,
    tasks: BTreeMap<TaskId, Task>,
    ready: Vec<TaskId>,
    /// Tasks, events and timers so far.
    serial: u64,
    machines: [Machine; 3],
    /// Whose task is being polled.
    polling: Option<MachineId>,
    spin: u64,
    journal: Journal,
}

struct Task {
    owner: Owner,
    /// `None` while it is being polled.
    future: Option<BoxFuture<'static, ()>>,
    queued: bool,
}

/// What happened: as lines of text, if those are wanted, and as one number.
#[derive(Default)]
struct Journal {
    lines: Option<Vec<String>>,
    sum: u64,
}

/// What a simulation costs.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Tasks that are alive.
    pub(crate) tasks: usize,
    /// Events that are to come.
    pub(crate) events: usize,
}

struct TaskWaker {
    task: TaskId,
    woken: Arc<Mutex<Vec<TaskId>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        lock(&self.woken).push(self.task);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scheduler {
    /// The simulation of this seed. `told`: it keeps a trace in words.
    pub(crate) fn new(seed: u64, told: bool) -> Self {
        let mut random = Random::new(seed);
        let machine = |random: &mut Random| {
            let booted_us = random.range((1_000_000, 100_000_000_000));
            Machine::new(MachineClock::new(0, booted_us, 0))
        };
        // The machine of a copy draws nothing: a history without one is the same as ever.
        let copys = Machine::new(MachineClock::new(0, COPY_BOOTED_US, 0));
        let machines = [machine(&mut random), machine(&mut random), copys];
        let state = State {
            now_us: 0,
            bytes: Random::new(mix(seed)),
            random,
            events: BTreeMap::new(),
            tasks: BTreeMap::new(),
            ready: Vec::new(),
            serial: 0,
            machines,
            polling: None,
            spin: 0,
            journal: Journal { lines: told.then(Vec::new), sum: seed },
        };
        Self { state: Arc::new(Mutex::new(state)), woken: Arc::default() }
    }

    /// True time, microseconds.
    pub(crate) fn now_us(&self) -> u64 {
        self.state().now_us
    }

    /// A number from `low` to `high`.
    pub(crate) fn draw(&self, bounds: (u64, u64)) -> u64 {
        self.state().random.range(bounds)
    }

    /// Fills these bytes from the seed.
    pub(crate) fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.state();
        for chunk in bytes.chunks_mut(8) {
            let drawn = state.bytes.bits().to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&self, what: impl FnOnce() -> String) {
        let mut state = self.state();
        let now_us = state.now_us;
        if let Some(lines) = &mut state.journal.lines {
            lines.push(format!("{:>12.6}  {}", now_us as f64 / 1e6, what()));
        }
    }

    /// The lines of the trace so far.
    pub(crate) fn told(&self) -> Vec<String> {
        self.state().journal.lines.clone().unwrap_or_default()
    }

    /// A sum over every decision of the schedule so far: two runs with the same sum did the same.
    pub(crate) fn sum(&self) -> u64 {
        self.state().journal.sum
    }

    /// The tasks that are alive, and the events to come.
    #[cfg(test)]
    pub(crate) fn load(&self) -> Load {
        let state = self.state();
        Load { tasks: state.tasks.len(), events: state.events.len() }
    }

    /// Does this after this time, unless the life of its owner has ended by then.
    pub(crate) fn after(&self, us: u64, owner: Owner, act: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        let key = (state.now_us + us, state.number());
        state.events.insert(key, (owner, Box::new(act)));
    }

    /// Runs a future beside the others.
    pub(crate) fn spawn(&self, owner: Owner, future: BoxFuture<'static, ()>) {
        let mut state = self.state();
        if state.is_over(owner) {
            drop(state);
            return drop(future);
        }
        let task = TaskId(state.number());
        state.tasks.insert(task, Task { owner, future: Some(future), queued: true });
        state.ready.push(task);
    }

    /// Polls this future and everything else until it is done or this much time has passed.
    pub(crate) fn block_on<F: Future>(&self, limit_us: u64, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        let waker = Waker::from(Arc::new(TaskWaker { task: OUTSIDE, woken: Arc::clone(&self.woken) }));
        let until = self.now_us().saturating_add(limit_us);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Some(output);
            }
            // The future is polled after each step: that is cheap, and it may depend on something that has no waker.
            if !self.step(until) {
                return None;
            }
        }
    }

    /// Polls one task or lets one event happen. With nothing left to do until then, moves time there and returns false.
    pub(crate) fn step(&self, until_us: u64) -> bool {
        if self.poll_one() {
            return true;
        }
        self.advance(until_us)
    }

    /// Runs until no task is ready.
    pub(crate) fn run_ready(&self) {
        while self.poll_one() {}
    }

    /// Polls one ready task, if there is one.
    fn poll_one(&self) -> bool {
        let mut state = self.state();
        state.take_woken(&self.woken);
        let Some(task) = state.choose() else { return false };
        let Some(entry) = state.tasks.get_mut(&task) else { return true };
        entry.queued = false;
        let (owner, future) = (entry.owner, entry.future.take());
        let Some(mut future) = future else { return true };
        state.count(task.0);
        let before = state.polling;
        state.polling = match owner {
            Owner::Machine(place, _) => Some(place),
            Owner::World => None,
        };
        drop(state);
        let waker = Waker::from(Arc::new(TaskWaker { task, woken: Arc::clone(&self.woken) }));
        let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
        let mut state = self.state();
        state.polling = before;
        match (poll, state.tasks.get_mut(&task)) {
            (Poll::Pending, Some(entry)) => entry.future = Some(future),
            (Poll::Ready(()), Some(_)) => {
                state.tasks.remove(&task);
                drop(state);
                drop(future);
            }
            // Its life ended while it was polled.
            (_, None) => {
                drop(state);
                drop(future);
            }
        }
        true
    }

    /// Moves time to the next event, no further than this, and lets it happen.
    fn advance(&self, until_us: u64) -> bool {
        let mut state = self.state();
        let event = state.events.first_key_value().map(|(key, _)| *key);
        let timer = MachineId::ALL
            .into_iter()
            .filter_map(|place| Some((state.machines[place.index()].next_timer(state.now_us)?, place)))
            .min();
        let event_at = event.map_or(u64::MAX, |(at, _)| at);
        let timer_at = timer.map_or(u64::MAX, |(at, _)| at);
        if event_at.min(timer_at) > until_us {
            state.move_to(until_us);
            return false;
        }
        state.move_to(event_at.min(timer_at));
        if timer_at < event_at {
            if let Some((_, place)) = timer {
                state.count(place.index() as u64);
                let now_us = state.now_us;
                let due = state.machines[place.index()].due_timers(now_us);
                drop(state);
                due.into_iter().for_each(Waker::wake);
            }
            return true;
        }
        let Some((owner, act)) = event.and_then(|key| state.events.remove(&key)) else { return true };
        state.count(event.map_or(0, |(_, serial)| serial));
        match owner {
            _ if state.is_over(owner) => {
                drop(state);
                drop(act);
            }
            Owner::Machine(place, _) if state.machines[place.index()].paused => {
                state.machines[place.index()].deferred.push((owner, act));
            }
            _ => {
                drop(state);
                act();
            }
        }
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Machines.
impl Scheduler {
    /// The owner of what this machine does now.
    pub(crate) fn owner(&self, place: impl Into<MachineId>) -> Owner {
        let place = place.into();
        Owner::Machine(place, self.state().machines[place.index()].life)
    }

    /// Ends the life of a machine: drops its tasks, timers and events.
    pub(crate) fn end_life(&self, place: MachineId) {
        let mut state = self.state();
        let ended = state.machines[place.index()].life;
        let machine = &mut state.machines[place.index()];
        machine.life += 1;
        (machine.paused, machine.stall) = (false, None);
        let (timers, deferred) = (std::mem::take(&mut machine.timers), std::mem::take(&mut machine.deferred));
        let owner = Owner::Machine(place, ended);
        let theirs = |of: &Owner| *of == owner;
        let numbers: Vec<_> = state.tasks.iter().filter(|(_, task)| theirs(&task.owner)).map(|(id, _)| *id).collect();
        let tasks: Vec<_> = numbers.iter().filter_map(|id| state.tasks.remove(id)).collect();
        let keys: Vec<_> = state.events.iter().filter(|(_, (of, _))| theirs(of)).map(|(key, _)| *key).collect();
        let events: Vec<_> = keys.iter().filter_map(|key| state.events.remove(key)).collect();
        // Dropping a future runs the future's own code, which may call the scheduler.
        drop(state);
        drop((timers, deferred, tasks, events));
    }

    /// Drops all that is to come, of every machine and of the world.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        let (tasks, events) = (std::mem::take(&mut state.tasks), std::mem::take(&mut state.events));
        let timers = state.machines.each_mut().map(|machine| std::mem::take(&mut machine.timers));
        let deferred = state.machines.each_mut().map(|machine| std::mem::take(&mut machine.deferred));
        drop(state);
        drop((tasks, events, timers, deferred));
    }

    /// Pauses the machine, as SIGSTOP pauses a process; its clock goes on.
    pub(crate) fn pause(&self, place: impl Into<MachineId>) {
        let place = place.into();
        self.state().machines[place.index()].paused = true;
    }

    /// Ends the pause: the events that came meanwhile happen now.
    pub(crate) fn resume(&self, place: impl Into<MachineId>) {
        let place = place.into();
        let mut state = self.state();
        let now_us = state.now_us;
        let machine = &mut state.machines[place.index()];
        machine.paused = false;
        for event in std::mem::take(&mut machine.deferred) {
            let key = (now_us, state.number());
            state.events.insert(key, event);
        }
    }

    /// Stalls the machine in the middle of a poll: at the nth read of its clock from now on, for so many microseconds.
    #[cfg(test)]
    pub(crate) fn stall(&self, place: impl Into<MachineId>, stall: Option<(u64, u64)>) {
        let place = place.into();
        self.state().machines[place.index()].stall = stall;
    }

    /// Its clock.
    pub(crate) fn with_clock<T>(
        &self,
        place: impl Into<MachineId>,
        act: impl FnOnce(&mut MachineClock, u64) -> T,
    ) -> T {
        let place = place.into();
        let mut state = self.state();
        let now_us = state.now_us;
        act(&mut state.machines[place.index()].clock, now_us)
    }

    /// What its suspend-aware clock shows, microseconds.
    pub(crate) fn local_us(&self, place: impl Into<MachineId>) -> u64 {
        let place = place.into();
        self.with_clock(place, |clock, now_us| clock.local(now_us))
    }

    /// What a task of the machine itself reads from that clock. The machine may be stalled here.
    pub(crate) fn read_clock(&self, place: MachineId) -> u64 {
        let stopped_us = self.state().stalls(place, &self.woken);
        if let Some(us) = stopped_us {
            self.note(|| format!("{place:?} stands still for {us} us, in the middle of a poll"));
            let until = self.now_us() + us;
            self.pause(place);
            while self.step(until) {}
            self.resume(place);
        }
        self.local_us(place)
    }

    /// Returns when its suspend-aware clock shows this much, or a little later.
    pub(crate) fn sleep_until(&self, place: impl Into<MachineId>, local_us: u64) -> BoxFuture<'static, ()> {
        let place = place.into();
        let late = self.draw((0, TIMER_LATE_US_MAX));
        let due = local_us.saturating_add(late);
        Box::pin(Sleep { scheduler: self.clone(), place, due, key: None })
    }
}

/// Waits for a moment of one machine's clock.
struct Sleep {
    scheduler: Scheduler,
    place: MachineId,
    due: u64,
    key: Option<(u64, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let place = self.place;
        if self.scheduler.local_us(place) >= self.due {
            return Poll::Ready(());
        }
        let mut state = lock(&self.scheduler.state);
        let key = self.key.unwrap_or_else(|| (self.due, state.number()));
        let before = state.machines[place.index()].timers.insert(key, context.waker().clone());
        drop(state);
        drop(before);
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let waker = lock(&self.scheduler.state).machines[self.place.index()].timers.remove(&key);
        drop(waker);
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn is_over(&self, owner: Owner) -> bool {
        matches!(owner, Owner::Machine(place, life) if self.machines[place.index()].life != life)
    }

    /// Queues the woken tasks in the order of their numbers, since the order of wake-ups does not follow from the seed.
    fn take_woken(&mut self, woken: &Mutex<Vec<TaskId>>) {
        let mut woken = std::mem::take(&mut *lock(woken));
        woken.sort_unstable();
        for task in woken {
            if let Some(entry) = self.tasks.get_mut(&task)
                && !entry.queued
            {
                entry.queued = true;
                self.ready.push(task);
            }
        }
    }

    /// Draws one of the ready tasks.
    fn choose(&mut self) -> Option<TaskId> {
        let (machines, tasks) = (&self.machines, &self.tasks);
        self.ready.retain(|task| tasks.contains_key(task));
        let runs = |task: &TaskId| match tasks.get(task).map(|entry| entry.owner) {
            Some(Owner::Machine(place, _)) => !machines[place.index()].paused,
            _ => true,
        };
        let able: Vec<usize> = (0..self.ready.len()).filter(|at| runs(&self.ready[*at])).collect();
        let chosen = able.get(self.random.below(able.len() as u64) as usize)?;
        Some(self.ready.remove(*chosen))
    }

    /// Counts one more decision at this moment.
    fn count(&mut self, decision: u64) {
        self.journal.sum = mix(self.journal.sum ^ self.now_us.rotate_left(24) ^ decision);
        self.spin += 1;
        assert!(self.spin < SPIN_MAX, "the nodes spin: {SPIN_MAX} steps at one moment");
    }

    fn move_to(&mut self, us: u64) {
        if us > self.now_us {
            (self.now_us, self.spin) = (us, 0);
        }
    }

    /// How long this machine stalls now, in the middle of a poll, if it does. It does not while another of its tasks is
    /// ready: what this task sent before the stall must be handled first.
    fn stalls(&mut self, place: MachineId, woken: &Mutex<Vec<TaskId>>) -> Option<u64> {
        self.take_woken(woken);
        let own = |task: &TaskId| matches!(self.tasks.get(task).map(|entry| entry.owner), Some(Owner::Machine(of, _)) if of == place);
        let busy = self.polling != Some(place) || self.ready.iter().any(own);
        if busy { None } else { self.machines[place.index()].stalls() }
    }
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").finish_non_exhaustive()
    }
}
