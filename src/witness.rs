//! The witness: the third vote, one register outside both nodes that is replaced as a whole by compare-and-swap.
//!
//! - [`Witness`] is what a back end does: read, and swap. Everything else (leases, waits, who may swap when) is in
//!   `protocol/failover`, so a back end has about fifty lines.
//! - [`FileWitness`] is a back end in a directory that both nodes can reach.
//!
//! Chubby (Burrows 2006) and the leader elections built on etcd keep a lease in such a register. Gifford (1979) and Pâris
//! (1986) showed that a vote needs no third copy of the data.
#![allow(
    clippy::disallowed_methods,
    reason = "a file system that hangs may only hang a thread of the witness, and temporary files need random names"
)]

mod backend;
mod file;
mod record;

pub use backend::{BoxFuture, Swap, Witness, WitnessError};
pub use file::FileWitness;
