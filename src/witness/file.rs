//! A register in a directory that both nodes reach: of a network file system, or of a disk that they share.

mod files;
mod register;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{BoxFuture, Swap, Witness, WitnessError};
use crate::model::limits::WITNESS_FILE_REQUESTS_MAX;
use crate::model::{WitnessRecord, WitnessVersion};
use files::RealFiles;
use register::Register;

/// A witness in a directory of its own, on a file system that both nodes reach and that lives on neither of them.
///
/// The register is a row of numbered files that are written once. A swap writes the record aside, syncs it, and links it to
/// the next number, which the file system does for one of two and refuses the other; so there is no lock, and none that a
/// crashed node could leave behind. Only the newest records are kept: the directory holds some four small files.
///
/// # What the file system must do
///
/// - Hard links, made atomically and refused where the name exists: all of Linux's own, NFS, CephFS, GFS2. Not FAT, and not
///   every FUSE or SMB mount; there each swap says why it cannot be done.
/// - Show one node what the other wrote, at once. **Mount NFS with `noac`** (or `lookupcache=none,actimeo=0`): with its
///   default caches a read may be up to a minute old. That does not make two masters, because a link is decided by the
///   server; but it makes takeovers late.
/// - Keep what was synced. A server that answers a sync early (`async` in its exports) may forget a swap in a power cut.
///
/// # Where to put it
///
/// One directory per pair. A read never makes it, so that a mount point without its file system does not look like a
/// fresh register; the first swap makes it (mode 0700) if its parent is there. So name a directory *below* one that exists
/// on the mounted file system only. Whoever may write there decides who is master.
///
/// # When it hangs
///
/// Each request has a thread of its own, for which nobody waits, neither the node nor its shutdown. Two at the most
/// ([`WITNESS_FILE_REQUESTS_MAX`](crate::limits::WITNESS_FILE_REQUESTS_MAX)) are under way; beyond that the answer is at once
/// that the outcome is unknown.
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
    /// A witness in this directory. Nothing is touched before it is asked.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self::over(Register::new(RealFiles::new(dir.into())))
    }

    fn over(register: Register) -> Self {
        Self { register: Arc::new(register), requests: Arc::new(Semaphore::new(WITNESS_FILE_REQUESTS_MAX)) }
    }

    /// Runs this on a thread of its own; an error says why there is no answer.
    async fn ask<T: Send + 'static>(&self, job: impl FnOnce(&Register) -> T + Send + 'static) -> Result<T, String> {
        let Ok(place) = Arc::clone(&self.requests).try_acquire_owned() else {
            return Err("an earlier request still hangs".into());
        };
        let register = Arc::clone(&self.register);
        let answered = on_a_thread(place, move || job(&register)).map_err(|error| format!("no thread: {error}"))?;
        answered.await.map_err(|_| "the request panicked".into())
    }
}

/// Not a pool's thread: it would keep its place there for as long as the file system hangs. It gives its place back
/// before its answer is seen, so that whoever asks one thing after the other finds room.
fn on_a_thread<T: Send + 'static>(
    place: OwnedSemaphorePermit,
    job: impl FnOnce() -> T + Send + 'static,
) -> io::Result<oneshot::Receiver<T>> {
    let (answer, answered) = oneshot::channel();
    let thread = std::thread::Builder::new().name("shadowpair-witness".into());
    thread.spawn(move || {
        let done = job();
        drop(place);
        // An error means that the node has given it up.
        drop(answer.send(done));
    })?;
    Ok(answered)
}

impl Witness for FileWitness {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn read(&self) -> BoxFuture<'_, Result<Option<(WitnessRecord, WitnessVersion)>, WitnessError>> {
        Box::pin(async {
            let read = self.ask(Register::read).await;
            read.unwrap_or_else(|reason| Err(WitnessError::Unreachable { reason }))
        })
    }

    fn swap(&self, expected: Option<WitnessVersion>, record: WitnessRecord) -> BoxFuture<'_, Swap> {
        Box::pin(async move {
            let swapped = self.ask(move |register| register.swap(expected.as_ref(), &record)).await;
            swapped.unwrap_or_else(|reason| Swap::Unknown { reason })
        })
    }
}
