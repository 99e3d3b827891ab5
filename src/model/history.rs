use serde::{Deserialize, Serialize};

use super::id::NodeId;
use super::limits::HISTORY_ERAS_MAX;
use super::revision::{Epoch, Revision};

/// The lineage of a configuration: its eras, oldest first. It tells whether a position belongs to the lineage, without
/// reading a single record. (DRBD's generation identifiers serve the same purpose.)
///
/// ```
/// use shadowpair::{Epoch, Era, History, NodeId, Revision};
/// let (first, second) = (Epoch::FIRST, Epoch::FIRST.promoted(0));
/// let history = History::from_eras(vec![
///     Era { epoch: first, first_seq: 1, node: NodeId([1; 32]) },
///     Era { epoch: second, first_seq: 11, node: NodeId([2; 32]) },
/// ]);
/// let history = history.ok_or("not in order")?;
/// let head = Revision::new(second, 20);
/// assert!(history.contains(head, Revision::new(first, 10)));
/// // The old master wrote an eleventh change set that the new one never had.
/// assert!(!history.contains(head, Revision::new(first, 11)));
/// assert_eq!(history.epoch_of(15), Some(second));
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    eras: Vec<Era>,
}

/// One epoch in a [`History`]: who wrote, and from which change set on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Era {
    /// The epoch.
    pub epoch: Epoch,
    /// Number of its first change set, or of the one that will be its first.
    pub first_seq: u64,
    /// The node that wrote it.
    pub node: NodeId,
}

/// How the position of another node relates to this node's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Both positions are the same.
    Same,
    /// The other node lacks change sets or eras of this node, and has none that this node lacks.
    Behind,
    /// The other node has change sets or eras that this node lacks, and lacks none of this node.
    Ahead,
    /// Each node has change sets or eras that the other lacks.
    Diverged {
        /// The last position that both have. Its epoch is that of the last common era.
        common: Revision,
    },
    /// The two histories have no era in common, as far as they reach back.
    Foreign,
}

impl History {
    /// The eras, oldest first.
    pub fn eras(&self) -> &[Era] {
        &self.eras
    }

    /// A history of these eras. `None` if there are more than [`HISTORY_ERAS_MAX`], or if they are not in order: epochs must
    /// grow, and the numbers of first change sets must not fall.
    pub fn from_eras(eras: Vec<Era>) -> Option<Self> {
        let ordered = eras.windows(2).all(|two| two[0].epoch < two[1].epoch && two[0].first_seq <= two[1].first_seq);
        (ordered && eras.len() <= HISTORY_ERAS_MAX && eras.iter().all(|era| era.first_seq > 0)).then_some(Self { eras })
    }

    /// Begins an era. Beyond [`HISTORY_ERAS_MAX`] the oldest one is forgotten. Returns whether the era may follow the last
    /// one; if not, nothing changes.
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

    /// The newest era.
    pub fn last(&self) -> Option<&Era> {
        self.eras.last()
    }

    /// The epoch that wrote the change set `seq`, if the history reaches back to it.
    pub fn epoch_of(&self, seq: u64) -> Option<Epoch> {
        self.eras.iter().rev().find(|era| era.first_seq <= seq).map(|era| era.epoch)
    }

    /// Whether a position belongs to this lineage, which ends at `head`.
    pub fn contains(&self, head: Revision, position: Revision) -> bool {
        if position == Revision::NONE {
            return true;
        }
        let Ok(at) = self.eras.binary_search_by_key(&position.epoch, |era| era.epoch) else { return false };
        let end = self.end_of(at, head);
        self.eras[at].first_seq - 1 <= position.seq && position.seq <= end
    }

    /// How `other`, which ends at `other_head`, relates to this history, which ends at `head`.
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
            // Only equal heads contain each other.
            (true, true) => Relation::Same,
            (false, false) => match self.common(head, other, other_head) {
                Some(common) => Relation::Diverged { common },
                None => Relation::Foreign,
            },
        }
    }

    /// The newest position that `writer` wrote in this lineage, which ends at `head`, where `other`, which ends at `other_head`,
    /// lacks it. A writer itself lacks it only if its disk is an older copy. An era that is older than all that `other` still
    /// names counts as held.
    pub fn written_and_lacking(
        &self,
        head: Revision,
        writer: NodeId,
        other: &History,
        other_head: Revision,
    ) -> Option<Revision> {
        let at = self.eras.iter().rposition(|era| era.node == writer && era.epoch <= head.epoch)?;
        let written = Revision::new(self.eras[at].epoch, self.end_of(at, head));
        let forgotten = other.eras.first().is_some_and(|first| first.first_seq > 1 && written.epoch < first.epoch);
        (!forgotten && !other.contains(other_head, written)).then_some(written)
    }

    /// The last position that both lineages have.
    fn common(&self, head: Revision, other: &History, other_head: Revision) -> Option<Revision> {
        self.eras.iter().enumerate().rev().find_map(|(mine, era)| {
            let theirs = other.eras.binary_search_by_key(&era.epoch, |era| era.epoch).ok()?;
            let same = other.eras[theirs] == *era;
            let seq = self.end_of(mine, head).min(other.end_of(theirs, other_head));
            same.then_some(Revision::new(era.epoch, seq))
        })
    }

    /// Number of the last change set of the era at this index.
    fn end_of(&self, at: usize, head: Revision) -> u64 {
        self.eras.get(at + 1).map_or(head.seq, |next| next.first_seq - 1)
    }

    /// The same history up to `position`, which must belong to it.
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
