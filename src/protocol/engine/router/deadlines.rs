//! What the host is told of role and link, and when the engine wakes.

use crate::protocol::engine::{Action, Engine, Moment, Notice, Now};

/// How long a node without a peer sleeps at the most.
const IDLE_US: u64 = 3_600_000_000;
/// The shortest sleep. Work that must wait (a batch is in flight) continues with its own event: no timer polls for it.
const SLEEP_US_MIN: u64 = 1_000;

impl Engine {
    /// Tells the host what changed.
    pub(in super::super) fn notify_changes(&mut self) {
        let serving = self.authority.is_serving() && !self.shutdown.is_under_way();
        let (role, epoch) = (self.durable.role, self.epoch());
        if self.last_told.role(role, serving, epoch) {
            let reason = self.authority.reason();
            self.out.push(Action::Notify(Notice::Role { role, serving, epoch, reason }));
        }
        let (state, reason) = self.link_state();
        let refusal = self.links.refusal().and_then(|refusal| refusal.kind);
        if self.last_told.link(state, refusal) {
            self.out.push(Action::Notify(Notice::Link { state, reason }));
        }
    }

    /// Sets the timer to the next deadline. Nodes with a peer wake at every heartbeat interval at the least, so that a
    /// node that was stopped finds out soon.
    pub(in super::super) fn set_timer(&mut self, now: Now) {
        let idle_us = if self.durable.peer.is_some() { self.setup.timing.heartbeat_us } else { IDLE_US };
        let deadlines = [
            Some(Moment(now.at.0 + idle_us)),
            self.state_deadline(),
            self.links_deadline(),
            self.session.deadline(),
            self.durable.deadline(),
            self.slow_disk_deadline(),
            self.hung_disk_deadline(),
            self.alerts_deadline(),
            self.shutdown.deadline(),
            self.rotation.deadline(),
            self.replacement_deadline(),
        ];
        let witness = [self.witness_deadlines(), self.takeover_deadlines()].into_iter().flatten();
        let deadlines = deadlines.into_iter().chain(witness).chain(self.commits_deadlines());
        let deadlines = deadlines
            .chain(self.alert_log_deadlines(now))
            .chain(self.switchover.deadlines())
            .chain(self.rotation.retry_at());
        let soonest = Moment(now.at.0 + SLEEP_US_MIN);
        let due = deadlines.flatten().filter(|at| *at > now.at).min().unwrap_or(soonest).max(soonest);
        if self.last_told.timer(due) {
            self.out.push(Action::SetTimer { at: due });
        }
    }
}
