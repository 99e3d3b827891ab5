//! What enters the alert log and what ends it.

use crate::model::Position;
use crate::model::limits::{CERTIFICATE_WARN_DAYS, ROOM_SPARE};
use crate::protocol::alerts::{AlertKind, NewAlert, Severity};
use crate::protocol::engine::alerts::{self, Subject, texts};
use crate::protocol::engine::{
    Action, Alert, AlertChange, CommandRefusal, DiskFailure, Engine, Moment, Mutant, Notice, Now, RepairKind,
    RoleReason, Room, Transition,
};
use crate::protocol::failover::{NodeState, micros};
use crate::protocol::wire::RefusalKind;

impl Engine {
    /// Enters an alert, makes it durable and tells the host. What only occurs again is written and told less often.
    pub(in super::super) fn raise(&mut self, now: Now, alert: NewAlert) {
        let (kind, subject) = (alert.kind, alert.subject.clone());
        let standing = self.alerts.log().alerts().iter().find(|alert| (alert.kind, &alert.subject) == (kind, &subject));
        let before = standing.map(|alert| alert.severity);
        let (change, alert) = self.alerts.raise(now, alert);
        let worse = before.is_some_and(|before| before < alert.severity);
        let again = change == AlertChange::Updated && !alert.kind.is_news_each_time() && !worse;
        match again {
            false => self.durable.alerts_changed(now.at, alert.kind.is_driven_from_outside()),
            true => self.durable.alert_counted(now.at),
        }
        if !again || self.alerts.tell_again(now.at, alert.id) {
            self.out.push(Action::Notify(Notice::Alert { change, alert }));
        }
    }

    /// Ends the alerts that fit, and returns them.
    pub(in super::super) fn clear(&mut self, now: Now, fits: impl Fn(&Alert) -> bool) -> Vec<Alert> {
        let ended = self.alerts.clear(fits);
        self.notify_ended(now, &ended);
        ended
    }

    /// Tokens and alerts that are over by themselves, and occurrences that the host was not told of yet.
    pub(in super::super) fn advance_alerts(&mut self, now: Now) {
        self.durable.expire_tokens(now.wall_ms);
        let ended = self.alerts.end_quiet(now.wall_ms);
        self.notify_ended(now, &ended);
        for alert in self.alerts.take_untold(now.at) {
            self.out.push(Action::Notify(Notice::Alert { change: AlertChange::Updated, alert }));
        }
    }

    pub(super) fn alert_log_deadlines(&self, now: Now) -> [Option<Moment>; 4] {
        let states = self.operator_states_deadline(now);
        [self.alerts.quiet_deadline(now), self.alerts.untold_deadline(), self.durable.token_deadline(now), states]
    }

    fn notify_ended(&mut self, now: Now, ended: &[Alert]) {
        for alert in ended {
            self.durable.alerts_changed(now.at, alert.kind.is_driven_from_outside());
            self.out.push(Action::Notify(Notice::Alert { change: AlertChange::Cleared, alert: alert.clone() }));
        }
    }

    /// The wall clock is looked at with every event, so that nothing that was noted by it lasts longer because it was set.
    pub(in super::super) fn notice_clock_step(&mut self, now: Now) {
        if self.setup.makes(Mutant::TrustsWallClock) {
            return;
        }
        if let Some(step) = self.durable.look_at_wall_clock(now) {
            self.alerts.clock_set(step);
        }
    }

    // The store.

    /// Recovery found damage: this node's copy does not count as complete before it is repaired.
    pub(in super::super) fn found_damage(&mut self, now: Now, damage: Option<String>) {
        if let Some(damage) = damage {
            self.durable.assume_complete(false);
            self.raise(now, NewAlert::new(AlertKind::DiskTrouble, Subject::ThisNode, texts::damaged(&damage)));
            self.log.set_damage(damage);
        }
    }

    pub(super) fn disk_trouble(&mut self, now: Now, failure: &DiskFailure) {
        let message = texts::disk_trouble(failure.full, &failure.reason);
        self.raise(now, NewAlert::new(AlertKind::DiskTrouble, Subject::ThisNode, message));
    }

    /// The store is in trouble outside a batch. The master of a shadow hears of it too. A store whose disk is not just full is
    /// closed, so this node must not go on as if the next write could succeed.
    pub(in super::super) fn store_trouble(&mut self, now: Now, reason: String, full: bool) {
        self.disk_trouble(now, &DiskFailure { full, reason: reason.clone() });
        self.report_disk_to_source(now, full, reason);
        if !full && !self.shutdown.is_under_way() {
            self.end_doubt(|reason| CommandRefusal::InDoubt { reason });
            self.transition(now, Transition::StoreFailed, RoleReason::DiskTrouble);
        }
    }

    /// Something was written: trouble with this node's disk is over.
    pub(super) fn disk_works(&mut self, now: Now) {
        self.disk_ended(now, Subject::ThisNode);
    }

    /// So much room is left. What is too little is said before the disk is full.
    pub(in super::super) fn room_left(&mut self, now: Now, Room { needed, free }: Room) {
        let stands = self.alerts.stands_about(AlertKind::DiskTrouble, Subject::Room);
        if free < needed && !stands {
            let alert = NewAlert::new(AlertKind::DiskTrouble, Subject::Room, texts::little_room(needed, free));
            self.raise(now, NewAlert { severity: Some(Severity::Warning), ..alert });
        } else if stands && free >= needed.saturating_add(needed / ROOM_SPARE) {
            self.clear(now, |alert| alert.kind == AlertKind::DiskTrouble && Subject::Room.is_of(alert));
        }
    }

    /// Whether lines of the audit log cannot be written. Nothing else waits for them.
    pub(in super::super) fn audit_trouble(&mut self, now: Now, reason: Option<String>) {
        let stands = self.alerts.stands_about(AlertKind::DiskTrouble, Subject::Audit);
        match reason {
            Some(reason) if !stands => {
                let alert = NewAlert::new(AlertKind::DiskTrouble, Subject::Audit, texts::no_audit(&reason));
                self.raise(now, NewAlert { severity: Some(Severity::Warning), ..alert });
            }
            None if stands => {
                self.clear(now, |alert| alert.kind == AlertKind::DiskTrouble && Subject::Audit.is_of(alert));
            }
            _ => {}
        }
    }

    /// A batch has been under way for this long.
    pub(super) fn slow_disk(&mut self, now: Now, us: u64) {
        self.raise(now, NewAlert::new(AlertKind::DiskTrouble, Subject::Disk, texts::slow_disk(us)));
    }

    /// Ends the alerts about trouble with the disk that have this subject.
    pub(super) fn disk_ended(&mut self, now: Now, subject: Subject) {
        let ended = self.clear(now, |alert| alert.kind == AlertKind::DiskTrouble && subject.is_of(alert));
        for alert in ended {
            let seconds = now.wall_ms.saturating_sub(alert.first_ms) / 1_000;
            self.raise(now, NewAlert::new(AlertKind::Recovered, Subject::Peer, texts::disk_recovered(seconds, &alert)));
        }
    }

    // Pushes, and a peer that stays away.

    /// A session ended with this much confirmed. The change sets after it count as not pushed.
    pub(super) fn push_interrupted(&mut self, confirmed: Position) {
        if self.log.contains(confirmed.revision) {
            self.alerts.count_up_to(confirmed.revision.seq);
        }
    }

    /// Raises the alerts about change sets that could not be pushed, and about a peer that stays away.
    pub(in super::super) fn count_failed_pushes(&mut self, now: Now) {
        if self.authority.state() == NodeState::Following {
            self.report_lost_master(now);
        }
        let hides = self.setup.makes(Mutant::HidesFailedPushes);
        if !self.authority.is_leading() || self.durable.peer.is_none() || hides {
            return;
        }
        if self.session.is_live() {
            let confirmed = self.session.confirmed().map_or(0, |position| position.revision.seq);
            self.alerts.count_up_to(confirmed);
        } else {
            self.count_unpushed(now);
        }
        let lost_us = self.setup.timing.shadow_lost_us;
        let away = self.links.down_since().is_some_and(|since| now.at.0 >= since.0 + lost_us);
        if away && !self.alerts.is_peer_lost() {
            self.alerts.set_peer_lost();
            let (_, why) = self.link_state();
            self.raise(now, NewAlert::new(AlertKind::ShadowLost, Subject::Peer, texts::shadow_lost(&why)));
        }
    }

    /// On a shadow: raises the alert that the master is silent and that this node does not take over by itself.
    fn report_lost_master(&mut self, now: Now) {
        let unreported = self.durable.peer.is_some() && !self.alerts.is_peer_lost();
        let Some(since) = self.links.down_since().filter(|_| unreported) else { return };
        if now.at.0 < since.0 + self.setup.timing.delay_us {
            return;
        }
        let blockers = self.takeover_conditions(now.at, now.wall_ms).blockers();
        if blockers.is_empty() {
            return;
        }
        self.alerts.set_peer_lost();
        let silent_ms = now.at.0.saturating_sub(since.0) / 1_000;
        self.raise(now, NewAlert::new(AlertKind::ShadowLost, Subject::Peer, texts::master_lost(silent_ms, &blockers)));
    }

    fn count_unpushed(&mut self, now: Now) {
        let head = self.log.revision();
        let Some((times, from)) = self.alerts.uncounted(head) else { return };
        // A session that is about to begin is no failure.
        let beginning = self.links.active_id().is_some() && self.session.confirmed().is_none();
        // Nor is a shadow that was enrolled a moment ago, or a node that started a moment ago, and is being dialled.
        let lost_us = self.setup.timing.shadow_lost_us;
        let recent = self.links.down_since().is_some_and(|since| now.at.0 < since.0 + lost_us);
        if beginning || (recent && !self.links.was_up()) {
            return;
        }
        self.alerts.count_up_to(head.seq);
        let (state, why) = self.link_state();
        let alert = NewAlert::new(AlertKind::PushFailed, Subject::Peer, texts::not_pushed(state, &why));
        self.raise(now, NewAlert { times, revisions: Some((from, head)), ..alert });
    }

    pub(super) fn alerts_deadline(&self) -> Option<Moment> {
        let unreported = self.durable.peer.is_some() && !self.alerts.is_peer_lost();
        let since = self.links.down_since().filter(|_| unreported)?;
        match self.authority.state() {
            NodeState::Following => Some(Moment(since.0 + self.setup.timing.delay_us)),
            NodeState::Serving | NodeState::Stalled => Some(Moment(since.0 + self.setup.timing.shadow_lost_us)),
            _ => None,
        }
    }

    /// The shadow is in sync again: the failures end, and one warning tells what they were.
    pub(super) fn recovered(&mut self, now: Now, how: RepairKind) {
        self.alerts.count_up_to(self.log.revision().seq);
        if self.setup.makes(Mutant::KeepsFailures) {
            return self.alerts.peer_answers();
        }
        let ended = self.alerts.in_sync();
        self.notify_ended(now, &ended);
        if let Some(warning) = alerts::recovered(now, how, &ended) {
            self.raise(now, warning);
        }
    }

    /// On the shadow: it is in sync again, so the alerts about the link or an earlier role end.
    pub(super) fn shadow_recovered(&mut self, now: Now) {
        let ended = self.alerts.in_sync();
        self.notify_ended(now, &ended);
    }

    // The peer.

    pub(super) fn refusal_alert(&mut self, now: Now, kind: RefusalKind, reason: &str) {
        let reason = match kind {
            RefusalKind::DuplicateIdentity => texts::duplicate_here(reason),
            _ => reason.to_owned(),
        };
        let subject = if kind == RefusalKind::DuplicateIdentity { Subject::ThisNode } else { Subject::Peer };
        let alert = match kind {
            RefusalKind::DuplicateIdentity => AlertKind::DuplicateNode,
            RefusalKind::VersionMismatch | RefusalKind::Schema => AlertKind::VersionMismatch,
            RefusalKind::DataKey => AlertKind::KeyMismatch,
            RefusalKind::WrongPair | RefusalKind::Blank | RefusalKind::ProtocolError => AlertKind::UnpermittedPeer,
            RefusalKind::ForeignHistory => AlertKind::Diverged,
            _ => return,
        };
        let repeated = self.links.refusal().is_some_and(|refusal| refusal.kind == Some(kind));
        // The alert about a stranger goes when no more comes of it, so what comes is counted.
        let counts = !repeated || alert == AlertKind::UnpermittedPeer;
        if counts || !self.alerts.stands_about(alert, subject) {
            self.raise(now, NewAlert::new(alert, subject, reason));
        }
    }

    pub(super) fn check_skew(&mut self, now: Now, theirs_ms: u64) {
        let skew_us = now.wall_ms.abs_diff(theirs_ms).saturating_mul(1_000);
        let bound_us = micros(self.setup.options.clock_skew_warn);
        let before_us = self.alerts.note_skew(skew_us);
        if skew_us > bound_us && before_us <= bound_us {
            let message = texts::clock_skew(skew_us / 1_000_000);
            self.raise(now, NewAlert::new(AlertKind::ClockSkew, Subject::Peer, message));
        } else if skew_us <= bound_us && self.alerts.stands(AlertKind::ClockSkew) {
            self.clear(now, |alert| alert.kind == AlertKind::ClockSkew);
        }
    }

    /// Raises or ends the alert that the mean round trip is too long for the takeover delay.
    pub(super) fn check_round_trip(&mut self, now: Now) {
        let Some(round_trip_us) = self.links.round_trip_us() else { return };
        let delay_us = self.setup.timing.delay_us;
        let (slow, stands) = (round_trip_us > delay_us / 2, self.alerts.stands(AlertKind::SlowLink));
        if slow && !stands {
            let message = texts::slow_link(round_trip_us, delay_us);
            self.raise(now, NewAlert::new(AlertKind::SlowLink, Subject::Peer, message));
        } else if !slow && stands {
            self.clear(now, |alert| alert.kind == AlertKind::SlowLink);
        }
    }

    pub(in super::super) fn unpermitted(&mut self, now: Now, from: String, reason: &str, times: u64) {
        let message = texts::unpermitted(&from, reason);
        let subject = self.alerts.subject_of_stranger(from);
        let alert = NewAlert::new(AlertKind::UnpermittedPeer, subject, message);
        self.raise(now, NewAlert { times: times.max(1), ..alert });
    }

    /// So many days are left of a certificate. A clock that was wrong may have said that they are few.
    pub(in super::super) fn certificate_ends_in(&mut self, now: Now, subject: String, days: u64) {
        self.renew_in_time(days);
        if days >= CERTIFICATE_WARN_DAYS {
            let over = |alert: &Alert| alert.kind == AlertKind::CertificateExpiring && alert.subject == subject;
            self.clear(now, over);
            return;
        }
        let message = texts::certificate_expiring(&subject, days);
        self.raise(now, NewAlert::new(AlertKind::CertificateExpiring, subject, message));
    }
}
