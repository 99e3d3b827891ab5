//! The engine simulator: two engines, a network, disks, clocks, hosts, callers and operators, drawn from a seed.
//!
//! `step` says what can be done to a pair, `plan` draws it, `theme` writes beginnings that random steps rarely find, `faults` does it; `world` holds what is under way, `net` what is between
//! the nodes, `register` the witness; `host` is one node and the contract of its driver; `drive` carries out actions; `disk` is a
//! model of the store, `content` what it holds; `real` is the real store beside it and `lockstep` what must be the same in both. `judge` asks after every event what `oracle`, `vouch` and `said` (of operators) know must hold, `settle` what must come about at
//! the end; `counts` says what was tried; `lie` is a peer that cannot be trusted. The idea is FoundationDB's and TigerBeetle's: the shipping code, in a world that is worse
//! than the real one, replayable from a number.

mod content;
mod counts;
mod disk;
mod drive;
pub(super) mod faults;
mod host;
mod judge;
mod lie;
mod lockstep;
mod net;
pub(super) mod oracle;
pub(super) mod plan;
pub(super) mod random;
mod real;
mod register;
mod said;
pub(super) mod settle;
pub(super) mod step;
mod theme;
mod vouch;
pub(super) mod world;

pub(crate) use plan::Plan;

use crate::testing::Summary;
use oracle::{Checked, Invariant, Violation};
use step::Side;
use world::{Flaw, World};

/// The line of a story at which nothing is done to the pair any more.
const FAULTS_END: &str = "-- the faults end";
/// Lines that are shown of a story before that line, or before its end.
const LINES_BEFORE: usize = 400;
/// Lines that are shown after it, and once more from the end.
const LINES_AFTER: usize = 100;

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
    let test = if plan.stored { "stored::replay" } else { "replay" };
    Err(format!(
        "seed {seed}: {violation}\nreplay: SHADOWPAIR_SEED={seed} cargo test --lib sim::tests::{test}\nsteps: {steps}\n{}\n",
        told(&story).join("\n")
    ))
}

/// What is worth reading of a story: what led to the end of the faults, what came next, and how it ended.
fn told(story: &[String]) -> Vec<&str> {
    let turn = story.iter().position(|line| line.ends_with(FAULTS_END)).unwrap_or(story.len());
    let last = (turn + LINES_AFTER).min(story.len());
    let end = story.len().saturating_sub(LINES_AFTER).max(last);
    let parts = [&story[turn.saturating_sub(LINES_BEFORE)..last], &story[end..]];
    let gap = (end > last).then_some("...");
    parts[0].iter().map(String::as_str).chain(gap).chain(parts[1].iter().map(String::as_str)).collect()
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
    summary.one_master = u64::from(world.is_vouched());
    summary.lossless = u64::from(world.is_lossless());
    world.counts.add_to(&mut summary);
    if let Some(ledger) = &world.ledger {
        summary
            .faults
            .extend(std::mem::take(&mut *ledger.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)));
    }
    result.map(|()| summary)
}

fn play(world: &mut World) -> Checked {
    if world.plan.stored {
        world.stand_on_stores()?;
    }
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
