//! Chooses what the audit log is told: what the engine decided, once it is in force, and who caused it.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use crate::model::limits::{AUDIT_OUTSIDE_INTERVAL, AUDIT_OUTSIDE_MAX};
use crate::model::{Epoch, KeyId, NodeId, PinnedKeys};
use crate::node::offload::audit_entry::{Actor, AuditEntry, AuditWord, rfc3339};
use crate::node::offload::audit_log::AuditLog;
use crate::protocol::alerts::{Alert, AlertKind};
use crate::protocol::engine::{
    Action, AlertChange, Command, CommandRefusal, DurableState, Engine, EnrolVerdict, Moment, Notice, OwnKeys,
    Replication, RoleReason, Ticket,
};
use crate::protocol::wire::{Modes, Role};

/// A node that asks to enrol.
pub struct Enrolling {
    pub node: NodeId,
    pub name: String,
    pub from: String,
    /// Where the verdicts go.
    pub verdicts: mpsc::Sender<EnrolVerdict>,
}

/// What a line says beside its word: a field and its value.
type Detail = (&'static str, String);

/// Tells the audit log of one node.
pub struct Auditor {
    log: AuditLog,
    /// Commands that are not answered, by ticket.
    commands: BTreeMap<Ticket, (AuditWord, Option<Detail>)>,
    role: Role,
    /// The epoch under which this node served last.
    served: Option<Epoch>,
    modes: Modes,
    own_key: KeyId,
    peer_keys: Option<(NodeId, PinnedKeys)>,
    outside: Allowance,
    /// What the peer can cause at will.
    of_peer: Allowance,
    /// What the engine was told of the log; `None` where nothing yet.
    told: Option<bool>,
}

/// How many lines strangers and the peer may cause, so that what operators did is not pushed out.
struct Allowance {
    left: u64,
    since: Moment,
    /// Lines that were left out.
    withheld: u64,
}

impl Auditor {
    /// The node starts from this durable state, with these keys; `is_new` where it was made just now.
    pub fn new(log: AuditLog, state: &DurableState, keys: OwnKeys, is_new: bool, at: Moment) -> Self {
        let allowance = || Allowance { left: AUDIT_OUTSIDE_MAX, since: at, withheld: 0 };
        let (outside, of_peer) = (allowance(), allowance());
        let auditor = Self {
            log,
            commands: BTreeMap::new(),
            role: state.role,
            served: None,
            modes: state.moves.modes,
            own_key: keys.current,
            peer_keys: peer_keys(state),
            outside,
            of_peer,
            told: None,
        };
        let record = |what, who| AuditEntry::new(what, who, state.epoch).text("this_node", state.node.to_string());
        match &state.peer {
            Some(peer) if is_new => {
                auditor.record(record(AuditWord::Enrolled, Actor::Peer(peer.node)).text("address", &peer.address));
            }
            None if is_new => auditor.record(record(AuditWord::PairMade, Actor::Node)),
            _ => {}
        }
        let started = record(AuditWord::Started, Actor::Node).text("pair", state.pair.to_string());
        auditor.record(started.text("role", role(state.role)).text("version", env!("CARGO_PKG_VERSION")));
        auditor
    }

    /// An operator gave a command. It is recorded when it is in force.
    pub fn commanded(&mut self, ticket: Ticket, command: &Command) {
        let detail = match command {
            Command::Token(token) | Command::ReplaceShadow(token) => Some(("expires", rfc3339(token.expires_ms))),
            Command::Acknowledge { alert } => Some(("alert", alert.to_string())),
            Command::Replicate(mode) => Some(("mode", replication(*mode).to_owned())),
            _ => None,
        };
        let what = match command {
            Command::Enable => AuditWord::Enabled,
            Command::Disable => AuditWord::Disabled,
            Command::Token(_) => AuditWord::TokenMade,
            Command::Disconnect => AuditWord::LinkHeld,
            Command::Reconnect => AuditWord::LinkReleased,
            Command::Resync => AuditWord::ResyncAsked,
            Command::Reset => AuditWord::Reset,
            Command::Acknowledge { .. } => AuditWord::AlertAcknowledged,
            Command::TakeOver => AuditWord::TakenOver,
            Command::TakeOverAcceptingLoss => AuditWord::LossAccepted,
            Command::Replicate(_) => AuditWord::ReplicationSet,
            Command::SwitchRoles => AuditWord::RolesSwitched,
            Command::Pause(on) => paused(*on),
            Command::Freeze(on) => frozen(*on),
            Command::Rotate => AuditWord::RotationCommanded,
            Command::ReplaceShadow(_) => AuditWord::ShadowReplaced,
            // It has a line of its own.
            Command::Shutdown => return,
        };
        self.commands.insert(ticket, (what, detail));
    }

    /// The engine wants these actions performed.
    pub fn observe(&mut self, at: Moment, engine: &Engine, enrolments: &BTreeMap<u64, Enrolling>, actions: &[Action]) {
        let state = engine.durable_state();
        for action in actions {
            match action {
                Action::AnswerCommand { ticket, answer } => {
                    let in_doubt = matches!(answer, Err(CommandRefusal::InDoubt { .. }));
                    let command = self.commands.remove(ticket).filter(|_| in_doubt || answer.is_ok());
                    if let Some((what, detail)) = command {
                        self.command_done(state, what, detail, in_doubt);
                    }
                }
                Action::AnswerEnrol { ask, verdict } => {
                    if let Some(enrolling) = enrolments.get(ask) {
                        self.enrolment(at, state, enrolling, verdict);
                    }
                }
                Action::Notify(notice) => self.notice(at, state, notice),
                _ => {}
            }
        }
        self.modes_of_peer(at, state);
        self.keys_are(at, state, engine.own_keys());
    }

    /// Tries again to write what could not be written. Returns what the engine is to be told of it, where anything is: the trouble,
    /// or that there is none.
    pub fn look(&mut self) -> Option<Option<String>> {
        let trouble = self.log.trouble();
        let before = self.told.replace(trouble.is_some());
        if trouble.is_some() {
            self.log.retry();
        }
        // It is told again while it lasts: a reset removes every alert.
        (trouble.is_some() || before != Some(false)).then_some(trouble)
    }

    /// The node stops.
    pub fn stopped(&self, engine: &Engine) {
        let state = engine.durable_state();
        let stopped = AuditEntry::new(AuditWord::Stopped, Actor::Node, state.epoch);
        self.record(stopped.text("role", role(state.role)));
    }

    /// Returns when nothing is being written.
    pub async fn settle(&self) {
        self.log.settle().await;
    }

    /// Writes no more.
    pub fn close(&self) {
        self.log.close();
    }

    fn record(&self, entry: AuditEntry) {
        self.log.record(entry);
    }

    fn command_done(&mut self, state: &DurableState, what: AuditWord, detail: Option<Detail>, in_doubt: bool) {
        match what {
            AuditWord::FailoverPaused | AuditWord::FailoverResumed if !in_doubt => {
                self.modes.paused = state.moves.modes.paused;
            }
            AuditWord::Frozen | AuditWord::Unfrozen if !in_doubt => self.modes.frozen = state.moves.modes.frozen,
            _ => {}
        }
        let mut entry = AuditEntry::new(what, Actor::Operator, state.epoch);
        if let Some((name, value)) = detail {
            entry = entry.text(name, value);
        }
        if in_doubt {
            entry = entry.with("in_doubt", true);
        }
        self.record(entry);
    }

    fn enrolment(&mut self, at: Moment, state: &DurableState, enrolling: &Enrolling, verdict: &EnrolVerdict) {
        let who = Actor::Enrolling(enrolling.node, enrolling.from.clone());
        match verdict {
            EnrolVerdict::Accepted { .. } => {}
            EnrolVerdict::Stored => {
                let entry = AuditEntry::new(AuditWord::Enrolled, who, state.epoch);
                // A node that is enrolled may say so again and again.
                self.record_of_peer(at, entry.text("name", &enrolling.name));
            }
            EnrolVerdict::Refused { kind } => {
                let entry = AuditEntry::new(AuditWord::EnrolmentRefused, who, state.epoch);
                self.record_outside(at, entry.text("reason", *kind));
            }
        }
    }

    fn notice(&mut self, at: Moment, state: &DurableState, notice: &Notice) {
        match notice {
            Notice::Role { role, serving, epoch, reason } => self.role_is(*role, *serving, *epoch, *reason),
            Notice::Refused { kind, reason } => {
                let who = state.peer.as_ref().map_or(Actor::Node, |peer| Actor::Peer(peer.node));
                let entry = AuditEntry::new(AuditWord::PeerRefused, who, state.epoch);
                self.record_outside(at, entry.text("kind", kind.as_str()).text("reason", reason));
            }
            Notice::Alert { change: AlertChange::Raised | AlertChange::Updated, alert } => {
                self.alert(at, state, alert);
            }
            _ => {}
        }
    }

    fn role_is(&mut self, role: Role, serving: bool, epoch: Epoch, reason: RoleReason) {
        let was = std::mem::replace(&mut self.role, role);
        let what = match role {
            Role::Master if serving && self.served.replace(epoch) != Some(epoch) => AuditWord::BecameMaster,
            Role::Shadow if was == Role::Master => AuditWord::BecameShadow,
            _ => return,
        };
        let who = if reason == RoleReason::Operator { Actor::Operator } else { Actor::Node };
        self.record(AuditEntry::new(what, who, epoch).text("reason", reason.as_str()));
    }

    /// Only alerts whose text no host and no stranger writes.
    fn alert(&mut self, at: Moment, state: &DurableState, alert: &Alert) {
        let concerns_trust = matches!(
            alert.kind,
            AlertKind::Takeover
                | AlertKind::TwoMasters
                | AlertKind::Diverged
                | AlertKind::DuplicateNode
                | AlertKind::RolledBack
                | AlertKind::KeyMismatch
                | AlertKind::VersionMismatch
        );
        let entry = match alert.kind {
            // Those who asked to enrol have lines of their own.
            AlertKind::UnpermittedPeer if alert.subject != "enrolment" => {
                let who = Actor::Stranger(alert.subject.clone());
                AuditEntry::new(AuditWord::ConnectionRefused, who, state.epoch)
            }
            kind if concerns_trust => {
                let entry = AuditEntry::new(AuditWord::AlertRaised, Actor::Node, state.epoch);
                entry.text("kind", kind.as_str()).text("subject", &alert.subject)
            }
            _ => return,
        };
        self.record_outside(at, entry.text("message", &alert.message).with("count", alert.count));
    }

    /// The peer has told of a pause or a freeze that its operator gave.
    fn modes_of_peer(&mut self, at: Moment, state: &DurableState) {
        let before = std::mem::replace(&mut self.modes, state.moves.modes);
        let turned = [
            (before.paused.on != self.modes.paused.on, paused(self.modes.paused.on)),
            (before.frozen.on != self.modes.frozen.on, frozen(self.modes.frozen.on)),
        ];
        let Some(peer) = &state.peer else { return };
        for (_, what) in turned.into_iter().filter(|(has_turned, _)| *has_turned) {
            self.record_of_peer(at, AuditEntry::new(what, Actor::Peer(peer.node), state.epoch));
        }
    }

    /// A key was renewed, or the peer's next one is permitted.
    fn keys_are(&mut self, at: Moment, state: &DurableState, own: OwnKeys) {
        if std::mem::replace(&mut self.own_key, own.current) != own.current {
            let entry = AuditEntry::new(AuditWord::KeyRenewed, Actor::Node, state.epoch);
            self.record(entry.text("key", own.current.to_string()));
        }
        let now = peer_keys(state);
        let before = std::mem::replace(&mut self.peer_keys, now);
        let (Some((was, before)), Some((node, now))) = (before, now) else { return };
        if was != node {
            return;
        }
        let permitted = now.next.filter(|next| before.next != Some(*next));
        let renewed = Some(now.current).filter(|current| before.current != *current);
        for (key, what) in [(permitted, AuditWord::PeerKeyPermitted), (renewed, AuditWord::PeerKeyRenewed)] {
            if let Some(key) = key {
                let entry = AuditEntry::new(what, Actor::Peer(node), state.epoch);
                self.record_of_peer(at, entry.text("key", key.to_string()));
            }
        }
    }

    /// Records what the peer can cause at will. Strangers use up nothing of that.
    fn record_of_peer(&mut self, at: Moment, entry: AuditEntry) {
        let withheld = self.of_peer.take(at);
        self.record_allowed(withheld, entry);
    }

    /// Records what somebody outside can cause at will.
    fn record_outside(&mut self, at: Moment, entry: AuditEntry) {
        let withheld = self.outside.take(at);
        self.record_allowed(withheld, entry);
    }

    /// Records a line for which an allowance was [taken](Allowance::take), and how many were left out before it.
    fn record_allowed(&self, withheld: Option<u64>, entry: AuditEntry) {
        match withheld {
            Some(0) => self.record(entry),
            Some(withheld) => self.record(entry.with("withheld", withheld)),
            None => {}
        }
    }
}

impl Allowance {
    /// Takes one line. Returns how many were left out before it, or `None` where it is left out too.
    fn take(&mut self, at: Moment) -> Option<u64> {
        let interval_us = u64::try_from(AUDIT_OUTSIDE_INTERVAL.as_micros()).unwrap_or(u64::MAX);
        let earned = at.0.saturating_sub(self.since.0) / interval_us;
        self.since = Moment(self.since.0 + earned * interval_us);
        self.left = (self.left + earned).min(AUDIT_OUTSIDE_MAX);
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Some(std::mem::take(&mut self.withheld))
            }
            None => {
                self.withheld += 1;
                None
            }
        }
    }
}

fn peer_keys(state: &DurableState) -> Option<(NodeId, PinnedKeys)> {
    state.peer.as_ref().map(|peer| (peer.node, peer.keys))
}

fn paused(on: bool) -> AuditWord {
    if on { AuditWord::FailoverPaused } else { AuditWord::FailoverResumed }
}

fn frozen(on: bool) -> AuditWord {
    if on { AuditWord::Frozen } else { AuditWord::Unfrozen }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Master => "master",
        Role::Shadow => "shadow",
    }
}

fn replication(mode: Replication) -> &'static str {
    match mode {
        Replication::Synchronous => "sync",
        Replication::Asynchronous => "async",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_write_more_than_their_part() {
        let interval = u64::try_from(AUDIT_OUTSIDE_INTERVAL.as_micros()).unwrap();
        let mut allowance = Allowance { left: AUDIT_OUTSIDE_MAX, since: Moment(5), withheld: 0 };
        let day = 24 * 3_600 * 1_000_000;
        // A flood of ten a second for a day.
        let written = (0..day).step_by(100_000).filter_map(|at| allowance.take(Moment(5 + at))).count() as u64;
        assert_eq!(written, AUDIT_OUTSIDE_MAX + (day - 100_000) / interval);
        let later = Moment(5 + day + interval);
        assert!(allowance.take(later).is_some_and(|withheld| withheld > 5_000), "they are counted");
        let quiet = Moment(later.0 + 1_000 * interval);
        assert_eq!((0..AUDIT_OUTSIDE_MAX).filter_map(|_| allowance.take(quiet)).sum::<u64>(), 0);
        assert_eq!(allowance.take(quiet), None);
    }
}
