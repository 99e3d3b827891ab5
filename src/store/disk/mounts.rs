//! Volumes that the system should have mounted, and has not.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The innermost mount point above this path that `/etc/fstab` names and that is not mounted. `None` where the system has no such table.
pub fn unmounted(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let table = std::fs::read_to_string("/etc/fstab").ok()?;
    let mounted = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    missing(&path, &table, &mounted)
}

fn missing(path: &Path, table: &str, mounted: &str) -> Option<PathBuf> {
    let mounted: Vec<PathBuf> = mounted.lines().filter_map(|line| field(line, 4)).collect();
    let lines = table.lines().filter(|line| !line.trim_start().starts_with('#'));
    let above = lines.filter_map(|line| field(line, 1)).filter(|point| point.is_absolute() && path.starts_with(point));
    above.filter(|point| !mounted.contains(point)).max_by_key(|point| point.components().count())
}

/// A field of a line, in which white space is written as an octal number.
fn field(line: &str, number: usize) -> Option<PathBuf> {
    let mut text = line.split_whitespace().nth(number)?.to_owned();
    for (escape, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        text = text.replace(escape, character);
    }
    // `/mnt/` and `/mnt` are the same place.
    Some(Path::new(&OsString::from(text)).components().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_of_the_table_that_is_not_mounted_is_found() {
        let table = "# device point\n/dev/a / ext4 defaults 0 1\n/dev/b /mnt/my\\040vol/ ext4 noauto 0 2\n/dev/c none swap sw 0 0\n";
        let root = "22 1 8:1 / / rw - ext4 /dev/a rw\n";
        let both = format!("{root}23 22 8:2 / /mnt/my\\040vol rw - ext4 /dev/b rw\n");
        let of = |path: &str, mounted: &str| missing(Path::new(path), table, mounted);
        assert_eq!(of("/mnt/my vol/app/pair", root), Some("/mnt/my vol".into()));
        assert_eq!(of("/mnt/my vol", root), Some("/mnt/my vol".into()));
        assert_eq!(of("/mnt/my vol/app/pair", &both), None);
        assert_eq!(of("/mnt/my volume", root), None);
        assert_eq!(of("/srv/pair", root), None);
    }
}
