//! Whether a first start may make a node in the data directory, before anything is changed in it.
//!
//! A new pair is made only where no directory is, or where the host insists. Otherwise a master whose volume is not mounted would start
//! blank, and serve beside the shadow that takes over. The marker tells the directory of a first start that was interrupted, or failed, from
//! one that was emptied: it comes into being with the directory and goes when the node is complete.

use std::io;
use std::path::Path;

use super::error::{NewPairRefused, StartError};
use super::settings::FirstStart;
use crate::node::offload::audit_log::{AUDIT_FILE, AUDIT_FILE_BEFORE};
use crate::store::disk::{Disk, remove_if_present};
use crate::store::{Store, StoreError};

const MARKER: &str = "first-start";
/// What a node's directory holds beside the pointer file. The lock file is left by a first start that was refused.
const NODE_FILES: &[&str] =
    &["node.redb", "identity.pem", "identity.next.pem", "state", "log", "addresses", AUDIT_FILE, AUDIT_FILE_BEFORE];
/// What an empty directory may hold.
const EMPTY: &[&str] = &["lock", "lost+found"];

/// Makes the data directory of a first start, or refuses it. Does nothing to the directory of a node.
///
/// # Errors
/// [`StartError::FirstStartMissing`], [`StartError::NewPairRefused`], [`StartError::Store`]. Nothing was changed.
pub fn prepare(disk: &dyn Disk, dir: &Path, first: Option<&FirstStart>) -> Result<(), StartError> {
    let there = disk.exists(dir).map_err(reading)?;
    match (there, first) {
        (false, None) => Err(StartError::FirstStartMissing),
        (false, Some(FirstStart::Master)) => make_unless_unmounted(disk, dir),
        (true, Some(FirstStart::Master)) => refuse_unless_begun(disk, dir, |_| true),
        (true, Some(FirstStart::NewPair)) => {
            refuse_unless_begun(disk, dir, |why| *why == NewPairRefused::Remains)?;
            mark(disk, dir)
        }
        (false, Some(FirstStart::NewPair)) => {
            disk.create_dir(dir).map_err(making)?;
            mark(disk, dir)
        }
        _ => Ok(()),
    }
}

/// Removes the marker of a first start that is complete. If that fails, the next start does it.
pub fn completed(disk: &dyn Disk, dir: &Path) {
    let marker = dir.join(MARKER);
    if disk.open(&marker, false).is_ok() {
        let _ = remove_if_present(disk, &marker);
        let _ = disk.sync_dir(dir);
    }
}

fn make_unless_unmounted(disk: &dyn Disk, dir: &Path) -> Result<(), StartError> {
    if let Some(volume) = disk.unmounted(dir) {
        return Err(refused(dir, NewPairRefused::NotMounted(volume)));
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk.create_dir(parent).map_err(making)?;
    }
    match disk.create_dir_with(dir, MARKER) {
        // Another process was faster.
        Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty) => Ok(()),
        made => made.map_err(making),
    }
}

/// Refuses an existing directory that holds no node and was not made by a first start, where `refuses` says so of the reason.
fn refuse_unless_begun(
    disk: &dyn Disk,
    dir: &Path,
    refuses: impl Fn(&NewPairRefused) -> bool,
) -> Result<(), StartError> {
    if Store::exists_in(disk, dir)? || disk.exists(&dir.join(MARKER)).map_err(reading)? {
        return Ok(());
    }
    let names = disk.list(dir).map_err(reading)?;
    let has = |known: &[&str]| names.iter().any(|name| known.iter().any(|known| Path::new(known) == name));
    let is_empty = names.iter().all(|name| EMPTY.iter().any(|known| Path::new(known) == name));
    let why = match is_empty {
        true => NewPairRefused::Empty,
        false if has(NODE_FILES) => NewPairRefused::Remains,
        false => NewPairRefused::Foreign,
    };
    if refuses(&why) { Err(refused(dir, why)) } else { Ok(()) }
}

/// Marks an empty directory as that of a first start.
fn mark(disk: &dyn Disk, dir: &Path) -> Result<(), StartError> {
    if Store::exists_in(disk, dir)? {
        return Ok(());
    }
    let marked = disk.open(&dir.join(MARKER), true).and_then(|marker| marker.sync());
    marked.and_then(|()| disk.sync_dir(dir)).map_err(making)
}

fn refused(dir: &Path, why: NewPairRefused) -> StartError {
    StartError::NewPairRefused { dir: dir.to_owned(), why }
}

fn reading(source: io::Error) -> StartError {
    StoreError::Io { what: "reading the data directory".to_owned(), source }.into()
}

fn making(source: io::Error) -> StartError {
    StoreError::Io { what: "making the data directory".to_owned(), source }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::RealDisk;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            RealDisk.list(dir).unwrap().iter().map(|name| name.to_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    fn why(dir: &Path, first: FirstStart) -> Option<NewPairRefused> {
        match prepare(&RealDisk, dir, Some(&first)) {
            Ok(()) => None,
            Err(StartError::NewPairRefused { why, .. }) => Some(why),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_new_pair_needs_a_directory_that_is_not_there() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("pair");
        assert_eq!(why(&dir, FirstStart::Master), None);
        assert_eq!(names(&dir), [MARKER]);
        assert_eq!(names(root.path()), ["pair"]);
        assert_eq!(why(&dir, FirstStart::Master), None, "a first start that was interrupted goes on");
        std::fs::write(dir.join("node.redb"), "half").unwrap();
        assert_eq!(why(&dir, FirstStart::Master), None);
        completed(&RealDisk, &dir);
        assert_eq!(names(&dir), ["node.redb"]);
        assert_eq!(why(&dir, FirstStart::Master), Some(NewPairRefused::Remains));
        assert_eq!(why(&dir, FirstStart::NewPair), Some(NewPairRefused::Remains), "nothing of a node is overwritten");
        for (parent, first) in [("one", FirstStart::Master), ("two", FirstStart::NewPair)] {
            assert_eq!(why(&root.path().join(parent).join("pair"), first), None);
            assert_eq!(names(&root.path().join(parent).join("pair")), [MARKER]);
        }
    }

    #[test]
    fn an_empty_directory_is_refused_unless_the_host_insists() {
        for (left, expected) in [
            (&[][..], NewPairRefused::Empty),
            (&["lock", "lost+found"], NewPairRefused::Empty),
            (&["notes.txt"], NewPairRefused::Foreign),
        ] {
            let dir = tempfile::tempdir().unwrap();
            left.iter().for_each(|name| std::fs::write(dir.path().join(name), "").unwrap());
            assert_eq!(why(dir.path(), FirstStart::Master), Some(expected));
            assert_eq!(names(dir.path()).len(), left.len(), "nothing was changed");
            assert_eq!(why(dir.path(), FirstStart::NewPair), None);
            assert_eq!(why(dir.path(), FirstStart::Master), None, "it has begun");
        }
    }

    #[test]
    fn a_crash_leaves_no_directory_without_its_marker() {
        let root = tempfile::tempdir().unwrap();
        // What a crash before the rename leaves.
        std::fs::create_dir(root.path().join("pair.new")).unwrap();
        assert_eq!(why(&root.path().join("pair"), FirstStart::Master), None);
        assert_eq!(names(root.path()), ["pair"]);
        assert_eq!(names(&root.path().join("pair")), [MARKER]);
    }
}
