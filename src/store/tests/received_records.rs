//! Received records: in order, received twice, and records that do not fit.

use super::*;
use crate::model::limits::TERMS_AHEAD_MAX;

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
        target.store.accept(None).unwrap();
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
        target.store.accept(None).unwrap();
    }
    assert_eq!(target.store.head().revision.seq, 1);
    mismatch(&mut target, &whole[4..5]);
    for piece in &whole[2..4] {
        target.store.receive(std::slice::from_ref(piece)).unwrap();
        target.store.accept(None).unwrap();
    }
    for piece in &whole[2..4] {
        target.store.receive(std::slice::from_ref(piece)).unwrap();
        target.store.accept(None).unwrap();
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

/// Following it would use up the terms. The last era that is in reach is taken, so that the bound is this one.
#[test]
fn an_era_out_of_reach_is_not_taken() {
    for (ahead, in_reach) in [(TERMS_AHEAD_MAX, true), (TERMS_AHEAD_MAX + 1, false)] {
        let (_disk, mut source) = master();
        commit(&mut source, &[put("a", "1")]);
        let (_disk, mut target) = shadow();
        follow(&mut target, &source, 1 << 20);
        let before = target.store.head();
        source.store.begin_era_only(era(1 + ahead, 2)).unwrap();
        commit(&mut source, &[put("b", "2")]);
        let records = pieces(&source.reader, before.revision, source.store.head().revision, 1 << 20);
        let records: Vec<Bytes> = records.into_iter().map(|(piece, _)| piece).collect();
        match target.store.receive(&records).unwrap() {
            Received::Pending { .. } => assert!(in_reach),
            Received::Mismatch => assert!(!in_reach),
            Received::Duplicate => panic!("they are new"),
        }
        assert_eq!(target.store.head(), before);
        // What is right is still taken.
        let (_disk, mut other) = master();
        commit(&mut other, &[put("a", "1"), put("c", "3")]);
        follow(&mut target, &other, 1 << 20);
    }
}
