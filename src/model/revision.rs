use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::limits::TERMS_AHEAD_MAX;

/// The fencing token of a mastership. It grows with every mastership of a pair, so that a store outside the pair can refuse
/// a writer whose epoch is lower than one it has seen.
///
/// The high 24 bits are the `term`, which grows by one at every promotion. The low 40 bits are the `incarnation`, which
/// grows by a random step when the same master starts again. Epochs are ordered as one number, so a promotion outranks
/// any restart. (The idea is that of Chubby's sequencers, Burrows 2006.)
///
/// ```
/// use shadowpair::Epoch;
/// let first = Epoch::FIRST;
/// assert_eq!(first.to_string(), "1.0");
/// assert!(first < first.restarted(7) && first.restarted(7) < first.promoted(1));
/// // A store outside the pair keeps the number and compares.
/// assert!(first.promoted(1).as_u64() > first.as_u64());
/// assert_eq!("2.5".parse(), Ok(Epoch::new(2, 5)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(u64);

const INCARNATION_BITS: u32 = 40;
const INCARNATION_MAX: u64 = (1 << INCARNATION_BITS) - 1;
const TERM_MAX: u32 = (1 << (64 - INCARNATION_BITS)) - 1;
/// Largest random step of an incarnation: 2^20, so that a term has room for a million restarts.
const STEP_MAX: u64 = 1 << 20;

impl Epoch {
    /// The epoch of a node without a history. It is lower than any other.
    pub const NONE: Self = Self(0);
    /// The epoch of the first master of a pair.
    pub const FIRST: Self = Self(1 << INCARNATION_BITS);

    /// The epoch of this term and incarnation. Bits that have no room are dropped.
    pub const fn new(term: u32, incarnation: u64) -> Self {
        Self(((term as u64) << INCARNATION_BITS) | (incarnation & INCARNATION_MAX))
    }

    /// The epoch whose [`Epoch::as_u64`] this number is.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The epoch as one number, by which epochs are ordered.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The term: one more at every promotion.
    pub const fn term(self) -> u32 {
        (self.0 >> INCARNATION_BITS) as u32
    }

    /// The incarnation: greater at every restart of the same master within a term.
    pub const fn incarnation(self) -> u64 {
        self.0 & INCARNATION_MAX
    }

    /// Whether this is more than [`TERMS_AHEAD_MAX`] terms above the epoch of a node: too far ahead to be genuine.
    #[must_use]
    pub const fn is_out_of_reach_of(self, node: Self) -> bool {
        self.term() > node.term().saturating_add(TERMS_AHEAD_MAX)
    }

    /// The epoch after a restart of the same master: the incarnation grows by a step of 1 to 2^20 that is drawn from
    /// `random`. So a node that starts from an old copy of its disk does not repeat an epoch. Where the incarnation has no
    /// room left, the next term begins.
    #[must_use]
    pub const fn restarted(self, random: u64) -> Self {
        let step = random % STEP_MAX + 1;
        if self.incarnation() + step > INCARNATION_MAX && self.term() < TERM_MAX {
            return self.promoted(random);
        }
        Self(self.0.saturating_add(step))
    }

    /// The epoch after a promotion: the next term. Its incarnation is drawn from `random`, for the same reason as in
    /// [`Epoch::restarted`].
    #[must_use]
    pub const fn promoted(self, random: u64) -> Self {
        // The last term keeps growing its incarnation. No pair makes 16 million takeovers; only a forged epoch gets here.
        if self.term() >= TERM_MAX {
            return Self(self.0.saturating_add(random % STEP_MAX + 1));
        }
        Self::new(self.term() + 1, random % STEP_MAX)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term(), self.incarnation())
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an epoch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an epoch: expected TERM.INCARNATION")]
pub struct ParseEpochError;

impl FromStr for Epoch {
    type Err = ParseEpochError;

    fn from_str(text: &str) -> Result<Self, ParseEpochError> {
        let (term, incarnation) = text.split_once('.').ok_or(ParseEpochError)?;
        let term: u32 = term.parse().map_err(|_| ParseEpochError)?;
        let incarnation: u64 = incarnation.parse().map_err(|_| ParseEpochError)?;
        if term >= 1 << 24 || incarnation > INCARNATION_MAX {
            return Err(ParseEpochError);
        }
        Ok(Self::new(term, incarnation))
    }
}

/// A position in the history: the number of a change set, and the epoch that wrote it. `seq` grows by one per committed
/// change set, across epochs. As long as an epoch has committed nothing, its head has the `seq` of the head before.
///
/// ```
/// use shadowpair::{Epoch, Revision};
/// let revision = Revision::new(Epoch::new(2, 0), 17);
/// assert_eq!(revision.to_string(), "2.0/17");
/// // The epoch counts first: the later master's history outranks the longer one.
/// assert!(Revision::new(Epoch::new(1, 0), 99) < revision);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision {
    /// The epoch that wrote the change set.
    pub epoch: Epoch,
    /// How many change sets the history has up to here.
    pub seq: u64,
}

impl Revision {
    /// The position before the first change set.
    pub const NONE: Self = Self { epoch: Epoch::NONE, seq: 0 };

    /// The revision at `seq` of `epoch`.
    pub const fn new(epoch: Epoch, seq: u64) -> Self {
        Self { epoch, seq }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch, self.seq)
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A revision, and the digest of the configuration there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Position {
    /// The revision.
    pub revision: Revision,
    /// The digest of the configuration there.
    pub digest: Digest,
}

impl Position {
    /// The position of a node without a history.
    pub const NONE: Self = Self { revision: Revision::NONE, digest: Digest::ZERO };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_used_up_incarnation_means_a_new_term() {
        let last = Epoch::new(3, INCARNATION_MAX);
        assert_eq!(last.restarted(0).term(), 4);
        assert!(last.restarted(5) > last);
    }

    #[test]
    fn text_is_read_back() {
        let epoch = Epoch::new(3, 99);
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
        assert_eq!("3".parse::<Epoch>(), Err(ParseEpochError));
        assert_eq!("16777216.0".parse::<Epoch>(), Err(ParseEpochError));
    }
}
