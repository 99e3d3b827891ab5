//! Received records: in order, received twice, and records that do not fit.

use super::*;
use crate::model::limits::room_for_push;

#[test]
fn records_that_come_twice_are_taken_once() {
    let (_disk, mut source) = master();
    commit(&mut source, &[put("a", "1"), ChangeSet::new().put("b", large(600_000, 4)), put("c", "3")]);
    let (_disk, mut target) = shadow();
    follow(&mut target, &source, 1);
    let before = (target.store.head(), all(&target.reader.snapshot()));
    let from_start = |source: &Opened, max_bytes| -> Vec<Bytes> {
        let head = source.store.head().revision;
        pieces(&source.reader, Revision::NONE, head, max_bytes).into_iter().map(|(piece, _)| piece).collect()
    };
    for piece in from_start(&source, 1) {
        assert!(matches!(target.store.receive(&[piece]).unwrap(), Received::Duplicate));
    }
    assert_eq!((target.store.head(), all(&target.reader.snapshot())), before);
    // The same if new records follow, in the same piece or in another one.
    for max_bytes in [1 << 20, 1] {
        commit(&mut source, &[put("d", &max_bytes.to_string())]);
        let again = from_start(&source, max_bytes);
        assert!(matches!(target.store.receive(&again).unwrap(), Received::Pending { .. }));
        target.store.accept().unwrap();
        assert_eq!(target.store.head(), source.store.head());
    }
    // If the content of a known position differs, the records that follow do not fit.
    let (_disk, mut other) = master();
    commit(&mut other, &[put("a", "2"), put("b", "2"), put("c", "2"), put("d", "2"), put("d", "3"), put("e", "4")]);
    let head = target.store.head();
    assert!(matches!(target.store.receive(&from_start(&other, 1 << 20)).unwrap(), Received::Mismatch));
    assert_eq!(target.store.head(), head);
}

#[test]
fn received_records_follow_or_nothing_is_left_of_them() {
    let (_disk, mut source) = master();
    let big = large(600_000, 4);
    commit(&mut source, &[put("a", "1"), ChangeSet::new().put("b", big.clone()), put("c", "3")]);
    let head = source.store.head().revision;
    let whole: Vec<Bytes> =
        pieces(&source.reader, Revision::NONE, head, 1).into_iter().map(|(piece, _)| piece).collect();
    let (disk, mut target) = shadow();
    let mismatch = |target: &mut Opened, pieces: &[Bytes]| {
        let before = target.store.head();
        assert!(matches!(target.store.receive(pieces).unwrap(), Received::Mismatch));
        assert_eq!(target.store.head(), before);
    };
    mismatch(&mut target, &whole[1..]);
    mismatch(&mut target, &[whole[0].slice(..20)]);
    let mut flipped = whole[1].to_vec();
    flipped[50] ^= 1;
    mismatch(&mut target, &[whole[0].clone(), flipped.into()]);
    // The host refuses them.
    assert!(
        matches!(target.store.receive(&whole).unwrap(), Received::Pending { candidate } if all(&candidate).len() == 3)
    );
    target.store.reject().unwrap();
    assert_eq!(target.store.head(), Position::NONE);
    // A change set comes in several calls, is begun again, and a crash interrupts it.
    for piece in &whole[..3] {
        target.store.receive(std::slice::from_ref(piece)).unwrap();
        target.store.accept().unwrap();
    }
    assert_eq!(target.store.head().revision.seq, 1);
    mismatch(&mut target, &whole[4..5]);
    for piece in &whole[2..4] {
        target.store.receive(std::slice::from_ref(piece)).unwrap();
        target.store.accept().unwrap();
    }
    for piece in &whole[2..4] {
        target.store.receive(std::slice::from_ref(piece)).unwrap();
        target.store.accept().unwrap();
    }
    disk.cut_power(disk::sim::PowerCut::Lost);
    drop(target);
    let mut target = open(&disk, options()).unwrap();
    assert_eq!((target.head.revision.seq, target.damage.clone()), (1, None));
    follow(&mut target, &source, 1);
    assert_eq!(all(&target.reader.snapshot()), all(&source.reader.snapshot()));
    // Both logs have the same bytes.
    let again: Vec<Bytes> =
        pieces(&target.reader, Revision::NONE, head, 1).into_iter().map(|(piece, _)| piece).collect();
    assert_eq!(again, whole);
}

#[test]
fn a_full_push_is_refused_before_it_begins_where_the_disk_has_no_room_for_it() {
    let (_, mut source) = master();
    commit(&mut source, &[ChangeSet::new().put("key", large(200_000, 1))]);
    let disk = SimDisk::new(7);
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
            shadow.store.stage_write(&piece).unwrap();
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
