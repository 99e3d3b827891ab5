//! The invariants by name, and how a broken one is reported.

use std::fmt;

/// An invariant. The numbers are those of the list in the design.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// 0: the engine and its driver keep to their contract.
    Contract,
    /// 1: never two masters; without a witness only while they cannot hear each other.
    OneMaster,
    /// 2: with a witness and synchronous replication, nothing acknowledged is lost.
    NothingLost,
    /// 3: what is visible is exactly one revision of a master's history.
    OneRevision,
    /// 4: the same position has the same content everywhere, and nobody claims what is not durable.
    SameContent,
    /// 5: no blank master, no takeover before its time, and what a shadow has shown is never cut.
    NoBlankMaster,
    /// 6: every change set that is not pushed shows, and its end is told once.
    FailuresShow,
    /// 7: nothing grows without bound, and nothing panics.
    Bounded,
    /// 8: after the faults the pair is whole, or says which decision of an operator it needs.
    WholeAgain,
    /// 9: nothing of a refused commit remains; what was acknowledged is in a history or in quarantine.
    NothingOfRefused,
    /// 8: a node whose disk does not answer does not act as master.
    HungDisk,
    /// 1 and 6: of two nodes with one identity the first keeps its link, and whoever meets both says so.
    FirstStays,
    /// Basis of 1 and 2: the record at the witness never goes back, and no node records what it does not hold.
    RegisterRises,
}

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// How.
    pub what: String,
}

/// The result of a check.
pub type Checked = Result<(), Violation>;

impl Invariant {
    /// Returns a violation where the invariant does not hold.
    pub fn check(self, holds: bool, what: impl FnOnce() -> String) -> Checked {
        if holds { Ok(()) } else { Err(Violation { invariant: self, what: what() }) }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.what)
    }
}

/// Runs engine or store code. A panic in it breaks invariant 7.
pub fn catch_panic<T>(run: impl FnOnce() -> T) -> Result<T, Violation> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Violation { invariant: Invariant::Bounded, what: format!("panic: {}", text.unwrap_or_default()) }
    })
}
