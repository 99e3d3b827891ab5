//! Tests of each public method on the simulated disk. Tests with crashes are in `crash`.

#![allow(clippy::disallowed_methods, reason = "tests are steered by their surroundings, and measure")]

mod backup;
mod checkpoint;
mod commit;
mod crash;
mod differential;
mod full_push;
mod golden;
mod look;
mod newer;
mod pace;
mod received_records;
mod resumption;
mod size;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::disk::Disk;
use super::disk::sim::{PowerCut, SimDisk};
use super::*;
use crate::model::limits::{
    BULK_FRAME_BYTES_MAX, CHECKPOINT_BYTES, LOG_BYTES_DEFAULT, LOG_CHANGES_DEFAULT, VALUE_INLINE_BYTES_MAX,
};
use crate::model::{
    ChangeSet, Conflict, Digest, DigestKey, Epoch, Era, Expected, Guard, Key, NodeId, PairId, Position, Revision,
};
use crate::protocol::engine::{DiskFailure, DurableState, StagedBefore};

const DIR: &str = "data";
const NODE: NodeId = NodeId([7; 32]);

fn options() -> StoreOptions {
    StoreOptions { log_changes: LOG_CHANGES_DEFAULT, log_bytes: LOG_BYTES_DEFAULT }
}

fn durable_state() -> DurableState {
    DurableState::first_master(NODE, PairId([3; 16]))
}

fn create(disk: &SimDisk, options: StoreOptions) -> Opened {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let lock = Store::lock(&disk, DIR.as_ref()).unwrap();
    Store::create(disk, DIR.as_ref(), lock, &durable_state(), options).unwrap()
}

fn open(disk: &SimDisk, options: StoreOptions) -> Result<Opened, StoreError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let lock = Store::lock(&disk, DIR.as_ref())?;
    Store::open(disk, DIR.as_ref(), lock, options)
}

/// A master in its first era.
fn master() -> (SimDisk, Opened) {
    master_with(options())
}

fn master_with(options: StoreOptions) -> (SimDisk, Opened) {
    let disk = SimDisk::new(1);
    let mut opened = create(&disk, options);
    opened.store.begin_era_only(era(1, 1)).unwrap();
    (disk, opened)
}

fn era(term: u32, first_seq: u64) -> Era {
    Era { epoch: Epoch::new(term, 0), first_seq, node: NODE }
}

fn commit(opened: &mut Opened, sets: &[ChangeSet]) -> Vec<Result<Revision, Conflict>> {
    let epoch = opened.store.head().revision.epoch;
    let verdicts = opened.store.commit(epoch, sets).unwrap();
    opened.reader.publish(opened.store.head().revision);
    verdicts
}

fn put(key: &str, value: &str) -> ChangeSet {
    ChangeSet::new().put(key, value.to_owned())
}

fn large(bytes: usize, salt: u8) -> Bytes {
    (0..bytes).map(|i| (i / 251) as u8 ^ (i as u8) ^ salt).collect::<Vec<_>>().into()
}

fn all(snapshot: &Snapshot) -> Vec<(String, Bytes)> {
    let mut keys = DigestKey::of(&PairId([3; 16]));
    let mut digest = Digest::ZERO;
    let entries: Vec<_> = snapshot.scan("").map(|entry| entry.unwrap()).collect();
    assert_eq!(entries.len() as u64, snapshot.entries());
    let mut found = Vec::new();
    for entry in entries {
        let value = snapshot.get(&entry.key).unwrap().unwrap();
        assert_eq!(value.len() as u64, entry.bytes);
        digest.add(&keys_entry(&mut keys, &entry, &value));
        found.push((entry.key.as_str().to_owned(), value));
    }
    assert_eq!(digest, snapshot.digest());
    assert_eq!(found.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>(), snapshot.bytes());
    found
}

fn keys_entry(keys: &mut DigestKey, entry: &Entry, value: &[u8]) -> crate::model::EntryHash {
    keys.entry(&entry.key, value, entry.secret)
}

/// All records after a position, in pieces of at most so many bytes.
fn pieces(reader: &Reader, after: Revision, upto: Revision, max_bytes: usize) -> Vec<(Bytes, Revision)> {
    let (mut after, mut cursor, mut pieces) = (after, None, Vec::new());
    loop {
        let read = reader.records_after(after, cursor, upto, max_bytes).unwrap().unwrap();
        if read.bytes.is_empty() {
            return pieces;
        }
        (after, cursor) = (read.last, Some(read.next));
        pieces.push((read.bytes, read.last));
    }
}

fn shadow() -> (SimDisk, Opened) {
    let disk = SimDisk::new(2);
    let opened = create(&disk, options());
    (disk, opened)
}

/// Brings the shadow up to date by records.
fn follow(shadow: &mut Opened, master: &Opened, max_bytes: usize) {
    for (piece, last) in pieces(&master.reader, shadow.store.head().revision, master.store.head().revision, max_bytes) {
        assert!(matches!(shadow.store.receive(&[piece]).unwrap(), Received::Pending { .. }));
        shadow.store.accept(None).unwrap();
        assert_eq!(shadow.store.head().revision, last);
    }
    shadow.reader.publish(shadow.store.head().revision);
    assert_eq!(shadow.store.head(), master.store.head());
}

/// Brings the shadow up to date by a full push.
fn push(shadow: &mut Opened, master: &Opened, max_bytes: usize) {
    let (header, mut export) = master.reader.export(1).unwrap();
    shadow.store.stage_begin(&header).unwrap();
    while let Some(piece) = export.next(max_bytes).unwrap() {
        assert!(piece.len() <= BULK_FRAME_BYTES_MAX);
        shadow.store.stage_write(&piece.into()).unwrap();
    }
    match shadow.store.stage_verify().unwrap() {
        Verified::Good { candidate } => assert_eq!(all(&candidate), all(&master.reader.snapshot())),
        Verified::Bad { found } => panic!("{found:?}"),
    }
    shadow.store.stage_switch().unwrap();
}

#[test]
fn a_directory_is_locked_and_empty_until_it_was_made() {
    let sim = SimDisk::new(1);
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let lock = Store::lock(&disk, DIR.as_ref()).unwrap();
    assert!(matches!(Store::lock(&disk, DIR.as_ref()), Err(StoreError::Locked(_))));
    assert!(!Store::exists(&disk, DIR.as_ref()).unwrap());
    drop(lock);
    let opened = create(&sim, options());
    assert!(Store::exists(&disk, DIR.as_ref()).unwrap());
    assert_eq!((opened.head, opened.log_floor, opened.damage.clone()), (Position::NONE, Revision::NONE, None));
    drop(opened);
    assert_eq!(open(&sim, options()).unwrap().durable_state, durable_state());
}

#[test]
fn what_is_committed_is_there_and_visible_when_published() {
    let (disk, mut opened) = master();
    let epoch = Epoch::new(1, 0);
    let before = opened.reader.snapshot();
    let sets =
        [put("a", "1").put("b", "2"), put("a", "3").delete("b").put_secret("c", "s"), put("d", "4").put("d", "5")];
    let verdicts = opened.store.commit(epoch, &sets).unwrap();
    assert_eq!(verdicts, (1..=3).map(|seq| Ok(Revision::new(epoch, seq))).collect::<Vec<_>>());
    assert_eq!(opened.reader.snapshot().entries(), 0);
    let changed = opened.reader.publish(Revision::new(epoch, 2));
    assert_eq!(changed.iter().map(|(revision, keys)| (revision.seq, keys.len())).collect::<Vec<_>>(), [(1, 2), (2, 3)]);
    assert_eq!(opened.reader.snapshot().revision().seq, 2);
    opened.reader.publish(Revision::new(epoch, 3));
    let snapshot = opened.reader.snapshot();
    let expected = [("a", "3"), ("c", "s"), ("d", "5")].map(|(key, value)| (key.to_owned(), Bytes::from(value)));
    assert_eq!(all(&snapshot), expected);
    assert!(snapshot.entry("c").unwrap().unwrap().secret && snapshot.entry("").unwrap().is_none());
    assert_eq!(before.entries(), 0);
    drop(opened);
    let opened = open(&disk, options()).unwrap();
    assert_eq!((opened.damage.clone(), all(&opened.reader.snapshot())), (None, expected.to_vec()));
    assert_eq!(opened.history.eras(), [era(1, 1)]);
}

#[test]
fn guards_are_checked_against_everything_before() {
    let (_disk, mut opened) = master();
    let key = |key: &str, expected| Guard::Key { key: Key::new(key).unwrap(), expected };
    let big = large(VALUE_INLINE_BYTES_MAX + 1, 0);
    let verdicts = commit(
        &mut opened,
        &[
            put("a", "1").only_if(key("a", Expected::Absent)),
            put("a", "2").only_if(key("a", Expected::Absent)),
            put("a", "2").only_if(key("a", Expected::Value("1".into()))),
            ChangeSet::new().put("l", big.clone()).only_if(Guard::Head(Revision::new(Epoch::new(1, 0), 2))),
            put("b", "x").only_if(key("l", Expected::Value(big.slice(1..)))),
            put("b", "y").only_if(key("l", Expected::Value(big))).only_if(key("a", Expected::Present)),
            put("b", "z").only_if(Guard::Head(Revision::NONE)),
        ],
    );
    let held: Vec<bool> = verdicts.iter().map(Result::is_ok).collect();
    assert_eq!(held, [true, false, true, true, false, true, false]);
    assert!(matches!(verdicts[6], Err(Conflict::Head { .. })));
    assert_eq!(opened.reader.snapshot().get("b").unwrap().unwrap(), "y");
}

#[test]
fn a_callers_mistake_changes_nothing() {
    let (_disk, mut opened) = master();
    let failure = opened.store.commit(Epoch::new(2, 0), &[put("a", "1")]).unwrap_err();
    assert!(!failure.full && failure.reason.contains("nothing was changed"), "{failure:?}");
    assert!(opened.store.commit(Epoch::new(1, 0), &[ChangeSet::new()]).is_err());
    assert!(opened.store.begin_era_only(era(1, 1)).is_err() && opened.store.begin_era_only(era(2, 5)).is_err());
    assert!(opened.store.accept(None).is_err() && opened.store.stage_switch().is_err());
    assert!(opened.store.stage_write(&Bytes::new().into()).is_err() && opened.store.stage_verify().is_err());
    commit(&mut opened, &[put("a", "1")]);
    assert_eq!(opened.store.head().revision.seq, 1);
}

#[test]
fn large_values_go_through_log_state_records_and_push() {
    let (disk, mut opened) = master();
    let one = large(VALUE_INLINE_BYTES_MAX + 1, 1);
    let two = large(1_000_000, 2);
    commit(&mut opened, &[ChangeSet::new().put("one", one.clone()).put("s", "x").put_secret("two", two.clone())]);
    let expected = [("one", one.clone()), ("s", "x".into()), ("two", two.clone())];
    let expected = expected.map(|(key, value)| (key.to_owned(), value));
    assert_eq!(all(&opened.reader.snapshot()), expected);
    let (_other, mut follower) = shadow();
    for (_, last) in &pieces(&opened.reader, Revision::NONE, opened.store.head().revision, 300_000)[..2] {
        assert!(last.seq == 0, "a change set larger than a piece ends with its last");
    }
    follow(&mut follower, &opened, 300_000);
    while opened.store.maintain().unwrap() {}
    assert_eq!(all(&opened.reader.snapshot()), expected);
    let (_third, mut pushed) = shadow();
    push(&mut pushed, &opened, 100_000);
    assert_eq!(all(&pushed.reader.snapshot()), expected);
    commit(&mut opened, &[ChangeSet::new().put("one", two.clone()).delete("two")]);
    follow(&mut pushed, &opened, BULK_FRAME_BYTES_MAX);
    drop(opened);
    let mut opened = open(&disk, options()).unwrap();
    assert_eq!(opened.reader.snapshot().get("one").unwrap().unwrap(), two);
    while opened.store.maintain().unwrap() {}
    let read: Vec<_> = opened.reader.snapshot().value("one").unwrap().unwrap().map(Result::unwrap).collect();
    assert!(read.len() > 1 && read.concat() == two);
}

#[test]
fn maintenance_moves_to_the_state_and_old_snapshots_stay() {
    let (disk, mut opened) = master();
    commit(&mut opened, &[put("a", "1").put("b", "1")]);
    let old = opened.reader.snapshot();
    while opened.store.maintain().unwrap() {}
    commit(&mut opened, &[put("a", "2").delete("b").put("c", "2")]);
    let (hidden, epoch) = (opened.reader.snapshot(), Epoch::new(1, 0));
    opened.store.commit(epoch, &[put("a", "3")]).unwrap();
    while opened.store.maintain().unwrap() {}
    assert_eq!(all(&old), [("a", "1"), ("b", "1")].map(|(key, value)| (key.to_owned(), value.into())));
    let second = [("a", "2"), ("c", "2")].map(|(key, value)| (key.to_owned(), Bytes::from(value)));
    assert_eq!((all(&hidden), all(&opened.reader.snapshot())), (second.to_vec(), second.to_vec()));
    opened.reader.publish(opened.store.head().revision);
    assert_eq!(opened.reader.snapshot().get("a").unwrap().unwrap(), "3");
    drop(opened);
    assert_eq!(open(&disk, options()).unwrap().head.revision.seq, 3);
}

#[test]
fn the_log_keeps_within_its_bound_in_change_sets() {
    for bound in [1, 5] {
        let (_disk, mut opened) = master_with(StoreOptions { log_changes: bound, log_bytes: LOG_BYTES_DEFAULT });
        for i in 0..20 {
            commit(&mut opened, &[put("k", &i.to_string())]);
        }
        let head = opened.store.head().revision;
        assert_eq!(opened.store.log_floor(), Revision::new(head.epoch, head.seq - bound));
        assert!(
            opened
                .reader
                .records_after(Revision::new(head.epoch, head.seq - bound - 1), None, head, 1)
                .unwrap()
                .is_none()
        );
        assert_eq!(pieces(&opened.reader, opened.store.log_floor(), head, 1).len(), bound as usize);
        commit(&mut opened, &(0..30).map(|i| put("k", &i.to_string())).collect::<Vec<_>>());
        assert_eq!(opened.store.log_floor().seq, opened.store.head().revision.seq - bound);
    }
}

#[test]
fn the_log_keeps_within_its_bound_in_bytes() {
    let options = StoreOptions { log_changes: 1000, log_bytes: 300_000 };
    let (disk, mut opened) = master_with(options);
    for i in 0..200 {
        commit(&mut opened, &[ChangeSet::new().put("k", large(10_000, i))]);
        if opened.reader.wants_checkpoint(CHECKPOINT_BYTES) {
            opened.store.maintain().unwrap();
        }
    }
    while opened.store.maintain().unwrap() {}
    let log: u64 = disk.files().iter().filter(|(path, _)| path.starts_with("data/log")).map(|(_, len)| len).sum();
    assert!(log < 600_000, "{log}");
    let floor = opened.store.log_floor();
    let sent: usize =
        pieces(&opened.reader, floor, opened.store.head().revision, 50_000).iter().map(|(b, _)| b.len()).sum();
    assert!((250_000..=310_000).contains(&sent), "{sent}");
    drop(opened);
    assert!(open(&disk, options).unwrap().log_floor.seq.abs_diff(floor.seq) <= 3);
}

#[test]
fn records_are_given_only_after_positions_of_this_log() {
    let (_disk, mut opened) = master();
    commit(&mut opened, &[put("a", "1"), put("a", "2")]);
    opened.store.begin_era_only(era(2, 3)).unwrap();
    commit(&mut opened, &[put("a", "3")]);
    let head = opened.store.head().revision;
    let at =
        |term, seq| opened.reader.records_after(Revision::new(Epoch::new(term, 0), seq), None, head, 1 << 20).unwrap();
    for foreign in [at(1, 3), at(3, 1), at(2, 1), at(1, 9)] {
        assert!(foreign.is_none());
    }
    assert!(at(2, 3).unwrap().bytes.is_empty());
    assert_eq!(at(1, 2).unwrap().last, head);
    assert_eq!(at(1, 0).unwrap().last, head);
    let part = opened.reader.records_after(Revision::NONE, None, Revision::new(Epoch::new(1, 0), 1), 1 << 20).unwrap();
    assert_eq!(part.unwrap().last.seq, 1);
}

#[test]
fn a_change_set_of_many_parts_arrives_whole() {
    let (_disk, mut source) = master();
    let set = (0..3000).fold(ChangeSet::new(), |set, i| set.put(format!("key{i:05}"), large(200, i as u8)));
    commit(&mut source, &[set]);
    let (_other, mut target) = shadow();
    follow(&mut target, &source, 1);
    assert_eq!(all(&target.reader.snapshot()), all(&source.reader.snapshot()));
}

#[test]
fn a_push_that_is_not_what_it_says_is_dropped() {
    let (_disk, mut source) = master();
    commit(&mut source, &[put("a", "1").put("b", "2")]);
    let (disk, mut target) = shadow();
    let (header, mut export) = source.reader.export(9).unwrap();
    let piece = export.next(1 << 20).unwrap().unwrap();
    assert_eq!((header.transfer, header.entries, header.bytes), (9, 2, 4));
    let files = disk.files().len();
    for pieces in [vec![], vec![piece.clone(), piece.clone()], vec![piece.slice(1..)], vec![piece.slice(..10)]] {
        target.store.stage_begin(&header).unwrap();
        pieces.iter().for_each(|piece| target.store.stage_write(&piece.clone().into()).unwrap());
        assert!(matches!(target.store.stage_verify().unwrap(), Verified::Bad { .. }));
        assert!(target.store.stage_switch().is_err());
        assert_eq!(disk.files().len(), files);
    }
    target.store.stage_begin(&header).unwrap();
    target.store.stage_write(&piece.into()).unwrap();
    target.store.stage_drop();
    assert_eq!(disk.files().len(), files);
    push(&mut target, &source, 1);
    assert_eq!(target.store.head(), source.store.head());
    assert_eq!((target.store.history(), target.store.log_floor()), (source.store.history(), header.position.revision));
    drop(target);
    let mut target = open(&disk, options()).unwrap();
    assert_eq!(target.head, header.position);
    commit(&mut source, &[put("c", "3")]);
    follow(&mut target, &source, 1 << 20);
    assert_eq!(disk.files().len(), files);
}

#[test]
fn quarantine_tells_old_and_new_per_epoch() {
    for maintained in [0, 1, 2] {
        let (disk, mut opened) = master();
        let big = large(500_000, 3);
        commit(&mut opened, &[put("a", "0").put("b", "0"), ChangeSet::new().put("big", big.clone())]);
        let common = opened.store.head().revision;
        opened.reader.confirm(common);
        if maintained > 0 {
            while opened.store.maintain().unwrap() {}
        }
        commit(&mut opened, &[put("a", "1"), put("a", "2").delete("b").delete("big")]);
        opened.store.begin_era_only(era(2, 5)).unwrap();
        commit(&mut opened, &[put("a", "3").put_secret("c", "3")]);
        if maintained > 1 {
            while opened.store.maintain().unwrap() {}
        }
        let head = opened.store.head().revision;
        let found = opened.store.quarantine(common).unwrap();
        assert_eq!(found, (Revision::new(Epoch::new(1, 0), 3), head, 3));
        assert_eq!(opened.store.quarantine(common).unwrap(), found);
        assert_eq!(opened.store.quarantine(head).unwrap(), (head, head, 0));
        drop(opened);
        let opened = open(&disk, options()).unwrap();
        let diverged = opened.reader.diverged().unwrap();
        assert_eq!(diverged.iter().map(|one| (one.from.seq, one.to.seq)).collect::<Vec<_>>(), [(3, 4), (5, 5)]);
        let change = |key: &str, secret, old: Option<&str>, new: Option<&str>| DivergedChange {
            key: Key::new(key).unwrap(),
            secret,
            old: old.map(|value| Bytes::from(value.to_owned()).into()),
            new: new.map(|value| Bytes::from(value.to_owned()).into()),
        };
        let mut first = vec![change("a", false, Some("0"), Some("2")), change("b", false, Some("0"), None)];
        first.push(DivergedChange {
            key: Key::new("big").unwrap(),
            secret: false,
            old: Some(big.clone().into()),
            new: None,
        });
        assert_eq!(diverged[0].changes, first, "{maintained}");
        assert!(matches!(first[2].old, Some(DivergedValue::Large { .. })));
        let large = opened.reader.diverged_value(diverged[0].id, &first[2].key, DivergedSide::Old).unwrap().unwrap();
        assert_eq!(large.whole().unwrap(), big, "a large value is read in pieces");
        let second = [change("a", false, Some("2"), Some("3")), change("c", true, None, Some("3"))];
        assert_eq!(diverged[1].changes, second);
        // Discarded is durable, and leaves the others.
        let mut opened = opened;
        assert!(opened.store.discard_diverged(diverged[0].id).unwrap());
        assert!(!opened.store.discard_diverged(diverged[0].id).unwrap());
        drop(opened);
        let opened = open(&disk, options()).unwrap();
        assert_eq!(opened.reader.diverged().unwrap(), diverged[1..]);
        assert_eq!(opened.reader.diverged_keys(diverged[0].id).unwrap(), None);
        assert!(opened.reader.diverged_value(diverged[0].id, &first[2].key, DivergedSide::Old).unwrap().is_none());
    }
}

#[test]
fn facts_and_local_entries_are_durable_and_apart() {
    let (disk, mut opened) = master();
    let mut changed = durable_state();
    changed.enabled = true;
    opened.store.write_durable_state(&changed).unwrap();
    let key = |key: &str| Key::new(key).unwrap();
    opened.store.put_local(&key("x/1"), Some(b"one")).unwrap();
    opened.store.put_local(&key("x/2"), Some(b"two")).unwrap();
    opened.store.put_local(&key("y"), Some(b"three")).unwrap();
    opened.store.put_local(&key("x/1"), None).unwrap();
    disk.cut_power(PowerCut::Lost);
    drop(opened);
    let opened = open(&disk, options()).unwrap();
    assert_eq!(opened.durable_state, changed);
    assert_eq!(opened.reader.local("x/2").unwrap().unwrap(), "two");
    assert_eq!(opened.reader.local_keys("x").unwrap(), [key("x/2")]);
    assert!(opened.reader.local("x/1").unwrap().is_none() && opened.reader.snapshot().entries() == 0);
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let (disk, mut opened) = master();
    commit(&mut opened, &[put("a", "1")]);
    let before = opened.store.head();
    disk.set_capacity(disk.used());
    let epoch = before.revision.epoch;
    let failure = opened.store.commit(epoch, &[ChangeSet::new().put("b", large(20_000_000, 1))]).unwrap_err();
    assert!(failure.full, "{failure:?}");
    let (header, mut export) = opened.reader.export(1).unwrap();
    assert!(opened.store.stage_begin(&header).unwrap_err().full);
    assert!(export.next(10).unwrap().is_some());
    assert_eq!((opened.store.head(), opened.reader.snapshot().entries()), (before, 1));
    // Reserved room can be used.
    commit(&mut opened, &[put("c", "1")]);
    disk.set_capacity(u64::MAX);
    commit(&mut opened, &[ChangeSet::new().put("b", large(20_000_000, 1))]);
    while opened.store.maintain().unwrap() {}
    assert_eq!(opened.reader.snapshot().entries(), 3);
}

#[test]
fn after_a_failed_sync_nothing_goes_until_it_is_opened_again() {
    let (disk, mut opened) = master();
    commit(&mut opened, &[put("a", "1")]);
    let epoch = Epoch::new(1, 0);
    disk.fail_sync(1);
    assert!(!opened.store.commit(epoch, &[put("a", "2")]).unwrap_err().full);
    assert!(opened.store.write_durable_state(&durable_state()).is_err() && opened.store.maintain().is_err());
    assert!(opened.store.commit(epoch, &[put("a", "2")]).is_err());
    assert_eq!(opened.reader.snapshot().get("a").unwrap().unwrap(), "1");
    let reopened = opened.store.reopen().unwrap();
    assert_eq!((reopened.head, reopened.damage), (opened.store.head(), None));
    let seen = opened.reader.snapshot().get("a").unwrap().unwrap();
    commit(&mut opened, &[put("b", "3")]);
    disk.cut_power(PowerCut::Lost);
    drop(opened);
    let opened = open(&disk, options()).unwrap();
    let snapshot = opened.reader.snapshot();
    assert_eq!((snapshot.get("a").unwrap().unwrap(), snapshot.get("b").unwrap().unwrap()), (seen, "3".into()));
}

#[test]
fn damage_is_reported_until_it_is_repaired_or_accepted() {
    let (disk, mut source) = master();
    commit(&mut source, &[put("a", "1")]);
    commit(&mut source, &[put("b", "2")]);
    commit(&mut source, &[put("c", "3")]);
    let (header, mut export) = source.reader.export(1).unwrap();
    let piece = export.next(1 << 20).unwrap().unwrap();
    drop((source, export));
    assert!(disk.flip("data/log/00000001-00000001.log".as_ref(), 1024 + 36 + 32 + 120, 1));
    for _ in 0..2 {
        let opened = open(&disk, options()).unwrap();
        assert!(opened.damage.is_some());
        assert_eq!(opened.reader.snapshot().revision().seq, 1);
    }
    let mut opened = open(&disk, options()).unwrap();
    opened.store.stage_begin(&header).unwrap();
    opened.store.stage_write(&piece.into()).unwrap();
    assert!(matches!(opened.store.stage_verify().unwrap(), Verified::Good { .. }));
    opened.store.stage_switch().unwrap();
    drop(opened);
    let opened = open(&disk, options()).unwrap();
    assert_eq!((opened.damage.clone(), opened.head), (None, header.position));
}

/// Recovery reads what is before the damage, with the old values, and cuts off what follows it.
#[test]
fn what_can_be_read_of_a_damaged_log_goes_to_quarantine() {
    let (disk, mut opened) = master();
    commit(&mut opened, &[put("a", "1")]);
    let common = opened.store.head().revision;
    let (header, mut export) = opened.reader.export(1).unwrap();
    let piece = export.next(1 << 20).unwrap().unwrap();
    commit(&mut opened, &[put("a", "2")]);
    let kept = opened.store.head().revision;
    commit(&mut opened, &[put("a", "lost")]);
    drop((opened, export));
    let path = "data/log/00000001-00000001.log";
    let mut log = vec![0; 2048];
    disk.open(path.as_ref(), false).unwrap().read_at(0, &mut log).unwrap();
    let at = log.windows(4).position(|bytes| bytes == b"lost").unwrap();
    assert!(disk.flip(path.as_ref(), at as u64, 1));

    let mut opened = open(&disk, options()).unwrap();
    assert!(opened.damage.is_some());
    assert_eq!(opened.store.quarantine(common).unwrap(), (kept, kept, 1));
    opened.store.stage_begin(&header).unwrap();
    opened.store.stage_write(&piece.into()).unwrap();
    assert!(matches!(opened.store.stage_verify().unwrap(), Verified::Good { .. }));
    opened.store.stage_switch().unwrap();
    drop(opened);
    let diverged = open(&disk, options()).unwrap().reader.diverged().unwrap();
    assert_eq!(diverged.iter().map(|one| (one.from, one.to)).collect::<Vec<_>>(), [(kept, kept)]);
    let value =
        |value: &Option<DivergedValue>| value.as_ref().and_then(DivergedValue::inline).map(|bytes| bytes.to_vec());
    let changes: Vec<_> = diverged[0].changes.iter().map(|one| (value(&one.old), value(&one.new))).collect();
    assert_eq!(changes, [(Some(b"1".to_vec()), Some(b"2".to_vec()))]);
}

#[test]
fn a_damaged_state_is_kept_aside_and_reported() {
    let (disk, mut opened) = master();
    commit(&mut opened, &[put("a", "1")]);
    while opened.store.maintain().unwrap() {}
    drop(opened);
    disk.flip("data/state/state-1.redb".as_ref(), 100, 1);
    let mut opened = open(&disk, options()).unwrap();
    assert!(opened.damage.is_some() && opened.head == Position::NONE);
    assert_eq!(opened.store.quarantine(Revision::NONE).unwrap(), (Revision::NONE, Revision::NONE, 0));
    assert!(disk.files().iter().any(|(path, _)| path.ends_with("state.damaged")));
    opened.store.begin_era(&DurableState { next_alert: 7, ..durable_state() }, era(2, 1)).unwrap();
    drop(opened);
    let opened = open(&disk, options()).unwrap();
    assert_eq!(
        (opened.damage, opened.durable_state.next_alert, opened.head.revision),
        (None, 7, Revision::new(era(2, 1).epoch, 0))
    );
}

#[test]
fn a_newer_version_is_refused_untouched() {
    let (disk, opened) = master();
    drop(opened);
    let file = disk.open("data/current".as_ref(), false).unwrap();
    let mut bytes = vec![0; 20];
    file.read_at(0, &mut bytes[..16]).unwrap();
    bytes[4] = 2;
    let crc = crc32c::crc32c(&bytes[..16]).to_le_bytes();
    bytes[16..].copy_from_slice(&crc);
    file.write_at(0, &bytes).unwrap();
    let before = disk.files();
    assert!(matches!(open(&disk, options()), Err(StoreError::Newer { found: 2, .. })));
    assert_eq!(disk.files(), before);
}

#[test]
fn readers_do_not_wait_and_the_real_disk_does_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(disk::RealDisk);
    let place = dir.path().join("data");
    let lock = Store::lock(&disk, &place).unwrap();
    let mut opened = Store::create(disk.clone(), &place, lock, &durable_state(), options()).unwrap();
    opened.store.begin_era_only(era(1, 1)).unwrap();
    let reader = opened.reader.clone();
    let watching = std::thread::spawn(move || {
        let mut last = 0;
        while last < 200 {
            let snapshot = reader.snapshot();
            assert!(snapshot.revision().seq >= last);
            last = snapshot.revision().seq;
            assert_eq!(snapshot.scan("").count() as u64, snapshot.entries());
        }
    });
    for i in 0..200 {
        commit(
            &mut opened,
            &[ChangeSet::new().put(format!("k{}", i % 50), large(i * 10, i as u8)).delete(format!("k{}", i % 7))],
        );
        if i % 20 == 0 {
            opened.store.maintain().unwrap();
        }
    }
    watching.join().unwrap();
    let (head, entries) = (opened.store.head(), all(&opened.reader.snapshot()));
    drop(opened);
    let lock = Store::lock(&disk, &place).unwrap();
    let opened = Store::open(disk, &place, lock, options()).unwrap();
    assert_eq!((opened.head, all(&opened.reader.snapshot())), (head, entries));
}
