//! Renews the node's key on the disk, off the driver's thread.

use std::path::PathBuf;
use std::sync::Arc;

use super::identity_file;
use crate::identity::{Identity, IdentityError, Tls};
use crate::model::KeyId;
use crate::node::environment::Environment;
use crate::protocol::engine::DiskFailure;
use crate::store::StoreError;

/// Makes the node's next key, and puts it in the place of the one in use. Clones share.
#[derive(Clone)]
pub struct IdentityStore {
    pub environment: Environment,
    pub dir: PathBuf,
    pub tls: Tls,
}

impl IdentityStore {
    /// Makes the next key, durable beside the one in use.
    pub async fn make(self) -> Result<KeyId, DiskFailure> {
        let (disk, dir) = (Arc::clone(&self.environment.disk), self.dir);
        let make = move || {
            let pem = identity_file::read_identity(&*disk, &dir).map_err(failed)?;
            let next = Identity::from_pem(&pem).and_then(|identity| identity.renew()).map_err(unusable)?;
            identity_file::write_next_identity(&*disk, &dir, &next.to_pem()).map_err(failed)?;
            Ok(next.key_id())
        };
        self.environment.block(make).await.unwrap_or_else(|_| Err(panicked()))
    }

    /// Uses the next key, and forgets the one before it. After an error the one before it is in use.
    pub async fn use_next(self, key: KeyId) -> Result<KeyId, DiskFailure> {
        let (disk, dir, tls) = (Arc::clone(&self.environment.disk), self.dir, self.tls);
        let use_next = move || {
            let next = identity_file::read_next_identity(&*disk, &dir).map_err(failed)?;
            // It may be in its place already, where an earlier attempt failed after that.
            let pem = match next {
                Some(pem) => pem,
                None => identity_file::read_identity(&*disk, &dir).map_err(failed)?,
            };
            let next = Identity::from_pem(&pem).map_err(unusable)?;
            if next.key_id() != key {
                return Err(DiskFailure { full: false, reason: "the next identity is another one".to_owned() });
            }
            identity_file::use_next_identity(&*disk, &dir).map_err(failed)?;
            tls.set_identity(&next).map_err(unusable)?;
            Ok(key)
        };
        self.environment.block(use_next).await.unwrap_or_else(|_| Err(panicked()))
    }
}

fn failed(error: StoreError) -> DiskFailure {
    let full = matches!(&error, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull);
    DiskFailure { full, reason: error.to_string() }
}

fn unusable(error: IdentityError) -> DiskFailure {
    DiskFailure { full: false, reason: error.to_string() }
}

fn panicked() -> DiskFailure {
    DiskFailure { full: false, reason: "renewing the key panicked".to_owned() }
}
