//! A repair by what differs.

use super::*;
use crate::model::limits::COMPARED_ENTRIES_MAX;
use crate::protocol::wire::record::{Item, encode_item};

/// Repairs a shadow by what differs, in pieces of at most so many bytes. Returns the bytes that were sent, those of the wants too.
fn repair(shadow: &mut Opened, source: &Opened, max_bytes: usize) -> usize {
    let (header, mut export) = source.reader.export(1).unwrap();
    let StagedBefore::Base(base) = shadow.store.stage_compare(&header).unwrap() else { panic!("nothing is staged") };
    let (mut sent, mut asked) = (base.len(), false);
    export.compare(base);
    loop {
        while let Some(piece) = export.next(max_bytes).unwrap() {
            sent += piece.len();
            shadow.store.stage_write(&piece.into()).unwrap();
        }
        match shadow.store.stage_wants() {
            Some(wants) => {
                assert!(!std::mem::replace(&mut asked, true), "it asks once");
                sent += wants.len();
                export.select(wants);
            }
            None => break,
        }
    }
    assert!(asked);
    match shadow.store.stage_verify().unwrap() {
        Verified::Good { candidate } => assert_eq!(all(&candidate), all(&source.reader.snapshot())),
        Verified::Bad { found } => panic!("{found:?}"),
    }
    shadow.store.stage_switch().unwrap();
    assert_eq!(shadow.store.head(), source.store.head());
    sent
}

fn source() -> Opened {
    let (_disk, mut source) = master();
    for group in 0..10 {
        let set = (0..1_000).fold(ChangeSet::new(), |set, i| set.put(format!("k{group}{i:03}"), large(200, i as u8)));
        commit(&mut source, &[set.put(format!("large{group}"), large(300_000, group))]);
    }
    while source.store.maintain().unwrap() {}
    source
}

fn copy_of(source: &Opened) -> (SimDisk, Opened) {
    let (disk, mut copy) = shadow();
    push(&mut copy, source, 300_000);
    (disk, copy)
}

#[test]
fn only_what_differs_is_sent_and_what_is_gone_goes() {
    for (maintained, max_bytes) in [(true, 1), (false, 4_096), (true, 300_000)] {
        let mut source = source();
        let (disk, mut target) = copy_of(&source);
        let set = ChangeSet::new().put("k0000", "new").delete("k1001").put_secret("k2002", large(200, 2));
        let set =
            set.put("large3", large(400_000, 9)).delete("large4").put("large5", "small").put("a", "1").put("z", "2");
        commit(&mut source, &[set]);
        while maintained && source.store.maintain().unwrap() {}
        let sent = repair(&mut target, &source, max_bytes);
        assert!(sent < 400_000 + 80_000, "{sent}");
        // It goes on from there, and after a start.
        commit(&mut source, &[put("after", "1")]);
        follow(&mut target, &source, 1 << 20);
        while target.store.maintain().unwrap() {}
        drop(target);
        let target = open(&disk, options()).unwrap();
        assert_eq!((target.head, target.damage.clone()), (source.store.head(), None));
        assert_eq!(all(&target.reader.snapshot()), all(&source.reader.snapshot()));
    }
}

/// A former master has changes of its own, in the state and in the log only, and undo images of them.
#[test]
fn what_only_the_shadow_has_goes() {
    let mut source = source();
    let (_, mut target) = copy_of(&source);
    target.store.begin_era_only(era(2, source.store.head().revision.seq + 1)).unwrap();
    commit(&mut target, &[put("own", "1").delete("k0000"), put("k0001", "own").put("large1", "own")]);
    target.store.maintain().unwrap();
    commit(&mut target, &[put("own/log", "1").delete("k5000").put("large2", "own")]);
    commit(&mut source, &[put("k9000", "new")]);
    repair(&mut target, &source, 4_096);
    let head = target.store.head().revision;
    assert_eq!(target.store.log_floor(), head);
    target.store.begin_era_only(era(3, head.seq + 1)).unwrap();
    commit(&mut target, &[put("k9000", "mine")]);
    target.store.maintain().unwrap();
    // What is undone is of the new history only.
    target.store.quarantine(head).unwrap();
    let diverged = target.reader.diverged().unwrap();
    assert_eq!(diverged.iter().map(|lost| lost.changes.len()).collect::<Vec<_>>(), [1], "{diverged:?}");
}

#[test]
fn nothing_differs_and_everything_does() {
    let mut source = source();
    let (_, mut target) = copy_of(&source);
    let sent = repair(&mut target, &source, 4_096);
    assert!(sent < 20_000, "{sent}");
    let set = (0..10).fold(ChangeSet::new(), |set, group| set.delete(format!("large{group}")));
    commit(&mut source, &[set]);
    for group in 0..10 {
        commit(&mut source, &[(0..1_000).fold(ChangeSet::new(), |set, i| set.delete(format!("k{group}{i:03}")))]);
    }
    repair(&mut target, &source, 4_096);
    commit(&mut source, &[put("only", "1")]);
    repair(&mut target, &source, 4_096);
}

/// A crash in the middle leaves the old configuration, whole.
#[test]
fn a_crash_in_the_middle_leaves_the_old_copy() {
    let mut source = source();
    let (disk, mut target) = copy_of(&source);
    let before = target.store.head();
    commit(&mut source, &[put("k0000", "new").delete("k0001")]);
    let (header, mut export) = source.reader.export(1).unwrap();
    let StagedBefore::Base(base) = target.store.stage_compare(&header).unwrap() else { panic!() };
    export.compare(base);
    while let Some(piece) = export.next(4_096).unwrap() {
        target.store.stage_write(&piece.into()).unwrap();
    }
    export.select(target.store.stage_wants().unwrap());
    let piece = export.next(4_096).unwrap().unwrap();
    target.store.stage_write(&piece.into()).unwrap();
    target.store.stage_keep().unwrap();
    disk.cut_power(PowerCut::Torn);
    drop(target);
    let mut target = open(&disk, options()).unwrap();
    assert_eq!((target.head, target.damage.clone()), (before, None));
    repair(&mut target, &source, 4_096);
}

/// Lies of a source: each ends in a whole snapshot or in a mismatch, within bounds.
#[test]
fn a_source_that_lies_is_found() {
    let source = source();
    let (_, mut target) = copy_of(&source);
    let (header, _) = source.reader.export(1).unwrap();
    let piece = |items: &[Item<'_>]| {
        let mut bytes = Vec::new();
        items.iter().for_each(|item| encode_item(&mut bytes, item));
        Bytes::from(bytes).into()
    };
    // Too many differ, the second word on buckets, and hashes without end: the whole snapshot is wanted.
    let all = [0xff; 512];
    let hashes = vec![7; 64 * 1024];
    for items in [
        vec![Item::Compare(&[])],
        vec![Item::Compare(&all), Item::Compare(&all)],
        vec![Item::Compare(&all), Item::Delete { key: Key::new("k").unwrap() }],
    ] {
        target.store.stage_compare(&header).unwrap();
        target.store.stage_write(&piece(&items)).unwrap();
        assert_eq!(target.store.stage_wants(), None, "{items:?}");
        target.store.stage_write(&piece(&[Item::Hashes(&hashes), Item::Hashes(&[])])).unwrap();
        assert_eq!(target.store.stage_wants(), Some(Vec::new()), "{items:?}");
    }
    target.store.stage_compare(&header).unwrap();
    target.store.stage_write(&piece(&[Item::Compare(&all)])).unwrap();
    for _ in 0..COMPARED_ENTRIES_MAX / 8_192 + 2 {
        target.store.stage_write(&piece(&[Item::Hashes(&hashes)])).unwrap();
    }
    target.store.stage_write(&piece(&[Item::Hashes(&[])])).unwrap();
    assert_eq!(target.store.stage_wants(), Some(Vec::new()));
    // It says that it has nothing of all that: the copy would be empty, which is not what the header said.
    target.store.stage_compare(&header).unwrap();
    target.store.stage_write(&piece(&[Item::Compare(&all), Item::Hashes(&[])])).unwrap();
    assert_eq!(target.store.stage_wants(), Some(vec![0]));
    assert!(matches!(target.store.stage_verify().unwrap(), Verified::Bad { .. }));
    assert_eq!(target.store.head(), source.store.head());
}
