//! The simulated world: true time, two machines, the network and the witness between them, and what is known of the history.
//!
//! This file holds the data. What happens is in the files above it, each an `impl World`: `event_loop` lets time pass,
//! `lifecycle` starts and ends processes, `driver`, `delivery` and `witness_client` are what stands between an engine and the
//! world, `invariants` and `safety` check.

use std::sync::Arc;

use super::coverage::Coverage;
use super::exemptions::Exemptions;
use super::injected_bug::InjectedBug;
use super::machine::{Clock, Machine};
use super::network::Network;
use super::oracle::Oracle;
use super::plan::Plan;
use super::random::{Random, mix};
use super::schedule::{Schedule, Scheduled};
use super::store::{Disk, StoreContext};
use super::summary::Summary;
use super::witness::WitnessRegister;
use crate::campaign::violation::Checked;
use crate::model::{Epoch, NodeId, PairId, PinnedKeys, Revision, WitnessRecord};
use crate::protocol::engine::{DurableState, Peer};
use crate::testing::Side;

/// The pair and everything around it.
#[derive(Clone, Debug)]
pub struct World {
    /// True time, microseconds.
    pub now: u64,
    /// For everything that is drawn while the history runs.
    pub random: Random,
    /// The surroundings and the steps.
    pub plan: Plan,
    /// Both nodes, each with its disk and clock.
    pub machines: [Machine; 2],
    /// What is between them.
    pub network: Network,
    /// The witness; asked only where the plan has one.
    pub witness: WitnessRegister,
    /// What is under way.
    pub schedule: Schedule,
    /// Everything that was written, shown and acknowledged.
    pub oracle: Oracle,
    /// Which invariants this history is exempt from.
    pub exemptions: Exemptions,
    /// What the real stores share, where there are any.
    pub stores: Option<Arc<StoreContext>>,
    /// What both disks knew before the first start.
    pub initial_states: [DurableState; 2],
    /// What the history contained.
    pub journal: Journal,
    /// A mistake that is put in on purpose.
    pub bug: Option<InjectedBug>,
    /// Since when nothing has kept the nodes from hearing each other; `None` while something does.
    pub in_touch_since: Option<u64>,
}

/// What a history contained.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// Counts.
    pub summary: Summary,
    /// Faults by kind, and events by the node's state.
    pub coverage: Coverage,
    /// A line for everything that happened, where somebody wants to read it.
    pub trace: Option<Vec<String>>,
}

impl World {
    /// A pair that was enrolled and never started.
    pub fn new(seed: u64, plan: Plan) -> Self {
        let mut random = Random::new(seed);
        let pair = PairId(mix(seed).to_le_bytes().repeat(2).try_into().unwrap_or([7; 16]));
        // Which id is lower decides which of two connections stays and who of two equals yields.
        let swapped = u8::from(random.percent(50));
        let ids = [NodeId([1 + swapped; 32]), NodeId([2 - swapped; 32])];
        let machines = Side::BOTH.map(|side| {
            let clock = Clock {
                offset_us: random.below(1 << 40),
                rate_ppm: plan.rates_ppm[side.index()],
                wall_ms: 1_800_000_000_000 + random.below(20_000),
                jumped_ms: 0,
                was_set: false,
            };
            let (own, other) = (ids[side.index()], ids[side.other().index()]);
            let peer = Peer {
                node: other,
                keys: PinnedKeys::only(other.first_key()),
                name: format!("{:?}", side.other()),
                address: Machine::address(side.other()),
                takeover_delay_ms: 500,
                confirmed: Revision::NONE,
            };
            let durable_state = match side {
                Side::A => DurableState { enabled: true, peer: Some(peer), ..DurableState::first_master(own, pair) },
                Side::B => DurableState::first_shadow(own, pair, peer),
            };
            Machine::new(side, Disk::new(durable_state, plan.log_changes), clock, &plan)
        });
        let record = WitnessRecord {
            pair,
            holder: ids[0],
            epoch: Epoch::FIRST,
            lease: machines[0].options.lease(),
            in_sync: None,
            revision: Revision::NONE,
            counter: 0,
        };
        Self {
            now: 0,
            random,
            network: Network::new(),
            oracle: Oracle::new(plan.byzantine),
            witness: WitnessRegister::new(Some(record).filter(|_| !plan.blank_witness)),
            exemptions: Exemptions::new(plan.replication),
            stores: None,
            initial_states: machines.each_ref().map(|machine| machine.disk.durable_state.clone()),
            machines,
            plan,
            journal: Journal::default(),
            bug: None,
            in_touch_since: None,
            schedule: Schedule::default(),
        }
    }

    /// Puts the real store under both nodes, beside its model.
    pub fn add_real_stores(&mut self) -> Checked {
        let stores = Arc::new(StoreContext::new(&self.initial_states[0].pair));
        // A copy: drawing from the history's own numbers would change the rest of it.
        let mut random = self.random.clone();
        for machine in &mut self.machines {
            machine.disk.add_real_store(random.bits(), &stores)?;
        }
        self.stores = Some(stores);
        Ok(())
    }

    /// One of the machines.
    pub fn machine(&mut self, side: Side) -> &mut Machine {
        &mut self.machines[side.index()]
    }

    /// Adds a line to the trace, where one is kept.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.journal.trace {
            let mut line = line();
            if line.len() > 600 {
                line = line.chars().take(600).chain("...".chars()).collect();
            }
            trace.push(format!("{:>12.6}  {line}", now as f64 / 1e6));
        }
    }

    /// Fresh bits for an engine. In the model checker they follow from the time, so that equal situations are equal.
    pub fn bits(&mut self, side: Side) -> u64 {
        if self.random.is_fixed() { mix(self.now << 1 | side.index() as u64) } else { self.random.bits() }
    }

    /// Schedules an event after this time.
    pub fn after(&mut self, us: u64, event: Scheduled) {
        self.schedule.insert(self.now.saturating_add(us), event);
    }
}
