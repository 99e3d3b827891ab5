//! Invariants 1 and 2: what a witness and synchronous replication promise. One node holds mastership, and nothing acknowledged
//! is lost.

use super::store::Disk;
use super::world::World;
use crate::campaign::violation::{Checked, Invariant};
use crate::model::{Epoch, Position, Revision, WitnessRecord};
use crate::protocol::wire::Role;
use crate::testing::Side;

impl World {
    /// Whether a node holds mastership now, standing still or not.
    pub fn holds_mastership(&self, side: Side) -> bool {
        let machine = &self.machines[side.index()];
        machine.engine.as_ref().is_some_and(|engine| {
            let authority = engine.authority();
            authority.serving && machine.clock.at(self.now) <= authority.until
        })
    }

    /// Whether 1 is promised to this history: the witness says who may be master.
    pub fn promises_one_master(&self) -> bool {
        // An operator who accepts a loss can make a node master whose peer has forgotten it.
        let forced = self.is_unpaired() && self.exemptions.is_loss_accepted();
        self.plan.witnessed && !self.plan.byzantine && !self.witness.regressed && !forced
    }

    /// Whether 2 is promised to this history.
    pub fn promises_nothing_lost(&self) -> bool {
        self.promises_one_master() && !self.witness.tampered && self.exemptions.promises_nothing_lost()
    }

    /// 1: two nodes never hold mastership at once. 2: the node that holds it has everything acknowledged.
    pub fn check_one_master(&mut self) -> Checked {
        if !self.promises_one_master() {
            return Ok(());
        }
        let holds = Side::BOTH.map(|side| self.holds_mastership(side));
        Invariant::OneMaster.check(holds != [true; 2], || "both nodes hold mastership".into())?;
        for side in Side::BOTH {
            // Unless an old copy of the disk brought it back.
            let machine = &self.machines[side.index()];
            let replaced = machine.callers.replaced_peer && machine.disk.durable_state.peer.is_none();
            Invariant::OneMaster.check(!(replaced && holds[side.other().index()]), || {
                format!("{:?} was replaced and holds mastership", side.other())
            })?;
        }
        for side in Side::BOTH {
            let machine = &mut self.machines[side.index()];
            let held = std::mem::replace(&mut machine.observed.held, holds[side.index()]);
            let begins = holds[side.index()] && !held;
            if holds[side.index()] && self.promises_nothing_lost() {
                self.check_holds_all_acknowledged(side)?;
            }
            self.check_recorded_revision(side, begins)?;
        }
        Ok(())
    }

    /// 2: a node that begins to hold mastership has the revision that it read at the witness. That is how a disk that was rolled
    /// back is found out. Exempt: an operator accepted the loss.
    fn check_recorded_revision(&self, side: Side, begins: bool) -> Checked {
        if !begins || self.exemptions.is_loss_accepted() || self.witness.tampered {
            return Ok(());
        }
        let machine = &self.machines[side.index()];
        let read = machine.read_record(self.now).map_or(Revision::NONE, |record| record.revision);
        Invariant::NothingLost.check(holds_or_none(&machine.disk, read), || {
            format!("{side:?} leads without {read}, which the witness had recorded, and knows that")
        })
    }

    /// 2: this node has everything that was acknowledged to any caller.
    pub fn check_holds_all_acknowledged(&mut self, side: Side) -> Checked {
        let disk = &self.machines[side.index()].disk;
        let lacking = self.oracle.first_missing(side, disk);
        Invariant::NothingLost.check(lacking.is_none(), || {
            format!("{side:?} leads, or is named as in sync, without {lacking:?}, which was acknowledged")
        })
    }

    /// Whether a node's disk has everything that was acknowledged.
    pub fn is_full_copy(&mut self, side: Side) -> bool {
        let disk = &self.machines[side.index()].disk;
        self.oracle.first_missing(side, disk).is_none()
    }

    /// 1 and 2 at an acknowledgement.
    pub fn check_acknowledgement(&mut self, side: Side, revision: Revision, replicated: bool) -> Checked {
        let other = side.other();
        if self.promises_one_master() {
            let held = self.machines[side.index()].observed.held_before_event || self.holds_mastership(side);
            Invariant::OneMaster.check(held, || format!("{side:?} acknowledged {revision} without authority"))?;
            let rival = self.holds_mastership(other);
            Invariant::OneMaster
                .check(!rival, || format!("{side:?} acknowledged {revision} while {other:?} holds mastership"))?;
        }
        if replicated && !self.plan.byzantine && self.exemptions.rolled_back == [false; 2] {
            let both = Side::BOTH.map(|side| self.machines[side.index()].disk.holds(revision));
            Invariant::NothingLost.check(both == [true; 2], || {
                format!("{revision} is called durable on both nodes and is durable on {both:?}")
            })?;
        }
        Ok(())
    }

    /// 2: the node that the record names as in sync has everything acknowledged. Checked after acknowledgements and swaps.
    pub fn check_in_sync_node(&mut self) -> Checked {
        if !self.promises_nothing_lost() {
            return Ok(());
        }
        let Some(named) = self.witness.record().and_then(|record| record.in_sync) else {
            return Ok(());
        };
        let named = Side::BOTH.into_iter().find(|side| self.machines[side.index()].disk.node() == named);
        let Some(named) = named.filter(|named| !self.exemptions.rolled_back[named.index()]) else {
            return Ok(());
        };
        self.check_holds_all_acknowledged(named)
    }

    /// A planned switch of roles, when it is handed over: the master has let go for good, the shadow has noted the term, and holds
    /// everything that was acknowledged and that the master holds, whatever the replication.
    pub fn check_hand_over(&mut self, side: Side, epoch: Epoch) -> Checked {
        if self.plan.byzantine {
            return Ok(());
        }
        self.journal.summary.switches += 1;
        let holds = self.holds_mastership(side);
        Invariant::OneMaster.check(!holds, || format!("{side:?} hands over and holds mastership"))?;
        let (own, peer) = (&self.machines[side.index()].disk, &self.machines[side.other().index()].disk);
        let recorded = self.witness.record().is_some_and(|record| record.epoch >= epoch);
        let let_go = if self.plan.witnessed {
            recorded || self.witness.tampered
        } else {
            own.durable_state.role == Role::Shadow
        };
        Invariant::OneMaster
            .check(let_go, || format!("{side:?} hands over {epoch} and may be master after a restart"))?;
        if self.exemptions.rolled_back != [false; 2] {
            return Ok(());
        }
        let noted = peer.durable_state.tried.max(peer.durable_state.epoch) >= epoch;
        Invariant::WholeAgain
            .check(noted, || format!("{side:?} hands over {epoch}, which is not durable on its peer"))?;
        let lost = self.oracle.first_held_by_one(own, peer);
        Invariant::NothingLost
            .check(lost.is_none(), || format!("{side:?} hands over without {lost:?}, which was acknowledged"))
    }

    /// What a swap records is durable before it is sent: the revision at this node, the epoch at the holder.
    pub fn check_swap_request(&mut self, side: Side, record: &WitnessRecord) -> Checked {
        if self.plan.byzantine {
            return Ok(());
        }
        let disk = &self.machines[side.index()].disk;
        let copied = self.witness.record().map_or(Revision::NONE, |record| record.revision);
        let held = record.revision <= copied || holds_or_none(disk, record.revision);
        Invariant::RegisterRises
            .check(held, || format!("{side:?} records {}, which is not durable there", record.revision))?;
        let holder = self.machines.iter().find(|machine| machine.disk.node() == record.holder);
        let noted = holder.is_some_and(|machine| {
            let durable_state = &machine.disk.durable_state;
            durable_state.tried.max(durable_state.epoch).max(machine.disk.head.position.revision.epoch) >= record.epoch
        });
        let rolled_back = self.exemptions.rolled_back != [false; 2];
        Invariant::RegisterRises.check(noted || rolled_back, || {
            format!("{side:?} records the epoch {}, which is not durable on its holder", record.epoch)
        })
    }

    /// No swap lowers the recorded revision or the epoch, nor makes a record anew.
    pub fn check_swap(&mut self, side: Side, record: &WitnessRecord, late: bool) -> Checked {
        if self.plan.byzantine {
            return Ok(());
        }
        let excused = self.witness.regressed || self.exemptions.rolled_back != [false; 2];
        match self.witness.record() {
            Some(before) => {
                // An operator who accepts a loss gives up what is recorded and no longer there.
                let rises = record.revision >= before.revision || self.exemptions.is_loss_accepted();
                Invariant::RegisterRises.check(excused || rises && record.epoch >= before.epoch, || {
                    format!("{side:?} lowers the record from {before:?} to {record:?}")
                })?;
                let same = record.pair == before.pair;
                Invariant::RegisterRises
                    .check(same, || format!("{side:?} replaces the record of another pair: {before:?}"))?;
            }
            None => {
                // An operator who accepts a loss may order it, and a node that never saw a record cannot know.
                let unseen = self.machines[side.index()].disk.durable_state.witnessed == Epoch::NONE;
                // A swap sent before the record was lost, and arriving after, was no decision about it.
                let excused = excused || unseen || late || !self.exemptions.nothing_lost_yet();
                Invariant::RegisterRises.check(!self.witness.tampered || excused, || {
                    format!("{side:?} made a record anew although there had been one")
                })?;
            }
        }
        Ok(())
    }

    /// Whether the peer or the witness knows of an epoch of this node, and will be there to say so.
    pub fn is_remembered(&self, side: Side) -> bool {
        if self.plan.gone == Some(side.other()) && !self.plan.witnessed {
            return self.machines[side.index()].disk.head.position == Position::NONE;
        }
        let peer = self.machines[side.other().index()].disk.head.position.revision.epoch != Epoch::NONE;
        let record = self.witness.record().is_some_and(|record| record.revision != Revision::NONE);
        peer || record || self.machines[side.index()].disk.head.position == Position::NONE
    }

    /// A disk is about to be rolled back: notes what can no longer be promised.
    pub fn note_rollback(&mut self, side: Side) {
        let other = self.machines[side.other().index()].disk.node();
        let unneeded = self.witness.record().is_some_and(|record| record.holder == other && record.in_sync.is_none());
        if !unneeded || self.schedule.has_swap() {
            self.exemptions.may_lose();
        }
        self.exemptions.rolled_back[side.index()] = true;
    }

    /// A full push that an operator ordered may replace a copy by one that has less. Then a loss is accepted.
    pub fn note_resync(&mut self, side: Side) {
        let role = |side: Side| self.machines[side.index()].disk.durable_state.role;
        let source = if role(side) == Role::Master { side } else { side.other() };
        let unclear = role(side) == role(side.other());
        if unclear || !self.is_full_copy(source) {
            self.exemptions.may_lose();
        }
    }
}

fn holds_or_none(disk: &Disk, revision: Revision) -> bool {
    revision == Revision::NONE || disk.holds(revision)
}
