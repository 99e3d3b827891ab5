//! The seam to the directory: the few operations that the register is made of, real in production, breakable in tests.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// One directory.
pub trait Files: fmt::Debug + Send + Sync {
    /// Makes the directory, in a parent that is there.
    fn make(&self) -> io::Result<()>;
    /// The names in it that are text; an error where there are more than `max`, and `NotFound` where there is no directory.
    fn list(&self, max: usize) -> io::Result<Vec<String>>;
    /// At most this many first bytes of a file.
    fn read(&self, name: &str, max: usize) -> io::Result<Vec<u8>>;
    /// Makes a file with these bytes, which are durable when this returns; its name need not be.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Gives a file a second name; `AlreadyExists` where there is one of that name.
    fn link(&self, name: &str, second: &str) -> io::Result<()>;
    /// How many names a file has.
    fn names(&self, name: &str) -> io::Result<u64>;
    /// When it was written, by the file system's clock.
    fn written(&self, name: &str) -> io::Result<SystemTime>;
    /// Takes a name away.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Returns when all names are durable.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of this machine, or one that it has mounted.
#[derive(Debug)]
pub struct RealFiles {
    dir: PathBuf,
}

impl RealFiles {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// A register that is not there was never made; one whose surroundings are not there either is not in reach.
    fn unmounted(&self, error: io::Error) -> io::Error {
        let above = self.dir.parent().filter(|above| !above.as_os_str().is_empty());
        match above {
            Some(above) if error.kind() == io::ErrorKind::NotFound && !above.exists() => io::Error::other(format!(
                "{}: the folder above it is not there: is its file system mounted?",
                self.dir.display()
            )),
            _ => error,
        }
    }

    /// The error names the file, because nobody else knows which one it was.
    fn at<T>(&self, name: &str, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let path = self.dir.join(name);
        work(&path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }
}

impl Files for RealFiles {
    fn make(&self) -> io::Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        self.at("", |dir| builder.create(dir))
    }

    fn list(&self, max: usize) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for (entry, before) in
            self.at("", |dir| std::fs::read_dir(dir)).map_err(|error| self.unmounted(error))?.zip(0..)
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
    fn names(&self, name: &str) -> io::Result<u64> {
        self.at(name, |path| Ok(std::os::unix::fs::MetadataExt::nlink(&std::fs::metadata(path)?)))
    }

    #[cfg(not(unix))]
    fn names(&self, _name: &str) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn written(&self, name: &str) -> io::Result<SystemTime> {
        self.at(name, |path| std::fs::metadata(path)?.modified())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.at(name, |path| std::fs::remove_file(path))
    }

    #[cfg(unix)]
    fn sync(&self) -> io::Result<()> {
        self.at("", |dir| File::open(dir)?.sync_all())
    }

    // Elsewhere a directory cannot be opened; names are journalled by the file system.
    #[cfg(not(unix))]
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
