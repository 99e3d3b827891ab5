//! The disk of one machine: the simulated one of the store, whose syncs fail on demand, and which can be slow or hang.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::scheduler::{Act, Owner, Scheduler};
use crate::store::disk::sim::SimDisk;
use crate::store::disk::{Disk, File, FileId};

/// Bounds of the time that a job on the disk takes, microseconds.
const JOB_US: (u64, u64) = (30, 300);

/// A disk. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct MachineDisk {
    pub(crate) sim: SimDisk,
    /// Every sync fails.
    failing: Arc<AtomicBool>,
    /// No name is found.
    unmounted: Arc<AtomicBool>,
    jobs: Arc<Mutex<Jobs>>,
}

struct Jobs {
    takes_us: (u64, u64),
    frozen: bool,
    /// Jobs that wait for a disk that hangs.
    held: Vec<(Owner, Act)>,
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").field("frozen", &self.frozen).field("held", &self.held.len()).finish_non_exhaustive()
    }
}

impl MachineDisk {
    /// An empty disk.
    pub(crate) fn new(seed: u64) -> Self {
        let jobs = Jobs { takes_us: JOB_US, frozen: false, held: Vec::new() };
        Self {
            sim: SimDisk::new(seed),
            failing: Arc::default(),
            unmounted: Arc::default(),
            jobs: Arc::new(Mutex::new(jobs)),
        }
    }

    /// A healthy disk with the same content. The two share nothing.
    #[cfg(test)]
    pub(crate) fn copied(&self) -> Self {
        Self { sim: self.sim.copy(), ..Self::new(0) }
    }

    /// Runs a job that blocks, after the time that it takes. Calls `done` when the job has run.
    pub(crate) fn run(&self, scheduler: &Scheduler, owner: Owner, job: Act, done: impl FnOnce() + Send + 'static) {
        let takes_us = scheduler.draw(self.jobs().takes_us);
        let disk = self.clone();
        scheduler.after(takes_us, owner, move || {
            let whole = Box::new(move || {
                job();
                done();
            });
            disk.run_unless_frozen(owner, whole);
        });
    }

    fn run_unless_frozen(&self, owner: Owner, job: Act) {
        let mut jobs = self.jobs();
        if jobs.frozen {
            return jobs.held.push((owner, job));
        }
        drop(jobs);
        job();
    }

    /// Whether the disk hangs from now on: then no job runs until it no longer hangs.
    pub(crate) fn set_frozen(&self, scheduler: &Scheduler, frozen: bool) {
        let mut jobs = self.jobs();
        jobs.frozen = frozen;
        let held = if frozen { Vec::new() } else { std::mem::take(&mut jobs.held) };
        drop(jobs);
        for (owner, job) in held {
            let disk = self.clone();
            scheduler.after(0, owner, move || disk.run_unless_frozen(owner, job));
        }
    }

    /// How long a job takes from now on, microseconds.
    pub(crate) fn set_takes(&self, low_us: u64, high_us: u64) {
        self.jobs().takes_us = (low_us, high_us.max(low_us));
    }

    /// Jobs take as long as on a healthy disk from now on.
    #[cfg(test)]
    pub(crate) fn set_quick(&self) {
        self.jobs().takes_us = JOB_US;
    }

    /// Whether the file system is unmounted: no name is found, and open files can still be written.
    pub(crate) fn set_unmounted(&self, unmounted: bool) {
        self.unmounted.store(unmounted, SeqCst);
    }

    /// Whether every sync fails.
    pub(crate) fn set_failing(&self, failing: bool) {
        self.failing.store(failing, SeqCst);
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `EIO`: the error of a failed write. The store does not treat it as damage.
fn failed() -> io::Error {
    io::Error::from_raw_os_error(5)
}

/// A file of it.
#[derive(Debug)]
struct MachineFile {
    file: Arc<dyn File>,
    failing: Arc<AtomicBool>,
}

impl File for MachineFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn sync(&self) -> io::Result<()> {
        match self.failing.load(SeqCst) {
            true => Err(failed()),
            false => self.file.sync().map_err(|_| failed()),
        }
    }
}

impl Disk for MachineDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn File>> {
        if self.unmounted.load(SeqCst) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = self.sim.open(path, create)?;
        Ok(Arc::new(MachineFile { file, failing: Arc::clone(&self.failing) }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.sim.create_dir(path)
    }

    fn create_dir_with(&self, path: &Path, file: &str) -> io::Result<()> {
        self.sim.create_dir_with(path, file)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.sim.exists(path)
    }

    fn unmounted(&self, path: &Path) -> Option<PathBuf> {
        self.sim.unmounted(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.sim.list(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.sim.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.sim.remove_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.sim.rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match self.failing.load(SeqCst) {
            true => Err(failed()),
            false => self.sim.sync_dir(path),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.sim.lock(path)
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.sim.lock_dir(path)
    }

    fn free(&self, path: &Path) -> io::Result<u64> {
        self.sim.free(path)
    }

    fn id(&self, path: &Path) -> io::Result<FileId> {
        match self.unmounted.load(SeqCst) {
            true => Err(io::ErrorKind::NotFound.into()),
            false => self.sim.id(path),
        }
    }
}
