//! The operations on the witness's directory: real ones in production, failing ones in tests.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// One directory.
pub trait Directory: fmt::Debug + Send + Sync {
    /// Creates the directory. Its parent must exist.
    fn create(&self) -> io::Result<()>;
    /// Names of the files, if they are UTF-8. Fails with more than `max` files, and with `NotFound` without a directory.
    fn list(&self, max: usize) -> io::Result<Vec<String>>;
    /// Reads at most the first `max` bytes of a file.
    fn read(&self, name: &str, max: usize) -> io::Result<Vec<u8>>;
    /// Creates a file with these bytes. They are durable when this returns; the name need not be.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Gives a file a second name. Fails with `AlreadyExists` if a file has that name.
    fn link(&self, name: &str, second: &str) -> io::Result<()>;
    /// Number of names that a file has.
    fn link_count(&self, name: &str) -> io::Result<u64>;
    /// Time of the last write to a file, by the file system's clock.
    fn modified(&self, name: &str) -> io::Result<SystemTime>;
    /// Removes a name.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Returns when all names in the directory are durable.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of this machine, or one that it has mounted.
#[derive(Debug)]
pub struct RealDirectory {
    dir: PathBuf,
}

impl RealDirectory {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// A missing directory means that the register was never created. If its parent is missing too, the file system is
    /// probably not mounted, which is an error.
    fn explain_missing_parent(&self, error: io::Error) -> io::Error {
        let parent = self.dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        match parent {
            Some(parent) if error.kind() == io::ErrorKind::NotFound && !parent.exists() => io::Error::other(format!(
                "{}: its parent directory does not exist: is the file system mounted?",
                self.dir.display()
            )),
            _ => error,
        }
    }

    /// Works on one file. An error names the file.
    fn at<T>(&self, name: &str, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let path = self.dir.join(name);
        work(&path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}{}", path.display(), self.whose(&path, &error)))
        })
    }

    /// Whose a file is that this process may not use.
    #[cfg(unix)]
    fn whose(&self, path: &Path, error: &io::Error) -> String {
        use std::os::unix::fs::MetadataExt;
        if error.kind() != io::ErrorKind::PermissionDenied {
            return String::new();
        }
        // A file that is missing is denied by its directory.
        let found = [path, &self.dir].into_iter().find_map(|path| Some((path, std::fs::metadata(path).ok()?)));
        let Some((path, of)) = found else { return String::new() };
        let (me, dir) = (rustix::process::geteuid().as_raw(), self.dir.display());
        let (path, uid, mode) = (path.display(), of.uid(), of.mode() & 0o7777);
        format!(
            ": {path} belongs to uid {uid} (mode {mode:04o}), and this process runs as uid {me}: `chown -R {me} {dir}` mends it"
        )
    }

    #[cfg(not(unix))]
    fn whose(&self, _path: &Path, _error: &io::Error) -> String {
        String::new()
    }
}

impl Directory for RealDirectory {
    fn create(&self) -> io::Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        self.at("", |dir| builder.create(dir))
    }

    fn list(&self, max: usize) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for (entry, before) in
            self.at("", |dir| std::fs::read_dir(dir)).map_err(|error| self.explain_missing_parent(error))?.zip(0..)
        {
            if before == max {
                return Err(io::Error::other(format!("{}: there are more than {max} files", self.dir.display())));
            }
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn read(&self, name: &str, max: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.at(name, |path| File::open(path)?.take(max as u64).read_to_end(&mut bytes))?;
        Ok(bytes)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.at(name, |path| {
            let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
            file.write_all(bytes)?;
            file.sync_all()
        })
    }

    fn link(&self, name: &str, second: &str) -> io::Result<()> {
        self.at(second, |path| std::fs::hard_link(self.dir.join(name), path))
    }

    #[cfg(unix)]
    fn link_count(&self, name: &str) -> io::Result<u64> {
        self.at(name, |path| Ok(std::os::unix::fs::MetadataExt::nlink(&std::fs::metadata(path)?)))
    }

    #[cfg(not(unix))]
    fn link_count(&self, _name: &str) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn modified(&self, name: &str) -> io::Result<SystemTime> {
        self.at(name, |path| std::fs::metadata(path)?.modified())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.at(name, |path| std::fs::remove_file(path))
    }

    #[cfg(unix)]
    fn sync(&self) -> io::Result<()> {
        self.at("", |dir| File::open(dir)?.sync_all())
    }

    // Other systems cannot open a directory. Their file systems journal names.
    #[cfg(not(unix))]
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
