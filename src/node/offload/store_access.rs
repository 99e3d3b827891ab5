//! How a job reaches the store.

use crate::node::environment::{Panicked, catch};
use crate::protocol::engine::DiskFailure;
use crate::store::Store;

/// Why a job cannot use the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The store was closed.
    #[error("the node is stopped")]
    Stopped,
    /// The system gave the pool no thread.
    #[error("the system has no thread to spare")]
    NoThread,
}

/// The store, or why it cannot be used.
pub type StoreAccess<'a> = Result<&'a mut Store, Unavailable>;

/// Runs work on the store. A panic is a failed disk: the engine asks to open the store again.
pub fn on_store<T>(
    access: StoreAccess<'_>,
    work: impl FnOnce(&mut Store) -> Result<T, DiskFailure>,
) -> Result<T, DiskFailure> {
    let store = access?;
    catch(|| work(store)).unwrap_or_else(|panicked| Err(panicked.into()))
}

impl From<Unavailable> for DiskFailure {
    fn from(unavailable: Unavailable) -> Self {
        Self { full: false, reason: unavailable.to_string() }
    }
}

impl From<Panicked> for DiskFailure {
    fn from(_: Panicked) -> Self {
        Self { full: false, reason: "the store panicked".into() }
    }
}
