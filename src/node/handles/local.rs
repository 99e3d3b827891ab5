use std::sync::Arc;

use bytes::Bytes;

use super::config::CommitError;
use super::shared::Shared;
use super::store_step::{on_store, refused};
use crate::model::Key;
use crate::model::limits::{LOCAL_ENTRIES_MAX, Limit, VALUE_BYTES_MAX};
use crate::store::{ReadError, Reader, Store};

/// This node's own entries. They are never replicated, both roles write them, and they stay when the copy of the
/// configuration is replaced. At most [`LOCAL_ENTRIES_MAX`].
///
/// ```no_run
/// # async fn example(node: &shadowpair::Node) -> Result<(), Box<dyn std::error::Error>> {
/// node.local().put("listen", "10.0.0.2:80").await?;
/// assert_eq!(node.local().get("listen")?.as_deref(), Some(&b"10.0.0.2:80"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Local {
    shared: Arc<Shared>,
}

impl Local {
    pub(in crate::node) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The value of an entry; `None` where there is none. It may read the disk.
    ///
    /// # Errors
    /// [`ReadError`]: the disk failed, or the entry is damaged.
    pub fn get(&self, key: &str) -> Result<Option<Bytes>, ReadError> {
        self.shared.reader.local(key)
    }

    /// The keys with this prefix, in order; the empty prefix means all. It may read the disk.
    ///
    /// # Errors
    /// [`ReadError`]: the disk failed, or an entry is damaged.
    pub fn keys(&self, prefix: &str) -> Result<Vec<Key>, ReadError> {
        self.shared.reader.local_keys(prefix)
    }

    /// Sets an entry, and returns when it is durable. The key has at most [`KEY_BYTES_MAX`](crate::limits::KEY_BYTES_MAX)
    /// bytes, the value at most [`VALUE_BYTES_MAX`]. Dropping the future does not undo it.
    ///
    /// # Errors
    /// [`CommitError::Invalid`] where a bound is broken, [`CommitError::Overloaded`], [`CommitError::DiskFull`],
    /// [`CommitError::Disk`], [`CommitError::Stopped`]; no other.
    pub async fn put(&self, key: &str, value: impl Into<Bytes>) -> Result<(), CommitError> {
        let (key, value) = (Key::new(key)?, value.into());
        if value.len() > VALUE_BYTES_MAX {
            return Err(Limit::ValueTooLarge { bytes: value.len() }.into());
        }
        self.write(key, Some(value)).await
    }

    /// Removes an entry, and returns when that is durable. Removing an entry that does not exist succeeds.
    ///
    /// # Errors
    /// As of [`Local::put`].
    pub async fn delete(&self, key: &str) -> Result<(), CommitError> {
        self.write(Key::new(key)?, None).await
    }

    async fn write(&self, key: Key, value: Option<Bytes>) -> Result<(), CommitError> {
        let bytes = value.as_ref().map_or(0, Bytes::len) + key.as_bytes().len();
        let permit = self.shared.admission.admit(bytes).ok_or(CommitError::Overloaded)?;
        let reader = self.shared.reader.clone();
        let step = move |store: &mut Store| {
            let _permit = permit;
            if value.is_some() && is_one_too_many(&reader, &key)? {
                return Err(Limit::TooManyLocalEntries.into());
            }
            store.put_local(&key, value.as_deref()).map_err(refused)
        };
        on_store(&self.shared, step).await
    }
}

/// Whether this entry would be one too many. Nothing writes meanwhile, since this runs on the store's executor.
fn is_one_too_many(reader: &Reader, key: &Key) -> Result<bool, CommitError> {
    let failed = |error: ReadError| CommitError::Disk(error.to_string());
    let count = reader.local_keys("").map_err(failed)?.len();
    Ok(count >= LOCAL_ENTRIES_MAX && reader.local(key.as_str()).map_err(failed)?.is_none())
}
