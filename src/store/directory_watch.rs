//! Looks whether the data directory is still the one that was opened, and whether its disk still writes.

use std::collections::BTreeMap;
use std::io;
use std::sync::PoisonError;

use super::disk::FileId;
use super::writer::{LOCK_FILE, Store};
use crate::model::limits::room_for_push;
use crate::protocol::engine::{DiskFailure, Room};

impl Store {
    /// Looks whether the directory and its files are still those that were opened. Open files can be written after their
    /// names are gone, so nothing else would tell. `probe`: also writes a sector of the log and syncs, since a file system that is
    /// frozen still answers questions about names.
    ///
    /// # Errors
    /// [`DiskFailure`] where they are gone, or others have taken their places. The store is closed. One that was closed before
    /// is not looked at.
    pub fn look(&mut self, probe: bool) -> Result<(), DiskFailure> {
        if self.closed.is_some() {
            return Ok(());
        }
        self.find_files().map_err(|error| self.close(error.to_string()))?;
        self.keep_lock_file();
        match probe {
            true => self.log.probe().map_err(|error| self.close_on("looking whether the disk writes", &error)),
            false => Ok(()),
        }
    }

    /// The file system of the directory. `None` where the system tells none from another.
    pub fn device(&self) -> Option<u64> {
        let FileId { device, inode } = self.lock.id;
        (device != 0 || inode != 0).then_some(device)
    }

    /// How much room is left on the disk of the directory, and how much a full push of what is here needs.
    ///
    /// # Errors
    /// What the system says.
    pub fn room(&self) -> io::Result<Room> {
        let summary = &self.tip.summary;
        let needed = room_for_push(summary.entries, summary.bytes);
        Ok(Room { needed, free: self.dir.disk.free(&self.dir.dir)? })
    }

    /// Makes the lock file again where somebody has removed it. The directory stays locked either way; a person, or a process of a version
    /// that locks only the file, finds it by its name.
    fn keep_lock_file(&mut self) {
        let (disk, path) = (&self.dir.disk, self.dir.dir.join(LOCK_FILE));
        let missing = disk.id(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if missing && let Ok(file) = disk.lock(&path) {
            *self.lock.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
            tracing::warn!("the lock file {} was removed, and is made again", path.display());
        }
    }

    pub(super) fn find_directory(&self) -> io::Result<()> {
        let dir = &self.dir.dir;
        match self.dir.disk.id(dir) {
            Ok(id) if id == self.lock.id => Ok(()),
            Ok(_) => Err(moved(format!("the data directory {} was replaced by another one", dir.display()))),
            Err(error) => Err(missing(&error, format!("the data directory {} is gone", dir.display()))),
        }
    }

    pub(super) fn find_files(&mut self) -> io::Result<()> {
        self.find_directory()?;
        let mut found = BTreeMap::new();
        for path in self.dir.main_files(self.generation).into_iter().chain(self.log.newest_file()) {
            let id = match self.dir.disk.id(&path) {
                Ok(id) => id,
                Err(error) => return Err(missing(&error, format!("the file {} is gone", path.display()))),
            };
            if self.seen.get(&path).is_some_and(|seen| *seen != id) {
                return Err(moved(format!("the file {} was replaced by another one", path.display())));
            }
            found.insert(path, id);
        }
        self.seen = found;
        Ok(())
    }
}

/// The error of a name that stands for something else now.
fn moved(what: String) -> io::Error {
    io::Error::other(format!("{what} while the node runs: put the one that was there back, or stop this node"))
}

/// The error of a name that could not be found. Any other error than that is kept.
fn missing(error: &io::Error, what: String) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => moved(what),
        kind => io::Error::new(kind, format!("{what}, or cannot be looked at: {error}")),
    }
}
