//! Drives the real programs over the contract of `docs/CLI.md`: starts them, says commands, waits for events. Nothing
//! sleeps: every wait is for a line of a program, has a generous end, and shows the whole transcript when it fails.

#![allow(dead_code, unused_imports, reason = "each binary that includes the harness uses a part of it")]

mod pair;
mod process;
mod proxy;
mod room;
mod witness;

pub use pair::{FAST, Pair, at, content, token};
pub use process::{Launch, Program, kind_is};
pub use proxy::Proxy;
pub use room::{SmallDisk, Spread};
pub use witness::{Absence, WITNESSED, Witness};

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The longest that anything may take, on the slowest machine. Nothing is measured by it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Stories run one at a time: each has two processes, and some look at what they cost.
pub fn turn() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}
