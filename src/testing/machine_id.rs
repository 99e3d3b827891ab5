//! The machines of the simulated world.

use std::fmt;

use super::side::Side;

/// A machine: one of the two of the pair, or the one on which a copy of a node runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum MachineId {
    /// This node of the pair.
    Node(Side),
    /// Another node with the identity of one of them.
    #[cfg_attr(not(test), allow(dead_code, reason = "copies of a node are for this crate's own histories"))]
    Copy,
}

impl MachineId {
    /// All, in order.
    pub(crate) const ALL: [Self; 3] = [Self::Node(Side::A), Self::Node(Side::B), Self::Copy];

    /// Its place in an array.
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Node(side) => side.index(),
            Self::Copy => Side::BOTH.len(),
        }
    }
}

impl From<Side> for MachineId {
    fn from(side: Side) -> Self {
        Self::Node(side)
    }
}

impl fmt::Debug for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(side) => write!(f, "{side:?}"),
            Self::Copy => f.write_str("Copy"),
        }
    }
}
