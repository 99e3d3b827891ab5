//! The alert log: what is wrong now, each trouble once, counted.

use serde::{Deserialize, Serialize};

use crate::model::Revision;
use crate::model::limits::{ALERTS_MAX, TEXT_BYTES_MAX};

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AlertKind {
    /// Change sets could not be pushed.
    PushFailed,
    /// The shadow's host refused what was pushed.
    PushRejected,
    /// The peer does not answer.
    ShadowLost,
    /// Somebody who is not the permitted peer tried to connect or enrol.
    UnpermittedPeer,
    /// The peer speaks no common version.
    VersionMismatch,
    /// The data keys differ.
    KeyMismatch,
    /// The clocks differ.
    ClockSkew,
    /// Same position, different content.
    DigestMismatch,
    /// A certificate is about to expire.
    CertificateExpiring,
    /// This node took over.
    Takeover,
    /// Two masters met.
    TwoMasters,
    /// Changes of a former master are in quarantine.
    Diverged,
    /// The witness does not answer.
    WitnessUnreachable,
    /// The disk is full or failed, here or on the peer.
    DiskTrouble,
    /// Pushes succeed again: what the trouble was.
    Recovered,
    /// The round trip to the peer takes longer than the timings allow.
    SlowLink,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Look at it today.
    Warning,
    /// The pair does not protect now, or needs an operator.
    Error,
}

/// One trouble that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// By which it is acknowledged.
    pub id: u64,
    /// What it is.
    pub kind: AlertKind,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: a peer, a disk, an address. One alert stands per kind and subject.
    pub subject: String,
    /// What happened and what to do.
    pub message: String,
    /// Occurrences of the same trouble.
    pub count: u64,
    /// First time, wall clock, milliseconds since 1970.
    pub first_ms: u64,
    /// Last time.
    pub last_ms: u64,
    /// Change sets it concerns, first and last.
    pub revisions: Option<(Revision, Revision)>,
    /// An operator has seen it.
    pub acknowledged: bool,
}

/// How an alert changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertChange {
    /// It is new.
    Raised,
    /// It happened again.
    Updated,
    /// It is gone.
    Cleared,
}

/// What stands, each trouble once. Bounded: beyond [`ALERTS_MAX`] the oldest acknowledged, then the oldest, goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertLog {
    alerts: Vec<Alert>,
    next: u64,
}

/// A trouble to enter.
#[derive(Clone, Debug)]
pub struct NewAlert {
    /// What it is.
    pub kind: AlertKind,
    /// What it is about.
    pub subject: String,
    /// What happened and what to do.
    pub message: String,
    /// How often it happened now.
    pub times: u64,
    /// Change sets it concerns.
    pub revisions: Option<(Revision, Revision)>,
}

impl NewAlert {
    /// One occurrence.
    pub fn new(kind: AlertKind, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, subject: subject.into(), message: message.into(), times: 1, revisions: None }
    }
}

impl AlertKind {
    /// The stable word for it.
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
        }
    }

    /// How bad it is.
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

    /// Whether it ends when the shadow is in sync again, and then counts as an outage in [`AlertKind::Recovered`].
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
}

impl AlertKind {
    /// Whether it tells of something that is over: it stands until an operator has seen it, and goes with the next start.
    pub fn is_event(self) -> bool {
        matches!(self, Self::Takeover | Self::TwoMasters | Self::UnpermittedPeer | Self::Recovered)
    }
}

impl Severity {
    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl AlertLog {
    /// A book of what stood before a restart.
    pub fn restore(mut alerts: Vec<Alert>, next: u64) -> Self {
        alerts.retain(|alert| !(alert.acknowledged && alert.kind.is_event()));
        Self { alerts, next: next.max(1) }
    }

    /// What stands.
    pub fn alerts(&self) -> &[Alert] {
        &self.alerts
    }

    /// Number of the next alert.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The alert of this kind that stands, whatever its subject.
    pub fn find(&self, kind: AlertKind) -> Option<&Alert> {
        self.alerts.iter().find(|alert| alert.kind == kind)
    }

    /// Enters a trouble: a new alert, or one more occurrence of the one that stands.
    pub fn raise(&mut self, trouble: NewAlert, wall_ms: u64) -> (AlertChange, Alert) {
        let subject = cut(trouble.subject);
        let message = cut(trouble.message);
        let standing = self.alerts.iter_mut().find(|alert| alert.kind == trouble.kind && alert.subject == subject);
        if let Some(alert) = standing {
            alert.count = alert.count.saturating_add(trouble.times);
            alert.last_ms = wall_ms.max(alert.first_ms);
            alert.message = message;
            alert.acknowledged = false;
            alert.revisions = match (alert.revisions, trouble.revisions) {
                (Some((from, _)), Some((_, to))) => Some((from, to)),
                (before, now) => now.or(before),
            };
            return (AlertChange::Updated, alert.clone());
        }
        self.make_room();
        let alert = Alert {
            id: self.next,
            kind: trouble.kind,
            severity: trouble.kind.severity(),
            subject,
            message,
            count: trouble.times,
            first_ms: wall_ms,
            last_ms: wall_ms,
            revisions: trouble.revisions,
            acknowledged: false,
        };
        self.next += 1;
        self.alerts.push(alert.clone());
        (AlertChange::Raised, alert)
    }

    /// Removes what stands and fits, and returns it.
    pub fn clear(&mut self, fits: impl Fn(&Alert) -> bool) -> Vec<Alert> {
        let (gone, stay) = self.alerts.drain(..).partition(|alert| fits(alert));
        self.alerts = stay;
        gone
    }

    /// Marks an alert as seen; a [`AlertKind::Recovered`] one goes. `None`: there is none of this number.
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

    /// Forgets everything.
    pub fn forget(&mut self) -> Vec<Alert> {
        std::mem::take(&mut self.alerts)
    }

    fn make_room(&mut self) {
        while self.alerts.len() >= ALERTS_MAX {
            let oldest = |seen: bool| {
                let fit = self.alerts.iter().enumerate().filter(|(_, alert)| alert.acknowledged == seen);
                fit.min_by_key(|(_, alert)| alert.last_ms).map(|(at, _)| at)
            };
            let Some(at) = oldest(true).or_else(|| oldest(false)) else { return };
            self.alerts.remove(at);
        }
    }
}

/// Cuts a text to its bound, at a character.
pub fn cut(mut text: String) -> String {
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
        let trouble = NewAlert::new(AlertKind::PushFailed, "peer", "no link");
        NewAlert { times, revisions: Some((revision(5), revision(5 + times))), ..trouble }
    }

    #[test]
    fn the_same_trouble_counts_and_does_not_grow() {
        let mut alert_log = AlertLog::default();
        assert_eq!(alert_log.raise(failed(1), 10).0, AlertChange::Raised);
        let (change, alert) = alert_log.raise(failed(3), 20);
        assert_eq!((change, alert.count, alert.first_ms, alert.last_ms), (AlertChange::Updated, 4, 10, 20));
        assert_eq!(alert.revisions.map(|(from, to)| (from.seq, to.seq)), Some((5, 8)));
        assert_eq!(alert_log.alerts().len(), 1);
        assert_eq!(alert_log.raise(NewAlert::new(AlertKind::PushFailed, "other", ""), 30).0, AlertChange::Raised);
    }

    #[test]
    fn an_acknowledged_recovery_goes_and_a_trouble_stays() {
        let mut alert_log = AlertLog::restore(Vec::new(), 7);
        let (_, trouble) = alert_log.raise(failed(1), 1);
        let (_, story) = alert_log.raise(NewAlert::new(AlertKind::Recovered, "peer", "it was away"), 2);
        assert_eq!((trouble.id, story.id), (7, 8));
        assert_eq!(alert_log.acknowledge(7).map(|(change, _)| change), Some(AlertChange::Updated));
        assert_eq!(alert_log.acknowledge(8).map(|(change, _)| change), Some(AlertChange::Cleared));
        assert_eq!(alert_log.acknowledge(8), None);
        assert!(alert_log.alerts()[0].acknowledged && alert_log.alerts().len() == 1);
        alert_log.raise(failed(1), 3);
        assert!(!alert_log.alerts()[0].acknowledged, "it happened again after it was seen");
    }

    fn trouble(kind: AlertKind) -> NewAlert {
        NewAlert::new(kind, "peer", "what happened")
    }

    /// A book with one alert of this kind, or with none.
    fn alert_log(kind: AlertKind, state: &str) -> AlertLog {
        let mut alert_log = AlertLog::restore(Vec::new(), 1);
        if state != "absent" {
            alert_log.raise(trouble(kind), 10);
        }
        if state == "acknowledged" {
            alert_log.acknowledge(1);
        }
        alert_log
    }

    fn happens(alert_log: &mut AlertLog, kind: AlertKind, event: &str) -> String {
        let told =
            |change: Option<(AlertChange, Alert)>| change.map_or("none".into(), |(change, _)| format!("{change:?}"));
        match event {
            "raise" => told(Some(alert_log.raise(trouble(kind), 20))),
            "raise three at once" => told(Some(alert_log.raise(NewAlert { times: 3, ..trouble(kind) }, 20))),
            "raise, clock set back" => told(Some(alert_log.raise(trouble(kind), 5))),
            "raise of another subject" => {
                told(Some(alert_log.raise(NewAlert { subject: "other".into(), ..trouble(kind) }, 20)))
            }
            "clear" => format!("{} gone", alert_log.clear(|alert| alert.kind == kind).len()),
            "clear of another kind" => format!("{} gone", alert_log.clear(|alert| alert.kind != kind).len()),
            "acknowledge" => told(alert_log.acknowledge(1)),
            "acknowledge another" => told(alert_log.acknowledge(9)),
            "forget" => format!("{} gone", alert_log.forget().len()),
            "restart" => {
                *alert_log = AlertLog::restore(alert_log.alerts().to_vec(), alert_log.next());
                "restored".into()
            }
            other => panic!("no event {other}"),
        }
    }

    /// Every state of an alert with everything that can happen to it, as a reviewed table. A trouble stands until it ends; what
    /// tells of something that is over stands until it was seen; the story of a recovery goes when it is seen.
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
                    let told = happens(&mut alert_log, kind, event);
                    let left = |alert: &Alert| {
                        let seen = if alert.acknowledged { ", seen" } else { "" };
                        let Alert { id, count, first_ms, last_ms, .. } = alert;
                        format!("{id}: x{count} {first_ms}..{last_ms}{seen}")
                    };
                    let left: Vec<String> = alert_log.alerts().iter().map(left).collect();
                    table.push_str(&format!("    {event}: {told} [{}], next {}\n", left.join("; "), alert_log.next()));
                }
            }
        }
        insta::assert_snapshot!("alerts", table);
    }

    #[test]
    fn the_book_and_its_texts_are_bounded() {
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
