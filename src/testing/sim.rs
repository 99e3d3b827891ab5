//! The engine simulator: two engines, a network, disks, clocks, hosts, callers and operators, drawn from a seed.
//!
//! `step` says what can be done to a pair, `plan` draws it, `faults` does it; `world` holds what is under way, `net` what is between
//! the nodes, `register` the witness; `host` is one node and the contract of its driver; `drive` carries out actions; `disk` is a
//! model of the store. `judge` asks after every event what `oracle`, `vouch` and `said` (of operators) know must hold, `settle` what must come about at
//! the end; `counts` says what was tried; `lie` is a peer that cannot be trusted. The idea is FoundationDB's and TigerBeetle's: the shipping code, in a world that is worse
//! than the real one, replayable from a number.

mod counts;
mod disk;
mod drive;
mod faults;
mod host;
mod judge;
mod lie;
mod net;
mod oracle;
mod plan;
mod random;
mod register;
mod said;
mod settle;
mod step;
mod vouch;
mod world;

pub(crate) use plan::Plan;

use crate::testing::Summary;
use oracle::{Checked, Invariant, Violation};
use step::Side;
use world::{Flaw, World};

/// Lines that are shown of a story, from its end.
const STORY_LINES: usize = 400;

/// Runs a history; a broken invariant becomes a story with fewer steps.
pub(crate) fn run(seed: u64, plan: Plan) -> Result<Summary, String> {
    let violation = match attempt(seed, plan.clone(), None, &mut None) {
        Ok(summary) => return Ok(summary),
        Err(violation) => violation,
    };
    let plan = shrink(seed, plan, violation.invariant);
    let mut story = Some(Vec::new());
    let violation = attempt(seed, plan.clone(), None, &mut story).err().unwrap_or(violation);
    let steps = serde_json::to_string(&plan.steps).unwrap_or_default();
    let story = story.unwrap_or_default();
    let tail = &story[story.len().saturating_sub(STORY_LINES)..];
    Err(format!(
        "seed {seed}: {violation}\nreplay: SHADOWPAIR_SEED={seed} cargo test --lib sim::tests::replay\nsteps: {steps}\n{}\n",
        tail.join("\n")
    ))
}

/// Runs the steps of a plan, then ends all faults and waits until the pair is whole.
fn attempt(seed: u64, plan: Plan, flaw: Option<Flaw>, story: &mut Option<Vec<String>>) -> Result<Summary, Violation> {
    let mut world = World::new(seed, plan);
    world.flaw = flaw;
    world.story = story.take();
    let result = play(&mut world);
    *story = world.story.take();
    let mut summary = std::mem::take(&mut world.summary);
    summary.simulated_us = world.now;
    world.counts.add_to(&mut summary);
    result.map(|()| summary)
}

fn play(world: &mut World) -> Checked {
    world.start(Side::A)?;
    world.start(Side::B)?;
    for step in world.plan.steps.clone() {
        world.summary.steps += 1;
        world.tell(|| format!("-- {step:?}"));
        faults::apply(world, step)?;
    }
    if world.plan.hostile { Ok(()) } else { settle::settle(world) }
}

/// Drops steps as long as the same invariant breaks without them.
fn shrink(seed: u64, mut plan: Plan, broken: Invariant) -> Plan {
    let mut at = plan.steps.len();
    while at > 0 {
        at -= 1;
        let mut fewer = plan.clone();
        fewer.steps.remove(at);
        if attempt(seed, fewer.clone(), None, &mut None).is_err_and(|violation| violation.invariant == broken) {
            plan = fewer;
        }
    }
    plan
}

#[cfg(test)]
mod tests;
