//! The alert log of this node, and what has been entered into it already. Texts: [`texts`].
//!
//! | | change sets not pushed | link down for three intervals | in sync again | a peer enrolled |
//! |---|---|---|---|---|
//! | quiet | counted, `push_failed` | `shadow_lost`, lost | - | counts from here |
//! | lost | counted | - | `recovered`, quiet | counts from here, quiet |

pub(super) mod texts;

use super::{Alert, AlertChange, AlertKind, Now, RepairKind};
use crate::model::{Epoch, Position, Revision, RunId};
use crate::protocol::alerts::{AlertLog, NewAlert};

/// Subject of alerts about the other node.
pub(super) const PEER: &str = "peer";
/// Subject of alerts about this node.
pub(super) const THIS_NODE: &str = "this node";
/// Subject of alerts about a disk that does not answer.
pub(super) const DISK: &str = "this node's disk";
/// Subject of alerts about the witness.
pub(super) const WITNESS: &str = "witness";

/// The alerts of this node.
#[derive(Clone, Debug)]
pub(super) struct Alerts {
    log: AlertLog,
    /// Change sets up to here are counted as not pushed, or were pushed.
    counted_seq: u64,
    /// An alert says that the peer does not answer.
    peer_lost: bool,
    /// How far apart the two wall clocks were at the last look, microseconds.
    skew_us: u64,
    /// The other of two masters that was met last.
    rival: Option<(RunId, Epoch)>,
    /// The second node with the peer's identity that was refused last.
    duplicate: Option<RunId>,
}

impl Alerts {
    /// What stood before a restart. What stood then was counted up to there; what came after was not pushed either.
    pub(super) fn restore(alerts: Vec<Alert>, next: u64, head: Revision) -> Self {
        let log = AlertLog::restore(alerts, next);
        let counted = log.find(AlertKind::PushFailed).and_then(|alert| alert.revisions);
        Self {
            counted_seq: counted.map_or(head.seq, |(_, to)| to.seq),
            peer_lost: log.find(AlertKind::ShadowLost).is_some(),
            skew_us: 0,
            rival: None,
            duplicate: None,
            log,
        }
    }

    /// What stands.
    pub(super) fn log(&self) -> &AlertLog {
        &self.log
    }

    /// For updates that change it.
    pub(super) fn log_mut(&mut self) -> &mut AlertLog {
        &mut self.log
    }

    /// Whether an alert of this kind stands.
    pub(super) fn stands(&self, kind: AlertKind) -> bool {
        self.log.find(kind).is_some()
    }

    /// Whether one stands about this subject.
    pub(super) fn stands_about(&self, kind: AlertKind, subject: &str) -> bool {
        self.log.alerts().iter().any(|alert| alert.kind == kind && alert.subject == subject)
    }

    /// Enters an alert.
    pub(super) fn raise(&mut self, now: Now, alert: NewAlert) -> (AlertChange, Alert) {
        self.log.raise(alert, now.wall_ms)
    }

    /// Ends what fits, and returns it.
    pub(super) fn clear(&mut self, fits: impl Fn(&Alert) -> bool) -> Vec<Alert> {
        self.log.clear(fits)
    }

    // What could not be pushed.

    /// Change sets up to here need no alert.
    pub(super) fn count_up_to(&mut self, seq: u64) {
        self.counted_seq = self.counted_seq.max(seq);
    }

    /// The change sets up to this head that were not counted yet: how many, and the first.
    pub(super) fn uncounted(&self, head: Revision) -> Option<(u64, Revision)> {
        let times = head.seq.saturating_sub(self.counted_seq);
        (times > 0).then(|| (times, Revision::new(head.epoch, self.counted_seq + 1)))
    }

    /// A shadow was enrolled, or this node became master: the shadow was promised nothing before this head.
    pub(super) fn start_counting(&mut self, head: Revision) {
        (self.counted_seq, self.peer_lost, self.skew_us, self.rival) = (head.seq, false, 0, None);
    }

    // A peer that does not answer.

    pub(super) fn is_peer_lost(&self) -> bool {
        self.peer_lost
    }

    pub(super) fn set_peer_lost(&mut self) {
        self.peer_lost = true;
    }

    /// The pair is in sync again: what concerned the peer ends.
    pub(super) fn in_sync(&mut self) -> Vec<Alert> {
        self.peer_lost = false;
        self.clear(ends_in_sync)
    }

    /// The pair is in sync again, though nothing is cleared.
    pub(super) fn peer_answers(&mut self) {
        self.peer_lost = false;
    }

    // Clocks and rivals.

    /// Notes how far apart the wall clocks are. Returns how far they were before.
    pub(super) fn note_skew(&mut self, skew_us: u64) -> u64 {
        std::mem::replace(&mut self.skew_us, skew_us)
    }

    /// How far apart the wall clocks were at the last look, microseconds.
    #[cfg(test)]
    pub(super) fn skew_us(&self) -> u64 {
        self.skew_us
    }

    /// Whether this very second node was refused already, and an alert stands about it. Remembers it.
    pub(super) fn is_known_duplicate(&mut self, run: RunId) -> bool {
        self.duplicate.replace(run) == Some(run) && self.stands_about(AlertKind::DuplicateNode, PEER)
    }

    /// Whether this very master was met already. Remembers it.
    pub(super) fn is_known_rival(&mut self, run: RunId, epoch: Epoch) -> bool {
        self.rival.replace((run, epoch)) == Some((run, epoch))
    }
}

/// Whether this alert is over when the pair is in sync: what concerned the peer, but not what it left behind here.
fn ends_in_sync(alert: &Alert) -> bool {
    let of_peer = matches!(alert.kind, AlertKind::DiskTrouble | AlertKind::Diverged) && alert.subject == PEER;
    alert.kind.ends_in_sync() || of_peer
}

/// The warning that is left of alerts that ended in this repair.
pub(super) fn recovered(now: Now, how: RepairKind, ended: &[Alert]) -> Option<NewAlert> {
    let first_ms = ended.iter().map(|alert| alert.first_ms).min()?;
    let seconds = now.wall_ms.saturating_sub(first_ms) / 1_000;
    Some(NewAlert::new(AlertKind::Recovered, PEER, texts::recovered(how, seconds, ended)))
}

/// A digest differs at this position.
pub(super) fn digest_mismatch(theirs: Position) -> NewAlert {
    let alert = NewAlert::new(AlertKind::DigestMismatch, PEER, texts::digest_mismatch(theirs.revision));
    NewAlert { revisions: Some((theirs.revision, theirs.revision)), ..alert }
}
