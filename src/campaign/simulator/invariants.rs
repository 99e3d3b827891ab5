//! What must hold after every event.

use super::machine::Caller;
use super::oracle;
use super::step::Verb;
use super::world::World;
use crate::campaign::violation::{Checked, Invariant};
use crate::protocol::alerts::AlertKind;
use crate::protocol::engine::{EngineStatus, Failover, LinkState, TakeoverBlocker};
use crate::protocol::failover::micros;
use crate::protocol::wire::Role;
use crate::testing::Side;

/// Two masters that can hear each other for this long, microseconds, have found out: four takeover delays.
const TOUCH_US_MAX: u64 = 2_000_000;
/// A link that is back within this time, microseconds, was no failed push: some more than three heartbeat intervals.
const UNREPORTED_US_MAX: u64 = 400_000;
/// What a hold-down may last beyond its length, microseconds: a step of the wall clock that is too small to be noticed.
const HOLD_DOWN_SLACK_US: u64 = 11_000_000;
/// Longest time that a batch takes under a node that serves, microseconds: the disk timeout, the end of the host's hooks, the
/// error of a clock and a heartbeat.
const HUNG_US_MAX: u64 = 800_000 + 100_000 + 9_900 + 100_000;
/// Shortest silence before a takeover, microseconds: the takeover delay.
const SILENCE_US_MIN: u64 = 500_000;

impl World {
    /// 5: a shadow takes over by itself only after its master was silent for the takeover delay.
    pub fn check_takeover(&mut self, side: Side) -> Checked {
        let now_us = self.now;
        let byzantine = self.plan.byzantine;
        let machine = self.machine(side);
        let ordered = std::mem::take(&mut machine.callers.takeover_ordered);
        if machine.disk.durable_state.role == Role::Master || ordered || byzantine {
            return Ok(());
        }
        self.journal.summary.takeovers += 1;
        let machine = self.machine(side);
        // The record names this node: it continues a promotion that was interrupted, whoever began it. What this node read
        // counts. If the record has changed since, its swap changes nothing.
        let named = machine.read_record(now_us).is_some_and(|record| record.holder == machine.disk.node());
        let automatic = machine.options.failover == Failover::Automatic || named;
        let complete = machine.engine.as_ref().is_none_or(|engine| engine.durable_state().complete);
        Invariant::NoBlankMaster.check(automatic && complete, || {
            format!("{side:?} takes over by itself in {:?}, complete: {complete}", machine.options.failover)
        })?;
        if named {
            // The record already names this node. Whether the old master is still heard does not matter.
            return Ok(());
        }
        let other = side.other();
        if self.exemptions.rolled_back[other.index()]
            && self.machines[other.index()].disk.durable_state.role == Role::Shadow
        {
            // The node that was heard is no master: its disk was rolled back, and it is a shadow.
            return Ok(());
        }
        let machine = self.machine(side);
        // With a witness a node waits after its start as if it had just promised a lease.
        let from = if machine.witnessed {
            machine.observed.heard_at.or(Some(machine.observed.started_at))
        } else {
            machine.observed.heard_at
        };
        let silence = from.map(|heard| machine.clock.at(now_us).0.saturating_sub(heard.0));
        let least = if machine.witnessed { micros(machine.options.lease()) } else { SILENCE_US_MIN };
        Invariant::NoBlankMaster.check(named || silence.is_some_and(|us| us >= least), || {
            format!("{side:?} takes over after a silence of {silence:?} us")
        })
    }

    /// Everything that must hold after an event of this node.
    pub fn check_invariants(&mut self, side: Side) -> Checked {
        self.check_one_master()?;
        self.check_hung_disk(side)?;
        let now_us = self.now;
        let byzantine = self.plan.byzantine;
        let machine = &self.machines[side.index()];
        let Some(engine) = &machine.engine else {
            return Ok(());
        };
        let status = engine.status(machine.clock.at(now_us), machine.clock.wall(now_us));
        let durable_state = engine.durable_state();
        oracle::check_bounds(&status, durable_state)?;
        let timer = machine.driver.timer.is_some() || durable_state.peer.is_none();
        Invariant::Contract.check(timer, || format!("{side:?} has no timer"))?;
        self.oracle.check_visible(&machine.disk)?;
        machine.callers.settings.check_in_force(durable_state, &status.alerts, machine.clock.was_set)?;
        machine.callers.settings.check_stored(
            &machine.disk.durable_state,
            &machine.pending_calls(),
            machine.clock.was_set,
        )?;
        if byzantine {
            return Ok(());
        }
        self.check_rollback_alerts(side, &status)?;
        let machine = &self.machines[side.index()];
        self.oracle.check_serving(&machine.disk, &status)?;
        self.oracle.check_shown_stays(side, &machine.disk)?;
        let held_and_said = status.link.state != LinkState::Held || oracle::needs_operator(&status);
        Invariant::FailuresShow.check(held_and_said, || format!("{side:?} is held, and no error says so"))?;
        let lost = matches!(status.link.state, LinkState::Lost | LinkState::Held);
        let confirmed = durable_state.peer.as_ref().map(|peer| peer.confirmed);
        let behind = confirmed.is_some_and(|confirmed| machine.disk.unconfirmed_after(confirmed));
        let reported = status
            .alerts
            .iter()
            .any(|alert| matches!(alert.kind, AlertKind::PushFailed | AlertKind::PushRejected | AlertKind::ShadowLost));
        let silent = status.serving && lost && behind && !reported;
        let position = status.position.revision;
        let machine = self.machine(side);
        machine.observed.unreported_since = silent.then(|| machine.observed.unreported_since.unwrap_or(now_us));
        let unreported_us = machine.observed.unreported_since.map_or(0, |since| now_us - since);
        Invariant::FailuresShow.check(unreported_us <= UNREPORTED_US_MAX, || {
            format!("{side:?} is at {position} and its shadow at {confirmed:?}, without a link for {unreported_us} us, and no alert")
        })?;
        self.check_hold_down(side)?;
        if self.plan.witnessed { Ok(()) } else { self.check_two_masters() }
    }

    /// 7: a hold-down lasts no longer than it may, whatever the wall clock has shown.
    fn check_hold_down(&mut self, side: Side) -> Checked {
        let now_us = self.now;
        let machine = &mut self.machines[side.index()];
        let Some(engine) = &machine.engine else { return Ok(()) };
        let status = engine.status(machine.clock.at(now_us), machine.clock.wall(now_us));
        let held_down = status.why_not.contains(&TakeoverBlocker::HoldDown);
        // Another takeover may begin another one.
        let before = machine.observed.held_down.filter(|(_, epoch)| *epoch == status.epoch);
        machine.observed.held_down = held_down.then(|| before.unwrap_or((now_us, status.epoch)));
        let lasts_us = machine.observed.held_down.map_or(0, |(since, _)| now_us - since);
        let most_us = micros(machine.options.hold_down) + HOLD_DOWN_SLACK_US;
        Invariant::Bounded.check(lasts_us <= most_us, || format!("{side:?} is held down for {lasts_us} us"))
    }

    /// 6: a disk is called an older copy only where one is.
    fn check_rollback_alerts(&self, side: Side, status: &EngineStatus) -> Checked {
        let told = status.alerts.iter().find(|alert| alert.kind == AlertKind::RolledBack);
        let excused = self.exemptions.rolled_back != [false; 2] || self.witness.tampered || self.bug.is_some();
        Invariant::FailuresShow.check(told.is_none() || excused, || {
            format!("{side:?} says that a disk was rolled back, and none was: {:?}", told.map(|alert| &alert.message))
        })
    }

    /// 8: a node whose disk does not answer lets go of mastership, so that its peer can act.
    fn check_hung_disk(&self, side: Side) -> Checked {
        let machine = &self.machines[side.index()];
        let Some(engine) = &machine.engine else { return Ok(()) };
        let batch = machine.driver.batch.as_ref().filter(|batch| batch.is_bounded());
        let us = batch.map_or(0, |_| self.now - machine.driver.batch_since);
        // A node that stops has the bound of its shutdown instead, and takes nothing more.
        let mut callers = machine.callers.waiting.values();
        let stops = callers.any(|caller| matches!(caller, Caller::Operator((Verb::Shutdown, _))));
        let lets_go = stops || engine.durable_state().peer.is_none() || !engine.authority().serving;
        Invariant::HungDisk.check(us <= HUNG_US_MAX || lets_go, || {
            format!("{side:?} serves although its disk has not answered for {} ms", us / 1_000)
        })
    }

    /// 1: nodes that hear each other are not both masters for long.
    fn check_two_masters(&mut self) -> Checked {
        let serving = self.machines.iter().all(|machine| {
            machine.paused_at.is_none() && machine.engine.as_ref().is_some_and(|engine| engine.authority().serving)
        });
        let held = self.machines.iter().any(|machine| {
            let status = machine
                .engine
                .as_ref()
                .map(|engine| engine.status(machine.clock.at(self.now), machine.clock.wall(self.now)).link.state);
            status == Some(LinkState::Held)
        });
        let free = !self.is_unpaired()
            && !self.network.is_cut()
            && self.machines.iter().all(|h| h.conditions.failing_dials == 0 && h.paused_at.is_none());
        if !serving || !free || held {
            self.in_touch_since = None;
            return Ok(());
        }
        let now = self.now;
        let since = *self.in_touch_since.get_or_insert(now);
        Invariant::OneMaster.check(now - since <= TOUCH_US_MAX, || {
            format!("two masters, although nothing has kept them apart for {} ms", (now - since) / 1_000)
        })
    }

    /// Whether the pair is whole: one serving master, its shadow in sync, the same content.
    pub fn is_whole(&self) -> bool {
        let status = |side: Side| {
            let machine = &self.machines[side.index()];
            machine
                .engine
                .as_ref()
                .map(|engine| engine.status(machine.clock.at(self.now), machine.clock.wall(self.now)))
        };
        let (Some(a), Some(b)) = (status(Side::A), status(Side::B)) else {
            return false;
        };
        let roles = (a.role == Role::Master) != (b.role == Role::Master);
        roles && (a.serving != b.serving) && a.in_sync && b.in_sync && a.position == b.position
    }
}
