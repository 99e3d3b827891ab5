use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Epoch, NodeId, PairId, Revision};

/// What the witness remembers of a pair: one value, replaced as a whole by compare-and-swap.
///
/// The idea of a test-and-set register on shared storage as the third vote is that of VMware Fault Tolerance (Scales
/// 2010); that of a register above a primary's lease, PacificA's (MSR-TR-2008-25).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WitnessRecord {
    /// The pair.
    pub pair: PairId,
    /// The node that may hold mastership.
    pub holder: NodeId,
    /// As which epoch it tried.
    pub epoch: Epoch,
    /// How long nobody else may try after this value was first seen, by the observer's own clock.
    pub lease: Duration,
    /// The shadow that holds every acknowledged change set, if one does. Asynchronous: one with a complete copy.
    pub in_sync: Option<NodeId>,
    /// The newest revision known to be acknowledged (asynchronous: confirmed by the shadow). Never lowered.
    pub revision: Revision,
    /// Grows with every renewal, so that no two values are the same.
    pub counter: u64,
}

/// Which value of the register was read; a swap names the one that it replaces. Made by the back end, opaque to all others.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WitnessVersion(Box<str>);

impl WitnessVersion {
    /// From whatever tells the back end's values apart: a number, an entity tag.
    pub fn new(version: impl fmt::Display) -> Self {
        Self(version.to_string().into())
    }

    /// As it was made.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WitnessVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for WitnessVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
