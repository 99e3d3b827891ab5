//! A line of the audit log: what was done, by whom, under which epoch. It never holds a key, a token, a value or a password.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::model::limits::AUDIT_TEXT_BYTES_MAX;
use crate::model::{Epoch, NodeId};

/// What was done. The words are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditWord {
    /// The node was started.
    Started,
    /// The node was stopped.
    Stopped,
    /// The first node of a new pair was made.
    PairMade,
    /// A shadow was enrolled with its master.
    Enrolled,
    /// A node that asked to enrol was refused.
    EnrolmentRefused,
    /// A connection was turned away.
    ConnectionRefused,
    /// The two nodes of the pair refuse each other.
    PeerRefused,
    /// This node holds mastership under a new epoch.
    BecameMaster,
    /// This node, a master before, is the shadow.
    BecameShadow,
    /// An alert of those that concern trust was raised.
    AlertRaised,
    /// High availability was enabled.
    Enabled,
    /// High availability was disabled.
    Disabled,
    /// A join token was made.
    TokenMade,
    /// The link was closed and held.
    LinkHeld,
    /// The link was let come again.
    LinkReleased,
    /// A full push was asked for.
    ResyncAsked,
    /// The pairing was forgotten.
    Reset,
    /// An alert was acknowledged.
    AlertAcknowledged,
    /// A takeover was commanded, and done.
    TakenOver,
    /// A takeover was commanded with the loss of changes accepted, and done.
    LossAccepted,
    /// The replication mode was changed.
    ReplicationSet,
    /// A switch of roles was commanded, and done.
    RolesSwitched,
    /// Automatic failover was paused.
    FailoverPaused,
    /// Automatic failover goes on.
    FailoverResumed,
    /// The configuration was frozen.
    Frozen,
    /// The configuration may be changed again.
    Unfrozen,
    /// The configuration was written to a file.
    Exported,
    /// The configuration was replaced by an export.
    Imported,
    /// The configuration was replaced by an export of this pair, to go back.
    Restored,
    /// What is in quarantine was applied again.
    Reapplied,
    /// What was in quarantine was removed.
    Discarded,
    /// Lines were lost before this one.
    Gap,
    /// The pairing with the shadow was ended, and a token made for another one.
    ShadowReplaced,
    /// A new key for this node was commanded.
    RotationCommanded,
    /// This node has a new key.
    KeyRenewed,
    /// The key that the peer will show next is permitted.
    PeerKeyPermitted,
    /// The peer has shown its new key, and the one before it is permitted no more.
    PeerKeyRenewed,
}

impl AuditWord {
    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::PairMade => "pair_made",
            Self::Enrolled => "enrolled",
            Self::EnrolmentRefused => "enrolment_refused",
            Self::ConnectionRefused => "connection_refused",
            Self::PeerRefused => "peer_refused",
            Self::BecameMaster => "became_master",
            Self::BecameShadow => "became_shadow",
            Self::AlertRaised => "alert_raised",
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::TokenMade => "token_made",
            Self::LinkHeld => "link_held",
            Self::LinkReleased => "link_released",
            Self::ResyncAsked => "resync_asked",
            Self::Reset => "reset",
            Self::AlertAcknowledged => "alert_acknowledged",
            Self::TakenOver => "taken_over",
            Self::LossAccepted => "loss_accepted",
            Self::ReplicationSet => "replication_set",
            Self::RolesSwitched => "roles_switched",
            Self::FailoverPaused => "failover_paused",
            Self::FailoverResumed => "failover_resumed",
            Self::Frozen => "frozen",
            Self::Unfrozen => "unfrozen",
            Self::Exported => "exported",
            Self::Imported => "imported",
            Self::Restored => "restored",
            Self::Reapplied => "reapplied",
            Self::Discarded => "discarded",
            Self::Gap => "gap",
            Self::ShadowReplaced => "shadow_replaced",
            Self::RotationCommanded => "rotation_commanded",
            Self::KeyRenewed => "key_renewed",
            Self::PeerKeyPermitted => "peer_key_permitted",
            Self::PeerKeyRenewed => "peer_key_renewed",
        }
    }
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Whoever gave this node the command.
    Operator,
    /// This node by itself.
    Node,
    /// The enrolled peer.
    Peer(NodeId),
    /// A node that asked to enrol, with the key that it has shown, from this address.
    Enrolling(NodeId, String),
    /// Somebody without a key that counts, from this address.
    Stranger(String),
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    what: AuditWord,
    who: Actor,
    epoch: Epoch,
    details: Map<String, Value>,
}

#[derive(Serialize)]
struct Line<'a> {
    at: &'a str,
    what: &'static str,
    who: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    epoch: String,
    #[serde(flatten)]
    details: &'a Map<String, Value>,
}

impl AuditEntry {
    pub fn new(what: AuditWord, who: Actor, epoch: Epoch) -> Self {
        Self { what, who, epoch, details: Map::new() }
    }

    /// The epoch under which it was done.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Adds a text, which is cut where it is too long.
    pub fn text(self, name: &str, text: impl Into<String>) -> Self {
        let text = cut(text.into());
        self.with(name, text)
    }

    /// Adds a number or a flag.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// The line, with its end.
    pub fn line(&self, wall_ms: u64) -> String {
        let (who, node, address) = match &self.who {
            Actor::Operator => ("operator", None, None),
            Actor::Node => ("node", None, None),
            Actor::Peer(node) => ("peer", Some(node.to_string()), None),
            Actor::Enrolling(node, address) => ("enrolling", Some(node.to_string()), Some(cut(address.clone()))),
            Actor::Stranger(address) => ("stranger", None, Some(cut(address.clone()))),
        };
        let (at, what, epoch) = (rfc3339(wall_ms), self.what.as_str(), self.epoch.to_string());
        let line = Line { at: &at, what, who, node, address, epoch, details: &self.details };
        // Only a map whose keys are no text cannot be written.
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        text.push('\n');
        text
    }
}

fn cut(mut text: String) -> String {
    let mut end = text.len().min(AUDIT_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// A time of the wall clock as RFC 3339, UTC, with milliseconds. Times after the year 9999 are shown as its end.
pub fn rfc3339(wall_ms: u64) -> String {
    const LAST_MS: u64 = 253_402_300_799_999;
    let ms = wall_ms.min(LAST_MS);
    let (seconds, days) = (ms / 1_000, ms / 86_400_000);
    // Days since 1 March of the year 0, in eras of 400 years, whose leap days repeat.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_are_written_as_humantime_writes_them() {
        let day = 86_400_000;
        let days = (0..800_000).step_by(13).map(|days| days * day + (days * 7_919) % day);
        for ms in days.chain([0, 951_782_399_999, 951_782_400_000, 1_709_164_800_000, 4_107_542_400_000]) {
            let wanted = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string();
            assert_eq!(rfc3339(ms), wanted, "{ms}");
        }
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_line_is_one_object_whatever_a_stranger_says() {
        let nasty = format!("\u{2028}\"}}\n{{\"what\":\"enrolled\"{}", "é".repeat(600));
        let entry = AuditEntry::new(AuditWord::EnrolmentRefused, Actor::Stranger(nasty.clone()), Epoch::FIRST);
        let line = entry.text("reason", nasty).with("times", 3).line(1_000);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&read["at"], &read["what"]), (&"1970-01-01T00:00:01.000Z".into(), &"enrolment_refused".into()));
        assert_eq!((&read["who"], &read["epoch"], &read["times"]), (&"stranger".into(), &"1.0".into(), &3.into()));
        assert!(read["reason"].as_str().unwrap().len() <= AUDIT_TEXT_BYTES_MAX);
        assert!(line.len() < 4_096, "{} bytes", line.len());
    }
}
