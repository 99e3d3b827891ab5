use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::{NodeId, PairId};
use super::revision::{Epoch, Revision};

/// What the witness stores for a pair: one value, which is replaced as a whole by compare-and-swap.
///
/// VMware Fault Tolerance (Scales 2010) uses a test-and-set register on shared storage as the third vote in the same way.
/// PacificA (MSR-TR-2008-25) puts such a register above a primary's lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WitnessRecord {
    /// The pair.
    pub pair: PairId,
    /// The node that may hold mastership.
    pub holder: NodeId,
    /// The epoch for which the holder asked.
    pub epoch: Epoch,
    /// How long no other node may replace this value, from when that node first saw it, by its own clock.
    pub lease: Duration,
    /// The shadow that holds every acknowledged change set, if there is one. With asynchronous replication: the shadow that
    /// has a complete copy.
    pub in_sync: Option<NodeId>,
    /// The newest revision that was acknowledged. With asynchronous replication: that the shadow confirmed. It never falls.
    pub revision: Revision,
    /// Grows with every renewal, so that no two values are equal.
    pub counter: u64,
}

/// Names one value of a witness's register. A swap says with it which value it replaces. Only the back end that made a
/// version can interpret it.
///
/// ```
/// use shadowpair::WitnessVersion;
/// assert_eq!(WitnessVersion::new(42).as_str(), "42");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WitnessVersion(Box<str>);

impl WitnessVersion {
    /// A version of whatever tells the values of the back end apart, such as a number or an entity tag.
    pub fn new(version: impl fmt::Display) -> Self {
        Self(version.to_string().into())
    }

    /// The text of the version.
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
