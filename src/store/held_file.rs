//! A file whose changes are held back until it is known that they may be made.
//!
//! redb writes to a file that it opens: it notes that the file is in use, and repairs what a crash left. A directory of a newer
//! program must stay as it is, and which version wrote it stands inside these files. So they are opened with their changes held
//! back, and released when the version of every file is known.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::File;

/// Such a file. After [`HeldFile::release`] it is the file itself.
#[derive(Debug)]
pub(super) struct HeldFile {
    file: Arc<dyn File>,
    is_released: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    /// Length of the file after these changes.
    len: u64,
    /// In the order in which they were asked for.
    changes: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

impl HeldFile {
    /// Holds the changes of this file back.
    pub(super) fn new(file: Arc<dyn File>) -> io::Result<Self> {
        let held = Held { len: file.len()?, changes: Vec::new() };
        Ok(Self { file, is_released: AtomicBool::new(false), held: Mutex::new(held) })
    }

    /// Makes the changes that were held back, in their order, and holds none back from now on.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn release(&self) -> io::Result<()> {
        let mut held = self.held();
        for change in std::mem::take(&mut held.changes) {
            match change {
                Change::Write(offset, data) => self.file.write_at(offset, &data)?,
                Change::SetLen(len) => self.file.set_len(len)?,
                Change::Sync => self.file.sync()?,
            }
        }
        self.is_released.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// What is held back; `None` after the release.
    fn holding(&self) -> Option<MutexGuard<'_, Held>> {
        let held = (!self.is_released.load(Ordering::SeqCst)).then(|| self.held())?;
        // It may have been released meanwhile.
        (!self.is_released.load(Ordering::SeqCst)).then_some(held)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl File for HeldFile {
    fn len(&self) -> io::Result<u64> {
        match self.holding() {
            Some(held) => Ok(held.len),
            None => self.file.len(),
        }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let Some(held) = self.holding() else { return self.file.read_at(offset, buffer) };
        if offset.saturating_add(buffer.len() as u64) > held.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let there = self.file.len()?.saturating_sub(offset).min(buffer.len() as u64) as usize;
        self.file.read_at(offset, &mut buffer[..there])?;
        buffer[there..].fill(0);
        for change in &held.changes {
            let (at, data) = match change {
                Change::Write(at, data) => (*at, Some(data)),
                Change::SetLen(len) => (*len, None),
                Change::Sync => continue,
            };
            // Which bytes of the buffer it changes: a shorter file ends in zeros when it grows again.
            let from = at.saturating_sub(offset).min(buffer.len() as u64) as usize;
            let Some(data) = data else {
                buffer[from..].fill(0);
                continue;
            };
            let skipped = offset.saturating_sub(at).min(data.len() as u64) as usize;
            let data = &data[skipped..];
            let count = data.len().min(buffer.len() - from);
            buffer[from..from + count].copy_from_slice(&data[..count]);
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let Some(mut held) = self.holding() else { return self.file.write_at(offset, data) };
        held.len = held.len.max(offset + data.len() as u64);
        held.changes.push(Change::Write(offset, data.to_vec()));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let Some(mut held) = self.holding() else { return self.file.set_len(len) };
        held.len = len;
        held.changes.push(Change::SetLen(len));
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let Some(mut held) = self.holding() else { return self.file.allocate(len) };
        if len > held.len {
            held.len = len;
            held.changes.push(Change::SetLen(len));
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let Some(mut held) = self.holding() else { return self.file.sync() };
        held.changes.push(Change::Sync);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::Disk;
    use crate::store::disk::sim::SimDisk;

    fn content(file: &dyn File) -> Vec<u8> {
        let mut bytes = vec![9; file.len().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_held_back_is_read_and_not_written_before_the_release() {
        let disk = SimDisk::new(1);
        let plain = || disk.open("file".as_ref(), true).unwrap();
        plain().write_at(0, b"0123456789").unwrap();
        let held = HeldFile::new(plain()).unwrap();
        held.write_at(2, b"ab").unwrap();
        held.write_at(9, b"xyz").unwrap();
        held.set_len(6).unwrap();
        held.sync().unwrap();
        held.set_len(8).unwrap();
        held.write_at(1, b"-").unwrap();
        assert_eq!((content(&held), content(&*plain())), (b"0-ab45\0\0".to_vec(), b"0123456789".to_vec()));
        let mut part = [9; 3];
        held.read_at(3, &mut part).unwrap();
        assert_eq!(&part, b"b45");
        assert!(held.read_at(6, &mut part).is_err(), "it reads beyond the end");
        held.release().unwrap();
        assert_eq!((content(&held), content(&*plain())), (b"0-ab45\0\0".to_vec(), b"0-ab45\0\0".to_vec()));
        held.write_at(7, b"!!").unwrap();
        assert_eq!(content(&*plain()), b"0-ab45\0!!");
    }
}
