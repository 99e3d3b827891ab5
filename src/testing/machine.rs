//! One machine of a simulated pair: its power, its process, its disk, and the node that runs on it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::MachineDisk;
use super::environment::environment;
use super::identities::Identities;
use super::machine_id::MachineId;
use super::network::Network;
use super::register::Register;
use super::resolver;
use super::scheduler::{Owner, Scheduler};
use crate::identity::JoinToken;
use crate::node::{FirstStart, Hooks, Node, NodeEvent, StartError};
use crate::protocol::engine::Options;
use crate::store::disk::sim::PowerCut;

/// The data directory on every simulated disk.
pub(crate) const DIR: &str = "/node";
/// The port on which every simulated node listens.
const PORT: u16 = 7443;

/// How a node ends without a clean stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Crash {
    /// The process is killed: its connections are closed by the system, and what it had written stays.
    Process,
    /// Power is cut: its connections are silent, and what was not synced is lost.
    Power,
    /// As [`Crash::Power`], but each unsynced sector is lost or kept independently.
    TornPower,
}

/// A machine. Clones share it.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) place: MachineId,
    pub(crate) disk: MachineDisk,
    world: World,
    state: Arc<Mutex<State>>,
}

/// What the machines share.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) scheduler: Scheduler,
    pub(crate) network: Network,
    pub(crate) register: Register,
    pub(crate) identities: Identities,
}

/// How a node of this pair is set up.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) options: Options,
    pub(crate) hooks: Option<Arc<dyn Hooks>>,
    pub(crate) witnessed: bool,
    /// The node is dialled by its name.
    pub(crate) named: bool,
}

struct State {
    setup: Setup,
    process: Process,
    /// How the process ends when the disk stops in the middle of its work.
    at_stop: Crash,
}

/// What runs on a machine.
enum Process {
    Down,
    Starting,
    Running(Node),
    Failed(StartError),
}

impl Machine {
    /// A machine on which nothing runs yet.
    pub(crate) fn new(place: MachineId, world: &World, disk: MachineDisk, setup: Setup) -> Self {
        let state = State { setup, process: Process::Down, at_stop: Crash::Power };
        Self { place, disk, world: world.clone(), state: Arc::new(Mutex::new(state)) }
    }

    /// Where its node listens.
    pub(crate) fn address(place: MachineId) -> String {
        format!("{}:{PORT}", resolver::address(place))
    }

    /// Starts the node in the current life of the machine. On an empty disk, `first` gives the new node's role.
    pub(crate) fn start(&self, first: Option<FirstStart>) {
        let World { scheduler, network, register, identities } = &self.world;
        network.power_on(self.place);
        let power_lost = {
            let machine = self.clone();
            Arc::new(move || machine.stopped_by_disk())
        };
        let environment = environment(scheduler, network, &self.disk, self.place, power_lost);
        let Setup { options, hooks, witnessed, named } = self.state().setup.clone();
        let mut builder =
            Node::builder(DIR).options(options).listen(Self::address(self.place)).environment(environment);
        if named {
            builder = builder.advertise(format!("{}:{PORT}", resolver::name(self.place)));
        }
        if let Some(first) = first {
            builder = builder.first_start(first).identity(identities.next());
        }
        if let Some(hooks) = hooks {
            builder = builder.hooks(hooks);
        }
        if witnessed {
            builder = builder.witness(register.of(self.place));
        }
        self.state().process = Process::Starting;
        scheduler.note(|| format!("{:?} starts", self.place));
        let (machine, owner) = (self.clone(), scheduler.owner(self.place));
        scheduler.spawn(owner, Box::pin(async move { machine.started(owner, builder.start().await) }));
    }

    /// Starts the node as the shadow of the node on that machine.
    pub(crate) fn join(&self, master: &Self, token: JoinToken) {
        self.start(Some(FirstStart::Join { master: Self::address(master.place), token }));
    }

    /// A machine for a copy of the node that runs here: with what the disk holds now on a disk of its own, and an address of its own.
    #[cfg(test)]
    pub(crate) fn copied(&self) -> Self {
        Self::new(MachineId::Copy, &self.world, self.disk.copied(), self.state().setup.clone())
    }

    fn started(&self, owner: Owner, outcome: Result<Node, StartError>) {
        let scheduler = &self.world.scheduler;
        match outcome {
            Ok(node) => {
                scheduler.spawn(owner, Box::pin(tell(scheduler.clone(), self.place, node.clone())));
                self.state().process = Process::Running(node);
            }
            Err(error) => {
                scheduler.note(|| format!("{:?} does not start: {error}", self.place));
                self.state().process = Process::Failed(error);
            }
        }
    }

    /// The running node.
    pub(crate) fn node(&self) -> Option<Node> {
        match &self.state().process {
            Process::Running(node) => Some(node.clone()),
            _ => None,
        }
    }

    /// Whether nothing runs here, and nothing is starting.
    #[cfg(test)]
    pub(crate) fn is_down(&self) -> bool {
        matches!(self.state().process, Process::Down)
    }

    /// Whether the start that is under way, if one is, has come to an end.
    pub(crate) fn is_settled(&self) -> bool {
        !matches!(self.state().process, Process::Starting)
    }

    /// Why the node did not start, where it did not. Told once.
    pub(crate) fn take_failure(&self) -> Option<StartError> {
        let mut state = self.state();
        match std::mem::replace(&mut state.process, Process::Down) {
            Process::Failed(error) => Some(error),
            other => {
                state.process = other;
                None
            }
        }
    }

    /// Ends the process at once.
    pub(crate) fn crash(&self, how: Crash) {
        let World { scheduler, network, .. } = &self.world;
        scheduler.note(|| format!("{:?} crashes: {how:?}", self.place));
        match how {
            Crash::Process => {
                self.disk.sim.kill();
                network.process_gone(self.place);
            }
            Crash::Power | Crash::TornPower => {
                let cut = if how == Crash::Power { PowerCut::Lost } else { PowerCut::Torn };
                self.disk.sim.cut_power(cut);
                network.power_off(self.place);
                let booted_us = scheduler.draw((1_000_000, 60_000_000));
                scheduler.with_clock(self.place, |clock, now_us| clock.reboot(now_us, booted_us));
            }
        }
        self.end();
    }

    /// Ends this life of the machine, whatever runs on it.
    pub(crate) fn end(&self) {
        let process = std::mem::replace(&mut self.state().process, Process::Down);
        self.world.scheduler.end_life(self.place);
        drop(process);
    }

    /// Crashes the machine at the nth change of its disk from now on, in the middle of that change.
    #[cfg(test)]
    pub(crate) fn crash_at_write(&self, nth: u64, how: Crash) {
        self.state().at_stop = how;
        self.disk.sim.stop(nth);
    }

    fn stopped_by_disk(&self) {
        let how = self.state().at_stop;
        self.crash(how);
    }

    /// Another set of options or hooks, from the next start on.
    pub(crate) fn with_setup(&self, change: impl FnOnce(&mut Setup)) {
        change(&mut self.state().setup);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes a node's events in the trace.
async fn tell(scheduler: Scheduler, place: MachineId, node: Node) {
    let mut events = node.events();
    // This task must not keep the node running.
    drop(node);
    while let Some(event) = events.next().await {
        if !matches!(event, NodeEvent::Changed { .. }) {
            scheduler.note(|| format!("{place:?} {event:?}"));
        }
    }
}
