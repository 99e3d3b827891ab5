//! The alert log of this node, and what has been entered into it already. Texts: [`texts`].
//!
//! | | change sets not pushed | link down for three intervals | in sync again | a peer enrolled |
//! |---|---|---|---|---|
//! | quiet | counted, `push_failed` | `shadow_lost`, lost | - | counts from here |
//! | lost | counted | - | `recovered`, quiet | counts from here, quiet |
//!
//! The host hears of an alert at once when it begins and when it ends, and of further occurrences at most once in a while.

mod operator_states;
mod subject;
pub(super) mod texts;

pub use operator_states::Undialable;
pub(super) use operator_states::{OperatorState, OperatorStates};
pub(super) use subject::Subject;

use super::durable::ClockStep;
use super::{Alert, AlertChange, AlertKind, LinkId, Moment, Now, RepairKind};
use crate::model::limits::{ALERT_UPDATE_INTERVAL, UNPERMITTED_QUIET, UNPERMITTED_SOURCES_MAX};
use crate::model::{Epoch, Position, Revision, RunId};
use crate::protocol::alerts::{AlertLog, NewAlert};
use crate::protocol::failover::micros;

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
    copies: KnownCopies,
    told: Vec<Told>,
    operator_states: OperatorStates,
}

/// Copies of a node that were heard of in this run.
#[derive(Clone, Copy, Debug, Default)]
struct KnownCopies {
    /// The second node with the peer's identity that was refused last.
    refused: Option<RunId>,
    /// Of which one the first was told last, and on which connection.
    told: Option<(RunId, LinkId)>,
    /// The second node with this node's identity that the peer has refused last.
    own: Option<RunId>,
}

/// An alert whose further occurrences the host was told of.
#[derive(Clone, Copy, Debug)]
struct Told {
    alert: u64,
    /// When it was told last.
    at: Moment,
    /// It has occurred again since, and the host was not told of that yet.
    again: bool,
}

impl Alerts {
    /// What stood before a restart. What stood then was counted up to there; what came after was not pushed either.
    pub(super) fn restore(at: Moment, alerts: Vec<Alert>, next: u64, head: Revision) -> Self {
        let log = AlertLog::restore(alerts, next);
        let counted = log.find(AlertKind::PushFailed).and_then(|alert| alert.revisions);
        Self {
            counted_seq: counted.map_or(head.seq, |(_, to)| to.seq),
            peer_lost: log.find(AlertKind::ShadowLost).is_some(),
            skew_us: 0,
            rival: None,
            told: Vec::new(),
            operator_states: OperatorStates::new(at),
            copies: KnownCopies::default(),
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
    pub(super) fn stands_about(&self, kind: AlertKind, subject: Subject) -> bool {
        self.log.alerts().iter().any(|alert| alert.kind == kind && subject.is_of(alert))
    }

    /// Whether a disk, here or at the peer, does not take what the pair needs.
    pub(super) fn disk_fails(&self) -> bool {
        self.log.alerts().iter().any(|alert| alert.kind == AlertKind::DiskTrouble && !Subject::Audit.is_of(alert))
    }

    /// Enters an alert.
    pub(super) fn raise(&mut self, now: Now, alert: NewAlert) -> (AlertChange, Alert) {
        self.log.raise(alert, now.wall_ms)
    }

    /// The wall clock was set: the times of what stands move with it.
    pub(super) fn clock_set(&mut self, step: ClockStep) {
        self.log.for_each(|alert| step.shift_alert(alert));
    }

    /// What stands, for people: no time of it lies ahead.
    pub(super) fn shown(&self, wall_ms: u64) -> Vec<Alert> {
        let shown = |alert: &Alert| {
            let (first_ms, last_ms) = (alert.first_ms.min(wall_ms), alert.last_ms.min(wall_ms));
            Alert { first_ms, last_ms, ..alert.clone() }
        };
        self.log.alerts().iter().map(shown).collect()
    }

    /// Ends what fits, and returns it.
    pub(super) fn clear(&mut self, fits: impl Fn(&Alert) -> bool) -> Vec<Alert> {
        self.log.clear(fits)
    }

    // What the host is told.

    /// An alert occurred again. Returns whether the host is told now; otherwise [`Alerts::take_untold`] has it later.
    pub(super) fn tell_again(&mut self, at: Moment, alert: u64) -> bool {
        let Some(told) = self.told.iter_mut().find(|told| told.alert == alert) else {
            self.told.push(Told { alert, at, again: false });
            return true;
        };
        let now = at >= told.due();
        (told.at, told.again) = if now { (at, false) } else { (told.at, true) };
        now
    }

    /// The alerts that have occurred since the host was told of them, where it is time again.
    pub(super) fn take_untold(&mut self, at: Moment) -> Vec<Alert> {
        let (told, alerts) = (&mut self.told, self.log.alerts());
        told.retain(|told| alerts.iter().any(|alert| alert.id == told.alert));
        let mut untold = Vec::new();
        for told in told.iter_mut().filter(|told| told.again && at >= told.due()) {
            (told.at, told.again) = (at, false);
            untold.extend(alerts.iter().find(|alert| alert.id == told.alert).cloned());
        }
        untold
    }

    /// When the host is told again.
    pub(super) fn untold_deadline(&self) -> Option<Moment> {
        self.told.iter().filter(|told| told.again).map(Told::due).min()
    }

    // States that only a person ends.

    pub(super) fn operator_states(&mut self) -> &mut OperatorStates {
        &mut self.operator_states
    }

    pub(super) fn operator_states_seen(&self) -> &OperatorStates {
        &self.operator_states
    }

    // Strangers.

    /// The subject of the alert about a stranger: its address, or what all further addresses share.
    pub(super) fn subject_of_stranger(&self, from: String) -> String {
        let mut strangers = self.log.alerts().iter().filter(|alert| alert.kind == AlertKind::UnpermittedPeer);
        let room = strangers.clone().count() < UNPERMITTED_SOURCES_MAX;
        if room || strangers.any(|alert| alert.subject == from) { from } else { Subject::OtherAddresses.into() }
    }

    /// Ends the alerts about strangers of whom nothing was seen for long.
    pub(super) fn end_quiet(&mut self, wall_ms: u64) -> Vec<Alert> {
        self.clear(|alert| quiet_at_ms(alert).is_some_and(|quiet_ms| wall_ms >= quiet_ms))
    }

    /// When the next of them ends.
    pub(super) fn quiet_deadline(&self, now: Now) -> Option<Moment> {
        let quiet_ms = self.log.alerts().iter().filter_map(quiet_at_ms).min()?;
        let left_us = quiet_ms.saturating_sub(now.wall_ms).saturating_mul(1_000);
        Some(Moment(now.at.0.saturating_add(left_us)))
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
        self.copies.refused.replace(run) == Some(run) && self.stands_about(AlertKind::DuplicateNode, Subject::Peer)
    }

    /// Whether the first of two nodes with the peer's identity was told of the second one on this connection. Remembers it.
    pub(super) fn was_told_of_copy(&mut self, run: RunId, link: LinkId) -> bool {
        self.copies.told.replace((run, link)) == Some((run, link))
    }

    /// Whether an alert stands about this very second node with this node's identity. Remembers it.
    pub(super) fn is_known_copy(&mut self, run: RunId) -> bool {
        self.copies.own.replace(run) == Some(run) && self.stands_about(AlertKind::DuplicateNode, Subject::OwnCopy)
    }

    /// Whether this very master was met already. Remembers it.
    pub(super) fn is_known_rival(&mut self, run: RunId, epoch: Epoch) -> bool {
        self.rival.replace((run, epoch)) == Some((run, epoch))
    }
}

impl Told {
    /// When the host may be told again.
    fn due(&self) -> Moment {
        Moment(self.at.0.saturating_add(micros(ALERT_UPDATE_INTERVAL)))
    }
}

/// When an alert goes by itself because nothing more has come of it, by the wall clock.
fn quiet_at_ms(alert: &Alert) -> Option<u64> {
    let quiet_ms = alert.last_ms.saturating_add(micros(UNPERMITTED_QUIET) / 1_000);
    (alert.kind == AlertKind::UnpermittedPeer).then_some(quiet_ms)
}

/// Whether this alert is over when the pair is in sync: what concerned the peer, but not what it left behind here.
fn ends_in_sync(alert: &Alert) -> bool {
    let of_peer = matches!(alert.kind, AlertKind::DiskTrouble | AlertKind::Diverged) && Subject::Peer.is_of(alert);
    alert.kind.ends_in_sync() || of_peer
}

/// The warning that is left of alerts that ended in this repair.
pub(super) fn recovered(now: Now, how: RepairKind, ended: &[Alert]) -> Option<NewAlert> {
    let first_ms = ended.iter().map(|alert| alert.first_ms).min()?;
    let seconds = now.wall_ms.saturating_sub(first_ms) / 1_000;
    Some(NewAlert::new(AlertKind::Recovered, Subject::Peer, texts::recovered(how, seconds, ended)))
}

/// A digest differs at this position.
pub(super) fn digest_mismatch(theirs: Position) -> NewAlert {
    let alert = NewAlert::new(AlertKind::DigestMismatch, Subject::Peer, texts::digest_mismatch(theirs.revision));
    NewAlert { revisions: Some((theirs.revision, theirs.revision)), ..alert }
}

#[cfg(test)]
mod tests;
