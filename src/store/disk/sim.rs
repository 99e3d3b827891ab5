//! A simulated disk in memory that can fail: power cuts that lose, keep or tear what was not synced, a bound on its size,
//! failing syncs, flipped bits. All randomness comes from one seed, so that a run can be replayed.
//!
//! Its assumptions about a real disk: a sector of 512 bytes is written completely or not at all. What a successful sync
//! covered survives. What a *failed* sync should have covered stays readable, may be lost at the next power cut, and is not
//! covered by a later sync (as on Linux).

mod content;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, File, FileId};
use crate::store::mutants::{Mutant, is_active};
use content::Content;

/// What a power cut does to what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerCut {
    /// All of it is lost.
    Lost,
    /// All of it is kept.
    Kept,
    /// Each sector, each length and each name is lost or kept independently.
    Torn,
}

/// The disk. Clones share it.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<Inner>>);

#[derive(Clone, Debug)]
struct Inner {
    files: HashMap<u64, Content>,
    /// The names as processes see them.
    names: BTreeMap<PathBuf, u64>,
    /// The names after a power cut.
    durable_names: BTreeMap<PathBuf, u64>,
    /// Changes of names that are not durable yet, in order.
    pending: Vec<Operation>,
    locks: Vec<PathBuf>,
    next: u64,
    random: u64,
    capacity: u64,
    /// Whether it tells how much room is left. Else it is as if somebody else filled it after the question.
    tells_room: bool,
    /// Number of syncs until one fails. Zero: none does.
    fail_sync_in: u64,
    /// Number of starts of the machine. Handles of an earlier one fail.
    life: u64,
    /// Number of changes until the machine stops. Zero: it does not.
    stop_in: u64,
    stopped: bool,
    /// Number of changes so far.
    changes: u64,
}

#[derive(Clone, Debug)]
enum Operation {
    Link(PathBuf, u64),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, u64),
}

#[derive(Debug)]
struct SimFile {
    disk: Arc<Mutex<Inner>>,
    id: u64,
    life: u64,
    /// Whether it is a file of the log.
    is_log: bool,
}

struct SimLock {
    disk: Arc<Mutex<Inner>>,
    path: PathBuf,
    life: u64,
}

impl SimDisk {
    /// An empty disk of unlimited size.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            files: HashMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: Vec::new(),
            locks: Vec::new(),
            next: 1,
            random: seed.wrapping_mul(2).wrapping_add(1),
            capacity: u64::MAX,
            tells_room: false,
            fail_sync_in: 0,
            life: 0,
            stop_in: 0,
            stopped: false,
            changes: 0,
        })))
    }

    /// Another disk with the same content, including what is not synced. The two disks share nothing.
    pub fn copy(&self) -> Self {
        let mut copy = self.inner().clone();
        copy.revive();
        Self(Arc::new(Mutex::new(copy)))
    }

    /// Limits the bytes of all files together.
    pub fn set_capacity(&self, bytes: u64) {
        self.inner().capacity = bytes;
    }

    /// It tells how much room is left, from now on.
    pub fn tell_room(&self) {
        self.inner().tells_room = true;
    }

    /// Bytes of all files together.
    pub fn used(&self) -> u64 {
        self.inner().used()
    }

    /// Makes the nth sync of a file from now on fail. One is the next sync; zero means that none fails.
    pub fn fail_sync(&self, nth: u64) {
        self.inner().fail_sync_in = nth;
    }

    /// Stops the machine at the nth change from now on: that change and all later operations fail, until
    /// [`SimDisk::cut_power`] or [`SimDisk::kill`]. One is the next change; zero means that it does not stop.
    pub fn stop(&self, nth: u64) {
        self.inner().stop_in = nth;
    }

    /// Number of changes that were made or tried.
    #[cfg(test)]
    pub fn changes(&self) -> u64 {
        self.inner().changes
    }

    /// Whether the machine has stopped.
    pub fn is_stopped(&self) -> bool {
        self.inner().stopped
    }

    /// Cuts the power: `cut` says what happens to what was not synced. All handles and locks become invalid.
    pub fn cut_power(&self, cut: PowerCut) {
        self.inner().cut_power(cut);
    }

    /// Kills the process: all handles and locks become invalid. Nothing that was written is lost.
    pub fn kill(&self) {
        let mut inner = self.inner();
        inner.revive();
    }

    /// Flips a bit of a file. Returns whether the file has that byte.
    pub fn flip(&self, path: &Path, at: u64, bit: u32) -> bool {
        let mut inner = self.inner();
        let Some(content) = inner.names.get(path).copied().and_then(|id| inner.files.get_mut(&id)) else {
            return false;
        };
        content.flip(at, bit)
    }

    /// All files and their lengths.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let inner = self.inner();
        inner.names.iter().map(|(path, id)| (path.clone(), inner.files.get(id).map_or(0, Content::len))).collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn used(&self) -> u64 {
        self.names.values().filter_map(|id| self.files.get(id)).map(Content::len).sum()
    }

    /// Marsaglia's xorshift, which is good enough to choose what fails.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn keeps(&mut self, cut: PowerCut) -> bool {
        match cut {
            PowerCut::Lost => false,
            PowerCut::Kept => true,
            PowerCut::Torn => self.random() >> 63 == 0,
        }
    }

    fn cut_power(&mut self, cut: PowerCut) {
        self.revive();
        // A file system keeps the order of its changes of names: the first ones are durable, the others are not.
        let kept = match cut {
            PowerCut::Lost => 0,
            PowerCut::Kept => self.pending.len(),
            PowerCut::Torn => (self.random() % (self.pending.len() as u64 + 1)) as usize,
        };
        let pending = std::mem::take(&mut self.pending);
        pending.into_iter().take(kept).for_each(|operation| apply(&mut self.durable_names, operation));
        self.names = self.durable_names.clone();
        let mut ids: Vec<u64> = self.files.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            if !self.names.values().any(|named| *named == id) {
                self.files.remove(&id);
                continue;
            }
            let Some(mut content) = self.files.remove(&id) else { continue };
            content.cut_power(|| self.keeps(cut));
            self.files.insert(id, content);
        }
    }

    fn revive(&mut self) {
        self.life += 1;
        self.locks.clear();
        (self.fail_sync_in, self.stop_in, self.stopped) = (0, 0, false);
    }

    /// Counts a change that is about to be made.
    fn change(&mut self) -> io::Result<()> {
        self.changes += 1;
        if self.stop_in > 0 {
            self.stop_in -= 1;
            self.stopped |= self.stop_in == 0;
        }
        self.alive()
    }

    fn alive(&self) -> io::Result<()> {
        match self.stopped {
            true => Err(io::Error::other("the machine has stopped")),
            false => Ok(()),
        }
    }

    fn file(&mut self, id: u64, life: u64) -> io::Result<&mut Content> {
        self.alive()?;
        if life != self.life {
            return Err(io::Error::other("the machine has stopped"));
        }
        self.files.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn room_for(&self, id: u64, len: u64) -> io::Result<()> {
        let before = self.files.get(&id).map_or(0, Content::len);
        match len > before && self.used() + (len - before) > self.capacity {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

fn apply(names: &mut BTreeMap<PathBuf, u64>, operation: Operation) {
    match operation {
        Operation::Link(path, id) => {
            names.insert(path, id);
        }
        Operation::Unlink(path) => {
            names.remove(&path);
        }
        Operation::Rename(from, to, id) => {
            names.remove(&from);
            names.insert(to, id);
        }
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.inner().file(self.id, self.life)?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner().file(self.id, self.life)?.read(offset, buffer)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.inner();
        inner.change()?;
        inner.room_for(self.id, offset + data.len() as u64)?;
        inner.file(self.id, self.life)?.write(offset, data);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.inner();
        inner.change()?;
        inner.room_for(self.id, len)?;
        inner.file(self.id, self.life)?.resize(len);
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut inner = self.inner();
        inner.change()?;
        inner.room_for(self.id, len)?;
        inner.file(self.id, self.life)?.allocate(len);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.inner();
        inner.change()?;
        inner.file(self.id, self.life)?;
        if inner.fail_sync_in > 0 {
            inner.fail_sync_in -= 1;
            if inner.fail_sync_in == 0 {
                inner.file(self.id, self.life)?.fail_sync();
                let is_hidden = self.is_log && is_active(Mutant::IgnoreFailedSync);
                return if is_hidden { Ok(()) } else { Err(io::Error::other("the sync failed")) };
            }
        }
        if !(self.is_log && is_active(Mutant::SkipSync)) {
            inner.file(self.id, self.life)?.sync();
        }
        Ok(())
    }
}

impl SimFile {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn File>> {
        let mut inner = self.inner();
        inner.alive()?;
        let id = match inner.names.get(path) {
            Some(id) => *id,
            None if create => {
                inner.change()?;
                let id = inner.next;
                inner.next += 1;
                inner.files.insert(id, Content::default());
                inner.names.insert(path.to_owned(), id);
                inner.pending.push(Operation::Link(path.to_owned(), id));
                id
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        let is_log = path.parent().is_some_and(|dir| dir.ends_with("log"));
        Ok(Arc::new(SimFile { disk: self.0.clone(), id, life: inner.life, is_log }))
    }

    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    /// A directory exists while it holds something.
    fn create_dir_with(&self, path: &Path, file: &str) -> io::Result<()> {
        self.open(&path.join(file), true)?.sync()?;
        self.sync_dir(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let inner = self.inner();
        inner.alive()?;
        Ok(inner.names.keys().any(|file| file.starts_with(path)))
    }

    fn unmounted(&self, _path: &Path) -> Option<PathBuf> {
        None
    }

    fn remove_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let inner = self.inner();
        inner.alive()?;
        let inside = inner.names.keys().filter(|file| file.parent() == Some(path));
        Ok(inside.filter_map(|file| file.file_name().map(PathBuf::from)).collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.change()?;
        inner.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        inner.pending.push(Operation::Unlink(path.to_owned()));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.change()?;
        let id = inner.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inner.names.insert(to.to_owned(), id);
        inner.pending.push(Operation::Rename(from.to_owned(), to.to_owned(), id));
        Ok(())
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.change()?;
        // As in the usual file systems, one journal has the names of all directories.
        let pending = std::mem::take(&mut inner.pending);
        pending.into_iter().for_each(|operation| apply(&mut inner.durable_names, operation));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.open(path, true)?;
        let mut inner = self.inner();
        if inner.locks.iter().any(|locked| locked == path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        inner.locks.push(path.to_owned());
        Ok(Box::new(SimLock { disk: self.0.clone(), path: path.to_owned(), life: inner.life }))
    }

    fn lock_dir(&self, _path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        // The lock file, which nobody removes here, excludes others already.
        Ok(Box::new(()))
    }

    fn free(&self, _path: &Path) -> io::Result<u64> {
        let inner = self.inner();
        inner.alive()?;
        Ok(if inner.tells_room { inner.capacity.saturating_sub(inner.used()) } else { u64::MAX })
    }

    fn id(&self, path: &Path) -> io::Result<FileId> {
        let inner = self.inner();
        inner.alive()?;
        // It has no directories, only names with a common beginning.
        let inode = inner.names.get(path).copied().or_else(|| {
            let inside = |name: &&PathBuf| name.starts_with(path);
            inner.names.keys().find(inside).map(|_| 0)
        });
        inode.map(|inode| FileId { device: 0, inode }).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut inner = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.life == self.life {
            inner.locks.retain(|locked| *locked != self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(seed: u64) -> (SimDisk, Arc<dyn File>) {
        let disk = SimDisk::new(seed);
        let file = disk.open("d/f".as_ref(), true).unwrap();
        file.write_at(0, &[1; 2048]).unwrap();
        file.sync().unwrap();
        disk.sync_dir("d".as_ref()).unwrap();
        (disk, file)
    }

    fn content(disk: &SimDisk) -> Vec<u8> {
        super::super::read_file(disk, "d/f".as_ref(), 1 << 20).unwrap().unwrap()
    }

    #[test]
    fn a_power_cut_loses_keeps_or_tears_what_was_not_synced() {
        for (cut, sectors) in [(PowerCut::Lost, 0..=0), (PowerCut::Kept, 4..=4), (PowerCut::Torn, 0..=4)] {
            for seed in 0..20 {
                let (disk, file) = with(seed);
                file.write_at(0, &[2; 2048]).unwrap();
                disk.cut_power(cut);
                assert!(file.read_at(0, &mut [0]).is_err(), "a handle of an earlier life");
                let content = content(&disk);
                assert!(content.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
                assert!(sectors.contains(&content.chunks(512).filter(|sector| sector[0] == 2).count()));
            }
        }
    }

    #[test]
    fn what_a_failed_sync_covered_is_readable_and_lost() {
        let (disk, file) = with(1);
        file.write_at(0, &[2; 512]).unwrap();
        disk.fail_sync(1);
        assert!(file.sync().is_err());
        file.sync().unwrap();
        assert_eq!(content(&disk)[0], 2);
        disk.cut_power(PowerCut::Lost);
        assert_eq!(content(&disk)[0], 1);
    }

    #[test]
    fn written_again_after_a_failed_sync_it_stays() {
        let (disk, file) = with(1);
        file.write_at(0, &[2; 512]).unwrap();
        disk.fail_sync(1);
        assert!(file.sync().is_err());
        file.write_at(0, &[2; 512]).unwrap();
        file.sync().unwrap();
        disk.cut_power(PowerCut::Lost);
        assert_eq!(content(&disk)[0], 2);
    }

    #[test]
    fn names_are_lost_until_their_directory_is_synced() {
        let (disk, _file) = with(1);
        disk.open("d/g".as_ref(), true).unwrap();
        disk.rename("d/f".as_ref(), "d/h".as_ref()).unwrap();
        disk.cut_power(PowerCut::Lost);
        assert_eq!(disk.list("d".as_ref()).unwrap(), [PathBuf::from("f")]);
        disk.rename("d/f".as_ref(), "d/h".as_ref()).unwrap();
        disk.sync_dir("d".as_ref()).unwrap();
        disk.cut_power(PowerCut::Lost);
        assert_eq!(disk.list("d".as_ref()).unwrap(), [PathBuf::from("h")]);
    }

    #[test]
    fn a_full_disk_and_a_shorter_file() {
        let (disk, file) = with(1);
        disk.set_capacity(3000);
        assert_eq!(file.allocate(3001).unwrap_err().kind(), io::ErrorKind::StorageFull);
        file.allocate(3000).unwrap();
        file.set_len(100).unwrap();
        file.set_len(600).unwrap();
        let mut bytes = [9; 600];
        file.read_at(0, &mut bytes).unwrap();
        assert_eq!((bytes[99], bytes[100], bytes[599]), (1, 0, 0));
        disk.cut_power(PowerCut::Lost);
        assert_eq!(content(&disk), [1; 2048]);
    }
}
