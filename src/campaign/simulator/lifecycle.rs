//! Processes start and end.

use super::expected_settings::ExpectedSettings;
use super::injected_bug::InjectedBug;
use super::machine::Machine;
use super::schedule::Scheduled;
use super::world::World;
use crate::campaign::violation::{Checked, catch_panic};
use crate::model::RunId;
use crate::protocol::engine::{Action, Engine, Mutant, Start};
use crate::testing::Side;

impl World {
    /// Starts a node that does not run.
    pub fn start(&mut self, side: Side) -> Checked {
        let random = self.bits(side);
        // Each run has its own id, in the model checker too.
        let run_id = RunId(self.bits(side).wrapping_add(self.machine(side).run));
        let now_us = self.now;
        let unaware = self.bug == Some(InjectedBug::Unwitnessed);
        let machine = self.machine(side);
        if machine.engine.is_some() {
            return Ok(());
        }
        machine.run += 1;
        let start = Start {
            durable_state: machine.disk.durable_state.clone(),
            head: machine.disk.head.position,
            log_floor: machine.disk.log_floor(),
            history: machine.disk.head.history.clone(),
            shown: machine.disk.visible,
            options: machine.options.clone(),
            run: run_id,
            address: Machine::address(side),
            keys: machine.keys,
            witnessed: machine.witnessed && !unaware,
            damage: None,
        };
        let now = machine.clock.now(now_us, random);
        machine.observed.started_at = now.at;
        self.machine(side).driver.opening.clear();
        self.note(|| format!("{side:?} starts at {:?}, {:?}", start.head, start.durable_state.role));
        // The peer learns now of connections that a silent crash left open.
        self.break_connections(side, "reset by peer");
        let (mut engine, actions) = catch_panic(move || Engine::start(now, start))?;
        if let Some(InjectedBug::Engine(mutant)) = self.bug {
            engine.mutate(mutant);
            self.machine(side).disk.faults.careless = mutant == Mutant::AppendsAfterFailedSync;
        }
        self.machine(side).engine = Some(engine);
        self.perform(side, actions)?;
        self.check_invariants(side)
    }

    /// A process ends. `kept` says how much of the batch under way reached the disk, of 255; `None` is a clean end. The peer
    /// learns of it from closed connections, unless it ends silently.
    pub fn end(&mut self, side: Side, kept: Option<u8>, silent: bool) -> Checked {
        self.exemptions.loss_accepted(side, None);
        let pending_calls = self.machine(side).pending_calls();
        let written = self.machine(side).stop(kept)?;
        let machine = self.machine(side);
        let clock_was_set = machine.clock.was_set;
        machine.callers.settings.check_stored(&machine.disk.durable_state, &pending_calls, clock_was_set)?;
        machine.callers.settings = ExpectedSettings::of(&machine.disk.durable_state);
        let node = machine.disk.node();
        self.schedule.take_deferred(side);
        self.oracle.check_written(node, &written)?;
        self.oracle.note_durable(&self.machines[side.index()].disk);
        self.oracle.ended(side);
        if kept.is_some() && self.bug == Some(InjectedBug::ForgetfulDisk) {
            self.machine(side).disk.forget_last();
        }
        self.network.close_ends_of(side);
        if !silent {
            self.break_connections(side, "closed by peer");
        }
        let machine = &self.machines[side.index()];
        self.oracle.check_kept(side, &machine.disk)?;
        self.oracle.check_visible(&machine.disk)
    }

    /// A step of the renewal of a key: the files are replaced now, and the engine hears of it later, or never.
    pub fn renew(&mut self, side: Side, action: &Action) {
        let machine = self.machine(side);
        let (run, event) = (machine.run, Box::new(machine.renew(action)));
        self.after(100, Scheduled::Renewed { side, run, event });
    }

    /// Whether this node runs and permits no connection with the other one.
    pub fn bars(&self, side: Side, other: Side) -> bool {
        let (here, there) = (&self.machines[side.index()], &self.machines[other.index()]);
        here.engine.is_some() && !(here.permits(there.keys.current) && there.permits(here.keys.current))
    }
}
