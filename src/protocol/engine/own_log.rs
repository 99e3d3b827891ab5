//! Where this node's own log stands: its durable head, how far back it reaches, its lineage, and what of it readers see.

use crate::model::{Epoch, Era, History, Position, Relation, Revision};
use crate::protocol::replication::{LogView, Written};
use crate::protocol::wire::Hello;

/// This node's own log.
#[derive(Clone, Debug)]
pub(super) struct OwnLog {
    head: Position,
    /// The group that follows the head and is not durable yet. It may be sent, and shows nowhere.
    written: Option<Written>,
    floor: Revision,
    history: History,
    /// The newest revision that was made visible.
    shown: Revision,
    /// What recovery found to be damaged: changes of this node may be lost.
    damage: Option<String>,
}

impl OwnLog {
    pub(super) fn new(head: Position, floor: Revision, history: History, shown: Revision) -> Self {
        Self { head, written: None, floor, history, shown, damage: None }
    }

    /// What recovery found to be damaged.
    pub(super) fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Recovery found damage.
    pub(super) fn set_damage(&mut self, damage: String) {
        self.damage = Some(damage);
    }

    /// Durable head.
    pub(super) fn head(&self) -> Position {
        self.head
    }

    /// The revision of the durable head.
    pub(super) fn revision(&self) -> Revision {
        self.head.revision
    }

    /// The log holds everything after this.
    pub(super) fn floor(&self) -> Revision {
        self.floor
    }

    /// Lineage up to the head.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// The newest revision that was made visible.
    pub(super) fn shown(&self) -> Revision {
        self.shown
    }

    /// The same for a session.
    pub(super) fn view(&self) -> LogView<'_> {
        LogView { head: self.head, written: self.written, log_floor: self.floor, history: &self.history }
    }

    /// Whether this revision belongs to what is held.
    pub(super) fn contains(&self, revision: Revision) -> bool {
        self.history.contains(self.head.revision, revision)
    }

    /// A group is in the log, and about to be made durable.
    pub(super) fn wrote(&mut self, written: Written) {
        self.written = Some(written);
    }

    /// What became of that group is not known, or nothing is left of it.
    pub(super) fn forget_written(&mut self) {
        self.written = None;
    }

    /// Whether there is such a group.
    pub(super) fn is_writing(&self) -> bool {
        self.written.is_some()
    }

    /// How the peer's history stands to this one.
    pub(super) fn relation(&self, hello: &Hello) -> Relation {
        self.relate(&hello.log.history, hello.log.position.revision)
    }

    /// How another history stands to this one.
    pub(super) fn relate(&self, history: &History, head: Revision) -> Relation {
        self.history.relate(self.head.revision, history, head)
    }

    /// Whether it lacks what the witness records (rule 10). What is older than all eras that a long history still names is held.
    pub(super) fn lacks(&self, recorded: Revision) -> bool {
        let first = self.history.eras().first();
        let older = first.is_some_and(|first| first.first_seq > 1 && recorded.epoch < first.epoch);
        recorded != Revision::NONE && !older && !self.contains(recorded)
    }

    /// The durable head is here now.
    pub(super) fn moved(&mut self, head: Position, floor: Revision) {
        (self.head, self.written) = (head, None);
        self.floor = floor;
    }

    /// Eras of the peer are durable here.
    pub(super) fn follow_eras(&mut self, eras: &[Era]) {
        for era in eras {
            let _follows = self.history.begin(*era);
        }
    }

    /// The era that this head opened is this node's own.
    pub(super) fn begin_own_era(&mut self, node: crate::model::NodeId) {
        let (epoch, first_seq) = (self.head.revision.epoch, self.next_seq());
        let _follows = self.history.begin(Era { epoch, first_seq, node });
    }

    /// The `seq` that the next change set has.
    pub(super) fn next_seq(&self) -> u64 {
        self.head.revision.seq + 1
    }

    /// The store was opened again and holds this.
    pub(super) fn reopened(&mut self, head: Position, floor: Revision, history: History) {
        self.history = history;
        self.moved(head, floor);
    }

    /// A whole snapshot is the configuration now.
    pub(super) fn replaced(&mut self, head: Position, history: Option<History>) {
        if let Some(history) = history {
            self.history = history;
        }
        self.moved(head, head.revision);
        self.shown = head.revision;
    }

    /// Readers see up to here.
    pub(super) fn show(&mut self, upto: Revision) {
        self.shown = upto;
    }

    /// Whether no era was ever begun.
    pub(super) fn is_untouched(&self) -> bool {
        self.history.eras().is_empty()
    }

    /// The epoch of the head.
    pub(super) fn epoch(&self) -> Epoch {
        self.head.revision.epoch
    }

    /// Where a shadow stands whose tail was taken over, and its lineage: at the end of the era before the newest. With the new era in
    /// its lineage it would be taken for one that has it.
    pub(super) fn before_own_era(&self) -> (Position, History) {
        let eras = self.history.eras();
        let before = eras.len().checked_sub(2).and_then(|at| eras.get(at));
        let revision = before.map_or(Revision::NONE, |era| Revision::new(era.epoch, self.head.revision.seq));
        (Position { revision, digest: self.head.digest }, self.history.cut_to(revision))
    }
}
