//! A step of a handle on the store, in turn with all other work.

use super::config::CommitError;
use super::shared::{Request, Shared};
use crate::node::offload::store_access::Unavailable;
use crate::protocol::engine::DiskFailure;
use crate::store::Store;

/// Runs a step on the store. If the store has closed, the engine is told, which can open it again.
pub async fn on_store<T: Send + 'static>(
    shared: &Shared,
    step: impl FnOnce(&mut Store) -> Result<T, CommitError> + Send + 'static,
) -> Result<T, CommitError> {
    let done = shared.store.call(move |access| {
        let store = access.map_err(|unavailable| match unavailable {
            Unavailable::Stopped => CommitError::Stopped,
            Unavailable::NoThread => CommitError::Disk(unavailable.to_string()),
        })?;
        step(store)
    });
    let done = done.await.unwrap_or_else(|panicked| Err(CommitError::Disk(panicked.to_string())));
    if let Err(CommitError::Disk(reason)) = &done {
        let _ = shared.callers.send(Request::StoreFailed { reason: reason.clone() }).await;
    }
    done
}

/// What a failure of the store is to a caller.
pub fn refused(failure: DiskFailure) -> CommitError {
    match failure.full {
        true => CommitError::DiskFull,
        false => CommitError::Disk(failure.reason),
    }
}
