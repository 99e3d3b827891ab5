//! The engine simulator: two engines, a network, disks, clocks, hosts, callers and operators, drawn from a seed.
//!
//! `step` says what can be done to a pair and draws it; `world` holds what is under way between the nodes; `host` is one node
//! and the contract of its driver; `drive` carries out actions; `disk` is a model of the store; `oracle` is the judge, `said` what it knows of operators; `lie` is a
//! peer that cannot be trusted. The idea is FoundationDB's and TigerBeetle's: the shipping code, in a world that is worse
//! than the real one, replayable from a number.

mod disk;
mod drive;
mod host;
mod lie;
mod oracle;
mod random;
mod said;
mod step;
mod world;

pub(crate) use step::Plan;

use crate::protocol::engine::{Command, Event, TokenFacts};
use crate::testing::Summary;
use disk::Change;
use host::{Asked, Payload};
use lie::Ground;
use oracle::{Checked, Invariant, Violation};
use random::Random;
use step::{Side, Step, Verb};
use world::{Flaw, Frame, World};

/// Time within which a pair must be whole after the faults ended, microseconds: sixty takeover delays, and the hold-down.
const SETTLE_US: u64 = 30_000_000;
/// Lines that are shown of a story, from its end.
const STORY_LINES: usize = 400;
/// How often it is looked at.
const LOOK_US: u64 = 100_000;

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
    result.map(|()| world.summary)
}

fn play(world: &mut World) -> Checked {
    world.start(Side::A)?;
    world.start(Side::B)?;
    for step in world.plan.steps.clone() {
        world.summary.steps += 1;
        world.tell(|| format!("-- {step:?}"));
        apply(world, step)?;
    }
    if world.plan.hostile { Ok(()) } else { settle(world) }
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

/// Does one step. One that makes no sense now is skipped.
fn apply(world: &mut World, step: Step) -> Checked {
    match step {
        Step::Run { us } => return world.run(us),
        Step::Commit { node, key, value, guarded } => {
            world.summary.steps += 1;
            let id = world.summary.steps;
            let change = Change { id, key, value, guarded };
            let bytes = disk::ITEM_BYTES;
            return ask(world, node, Asked::Commit(change), |ticket| Event::Commit { ticket, bytes });
        }
        Step::Cut { from } => world.cut[from.index()] = true,
        Step::Heal { from } => world.heal(from),
        Step::Reset => reset(world),
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
    }
    Ok(())
}

/// Callers and operators of a node that stands still wait outside: their threads stand still too.
fn ask(
    world: &mut World,
    node: Side,
    asked: Asked,
    event: impl FnOnce(crate::protocol::engine::Ticket) -> Event,
) -> Checked {
    if world.host(node).paused_at.is_some() { Ok(()) } else { world.ask(node, asked, event) }
}

fn reset(world: &mut World) {
    for conn in 0..world.conns.len() {
        for to in Side::BOTH {
            if world.conns[conn].links[to.index()].is_some() {
                world.conns[conn].to[to.index()].clear();
                world.send(conn, to, Frame::Down("reset"));
            }
        }
    }
}

/// 1: a master that stood still for longer than its shadow waits is not covered when it wakes up.
fn resume(world: &mut World, node: Side, timer_first: bool) -> Checked {
    let now = world.now;
    let host = world.host(node);
    let Some(since) = host.paused_at.take() else { return Ok(()) };
    let (from, to) = (host.clock.at(since), host.clock.at(now));
    if let Some(cover) = host.engine.as_ref().map(|engine| engine.cover())
        && cover.serving
        && host.disk.facts.peer.is_some()
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
    let first_alert = world.host(node).disk.facts.alerts.first().map_or(0, |alert| alert.id);
    let command = match verb {
        Verb::Disconnect => Command::Disconnect,
        Verb::Reconnect => Command::Reconnect,
        Verb::Resync => {
            // The operator's word: what the shadow has shown may be replaced.
            Side::BOTH.into_iter().for_each(|side| world.oracle.may_be_cut(side));
            Command::Resync
        }
        Verb::TakeOver { accept_loss } => {
            world.host(node).ordered = true;
            Command::TakeOver { accept_loss }
        }
        Verb::Acknowledge => Command::Acknowledge { alert: first_alert },
        Verb::Shutdown => Command::Shutdown,
        Verb::Enable => Command::Enable,
        Verb::Disable => Command::Disable,
        Verb::Token { secret } => Command::Token(TokenFacts { secret: said::secret_of(secret), expires_ms: u64::MAX }),
        Verb::Reset => Command::Reset,
    };
    ask(world, node, Asked::Operator((verb, first_alert)), |ticket| Event::Command { ticket, command })
}

fn lie(world: &mut World, node: Side, seed: u64) -> Checked {
    let mut random = Random::new(seed);
    let host = world.host(node);
    let ground = Ground {
        pair: host.disk.facts.pair,
        liar: host.disk.facts.peer.as_ref().map_or(host.disk.node(), |peer| peer.node),
        head: host.disk.head.position,
        history: host.disk.head.history.clone(),
    };
    let Some(link) = host.links.keys().next_back().copied() else { return Ok(()) };
    if host.paused_at.is_some() {
        return Ok(());
    }
    if random.percent(20) {
        let what = lie::bulk(&mut random, &ground);
        let payload = match what {
            crate::protocol::wire::Bulk::Records { .. } => Payload::Records([].into()),
            crate::protocol::wire::Bulk::Snapshot { .. } => Payload::Snapshot([].into()),
        };
        let bulk = world.keep_bulk(node, payload);
        let bytes = random.below(1 << 20) as usize;
        return world.event(node, Event::Bulk { link, bulk, what, bytes });
    }
    let message = lie::message(&mut random, &ground);
    world.event(node, Event::Message { link, message })
}

/// 8: after the faults the pair is whole within a bound, or needs an operator and says so; 6: and its alerts tell one story.
fn settle(world: &mut World) -> Checked {
    world.tell(|| "-- the faults end".into());
    for side in Side::BOTH {
        world.heal(side);
        let host = world.host(side);
        (host.disk.full, host.disk.fail_next, host.disk_us) = (false, None, 100);
        (host.may_take_over, host.accepts, host.fail_dials) = (true, true, 0);
        resume(world, side, true)?;
        world.start(side)?;
    }
    world.latency_us = 500;
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
    Invariant::WholeAgain.check(world.whole(), || "the pair came together and fell apart without a fault".into())?;
    for host in &world.hosts {
        let Some(engine) = &host.engine else { continue };
        let status = engine.status(host.clock.at(world.now), host.clock.wall(world.now));
        if status.serving {
            oracle::failures_ended(&status)?;
        }
        let (asked, bulks) = (host.asked.len(), host.bulks.len());
        Invariant::Contract.check(asked == 0, || format!("{asked} callers of {:?} were never answered", host.side))?;
        Invariant::Contract
            .check(bulks == 0, || format!("{bulks} frames of bulk were never dropped by {:?}", host.side))?;
    }
    Ok(())
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

/// Words that say that an operator must decide.
const OPERATORS_WORDS: [&str; 4] = ["manual", "held", "detached", "refused"];

fn unsettled(world: &mut World) -> Checked {
    let status = |side: Side| {
        let host = &world.hosts[side.index()];
        host.engine.as_ref().map(|engine| engine.status(host.clock.at(world.now), host.clock.wall(world.now)))
    };
    let both = [status(Side::A), status(Side::B)];
    let named = both.iter().flatten().any(|status| {
        !status.link_reason.is_empty() && status.why_not.iter().any(|word| OPERATORS_WORDS.contains(word))
    });
    let short = both.iter().flatten().map(|status| {
        (status.role, status.serving, status.position.revision, status.link, &status.link_reason, &status.why_not)
    });
    let short: Vec<_> = short.collect();
    Invariant::WholeAgain.check(named, || format!("not whole after {} s: {short:?}", SETTLE_US / 1_000_000))?;
    world.summary.operator_needed += 1;
    Ok(())
}

#[cfg(test)]
mod tests;
