//! Checks that two nodes never served at once. The documentation of the test says why the check is sound.

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

/// Evidence that a node served under this epoch, at a moment between these two.
#[derive(Clone, Debug)]
pub struct Evidence {
    pub node: usize,
    pub epoch: Epoch,
    /// `None`: it proves only that the mastership had begun by `not_after`.
    pub not_before: Option<Wall>,
    pub not_after: Wall,
    /// The position that it acknowledged, if any.
    pub acknowledged: Option<u64>,
    /// The answer, for people.
    pub answer: String,
}

/// Collects evidence, in any order.
#[derive(Default)]
pub struct OneMasterCheck {
    masterships: BTreeMap<Epoch, Mastership>,
    positions: HashMap<(Epoch, u64), String>,
    findings: Vec<String>,
}

struct Mastership {
    /// It had begun by the `not_after` of this evidence, the least that is known.
    begun: Evidence,
    /// It still lasted at the `not_before` of this evidence, the greatest that is known.
    lasted: Option<Evidence>,
}

impl OneMasterCheck {
    /// Adds evidence. Returns whether there is no new finding.
    pub fn add(&mut self, evidence: Evidence) -> bool {
        let found = self.findings.len();
        self.position(&evidence);
        self.compare(&evidence);
        let mastership = self.masterships.entry(evidence.epoch);
        let mastership = mastership.or_insert_with(|| Mastership { begun: evidence.clone(), lasted: None });
        if evidence.not_after < mastership.begun.not_after {
            mastership.begun = evidence.clone();
        }
        let later = |lasted: &Evidence| lasted.not_before < evidence.not_before;
        if evidence.not_before.is_some() && mastership.lasted.as_ref().is_none_or(later) {
            mastership.lasted = Some(evidence);
        }
        self.findings.len() == found
    }

    pub fn findings(&self) -> &[String] {
        &self.findings
    }

    fn position(&mut self, evidence: &Evidence) {
        let Some(seq) = evidence.acknowledged else { return };
        if let Some(other) = self.positions.insert((evidence.epoch, seq), evidence.answer.clone()) {
            self.findings.push(format!("a position was acknowledged twice:\n  {other}\n  {}", evidence.answer));
        }
    }

    fn compare(&mut self, evidence: &Evidence) {
        use std::ops::Bound::{Excluded, Unbounded};
        if let Some(mastership) =
            self.masterships.get(&evidence.epoch).filter(|mastership| mastership.begun.node != evidence.node)
        {
            self.findings.push(two("two nodes served as the same epoch", evidence, &mastership.begun));
        }
        for higher in
            self.masterships.range((Excluded(evidence.epoch), Unbounded)).map(|(_, mastership)| &mastership.begun)
        {
            if after(evidence, higher) {
                self.findings.push(two("one served after another mastership had begun", evidence, higher));
            }
        }
        for lower in self.masterships.range(..evidence.epoch).filter_map(|(_, mastership)| mastership.lasted.as_ref()) {
            if after(lower, evidence) {
                self.findings.push(two("one served after another mastership had begun", lower, evidence));
            }
        }
    }
}

/// Whether `low` certainly served after the higher mastership had begun.
fn after(low: &Evidence, high: &Evidence) -> bool {
    // A node that begins a new epoch may report the old one once more, in a status made just before.
    let matters = low.node != high.node || low.acknowledged.is_some();
    matters && low.not_before.is_some_and(|not_before| not_before > high.not_after)
}

fn two(what: &str, one: &Evidence, other: &Evidence) -> String {
    format!("{what}:\n  {one}\n  {other}")
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not_before = self.not_before.map_or_else(|| "?".into(), |us| us.to_string());
        write!(f, "node {} as {} within {not_before}..{} us: {}", self.node, self.epoch, self.not_after, self.answer)
    }
}
