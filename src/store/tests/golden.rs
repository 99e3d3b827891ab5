//! A data directory that version 1 wrote stays readable. `SHADOWPAIR_BLESS=1` writes the golden copy again. Do that only for a
//! new version, in a directory beside the old one.

use super::super::disk::sim::SimDisk;
use super::*;
use crate::protocol::wire::golden::{pack, unpack};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/store-v1");

/// The golden directory: a state with one change set, and a log with an era and two change sets, one with a large value.
fn build() -> (SimDisk, Opened) {
    let disk = SimDisk::new(1);
    let mut opened = create(&disk, StoreOptions { log_changes: 100, log_bytes: 1_000_000 });
    opened.store.begin_era_only(era(1, 1)).unwrap();
    commit(&mut opened, &[put("routes/api", "10.0.0.7:80").put_secret("password", "hunter2")]);
    while opened.store.maintain().unwrap() {}
    let value = Bytes::from(vec![7; VALUE_INLINE_BYTES_MAX + 1]);
    commit(&mut opened, &[ChangeSet::new().put("large", value).delete("routes/api").put("motd", "hello")]);
    opened.store.put_local(&Key::new("place").unwrap(), Some(b"here")).unwrap();
    (disk, opened)
}

fn contents(disk: &SimDisk) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let files = disk.files().into_iter().filter(|(path, _)| !path.ends_with("lock"));
    let mut contents: Vec<_> = files
        .map(|(path, _)| {
            let bytes = disk::read_file(disk, &path, 1 << 30).unwrap().unwrap();
            (path.strip_prefix(DIR).unwrap().to_owned(), bytes)
        })
        .collect();
    // Preallocated room is zeros. A segment without it is equivalent.
    for (path, bytes) in &mut contents {
        if path.extension().is_some_and(|extension| extension == "log") {
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            bytes.truncate(used.max(1024));
        }
    }
    contents
}

#[test]
fn version_1_stays_readable() {
    let golden = Path::new(GOLDEN);
    if std::env::var_os("SHADOWPAIR_BLESS").is_some() {
        let (disk, opened) = build();
        drop(opened);
        for (path, bytes) in contents(&disk) {
            let path = golden.join(format!("{}.txt", path.display()));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, pack(&bytes)).unwrap();
        }
    }
    let disk = SimDisk::new(2);
    for path in ["current", "node.redb", "state/state-1.redb", "log/00000001-00000001.log", "log/00000001-00000002.log"]
    {
        let text = std::fs::read_to_string(golden.join(format!("{path}.txt"))).unwrap();
        disk.open(&Path::new(DIR).join(path), true).unwrap().write_at(0, &unpack(&text)).unwrap();
    }
    let mut opened = open(&disk, options()).unwrap();
    let (_, built) = build();
    assert_eq!((opened.damage.clone(), opened.head), (None, built.store.head()));
    assert_eq!(opened.history, built.store.history());
    assert_eq!(all(&opened.reader.snapshot()), all(&built.reader.snapshot()));
    assert_eq!(opened.reader.local("place").unwrap().unwrap(), "here");
    assert_eq!(opened.log_floor, Revision::NONE);
    assert!(opened.reader.snapshot().entry("password").unwrap().unwrap().secret);
    commit(&mut opened, &[put("after", "it")]);
    while opened.store.maintain().unwrap() {}
    assert_eq!(opened.reader.snapshot().entries(), 4);
}
