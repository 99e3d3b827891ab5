//! The oracle knows everything that was written, shown, acknowledged and refused on either node, and checks nodes against it.

use std::collections::{BTreeMap, BTreeSet};

use super::store::{Disk, Record, RecordBody};
use crate::campaign::violation::{Checked, Invariant, Violation};
use crate::model::limits::{ALERTS_MAX, TEXT_BYTES_MAX, TOKENS_MAX};
use crate::model::{Epoch, NodeId, Position, Revision};
use crate::protocol::alerts::{Alert, AlertKind, Severity};
use crate::protocol::engine::{DurableState, EngineStatus};
use crate::protocol::wire::{Message, Role};
use crate::testing::Side;

/// Everything that was ever written, shown, acknowledged and refused.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// A peer may be byzantine: then positions that it sends belong to no history.
    byzantine: bool,
    /// Every position that a master wrote, with its record.
    written: BTreeMap<Revision, Record>,
    /// How far each epoch is durable on the node that wrote it.
    durable: BTreeMap<Epoch, u64>,
    /// The revision of each change set.
    changes: BTreeMap<u64, Revision>,
    /// The node that wrote under each epoch.
    writers: BTreeMap<Epoch, NodeId>,
    refused: BTreeSet<u64>,
    acknowledged: [Vec<(Revision, u64)>; 2],
    /// Everything that was acknowledged to any caller, in order.
    promised: Vec<Revision>,
    /// The head at which each node was found to have the first so many of these.
    found: [Option<(Revision, usize)>; 2],
    /// The newest revision that a node has shown while it was shadow.
    shown: [Option<Revision>; 2],
    /// The newest that it has shown in this run.
    shown_in_run: [Option<Revision>; 2],
}

impl Oracle {
    /// The oracle of a history that has not begun.
    pub fn new(byzantine: bool) -> Self {
        Self { byzantine, ..Self::default() }
    }

    /// 4: nobody writes the same position twice with another content, and no two nodes write under one epoch.
    pub fn check_written(&mut self, node: NodeId, records: &[Record]) -> Checked {
        for record in records {
            let revision = record.position.revision;
            let before = self.written.insert(revision, *record);
            Invariant::SameContent.check(before.is_none_or(|before| before == *record), || {
                format!("{revision} was written twice, with different content")
            })?;
            let writer = *self.writers.entry(revision.epoch).or_insert(node);
            Invariant::SameContent
                .check(writer == node, || format!("two nodes write under the epoch {}", revision.epoch))?;
            if let RecordBody::Set(change) = record.content {
                self.changes.insert(change.id, revision);
                Invariant::NothingOfRefused.check(!self.refused.contains(&change.id), || {
                    format!("change set {} was refused and is written as {revision}", change.id)
                })?;
            }
        }
        Ok(())
    }

    /// What this disk holds of its own node's epochs is durable where it was written.
    pub fn note_durable(&mut self, disk: &Disk) {
        let eras = disk.head.history.eras();
        for (at, era) in eras.iter().enumerate().filter(|(_, era)| era.node == disk.node()) {
            let end = eras.get(at + 1).map_or(disk.head.position.revision.seq, |next| next.first_seq - 1);
            let durable = self.durable.entry(era.epoch).or_default();
            *durable = end.max(*durable);
        }
    }

    /// 4: a master wrote this position, with this content.
    pub fn check_known(&self, position: Position) -> Checked {
        if position == Position::NONE || self.byzantine {
            return Ok(());
        }
        let written = self.written.get(&position.revision).map(|record| record.position.digest);
        Invariant::SameContent.check(written == Some(position.digest), || {
            format!("{} has content {:?} here and {written:?} where it was written", position.revision, position.digest)
        })
    }

    /// 3: what readers see is exactly one revision of a master's history, with its content.
    pub fn check_visible(&self, disk: &Disk) -> Checked {
        let Some(visible) = disk.visible_position() else {
            return Invariant::OneRevision.check(false, || format!("{} is visible and not held", disk.visible));
        };
        self.check_known(visible).map_err(|violation| Violation {
            invariant: Invariant::OneRevision,
            what: format!("visible: {violation}"),
        })?;
        let Revision { epoch, seq } = visible.revision;
        let durable = self.durable.get(&epoch).is_some_and(|durable| *durable >= seq);
        let exempt = self.byzantine || visible.revision == Revision::NONE || disk.durable_state.role == Role::Master;
        Invariant::OneRevision.check(durable || exempt, || {
            format!("{} is visible on a shadow, and was never durable where it was written", visible.revision)
        })
    }

    /// 4: what a message claims is durable at its sender.
    pub fn check_message(&self, disk: &Disk, message: &Message) -> Checked {
        let claimed = match message {
            Message::Hello(hello) => hello.log.position,
            Message::Heartbeat(heartbeat) => heartbeat.position,
            Message::HeartbeatAck(ack) => ack.position,
            Message::Ack { position, .. } => *position,
            _ => return Ok(()),
        };
        self.check_known(claimed)?;
        Invariant::SameContent.check(claimed == Position::NONE || disk.holds(claimed.revision), || {
            format!("{} is claimed and not durable here (head {})", claimed.revision, disk.head.position.revision)
        })
    }

    /// 5: a node that serves has a complete copy, the role, and an era of its own, all of them durable.
    pub fn check_serving(&self, disk: &Disk, status: &EngineStatus) -> Checked {
        if !status.serving {
            return Ok(());
        }
        let era = disk.head.history.last();
        let own = era.is_some_and(|era| era.node == disk.node() && era.epoch == status.epoch);
        let rightful = disk.durable_state.role == Role::Master
            && disk.durable_state.complete
            && status.role == Role::Master
            && own;
        Invariant::NoBlankMaster.check(rightful, || {
            let DurableState { role, complete, epoch, .. } = &disk.durable_state;
            format!("serves as {} with {role:?}, complete {complete}, epoch {epoch}, {era:?} durable", status.epoch)
        })
    }

    /// 5: what a shadow has shown stays while it is shadow. Called after every event.
    pub fn check_shown_stays(&mut self, side: Side, disk: &Disk) -> Checked {
        let at = side.index();
        if disk.durable_state.role == Role::Master {
            self.may_be_cut(side);
            return Ok(());
        }
        if let Some(shown) = self.shown[at] {
            Invariant::NoBlankMaster
                .check(disk.holds(shown), || format!("{shown} was shown by the shadow and is gone from its history"))?;
        }
        if let Some(shown) = self.shown_in_run[at] {
            let back = disk.visible.seq < shown.seq;
            Invariant::OneRevision.check(!back, || format!("visible went back from {shown} to {}", disk.visible))?;
        }
        // The newest change set counts: an era without one is no content.
        let seq = disk.visible.seq;
        let set = disk.head.history.epoch_of(seq).map(|epoch| Revision::new(epoch, seq));
        let set_aside = disk.quarantine.iter().any(|(revision, _)| Some(*revision) == set);
        let set = set.filter(|_| !set_aside && seq > 0);
        self.shown_in_run[at] = set;
        // What was shown before a restart may not be shown again at once, and is kept all the same.
        if set.is_none() || self.shown[at].is_none_or(|shown| shown.seq <= seq) {
            self.shown[at] = set;
        }
        Ok(())
    }

    /// The process of a shadow ended. It may show less at first: what it is told again to be durable on its master.
    pub fn ended(&mut self, side: Side) {
        self.shown_in_run[side.index()] = None;
    }

    /// A former master, or a node whose operator allows it, may cut what it has shown.
    pub fn may_be_cut(&mut self, side: Side) {
        (self.shown[side.index()], self.shown_in_run[side.index()]) = (None, None);
    }

    /// 9: an acknowledged change set was written as that revision, and is durable here.
    pub fn check_acknowledged(&mut self, side: Side, disk: &Disk, id: u64, revision: Revision) -> Checked {
        let written = self.changes.get(&id).copied();
        Invariant::NothingOfRefused.check(written == Some(revision) && disk.holds(revision), || {
            format!("change set {id} is acknowledged as {revision}; it was written as {written:?}")
        })?;
        self.acknowledged[side.index()].push((revision, id));
        self.promised.push(revision);
        Ok(())
    }

    /// 2: the first acknowledged revision that this node does not hold.
    pub fn first_missing(&mut self, side: Side, disk: &Disk) -> Option<Revision> {
        let head = disk.head.position.revision;
        let found = &mut self.found[side.index()];
        let from = found.filter(|(at, _)| *at == head).map_or(0, |(_, count)| count);
        let lacking = self.promised[from..].iter().copied().find(|revision| !disk.holds(*revision));
        *found = lacking.is_none().then_some((head, self.promised.len()));
        lacking
    }

    /// 2: the first acknowledged revision that one disk holds and the other does not.
    pub fn first_held_by_one(&self, one: &Disk, other: &Disk) -> Option<Revision> {
        self.promised.iter().copied().find(|revision| one.holds(*revision) && !other.holds(*revision))
    }

    /// A disk was rolled back: what either node kept to undo, or had shown, may be gone.
    pub fn disk_rolled_back(&mut self, side: Side) {
        self.acknowledged = [Vec::new(), Vec::new()];
        self.may_be_cut(side);
    }

    /// 9: a change set in doubt was not written after the revision that the answer names. (It may be before it, where the guard
    /// of another one in the group did not hold.)
    pub fn check_in_doubt(&self, id: u64, revision: Revision) -> Checked {
        let written = self.changes.get(&id).copied();
        Invariant::NothingOfRefused
            .check(written.is_none_or(|written| written.epoch == revision.epoch && written <= revision), || {
                format!("change set {id} is in doubt as {revision} and was written as {written:?}")
            })
    }

    /// 9: a refused change set was not written, and will not be.
    pub fn check_refused(&mut self, id: u64) -> Checked {
        self.refused.insert(id);
        let written = self.changes.get(&id);
        Invariant::NothingOfRefused
            .check(written.is_none(), || format!("change set {id} is refused and was written as {written:?}"))
    }

    /// 9: what this node acknowledged is in its history or in its quarantine.
    pub fn check_kept(&self, side: Side, disk: &Disk) -> Checked {
        for (revision, id) in &self.acknowledged[side.index()] {
            let kept = disk.holds(*revision) || disk.quarantine.contains(&(*revision, *id));
            Invariant::NothingOfRefused.check(kept, || {
                format!("{revision} was acknowledged and is neither in the history nor in quarantine")
            })?;
        }
        Ok(())
    }
}

/// 7: durable state, alerts and texts stay within their limits.
pub fn check_bounds(status: &EngineStatus, durable_state: &DurableState) -> Checked {
    let alerts = status.alerts.len();
    Invariant::Bounded.check(alerts <= ALERTS_MAX, || format!("{alerts} alerts"))?;
    Invariant::Bounded
        .check(durable_state.tokens.len() <= TOKENS_MAX, || format!("{} tokens", durable_state.tokens.len()))?;
    let long = status.alerts.iter().find(|alert| alert.message.len().max(alert.subject.len()) > TEXT_BYTES_MAX);
    Invariant::Bounded.check(long.is_none(), || format!("a text too long: {long:?}"))?;
    for (i, alert) in status.alerts.iter().enumerate() {
        let twice = status.alerts[..i].iter().any(|other| (other.kind, &other.subject) == (alert.kind, &alert.subject));
        Invariant::FailuresShow.check(!twice, || format!("{:?} stands twice for {}", alert.kind, alert.subject))?;
    }
    Ok(())
}

/// 6: a pair that is whole has no failure of a push standing, and one recovery at the most.
pub fn check_failures_ended(status: &EngineStatus) -> Checked {
    let standing = |kind: AlertKind| status.alerts.iter().filter(|alert| alert.kind == kind).count();
    for kind in [AlertKind::PushFailed, AlertKind::PushRejected, AlertKind::ShadowLost, AlertKind::DigestMismatch] {
        Invariant::FailuresShow
            .check(standing(kind) == 0, || format!("{kind:?} still stands although the pair is whole"))?;
    }
    let recovered = standing(AlertKind::Recovered);
    Invariant::FailuresShow.check(recovered <= 1, || format!("{recovered} recoveries stand"))
}

/// Whether an error says that a person is needed.
pub fn needs_operator(status: &EngineStatus) -> bool {
    let error = |alert: &Alert| alert.kind == AlertKind::NeedsOperator && alert.severity == Severity::Error;
    status.alerts.iter().any(error)
}
