//! What a witness and synchronous replication promise: one holder of mastership, and nothing acknowledged that is lost.

use std::collections::BTreeSet;

use super::step::Side;
use super::violation::{Checked, Invariant};
use super::world::World;
use crate::model::{Epoch, Position, Revision, WitnessRecord};
use crate::protocol::engine::{Replication, Ticket};
use crate::protocol::wire::Role;

/// What takes one of the promises away from a history.
#[derive(Clone, Debug, Default)]
pub struct Exemptions {
    /// At some time a commit did not wait for the shadow.
    asynchronous: bool,
    /// An operator accepted a loss, or a disk forgot what only it was to remember.
    lost: bool,
    /// An operator accepted a loss.
    waived: bool,
    /// Operators' words that accept a loss and are not answered yet.
    accepting: BTreeSet<(Side, Ticket)>,
    /// Whose disk is not what it once was.
    pub rolled_back: [bool; 2],
}

impl Exemptions {
    /// Of a history whose commits wait like this.
    pub fn new(replication: Replication) -> Self {
        Self { asynchronous: replication == Replication::Asynchronous, ..Self::default() }
    }

    /// From now on some commits may not wait for the shadow.
    pub fn does_not_wait(&mut self) {
        self.asynchronous = true;
    }

    /// Whether some commit may not have waited for the shadow.
    pub fn is_asynchronous(&self) -> bool {
        self.asynchronous
    }

    /// What was acknowledged may be lost from now on.
    pub fn may_lose(&mut self) {
        self.lost = true;
    }

    /// An operator accepts a loss, if the node does.
    pub fn accepts(&mut self, side: Side, ticket: Ticket) {
        self.accepting.insert((side, ticket));
    }

    /// The node refused: nothing was accepted.
    pub fn refused(&mut self, side: Side, ticket: Ticket) {
        self.accepting.remove(&(side, ticket));
    }

    /// The node ended, or did it.
    pub fn accepted(&mut self, side: Side, ticket: Option<Ticket>) {
        let before = self.accepting.len();
        self.accepting.retain(|(at, number)| *at != side || ticket.is_some_and(|ticket| ticket != *number));
        self.waived |= self.accepting.len() < before;
        self.lost |= self.waived;
    }

    /// An operator accepted a loss, or may have.
    pub fn is_waived(&self) -> bool {
        self.waived || !self.accepting.is_empty()
    }

    fn is_accepted_by_none(&self) -> bool {
        !self.lost && self.accepting.is_empty()
    }

    fn promises_nothing_lost(&self) -> bool {
        !self.asynchronous && self.is_accepted_by_none()
    }
}

impl World {
    /// Whether a node holds mastership at this moment, standing still or not.
    pub fn holds_mastership(&self, side: Side) -> bool {
        let host = &self.hosts[side.index()];
        host.engine.as_ref().is_some_and(|engine| {
            let cover = engine.authority();
            cover.serving && host.clock.at(self.now) <= cover.until
        })
    }

    /// Whether 1 is promised: the witness says who may be master.
    pub fn promises_one_master(&self) -> bool {
        // Whoever was forgotten can be made master beside the one who forgot it, by an operator who accepts that.
        let forced = self.unpaired() && self.exemptions.is_waived();
        self.plan.witnessed && !self.plan.hostile && !self.register.regressed && !forced
    }

    /// Whether 2 is promised to this history.
    pub fn promises_nothing_lost(&self) -> bool {
        self.promises_one_master() && !self.register.tampered && self.exemptions.promises_nothing_lost()
    }

    /// 1: never two nodes hold mastership. 2: whoever holds it has everything that was acknowledged.
    pub fn one_holder(&mut self) -> Checked {
        if !self.promises_one_master() {
            return Ok(());
        }
        let holds = Side::BOTH.map(|side| self.holds_mastership(side));
        Invariant::OneMaster.check(holds != [true; 2], || "both nodes hold mastership".into())?;
        for side in Side::BOTH {
            let host = &mut self.hosts[side.index()];
            let held = std::mem::replace(&mut host.held, holds[side.index()]);
            let begins = holds[side.index()] && !held;
            if holds[side.index()] && self.promises_nothing_lost() {
                self.has_all(side)?;
            }
            self.knows_recorded(side, begins)?;
        }
        Ok(())
    }

    /// 2: who begins to hold mastership has what it has read that the witness had recorded, even on a disk that was rolled_back
    /// back: that is how such a disk is found out. Unless an operator accepted the loss.
    fn knows_recorded(&self, side: Side, begins: bool) -> Checked {
        if !begins || self.exemptions.is_waived() || self.register.tampered {
            return Ok(());
        }
        let host = &self.hosts[side.index()];
        let read = host.read_record(self.now).map_or(Revision::NONE, |record| record.revision);
        Invariant::NothingLost.check(holds_or_none(&host.disk, read), || {
            format!("{side:?} leads without {read}, which the witness had recorded, and knows that")
        })
    }

    /// 2: this node has everything that was acknowledged to any caller.
    pub fn has_all(&mut self, side: Side) -> Checked {
        let disk = &self.hosts[side.index()].disk;
        let lacking = self.oracle.lacking(side, disk);
        Invariant::NothingLost.check(lacking.is_none(), || {
            format!("{side:?} leads, or is named as in sync, without {lacking:?}, which was acknowledged")
        })
    }

    /// Whether a node's disk has everything that was acknowledged.
    pub fn is_full_copy(&mut self, side: Side) -> bool {
        let disk = &self.hosts[side.index()].disk;
        self.oracle.lacking(side, disk).is_none()
    }

    /// 1 and 2 at an acknowledgement.
    pub fn acknowledges(&mut self, side: Side, revision: Revision, replicated: bool) -> Checked {
        let other = side.other();
        if self.promises_one_master() {
            let covered = self.hosts[side.index()].covered || self.holds_mastership(side);
            Invariant::OneMaster.check(covered, || format!("{side:?} acknowledged {revision} outside its cover"))?;
            let rival = self.holds_mastership(other);
            Invariant::OneMaster
                .check(!rival, || format!("{side:?} acknowledged {revision} while {other:?} holds mastership"))?;
        }
        if replicated && !self.plan.hostile && self.exemptions.rolled_back == [false; 2] {
            let both = Side::BOTH.map(|side| self.hosts[side.index()].disk.holds(revision));
            Invariant::NothingLost.check(both == [true; 2], || {
                format!("{revision} is called durable on both nodes and is durable on {both:?}")
            })?;
        }
        Ok(())
    }

    /// 2: after an acknowledgement or a swap, whoever the record names as in sync holds everything acknowledged.
    pub fn named_holds_all(&mut self) -> Checked {
        if !self.promises_nothing_lost() {
            return Ok(());
        }
        let Some(named) = self.register.record().and_then(|record| record.in_sync) else { return Ok(()) };
        let named = Side::BOTH.into_iter().find(|side| self.hosts[side.index()].disk.node() == named);
        let Some(named) = named.filter(|named| !self.exemptions.rolled_back[named.index()]) else { return Ok(()) };
        self.has_all(named)
    }

    /// Who swaps holds what it claims, and its term is durable, before the question is sent.
    pub fn claims(&mut self, side: Side, record: &WitnessRecord) -> Checked {
        if self.plan.hostile {
            return Ok(());
        }
        let disk = &self.hosts[side.index()].disk;
        let copied = self.register.record().map_or(Revision::NONE, |record| record.revision);
        let held = record.revision <= copied || holds_or_none(disk, record.revision);
        Invariant::RegisterRises
            .check(held, || format!("{side:?} records {}, which is not durable there", record.revision))?;
        let holder = self.hosts.iter().find(|host| host.disk.node() == record.holder);
        let noted = holder.is_some_and(|host| {
            let durable_state = &host.disk.durable_state;
            durable_state.tried.max(durable_state.epoch).max(host.disk.head.position.revision.epoch) >= record.epoch
        });
        let rolled_back = self.exemptions.rolled_back != [false; 2];
        Invariant::RegisterRises.check(noted || rolled_back, || {
            format!("{side:?} records the epoch {}, which is not durable on its holder", record.epoch)
        })
    }

    /// No swap lowers the recorded revision or the epoch, nor makes a record anew.
    pub fn swapped(&mut self, side: Side, record: &WitnessRecord, late: bool) -> Checked {
        if self.plan.hostile {
            return Ok(());
        }
        let excused = self.register.regressed || self.exemptions.rolled_back != [false; 2];
        match self.register.record() {
            Some(before) => {
                // An operator who accepts a loss gives up, by name, what is recorded and not there any more.
                let rises = record.revision >= before.revision || self.exemptions.is_waived();
                Invariant::RegisterRises.check(excused || rises && record.epoch >= before.epoch, || {
                    format!("{side:?} lowers the record from {before:?} to {record:?}")
                })?;
                let same = record.pair == before.pair;
                Invariant::RegisterRises
                    .check(same, || format!("{side:?} replaces the record of another pair: {before:?}"))?;
            }
            None => {
                // An operator who accepts a loss may have it made; and a node that has never seen one cannot know better.
                let unseen = self.hosts[side.index()].disk.durable_state.witnessed == Epoch::NONE;
                // One that was asked for before the record went, and lands after it, is nobody's decision.
                let excused = excused || unseen || late || !self.exemptions.is_accepted_by_none();
                Invariant::RegisterRises.check(!self.register.tampered || excused, || {
                    format!("{side:?} made a record anew although there had been one")
                })?;
            }
        }
        Ok(())
    }

    /// Whether peer or witness know of an epoch of this node's, and will be there to say so.
    pub fn is_remembered(&self, side: Side) -> bool {
        if self.plan.gone == Some(side.other()) && !self.plan.witnessed {
            return self.hosts[side.index()].disk.head.position == Position::NONE;
        }
        let peer = self.hosts[side.other().index()].disk.head.position.revision.epoch != Epoch::NONE;
        let record = self.register.record().is_some_and(|record| record.revision != Revision::NONE);
        peer || record || self.hosts[side.index()].disk.head.position == Position::NONE
    }

    /// A disk is about to become what it once was: what can no longer be promised.
    pub fn forgets(&mut self, side: Side) {
        let other = self.hosts[side.other().index()].disk.node();
        let unneeded = self.register.record().is_some_and(|record| record.holder == other && record.in_sync.is_none());
        if !unneeded || self.swaps_under_way() {
            self.exemptions.may_lose();
        }
        self.exemptions.rolled_back[side.index()] = true;
    }

    /// An operator's full push may replace a copy by one that has less: then that is accepted.
    pub fn resync_may_lose(&mut self, side: Side) {
        let role = |side: Side| self.hosts[side.index()].disk.durable_state.role;
        let source = if role(side) == Role::Master { side } else { side.other() };
        let unclear = role(side) == role(side.other());
        if unclear || !self.is_full_copy(source) {
            self.exemptions.may_lose();
        }
    }
}

fn holds_or_none(disk: &super::store::Disk, revision: Revision) -> bool {
    revision == Revision::NONE || disk.holds(revision)
}
