//! The file system as the store uses it: the real one in production, a simulated one that fails in tests.

#[cfg(any(fuzzing, test, feature = "testing"))]
#[cfg_attr(not(test), allow(dead_code, reason = "the crash harness, which is a test, breaks it in more ways"))]
pub mod sim;

mod mounts;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::StoreError;
use super::mutants::{Mutant, is_active};

/// One open file. Positions and lengths are bytes.
pub trait File: Send + Sync + std::fmt::Debug {
    /// Length of the file.
    fn len(&self) -> io::Result<u64>;
    /// Fills `buffer` from `offset` on. Fails if the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data` at `offset`.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Cuts the file, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Extends the file with zeros and reserves the room, so that a later write cannot find the disk full.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Returns when everything that was written is durable.
    fn sync(&self) -> io::Result<()>;
}

/// A file system.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Opens a file for reading and writing. With `create`, makes it (mode 0600) if it does not exist; an existing file keeps
    /// its content.
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file for reading only, as one on a read-only medium must be.
    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open(path, false)
    }
    /// Makes a directory (mode 0700) and its parents.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory (mode 0700) that holds one empty file, durably and in one step: after a crash there are both or none. Its
    /// parent must exist. Fails with `AlreadyExists` or `DirectoryNotEmpty` if the directory exists and is not empty.
    fn create_dir_with(&self, path: &Path, file: &str) -> io::Result<()>;
    /// Whether there is something at this path.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// The volume on which this path should be and which is not mounted, where the system's table of volumes tells.
    fn unmounted(&self, path: &Path) -> Option<PathBuf>;
    /// Why the user of this process may not use this directory, or something in it, where the disk can tell.
    fn explain_denied(&self, _dir: &Path) -> Option<StoreError> {
        None
    }
    /// Names of the files in a directory.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Renames `from` to `to`, and replaces `to` atomically if it exists.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Locks this file, which is made if it does not exist, until the value is dropped. Fails with `WouldBlock` if another
    /// process has locked it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
    /// Locks an existing directory itself, whatever happens to the names in it, until the value is dropped. Fails with
    /// `WouldBlock` if another process has locked it. Where the file system cannot do that, nothing is locked.
    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
    /// Which file or directory this name stands for now.
    fn id(&self, path: &Path) -> io::Result<FileId>;
    /// Bytes that this process may still write to the file system of this directory.
    fn free(&self, path: &Path) -> io::Result<u64>;
}

/// Tells two files or directories apart, whatever their names. On systems without such numbers all of them are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
}

/// Reads a whole file of at most `max_bytes`. `None` if there is no such file.
///
/// # Errors
/// What the system says; `InvalidData` if the file is longer.
pub fn read_file(disk: &dyn Disk, path: &Path, max_bytes: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let len = file.len()?;
    if len > max_bytes as u64 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the file has {len} bytes, more than {max_bytes}"),
        ));
    }
    let mut bytes = vec![0; len as usize];
    file.read_at(0, &mut bytes)?;
    Ok(Some(bytes))
}

/// Replaces a small file, durably. After a crash it has either its old or its new content, as a whole.
///
/// # Errors
/// What the system says. The file has its old content, or its new one if only the last sync failed.
pub fn write_file_atomically(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let file = disk.open(&temporary, true)?;
    let written = file.set_len(0).and_then(|()| file.write_at(0, bytes)).and_then(|()| file.sync());
    if let Err(error) = written.and_then(|()| disk.rename(&temporary, path)) {
        // If this fails, the next attempt overwrites the file.
        let _ = disk.remove(&temporary);
        return Err(error);
    }
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Removes a file if it exists.
///
/// # Errors
/// What the system says.
pub fn remove_if_present(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reads a part of a file and writes it again, durably. After a failed sync it is unknown which bytes are on the disk and
/// which only in the memory of the kernel; the next sync would not cover the latter.
///
/// # Errors
/// What the system says.
pub fn rewrite(file: &dyn File, from: u64, to: u64) -> io::Result<()> {
    const STEP: u64 = 256 * 1024;
    if is_active(Mutant::TrustMemory) {
        return Ok(());
    }
    let mut buffer = vec![0; STEP as usize];
    let mut at = from;
    while at < to {
        let piece = &mut buffer[..(to - at).min(STEP) as usize];
        file.read_at(at, piece)?;
        file.write_at(at, piece)?;
        at += piece.len() as u64;
    }
    file.sync()
}

/// Whether the error says that the disk, or the quota on it, is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// The file system of this machine.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealDisk;

/// A file of this machine.
#[derive(Debug)]
struct RealFile(std::fs::File);

#[cfg(unix)]
fn open_options(create: bool) -> std::fs::OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(create).truncate(false).mode(0o600);
    options
}

#[cfg(not(unix))]
fn open_options(create: bool) -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(create).truncate(false);
    options
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(RealFile(open_options(create).open(path)?)))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(RealFile(std::fs::File::open(path)?)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path)
    }

    fn create_dir_with(&self, path: &Path, file: &str) -> io::Result<()> {
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(&new) {
            // A crash left it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        self.open(&new.join(file), true)?.sync()?;
        self.sync_dir(&new)?;
        self.rename(&new, path)?;
        self.sync_dir(path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn explain_denied(&self, dir: &Path) -> Option<StoreError> {
        super::denied::explain(dir)
    }

    fn unmounted(&self, path: &Path) -> Option<PathBuf> {
        mounts::unmounted(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(path)?.map(|entry| entry.map(|entry| PathBuf::from(entry.file_name()))).collect()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    #[cfg(unix)]
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::File::open(path)?.sync_all()
    }

    // Other systems cannot open a directory. Their file systems journal names.
    #[cfg(not(unix))]
    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let file = open_options(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(std::fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }

    #[cfg(unix)]
    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let dir = std::fs::File::open(path)?;
        match dir.try_lock() {
            Err(std::fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            // Some network file systems lock only files that are open for writing. The lock file is locked all the same.
            Ok(()) | Err(std::fs::TryLockError::Error(_)) => Ok(Box::new(dir)),
        }
    }

    // Other systems cannot open a directory. They do not remove a file that is open either.
    #[cfg(not(unix))]
    fn lock_dir(&self, _path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        Ok(Box::new(()))
    }

    #[cfg(unix)]
    fn id(&self, path: &Path) -> io::Result<FileId> {
        use std::os::unix::fs::MetadataExt;
        let found = std::fs::metadata(path)?;
        Ok(FileId { device: found.dev(), inode: found.ino() })
    }

    #[cfg(unix)]
    fn free(&self, path: &Path) -> io::Result<u64> {
        let found = rustix::fs::statvfs(path)?;
        if found.f_blocks == 0 {
            // Some file systems in user space tell nothing.
            return Ok(u64::MAX);
        }
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    // The check before a full push is left out there. A full disk is noticed when it is full.
    #[cfg(not(unix))]
    fn free(&self, _path: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    #[cfg(not(unix))]
    fn id(&self, path: &Path) -> io::Result<FileId> {
        std::fs::metadata(path).map(|_| FileId { device: 0, inode: 0 })
    }
}

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    #[cfg(unix)]
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, buffer, offset)
    }

    #[cfg(unix)]
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, data, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(&self.0, buffer, offset)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => {
                    buffer = &mut buffer[read..];
                    offset += read as u64;
                }
            }
        }
        Ok(())
    }

    #[cfg(windows)]
    fn write_at(&self, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            match std::os::windows::fs::FileExt::seek_write(&self.0, data, offset)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => {
                    data = &data[written..];
                    offset += written as u64;
                }
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            use rustix::fs::FallocateFlags;
            match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Not every file system can reserve room. Writing zeros does the same, more slowly.
        let mut at = self.len()?;
        let zeros = vec![0; 64 * 1024];
        while at < len {
            let step = (len - at).min(zeros.len() as u64);
            self.write_at(at, &zeros[..step as usize])?;
            at += step;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_file_reads_back_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        RealDisk.create_dir(&path).unwrap();
        let file = RealDisk.open(&path.join("f"), true).unwrap();
        file.allocate(100_000).unwrap();
        assert_eq!(file.len().unwrap(), 100_000);
        file.write_at(5, b"hello").unwrap();
        file.sync().unwrap();
        let mut buffer = [0; 7];
        file.read_at(4, &mut buffer).unwrap();
        assert_eq!(&buffer, b"\0hello\0");
        assert!(file.read_at(99_999, &mut buffer).is_err());
        file.set_len(6).unwrap();
        assert_eq!(file.len().unwrap(), 6);
        assert_eq!(RealDisk.list(&path).unwrap(), [PathBuf::from("f")]);
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        assert_eq!(read_file(&RealDisk, &path, 10).unwrap(), None);
        write_file_atomically(&RealDisk, &path, b"one").unwrap();
        write_file_atomically(&RealDisk, &path, b"second").unwrap();
        assert_eq!(read_file(&RealDisk, &path, 10).unwrap().unwrap(), b"second");
        assert!(read_file(&RealDisk, &path, 5).is_err());
        assert_eq!(RealDisk.list(dir.path()).unwrap().len(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_lock_is_exclusive_until_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = RealDisk.lock(&path).unwrap();
        assert_eq!(RealDisk.lock(&path).err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
        drop(lock);
        RealDisk.lock(&path).unwrap();
    }

    #[test]
    #[cfg(unix)]
    fn a_directory_stays_locked_whatever_happens_to_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let lock = RealDisk.lock_dir(dir.path()).unwrap();
        assert_eq!(RealDisk.lock_dir(dir.path()).err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
        let id = RealDisk.id(dir.path()).unwrap();
        let aside = dir.path().with_extension("aside");
        std::fs::rename(dir.path(), &aside).unwrap();
        assert_eq!(RealDisk.id(&aside).unwrap(), id);
        assert_eq!(RealDisk.id(dir.path()).err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
        std::fs::create_dir(dir.path()).unwrap();
        assert_ne!(RealDisk.id(dir.path()).unwrap(), id);
        assert!(RealDisk.lock_dir(&aside).is_err());
        drop(lock);
        RealDisk.lock_dir(&aside).unwrap();
        std::fs::remove_dir(&aside).unwrap();
    }
}
