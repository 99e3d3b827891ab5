//! Eras on a full disk.

use super::*;

/// A master with this many commits and, after them, this many eras.
fn written(commits: usize, eras: u32) -> (SimDisk, Opened) {
    let (disk, mut opened) = master_with(StoreOptions { log_changes: 1_000_000, log_bytes: 1 });
    (0..commits).for_each(|_| drop(commit(&mut opened, &[put("a", "1")])));
    (0..eras).for_each(|n| opened.store.begin_era_only(era(2 + n, commits as u64 + 1)).unwrap());
    (disk, opened)
}

/// Number of writes before the log needs another segment.
fn fits(disk: &SimDisk, mut write: impl FnMut(u32)) -> u32 {
    let used = disk.used();
    (0..)
        .find(|n| {
            write(*n);
            disk.used() > used
        })
        .unwrap()
}

#[test]
fn a_full_disk_leaves_nothing_of_an_era() {
    let (disk, mut opened) = written(0, 0);
    let commits = fits(&disk, |_| drop(commit(&mut opened, &[put("a", "1")]))) as usize;
    let (disk, mut opened) = written(commits, 0);
    let eras = fits(&disk, |n| opened.store.begin_era_only(era(2 + n, commits as u64 + 1)).unwrap());
    let (disk, mut opened) = written(commits, eras);
    let head = opened.store.head();
    // There is room for the durable state, but not for another segment.
    disk.set_capacity(disk.used() + 20_000);
    let (new_state, new_era) = (DurableState { next_alert: 7, ..durable_state() }, era(2 + eras, commits as u64 + 1));
    let failure = opened.store.begin_era(&new_state, new_era).unwrap_err();
    assert!(failure.full, "{failure:?}");
    let disk_then = disk.copy();
    disk_then.kill();
    let found = open(&disk_then, options()).unwrap();
    assert_eq!((found.head, found.durable_state), (head, durable_state()));
    disk.set_capacity(u64::MAX);
    opened.store.begin_era(&new_state, new_era).unwrap();
    drop(opened);
    let found = open(&disk, options()).unwrap();
    assert_eq!((found.head.revision, found.durable_state), (Revision::new(new_era.epoch, commits as u64), new_state));
}
