use std::sync::Arc;

use bytes::Bytes;

use super::config::CommitError;
use super::shared::{Request, Shared};
use crate::model::Key;
use crate::model::limits::{LOCAL_ENTRIES_MAX, Limit, VALUE_BYTES_MAX};
use crate::store::ReadError;

/// This node's own entries: never replicated, writable in either role, kept when the copy is replaced.
#[derive(Clone)]
pub struct Local {
    shared: Arc<Shared>,
}

impl Local {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// An entry.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn get(&self, key: &str) -> Result<Option<Bytes>, ReadError> {
        self.shared.reader.local(key)
    }

    /// Keys with this prefix.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn keys(&self, prefix: &str) -> Result<Vec<Key>, ReadError> {
        self.shared.reader.local_keys(prefix)
    }

    /// Sets an entry, durably. Once begun it is not undone by dropping the future. At most
    /// [`LOCAL_ENTRIES_MAX`] entries.
    ///
    /// # Errors
    /// [`CommitError`], never `NotMaster`.
    pub async fn put(&self, key: &str, value: impl Into<Bytes>) -> Result<(), CommitError> {
        let (key, value) = (Key::new(key)?, value.into());
        if value.len() > VALUE_BYTES_MAX {
            return Err(Limit::ValueTooLarge { bytes: value.len() }.into());
        }
        self.write(key, Some(value)).await
    }

    /// Removes an entry, durably. Removing what is not there is no error.
    ///
    /// # Errors
    /// [`CommitError`], never `NotMaster`.
    pub async fn delete(&self, key: &str) -> Result<(), CommitError> {
        self.write(Key::new(key)?, None).await
    }

    async fn write(&self, key: Key, value: Option<Bytes>) -> Result<(), CommitError> {
        let bytes = value.as_ref().map_or(0, Bytes::len) + key.as_bytes().len();
        let place = self.shared.queue.enter(bytes).ok_or(CommitError::Overloaded)?;
        let mut store = Arc::clone(&self.shared.store).lock_owned().await;
        let reader = self.shared.reader.clone();
        let work = move || {
            let _place = place;
            let Some(store) = store.as_mut() else { return Err(CommitError::Stopped) };
            if value.is_some() && is_one_too_many(&reader, &key)? {
                return Err(Limit::TooManyLocalEntries.into());
            }
            store.put_local(&key, value.as_deref()).map_err(|failure| match failure.full {
                true => CommitError::DiskFull,
                false => CommitError::Disk(failure.reason),
            })
        };
        let done = self.shared.environment.block(work).await;
        let done = done.unwrap_or_else(|panicked| Err(CommitError::Disk(panicked.to_string())));
        if let Err(CommitError::Disk(reason)) = &done {
            // The store is closed: whoever can open it again must hear of it.
            let _ = self.shared.callers.send(Request::Trouble { reason: reason.clone() }).await;
        }
        done
    }
}

/// Read under the lock of the store, so that two writers cannot both take the last room.
fn is_one_too_many(reader: &crate::store::Reader, key: &Key) -> Result<bool, CommitError> {
    let failed = |error: ReadError| CommitError::Disk(error.to_string());
    let count = reader.local_keys("").map_err(failed)?.len();
    Ok(count >= LOCAL_ENTRIES_MAX && reader.local(key.as_str()).map_err(failed)?.is_none())
}
