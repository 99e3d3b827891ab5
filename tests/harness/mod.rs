//! Drives the real programs over the contract of `docs/CLI.md`: starts them, writes commands, waits for events. Nothing sleeps.
//! Every wait is for output of a program, has a generous limit, and shows the transcript when it fails.

#![allow(dead_code, unused_imports, reason = "each binary that includes the harness uses a part of it")]

mod loop_disk;
mod pair;
mod process;
mod proxy;
mod random;
mod small_disk;
mod streams;
mod witness;

pub use loop_disk::LoopDisk;
pub use pair::{FAST, Pair, at, content, lone_master, token};
pub use process::{Launch, Program, example, kind_is};
pub use proxy::Proxy;
pub use random::Random;
pub use small_disk::SmallDisk;
pub use streams::{Broken, Pipe, breaks};
pub use witness::{Absence, WITNESSED, Witness};

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Longest wait for anything, on the slowest machine. It measures nothing.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// Most tests that run at a time, on any machine: each has two processes or more, and they mostly wait. `.cargo/config.toml` asks for
/// as many threads.
const TURNS: usize = 4;

static RUNNING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// The right to run, until it is dropped.
pub struct Turn(());

/// Waits until few enough other tests run.
pub fn turn() -> Turn {
    let (running, changed) = &RUNNING;
    let count = running.lock().unwrap_or_else(PoisonError::into_inner);
    let count = changed.wait_while(count, |count| *count >= TURNS);
    *count.unwrap_or_else(PoisonError::into_inner) += 1;
    Turn(())
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (running, changed) = &RUNNING;
        *running.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        changed.notify_one();
    }
}
