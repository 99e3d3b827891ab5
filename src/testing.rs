//! What tests of a host need.
//!
//! [`MemoryWitness`] lets two nodes of one process be a witnessed pair. [`witness_conformance`] is what any back end of a
//! [`Witness`](crate::Witness) must pass.
#![allow(clippy::disallowed_methods, reason = "the test bed is a shell of its own: it spawns, and it has a clock")]

mod witness;

pub use witness::{MemoryWitness, witness_conformance};
