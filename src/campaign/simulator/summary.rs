//! What a simulated history contained, and the sum over many.

use std::collections::BTreeMap;

/// What one simulated history contained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Concrete steps: faults, commits, operators' commands.
    pub steps: u64,
    /// Events handled by both engines.
    pub events: u64,
    /// Change sets acknowledged.
    pub acknowledged: u64,
    /// Takeovers.
    pub takeovers: u64,
    /// Planned switches of roles that were handed over.
    pub switches: u64,
    /// Full pushes.
    pub pushes: FullPushes,
    /// Whether the pair was left with a reason that needs an operator; 1 or 0.
    pub operator_needed: u64,
    /// Times a former master's change sets went to quarantine.
    pub quarantines: u64,
    /// Change sets acknowledged as durable on both nodes.
    pub replicated: u64,
    /// Whether a node led alone at the end, its peer being gone for good; 1 or 0.
    pub served_alone: u64,
    /// Whether it was asserted to the end that there is one master, because a witness said so; 1 or 0.
    pub one_master: u64,
    /// Whether it was asserted to the end that nothing acknowledged is lost; 1 or 0.
    pub lossless: u64,
    /// Simulated time, microseconds.
    pub simulated_us: u64,
    /// Faults by their kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Events by the state of the node that they met and their kind.
    pub coverage: BTreeMap<(String, &'static str), u64>,
}

/// Repairs by a snapshot in a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FullPushes {
    /// Full pushes that completed.
    pub completed: u64,
    /// Those that went on where another one was cut.
    pub resumed: u64,
    /// Repairs by what differed, on both nodes.
    pub differential: u64,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.steps += other.steps;
        self.events += other.events;
        self.acknowledged += other.acknowledged;
        self.takeovers += other.takeovers;
        self.switches += other.switches;
        self.pushes.completed += other.pushes.completed;
        self.pushes.resumed += other.pushes.resumed;
        self.pushes.differential += other.pushes.differential;
        self.operator_needed += other.operator_needed;
        self.quarantines += other.quarantines;
        self.replicated += other.replicated;
        self.served_alone += other.served_alone;
        self.one_master += other.one_master;
        self.lossless += other.lossless;
        self.simulated_us += other.simulated_us;
        for (kind, count) in other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        for (pair, count) in other.coverage {
            *self.coverage.entry(pair).or_default() += count;
        }
    }
}
