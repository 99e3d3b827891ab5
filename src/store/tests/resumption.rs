//! A full push that is cut goes on where it stopped.

use redb::{ReadableDatabase, ReadableTable};

use super::super::database::open_database;
use super::*;
use crate::protocol::wire::SnapshotHeader;
use crate::protocol::wire::record::{Item, encode_item};

/// A master with entries of every kind.
fn source() -> Opened {
    let (_disk, mut source) = master();
    let set = (0..40).fold(ChangeSet::new(), |set, i| set.put(format!("k{i:02}"), large(50 + i, i as u8)));
    let set = set.put("k07", large(700_000, 7)).put_secret("k09", "secret").put("k30", large(300_000, 30));
    commit(&mut source, &[set]);
    while source.store.maintain().unwrap() {}
    source
}

/// Changes before, at and behind any key: puts, deletes, a large value that shrinks, and one that comes.
fn change(source: &mut Opened, salt: u8) {
    commit(source, &[put("k00", "new").delete("k01").put("k03", large(400_000, salt)).delete("k35")]);
    commit(source, &[put("k07", "small").put(format!("k05/{salt}"), "new").delete("k09")]);
    commit(source, &[put("k39", "last").put("z", "behind all")]);
}

/// Stages items one at a time until `more` says no. Returns the header and how many there were.
fn stage(shadow: &mut Opened, source: &Opened, mut more: impl FnMut(usize) -> bool) -> (SnapshotHeader, usize) {
    let (header, mut export) = source.reader.export(1).unwrap();
    if let StagedBefore::Part(point) = shadow.store.stage_resume(&header).unwrap() {
        export.resume(*point);
    }
    let mut items = 0;
    while more(items)
        && let Some(item) = export.next(1).unwrap()
    {
        shadow.store.stage_write(&item.into()).unwrap();
        items += 1;
    }
    (header, items)
}

fn finish(shadow: &mut Opened, source: &Opened) -> usize {
    let (_, items) = stage(shadow, source, |_| true);
    match shadow.store.stage_verify().unwrap() {
        Verified::Good { candidate } => assert_eq!(all(&candidate), all(&source.reader.snapshot())),
        Verified::Bad { found } => panic!("{found:?}"),
    }
    shadow.store.stage_switch().unwrap();
    items
}

/// Digests of buckets as the state file has them, without those of empty buckets.
fn buckets(disk: &SimDisk) -> Vec<(u16, Vec<u8>)> {
    let disk: Arc<dyn Disk> = Arc::new(disk.copy());
    let names = disk.list("data/state".as_ref()).unwrap();
    assert_eq!(names.len(), 1, "{names:?}");
    let file = disk.open(&Path::new("data/state").join(&names[0]), false).unwrap();
    let (database, _) = open_database(file, 1 << 20).unwrap();
    let table: redb::TableDefinition<'_, u16, &[u8]> = redb::TableDefinition::new("buckets");
    let rows = database.begin_read().unwrap().open_table(table).unwrap();
    let rows = rows.iter().unwrap().map(|row| row.unwrap());
    rows.map(|(bucket, digest)| (bucket.value(), digest.value().to_vec())).filter(|row| row.1 != [0; 32]).collect()
}

/// Cut behind every item, also within a large value, in one process and over a crash, with changes meanwhile and without.
#[test]
fn a_push_that_is_cut_anywhere_goes_on_there() {
    let whole = stage(&mut shadow().1, &source(), |_| true).1;
    for cut in 0..whole {
        for (crash, changes) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut source = source();
            let (disk, mut target) = shadow();
            stage(&mut target, &source, |items| items < cut);
            if crash {
                target.store.stage_keep().unwrap();
                // What comes behind is lost.
                let header = source.reader.export(1).unwrap().0;
                assert!(cut == 0 || target.store.stage_resume(&header).unwrap() != StagedBefore::Nothing);
                stage(&mut target, &source, |items| items < 3);
                disk.cut_power(PowerCut::Torn);
                drop(target);
                target = open(&disk, options()).unwrap();
            }
            if changes {
                change(&mut source, 1);
                // It is cut again while the changes of what was staged come, and they change again.
                stage(&mut target, &source, |items| items < 3);
                change(&mut source, 2);
            }
            let sent = finish(&mut target, &source);
            let most = if changes { whole - cut + 20 } else { whole - cut + 5 };
            assert!(sent <= most, "{sent} of {whole} items were sent again after {cut}: {crash} {changes}");
            assert_eq!(target.store.head(), source.store.head());
            drop(target);
            let (fresh_disk, mut fresh) = shadow();
            push(&mut fresh, &source, 300_000);
            drop(fresh);
            assert_eq!(buckets(&disk), buckets(&fresh_disk), "{cut} {crash} {changes}");
            assert_eq!(open(&disk, options()).unwrap().head, source.store.head());
        }
    }
}

/// What cannot be brought up to date is dropped, and the push begins at the first key.
#[test]
fn a_push_begins_again_where_the_log_does_not_tell_what_changed() {
    let (_disk, mut source) = master_with(StoreOptions { log_changes: 2, ..options() });
    commit(&mut source, &[put("a", "1").put("b", "2").put("c", "3")]);
    let (_, mut target) = shadow();
    stage(&mut target, &source, |items| items < 2);
    for i in 0..5 {
        commit(&mut source, &[put("a", &i.to_string())]);
        while source.store.maintain().unwrap() {}
    }
    let (header, mut export) = source.reader.export(1).unwrap();
    let StagedBefore::Part(point) = target.store.stage_resume(&header).unwrap() else { panic!("a part is there") };
    assert_eq!((point.after.as_str(), point.from, point.upto), ("b", point.upto, Revision::new(Epoch::new(1, 0), 1)));
    export.resume(*point);
    assert!(!export.prepare().unwrap());
    assert_eq!(finish(&mut target, &source), 3);
}

/// Nothing that is not what was offered counts.
#[test]
fn a_push_that_goes_on_elsewhere_is_found() {
    let source = source();
    let (header, _) = source.reader.export(1).unwrap();
    let key = |text: &str| Key::new(text).unwrap();
    let other = Revision::new(Epoch::new(1, 0), 0);
    for (after, from) in [("k05", header.position.revision), ("k04", other)] {
        let (_, mut target) = shadow();
        stage(&mut target, &source, |items| items < 5);
        assert_ne!(target.store.stage_resume(&header).unwrap(), StagedBefore::Nothing);
        let mut piece = Vec::new();
        encode_item(&mut piece, &Item::Continue { after: key(after), from });
        target.store.stage_write(&Bytes::from(piece).into()).unwrap();
        assert!(matches!(target.store.stage_verify().unwrap(), Verified::Bad { .. }));
        assert_eq!(target.store.stage_resume(&header).unwrap(), StagedBefore::Nothing, "nothing is left of it");
    }
    // Changes of a part that nobody offered, and what no push contains.
    let items = [Item::Delete { key: key("a") }, Item::Continue { after: key("a"), from: other }];
    for item in items {
        let (_, mut target) = shadow();
        target.store.stage_begin(&header).unwrap();
        let mut piece = Vec::new();
        encode_item(&mut piece, &item);
        target.store.stage_write(&Bytes::from(piece).into()).unwrap();
        assert!(matches!(target.store.stage_verify().unwrap(), Verified::Bad { .. }));
    }
}

/// A peer that sends more than it announced fills no disk.
#[test]
fn a_push_without_end_is_not_loaded() {
    let source = source();
    let (header, _) = source.reader.export(1).unwrap();
    let (disk, mut target) = shadow();
    target.store.stage_begin(&SnapshotHeader { bytes: 100_000, ..header }).unwrap();
    for i in 0..2_000 {
        let mut piece = Vec::new();
        let (key, value) = (Key::new(format!("{i:06}")).unwrap(), large(10_000, 1));
        encode_item(&mut piece, &Item::Entry { key, value: &value, secret: false });
        target.store.stage_write(&Bytes::from(piece).into()).unwrap();
    }
    assert!(disk.used() < 20 << 20, "{}", disk.used());
    assert!(matches!(target.store.stage_verify().unwrap(), Verified::Bad { .. }));
}

/// A part that is not needed any more takes no room, and one of another pair is not used.
#[test]
fn a_part_goes_when_the_log_goes_on_and_with_its_pair() {
    let source = source();
    let (disk, mut target) = shadow();
    stage(&mut target, &source, |items| items < 5);
    target.store.stage_keep().unwrap();
    let files = disk.files().len();
    drop(target);
    let mut target = open(&disk, options()).unwrap();
    assert_eq!(disk.files().len(), files, "an earlier run left it");
    target.store.begin_era_only(era(1, 1)).unwrap();
    assert_eq!(disk.files().len(), files - 1);

    let (disk, mut target) = shadow();
    stage(&mut target, &source, |items| items < 5);
    target.store.stage_keep().unwrap();
    let other = DurableState { pair: PairId([9; 16]), ..durable_state() };
    target.store.write_durable_state(&other).unwrap();
    drop(target);
    let mut target = open(&disk, options()).unwrap();
    let (header, _) = source.reader.export(1).unwrap();
    assert_eq!(target.store.stage_resume(&header).unwrap(), StagedBefore::Nothing);
}
