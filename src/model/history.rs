use serde::{Deserialize, Serialize};

use super::limits::HISTORY_ERAS_MAX;
use super::{Epoch, NodeId, Revision};

/// The eras of a lineage, oldest first: who wrote from which change set on. It tells whether a position belongs to the
/// lineage without any record at hand. (Generation identifiers with the same purpose: DRBD.)
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    eras: Vec<Era>,
}

/// One epoch's part of a [`History`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Era {
    /// Written under this epoch.
    pub epoch: Epoch,
    /// From this change set on; where the era has none yet, the number its first one will have.
    pub first_seq: u64,
    /// By this node.
    pub node: NodeId,
}

/// How another's position stands to one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same position.
    Same,
    /// The other lacks change sets or eras that this side has, and has none of its own.
    Behind,
    /// The other has change sets or eras that this side lacks; this side has none of its own.
    Ahead,
    /// Both have what the other lacks, after this last common position.
    Diverged {
        /// The last position both share. Its epoch is that of the last common era.
        common: Revision,
    },
    /// Nothing in common that either still knows of.
    Foreign,
}

impl History {
    /// The eras, oldest first.
    pub fn eras(&self) -> &[Era] {
        &self.eras
    }

    /// A history of these eras.
    ///
    /// Returns `None` where they are not ordered (epochs strictly, first change sets weakly) or too many.
    pub fn from_eras(eras: Vec<Era>) -> Option<Self> {
        let ordered = eras.windows(2).all(|two| two[0].epoch < two[1].epoch && two[0].first_seq <= two[1].first_seq);
        (ordered && eras.len() <= HISTORY_ERAS_MAX && eras.iter().all(|era| era.first_seq > 0)).then_some(Self { eras })
    }

    /// Begins an era; the oldest is forgotten beyond the bound. Returns whether it follows the last one.
    #[must_use]
    pub fn begin(&mut self, era: Era) -> bool {
        let follows = self.eras.last().is_none_or(|last| last.epoch < era.epoch && last.first_seq <= era.first_seq);
        if follows && era.first_seq > 0 {
            if self.eras.len() == HISTORY_ERAS_MAX {
                self.eras.remove(0);
            }
            self.eras.push(era);
        }
        follows && era.first_seq > 0
    }

    /// The era being written.
    pub fn last(&self) -> Option<&Era> {
        self.eras.last()
    }

    /// The epoch under which `seq` was written, where known.
    pub fn epoch_of(&self, seq: u64) -> Option<Epoch> {
        self.eras.iter().rev().find(|era| era.first_seq <= seq).map(|era| era.epoch)
    }

    /// Whether this position belongs to the lineage whose head is `head`.
    pub fn contains(&self, head: Revision, position: Revision) -> bool {
        if position == Revision::NONE {
            return true;
        }
        let Ok(at) = self.eras.binary_search_by_key(&position.epoch, |era| era.epoch) else { return false };
        let end = self.end_of(at, head);
        self.eras[at].first_seq - 1 <= position.seq && position.seq <= end
    }

    /// How `other`, with its head, stands to this history with its own.
    pub fn relate(&self, head: Revision, other: &History, other_head: Revision) -> Relation {
        if head == other_head {
            return Relation::Same;
        }
        if other_head == Revision::NONE {
            return Relation::Behind;
        }
        if head == Revision::NONE {
            return Relation::Ahead;
        }
        let ahead = other.contains(other_head, head);
        let behind = self.contains(head, other_head);
        match (behind, ahead) {
            (true, false) => Relation::Behind,
            (false, true) => Relation::Ahead,
            // Each contains the other only where both heads are the same.
            (true, true) => Relation::Same,
            (false, false) => match self.common(head, other, other_head) {
                Some(common) => Relation::Diverged { common },
                None => Relation::Foreign,
            },
        }
    }

    /// The last position both lineages share.
    fn common(&self, head: Revision, other: &History, other_head: Revision) -> Option<Revision> {
        self.eras.iter().enumerate().rev().find_map(|(mine, era)| {
            let theirs = other.eras.binary_search_by_key(&era.epoch, |era| era.epoch).ok()?;
            let same = other.eras[theirs] == *era;
            let seq = self.end_of(mine, head).min(other.end_of(theirs, other_head));
            same.then_some(Revision::new(era.epoch, seq))
        })
    }

    /// The last change set of the era at this index.
    fn end_of(&self, at: usize, head: Revision) -> u64 {
        self.eras.get(at + 1).map_or(head.seq, |next| next.first_seq - 1)
    }

    /// The same history, cut back to `position`, which belongs to it.
    #[must_use]
    pub fn cut_to(&self, position: Revision) -> Self {
        Self { eras: self.eras.iter().filter(|era| era.epoch <= position.epoch).copied().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(eras: &[(u32, u64)]) -> History {
        let era =
            |&(term, first_seq): &(u32, u64)| Era { epoch: Epoch::new(term, 0), first_seq, node: NodeId([1; 32]) };
        History::from_eras(eras.iter().map(era).collect()).unwrap()
    }

    fn at(term: u32, seq: u64) -> Revision {
        Revision::new(Epoch::new(term, 0), seq)
    }

    #[test]
    fn positions_of_a_lineage() {
        let own = history(&[(1, 1), (2, 11), (3, 11)]);
        let head = at(3, 20);
        for inside in [Revision::NONE, at(1, 0), at(1, 10), at(2, 10), at(3, 10), at(3, 20)] {
            assert!(own.contains(head, inside), "{inside}");
        }
        for outside in [at(1, 11), at(2, 11), at(2, 9), at(3, 21), at(3, 9), at(4, 12)] {
            assert!(!own.contains(head, outside), "{outside}");
        }
    }

    #[test]
    fn relations() {
        let one = history(&[(1, 1)]);
        let two = history(&[(1, 1), (2, 11)]);
        let fork = history(&[(1, 1), (3, 9)]);
        assert_eq!(one.relate(at(1, 10), &one, at(1, 10)), Relation::Same);
        assert_eq!(two.relate(at(2, 15), &one, at(1, 10)), Relation::Behind);
        assert_eq!(one.relate(at(1, 10), &two, at(2, 15)), Relation::Ahead);
        assert_eq!(two.relate(at(2, 10), &one, at(1, 10)), Relation::Behind);
        assert_eq!(two.relate(at(2, 15), &one, at(1, 12)), Relation::Diverged { common: at(1, 10) });
        assert_eq!(two.relate(at(2, 15), &fork, at(3, 30)), Relation::Diverged { common: at(1, 8) });
        assert_eq!(history(&[(4, 1)]).relate(at(4, 1), &one, at(1, 3)), Relation::Foreign);
        assert_eq!(one.relate(at(1, 3), &History::default(), Revision::NONE), Relation::Behind);
    }

    #[test]
    fn an_era_out_of_order_is_refused() {
        let mut own = history(&[(2, 5)]);
        let era = |term, first_seq| Era { epoch: Epoch::new(term, 0), first_seq, node: NodeId([1; 32]) };
        assert!(!own.begin(era(2, 6)) && !own.begin(era(3, 4)) && own.begin(era(3, 5)));
        assert_eq!(own, history(&[(2, 5), (3, 5)]));
    }
}
