//! The witness in a directory that both nodes can reach: of a network file system, or of a disk that they share.

mod directory;
mod register;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::backend::{BoxFuture, Swap, Witness, WitnessError};
use crate::model::limits::WITNESS_FILE_REQUESTS_MAX;
use crate::model::{WitnessRecord, WitnessVersion};
use directory::RealDirectory;
use register::Register;

/// A witness in a directory of its own, on a file system that both nodes can reach and neither of them hosts.
///
/// The register is a series of numbered files, each of which is written once. A swap writes the record to a temporary file,
/// syncs it, and links it to the next number. Of two nodes that try this, the file system refuses one. So there is no lock
/// that a crashed node could leave behind. Only the newest records are kept: the directory holds about four small files.
///
/// # What the file system must do
///
/// - Make hard links atomically, and refuse one whose name exists. All file systems of Linux, NFS, CephFS and GFS2 do. FAT
///   and some FUSE and SMB mounts do not; there every swap fails and says why.
/// - Show one node at once what the other wrote. **Mount NFS with `noac`** (or `lookupcache=none,actimeo=0`). With its
///   default caches a read may be a minute old. That does not make two masters, because the server decides about a link,
///   but it delays takeovers.
/// - Keep what was synced. A server that answers a sync too early (`async` in its exports) may lose a swap in a power cut.
///
/// # Where to put it
///
/// Use one directory per pair, *below* a directory that exists only on the mounted file system. A read never creates the
/// directory, and the first swap creates it (mode 0700) only if its parent exists. So an unmounted mount point does not look
/// like a new register. Whoever may write to the directory decides who is master.
///
/// # When it hangs
///
/// Each request has a thread of its own. Neither the node nor its shutdown waits for that thread. At most two requests
/// ([`WITNESS_FILE_REQUESTS_MAX`](crate::limits::WITNESS_FILE_REQUESTS_MAX)) are under way. Beyond that, a request fails at
/// once, and a swap has an unknown outcome.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let dir = tempfile::tempdir().unwrap();
/// use shadowpair::{FileWitness, Witness};
/// let witness = FileWitness::new(dir.path().join("gateways"));
/// assert_eq!(witness.kind(), "file");
/// assert_eq!(witness.read().await, Ok(None));
/// assert!(!dir.path().join("gateways").exists());
/// # });
/// ```
#[derive(Debug)]
pub struct FileWitness {
    register: Arc<Register>,
    requests: Arc<Semaphore>,
}

impl FileWitness {
    /// A witness in this directory. The directory is not accessed before the first request.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self::over(Register::new(RealDirectory::new(dir.into())))
    }

    fn over(register: Register) -> Self {
        Self { register: Arc::new(register), requests: Arc::new(Semaphore::new(WITNESS_FILE_REQUESTS_MAX)) }
    }

    /// Runs a request on a thread of its own. An error says why there is no answer.
    async fn request<T: Send + 'static>(&self, job: impl FnOnce(&Register) -> T + Send + 'static) -> Result<T, String> {
        let Ok(permit) = Arc::clone(&self.requests).try_acquire_owned() else {
            return Err("an earlier request still hangs".into());
        };
        let register = Arc::clone(&self.register);
        let answer = run_on_thread(permit, move || job(&register)).map_err(|error| format!("no thread: {error}"))?;
        answer.await.map_err(|_| "the request panicked".into())
    }
}

/// Runs a job on a new thread. A thread of a pool would be occupied for as long as the file system hangs. The permit is
/// returned before the answer is sent, so that a caller that makes one request after the other never exceeds the limit.
fn run_on_thread<T: Send + 'static>(
    permit: OwnedSemaphorePermit,
    job: impl FnOnce() -> T + Send + 'static,
) -> io::Result<oneshot::Receiver<T>> {
    let (sender, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name("shadowpair-witness".into());
    thread.spawn(move || {
        let done = job();
        drop(permit);
        // An error means that the node no longer waits.
        drop(sender.send(done));
    })?;
    Ok(receiver)
}

impl Witness for FileWitness {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn read(&self) -> BoxFuture<'_, Result<Option<(WitnessRecord, WitnessVersion)>, WitnessError>> {
        Box::pin(async {
            let read = self.request(Register::read).await;
            read.unwrap_or_else(|reason| Err(WitnessError::Unreachable { reason }))
        })
    }

    fn swap(&self, expected: Option<WitnessVersion>, record: WitnessRecord) -> BoxFuture<'_, Swap> {
        Box::pin(async move {
            let swapped = self.request(move |register| register.swap(expected.as_ref(), &record)).await;
            swapped.unwrap_or_else(|reason| Swap::Unknown { reason })
        })
    }
}
