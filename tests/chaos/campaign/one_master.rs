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
