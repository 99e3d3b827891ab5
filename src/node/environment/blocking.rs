//! Runs a job that blocks, and waits for its result.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

use super::traits::Tasks;

/// The job panicked, or was dropped before it ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the job panicked")]
pub struct Panicked;

/// Runs the job off the runtime and returns what it returns.
pub async fn run_blocking<T: Send + 'static>(
    tasks: &dyn Tasks,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Panicked> {
    let (result, received) = oneshot::channel();
    let guarded = move || drop(result.send(catch(job)));
    tasks.block(Box::new(guarded));
    received.await.unwrap_or(Err(Panicked))
}

/// Runs the job here, and catches its panic. What the job worked on is not used again as it is: a store is opened
/// again, and a hook guards its own state.
pub fn catch<T>(job: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(job)).map_err(|_| Panicked)
}
