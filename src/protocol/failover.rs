//! Failover: the states of a node, their transitions, the times, and the conditions of a takeover.
//!
//! [`NodeState::transition`] is the state machine, as one table. The engine detects each [`Transition`] and does what the new
//! state requires. [`Timing`] derives all times from the validated options. [`Register`] holds what a node knows of the witness.
//!
//! Absent on purpose: automatic fail-back. A former master stays shadow until an operator or the next failure makes it master.

mod blockers;
mod register;
mod state;
mod timing;

pub use blockers::{TakeoverBlocker, TakeoverConditions, held_down, outranks};
pub use register::{Flaw, Register};
pub use state::{NodeState, Transition};
pub use timing::{Backoff, Timing, micros, waited};

#[cfg(test)]
mod tests;
