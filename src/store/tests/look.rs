//! A directory or a file that is gone, or is another one, while the store is open. On the real disk, since it is about names.

use super::*;
use crate::model::limits::room_for_push;
use crate::store::disk::RealDisk;

fn master_at(dir: &Path) -> Opened {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let lock = Store::lock(&disk, dir).unwrap();
    let mut opened = Store::create(disk, dir, lock, &durable_state(), options()).unwrap();
    opened.store.begin_era_only(era(1, 1)).unwrap();
    commit(&mut opened, &[ChangeSet::new().put("key", "value")]);
    opened
}

fn reason(opened: &mut Opened) -> String {
    opened.store.look(false).unwrap_err().reason
}

#[test]
fn a_directory_that_stays_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = master_at(&dir.path().join("data"));
    for round in 0..3 {
        opened.store.look(round > 0).unwrap();
        commit(&mut opened, &[ChangeSet::new().put(format!("key{round}"), large(1_000_000, round))]);
        while opened.store.maintain().unwrap() {}
    }
    std::fs::remove_file(dir.path().join("data/lock")).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    assert!(matches!(Store::lock(&disk, &dir.path().join("data")), Err(StoreError::Locked(_))), "one process");
    assert!(!dir.path().join("data/lock").exists(), "the directory itself is locked");
}

#[test]
fn a_lock_file_that_was_removed_is_made_again_and_locked() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = master_at(&dir.path().join("data"));
    let path = dir.path().join("data/lock");
    for _ in 0..2 {
        std::fs::remove_file(&path).unwrap();
        opened.store.look(false).unwrap();
        assert!(path.exists());
        assert_eq!(RealDisk.lock(&path).err().map(|error| error.kind()), Some(std::io::ErrorKind::WouldBlock));
        opened.store.look(true).unwrap();
    }
    drop(opened);
    RealDisk.lock(&path).unwrap();
}

#[test]
fn the_room_that_a_full_push_would_need_is_told() {
    let (disk, mut opened) = master();
    disk.tell_room();
    commit(&mut opened, &[ChangeSet::new().put("key", large(1_000_000, 1))]);
    disk.set_capacity(disk.used() + 7_000_000);
    let room = opened.store.room().unwrap();
    assert_eq!((room.needed, room.free), (room_for_push(1, 1_000_003), 7_000_000));
}

#[test]
fn a_directory_that_is_gone_closes_the_store_until_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (data, aside) = (dir.path().join("data"), dir.path().join("aside"));
    let mut opened = master_at(&data);
    let head = opened.store.head();
    std::fs::rename(&data, &aside).unwrap();
    let found = reason(&mut opened);
    assert!(found.contains("is gone") && found.contains("data"), "{found}");
    assert!(opened.store.put_local(&Key::new("key").unwrap(), Some(b"value")).is_err(), "closed");
    assert!(opened.store.reopen().is_err());
    // Another directory at its place is not taken for it.
    drop(master_at(&data));
    let error = opened.store.reopen().err().unwrap().to_string();
    assert!(error.contains("replaced"), "{error}");
    std::fs::rename(&data, dir.path().join("other")).unwrap();
    std::fs::rename(&aside, &data).unwrap();
    assert_eq!(opened.store.reopen().unwrap().head, head);
    opened.store.look(true).unwrap();
}

#[test]
fn a_file_that_is_gone_or_another_closes_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for (file, gone) in [
        ("node.redb", true),
        ("node.redb", false),
        ("state/state-1.redb", true),
        ("log/00000001-00000001.log", true),
        ("log/00000001-00000001.log", false),
    ] {
        let mut opened = master_at(&data);
        opened.store.look(true).unwrap();
        let path = data.join(file);
        let copy = std::fs::read(&path).unwrap();
        std::fs::rename(&path, dir.path().join("aside")).unwrap();
        if !gone {
            std::fs::write(&path, copy).unwrap();
        }
        let found = reason(&mut opened);
        let word = if gone { "is gone" } else { "was replaced" };
        assert!(found.contains(file) && found.contains(word), "{found}");
        drop(opened);
        std::fs::remove_dir_all(&data).unwrap();
    }
}

#[test]
fn a_disk_that_does_not_write_is_found_by_a_look_that_does() {
    let (disk, mut opened) = master();
    disk.fail_sync(1);
    opened.store.look(false).unwrap();
    let failure = opened.store.look(true).unwrap_err();
    assert!(!failure.full && failure.reason.contains("looking whether the disk writes"), "{failure:?}");
    let head = opened.store.head();
    assert_eq!(opened.store.reopen().unwrap().head, head);
    opened.store.look(true).unwrap();
}
