//! Roles and who may act as master: a node's state, and what changes it.
//!
//! [`NodeState::transition`] is the whole machine, one table. The engine watches for what the table calls a [`Transition`], and does
//! what entering a state asks for. Times are derived in one place ([`Timing`]) from the validated options. What a node knows of the
//! witness is a [`Register`].
//!
//! Absent on purpose: fail-back. A master that comes back stays shadow until an operator or the next failure makes it master.

mod register;
mod state;
mod takeover;
mod timing;

pub use register::{Flaw, Register};
pub use state::{NodeState, Transition};
pub use takeover::{TakeoverBlocker, TakeoverConditions, held_down, outranks};
pub use timing::{Backoff, Timing, micros, waited};

#[cfg(test)]
mod tests;
