//! Who served when, and whether that can be right. Why this is sound stands in the test's own documentation.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// Microseconds of this machine's wall clock.
pub type Wall = u64;

/// An epoch: term and incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64, pub u64);

impl Epoch {
    /// From `TERM.INCARNATION`.
    pub fn parse(text: &str) -> Option<Self> {
        let (term, incarnation) = text.split_once('.')?;
        Some(Self(term.parse().ok()?, incarnation.parse().ok()?))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// A node served as this epoch, at a moment between these two.
#[derive(Clone, Debug)]
pub struct Evidence {
    pub node: usize,
    pub epoch: Epoch,
    /// Where nothing is known of it, it proves only that the reign had begun by `not_after`.
    pub not_before: Option<Wall>,
    pub not_after: Wall,
    /// The position that it acknowledged, if it did.
    pub acknowledged: Option<u64>,
    /// What it said, for people.
    pub said: String,
}

/// Hears all evidence, in any order.
#[derive(Default)]
pub struct Judge {
    reigns: BTreeMap<Epoch, Reign>,
    positions: HashMap<(Epoch, u64), String>,
    findings: Vec<String>,
}

struct Reign {
    /// Had begun by its `not_after`, the least that is known.
    begun: Evidence,
    /// Went on at its `not_before`, the greatest that is known.
    lasted: Option<Evidence>,
}

impl Judge {
    /// Whether all is right still.
    pub fn hear(&mut self, evidence: Evidence) -> bool {
        let found = self.findings.len();
        self.position(&evidence);
        self.compare(&evidence);
        let reign = self.reigns.entry(evidence.epoch);
        let reign = reign.or_insert_with(|| Reign { begun: evidence.clone(), lasted: None });
        if evidence.not_after < reign.begun.not_after {
            reign.begun = evidence.clone();
        }
        let later = |lasted: &Evidence| lasted.not_before < evidence.not_before;
        if evidence.not_before.is_some() && reign.lasted.as_ref().is_none_or(later) {
            reign.lasted = Some(evidence);
        }
        self.findings.len() == found
    }

    pub fn findings(&self) -> &[String] {
        &self.findings
    }

    fn position(&mut self, evidence: &Evidence) {
        let Some(seq) = evidence.acknowledged else { return };
        if let Some(other) = self.positions.insert((evidence.epoch, seq), evidence.said.clone()) {
            self.findings.push(format!("a position was acknowledged twice:\n  {other}\n  {}", evidence.said));
        }
    }

    fn compare(&mut self, evidence: &Evidence) {
        use std::ops::Bound::{Excluded, Unbounded};
        if let Some(reign) = self.reigns.get(&evidence.epoch).filter(|reign| reign.begun.node != evidence.node) {
            self.findings.push(two("two nodes served as the same epoch", evidence, &reign.begun));
        }
        for higher in self.reigns.range((Excluded(evidence.epoch), Unbounded)).map(|(_, reign)| &reign.begun) {
            if after(evidence, higher) {
                self.findings.push(two("one served when another reign had begun", evidence, higher));
            }
        }
        for lower in self.reigns.range(..evidence.epoch).filter_map(|(_, reign)| reign.lasted.as_ref()) {
            if after(lower, evidence) {
                self.findings.push(two("one served when another reign had begun", lower, evidence));
            }
        }
    }
}

/// Whether `low` certainly served after `high` had: not before a moment by which the higher reign had begun.
fn after(low: &Evidence, high: &Evidence) -> bool {
    // A node that begins a new epoch may say the old one once more in a status that was made just before.
    let matters = low.node != high.node || low.acknowledged.is_some();
    matters && low.not_before.is_some_and(|not_before| not_before > high.not_after)
}

fn two(what: &str, one: &Evidence, other: &Evidence) -> String {
    format!("{what}:\n  {one}\n  {other}")
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not_before = self.not_before.map_or_else(|| "?".into(), |us| us.to_string());
        write!(f, "node {} as {} within {not_before}..{} us: {}", self.node, self.epoch, self.not_after, self.said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(node: usize, term: u64, not_before: Wall, not_after: Wall) -> Evidence {
        let said = format!("status of {node}");
        Evidence { node, epoch: Epoch(term, 0), not_before: Some(not_before), not_after, acknowledged: None, said }
    }

    fn acknowledged(node: usize, term: u64, not_before: Wall, not_after: Wall, seq: u64) -> Evidence {
        Evidence { acknowledged: Some(seq), ..served(node, term, not_before, not_after) }
    }

    fn finds(evidence: &[Evidence]) -> usize {
        // In any order: what is heard late was said all the same.
        let count = |order: &mut dyn Iterator<Item = &Evidence>| {
            let mut judge = Judge::default();
            order.for_each(|evidence| _ = judge.hear(evidence.clone()));
            judge.findings().len()
        };
        let (forwards, backwards) = (count(&mut evidence.iter()), count(&mut evidence.iter().rev()));
        assert_eq!(forwards > 0, backwards > 0, "the order of hearing matters: {evidence:?}");
        forwards
    }

    #[test]
    fn a_reign_after_another_is_right() {
        assert_eq!(finds(&[served(0, 1, 10, 20), served(0, 1, 30, 40), served(1, 2, 50, 60), served(1, 2, 70, 80)]), 0);
    }

    #[test]
    fn windows_that_overlap_prove_nothing() {
        assert_eq!(finds(&[served(0, 1, 10, 100), served(1, 2, 20, 90), served(0, 1, 30, 110)]), 0);
    }

    #[test]
    fn a_stopped_process_that_answers_late_is_no_violation_but_its_next_answer_is() {
        // Asked at 10, stopped, woken at 3,000 and stamped then; the other reigns since 500.
        let late = [served(0, 1, 10, 3_000), served(1, 2, 490, 500)];
        assert_eq!(finds(&late), 0);
        let next = acknowledged(0, 1, 3_000, 3_001, 7);
        assert_eq!(finds(&[late.as_slice(), &[next]].concat()), 1);
    }

    #[test]
    fn one_that_serves_on_while_another_does_is_found() {
        assert_eq!(finds(&[served(0, 1, 10, 20), served(1, 2, 30, 40), served(0, 1, 50, 60)]), 1);
        assert_eq!(finds(&[served(1, 2, 30, 40), acknowledged(0, 1, 41, 60, 9)]), 1);
    }

    #[test]
    fn a_role_event_proves_that_a_reign_had_begun_and_nothing_else() {
        let event = Evidence { not_before: None, ..served(1, 2, 0, 40) };
        assert_eq!(finds(&[event.clone(), served(0, 1, 50, 60)]), 1);
        assert_eq!(finds(&[event, served(0, 1, 39, 60)]), 0);
        let late = Evidence { not_before: None, ..served(0, 1, 0, 500) };
        assert_eq!(finds(&[late, served(1, 2, 30, 40)]), 0);
    }

    #[test]
    fn an_epoch_on_two_nodes_and_a_position_twice_are_found() {
        assert_eq!(finds(&[served(0, 2, 10, 20), served(1, 2, 10, 20)]), 1);
        assert_eq!(finds(&[acknowledged(0, 1, 10, 20, 5), acknowledged(0, 1, 30, 40, 5)]), 1);
        assert_eq!(finds(&[acknowledged(0, 1, 10, 20, 5), acknowledged(0, 1, 30, 40, 6)]), 0);
    }

    #[test]
    fn a_node_that_begins_anew_may_name_its_old_epoch_once_more_but_not_acknowledge_as_it() {
        assert_eq!(finds(&[served(0, 2, 30, 40), served(0, 1, 41, 50)]), 0);
        assert_eq!(finds(&[served(0, 2, 30, 40), acknowledged(0, 1, 41, 50, 3)]), 1);
    }
}
