//! Runs the history of a seed, shrinks one that breaks an invariant, and prints it.

use super::faults;
use super::injected_bug::InjectedBug;
use super::liveness;
use super::plan::Plan;
use super::summary::Summary;
use super::world::World;
use crate::campaign::shrink::shrink;
use crate::campaign::violation::{Checked, Violation};
use crate::testing::Side;

/// Lines that a report shows of the trace before the end of the faults.
const LINES_BEFORE: usize = 400;
/// Lines that it shows after that, and again from the end.
const LINES_AFTER: usize = 100;

/// Runs a history. Where an invariant breaks, returns a report: the violation, the command that replays it, and the trace of a
/// history with fewer steps that breaks it too.
pub fn run(seed: u64, plan: Plan) -> Result<Summary, String> {
    let violation = match attempt(seed, plan.clone(), None, &mut None) {
        Ok(summary) => return Ok(summary),
        Err(violation) => violation,
    };
    let with = |steps| Plan { steps, ..plan.clone() };
    let steps = shrink(plan.steps.clone(), violation.invariant, |steps| attempt(seed, with(steps), None, &mut None));
    let plan = with(steps);
    let mut trace = Some(Vec::new());
    let violation = attempt(seed, plan.clone(), None, &mut trace).err().unwrap_or(violation);
    let steps = serde_json::to_string(&plan.steps).unwrap_or_default();
    let trace = trace.unwrap_or_default();
    let test = if plan.stored { "replay_seed_on_the_real_store" } else { "replay_seed_on_the_model" };
    Err(format!(
        "seed {seed}: {violation}\nreplay: SHADOWPAIR_SEED={seed} cargo test --lib {test}\nsteps: {steps}\n{}\n",
        excerpt(&trace).join("\n")
    ))
}

/// The part of a trace that is worth reading: before and after the end of the faults, and the end.
fn excerpt(trace: &[String]) -> Vec<&str> {
    let faults_end = trace.iter().position(|line| line.ends_with(liveness::FAULTS_END)).unwrap_or(trace.len());
    let last = (faults_end + LINES_AFTER).min(trace.len());
    let end = trace.len().saturating_sub(LINES_AFTER).max(last);
    let parts = [&trace[faults_end.saturating_sub(LINES_BEFORE)..last], &trace[end..]];
    let gap = (end > last).then_some("...");
    parts[0].iter().map(String::as_str).chain(gap).chain(parts[1].iter().map(String::as_str)).collect()
}

/// Runs the steps of a plan, then ends all faults and checks liveness. The trace is kept where there is `Some`.
pub fn attempt(
    seed: u64,
    plan: Plan,
    bug: Option<InjectedBug>,
    trace: &mut Option<Vec<String>>,
) -> Result<Summary, Violation> {
    let mut world = World::new(seed, plan);
    world.bug = bug;
    world.journal.trace = trace.take();
    let result = run_steps(&mut world);
    *trace = world.journal.trace.take();
    let mut summary = std::mem::take(&mut world.journal.summary);
    summary.simulated_us = world.now;
    summary.one_master = u64::from(world.promises_one_master());
    summary.lossless = u64::from(world.promises_nothing_lost());
    world.journal.coverage.add_to(&mut summary);
    if let Some(context) = &world.stores {
        summary
            .faults
            .extend(std::mem::take(&mut *context.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)));
    }
    result.map(|()| summary)
}

fn run_steps(world: &mut World) -> Checked {
    if world.plan.stored {
        world.add_real_stores()?;
    }
    world.start(Side::A)?;
    world.start(Side::B)?;
    for step in world.plan.steps.clone() {
        world.journal.summary.steps += 1;
        world.note(|| format!("-- {step:?}"));
        faults::apply(world, step)?;
    }
    if world.plan.byzantine { Ok(()) } else { liveness::check_liveness(world) }
}
