//! The file of the data directory that holds key and certificate. All other files belong to the store.

use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use crate::model::limits::IDENTITY_BYTES_MAX;
use crate::store::StoreError;
use crate::store::disk::Disk;

const IDENTITY: &str = "identity.pem";
const IDENTITY_NEW: &str = "identity.pem.new";
/// The next key, which waits until the peer permits it.
const NEXT: &str = "identity.next.pem";
const NEXT_NEW: &str = "identity.next.pem.new";

/// Writes the identity atomically and durably. The file has mode 0600, as every file that a [`Disk`] creates.
pub fn write_identity(disk: &dyn Disk, dir: &Path, pem: &str) -> Result<(), StoreError> {
    write(disk, dir, (IDENTITY_NEW, IDENTITY), pem).map_err(|error| {
        // The directory must count as empty at the next start. Errors are ignored, because the disk has failed already.
        let _ = disk.remove(&dir.join(IDENTITY_NEW));
        remove_identity(disk, dir);
        io_error("the identity could not be written", error)
    })
}

/// Writes the next identity atomically and durably, beside the one in use.
pub fn write_next_identity(disk: &dyn Disk, dir: &Path, pem: &str) -> Result<(), StoreError> {
    write(disk, dir, (NEXT_NEW, NEXT), pem).map_err(|error| io_error("the next identity could not be written", error))
}

/// Replaces the identity by the next one, atomically and durably, where that was not done before. After an error it may have been
/// replaced or not.
pub fn use_next_identity(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    let next = dir.join(NEXT);
    let renamed = disk.exists(&next).and_then(|waits| match waits {
        true => disk.rename(&next, &dir.join(IDENTITY)),
        false => Ok(()),
    });
    let renamed = renamed.and_then(|()| disk.sync_dir(dir));
    renamed.map_err(|error| io_error("the next identity could not be put in place", error))
}

fn write(disk: &dyn Disk, dir: &Path, (new, name): (&str, &str), pem: &str) -> io::Result<()> {
    let new = dir.join(new);
    let file = disk.open(&new, true)?;
    file.set_len(0)?;
    file.write_at(0, pem.as_bytes())?;
    file.sync()?;
    disk.rename(&new, &dir.join(name))?;
    disk.sync_dir(dir)
}

/// Reads the identity.
pub fn read_identity(disk: &dyn Disk, dir: &Path) -> Result<Zeroizing<String>, StoreError> {
    read(disk, dir, IDENTITY)
}

/// Reads the next identity, where there is one.
pub fn read_next_identity(disk: &dyn Disk, dir: &Path) -> Result<Option<Zeroizing<String>>, StoreError> {
    match disk.exists(&dir.join(NEXT)) {
        Ok(false) => Ok(None),
        Ok(true) => read(disk, dir, NEXT).map(Some),
        Err(error) => Err(io_error("the next identity could not be looked for", error)),
    }
}

fn read(disk: &dyn Disk, dir: &Path, name: &str) -> Result<Zeroizing<String>, StoreError> {
    let damaged = |reason: String| StoreError::Corrupt { what: name.to_owned(), reason };
    let failed = |error| io_error("the identity could not be read", error);
    let file = disk.open(&dir.join(name), false).map_err(failed)?;
    let bytes = usize::try_from(file.len().map_err(failed)?).unwrap_or(usize::MAX);
    if bytes > IDENTITY_BYTES_MAX {
        return Err(damaged(format!("it has {bytes} bytes")));
    }
    let mut pem = Zeroizing::new(vec![0; bytes]);
    file.read_at(0, &mut pem).map_err(failed)?;
    let text = std::str::from_utf8(&pem).map_err(|error| damaged(error.to_string()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Removes the identity of a node that could not be created. Errors of the disk are ignored.
pub fn remove_identity(disk: &dyn Disk, dir: &Path) {
    let _ = disk.remove(&dir.join(IDENTITY));
    let _ = disk.sync_dir(dir);
}

fn io_error(what: &str, source: io::Error) -> StoreError {
    StoreError::Io { what: what.to_owned(), source }
}
