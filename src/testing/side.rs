use serde::{Deserialize, Serialize};

/// One of the two machines of a simulated pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Side {
    /// The one that was master first.
    A,
    /// The one that was shadow first.
    B,
}

impl Side {
    /// Both, in order.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Its place in an array.
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}
