use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Digest;

/// The fencing token: `term` in the high 24 bits, one more at every promotion, and `incarnation` in the low 40, which
/// grows by a random step when the same master starts again. Ordered as one number: a promotion outranks any restart.
/// The idea of a token that grows with every holder is that of Chubby's sequencers (Burrows 2006).
///
/// ```
/// use shadowpair::Epoch;
/// let first = Epoch::FIRST;
/// assert_eq!(first.to_string(), "1.0");
/// assert!(first < first.restarted(7) && first.restarted(7) < first.promoted(1));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(u64);

const INCARNATION_BITS: u32 = 40;
const INCARNATION_MAX: u64 = (1 << INCARNATION_BITS) - 1;
const TERM_MAX: u32 = (1 << (64 - INCARNATION_BITS)) - 1;
/// Largest random step of an incarnation: 2^20, so that a term has room for a million restarts.
const STEP_MAX: u64 = 1 << 20;

impl Epoch {
    /// Before any: the epoch of a node that has no history.
    pub const NONE: Self = Self(0);
    /// The epoch of the first master of a pair.
    pub const FIRST: Self = Self(1 << INCARNATION_BITS);

    /// The epoch of this term and incarnation, each cut to its bits.
    pub const fn new(term: u32, incarnation: u64) -> Self {
        Self(((term as u64) << INCARNATION_BITS) | (incarnation & INCARNATION_MAX))
    }

    /// The epoch of this number.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number, as which epochs are ordered.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// One more at every promotion.
    pub const fn term(self) -> u32 {
        (self.0 >> INCARNATION_BITS) as u32
    }

    /// Grows when the same master starts again.
    pub const fn incarnation(self) -> u64 {
        self.0 & INCARNATION_MAX
    }

    /// The epoch after a restart of the same master: a step of 1 to 2^20 drawn from `random`, so that even an old copy
    /// of its disk repeats none. A used-up incarnation means a new term.
    #[must_use]
    pub const fn restarted(self, random: u64) -> Self {
        let step = random % STEP_MAX + 1;
        if self.incarnation() + step > INCARNATION_MAX && self.term() < TERM_MAX {
            return self.promoted(random);
        }
        Self(self.0.saturating_add(step))
    }

    /// The epoch after a promotion: the next term, its incarnation drawn from `random` for the same reason.
    #[must_use]
    pub const fn promoted(self, random: u64) -> Self {
        // A term that cannot grow grows its incarnation: 16 million takeovers are never reached, only claimed.
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

/// The text is no epoch or revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an epoch (TERM.INCARNATION) or revision (TERM.INCARNATION/SEQ)")]
pub struct ParseRevisionError;

impl FromStr for Epoch {
    type Err = ParseRevisionError;

    fn from_str(text: &str) -> Result<Self, ParseRevisionError> {
        let (term, incarnation) = text.split_once('.').ok_or(ParseRevisionError)?;
        let term: u32 = term.parse().map_err(|_| ParseRevisionError)?;
        let incarnation: u64 = incarnation.parse().map_err(|_| ParseRevisionError)?;
        if term >= 1 << 24 || incarnation > INCARNATION_MAX {
            return Err(ParseRevisionError);
        }
        Ok(Self::new(term, incarnation))
    }
}

/// A position in the history: `seq` grows by one per committed change set, over all epochs. The head of an epoch in
/// which nothing was committed yet has that epoch and the `seq` it inherited.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision {
    /// Who wrote it, and in which of its lives.
    pub epoch: Epoch,
    /// How many change sets led here.
    pub seq: u64,
}

impl Revision {
    /// Before any change set.
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

/// A revision and what the configuration holds there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Position {
    /// Where.
    pub revision: Revision,
    /// What.
    pub digest: Digest,
}

impl Position {
    /// Of a node without a history.
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
        assert_eq!("3".parse::<Epoch>(), Err(ParseRevisionError));
        assert_eq!("16777216.0".parse::<Epoch>(), Err(ParseRevisionError));
    }
}
