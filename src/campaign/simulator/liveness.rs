//! 8: what must come about when the faults have ended.

use super::faults::{apply, resume};
use super::oracle;
use super::step::{Side, Step};
use super::violation::{Checked, Invariant};
use super::witness::WitnessRoute;
use super::world::World;
use crate::model::Revision;
use crate::protocol::engine::{Command, EngineStatus, Failover, TakeoverBlocker};
use crate::protocol::wire::Role;

/// The line of a trace after which nothing more is done to the pair.
pub const FAULTS_END: &str = "-- the faults end";
/// Time within which a pair must be whole after the faults ended, microseconds: sixty takeover delays, and the hold-down.
const SETTLE_US: u64 = 30_000_000;
/// How often it is looked at.
const LOOK_US: u64 = 100_000;
/// Words of a node that say that an operator must decide.
const OPERATORS_WORDS: [&str; 2] = ["held", "detached"];
/// Words of a node that wait for an operator because the register, or a disk, forgot.
const RECORD_WORDS: [&str; 6] =
    ["not_named", "rolled_back", "behind_record", "record_missing", "record_older", "record_foreign"];
/// Words of a node that would be allowed to lead, as far as the record goes, and has a reason of its own not to.
const OWN_REASONS: [&str; 5] = ["manual", "held", "refused", "incomplete", "syncing"];

/// 8: after the faults the pair is whole within a bound, or needs an operator and says so; 6: and its alerts tell one trace.
pub fn settle(world: &mut World) -> Checked {
    world.tell(|| FAULTS_END.into());
    world.slow_connections(0);
    world.register.routes = [WitnessRoute::good(), WitnessRoute::good()];
    for side in Side::BOTH {
        world.heal(side);
        let host = world.host(side);
        (host.disk.full, host.disk.fail_next, host.disk_us) = (false, None, 100);
        (host.may_take_over, host.accepts, host.fail_dials) = (true, true, 0);
        (host.crash_at, host.clock.jumped_ms) = (None, 0);
        resume(world, side, true)?;
    }
    world.latency_us = 500;
    if let Some(gone) = world.plan.gone {
        return settle_alone(world, gone);
    }
    for side in Side::BOTH {
        world.start(side)?;
    }
    // Whatever an operator held, an operator lets go.
    for side in Side::BOTH {
        world.command(side, Command::Reconnect)?;
    }
    // A clean shutdown that is still under way comes to its end.
    world.run(10 * LOOK_US)?;
    if world.unpaired() {
        // By an operator's word: they come together by another enrolment, which is no part of this world.
        return Ok(());
    }
    until_whole(world, SETTLE_US / 2)?;
    // What a host refused is tried again only with a newer revision.
    for node in Side::BOTH {
        apply(world, Step::Commit { node, key: 0, value: Some(1), guarded: false })?;
    }
    world.run(LOOK_US)?;
    until_whole(world, SETTLE_US / 2)?;
    if !world.whole() {
        return unsettled(world);
    }
    world.run(10 * LOOK_US)?;
    // Where the witness is of no use, and a promise lasts no longer than to the next heartbeat, there are gaps.
    let gaps = world.register.tampered && world.plan.lease_ms.iter().flatten().any(|lease| *lease < 250);
    Invariant::WholeAgain
        .check(world.whole() || gaps, || "the pair came together and fell apart without a fault".into())?;
    covered_by_both(world)?;
    for side in Side::BOTH {
        if world.promises_nothing_lost() {
            world.has_all(side)?;
        }
        let host = &world.hosts[side.index()];
        let Some(engine) = &host.engine else { continue };
        let status = engine.status(host.clock.at(world.now), host.clock.wall(world.now));
        if status.serving {
            oracle::failures_ended(&status)?;
        }
        nothing_is_left(world, side)?;
    }
    Ok(())
}

/// 8: the witness knows of a whole pair that each node may lead after the other, and commits reach both disks again.
fn covered_by_both(world: &mut World) -> Checked {
    if !world.promises_one_master() || world.register.tampered {
        return Ok(());
    }
    let Some(master) = Side::BOTH.into_iter().find(|side| world.holds_mastership(*side)) else { return Ok(()) };
    let nodes = Side::BOTH.map(|side| world.hosts[side.index()].disk.node());
    let (master_id, shadow_id) = (nodes[master.index()], nodes[master.other().index()]);
    let named =
        |world: &World| world.register.record().is_some_and(|r| r.holder == master_id && r.in_sync == Some(shadow_id));
    for _ in 0..50 {
        if named(world) {
            break;
        }
        world.run(LOOK_US)?;
    }
    Invariant::WholeAgain.check(named(world), || {
        format!("the pair is whole, and the witness does not say so: {:?}", world.register.record())
    })?;
    if world.exemptions.is_asynchronous() {
        return Ok(());
    }
    let before = world.summary.replicated;
    apply(world, Step::Commit { node: master, key: 1, value: Some(1), guarded: false })?;
    world.run(5 * LOOK_US)?;
    let replicated = world.summary.replicated > before;
    Invariant::WholeAgain
        .check(replicated, || "the pair is whole, and a commit is not acknowledged as durable on both nodes".into())
}

/// 0: every caller was answered, and all bulk was named.
fn nothing_is_left(world: &World, side: Side) -> Checked {
    let host = &world.hosts[side.index()];
    let (asked, bulks) = (host.asked.len(), host.bulks.len());
    Invariant::Contract.check(asked == 0, || format!("{asked} callers of {side:?} were never answered"))?;
    Invariant::Contract.check(bulks == 0, || format!("{bulks} frames of bulk were never dropped by {side:?}"))
}

/// Lets time pass until the pair is whole, or this long.
fn until_whole(world: &mut World, us: u64) -> Checked {
    let end = world.now + us;
    loop {
        Side::BOTH.into_iter().try_for_each(|side| world.start(side))?;
        if world.now >= end || world.whole() {
            return Ok(());
        }
        world.run(LOOK_US)?;
    }
}

fn status(world: &World, side: Side) -> Option<EngineStatus> {
    let host = &world.hosts[side.index()];
    host.engine.as_ref().map(|engine| engine.status(host.clock.at(world.now), host.clock.wall(world.now)))
}

fn unsettled(world: &mut World) -> Checked {
    if world.unpaired() {
        // The word came late: its disk had no room for it before.
        return Ok(());
    }
    let both = Side::BOTH.map(|side| status(world, side));
    let forgot = world.register.tampered || world.exemptions.rolled_back != [false; 2];
    let nobody_serves = both.iter().flatten().all(|status| !status.serving);
    // One node refuses the other where a disk forgot, or an operator or the lack of a witness let two histories begin.
    let parted = forgot || !world.plan.witnessed || world.exemptions.is_waived();
    let decides = |word: &TakeoverBlocker| match word.as_str() {
        "manual" => nobody_serves,
        "refused" => parted,
        word => OPERATORS_WORDS.contains(&word),
    };
    let holder = world.register.record().map(|record| record.holder);
    let blank = world.hosts.iter().any(|host| Some(host.disk.node()) == holder && !host.disk.durable_state.complete);
    let decided = forgot || world.exemptions.is_waived() && blank;
    let named = both.iter().flatten().any(|status| {
        let word = status.why_not.iter().any(decides);
        // A disk or a witness that forgot is no ground to decide upon, and an operator's word may have named a node that cannot lead.
        let record = status.why_not.iter().any(|word| RECORD_WORDS.contains(&word.as_str()));
        (!status.link_reason.is_empty() && word) || (decided && record && !status.alerts.is_empty())
    });
    let short = both.iter().flatten().map(|status| {
        (status.role, status.serving, status.position.revision, status.link, &status.link_reason, &status.why_not)
    });
    let short: Vec<_> = short.collect();
    Invariant::WholeAgain.check(named, || format!("not whole after {} s: {short:?}", SETTLE_US / 1_000_000))?;
    world.summary.operator_needed += 1;
    Ok(())
}

/// 8: one node is gone for good: the other serves within the bound if the rules allow it, and else says why not.
fn settle_alone(world: &mut World, gone: Side) -> Checked {
    let side = gone.other();
    if world.host(gone).engine.is_some() {
        world.end(gone, Some(0), false)?;
    }
    // A clean shutdown that is still under way comes to its end.
    world.run(10 * LOOK_US)?;
    if world.unpaired() {
        return Ok(());
    }
    world.start(side)?;
    world.command(side, Command::Reconnect)?;
    for _ in 0..SETTLE_US / 2 / LOOK_US {
        world.start(side)?;
        if world.holds_mastership(side) {
            break;
        }
        world.run(LOOK_US)?;
    }
    let Some(status) = status(world, side) else { return Ok(()) };
    if world.holds_mastership(side) {
        world.summary.served_alone += 1;
        return serves_alone(world, side);
    }
    let own_reason = status.why_not.iter().any(|word| OWN_REASONS.contains(&word.as_str()));
    let allowed = may_lead(world, side) && !own_reason;
    let says = !status.link_reason.is_empty() && !status.why_not.is_empty();
    let short = (status.role, status.link, &status.link_reason, &status.why_not, world.register.record());
    Invariant::WholeAgain.check(!allowed, || format!("{side:?} is alone and may lead, and does not: {short:?}"))?;
    Invariant::WholeAgain
        .check(says, || format!("{side:?} is alone, does not lead and does not say why: {short:?}"))?;
    world.summary.operator_needed += 1;
    Ok(())
}

/// A node that leads alone acknowledges within the time that a shadow is waited for, and a round at the witness.
fn serves_alone(world: &mut World, side: Side) -> Checked {
    let before = world.summary.acknowledged;
    let us = world.plan.sync_timeout_ms * 1_000 + 10 * LOOK_US;
    for _ in 0..2 {
        apply(world, Step::Commit { node: side, key: 0, value: Some(1), guarded: false })?;
        world.run(us)?;
    }
    let acknowledged = world.summary.acknowledged > before;
    Invariant::WholeAgain
        .check(acknowledged, || format!("{side:?} leads alone and acknowledges nothing within {us} us"))?;
    nothing_is_left(world, side)
}

/// Whether the rules allow a node to lead by itself, its peer being silent.
fn may_lead(world: &World, side: Side) -> bool {
    let host = &world.hosts[side.index()];
    let durable_state = &host.disk.durable_state;
    let automatic = host.options.failover == Failover::Automatic;
    if !durable_state.complete || durable_state.detached || durable_state.peer.is_none() {
        return false;
    }
    if !world.plan.witnessed {
        // A shadow must have heard its master since it started, and a master may have heard of one that outranks it.
        let outranked = world.hosts[side.other().index()].disk.durable_state.epoch > durable_state.epoch;
        let heard = host.heard.is_some()
            && status(world, side).is_some_and(|s| !s.why_not.contains(&TakeoverBlocker::NoContact));
        return automatic && if durable_state.role == Role::Master { !outranked } else { heard };
    }
    if world.register.tampered || world.exemptions.rolled_back != [false; 2] {
        return false;
    }
    let Some(record) = world.register.record() else { return false };
    let node = host.disk.node();
    let head = host.disk.head.position.revision;
    if record.holder == node {
        let known = durable_state.tried.max(durable_state.epoch).max(head.epoch) >= record.epoch;
        let reaches = record.revision == Revision::NONE || host.disk.holds(record.revision);
        return known && reaches && (automatic || durable_state.role == Role::Master);
    }
    automatic && durable_state.role == Role::Shadow && record.in_sync == Some(node) && host.disk.holds(record.revision)
}
