//! What must hold after every event, judged from both nodes' sides.

use super::oracle;
use super::step::Side;
use super::violation::{Checked, Invariant};
use super::world::World;
use crate::protocol::alerts::AlertKind;
use crate::protocol::engine::{Failover, LinkState};
use crate::protocol::failover::micros;
use crate::protocol::wire::Role;

/// Two masters that can hear each other this long (microseconds) ought to have found out: four takeover delays.
const TOUCH_US_MAX: u64 = 2_000_000;
/// A link that is back within three heartbeat intervals (microseconds, and some) was no failed push.
const UNTOLD_US_MAX: u64 = 400_000;
/// Takeover delay and clock error, microseconds: silence before a takeover is this long at the least.
const SILENCE_US_MIN: u64 = 500_000;

impl World {
    /// 5: a shadow becomes master by itself only after its master was silent for the delay.
    pub fn takes_over(&mut self, side: Side) -> Checked {
        let now_us = self.now;
        let hostile = self.plan.hostile;
        let host = self.host(side);
        let ordered = std::mem::take(&mut host.ordered);
        if host.disk.durable_state.role == Role::Master || ordered || hostile {
            return Ok(());
        }
        self.summary.takeovers += 1;
        let host = self.host(side);
        // A promotion that power interrupted is gone on with, whoever began it. What counts is what the node has read: where
        // the record is another by now, its swap changes nothing.
        let named = host.read_record(now_us).is_some_and(|record| record.holder == host.disk.node());
        let automatic = host.options.failover == Failover::Automatic || named;
        let complete = host.engine.as_ref().is_none_or(|engine| engine.durable_state().complete);
        Invariant::NoBlankMaster.check(automatic && complete, || {
            format!("{side:?} takes over by itself in {:?}, complete: {complete}", host.options.failover)
        })?;
        if named {
            // The register waits for nobody else: whether its master, which is none any more, is heard does not matter.
            return Ok(());
        }
        let other = side.other();
        if self.exemptions.rolled_back[other.index()]
            && self.hosts[other.index()].disk.durable_state.role == Role::Shadow
        {
            // Who was heard is no master: its disk was lost, and it is whatever it was at first.
            return Ok(());
        }
        let host = self.host(side);
        // With a witness it has promised to be silent for a lease, and counts as having promised it when it starts.
        let from = if host.witnessed { host.heard.or(Some(host.started)) } else { host.heard };
        let silence = from.map(|heard| host.clock.at(now_us).0.saturating_sub(heard.0));
        let least = if host.witnessed { micros(host.options.lease()) } else { SILENCE_US_MIN };
        Invariant::NoBlankMaster.check(named || silence.is_some_and(|us| us >= least), || {
            format!("{side:?} takes over after a silence of {silence:?} us")
        })
    }

    /// Everything that must hold after every step, from this node's side.
    pub fn judge(&mut self, side: Side) -> Checked {
        self.one_holder()?;
        let now_us = self.now;
        let hostile = self.plan.hostile;
        let host = &self.hosts[side.index()];
        let Some(engine) = &host.engine else { return Ok(()) };
        let status = engine.status(host.clock.at(now_us), host.clock.wall(now_us));
        let durable_state = engine.durable_state();
        oracle::bounded(&status, durable_state)?;
        let timer = host.timer.is_some() || durable_state.peer.is_none();
        Invariant::Contract.check(timer, || format!("{side:?} has no timer"))?;
        self.oracle.one_revision(&host.disk)?;
        host.said.in_force(durable_state, &status.alerts)?;
        host.said.stored(&host.disk.durable_state, &host.pending_calls())?;
        if hostile {
            return Ok(());
        }
        self.oracle.rightful(&host.disk, &status)?;
        self.oracle.shown_stays(side, &host.disk)?;
        let lost = matches!(status.link, LinkState::Lost | LinkState::Held);
        let confirmed = durable_state.peer.as_ref().map(|peer| peer.confirmed);
        let behind = confirmed.is_some_and(|confirmed| host.disk.unconfirmed_after(confirmed));
        let told = status
            .alerts
            .iter()
            .any(|alert| matches!(alert.kind, AlertKind::PushFailed | AlertKind::PushRejected | AlertKind::ShadowLost));
        let silent = status.serving && lost && behind && !told;
        let position = status.position.revision;
        let host = self.host(side);
        host.untold_since = silent.then(|| host.untold_since.unwrap_or(now_us));
        let untold_us = host.untold_since.map_or(0, |since| now_us - since);
        Invariant::FailuresShow.check(untold_us <= UNTOLD_US_MAX, || {
            format!("{side:?} is at {position} and its shadow at {confirmed:?}, without a link for {untold_us} us, and no alert")
        })?;
        if self.plan.witnessed { Ok(()) } else { self.two_masters() }
    }

    /// 1: nodes that hear each other are not both masters for long.
    fn two_masters(&mut self) -> Checked {
        let serving = self.hosts.iter().all(|host| {
            host.paused_at.is_none() && host.engine.as_ref().is_some_and(|engine| engine.authority().serving)
        });
        let held = self.hosts.iter().any(|host| {
            let status = host
                .engine
                .as_ref()
                .map(|engine| engine.status(host.clock.at(self.now), host.clock.wall(self.now)).link);
            status == Some(LinkState::Held)
        });
        let free = !self.unpaired()
            && !self.cut[0]
            && !self.cut[1]
            && self.hosts.iter().all(|h| h.fail_dials == 0 && h.paused_at.is_none());
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
    pub fn whole(&self) -> bool {
        let status = |side: Side| {
            let host = &self.hosts[side.index()];
            host.engine.as_ref().map(|engine| engine.status(host.clock.at(self.now), host.clock.wall(self.now)))
        };
        let (Some(a), Some(b)) = (status(Side::A), status(Side::B)) else { return false };
        let roles = (a.role == Role::Master) != (b.role == Role::Master);
        roles && (a.serving != b.serving) && a.in_sync && b.in_sync && a.position == b.position
    }
}
