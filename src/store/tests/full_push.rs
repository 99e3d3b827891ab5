//! The room that a full push needs.

use super::*;
use crate::model::limits::room_for_push;

#[test]
fn a_full_push_is_refused_before_it_begins_where_the_disk_has_no_room_for_it() {
    let (_, mut source) = master();
    commit(&mut source, &[ChangeSet::new().put("key", large(200_000, 1))]);
    let disk = SimDisk::new(7);
    disk.tell_room();
    let mut shadow = create(&disk, options());
    let (header, _) = source.reader.export(1).unwrap();
    let (needed, before) = (room_for_push(header.entries, header.bytes), disk.used());
    disk.set_capacity(before + needed - 1);
    let failure = shadow.store.stage_begin(&header).unwrap_err();
    let told = format!("1 entries with 200003 bytes needs {needed} bytes of room, and {} are free", needed - 1);
    assert!(failure.full && failure.reason.contains(&told), "{failure:?}");
    assert_eq!(disk.used(), before, "nothing was begun");
    disk.set_capacity(before + needed);
    shadow.store.stage_begin(&header).unwrap();
}

/// Blocks of the files below this directory.
#[cfg(unix)]
fn room_used(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => room_used(&entry.path()),
            false => entry.metadata().unwrap().blocks() * 512,
        })
        .sum()
}

/// On the real disk, where a file that grows takes room as it is written.
#[test]
#[cfg(unix)]
fn the_room_that_a_full_push_is_said_to_need_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    for (entries, bytes) in [(1, 1), (10_000, 20), (40_000, 200), (300, 20_000), (4, 3_000_000)] {
        let (_, mut source) = master();
        for first in (0..entries).step_by(1_000) {
            let set = (first..entries.min(first + 1_000))
                .fold(ChangeSet::new(), |set, i| set.put(format!("key{i:08}"), large(bytes, i as u8)));
            commit(&mut source, &[set]);
            while source.store.maintain().unwrap() {}
        }
        let data = dir.path().join(format!("{entries}x{bytes}"));
        let disk: Arc<dyn Disk> = Arc::new(disk::RealDisk);
        let lock = Store::lock(&disk, &data).unwrap();
        let mut shadow = Store::create(disk, &data, lock, &durable_state(), options()).unwrap();
        let (header, mut export) = source.reader.export(1).unwrap();
        let before = room_used(&data);
        let mut most = before;
        shadow.store.stage_begin(&header).unwrap();
        while let Some(piece) = export.next(256 * 1024).unwrap() {
            shadow.store.stage_write(&piece.into()).unwrap();
            most = most.max(room_used(&data));
        }
        assert!(matches!(shadow.store.stage_verify().unwrap(), Verified::Good { .. }));
        most = most.max(room_used(&data));
        shadow.store.stage_switch().unwrap();
        let (took, needed) = (most - before, room_for_push(header.entries, header.bytes));
        println!("{entries} x {bytes}: {} bytes took {took}, said {needed}", header.bytes);
        assert!(took <= needed, "{entries} entries of {bytes} bytes took {took}, and {needed} were said to be enough");
    }
}
