//! What goes into the alert log, and what ends it.

use super::{Action, AlertChange, DiskFailure, Engine, How, Moment, Mutant, Notice, Now};
use crate::model::{Epoch, Position, Revision, RunId};
use crate::protocol::alerts::{Alert, AlertKind, NewAlert};
use crate::protocol::failover::{NodeState, micros};
use crate::protocol::wire::RefusalKind;

/// Subject of alerts about the other node.
pub(super) const PEER: &str = "peer";
/// Subject of alerts about this node.
pub(super) const THIS_NODE: &str = "this node";
/// Subject of alerts about a disk that does not answer.
pub(super) const DISK: &str = "this node's disk";

/// What has been entered already.
#[derive(Clone, Debug, Default)]
pub(super) struct Troubles {
    /// Change sets up to here are counted as not pushed, or were pushed.
    counted_seq: u64,
    /// The shadow is called lost.
    lost: bool,
    /// How far apart the two wall clocks were at the last look, microseconds.
    pub(super) skew_us: u64,
    /// The other of two masters that was met last.
    rival: Option<(RunId, Epoch)>,
}

impl Troubles {
    /// Whether this very master was met already; remembers it.
    pub(super) fn is_known_rival(&mut self, run: RunId, epoch: Epoch) -> bool {
        self.rival.replace((run, epoch)) == Some((run, epoch))
    }
}

impl Engine {
    /// Enters a trouble, makes it durable and tells the host.
    pub(super) fn raise(&mut self, now: Now, trouble: NewAlert) {
        let (change, alert) = self.alert_log.raise(trouble, now.wall_ms);
        match change {
            AlertChange::Raised => self.state_changed(),
            _ => self.state_counted(now),
        }
        self.out.push(Action::Notify(Notice::Alert { change, alert }));
    }

    /// Ends what fits, and returns it.
    pub(super) fn clear(&mut self, fits: impl Fn(&Alert) -> bool) -> Vec<Alert> {
        let gone = self.alert_log.clear(fits);
        if !gone.is_empty() {
            self.state_changed();
        }
        for alert in &gone {
            let change = AlertChange::Cleared;
            self.out.push(Action::Notify(Notice::Alert { change, alert: alert.clone() }));
        }
        gone
    }

    pub(super) fn trouble_at_start(&mut self, now: Now, damage: Option<String>) {
        // What stood before the restart was counted up to there; what came after was not pushed either.
        let standing = self.alert_log.find(AlertKind::PushFailed).and_then(|alert| alert.revisions);
        self.trouble.counted_seq = standing.map_or(self.head.revision.seq, |(_, to)| to.seq);
        self.trouble.lost = self.alert_log.find(AlertKind::ShadowLost).is_some();
        self.found_damage(now, damage);
    }

    /// Recovery found damage: what is here does not count before it is repaired.
    pub(super) fn found_damage(&mut self, now: Now, damage: Option<String>) {
        if let Some(damage) = damage {
            self.durable_state.complete = false;
            let message = format!("the store is damaged: {damage}; the copy is repaired from the peer");
            self.damage = Some(damage);
            self.raise(now, NewAlert::new(AlertKind::DiskTrouble, THIS_NODE, message));
        }
    }

    /// A shadow was enrolled: it has been promised nothing yet.
    pub(super) fn troubles_of_new_peer(&mut self) {
        self.trouble = Troubles { counted_seq: self.head.revision.seq, ..Troubles::default() };
    }

    /// This node took over: what it did not hear from its master is no alert of its shadow's.
    pub(super) fn troubles_of_new_master(&mut self) {
        self.clear(|alert| alert.kind == AlertKind::ShadowLost);
        self.troubles_of_new_peer();
    }

    /// A session ended with this much confirmed: what the shadow lacks was not pushed.
    pub(super) fn pushes_interrupted(&mut self, confirmed: Position) {
        if self.history.contains(self.head.revision, confirmed.revision) {
            self.trouble.counted_seq = self.trouble.counted_seq.max(confirmed.revision.seq);
        }
    }

    /// Change sets that could not be pushed, and a shadow that stays away.
    pub(super) fn count_failed_pushes(&mut self, now: Now) {
        let master = matches!(self.node_state, NodeState::Serving | NodeState::Stalled);
        if self.node_state == NodeState::Following {
            self.tell_of_lost_master(now);
        }
        if !master || self.durable_state.peer.is_none() || self.makes(Mutant::HidesFailedPushes) {
            return;
        }
        if self.session.is_live() {
            let confirmed = self.session.confirmed().map_or(0, |position| position.revision.seq);
            self.trouble.counted_seq = self.trouble.counted_seq.max(confirmed);
        } else {
            self.count_unpushed(now);
        }
        let since = self.links.down_since();
        if !self.trouble.lost && since.is_some_and(|at| now.at.0 >= at.0 + self.timing.shadow_lost_us) {
            self.trouble.lost = true;
            let (_, why) = self.link_state();
            let message =
                format!("the shadow does not answer ({why}); changes are kept here and pushed when it is back");
            self.raise(now, NewAlert::new(AlertKind::ShadowLost, PEER, message));
        }
    }

    /// A shadow whose master stays silent, and that does not take over by itself, needs an operator who knows.
    fn tell_of_lost_master(&mut self, now: Now) {
        let since = self.links.down_since().filter(|_| self.durable_state.peer.is_some() && !self.trouble.lost);
        let Some(since) = since.filter(|at| now.at.0 >= at.0 + self.timing.delay_us) else { return };
        let why_not = self.candidate(now.at, now.wall_ms).why_not();
        if why_not.is_empty() {
            return;
        }
        self.trouble.lost = true;
        let message = format!(
            "the master has been silent for {} ms, and this shadow does not take over by itself: {}; an operator can \
             make it master with take-over",
            now.at.0.saturating_sub(since.0) / 1_000,
            why_not.join(", ")
        );
        self.raise(now, NewAlert::new(AlertKind::ShadowLost, PEER, message));
    }

    fn count_unpushed(&mut self, now: Now) {
        let head = self.head.revision;
        let times = head.seq.saturating_sub(self.trouble.counted_seq);
        // A session that is about to begin is no failure.
        let beginning = self.links.active().is_some() && self.session.confirmed().is_none();
        // Nor is a shadow that was enrolled a moment ago, or a node that started a moment ago, and is being dialled.
        let grace = self.links.down_since().is_some_and(|at| now.at.0 < at.0 + self.timing.shadow_lost_us);
        if times == 0 || beginning || (grace && !self.links.was_up()) {
            return;
        }
        let from = Revision::new(head.epoch, self.trouble.counted_seq + 1);
        self.trouble.counted_seq = head.seq;
        let (state, why) = self.link_state();
        let message = format!("change sets could not be pushed to the shadow: link {}: {why}", state.as_str());
        let trouble = NewAlert::new(AlertKind::PushFailed, PEER, message.trim_end_matches([':', ' ']));
        self.raise(now, NewAlert { times, revisions: Some((from, head)), ..trouble });
    }

    pub(super) fn trouble_deadline(&self) -> Option<Moment> {
        let master = matches!(self.node_state, NodeState::Serving | NodeState::Stalled);
        if self.node_state == NodeState::Following && !self.trouble.lost && self.durable_state.peer.is_some() {
            return self.links.down_since().map(|since| Moment(since.0 + self.timing.delay_us));
        }
        let since =
            self.links.down_since().filter(|_| master && !self.trouble.lost && self.durable_state.peer.is_some())?;
        Some(Moment(since.0 + self.timing.shadow_lost_us))
    }

    /// The shadow is in sync again: the failures end, and one warning tells what they were.
    pub(super) fn recovered(&mut self, now: Now, how: How) {
        self.trouble.lost = false;
        self.trouble.counted_seq = self.trouble.counted_seq.max(self.head.revision.seq);
        if self.makes(Mutant::KeepsFailures) {
            return;
        }
        let ended = self.clear(ends_in_sync);
        let Some(first_ms) = ended.iter().map(|alert| alert.first_ms).min() else { return };
        let seconds = now.wall_ms.saturating_sub(first_ms) / 1_000;
        let parts: Vec<String> = ended.iter().map(story).collect();
        let message =
            format!("the shadow is in sync again ({} repair) after {seconds} s of: {}", how.as_str(), parts.join("; "));
        self.raise(now, NewAlert::new(AlertKind::Recovered, PEER, message));
    }

    /// On the shadow: it is in sync, what concerned the link or an earlier role is over.
    pub(super) fn shadow_recovered(&mut self) {
        self.trouble.lost = false;
        self.clear(ends_in_sync);
    }

    pub(super) fn digest_mismatch(&mut self, now: Now, theirs: Position) {
        let message = format!(
            "the copies differ at {} although they should be the same; a full push repairs the shadow",
            theirs.revision
        );
        let trouble = NewAlert::new(AlertKind::DigestMismatch, PEER, message);
        self.raise(now, NewAlert { revisions: Some((theirs.revision, theirs.revision)), ..trouble });
    }

    pub(super) fn refusal_alert(&mut self, now: Now, kind: RefusalKind, reason: &str) {
        let alert = match kind {
            RefusalKind::Protocol | RefusalKind::Schema => AlertKind::VersionMismatch,
            RefusalKind::DataKey => AlertKind::KeyMismatch,
            RefusalKind::WrongPair | RefusalKind::Blank => AlertKind::UnpermittedPeer,
            RefusalKind::ForeignHistory => AlertKind::Diverged,
            _ => return,
        };
        let known = self.alert_log.alerts().iter().any(|standing| standing.kind == alert && standing.subject == PEER);
        if !known || self.links.refusal().is_none_or(|refusal| refusal.kind != Some(kind)) {
            self.raise(now, NewAlert::new(alert, PEER, reason));
        }
    }

    pub(super) fn check_skew(&mut self, now: Now, theirs_ms: u64) {
        let skew_us = now.wall_ms.abs_diff(theirs_ms).saturating_mul(1_000);
        let skewed = skew_us > micros(self.options.clock_skew_warn);
        let before = self.trouble.skew_us > micros(self.options.clock_skew_warn);
        if skewed && !before {
            let seconds = skew_us / 1_000_000;
            let message = format!("the clocks of the two nodes differ by {seconds} s: set them right");
            self.raise(now, NewAlert::new(AlertKind::ClockSkew, PEER, message));
        } else if !skewed && self.stands(AlertKind::ClockSkew) {
            self.clear(|alert| alert.kind == AlertKind::ClockSkew);
        }
        self.trouble.skew_us = skew_us;
    }

    /// The mean round trip, against the time after which a silent peer counts as gone.
    pub(super) fn check_round_trip(&mut self, now: Now) {
        let Some(took_us) = self.links.round_trip_us else { return };
        let (slow, stands) = (took_us > self.timing.delay_us / 2, self.stands(AlertKind::SlowLink));
        if slow && !stands {
            let message = format!(
                "an answer of the peer takes {} ms, and after {} ms of silence it counts as gone: mend the link, or give both \
                 nodes a longer takeover delay and heartbeat",
                took_us / 1_000,
                self.timing.delay_us / 1_000
            );
            self.raise(now, NewAlert::new(AlertKind::SlowLink, PEER, message));
        } else if !slow && stands {
            self.clear(|alert| alert.kind == AlertKind::SlowLink);
        }
    }

    pub(super) fn stands(&self, kind: AlertKind) -> bool {
        self.alert_log.alerts().iter().any(|alert| alert.kind == kind)
    }

    pub(super) fn disk_trouble(&mut self, now: Now, failure: &DiskFailure) {
        self.store_trouble(now, &failure.reason, failure.full);
    }

    pub(super) fn store_trouble(&mut self, now: Now, reason: &str, full: bool) {
        let message = match full {
            true => format!("the disk is full: {reason}; make room, nothing was changed"),
            false => format!("the disk failed: {reason}; the store is opened again to find out what is left"),
        };
        self.raise(now, NewAlert::new(AlertKind::DiskTrouble, THIS_NODE, message));
    }

    /// The store is in trouble outside a batch. The master of a shadow hears of it too.
    pub(super) fn store_trouble_aside(&mut self, now: Now, reason: String, full: bool) {
        self.store_trouble(now, &reason, full);
        self.tell_source_of_disk(now, full, reason);
    }

    /// Something was written: trouble with this node's disk is over.
    pub(super) fn disk_works(&mut self, now: Now) {
        self.disk_ended(now, THIS_NODE);
    }

    /// A batch has been under way for this long.
    pub(super) fn slow_disk(&mut self, now: Now, us: u64) {
        let message = format!(
            "durable work has been under way for {} s: the disk hangs or is very slow (or the host's validation is), and \
             nothing is stored meanwhile",
            us / 1_000_000
        );
        self.raise(now, NewAlert::new(AlertKind::DiskTrouble, DISK, message));
    }

    /// Trouble with the disk is over, as far as it is about this.
    pub(super) fn disk_ended(&mut self, now: Now, subject: &str) {
        let ended = self.clear(|alert| alert.kind == AlertKind::DiskTrouble && alert.subject == subject);
        for alert in ended {
            let seconds = now.wall_ms.saturating_sub(alert.first_ms) / 1_000;
            let message = format!("this node's disk works again after {seconds} s of: {}", story(&alert));
            self.raise(now, NewAlert::new(AlertKind::Recovered, PEER, message));
        }
    }

    pub(super) fn unpermitted(&mut self, now: Now, from: String, reason: String) {
        let message = format!("{from} was turned away: {reason}");
        self.raise(now, NewAlert::new(AlertKind::UnpermittedPeer, "listener", message));
    }

    pub(super) fn certificate_expiring(&mut self, now: Now, subject: String, days: u64) {
        let message = format!("the certificate of {subject} ends in {days} days");
        self.raise(now, NewAlert::new(AlertKind::CertificateExpiring, subject, message));
    }
}

/// Whether this trouble is over when the pair is in sync: what concerned the peer, but not what it left behind here.
fn ends_in_sync(alert: &Alert) -> bool {
    let of_peer = matches!(alert.kind, AlertKind::DiskTrouble | AlertKind::Diverged) && alert.subject == PEER;
    alert.kind.ends_in_sync() || of_peer
}

/// What one ended alert was, in a few words.
fn story(alert: &Alert) -> String {
    let count = alert.count;
    match (alert.kind, alert.revisions) {
        (AlertKind::PushFailed, Some((from, to))) => format!("{count} change sets not pushed ({from} to {to})"),
        (kind, _) => format!("{} x{count}", kind.as_str()),
    }
}
