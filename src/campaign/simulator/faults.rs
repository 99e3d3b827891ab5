//! Carries out the steps: commits, faults, commands of operators.

use super::byzantine_peer::{self, VictimView};
use super::expected_settings::{ExpectedSettings, token_secret};
use super::machine::Caller;
use super::random::Random;
use super::schedule::Scheduled;
use super::step::{Step, Verb};
use super::store::{Change, Disk, ITEM_BYTES, Payload, Sent};
use super::world::World;
use crate::campaign::violation::{Checked, Invariant};
use crate::model::Position;
use crate::model::limits::TOKEN_LIFE_MAX;
use crate::protocol::engine::{Command, Event, Replication, StoredToken, Ticket};
use crate::protocol::failover::micros;
use crate::protocol::wire::Bulk;
use crate::testing::Side;

/// Carries out one step. A step that makes no sense now is skipped.
pub fn apply(world: &mut World, step: Step) -> Checked {
    world.journal.coverage.count_fault(has_effect(world, step), step);
    match step {
        Step::Run { us } => return world.run(us),
        Step::Commit { node, key, value, guarded } => return commit(world, node, (key, value), guarded),
        Step::Cut { from } => world.network.cut[from.index()] = true,
        Step::Heal { from } => world.heal(from),
        Step::Reset => world.reset(),
        Step::Latency { us } => world.network.latency_us = us,
        Step::FailDials { node, count } => world.machine(node).conditions.failing_dials = count,
        Step::Crash { node, silent, kept } => {
            if world.machine(node).engine.is_some() {
                return world.end(node, Some(kept), silent);
            }
        }
        Step::Start { node } => return world.start(node),
        Step::Pause { node } => {
            let now = world.now;
            let machine = world.machine(node);
            if machine.engine.is_some() {
                machine.paused_at.get_or_insert(now);
            }
        }
        Step::Resume { node, timer_first } => return resume(world, node, timer_first),
        Step::DiskFull { node, full } => world.machine(node).disk.faults.full = full,
        Step::FailSync { node, kept } => world.machine(node).disk.faults.fail_next = Some(kept),
        Step::DiskLatency { node, us } => world.machine(node).conditions.batch_us = us,
        Step::MayTakeOver { node, allowed } => world.machine(node).conditions.may_take_over = allowed,
        Step::Validation { node, accepts } => world.machine(node).conditions.accepts_pushes = accepts,
        Step::Operator { node, verb } => return operate(world, node, verb),
        Step::ByzantinePeer { node, seed } => return byzantine_message(world, node, seed),
        Step::CrashAt { node, silent, kept, actions } => {
            let machine = world.machine(node);
            machine.conditions.crash_at = machine.engine.is_some().then_some((actions, silent, kept));
        }
        Step::KeepCopy { node } => {
            let machine = world.machine(node);
            machine.conditions.old_disk = Some(Box::new(machine.disk.clone()));
        }
        Step::RollBack { node } => {
            // If nobody knows of the first epoch of the first master, nobody can tell that its empty disk was rolled back.
            let copy = world.machine(node).conditions.old_disk.clone();
            let known = |copy: &Disk| copy.head.position != Position::NONE || world.is_remembered(node);
            if let Some(copy) = copy.filter(|copy| known(copy)) {
                return roll_back(world, node, *copy);
            }
        }
        Step::Blank { node } if !world.is_remembered(node) => {}
        Step::Blank { node } => {
            let durable_state = world.initial_states[node.index()].clone();
            let mut blank = Disk::new(durable_state, world.plan.log_changes);
            if let Some(context) = &world.stores {
                blank.add_real_store(world.now, context)?;
            }
            return roll_back(world, node, blank);
        }
        Step::WallJump { node, ms } => world.machine(node).clock.set_wall(ms),
        Step::SlowConns { us } => world.network.slow_connections(us),
        Step::HalfReset { node } => {
            if world.machine(node).paused_at.is_none() {
                return world.half_reset(node);
            }
        }
        Step::Ghost { node, us } => world.ghost(node, us),
        Step::Witness { what } => world.witness.apply(what),
    }
    Ok(())
}

/// A caller commits.
fn commit(world: &mut World, node: Side, (key, value): (u8, Option<u64>), guarded: bool) -> Checked {
    world.journal.summary.steps += 1;
    let id = world.journal.summary.steps;
    let change = Change { id, key, value, guarded };
    let bytes = ITEM_BYTES;
    ask(world, node, Caller::Commit(change), |ticket| Event::Commit { ticket, bytes })
}

/// Whether a step has an effect now, as far as coverage counts it.
fn has_effect(world: &World, step: Step) -> bool {
    let machine = |node: Side| &world.machines[node.index()];
    match step {
        Step::Crash { node, .. } | Step::CrashAt { node, .. } | Step::Pause { node } | Step::Ghost { node, .. } => {
            machine(node).engine.is_some()
        }
        Step::RollBack { node } => machine(node).conditions.old_disk.is_some(),
        Step::HalfReset { node } => !machine(node).driver.links.is_empty(),
        _ => true,
    }
}

/// Power is cut, and the disk is replaced by an older copy.
fn roll_back(world: &mut World, node: Side, older: Disk) -> Checked {
    if world.machine(node).engine.is_some() {
        world.end(node, Some(0), false)?;
    }
    world.note_rollback(node);
    let machine = world.machine(node);
    let full = machine.disk.faults.full;
    machine.disk = older;
    machine.disk.faults.full = full;
    machine.disk.roll_back()?;
    machine.callers.settings = ExpectedSettings::of(&machine.disk.durable_state);
    world.oracle.disk_rolled_back(node);
    Ok(())
}

/// A caller or operator asks. While a node stands still, so do the threads of its callers.
fn ask(world: &mut World, node: Side, asked: Caller, event: impl FnOnce(Ticket) -> Event) -> Checked {
    if world.machine(node).paused_at.is_some() { Ok(()) } else { world.ask(node, asked, event) }
}

/// 1: a master that stood still for longer than its shadow waits has no authority when it wakes up.
pub fn resume(world: &mut World, node: Side, timer_first: bool) -> Checked {
    let now = world.now;
    let machine = world.machine(node);
    let Some(since) = machine.paused_at.take() else {
        return Ok(());
    };
    machine.driver.batch_since = now;
    let (from, to) = (machine.clock.at(since), machine.clock.at(now));
    if let Some(authority) = machine.engine.as_ref().map(|engine| engine.authority())
        && authority.serving
        && machine.disk.durable_state.peer.is_some()
    {
        let long = to.0 - from.0 > 500_000;
        Invariant::OneMaster.check(!long || to > authority.until, || {
            format!("{node:?} stood still for {} us and still has authority", to.0 - from.0)
        })?;
        machine.observed.unconfirmed_since = (to > authority.until).then_some(now);
    }
    world.deliver_deferred(node, timer_first);
    Ok(())
}

fn operate(world: &mut World, node: Side, verb: Verb) -> Checked {
    let first_alert = world.machine(node).disk.durable_state.alerts.first().map_or(0, |alert| alert.id);
    let command = match verb {
        Verb::Disconnect => Command::Disconnect,
        Verb::Reconnect => Command::Reconnect,
        Verb::Resync => {
            // The operator allows it: what the shadow has shown may be replaced.
            Side::BOTH.into_iter().for_each(|side| world.oracle.may_be_cut(side));
            world.note_resync(node);
            Command::Resync
        }
        Verb::TakeOver { accept_loss } => {
            world.machine(node).callers.takeover_ordered = true;
            if accept_loss { Command::TakeOverAcceptingLoss } else { Command::TakeOver }
        }
        Verb::Replicate { synchronous } => {
            if !synchronous && world.machine(node).engine.is_some() {
                world.exemptions.commits_do_not_wait();
            }
            Command::Replicate(if synchronous { Replication::Synchronous } else { Replication::Asynchronous })
        }
        Verb::Acknowledge => Command::Acknowledge { alert: first_alert },
        Verb::Shutdown => {
            let run = world.machine(node).run;
            let us = 2 * micros(world.machine(node).options.timeouts.drain);
            world.after(us, Scheduled::GivesUpDisk { side: node, run });
            Command::Shutdown
        }
        Verb::Enable => Command::Enable,
        Verb::Disable => Command::Disable,
        Verb::Token { secret } => Command::Token(token(world, node, secret)),
        Verb::ReplaceShadow { secret } => {
            // As with a reset.
            world.witness.regressed |= world.exemptions.rolled_back[node.index()];
            Command::ReplaceShadow(token(world, node, secret))
        }
        Verb::SwitchRoles => Command::SwitchRoles,
        Verb::Pause { on } => Command::Pause(on),
        Verb::Freeze { on } => Command::Freeze(on),
        Verb::Rotate => Command::Rotate,
        Verb::Reset => {
            // A disk that was rolled back and then loses its pairing is bound by nothing.
            world.witness.regressed |= world.exemptions.rolled_back[node.index()];
            Command::Reset
        }
    };
    let accepts = verb == (Verb::TakeOver { accept_loss: true });
    let asked = if accepts { Caller::AcceptsLoss } else { Caller::Operator((verb, first_alert)) };
    ask(world, node, asked, |ticket| Event::Command { ticket, command })
}

/// A join token of the longest life.
fn token(world: &World, node: Side, secret: u64) -> StoredToken {
    let life_ms = TOKEN_LIFE_MAX.as_millis() as u64;
    let expires_ms = world.machines[node.index()].clock.wall(world.now).saturating_add(life_ms);
    StoredToken { secret: token_secret(secret), expires_ms }
}

fn byzantine_message(world: &mut World, node: Side, seed: u64) -> Checked {
    let mut random = Random::new(seed);
    let machine = world.machine(node);
    let victim = VictimView {
        pair: machine.disk.durable_state.pair,
        sender: machine.disk.durable_state.peer.as_ref().map_or(machine.disk.node(), |peer| peer.node),
        head: machine.disk.head.position,
        history: machine.disk.head.history.clone(),
    };
    let Some(link) = machine.driver.links.keys().next_back().copied() else {
        return Ok(());
    };
    if machine.paused_at.is_some() {
        return Ok(());
    }
    if random.percent(20) {
        let what = byzantine_peer::bulk(&mut random, &victim);
        let payload = match what {
            Bulk::Records { .. } => Payload::Records(Sent::modelled(Vec::new())),
            Bulk::Snapshot { .. } => Payload::Snapshot(Sent::modelled(Vec::new())),
        };
        let bulk = world.keep_bulk(node, payload);
        let bytes = random.below(1 << 20) as usize;
        return world.event(node, Event::Bulk { link, bulk, what, bytes });
    }
    let message = byzantine_peer::message(&mut random, &victim);
    world.event(node, Event::Message { link, message })
}
