//! Does the steps: commits, faults, operators' words.

use super::byzantine_peer::{self, VictimView};
use super::expected_settings::{self, ExpectedSettings};
use super::node::{Caller, Payload};
use super::random::Random;
use super::step::{Side, Step, Verb};
use super::store::{self, Change, Disk, Sent};
use super::violation::{Checked, Invariant};
use super::world::{Scheduled, World};
use crate::model::Position;
use crate::protocol::engine::{Command, Event, Replication, StoredToken};
use crate::protocol::failover::micros;

/// Does one step. One that makes no sense now is skipped.
pub fn apply(world: &mut World, step: Step) -> Checked {
    world.coverage.fault(world_state(world, step), step);
    match step {
        Step::Run { us } => return world.run(us),
        Step::Commit { node, key, value, guarded } => return commit(world, node, (key, value), guarded),
        Step::Cut { from } => world.cut[from.index()] = true,
        Step::Heal { from } => world.heal(from),
        Step::Reset => world.reset(),
        Step::Latency { us } => world.latency_us = us,
        Step::FailDials { node, count } => world.host(node).fail_dials = count,
        Step::Crash { node, silent, kept } => {
            if world.host(node).engine.is_some() {
                return world.end(node, Some(kept), silent);
            }
        }
        Step::Start { node } => return world.start(node),
        Step::Pause { node } => {
            let now = world.now;
            let host = world.host(node);
            if host.engine.is_some() {
                host.paused_at.get_or_insert(now);
            }
        }
        Step::Resume { node, timer_first } => return resume(world, node, timer_first),
        Step::DiskFull { node, full } => world.host(node).disk.full = full,
        Step::FailSync { node, kept } => world.host(node).disk.fail_next = Some(kept),
        Step::DiskLatency { node, us } => world.host(node).disk_us = us,
        Step::MayTakeOver { node, allowed } => world.host(node).may_take_over = allowed,
        Step::Validation { node, accepts } => world.host(node).accepts = accepts,
        Step::Operator { node, verb } => return operate(world, node, verb),
        Step::Lie { node, seed } => return lie(world, node, seed),
        Step::CrashAt { node, silent, kept, actions } => {
            let host = world.host(node);
            host.crash_at = host.engine.is_some().then_some((actions, silent, kept));
        }
        Step::KeepCopy { node } => {
            let host = world.host(node);
            host.copy = Some(Box::new(host.disk.clone()));
        }
        Step::RollBack { node } => {
            // Where nobody has heard of the first master's first epoch, nobody can tell that a disk without one had it.
            let copy = world.host(node).copy.clone();
            let known = |copy: &Disk| copy.head.position != Position::NONE || world.is_remembered(node);
            if let Some(copy) = copy.filter(|copy| known(copy)) {
                return forget(world, node, *copy);
            }
        }
        Step::Blank { node } if !world.is_remembered(node) => {}
        Step::Blank { node } => {
            let durable_state = world.first[node.index()].clone();
            let mut blank = Disk::new(durable_state, world.plan.log_changes);
            if let Some(context) = &world.context {
                blank.stand_on(world.now, context)?;
            }
            return forget(world, node, blank);
        }
        Step::WallJump { node, ms } => world.host(node).clock.jumped_ms = ms,
        Step::SlowConns { us } => world.slow_connections(us),
        Step::HalfReset { node } => {
            if world.host(node).paused_at.is_none() {
                return world.half_reset(node);
            }
        }
        Step::Ghost { node, us } => world.ghost(node, us),
        Step::Witness { what } => world.strike(what),
    }
    Ok(())
}

/// A caller commits.
fn commit(world: &mut World, node: Side, (key, value): (u8, Option<u64>), guarded: bool) -> Checked {
    world.summary.steps += 1;
    let id = world.summary.steps;
    let change = Change { id, key, value, guarded };
    let bytes = store::ITEM_BYTES;
    ask(world, node, Caller::Commit(change), |ticket| Event::Commit { ticket, bytes })
}

/// Whether a step does something now, as far as that is to be counted.
fn world_state(world: &World, step: Step) -> bool {
    let host = |node: Side| &world.hosts[node.index()];
    match step {
        Step::Crash { node, .. } | Step::CrashAt { node, .. } | Step::Pause { node } | Step::Ghost { node, .. } => {
            host(node).engine.is_some()
        }
        Step::RollBack { node } => host(node).copy.is_some(),
        Step::HalfReset { node } => !host(node).links.is_empty(),
        _ => true,
    }
}

/// Power is cut, and the disk that comes back is an older one.
fn forget(world: &mut World, node: Side, older: Disk) -> Checked {
    if world.host(node).engine.is_some() {
        world.end(node, Some(0), false)?;
    }
    world.forgets(node);
    let host = world.host(node);
    let full = host.disk.full;
    host.disk = older;
    host.disk.full = full;
    host.disk.roll_back()?;
    host.said = ExpectedSettings::of(&host.disk.durable_state);
    world.oracle.forgot(node);
    Ok(())
}

/// Callers and operators of a node that stands still wait outside: their threads stand still too.
fn ask(
    world: &mut World,
    node: Side,
    asked: Caller,
    event: impl FnOnce(crate::protocol::engine::Ticket) -> Event,
) -> Checked {
    if world.host(node).paused_at.is_some() { Ok(()) } else { world.ask(node, asked, event) }
}

/// 1: a master that stood still for longer than its shadow waits is not covered when it wakes up.
pub fn resume(world: &mut World, node: Side, timer_first: bool) -> Checked {
    let now = world.now;
    let host = world.host(node);
    let Some(since) = host.paused_at.take() else { return Ok(()) };
    let (from, to) = (host.clock.at(since), host.clock.at(now));
    if let Some(cover) = host.engine.as_ref().map(|engine| engine.authority())
        && cover.serving
        && host.disk.durable_state.peer.is_some()
    {
        let long = to.0 - from.0 > 500_000;
        Invariant::OneMaster.check(!long || to > cover.until, || {
            format!("{node:?} stood still for {} us and still counts as covered", to.0 - from.0)
        })?;
        host.unconfirmed_since = (to > cover.until).then_some(now);
    }
    world.resume(node, timer_first);
    Ok(())
}

fn operate(world: &mut World, node: Side, verb: Verb) -> Checked {
    let first_alert = world.host(node).disk.durable_state.alerts.first().map_or(0, |alert| alert.id);
    let command = match verb {
        Verb::Disconnect => Command::Disconnect,
        Verb::Reconnect => Command::Reconnect,
        Verb::Resync => {
            // The operator's word: what the shadow has shown may be replaced.
            Side::BOTH.into_iter().for_each(|side| world.oracle.may_be_cut(side));
            world.resync_may_lose(node);
            Command::Resync
        }
        Verb::TakeOver { accept_loss } => {
            world.host(node).ordered = true;
            if accept_loss { Command::TakeOverAcceptingLoss } else { Command::TakeOver }
        }
        Verb::Replicate { synchronous } => {
            if !synchronous && world.host(node).engine.is_some() {
                world.exemptions.does_not_wait();
            }
            Command::Replicate(if synchronous { Replication::Synchronous } else { Replication::Asynchronous })
        }
        Verb::Acknowledge => Command::Acknowledge { alert: first_alert },
        Verb::Shutdown => {
            let run = world.host(node).run;
            let us = 2 * micros(world.host(node).options.drain_timeout);
            world.after(us, Scheduled::Abandon { side: node, run });
            Command::Shutdown
        }
        Verb::Enable => Command::Enable,
        Verb::Disable => Command::Disable,
        Verb::Token { secret } => {
            Command::Token(StoredToken { secret: expected_settings::token_secret(secret), expires_ms: u64::MAX })
        }
        Verb::Reset => {
            // A disk that forgot the record, and then the pairing, has nothing left to be bound by.
            world.register.regressed |= world.exemptions.rolled_back[node.index()];
            Command::Reset
        }
    };
    let accepts = verb == (Verb::TakeOver { accept_loss: true });
    let asked = if accepts { Caller::AcceptsLoss } else { Caller::Operator((verb, first_alert)) };
    ask(world, node, asked, |ticket| Event::Command { ticket, command })
}

fn lie(world: &mut World, node: Side, seed: u64) -> Checked {
    let mut random = Random::new(seed);
    let host = world.host(node);
    let log_view = VictimView {
        pair: host.disk.durable_state.pair,
        liar: host.disk.durable_state.peer.as_ref().map_or(host.disk.node(), |peer| peer.node),
        head: host.disk.head.position,
        history: host.disk.head.history.clone(),
    };
    let Some(link) = host.links.keys().next_back().copied() else { return Ok(()) };
    if host.paused_at.is_some() {
        return Ok(());
    }
    if random.percent(20) {
        let what = byzantine_peer::bulk(&mut random, &log_view);
        let payload = match what {
            crate::protocol::wire::Bulk::Records { .. } => Payload::Records(Sent::modelled(Vec::new())),
            crate::protocol::wire::Bulk::Snapshot { .. } => Payload::Snapshot(Sent::modelled(Vec::new())),
        };
        let bulk = world.keep_bulk(node, payload);
        let bytes = random.below(1 << 20) as usize;
        return world.event(node, Event::Bulk { link, bulk, what, bytes });
    }
    let message = byzantine_peer::message(&mut random, &log_view);
    world.event(node, Event::Message { link, message })
}
