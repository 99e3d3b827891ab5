//! Checkpoints beside commits. With crashes they are in `crash`.

use super::*;
use crate::model::limits::OVERLAY_BYTES_MAX;

fn contents(pairs: &[(&str, &str)]) -> Vec<(String, Bytes)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), Bytes::from((*value).to_owned()))).collect()
}

#[test]
fn commits_and_readers_go_on_beside_a_checkpoint() {
    let (disk, mut opened) = master();
    let epoch = Epoch::new(1, 0);
    commit(&mut opened, &[put("a", "1").put("b", "1").put("c", "1")]);
    // These two are durable and not visible: they stay in the overlay.
    opened.store.commit(epoch, &[put("a", "2"), put("d", "2")]).unwrap();
    let checkpoint = opened.store.begin_checkpoint().unwrap().unwrap();
    assert!(opened.store.begin_checkpoint().unwrap().is_none(), "one at a time");
    assert_eq!(all(&opened.reader.snapshot()), contents(&[("a", "1"), ("b", "1"), ("c", "1")]));
    opened.reader.publish(Revision::new(epoch, 2));
    assert_eq!(all(&opened.reader.snapshot()), contents(&[("a", "2"), ("b", "1"), ("c", "1")]));
    commit(&mut opened, &[ChangeSet::new().delete("b").put("e", "3")]);
    let during = contents(&[("a", "2"), ("c", "1"), ("d", "2"), ("e", "3")]);
    let snapshot = opened.reader.snapshot();
    assert_eq!(all(&snapshot), during);
    checkpoint.run();
    commit(&mut opened, &[put("c", "4")]);
    assert!(!opened.store.complete_checkpoint().unwrap());
    assert!(!opened.store.complete_checkpoint().unwrap(), "there is none any more");
    assert_eq!(all(&snapshot), during);
    let after = contents(&[("a", "2"), ("c", "4"), ("d", "2"), ("e", "3")]);
    assert_eq!(all(&opened.reader.snapshot()), after);
    while opened.store.maintain().unwrap() {}
    assert_eq!(all(&opened.reader.snapshot()), after);
    drop(opened);
    assert_eq!(all(&open(&disk, options()).unwrap().reader.snapshot()), after);
}

#[test]
fn an_abandoned_checkpoint_writes_nothing() {
    let (disk, mut opened) = master();
    commit(&mut opened, &[put("a", "1")]);
    let stale = opened.store.begin_checkpoint().unwrap().unwrap();
    opened.store.reopen().unwrap();
    let written = disk.changes();
    stale.run();
    assert_eq!(disk.changes(), written);
    let (_other, mut source) = master();
    commit(&mut source, &[put("z", "9")]);
    let stale = opened.store.begin_checkpoint().unwrap().unwrap();
    push(&mut opened, &source, 1 << 20);
    let written = disk.changes();
    stale.run();
    assert_eq!(disk.changes(), written);
    assert!(!opened.store.complete_checkpoint().unwrap());
    assert_eq!(all(&opened.reader.snapshot()), contents(&[("z", "9")]));
    let stale = opened.store.begin_checkpoint().unwrap().unwrap();
    drop(opened);
    let written = disk.changes();
    stale.run();
    assert_eq!(disk.changes(), written);
    drop(stale);
    assert_eq!(all(&open(&disk, options()).unwrap().reader.snapshot()), contents(&[("z", "9")]));
}

#[test]
fn a_checkpoint_that_finds_the_disk_full_stops_no_commit() {
    let (disk, mut opened) = master();
    for i in 0..20 {
        commit(&mut opened, &[ChangeSet::new().put(format!("k{i:02}"), large(200_000, i))]);
    }
    disk.set_capacity(disk.used());
    let checkpoint = opened.store.begin_checkpoint().unwrap().unwrap();
    checkpoint.run();
    // The state can no longer be read through the handle that failed, so the store opens it again first.
    let key = Guard::Key { key: Key::new("absent").unwrap(), expected: Expected::Absent };
    let verdicts = commit(&mut opened, &[put("k00", "new").only_if(key)]);
    assert!(verdicts[0].is_ok());
    assert!(opened.store.maintain().unwrap_err().full);
    assert_eq!(all(&opened.reader.snapshot()).len(), 20);
    disk.set_capacity(u64::MAX);
    while opened.store.maintain().unwrap() {}
    assert_eq!(opened.reader.snapshot().get("k00").unwrap().unwrap(), "new");
    assert_eq!(opened.reader.snapshot().get("k19").unwrap().unwrap(), large(200_000, 19));
}

#[test]
fn the_overlay_is_bounded_whoever_runs_the_checkpoint() {
    let (_disk, mut opened) = master();
    let mut checkpoint = None;
    for i in 0..200u8 {
        commit(&mut opened, &[ChangeSet::new().put(format!("k{i}"), large(VALUE_INLINE_BYTES_MAX, i))]);
        if opened.reader.wants_checkpoint(CHECKPOINT_BYTES) {
            checkpoint = opened.store.begin_checkpoint().unwrap().or(checkpoint);
        }
        assert!(opened.reader.0.memory() < OVERLAY_BYTES_MAX + (1 << 20), "{i}");
    }
    assert_eq!(all(&opened.reader.snapshot()).len(), 200);
    drop(checkpoint);
}
