//! Exports, and imports of them: whole or not at all, whatever is damaged and wherever the power fails.

use std::path::Path;

use super::super::backup::{BackupFileError, BackupHeader, BackupReader, VerifiedBackup, verify_backup, write_backup};
use super::super::disk::sim::{PowerCut, SimDisk};
use super::*;
use crate::model::History;
use crate::model::limits::CHANGES_MAX;
use crate::protocol::wire::SnapshotHeader;
use crate::protocol::wire::golden;

const FILE: &str = "backup.export";
const OTHER: PairId = PairId([9; 16]);

fn export(opened: &Opened, disk: &SimDisk) -> VerifiedBackup {
    let (found, export) = opened.reader.export(0).unwrap();
    let SnapshotHeader { position, entries, bytes, .. } = found;
    let header = BackupHeader { pair: PairId([3; 16]), position, entries, bytes, wall_ms: 77, schema: 2 };
    let content = write_backup(disk, Path::new(FILE), &header, export).unwrap();
    let verified = verify_backup(disk, Path::new(FILE), &PairId([3; 16])).unwrap();
    assert_eq!((&verified.header, verified.content, verified.digest), (&header, content, position.digest));
    verified
}

/// Loads the file beside the live copy, as [`Operator::import`](crate::Operator::import) does.
fn stage(store: &mut Store, disk: &SimDisk) -> u64 {
    let verified = verify_backup(disk, Path::new(FILE), &PairId([3; 16])).unwrap();
    let BackupHeader { position, entries, bytes, .. } = verified.header;
    let position = Position { digest: verified.digest, ..position };
    let header = SnapshotHeader { transfer: 0, position, history: History::default(), chain: 0, entries, bytes };
    let number = store.import_begin(&header).unwrap();
    let mut reader = BackupReader::open(disk, Path::new(FILE)).unwrap();
    while let Some(piece) = reader.next().unwrap() {
        assert!(store.import_write(number, &piece.into()).unwrap());
    }
    assert!(store.import_verify(number).unwrap());
    number
}

fn import(store: &mut Store, number: u64) -> Result<Result<Revision, Conflict>, DiskFailure> {
    let epoch = store.head().revision.epoch;
    store.commit(epoch, &[ChangeSet::of_import(number)]).map(|mut verdicts| verdicts.remove(0))
}

/// A configuration with every kind of entry.
fn filled() -> (SimDisk, Opened) {
    let (disk, mut opened) = master();
    let set = put("routes/api", "10.0.0.7:80").put_secret("password", "hunter2").put("empty", "");
    commit(&mut opened, &[set.put("logo", large(VALUE_INLINE_BYTES_MAX + 5, 1))]);
    (disk, opened)
}

fn raw(disk: &SimDisk) -> Vec<u8> {
    disk::read_file(disk, Path::new(FILE), 1 << 24).unwrap().unwrap()
}

fn replaced(bytes: &[u8]) -> Result<VerifiedBackup, BackupFileError> {
    let disk = SimDisk::new(7);
    let file = disk.open(Path::new(FILE), true).unwrap();
    file.write_at(0, bytes).unwrap();
    verify_backup(&disk, Path::new(FILE), &PairId([3; 16]))
}

#[test]
fn a_damaged_newer_or_foreign_file_is_refused_with_its_reason() {
    let (disk, opened) = filled();
    export(&opened, &disk);
    let bytes = raw(&disk);
    assert!(replaced(&bytes).is_ok());
    for len in (0..bytes.len()).step_by(997).chain(0..140).chain(bytes.len() - 70..bytes.len()) {
        assert_eq!(replaced(&bytes[..len]), Err(BackupFileError::Truncated), "{len} bytes");
    }
    for at in (8..bytes.len()).step_by(1499).chain(8..140).chain(bytes.len() - 70..bytes.len()) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let refused = replaced(&damaged);
        let expected = matches!(refused, Err(BackupFileError::Damaged(_) | BackupFileError::Truncated));
        assert!(expected, "byte {at}: {refused:?}");
    }
    let mut newer = bytes.clone();
    newer[4] = 2;
    assert_eq!(replaced(&newer), Err(BackupFileError::Newer { found: 2, known: 1 }));
    assert_eq!(replaced(b"#!/bin/sh\necho hello\n"), Err(BackupFileError::NotAnExport));
    let longer = [&bytes[..], b"x"].concat();
    assert!(matches!(replaced(&longer), Err(BackupFileError::Damaged(_))));
}

#[test]
fn the_bytes_of_an_export_are_frozen() {
    let (disk, mut opened) = master();
    commit(&mut opened, &[put("routes/api", "10.0.0.7:80").put_secret("password", "hunter2").put("empty", "")]);
    export(&opened, &disk);
    golden::compare("export-v1", &raw(&disk));
    let read = replaced(&golden::read("export-v1")).unwrap();
    assert_eq!((read.header.entries, read.header.schema), (3, 2));
}

/// The hash of the content does not depend on the pair; the digest does.
#[test]
fn content_is_compared_across_pairs() {
    let (disk, opened) = filled();
    let here = export(&opened, &disk);
    let there = verify_backup(&disk, Path::new(FILE), &OTHER).unwrap();
    assert_eq!(here.content, there.content);
    assert_ne!(here.digest, there.digest);
    let mut keys = DigestKey::of(&OTHER);
    let mut digest = Digest::ZERO;
    for entry in opened.reader.snapshot().scan("") {
        let entry = entry.unwrap();
        let value = opened.reader.snapshot().get(&entry.key).unwrap().unwrap();
        digest.add(&keys_entry(&mut keys, &entry, &value));
    }
    assert_eq!(there.digest, digest);
}

/// More entries than a change set takes, while change sets before and after are not visible yet.
#[test]
fn an_import_is_one_change_and_becomes_visible_in_its_turn() {
    let (disk, mut opened) = filled();
    let many = CHANGES_MAX + 2_000;
    for from in (0..many).step_by(1_000) {
        let keys = from..from + 1_000;
        commit(&mut opened, &[keys.fold(ChangeSet::new(), |set, i| set.put(format!("many/{i:05}"), i.to_string()))]);
    }
    export(&opened, &disk);
    let exported = all(&opened.reader.snapshot());
    // Something else since then.
    commit(&mut opened, &[put("routes/api", "other").delete("logo").put("new", "1")]);
    let before = all(&opened.reader.snapshot());
    let epoch = opened.store.head().revision.epoch;
    let visible = opened.reader.snapshot().revision();
    let number = stage(&mut opened.store, &disk);
    opened.store.commit(epoch, &[put("hidden", "1")]).unwrap();
    let revision = import(&mut opened.store, number).unwrap().unwrap();
    assert_eq!(revision, Revision::new(epoch, visible.seq + 2));
    assert_eq!(opened.store.log_floor(), revision, "the log begins after it");
    opened.store.commit(epoch, &[put("after", "1")]).unwrap();
    while opened.store.maintain().unwrap() {}
    assert_eq!(all(&opened.reader.snapshot()), before, "nothing is visible before it is published");
    opened.reader.publish(Revision::new(epoch, visible.seq + 1));
    assert_eq!(opened.reader.snapshot().get("hidden").unwrap().unwrap(), "1");
    while opened.store.maintain().unwrap() {}
    let told = opened.reader.publish(revision);
    assert_eq!(told, [(revision, Vec::new())], "watchers take a snapshot again");
    assert_eq!(all(&opened.reader.snapshot()), exported);
    opened.reader.publish(opened.store.head().revision);
    while opened.store.maintain().unwrap() {}
    let expected = all(&opened.reader.snapshot());
    assert_eq!(expected.len(), exported.len() + 1);

    let mut follower = shadow().1;
    assert!(opened.reader.records_after(visible, None, opened.store.head().revision, 1 << 20).unwrap().is_none());
    push(&mut follower, &opened, 100_000);
    commit(&mut opened, &[put("later", "1")]);
    follow(&mut follower, &opened, 100_000);
    let head = opened.store.head();
    drop(opened);
    let opened = open(&disk, options()).unwrap();
    assert_eq!((opened.head, opened.damage.clone()), (head, None));
    assert_eq!(all(&opened.reader.snapshot()).len(), expected.len() + 1);
}

/// A former master knows also what its imports replaced.
#[test]
fn the_quarantine_reaches_across_an_import() {
    let (disk, mut opened) = filled();
    export(&opened, &disk);
    let common = opened.store.head().revision;
    opened.reader.confirm(common);
    while opened.store.maintain().unwrap() {}
    commit(&mut opened, &[put("routes/api", "mine").put("mine", "1").delete("logo")]);
    let number = stage(&mut opened.store, &disk);
    import(&mut opened.store, number).unwrap().unwrap();
    commit(&mut opened, &[put("routes/api", "after")]);
    for maintained in [false, true] {
        while maintained && opened.store.maintain().unwrap() {}
        opened.store.quarantine(common).unwrap();
        let lost = opened.reader.diverged().unwrap();
        let value = |text: &str| Some(DivergedValue::Inline(text.to_owned().into()));
        let changes = &lost.last().unwrap().changes;
        let keys: Vec<_> = changes.iter().map(|change| change.key.as_str()).collect();
        assert_eq!(keys, ["logo", "mine", "routes/api"]);
        assert_eq!(
            (&changes[0].old, &changes[0].new),
            (&changes[0].new, &changes[0].old),
            "deleted, and imported again"
        );
        assert_eq!((&changes[1].old, &changes[1].new), (&None, &None));
        assert_eq!((&changes[2].old, &changes[2].new), (&value("10.0.0.7:80"), &value("after")));
    }
}

#[test]
fn an_import_whose_place_was_taken_is_refused_and_leaves_nothing() {
    let (disk, mut opened) = filled();
    export(&opened, &disk);
    commit(&mut opened, &[put("new", "1")]);
    let (head, files) = (opened.store.head(), disk.files().len());
    let first = stage(&mut opened.store, &disk);
    let second = stage(&mut opened.store, &disk);
    assert!(!opened.store.import_write(first, &Bytes::new().into()).unwrap());
    assert_eq!(import(&mut opened.store, first).unwrap(), Err(Conflict::Superseded));
    opened.store.import_drop();
    assert_eq!(import(&mut opened.store, second).unwrap(), Err(Conflict::Superseded));
    assert_eq!((opened.store.head(), disk.files().len()), (head, files));
    // A full push takes its place too.
    let third = stage(&mut opened.store, &disk);
    push(&mut opened, &filled().1, 100_000);
    assert_eq!(import(&mut opened.store, third).unwrap(), Err(Conflict::Superseded));
}

/// Power fails at each change of the disk in turn: the configuration is the one before or the one after.
#[test]
fn an_import_is_whole_or_not_at_all_wherever_the_power_fails() {
    let mut found = [0; 2];
    for nth in 1..200 {
        let (disk, mut opened) = filled();
        export(&opened, &disk);
        let exported = all(&opened.reader.snapshot());
        commit(&mut opened, &[put("new", "1").delete("logo")]);
        let before = all(&opened.reader.snapshot());
        let (head, number) = (opened.store.head().revision, stage(&mut opened.store, &disk));
        disk.stop(nth);
        let done = import(&mut opened.store, number);
        let stopped = disk.is_stopped();
        disk.cut_power([PowerCut::Lost, PowerCut::Kept, PowerCut::Torn][nth as usize % 3]);
        drop(opened);
        let opened = open(&disk, options()).unwrap();
        assert_eq!(opened.damage, None, "{nth}");
        let after = opened.head.revision.seq == head.seq + 1;
        assert!(after || (opened.head.revision == head && done.is_err()), "{nth}: {done:?}, {}", opened.head.revision);
        assert_eq!(all(&opened.reader.snapshot()), if after { exported } else { before }, "{nth}");
        found[usize::from(after)] += 1;
        if !stopped {
            break;
        }
    }
    assert!(found[0] > 5 && found[1] > 1, "{found:?}");
}
