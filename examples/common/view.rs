//! The node's status and events as JSON.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use shadowpair::{Alert, AlertChange, History, NodeEvent, Replication, Revision, Role, Severity, Status};

use super::args::Chosen;
use super::output::{Event, fields};

pub fn revision(revision: Revision) -> Value {
    json!({ "epoch": revision.epoch.to_string(), "seq": revision.seq })
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Master => "master",
        Role::Shadow => "shadow",
    }
}

fn action(change: AlertChange) -> &'static str {
    match change {
        AlertChange::Raised => "raised",
        AlertChange::Updated => "updated",
        AlertChange::Cleared => "cleared",
    }
}

/// The first event.
pub fn started(status: &Status, chosen: Chosen) -> Event {
    let engine = &status.engine;
    Event::Started(fields(json!({
        "role": self::role(engine.role),
        "serving": engine.serving,
        "listen": status.listen.to_string(),
        "advertise": status.advertise,
        "node": engine.node.to_string(),
        "pair": engine.pair.to_string(),
        "name": status.name,
        "epoch": engine.epoch.to_string(),
        "revision": revision(engine.position.revision),
        "failover": chosen.failover,
    })))
}

/// An event of the node; `None` for its end, which is printed last.
pub fn event(event: NodeEvent) -> Option<Event> {
    Some(match event {
        NodeEvent::Role { role, serving, epoch, reason } => {
            Event::Role { role: self::role(role), serving, epoch: epoch.to_string(), reason: reason.as_str() }
        }
        NodeEvent::Link { state, peer, reason } => Event::Link { state: state.as_str(), peer, reason: text(reason) },
        NodeEvent::Synced { how, revision: at, entries, bytes, took } => Event::Synced {
            how: how.as_str(),
            revision: revision(at),
            entries,
            bytes,
            ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        },
        NodeEvent::Changed { revision: at, keys } => Event::Changed { revision: revision(at), keys },
        NodeEvent::Alert { change, alert } => Event::Alert(fields(json!({
            "action": action(change),
            "kind": alert.kind.as_str(),
            "severity": alert.severity.as_str(),
            "subject": alert.subject,
            "message": alert.message,
            "count": alert.count,
            "id": alert.id,
        }))),
        NodeEvent::Missed(events) => missed(events, 0),
        _ => return None,
    })
}

/// Says what was not printed.
pub fn missed(events: u64, answers: u64) -> Event {
    Event::Error {
        error: "events_missed",
        message: format!(
            "{events} events and {answers} answers were not printed because the output was not read in time; ask status"
        ),
        more: fields(json!({ "events": events, "answers": answers })),
    }
}

/// The fingerprints of a node's keys.
pub fn keys(keys: &shadowpair::OwnKeys) -> Value {
    json!({
        "fingerprint": keys.current.to_string(),
        "next_fingerprint": keys.next.map(|next| next.to_string()),
    })
}

/// The answer to `status`.
pub fn status(status: &Status, chosen: Chosen) -> Value {
    let engine = &status.engine;
    let why_not: Vec<_> = engine.why_not.iter().map(|blocker| blocker.as_str()).collect();
    let count = |severity| engine.alerts.iter().filter(|alert| alert.severity == severity).count();
    json!({
        "role": self::role(engine.role),
        "serving": engine.serving,
        "epoch": engine.epoch.to_string(),
        "revision": revision(engine.position.revision),
        "digest": engine.position.digest.to_string(),
        "node": engine.node.to_string(),
        "fingerprint": status.keys.current.to_string(),
        "next_fingerprint": status.keys.next.map(|next| next.to_string()),
        "pair": engine.pair.to_string(),
        "name": status.name,
        "enabled": engine.enabled,
        "listen": status.listen.to_string(),
        "advertise": status.advertise,
        "link": {
            "state": engine.link.state.as_str(),
            "peer": engine.link.peer,
            "peer_revision": engine.link.peer_revision.map(revision),
            "lag": engine.link.lag,
            "last_seen_ms": engine.link.last_seen_us.map(|us| (us + age_us(status)) / 1000),
            "round_trip_us": engine.link.round_trip_us,
            "key_exchange": status.key_exchange,
            "reason": text(engine.link.reason.clone()),
        },
        "in_sync": engine.in_sync,
        "in_sync_as_of": engine.in_sync_as_of_us.map(|us| (us + age_us(status)) / 1000),
        "takeover": { "able": engine.why_not.is_empty(), "why_not": why_not },
        "failover": chosen.failover,
        "paused": engine.modes.paused.on,
        "frozen": engine.modes.frozen.on,
        "two_masters_possible": chosen.failover == "automatic" && status.witness.is_none(),
        "replication": if engine.replication == Replication::Synchronous { "sync" } else { "async" },
        "witness": status.witness.map(|kind| {
            json!({ "kind": kind, "reachable": engine.witness.as_ref().is_some_and(|seen| seen.reachable) })
        }),
        "alerts": {
            "error": count(Severity::Error),
            "warning": count(Severity::Warning),
            "info": count(Severity::Info),
        },
    })
}

/// One alert of `alerts`.
pub fn alert(alert: &Alert) -> Value {
    json!({
        "id": alert.id,
        "kind": alert.kind.as_str(),
        "severity": alert.severity.as_str(),
        "subject": alert.subject,
        "message": alert.message,
        "count": alert.count,
        "first": time(alert.first_ms),
        "last": time(alert.last_ms),
        "age_ms": wall_ms().saturating_sub(alert.first_ms),
        "acknowledged": alert.acknowledged,
        "revisions": alert.revisions.map(|(from, to)| json!({ "from": revision(from), "to": revision(to) })),
    })
}

/// The eras of `history`.
pub fn history(history: &History) -> Value {
    let era = |era: &shadowpair::Era| json!({ "epoch": era.epoch.to_string(), "first_seq": era.first_seq, "node": era.node.to_string() });
    history.eras().iter().map(era).collect()
}

/// A value as text under `name`, or as base64 under `name_base64` where it is not UTF-8.
pub fn bytes(name: &str, value: Option<&[u8]>) -> (String, Value) {
    match value.map(|value| (value, std::str::from_utf8(value))) {
        None => (name.into(), Value::Null),
        Some((_, Ok(text))) => (name.into(), text.into()),
        Some((raw, Err(_))) => (format!("{name}_base64"), base64(raw).into()),
    }
}

/// Wall clock, milliseconds since 1970, as RFC 3339.
pub fn time(ms: u64) -> String {
    // RFC 3339 ends with the year 9999.
    let ms = ms.min(253_402_300_799_000);
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

/// The wall clock, milliseconds since 1970.
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// Microseconds since the status was written, by the same clock.
fn age_us(status: &Status) -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now_us = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000;
    now_us.saturating_sub(status.written_us)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            match digit <= group.len() {
                true => text.push(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63] as char),
                false => text.push('='),
            }
        }
    }
    text
}
