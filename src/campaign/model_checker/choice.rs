//! What may happen next on a path of the check.

use crate::campaign::simulator::step::{Fate, Step, Verb, WitnessFault};
use crate::testing::Side;

/// What may happen next on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Time goes on until there is a choice again.
    Continue,
    /// A caller commits.
    Commit(Side),
    /// A process ends. So much of the batch under way reaches the disk, of 255.
    Crash(Side, u8),
    /// It starts again.
    Start(Side),
    /// Nothing that these nodes send arrives.
    Cut(&'static [Side]),
    /// It arrives again.
    Heal(&'static [Side]),
    /// A process stands still.
    Pause(Side),
    /// It goes on.
    Resume(Side),
    /// These nodes cannot reach the witness.
    Unreachable(&'static [Side]),
    /// They can again.
    Reachable(&'static [Side]),
    /// The swap of this node that is under way has this fate.
    Swap(Side, Fate),
    /// An operator of this node says this.
    Say(Side, Verb),
    /// An operator ends what an operator began: says this, or starts the node again that was shut down.
    Unsay(Side, Verb),
    /// All faults end, and the pair must become whole.
    Settle,
}

/// A kind of fault. A path has each of them at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// A caller commits, at whoever holds mastership.
    Commit,
    /// A process ends, and starts again later or never.
    Crash,
    /// Nothing passes between the nodes, one way or both.
    Cut,
    /// A process stands still.
    Pause,
    /// The witness cannot be reached, by one node or both.
    Unreachable,
    /// A swap at the witness is lost, or its answer is, or it lands late.
    Swap,
    /// An operator switches the roles, orders a takeover, pauses, freezes or shuts down.
    Operator,
}

/// What an operator may say.
pub const VERBS: [Verb; 6] = [
    Verb::SwitchRoles,
    Verb::TakeOver { accept_loss: false },
    Verb::TakeOver { accept_loss: true },
    Verb::Pause { on: true },
    Verb::Freeze { on: true },
    Verb::Shutdown,
];

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Commit, Self::Crash, Self::Cut, Self::Pause, Self::Unreachable, Self::Swap, Self::Operator];
}

impl Choice {
    /// The kind of fault that it is about.
    pub fn kind(self) -> Option<FaultKind> {
        Some(match self {
            Self::Continue | Self::Settle => return None,
            Self::Commit(_) => FaultKind::Commit,
            Self::Crash(..) | Self::Start(_) => FaultKind::Crash,
            Self::Cut(_) | Self::Heal(_) => FaultKind::Cut,
            Self::Pause(_) | Self::Resume(_) => FaultKind::Pause,
            Self::Unreachable(_) | Self::Reachable(_) => FaultKind::Unreachable,
            Self::Swap(..) => FaultKind::Swap,
            Self::Say(..) | Self::Unsay(..) => FaultKind::Operator,
        })
    }

    /// The choice that ends what this one begins.
    pub fn ending(self) -> Option<Choice> {
        match self {
            Self::Crash(side, _) => Some(Self::Start(side)),
            Self::Cut(routes) => Some(Self::Heal(routes)),
            Self::Pause(side) => Some(Self::Resume(side)),
            Self::Unreachable(routes) => Some(Self::Reachable(routes)),
            Self::Say(side, Verb::Pause { on: true }) => Some(Self::Unsay(side, Verb::Pause { on: false })),
            Self::Say(side, Verb::Freeze { on: true }) => Some(Self::Unsay(side, Verb::Freeze { on: false })),
            Self::Say(side, Verb::Shutdown) => Some(Self::Unsay(side, Verb::Shutdown)),
            _ => None,
        }
    }

    /// The steps of the simulator that it stands for. `crash_closes`: a crash closes the connections of the process.
    pub fn steps(self, crash_closes: bool) -> Vec<Step> {
        let witness = |node: Side, cut: bool| Step::Witness { what: WitnessFault::Cut { node, cut } };
        match self {
            Self::Commit(node) => vec![Step::Commit { node, key: 1, value: Some(7), guarded: false }],
            Self::Crash(node, kept) => vec![Step::Crash { node, silent: !crash_closes, kept }],
            Self::Start(node) => vec![Step::Start { node }],
            Self::Cut(routes) => routes.iter().map(|from| Step::Cut { from: *from }).collect(),
            Self::Heal(routes) => routes.iter().map(|from| Step::Heal { from: *from }).collect(),
            Self::Pause(node) => vec![Step::Pause { node }],
            Self::Resume(node) => vec![Step::Resume { node, timer_first: false }],
            Self::Unreachable(routes) => routes.iter().map(|node| witness(*node, true)).collect(),
            Self::Reachable(routes) => routes.iter().map(|node| witness(*node, false)).collect(),
            Self::Unsay(node, Verb::Shutdown) => vec![Step::Start { node }],
            Self::Say(node, verb) | Self::Unsay(node, verb) => vec![Step::Operator { node, verb }],
            Self::Continue | Self::Swap(..) | Self::Settle => Vec::new(),
        }
    }
}
