//! What alerts say: what happened, what follows, and what to do.

use super::{Alert, AlertKind, RepairKind};
use crate::model::{Epoch, Revision};
use crate::protocol::engine::{LinkState, TakeoverBlocker};

pub(in super::super) const TAKEOVER_BY_OPERATOR: &str = "this node took over as master by an operator's word";
pub(in super::super) const TAKEOVER: &str = "this node took over as master: the master was silent for the takeover delay. When the \
     former master returns it becomes the shadow";
pub(in super::super) const PEER_SILENT_AT_START: &str = "the peer was silent when this master started, so it serves without having \
     asked it: if the peer has taken over behind a cut cable, there are two masters until they meet";
pub(in super::super) const NOT_CONFIRMED_IN_TIME: &str =
    "the shadow did not confirm in time: change sets are acknowledged without it until it has everything";
pub(in super::super) const NOT_NAMED: &str =
    "the witness names the other node as master: this one does not serve, and becomes its shadow on contact";
pub(in super::super) const ROLLED_BACK: &str = "the witness records more than this node's disk holds, so the disk is an older copy: \
     this node does not serve by itself. It takes what it lacks from its peer; or say take-over --accept-loss here";
pub(in super::super) const WITNESS_UNREACHABLE: &str = "the witness does not answer: while the pair is connected nothing stops, but \
     without it nobody takes over, and a master that loses its shadow as well stops serving";
pub(in super::super) const WITNESS_UNWRITABLE: &str = "the witness can be read and not written: see to its permissions and its \
     room. While the pair is connected nothing stops, but this master stops serving when it loses its shadow";
pub(in super::super) const WITNESS_NAMES_ANOTHER: &str = "the witness does not name the master that this shadow follows, so this \
     node will not take over: start both nodes with the same witness";
pub(in super::super) const RECORD_FOREIGN: &str =
    "the witness holds the record of another pair: give each pair a path of its own";
pub(in super::super) const RECORD_OLDER: &str = "the witness holds an older record than it did: it was restored from a copy. No node \
     mends that by itself; say take-over --accept-loss on the master";
pub(in super::super) const RECORD_MISSING: &str =
    "the witness' record is gone. No node makes a new one by itself; say take-over --accept-loss on the master";
pub(in super::super) const SHADOW_PROMISES_NOTHING: &str = "the shadow makes no promise: it runs without the witness, or cannot use \
     it, and may take over beside this master; start it with the same witness";

pub(in super::super) fn host_refuses_takeover(reason: &str) -> String {
    format!("the master is silent, and the host does not allow this node to take over: {reason}")
}

pub(in super::super) fn shadow_lost(why: &str) -> String {
    format!("the shadow does not answer ({why}); changes are kept here and pushed when it is back")
}

pub(in super::super) fn master_lost(silent_ms: u64, blockers: &[TakeoverBlocker]) -> String {
    let blockers: Vec<&str> = blockers.iter().map(|blocker| blocker.as_str()).collect();
    format!(
        "the master has been silent for {silent_ms} ms, and this shadow does not take over by itself: {}; an operator can \
         make it master with take-over",
        blockers.join(", ")
    )
}

pub(in super::super) fn not_pushed(state: LinkState, why: &str) -> String {
    let message = format!("change sets could not be pushed to the shadow: link {}: {why}", state.as_str());
    message.trim_end_matches([':', ' ']).to_owned()
}

pub(in super::super) fn recovered(how: RepairKind, seconds: u64, ended: &[Alert]) -> String {
    let parts: Vec<String> = ended.iter().map(summary).collect();
    format!("the shadow is in sync again ({} repair) after {seconds} s of: {}", how.as_str(), parts.join("; "))
}

pub(in super::super) fn disk_recovered(seconds: u64, ended: &Alert) -> String {
    format!("this node's disk works again after {seconds} s of: {}", summary(ended))
}

/// What one ended alert was, in a few words.
fn summary(alert: &Alert) -> String {
    let count = alert.count;
    match (alert.kind, alert.revisions) {
        (AlertKind::PushFailed, Some((from, to))) => format!("{count} change sets not pushed ({from} to {to})"),
        (kind, _) => format!("{} x{count}", kind.as_str()),
    }
}

pub(in super::super) fn digest_mismatch(at: Revision) -> String {
    format!("the copies differ at {at} although they should be the same; a full push repairs the shadow")
}

pub(in super::super) fn clock_skew(seconds: u64) -> String {
    format!("the clocks of the two nodes differ by {seconds} s: set them right")
}

pub(in super::super) fn slow_link(round_trip_us: u64, delay_us: u64) -> String {
    format!(
        "an answer of the peer takes {} ms, and after {} ms of silence it counts as gone: mend the link, or give both \
         nodes a longer takeover delay and heartbeat",
        round_trip_us / 1_000,
        delay_us / 1_000
    )
}

pub(in super::super) fn disk_trouble(full: bool, reason: &str) -> String {
    match full {
        true => format!("the disk is full: {reason}; make room, nothing was changed"),
        false => format!("the disk failed: {reason}; the store is opened again to find out what is left"),
    }
}

pub(in super::super) fn damaged(damage: &str) -> String {
    format!("the store is damaged: {damage}; the copy is repaired from the peer")
}

pub(in super::super) fn slow_disk(us: u64) -> String {
    format!(
        "durable work has been under way for {} s: the disk hangs or is very slow (or the host's validation is), and \
         nothing is stored meanwhile",
        us / 1_000_000
    )
}

pub(in super::super) fn disk_silent(us: u64) -> String {
    format!("it has not answered for {} s, so this node does not act as master until it does", us / 1_000_000)
}

pub(in super::super) fn shadow_disk(full: bool, reason: &str) -> String {
    let what = if full { "is full" } else { "failed" };
    format!("the shadow's disk {what}: {reason}; pushes go on when it works again")
}

pub(in super::super) fn push_rejected(at: Revision, reason: &str) -> String {
    format!("the shadow's host refused the configuration up to {at}: {reason}")
}

pub(in super::super) fn unpermitted(from: &str, reason: &str) -> String {
    format!("{from} was turned away: {reason}")
}

pub(in super::super) fn stranger_answers(reason: &str) -> String {
    format!("whoever answers at the peer's address is not the peer: {reason}")
}

pub(in super::super) fn enrolment_refused(from: &str, kind: &str) -> String {
    format!("{from} asked to enrol and was refused: {kind}")
}

pub(in super::super) fn certificate_expiring(subject: &str, days: u64) -> String {
    format!("the certificate of {subject} ends in {days} days")
}

pub(in super::super) fn two_masters(own: Epoch, peer: Epoch, stays: bool) -> String {
    let verdict = if stays { "stays" } else { "yields" };
    format!(
        "two masters met: this node at epoch {own} and the peer at {peer}; this node {verdict}. What the one that yields \
         committed alone is kept on it in quarantine"
    )
}

pub(in super::super) fn different_witnesses(own: Epoch, peer: Epoch) -> String {
    format!(
        "the peer serves at epoch {peer} although the witness names this node (epoch {own}): start both nodes with the same \
         witness. This node yields; what it committed alone is kept on it in quarantine"
    )
}

pub(in super::super) fn quarantined(
    change_sets: u64,
    (from, to): (Revision, Revision),
    of_repairing_shadow: bool,
    damage: Option<&str>,
) -> String {
    let lost = damage.map(|damage| format!("; what was damaged could not be kept: {damage}")).unwrap_or_default();
    let whose = if of_repairing_shadow { "shadow that repairs it" } else { "master it follows" };
    format!(
        "{change_sets} change sets ({from} to {to}) that this node committed are not in the history of the {whose}; they are \
         kept in quarantine: look at them with `diverged`{lost}"
    )
}

pub(in super::super) fn unreadable(head: Revision, damage: &str, reason: &str) -> String {
    format!(
        "change sets up to {head} that only this node holds could not be read from its damaged store, and are lost when it \
         is repaired ({damage}): {reason}"
    )
}
