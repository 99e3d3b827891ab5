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
pub(in super::super) const SHADOW_STOPPED: &str =
    "the shadow was stopped: change sets are acknowledged without it until it has everything";
pub(in super::super) const NOT_NAMED: &str =
    "the witness names the other node as master: this one does not serve, and becomes its shadow on contact";
pub(in super::super) const OWN_IDENTITY: &str =
    "the address leads to this node itself, or to a copy of its data directory";
pub(in super::super) const COPY_RENEWS: &str = "the witness names this node, and another one with this node's identity renews the \
     record: a data directory was copied, and both copies run. This one does not serve. Stop one of the two for good and \
     empty its directory";
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

pub(in super::super) const HELD: &str = "this node's operator holds the link (disconnect): the shadow does not take over, and a master that restarts does not serve by itself; say reconnect here";
pub(in super::super) const HELD_BY_PEER: &str = "the peer's operator holds the link (disconnect): the shadow does not take over, and a master that restarts does not serve by itself; say reconnect on the peer, or take-over where nobody serves";
pub(in super::super) const COMMITS_BLOCKED: &str = "change sets are in doubt, and no other is taken until the shadow or the witness confirms them: repair the shadow's link and disk, or the witness";
pub(in super::super) const PAUSED: &str = "automatic failover is paused: while the master is away nobody serves, until an operator says take-over; say resume on either node";
pub(in super::super) const FROZEN: &str =
    "the pair is frozen: change sets are refused, and all else goes on; say unfreeze on either node";
pub(in super::super) const BOTH_SHADOWS: &str =
    "both nodes are shadows: let an operator make one master with take-over";
pub(in super::super) const HOLD_DOWN: &str = "there were too many takeovers, so this shadow makes none by itself until the hold-down is over: find out why they happened; take-over is possible meanwhile";
pub(in super::super) const NOT_ENABLED: &str = "this master has no shadow, and none may be enrolled: say enable and token, or acknowledge this where no shadow is wanted";
pub(in super::super) const NO_SHADOW: &str = "this master has no shadow, although one may be enrolled: say token here, and start a shadow with it; or say disable";
pub(in super::super) const DETACHED: &str = "the pairing was forgotten here (reset): this copy follows nobody and never takes over; enrol the node again in an empty directory";

/// An operator has accepted a loss, which is named as far as it is known.
pub(in super::super) fn takeover_accepting_loss(missing: Option<(Revision, Revision)>) -> String {
    let lost = match missing {
        Some((from, to)) => format!("the change sets {from} to {to} were given up"),
        None => "what this node lacked was given up; which change sets that were is not known".to_owned(),
    };
    format!(
        "{TAKEOVER_BY_OPERATOR}, who accepted a loss: {lost}. If the node that has them returns, it keeps them in \
         quarantine (diverged)"
    )
}

pub(in super::super) fn no_takeover(why: &str) -> String {
    format!(
        "the master is silent, and this shadow does not take over by itself: {why}; bring the master back, or say take-over \
         here"
    )
}

pub(in super::super) fn not_serving(why: &str, link: &str) -> String {
    let parts: Vec<&str> = [why, link].into_iter().filter(|part| !part.is_empty()).collect();
    let parts = if parts.is_empty() { "its peer has not answered".to_owned() } else { parts.join("; ") };
    format!("this master does not serve: {parts}; bring the peer back, or say take-over on the node that is to serve")
}

pub(in super::super) fn hold_ended(seconds: u64) -> String {
    format!(
        "the hold of the link (disconnect) of {seconds} s ended with the restart of this node: say disconnect again where it is still \
         meant"
    )
}

pub(in super::super) fn undialable(why: &str) -> String {
    format!(
        "the peer cannot dial this node where it advertises to be: {why}. A link that is lost comes again only where this node can dial; \
         advertise an address at which the peer reaches this node"
    )
}

pub(in super::super) fn peer_undialable(why: &str) -> String {
    format!(
        "this node cannot dial the peer where that advertises to be: {why}. A link that is lost comes again only where the peer can dial; \
         have the peer advertise an address at which this node reaches it"
    )
}

pub(in super::super) fn refused(link: &str) -> String {
    format!("the nodes refuse each other, and neither takes over by itself: {link}")
}

pub(in super::super) fn tokens(count: usize) -> String {
    format!("{count} join tokens wait to be used: start the shadow, or say disable to end them")
}

/// On the node that has met both: where each of them is.
pub(in super::super) fn duplicate_peer(first: &str, later: &str) -> String {
    format!(
        "two nodes with the peer's identity run: the data directory of one is a copy of the other's. The one at {first} is \
         linked; the one at {later} came later and is refused. Stop one of the two for good and empty its directory; a new \
         node enrols with a token; then ack"
    )
}

/// On the first one, whose peer has met both.
pub(in super::super) fn copy_of_this_node(first: &str, later: &str) -> String {
    format!(
        "another node with this node's identity runs: its data directory is a copy of this one, or this one of it. The peer \
         is linked to this node at {first}, and refuses the other at {later}. Stop one of the two for good and empty its \
         directory; then ack"
    )
}

/// To the later one.
pub(in super::super) fn duplicate_refused(first: &str) -> String {
    format!("another node with this node's identity is linked already, at {first}")
}

/// On the later one.
pub(in super::super) fn duplicate_here(reason: &str) -> String {
    format!(
        "the peer refuses this node: {reason}. This data directory is a copy of that node's, or was copied to it. This node \
         neither serves nor takes over while that is so. Stop one of the two for good and empty its directory"
    )
}

/// The witness records more than a master's disk holds.
pub(in super::super) fn behind_record(head: Revision, recorded: Revision) -> String {
    format!(
        "the witness records {recorded} and this node's disk ends at {head}: the disk is an older copy, or a copy of this \
         node serves elsewhere. This node does not serve by itself. It takes what it lacks from its peer; where no node \
         has it, say take-over --accept-loss here"
    )
}

/// A master that leads finds itself named under an epoch that is not its own.
pub(in super::super) fn strange_epoch(epoch: Epoch) -> String {
    format!(
        "the witness names this node under the epoch {epoch}, which its disk does not know: a copy of this node serves \
         elsewhere, or this disk is an older copy. This node stops serving until that is settled. Stop a copy for good and \
         empty its directory; then ack"
    )
}

/// This node's own disk is an older copy: it lacks what it had written or stored.
pub(in super::super) fn rolled_back(change_sets: u64, head: Revision, lost: Revision) -> String {
    format!(
        "this node's disk is an older copy: it ends at {head} and had held everything up to {lost}, {change_sets} change \
         sets more. They are taken back from the peer. Find out who restored the disk; if this directory was copied from a \
         node that still runs, stop one of the two; then ack"
    )
}

/// The peer's disk is an older copy.
pub(in super::super) fn peer_rolled_back(change_sets: u64, head: Revision, lost: Revision) -> String {
    format!(
        "the peer's disk is an older copy: it ends at {head} and had held everything up to {lost}, {change_sets} change \
         sets more. It gets them back from this node. Find out who restored the disk; then ack"
    )
}

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
        true => format!("the disk is full (disk_full): {reason}; make room, nothing was changed"),
        false => format!("the disk failed: {reason}; the store is opened again to find out what is left"),
    }
}

pub(in super::super) fn little_room(needed: u64, free: u64) -> String {
    format!(
        "{free} bytes are free on the disk of the data directory, and a full push of what this node holds needs {needed}: a full disk \
         refuses changes, and a shadow that needs a full push is not repaired; make room"
    )
}

pub(in super::super) fn no_audit(reason: &str) -> String {
    format!(
        "audit.log cannot be written ({reason}): its lines wait, and those for which there is no room are lost; make room"
    )
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
    let what = if full { "is full (disk_full)" } else { "failed" };
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
    format!(
        "{subject} ends in {days} days and could not be renewed: the peer is away, or too old; bring it back or upgrade it, or say rotate"
    )
}

pub(in super::super) fn two_masters(own: Epoch, peer: Epoch, stays: bool) -> String {
    let verdict = if stays { "stays" } else { "steps down" };
    format!(
        "two masters met: this node at epoch {own} and the peer at {peer}; this node {verdict}. What the one that steps down \
         committed alone is kept on it in quarantine"
    )
}

pub(in super::super) fn different_witnesses(own: Epoch, peer: Epoch) -> String {
    format!(
        "the peer serves at epoch {peer} although the witness names this node (epoch {own}): start both nodes with the same \
         witness. This node steps down; what it committed alone is kept on it in quarantine"
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
