//! Mistakes that are put in on purpose, so that the invariants are seen to catch them.

use crate::protocol::engine::Mutant;

/// A mistake that is put in on purpose. An invariant must catch each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedBug {
    /// A mistake of the engine itself.
    Engine(Mutant),
    /// Nobody told the engines that there is a witness.
    Unwitnessed,
    /// The witness agrees to every swap and does those that it should not.
    AgreeingWitness,
    /// A disk forgets a record that it had called durable when power is cut.
    ForgetfulDisk,
    /// A sink writes another value than was sent, and checks nothing.
    WrongContent,
    /// The driver shows what the engine did not allow to be shown.
    EagerReader,
    /// The driver answers a caller twice.
    DoubleAnswer,
    /// A guard that does not hold is reported and the change is written all the same.
    LeakyRefusal,
}
