use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::controls::{Link, SimulatedClock, SimulatedDisk, SimulatedWitness, Spawner, Timer, micros};
use super::disk::MachineDisk;
use super::identities::Identities;
use super::machine::{Crash, Machine, Setup, World};
#[cfg(test)]
use super::machine_id::MachineId;
use super::network::Network;
use super::register::Register;
use super::scheduler::Scheduler;
use super::side::Side;
use crate::node::{FirstStart, Hooks, Node, StartError, Status};
use crate::protocol::engine::{LinkState, Options};

/// Simulated time after which [`Pair::block_on`] and [`Pair::restart`](SimulatedNode::restart) give up.
const WHOLE_WITHIN: Duration = Duration::from_secs(600);
/// Lines of the trace that a failure shows.
const TRACE_LINES: usize = 60;

/// Sets up a [`Pair`].
///
/// ```
/// use std::time::Duration;
/// use shadowpair::Options;
/// use shadowpair::testing::Pair;
///
/// let mut options = Options::default();
/// options.takeover_delay = Duration::from_secs(2);
/// options.heartbeat = Duration::from_millis(300);
/// let pair = Pair::builder(7).options(options).witnessed(false).start()?;
/// assert!(pair.is_whole());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct PairBuilder {
    seed: u64,
    options: Options,
    hooks: [Option<Arc<dyn Hooks>>; 2],
    witnessed: bool,
    named: bool,
    traced: bool,
}

/// Two real nodes, enrolled with each other, in a simulated world. See the [module](crate::testing) for an example.
///
/// Nothing happens between two calls: time passes in [`Pair::run_for`], [`Pair::run_until`], [`Pair::block_on`] and in
/// what waits for a node to start. All of it happens on the calling thread.
pub struct Pair {
    world: World,
    machines: [Machine; 2],
}

impl Drop for Pair {
    /// What still runs holds the world in which it runs: nothing of it would ever be freed.
    fn drop(&mut self) {
        self.machines.iter().for_each(Machine::end);
        self.world.scheduler.end();
    }
}

/// The condition did not hold in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it did not come about within {limit:?} of simulated time")]
pub struct TimedOut {
    /// The simulated time that was waited.
    pub limit: Duration,
}

impl PairBuilder {
    /// The options of both nodes. Default: [`Options::default`].
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// The hooks of this node's host. Default: none. A hook must not block.
    pub fn hooks(mut self, side: Side, hooks: Arc<dyn Hooks>) -> Self {
        self.hooks[side.index()] = Some(hooks);
        self
    }

    /// Whether both nodes have a witness. Default: they have.
    pub fn witnessed(mut self, witnessed: bool) -> Self {
        self.witnessed = witnessed;
        self
    }

    /// Whether the nodes advertise names, which must be resolved, and not addresses. Default: addresses.
    pub fn named(mut self, named: bool) -> Self {
        self.named = named;
        self
    }

    /// Whether [`Pair::trace`] is kept. Default: it is.
    pub fn traced(mut self, traced: bool) -> Self {
        self.traced = traced;
        self
    }

    /// Starts A as the first master and enrols B as its shadow; returns when both are in sync.
    ///
    /// # Errors
    /// [`StartError`] of either node.
    ///
    /// # Panics
    /// If the pair is not whole within ten simulated minutes. No seed and no valid options cause that.
    pub fn start(self) -> Result<Pair, StartError> {
        let pair = self.build();
        pair.machines[0].start(Some(FirstStart::Master));
        pair.wait_for_start(&pair.machines[0])?;
        let master = pair.node(Side::A).handle();
        let token = pair.block_on(async {
            // A master that has just begun may refuse for a moment; it does not stop.
            let _ = master.mastership().await;
            let enabled = master.operator().enable().await;
            let token = master.operator().token(None).await;
            enabled.and(token).map(|(token, _)| token)
        });
        match token {
            Ok(token) => pair.machines[1].join(&pair.machines[0], token),
            Err(error) => panic!("the first master refuses to enrol a shadow: {error}"),
        }
        pair.wait_for_start(&pair.machines[1])?;
        if let Err(error) = pair.run_until(WHOLE_WITHIN, Pair::is_whole) {
            panic!("{error}\n{}", pair.last_lines());
        }
        Ok(pair)
    }

    /// The machines, before any node is started on them.
    pub(crate) fn build(self) -> Pair {
        let scheduler = Scheduler::new(self.seed, self.traced);
        let (network, register) = (Network::new(&scheduler), Register::new(&scheduler));
        let identities = Identities::new(scheduler.draw((0, 7)));
        let world = World { scheduler, network, register, identities };
        let [a, b] = self.hooks;
        let machine = |side: Side, hooks| {
            let setup = Setup { options: self.options.clone(), hooks, witnessed: self.witnessed, named: self.named };
            Machine::new(side.into(), &world, MachineDisk::new(world.scheduler.draw((0, u64::MAX - 1))), setup)
        };
        let machines = [machine(Side::A, a), machine(Side::B, b)];
        Pair { world, machines }
    }
}

impl Pair {
    /// A pair whose faults, latencies and order of events follow from this seed.
    pub fn builder(seed: u64) -> PairBuilder {
        PairBuilder {
            seed,
            options: Options::default(),
            hooks: [None, None],
            witnessed: true,
            named: false,
            traced: true,
        }
    }

    /// One of the nodes, with its machine.
    pub fn node(&self, side: Side) -> SimulatedNode<'_> {
        SimulatedNode { pair: self, machine: &self.machines[side.index()] }
    }

    /// The network between the nodes.
    pub fn link(&self) -> Link<'_> {
        Link { network: &self.world.network, scheduler: &self.world.scheduler }
    }

    /// The witness.
    pub fn witness(&self) -> SimulatedWitness<'_> {
        SimulatedWitness { register: &self.world.register, scheduler: &self.world.scheduler }
    }

    /// Lets this much simulated time pass.
    pub fn run_for(&self, time: Duration) {
        let scheduler = &self.world.scheduler;
        let until_us = scheduler.now_us().saturating_add(micros(time));
        while scheduler.step(until_us) {}
    }

    /// Lets time pass until `done` returns true. It is called at every moment at which something happened.
    ///
    /// # Errors
    /// [`TimedOut`] after `limit`.
    pub fn run_until(&self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> Result<(), TimedOut> {
        let until_us = self.world.scheduler.now_us().saturating_add(micros(limit));
        loop {
            self.world.scheduler.run_ready();
            if done(self) {
                return Ok(());
            }
            if !self.world.scheduler.step(until_us) {
                return Err(TimedOut { limit });
            }
        }
    }

    /// Lets time pass until this future is done, and returns its output. The future is outside of both machines: it goes on
    /// while they are paused. For what must stop with a machine, see [`SimulatedNode::spawn`].
    ///
    /// # Panics
    /// After ten simulated minutes.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self.world.scheduler.block_on(micros(WHOLE_WITHIN), future) {
            Some(output) => output,
            None => panic!("a future is not done within {WHOLE_WITHIN:?} of simulated time\n{}", self.last_lines()),
        }
    }

    /// Simulated time since the beginning.
    pub fn elapsed(&self) -> Duration {
        Duration::from_micros(self.world.scheduler.now_us())
    }

    /// The nodes that hold mastership at this moment. Paused ones count for as long as their lease lasts.
    pub fn masters(&self) -> Vec<Side> {
        let serves = |side: &Side| self.node(*side).status().is_some_and(|status| status.engine.serving);
        Side::BOTH.into_iter().filter(serves).collect()
    }

    /// The node that holds mastership, where it is exactly one.
    pub fn master(&self) -> Option<Side> {
        match self.masters().as_slice() {
            [side] => Some(*side),
            _ => None,
        }
    }

    /// Whether one node is master, and the other one is its shadow, connected to it, and has everything.
    pub fn is_whole(&self) -> bool {
        let [Some(a), Some(b)] = Side::BOTH.map(|side| self.node(side).status()) else { return false };
        let linked = [&a, &b].into_iter().all(|status| status.engine.link.state == LinkState::Connected);
        let in_sync = a.engine.in_sync && b.engine.in_sync && a.engine.position == b.engine.position;
        linked && in_sync && a.engine.role != b.engine.role && a.engine.serving != b.engine.serving
    }

    /// What happened so far, a line each: true time in seconds, and who did what.
    pub fn trace(&self) -> String {
        self.world.scheduler.told().join("\n")
    }

    /// A number that is the same for two runs that did the same in the same order.
    pub fn fingerprint(&self) -> u64 {
        self.world.scheduler.sum()
    }

    pub(crate) fn scheduler(&self) -> &Scheduler {
        &self.world.scheduler
    }

    /// Connections that are not gone.
    #[cfg(test)]
    pub(crate) fn connections(&self) -> usize {
        self.world.network.connections()
    }

    /// Connections that were ever made.
    #[cfg(test)]
    pub(crate) fn connected(&self) -> u64 {
        self.world.network.connected()
    }

    /// What can be done to a machine that runs a copy of one of the nodes.
    #[cfg(test)]
    pub(crate) fn on<'a>(&'a self, machine: &'a Machine) -> SimulatedNode<'a> {
        SimulatedNode { pair: self, machine }
    }

    /// The network, and the witness, also for machines beside the two.
    #[cfg(test)]
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// The machine under a node.
    #[cfg(test)]
    pub(crate) fn machine(&self, side: Side) -> &Machine {
        &self.machines[side.index()]
    }

    fn wait_for_start(&self, machine: &Machine) -> Result<(), StartError> {
        if let Err(error) = self.run_until(WHOLE_WITHIN, |_| machine.is_settled()) {
            panic!("{:?} does not come to the end of its start: {error}\n{}", machine.place, self.last_lines());
        }
        machine.take_failure().map_or(Ok(()), Err)
    }

    fn last_lines(&self) -> String {
        let lines = self.world.scheduler.told();
        lines[lines.len().saturating_sub(TRACE_LINES)..].join("\n")
    }
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("elapsed", &self.elapsed()).field("masters", &self.masters()).finish()
    }
}

/// One node of a [`Pair`], and the machine that it runs on.
///
/// ```
/// use std::time::Duration;
/// use shadowpair::testing::{Crash, Pair, Side};
///
/// let pair = Pair::builder(1).start()?;
/// pair.node(Side::A).crash(Crash::Power);
/// pair.run_until(Duration::from_secs(60), |pair| pair.masters() == [Side::B])?;
/// assert!(!pair.node(Side::A).is_running());
/// pair.node(Side::A).restart()?;
/// // The former master comes back as the shadow.
/// pair.run_until(Duration::from_secs(60), Pair::is_whole)?;
/// assert_eq!(pair.master(), Some(Side::B));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct SimulatedNode<'a> {
    pair: &'a Pair,
    machine: &'a Machine,
}

impl<'a> SimulatedNode<'a> {
    /// Handle to the running node.
    ///
    /// # Panics
    /// If no node runs here: see [`SimulatedNode::is_running`].
    pub fn handle(&self) -> Node {
        match self.machine.node() {
            Some(node) => node,
            None => panic!("{:?} does not run", self.machine.place),
        }
    }

    /// Whether a node runs here: not while it is down or starting.
    pub fn is_running(&self) -> bool {
        self.machine.node().is_some()
    }

    /// What the node says of itself; `None` where none runs.
    pub fn status(&self) -> Option<Arc<Status>> {
        self.machine.node().map(|node| node.status())
    }

    /// The machine.
    #[cfg(test)]
    pub(crate) fn place(&self) -> MachineId {
        self.machine.place
    }

    /// Runs a future of the host on this machine. It waits while the machine is paused, and ends with the process.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.spawner().spawn(future);
    }

    /// Runs futures on this machine, as [`SimulatedNode::spawn`] does, also from within them.
    pub fn spawner(&self) -> Spawner {
        let scheduler = self.pair.scheduler().clone();
        Spawner { owner: scheduler.owner(self.machine.place), scheduler }
    }

    /// A timer on this machine's clock, for a future of [`SimulatedNode::spawn`].
    pub fn timer(&self) -> Timer {
        Timer { scheduler: self.pair.scheduler().clone(), place: self.machine.place }
    }

    /// Ends the process at once.
    pub fn crash(&self, how: Crash) {
        self.machine.crash(how);
    }

    /// Starts the node again, after a crash or a [`shutdown`](Node::shutdown).
    ///
    /// # Errors
    /// [`StartError`]: the node is down.
    pub fn restart(&self) -> Result<(), StartError> {
        self.machine.end();
        self.machine.start(None);
        self.pair.wait_for_start(self.machine)
    }

    /// Pauses the machine, as SIGSTOP pauses a process. Its clock goes on.
    pub fn pause(&self) {
        self.note("stands still");
        self.pair.scheduler().pause(self.machine.place);
    }

    /// Ends the pause.
    pub fn resume(&self) {
        self.note("goes on");
        self.pair.scheduler().resume(self.machine.place);
    }

    /// Its disk.
    pub fn disk(&self) -> SimulatedDisk<'a> {
        SimulatedDisk { scheduler: self.pair.scheduler(), disk: &self.machine.disk, place: self.machine.place }
    }

    /// Its clocks.
    pub fn clock(&self) -> SimulatedClock<'a> {
        SimulatedClock { scheduler: self.pair.scheduler(), place: self.machine.place }
    }

    /// Other options, from the next start on.
    pub fn set_options(&self, options: Options) {
        self.machine.with_setup(|setup| setup.options = options);
    }

    fn note(&self, what: &str) {
        self.pair.scheduler().note(|| format!("{:?} {what}", self.machine.place));
    }
}

#[cfg(test)]
mod tests;
