//! Invariant 8: what must come about after the faults.

use super::faults::{apply, resume};
use super::oracle;
use super::step::Step;
use super::witness::WitnessRoute;
use super::world::World;
use crate::campaign::violation::{Checked, Invariant};
use crate::model::Revision;
use crate::protocol::alerts::AlertKind;
use crate::protocol::engine::{Command, EngineStatus, Failover, LinkState, TakeoverBlocker};
use crate::protocol::wire::{Modes, Role};
use crate::testing::Side;

/// The line of a trace after which nothing more is done to the pair.
pub const FAULTS_END: &str = "-- the faults end";
/// Time within which the pair must be whole after the faults, microseconds: sixty takeover delays, and the hold-down.
const WHOLE_US_MAX: u64 = 30_000_000;
/// How often that is checked, microseconds.
const POLL_US: u64 = 100_000;
/// Reasons of a node that ask an operator to decide.
const OPERATOR_REASONS: [&str; 2] = ["held", "detached"];
/// Reasons of a node that waits for an operator because the witness or a disk lost something.
const RECORD_REASONS: [&str; 6] =
    ["not_named", "rolled_back", "behind_record", "record_missing", "record_older", "record_foreign"];
/// Reasons of a node that the record allows to lead, and that has a reason of its own not to.
const OWN_REASONS: [&str; 5] = ["manual", "held", "refused", "incomplete", "syncing"];

/// 8: after the faults the pair is whole within a bound, or needs an operator and says so. 6: no alert of a failed push stands.
pub fn check_liveness(world: &mut World) -> Checked {
    world.note(|| FAULTS_END.into());
    world.network.slow_connections(0);
    world.witness.routes = [WitnessRoute::healthy(), WitnessRoute::healthy()];
    for side in Side::BOTH {
        world.heal(side);
        let machine = world.machine(side);
        (machine.disk.faults.full, machine.disk.faults.fail_next, machine.conditions.batch_us) = (false, None, 100);
        (machine.conditions.may_take_over, machine.conditions.accepts_pushes, machine.conditions.failing_dials) =
            (true, true, 0);
        (machine.conditions.crash_at, machine.clock.jumped_ms) = (None, 0);
        resume(world, side, true)?;
    }
    world.network.latency_us = 500;
    if let Some(gone) = world.plan.gone {
        return check_survivor(world, gone);
    }
    for side in Side::BOTH {
        world.start(side)?;
    }
    // An operator lets go of what an operator held.
    for side in Side::BOTH {
        world.command(side, Command::Reconnect)?;
    }
    // A clean shutdown under way ends.
    world.run(10 * POLL_US)?;
    end_modes(world)?;
    if world.is_unpaired() {
        // An operator did it. Only another enrolment, which is not simulated, would bring them together.
        return Ok(());
    }
    until_whole(world, WHOLE_US_MAX / 2)?;
    if !world.is_whole() && !waits_for_a_change(world) {
        check_needs_operator(world)?;
    }
    // What a host refused is retried only with a newer revision.
    for node in Side::BOTH {
        apply(world, Step::Commit { node, key: 0, value: Some(1), guarded: false })?;
    }
    world.run(POLL_US)?;
    until_whole(world, WHOLE_US_MAX / 2)?;
    if !world.is_whole() {
        return check_needs_operator(world);
    }
    world.run(10 * POLL_US)?;
    // Without a useful witness, a promise may end before the next heartbeat: then there are gaps.
    let gaps = world.witness.tampered && world.plan.lease_ms.iter().flatten().any(|lease| *lease < 250);
    Invariant::WholeAgain
        .check(world.is_whole() || gaps, || "the pair came together and fell apart without a fault".into())?;
    check_in_sync_again(world)?;
    for side in Side::BOTH {
        if world.promises_nothing_lost() {
            world.check_holds_all_acknowledged(side)?;
        }
        let machine = &world.machines[side.index()];
        let Some(engine) = &machine.engine else {
            continue;
        };
        let status = engine.status(machine.clock.at(world.now), machine.clock.wall(world.now));
        if status.serving {
            oracle::check_failures_ended(&status)?;
        }
        check_nothing_pending(world, side)?;
    }
    Ok(())
}

/// An operator ends what an operator has paused or frozen.
fn end_modes(world: &mut World) -> Checked {
    for _ in 0..20 {
        let gone = world.plan.gone;
        Side::BOTH.into_iter().filter(|side| gone != Some(*side)).try_for_each(|side| world.start(side))?;
        let on = |modes: Modes| modes.paused.on || modes.frozen.on;
        let left = |world: &World, side| status(world, side).is_some_and(|status| on(status.modes));
        let left: Vec<Side> = Side::BOTH.into_iter().filter(|side| left(world, *side)).collect();
        if left.is_empty() {
            return Ok(());
        }
        for side in left {
            world.command(side, Command::Pause(false))?;
            world.command(side, Command::Freeze(false))?;
        }
        world.run(POLL_US)?;
    }
    Ok(())
}

/// 8: the record at the witness names the shadow of a whole pair as in sync, and commits reach both disks again.
fn check_in_sync_again(world: &mut World) -> Checked {
    if !world.promises_one_master() || world.witness.tampered {
        return Ok(());
    }
    let Some(master) = Side::BOTH.into_iter().find(|side| world.holds_mastership(*side)) else {
        return Ok(());
    };
    let nodes = Side::BOTH.map(|side| world.machines[side.index()].disk.node());
    let (master_id, shadow_id) = (nodes[master.index()], nodes[master.other().index()]);
    let named =
        |world: &World| world.witness.record().is_some_and(|r| r.holder == master_id && r.in_sync == Some(shadow_id));
    for _ in 0..50 {
        if named(world) {
            break;
        }
        world.run(POLL_US)?;
    }
    Invariant::WholeAgain.check(named(world), || {
        format!("the pair is whole, and the witness does not say so: {:?}", world.witness.record())
    })?;
    if world.exemptions.is_asynchronous() {
        return Ok(());
    }
    let before = world.journal.summary.replicated;
    apply(world, Step::Commit { node: master, key: 1, value: Some(1), guarded: false })?;
    world.run(5 * POLL_US)?;
    let replicated = world.journal.summary.replicated > before;
    Invariant::WholeAgain
        .check(replicated, || "the pair is whole, and a commit is not acknowledged as durable on both nodes".into())
}

/// 0: every caller was answered, and all bulk was used or dropped.
fn check_nothing_pending(world: &World, side: Side) -> Checked {
    let machine = &world.machines[side.index()];
    let (asked, bulks) = (machine.callers.waiting.len(), machine.driver.bulks.len());
    Invariant::Contract.check(asked == 0, || format!("{asked} callers of {side:?} were never answered"))?;
    Invariant::Contract.check(bulks == 0, || format!("{bulks} frames of bulk were never dropped by {side:?}"))
}

/// Whether only a newer revision can make the pair whole: a host refused the last one that was pushed.
fn waits_for_a_change(world: &World) -> bool {
    let refused = |status: EngineStatus| status.alerts.iter().any(|alert| alert.kind == AlertKind::PushRejected);
    Side::BOTH.into_iter().filter_map(|side| status(world, side)).any(refused)
}

/// Lets time pass until the pair is whole, at most this long.
fn until_whole(world: &mut World, us: u64) -> Checked {
    let end = world.now + us;
    loop {
        Side::BOTH.into_iter().try_for_each(|side| world.start(side))?;
        if world.now >= end || world.is_whole() {
            return Ok(());
        }
        world.run(POLL_US)?;
    }
}

fn status(world: &World, side: Side) -> Option<EngineStatus> {
    let machine = &world.machines[side.index()];
    machine.engine.as_ref().map(|engine| engine.status(machine.clock.at(world.now), machine.clock.wall(world.now)))
}

fn check_needs_operator(world: &mut World) -> Checked {
    if world.is_unpaired() {
        // The reset came late: its disk had no room for it before.
        return Ok(());
    }
    let both = Side::BOTH.map(|side| status(world, side));
    let forgot = world.witness.tampered || world.exemptions.rolled_back != [false; 2];
    let nobody_serves = both.iter().flatten().all(|status| !status.serving);
    // Nodes refuse each other where a disk was rolled back, or where two histories could begin.
    let parted = forgot || !world.plan.witnessed || world.exemptions.is_loss_accepted();
    let decides = |blocker: &TakeoverBlocker| match blocker.as_str() {
        "manual" => nobody_serves,
        "refused" => parted,
        word => OPERATOR_REASONS.contains(&word),
    };
    let holder = world.witness.record().map(|record| record.holder);
    let blank = world
        .machines
        .iter()
        .any(|machine| Some(machine.disk.node()) == holder && !machine.disk.durable_state.complete);
    let decided = forgot || world.exemptions.is_loss_accepted() && blank;
    // Nodes that are connected, one of them serving, have nothing left to be decided.
    let led = both.iter().flatten().any(|status| status.serving)
        && both.iter().flatten().all(|status| status.link.state == LinkState::Connected);
    let named = both.iter().flatten().filter(|_| !led).any(|status| {
        let asks = status.why_not.iter().any(decides);
        // Nodes cannot decide after a loss at a disk or the witness, nor where an operator's command named a node that cannot lead.
        let record = status.why_not.iter().any(|blocker| RECORD_REASONS.contains(&blocker.as_str()));
        (!status.link.reason.is_empty() && asks) || (decided && record && !status.alerts.is_empty())
    });
    let short = both.iter().flatten().map(|status| {
        (status.role, status.serving, status.position.revision, status.link.state, &status.link.reason, &status.why_not)
    });
    let short: Vec<_> = short.collect();
    Invariant::WholeAgain.check(named, || format!("not whole after {} s: {short:?}", WHOLE_US_MAX / 1_000_000))?;
    let said = both.iter().flatten().any(says_it_needs_operator);
    Invariant::FailuresShow.check(said, || format!("an operator is needed, and no error says so: {short:?}"))?;
    world.journal.summary.operator_needed += 1;
    Ok(())
}

/// Whether an error says that a person is needed: for a decision, or to repair the witness or the disk.
fn says_it_needs_operator(status: &EngineStatus) -> bool {
    let repairs = [AlertKind::WitnessUnreachable, AlertKind::DiskTrouble];
    let repair = status.alerts.iter().any(|alert| repairs.contains(&alert.kind));
    oracle::needs_operator(status) || repair
}

/// 8: one node is gone for good. The other one serves within the bound if the rules allow it, and otherwise says why not.
fn check_survivor(world: &mut World, gone: Side) -> Checked {
    let side = gone.other();
    if world.machine(gone).engine.is_some() {
        world.end(gone, Some(0), false)?;
    }
    // A clean shutdown under way ends.
    world.run(10 * POLL_US)?;
    if world.is_unpaired() {
        return Ok(());
    }
    world.start(side)?;
    world.command(side, Command::Reconnect)?;
    end_modes(world)?;
    for _ in 0..WHOLE_US_MAX / 2 / POLL_US {
        world.start(side)?;
        if world.holds_mastership(side) {
            break;
        }
        world.run(POLL_US)?;
    }
    let Some(status) = status(world, side) else {
        return Ok(());
    };
    if world.holds_mastership(side) {
        world.journal.summary.served_alone += 1;
        return check_serves_alone(world, side);
    }
    let own_reason = status.why_not.iter().any(|word| OWN_REASONS.contains(&word.as_str()));
    let allowed = may_lead(world, side) && !own_reason;
    let says = !status.link.reason.is_empty() && !status.why_not.is_empty();
    let short = (status.role, status.link.state, &status.link.reason, &status.why_not, world.witness.record());
    Invariant::WholeAgain.check(!allowed, || format!("{side:?} is alone and may lead, and does not: {short:?}"))?;
    Invariant::WholeAgain
        .check(says, || format!("{side:?} is alone, does not lead and does not say why: {short:?}"))?;
    Invariant::FailuresShow
        .check(says_it_needs_operator(&status), || format!("{side:?} is alone, and no error says so: {short:?}"))?;
    world.journal.summary.operator_needed += 1;
    Ok(())
}

/// A node that leads alone acknowledges after the time that it waits for a shadow, and a round trip to the witness.
fn check_serves_alone(world: &mut World, side: Side) -> Checked {
    let before = world.journal.summary.acknowledged;
    let us = world.plan.sync_timeout_ms * 1_000 + 10 * POLL_US;
    for _ in 0..2 {
        apply(world, Step::Commit { node: side, key: 0, value: Some(1), guarded: false })?;
        world.run(us)?;
    }
    let acknowledged = world.journal.summary.acknowledged > before;
    Invariant::WholeAgain
        .check(acknowledged, || format!("{side:?} leads alone and acknowledges nothing within {us} us"))?;
    check_nothing_pending(world, side)
}

/// Whether the rules allow a node to lead while its peer is silent.
fn may_lead(world: &World, side: Side) -> bool {
    let machine = &world.machines[side.index()];
    let durable_state = &machine.disk.durable_state;
    let automatic = machine.options.failover == Failover::Automatic;
    if !durable_state.complete || durable_state.detached || durable_state.peer.is_none() {
        return false;
    }
    if !world.plan.witnessed {
        // A shadow must have heard its master since it started. A master must not know of a peer that outranks it.
        let outranked = world.machines[side.other().index()].disk.durable_state.epoch > durable_state.epoch;
        let heard = machine.observed.heard_at.is_some()
            && status(world, side).is_some_and(|s| !s.why_not.contains(&TakeoverBlocker::NoContact));
        return automatic && if durable_state.role == Role::Master { !outranked } else { heard };
    }
    if world.witness.tampered || world.exemptions.rolled_back != [false; 2] {
        return false;
    }
    let Some(record) = world.witness.record() else {
        return false;
    };
    let node = machine.disk.node();
    let head = machine.disk.head.position.revision;
    if record.holder == node {
        let known = durable_state.tried.max(durable_state.epoch).max(head.epoch) >= record.epoch;
        let reaches = record.revision == Revision::NONE || machine.disk.holds(record.revision);
        return known && reaches && (automatic || durable_state.role == Role::Master);
    }
    automatic
        && durable_state.role == Role::Shadow
        && record.in_sync == Some(node)
        && machine.disk.holds(record.revision)
}
