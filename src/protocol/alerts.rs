//! The alert log: the problems of now, each one once, with a count.

use serde::{Deserialize, Serialize};

use crate::model::Revision;
use crate::model::limits::{ALERTS_MAX, TEXT_BYTES_MAX};

/// The kind of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AlertKind {
    /// Change sets could not be pushed.
    PushFailed,
    /// The shadow's host refused pushed changes.
    PushRejected,
    /// The peer does not answer.
    ShadowLost,
    /// A node other than the permitted peer tried to connect or to enrol.
    UnpermittedPeer,
    /// The nodes have no common protocol or schema version.
    VersionMismatch,
    /// The data keys differ.
    KeyMismatch,
    /// The wall clocks of the two nodes differ by more than the bound.
    ClockSkew,
    /// Both nodes have the same position and different content.
    DigestMismatch,
    /// A certificate expires soon.
    CertificateExpiring,
    /// This node took over as master.
    Takeover,
    /// This node, a master, met another master.
    TwoMasters,
    /// Changes of a former master are in quarantine.
    Diverged,
    /// The witness does not answer.
    WitnessUnreachable,
    /// A disk is full or failed, here or on the peer.
    DiskTrouble,
    /// A problem is over. The message describes what it was.
    Recovered,
    /// The round trip to the peer is longer than the timings allow.
    SlowLink,
    /// Two nodes with one identity run: a data directory was copied.
    DuplicateNode,
    /// A disk holds less than its node is known to have stored: it is an older copy.
    RolledBack,
    /// The node is in a state that only a person ends. The subject names it.
    NeedsOperator,
}

/// How serious an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// For information; nothing needs to be done.
    Info,
    /// An operator should look at it within a day.
    Warning,
    /// The pair does not protect the configuration now, or needs an operator.
    Error,
}

/// One active alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Its number, by which an operator acknowledges it.
    pub id: u64,
    /// Its kind.
    pub kind: AlertKind,
    /// How serious it is.
    pub severity: Severity,
    /// What it is about: a peer, a disk, an address. At most one alert is active per kind and subject.
    pub subject: String,
    /// What happened and what to do.
    pub message: String,
    /// How often it occurred.
    pub count: u64,
    /// First occurrence, wall clock, milliseconds since 1970.
    pub first_ms: u64,
    /// Last occurrence, wall clock, milliseconds since 1970.
    pub last_ms: u64,
    /// First and last change set that it concerns.
    pub revisions: Option<(Revision, Revision)>,
    /// Whether an operator has acknowledged it.
    pub acknowledged: bool,
}

/// How an alert changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertChange {
    /// It is a new alert.
    Raised,
    /// It occurred again, or was acknowledged.
    Updated,
    /// It was removed.
    Cleared,
}

/// The active alerts. At most [`ALERTS_MAX`]: a further one replaces the oldest acknowledged alert, or else the oldest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertLog {
    alerts: Vec<Alert>,
    next: u64,
}

/// An occurrence to add to the log.
#[derive(Clone, Debug)]
pub struct NewAlert {
    /// Its kind.
    pub kind: AlertKind,
    /// How serious it is, where it differs from its kind. One that becomes more serious is no longer acknowledged.
    pub severity: Option<Severity>,
    /// What it is about.
    pub subject: String,
    /// What happened and what to do.
    pub message: String,
    /// How many occurrences this adds.
    pub times: u64,
    /// First and last change set that it concerns.
    pub revisions: Option<(Revision, Revision)>,
}

impl NewAlert {
    /// One occurrence.
    pub fn new(kind: AlertKind, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, severity: None, subject: subject.into(), message: message.into(), times: 1, revisions: None }
    }
}

impl AlertKind {
    /// The stable word for this kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PushFailed => "push_failed",
            Self::PushRejected => "push_rejected",
            Self::ShadowLost => "shadow_lost",
            Self::UnpermittedPeer => "unpermitted_peer",
            Self::VersionMismatch => "version_mismatch",
            Self::KeyMismatch => "key_mismatch",
            Self::ClockSkew => "clock_skew",
            Self::DigestMismatch => "digest_mismatch",
            Self::CertificateExpiring => "certificate_expiring",
            Self::Takeover => "takeover",
            Self::TwoMasters => "two_masters",
            Self::Diverged => "diverged",
            Self::WitnessUnreachable => "witness_unreachable",
            Self::DiskTrouble => "disk_trouble",
            Self::Recovered => "recovered",
            Self::SlowLink => "slow_link",
            Self::NeedsOperator => "needs_operator",
            Self::DuplicateNode => "duplicate_node",
            Self::RolledBack => "rolled_back",
        }
    }

    /// How serious this kind is.
    pub fn severity(self) -> Severity {
        match self {
            Self::UnpermittedPeer
            | Self::ClockSkew
            | Self::CertificateExpiring
            | Self::Takeover
            | Self::Recovered
            | Self::SlowLink => Severity::Warning,
            _ => Severity::Error,
        }
    }

    /// Whether it ends when the shadow is in sync again. The end is reported as [`AlertKind::Recovered`].
    pub fn ends_in_sync(self) -> bool {
        matches!(
            self,
            Self::PushFailed
                | Self::PushRejected
                | Self::ShadowLost
                | Self::DigestMismatch
                | Self::VersionMismatch
                | Self::KeyMismatch
        )
    }

    /// Whether an occurrence is news although an operator has seen the one before: it tells of something else. The occurrences of
    /// other kinds are the same trouble, which stays acknowledged.
    pub fn is_news_each_time(self) -> bool {
        matches!(self, Self::Takeover | Self::TwoMasters | Self::Diverged | Self::RolledBack | Self::Recovered)
    }

    /// Whether a network, a peer or a stranger can make it begin and end as often as they like.
    pub fn is_driven_from_outside(self) -> bool {
        matches!(
            self,
            Self::PushFailed
                | Self::ShadowLost
                | Self::UnpermittedPeer
                | Self::VersionMismatch
                | Self::KeyMismatch
                | Self::ClockSkew
                | Self::WitnessUnreachable
                | Self::SlowLink
                | Self::Recovered
                | Self::DuplicateNode
                | Self::NeedsOperator
        )
    }

    /// Whether it reports a past event. Such an alert stays until an operator acknowledges it, and is removed at the next start.
    pub fn is_event(self) -> bool {
        matches!(
            self,
            Self::Takeover
                | Self::TwoMasters
                | Self::UnpermittedPeer
                | Self::Recovered
                | Self::DuplicateNode
                | Self::RolledBack
        )
    }
}

impl Severity {
    /// The stable word for this severity.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl AlertLog {
    /// The log after a restart, from the alerts that were active before it.
    pub fn restore(mut alerts: Vec<Alert>, next: u64) -> Self {
        alerts.retain(|alert| !(alert.acknowledged && alert.kind.is_event()));
        Self { alerts, next: next.max(1) }
    }

    /// The active alerts.
    pub fn alerts(&self) -> &[Alert] {
        &self.alerts
    }

    /// The number of the next alert.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The first active alert of this kind, whatever its subject.
    pub fn find(&self, kind: AlertKind) -> Option<&Alert> {
        self.alerts.iter().find(|alert| alert.kind == kind)
    }

    /// Adds an occurrence: to the active alert of the same kind and subject, or else as a new alert. An alert that was
    /// acknowledged stays so, unless the occurrence is news ([`AlertKind::is_news_each_time`]).
    pub fn raise(&mut self, new: NewAlert, wall_ms: u64) -> (AlertChange, Alert) {
        let subject = cut(new.subject);
        let message = cut(new.message);
        let severity = new.severity.unwrap_or(new.kind.severity());
        let active = self.alerts.iter_mut().find(|alert| alert.kind == new.kind && alert.subject == subject);
        if let Some(alert) = active {
            alert.count = alert.count.saturating_add(new.times);
            alert.last_ms = wall_ms.max(alert.first_ms);
            alert.message = message;
            alert.acknowledged &= !alert.kind.is_news_each_time() && severity <= alert.severity;
            alert.severity = severity;
            alert.revisions = match (alert.revisions, new.revisions) {
                (Some((from, _)), Some((_, to))) => Some((from, to)),
                (before, added) => added.or(before),
            };
            return (AlertChange::Updated, alert.clone());
        }
        self.make_room();
        let alert = Alert {
            id: self.next,
            kind: new.kind,
            severity,
            subject,
            message,
            count: new.times,
            first_ms: wall_ms,
            last_ms: wall_ms,
            revisions: new.revisions,
            acknowledged: false,
        };
        self.next += 1;
        self.alerts.push(alert.clone());
        (AlertChange::Raised, alert)
    }

    /// Changes every active alert.
    pub fn for_each(&mut self, change: impl FnMut(&mut Alert)) {
        self.alerts.iter_mut().for_each(change);
    }

    /// Removes the alerts that match, and returns them.
    pub fn clear(&mut self, matches: impl Fn(&Alert) -> bool) -> Vec<Alert> {
        let (removed, kept) = self.alerts.drain(..).partition(|alert| matches(alert));
        self.alerts = kept;
        removed
    }

    /// Acknowledges an alert. An [`AlertKind::Recovered`] alert is removed. `None`: no alert has this number.
    pub fn acknowledge(&mut self, id: u64) -> Option<(AlertChange, Alert)> {
        let at = self.alerts.iter().position(|alert| alert.id == id)?;
        self.alerts[at].acknowledged = true;
        let alert = self.alerts[at].clone();
        if alert.kind == AlertKind::Recovered {
            self.alerts.remove(at);
            return Some((AlertChange::Cleared, alert));
        }
        Some((AlertChange::Updated, alert))
    }

    /// Removes all alerts, and returns them.
    pub fn forget(&mut self) -> Vec<Alert> {
        std::mem::take(&mut self.alerts)
    }

    fn make_room(&mut self) {
        while self.alerts.len() >= ALERTS_MAX {
            let oldest = |acknowledged: bool| {
                let alerts = self.alerts.iter().enumerate().filter(|(_, alert)| alert.acknowledged == acknowledged);
                alerts.min_by_key(|(_, alert)| alert.last_ms).map(|(at, _)| at)
            };
            let Some(at) = oldest(true).or_else(|| oldest(false)) else { return };
            self.alerts.remove(at);
        }
    }
}

/// Cuts a text to its bound, at a character boundary.
fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        let mut end = TEXT_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(times: u64) -> NewAlert {
        let revision = |seq| Revision::new(crate::model::Epoch::FIRST, seq);
        let alert = NewAlert::new(AlertKind::PushFailed, "peer", "no link");
        NewAlert { times, revisions: Some((revision(5), revision(5 + times))), ..alert }
    }

    #[test]
    fn another_occurrence_is_counted_and_adds_no_alert() {
        let mut alert_log = AlertLog::default();
        assert_eq!(alert_log.raise(failed(1), 10).0, AlertChange::Raised);
        let (change, alert) = alert_log.raise(failed(3), 20);
        assert_eq!((change, alert.count, alert.first_ms, alert.last_ms), (AlertChange::Updated, 4, 10, 20));
        assert_eq!(alert.revisions.map(|(from, to)| (from.seq, to.seq)), Some((5, 8)));
        assert_eq!(alert_log.alerts().len(), 1);
        assert_eq!(alert_log.raise(NewAlert::new(AlertKind::PushFailed, "other", ""), 30).0, AlertChange::Raised);
    }

    #[test]
    fn acknowledging_removes_a_recovery_and_keeps_a_problem() {
        let mut alert_log = AlertLog::restore(Vec::new(), 7);
        let (_, problem) = alert_log.raise(failed(1), 1);
        let (_, recovery) = alert_log.raise(NewAlert::new(AlertKind::Recovered, "peer", "it was away"), 2);
        assert_eq!((problem.id, recovery.id), (7, 8));
        assert_eq!(alert_log.acknowledge(7).map(|(change, _)| change), Some(AlertChange::Updated));
        assert_eq!(alert_log.acknowledge(8).map(|(change, _)| change), Some(AlertChange::Cleared));
        assert_eq!(alert_log.acknowledge(8), None);
        assert!(alert_log.alerts()[0].acknowledged && alert_log.alerts().len() == 1);
        alert_log.raise(failed(1), 3);
        assert!(alert_log.alerts()[0].acknowledged, "the same trouble stays acknowledged");
        let (_, takeover) = alert_log.raise(NewAlert::new(AlertKind::Takeover, "this node", "once"), 4);
        alert_log.acknowledge(takeover.id);
        let (_, again) = alert_log.raise(NewAlert::new(AlertKind::Takeover, "this node", "twice"), 5);
        assert!(!again.acknowledged, "another takeover is news");
    }

    fn occurrence(kind: AlertKind) -> NewAlert {
        NewAlert::new(kind, "peer", "what happened")
    }

    /// A log with one alert of this kind, or with none.
    fn alert_log(kind: AlertKind, state: &str) -> AlertLog {
        let mut alert_log = AlertLog::restore(Vec::new(), 1);
        if state != "absent" {
            alert_log.raise(occurrence(kind), 10);
        }
        if state == "acknowledged" {
            alert_log.acknowledge(1);
        }
        alert_log
    }

    fn happens(alert_log: &mut AlertLog, kind: AlertKind, event: &str) -> String {
        let outcome =
            |change: Option<(AlertChange, Alert)>| change.map_or("none".into(), |(change, _)| format!("{change:?}"));
        match event {
            "raise" => outcome(Some(alert_log.raise(occurrence(kind), 20))),
            "raise three at once" => outcome(Some(alert_log.raise(NewAlert { times: 3, ..occurrence(kind) }, 20))),
            "raise, clock set back" => outcome(Some(alert_log.raise(occurrence(kind), 5))),
            "raise of another subject" => {
                outcome(Some(alert_log.raise(NewAlert { subject: "other".into(), ..occurrence(kind) }, 20)))
            }
            "clear" => format!("{} gone", alert_log.clear(|alert| alert.kind == kind).len()),
            "clear of another kind" => format!("{} gone", alert_log.clear(|alert| alert.kind != kind).len()),
            "acknowledge" => outcome(alert_log.acknowledge(1)),
            "acknowledge another" => outcome(alert_log.acknowledge(9)),
            "forget" => format!("{} gone", alert_log.forget().len()),
            "restart" => {
                *alert_log = AlertLog::restore(alert_log.alerts().to_vec(), alert_log.next());
                "restored".into()
            }
            other => panic!("no event {other}"),
        }
    }

    /// Every state of an alert with every event, as a reviewed table. A problem stays until it ends. A past event stays until
    /// the first start after it was acknowledged. A recovery goes when it is acknowledged.
    #[test]
    fn every_state_of_an_alert_and_every_event() {
        const EVENTS: [&str; 10] = [
            "raise",
            "raise three at once",
            "raise, clock set back",
            "raise of another subject",
            "clear",
            "clear of another kind",
            "acknowledge",
            "acknowledge another",
            "forget",
            "restart",
        ];
        let mut table = String::new();
        for kind in [AlertKind::PushFailed, AlertKind::Takeover, AlertKind::Recovered] {
            for state in ["absent", "standing", "acknowledged"] {
                table.push_str(&format!("{} {state}\n", kind.as_str()));
                for event in EVENTS {
                    let mut alert_log = alert_log(kind, state);
                    let outcome = happens(&mut alert_log, kind, event);
                    let left = |alert: &Alert| {
                        let seen = if alert.acknowledged { ", seen" } else { "" };
                        let Alert { id, count, first_ms, last_ms, .. } = alert;
                        format!("{id}: x{count} {first_ms}..{last_ms}{seen}")
                    };
                    let left: Vec<String> = alert_log.alerts().iter().map(left).collect();
                    table.push_str(&format!(
                        "    {event}: {outcome} [{}], next {}\n",
                        left.join("; "),
                        alert_log.next()
                    ));
                }
            }
        }
        insta::assert_snapshot!("alerts", table);
    }

    #[test]
    fn the_log_and_its_texts_are_bounded() {
        let mut alert_log = AlertLog::default();
        for subject in 0..2 * ALERTS_MAX {
            let long = "é".repeat(TEXT_BYTES_MAX);
            alert_log.raise(NewAlert::new(AlertKind::UnpermittedPeer, subject.to_string(), long), subject as u64);
        }
        assert_eq!(alert_log.alerts().len(), ALERTS_MAX);
        assert_eq!(alert_log.alerts()[0].subject, ALERTS_MAX.to_string());
        assert_eq!(alert_log.alerts()[0].message.len(), TEXT_BYTES_MAX);
    }
}
