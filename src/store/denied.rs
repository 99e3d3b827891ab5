//! Which file of a data directory the user of this process may not use, whose it is, and how that is mended.

use std::path::{Path, PathBuf};

use super::error::StoreError;

/// Finds the first file, directory or parent that this process may not use. `None` where the modes permit everything, or do not tell.
#[cfg(unix)]
pub fn explain(dir: &Path) -> Option<StoreError> {
    let dir = std::path::absolute(dir).ok()?;
    let guilty = first_denied(&dir)?;
    let (owner, mode) = owner_and_mode(&guilty)?;
    let (me, uid) = (rustix::process::geteuid().as_raw(), owner);
    let user = name_of(me);
    let mend = match () {
        () if !guilty.starts_with(&dir) && dir.exists() => format!("chmod a+x {}", guilty.display()),
        () if !guilty.starts_with(&dir) => format!("install -d -o {user} -m 700 {}", dir.display()),
        () if uid == me => format!("chmod -R u+rwX {}", dir.display()),
        () => format!("chown -R {user} {}", dir.display()),
    };
    Some(StoreError::Denied { path: guilty, owner: name_of(uid), mode, user, mend })
}

/// Other systems have other rules.
#[cfg(not(unix))]
pub fn explain(_dir: &Path) -> Option<StoreError> {
    None
}

#[cfg(unix)]
fn first_denied(dir: &Path) -> Option<PathBuf> {
    use rustix::fs::Access;
    let denied = |path: &Path, access| {
        let flags = rustix::fs::AtFlags::EACCESS;
        rustix::fs::accessat(rustix::fs::CWD, path, access, flags) == Err(rustix::io::Errno::ACCESS)
    };
    let mut above: Vec<&Path> = dir.ancestors().skip(1).collect();
    above.reverse();
    // A path below a directory that may not be searched is denied too: the outermost one is the cause.
    if let Some(found) = above.iter().find(|path| denied(path, Access::EXEC_OK)) {
        return Some(found.to_path_buf());
    }
    if !dir.exists() {
        let parent = above.into_iter().rev().find(|path| path.exists())?;
        return denied(parent, Access::WRITE_OK).then(|| parent.to_owned());
    }
    let mut directories = vec![dir.to_owned()];
    while let Some(next) = directories.pop() {
        if denied(&next, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
            return Some(next);
        }
        let mut inside: Vec<_> = std::fs::read_dir(&next).ok()?.map_while(Result::ok).collect();
        inside.sort_by_key(std::fs::DirEntry::file_name);
        for entry in inside {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && next == dir && entry.file_name() != "lost+found" => {
                    directories.push(entry.path());
                }
                Ok(kind) if kind.is_file() && denied(&entry.path(), Access::READ_OK | Access::WRITE_OK) => {
                    return Some(entry.path());
                }
                _ => {}
            }
        }
    }
    None
}

#[cfg(unix)]
fn owner_and_mode(path: &Path) -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.uid(), metadata.mode() & 0o7777))
}

/// The user's name, or its number where the table of users has none.
#[cfg(unix)]
fn name_of(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = uid.to_string();
    let line = users.lines().find(|line| line.split(':').nth(2) == Some(&number));
    line.and_then(|line| line.split(':').next()).map_or(number.clone(), str::to_owned)
}
