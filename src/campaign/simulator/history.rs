//! Runs the history of a seed, shrinks one that breaks an invariant, and prints it.

use super::faults;
use super::liveness;
use super::plan::Plan;
use super::step::Side;
use super::summary::Summary;
use super::violation::{Checked, Invariant, Violation};
use super::world::{InjectedBug, World};

/// Lines that are shown of a trace before that line, or before its end.
const LINES_BEFORE: usize = 400;
/// Lines that are shown after it, and once more from the end.
const LINES_AFTER: usize = 100;

/// Runs a history; a broken invariant becomes a trace with fewer steps.
pub fn run(seed: u64, plan: Plan) -> Result<Summary, String> {
    let violation = match attempt(seed, plan.clone(), None, &mut None) {
        Ok(summary) => return Ok(summary),
        Err(violation) => violation,
    };
    let plan = shrink(seed, plan, violation.invariant);
    let mut trace = Some(Vec::new());
    let violation = attempt(seed, plan.clone(), None, &mut trace).err().unwrap_or(violation);
    let steps = serde_json::to_string(&plan.steps).unwrap_or_default();
    let trace = trace.unwrap_or_default();
    let test = if plan.stored { "replay_seed_on_the_real_store" } else { "replay_seed_on_the_model" };
    Err(format!(
        "seed {seed}: {violation}\nreplay: SHADOWPAIR_SEED={seed} cargo test --lib {test}\nsteps: {steps}\n{}\n",
        told(&trace).join("\n")
    ))
}

/// What is worth reading of a trace: what led to the end of the faults, what came next, and how it ended.
fn told(trace: &[String]) -> Vec<&str> {
    let turn = trace.iter().position(|line| line.ends_with(liveness::FAULTS_END)).unwrap_or(trace.len());
    let last = (turn + LINES_AFTER).min(trace.len());
    let end = trace.len().saturating_sub(LINES_AFTER).max(last);
    let parts = [&trace[turn.saturating_sub(LINES_BEFORE)..last], &trace[end..]];
    let gap = (end > last).then_some("...");
    parts[0].iter().map(String::as_str).chain(gap).chain(parts[1].iter().map(String::as_str)).collect()
}

/// Runs the steps of a plan, then ends all faults and waits until the pair is whole.
pub fn attempt(
    seed: u64,
    plan: Plan,
    flaw: Option<InjectedBug>,
    trace: &mut Option<Vec<String>>,
) -> Result<Summary, Violation> {
    let mut world = World::new(seed, plan);
    world.flaw = flaw;
    world.trace = trace.take();
    let result = play(&mut world);
    *trace = world.trace.take();
    let mut summary = std::mem::take(&mut world.summary);
    summary.simulated_us = world.now;
    summary.one_master = u64::from(world.promises_one_master());
    summary.lossless = u64::from(world.promises_nothing_lost());
    world.coverage.add_to(&mut summary);
    if let Some(context) = &world.context {
        summary
            .faults
            .extend(std::mem::take(&mut *context.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)));
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
    if world.plan.hostile { Ok(()) } else { liveness::settle(world) }
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
