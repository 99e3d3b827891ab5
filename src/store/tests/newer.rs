//! A directory of a newer program is refused, whatever in it is newer, and stays as it is, byte for byte.

use std::path::PathBuf;

use redb::{ReadableDatabase, TableDefinition};

use super::super::database::{begin_write, open_database};
use super::*;
use crate::protocol::wire::record::Header;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Bytes of a segment's header before its checksum, and before its first record.
const SEGMENT_SUM_AT: usize = 48;
const FIRST_RECORD_AT: usize = 1024;

/// A node that was stopped, or killed in the middle of its work.
fn left(killed: bool) -> SimDisk {
    let (disk, mut opened) = master_with(StoreOptions { log_changes: 100, log_bytes: 1_000_000 });
    commit(&mut opened, &[put("routes/api", "10.0.0.7:80").put_secret("password", "hunter2")]);
    while opened.store.maintain().unwrap() {}
    commit(&mut opened, &[put("motd", "hello").put("large", large(VALUE_INLINE_BYTES_MAX + 5, 1))]);
    if killed {
        disk.kill();
    }
    drop(opened);
    disk
}

fn files(disk: &SimDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let read = |path: PathBuf| (path.clone(), disk::read_file(disk, &path, 1 << 30).unwrap().unwrap());
    disk.files().into_iter().map(|(path, _)| read(path)).collect()
}

/// Changes a file.
fn edit(disk: &SimDisk, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = Path::new(DIR).join(path);
    let mut bytes = disk::read_file(disk, &path, 1 << 30).unwrap().unwrap();
    change(&mut bytes);
    disk.open(&path, false).unwrap().write_at(0, &bytes).unwrap();
}

/// Changes what a database says of itself.
fn edit_meta(disk: &SimDisk, path: &str, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let file = disk.open(&Path::new(DIR).join(path), false).unwrap();
    let (database, _) = open_database(file, 1 << 20).unwrap();
    let mut bytes = {
        let table = database.begin_read().unwrap().open_table(META).unwrap();
        table.get(name).unwrap().unwrap().value().to_vec()
    };
    change(&mut bytes);
    let transaction = begin_write(&database).unwrap();
    transaction.open_table(META).unwrap().insert(name, bytes.as_slice()).unwrap();
    transaction.commit().unwrap();
}

fn seal(bytes: &mut [u8], at: usize) {
    let sum = crc32c::crc32c(&bytes[..at]).to_le_bytes();
    bytes[at..at + 4].copy_from_slice(&sum);
}

/// Makes one thing newer than this program knows.
fn make_newer(disk: &SimDisk, what: &str) {
    let newest_segment = || {
        let names = disk.files().into_iter().map(|(path, _)| path);
        let segments = names.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        segments.max().unwrap().strip_prefix(DIR).unwrap().to_str().unwrap().to_owned()
    };
    match what {
        "current" => edit(disk, "current", |bytes| {
            bytes[4] += 1;
            seal(bytes, 16);
        }),
        "node.redb" => edit_meta(disk, "node.redb", "version", |bytes| bytes[0] += 1),
        "facts" => edit_meta(disk, "node.redb", "facts", |bytes| bytes[0] += 1),
        "state" => edit_meta(disk, "state/state-1.redb", "head", |bytes| bytes[0] += 1),
        "segment" => edit(disk, &newest_segment(), |bytes| {
            bytes[4] += 1;
            seal(bytes, SEGMENT_SUM_AT);
        }),
        // The last record: those before it are in the state.
        "record" => edit(disk, &newest_segment(), |bytes| {
            let (mut at, mut last) = (FIRST_RECORD_AT, FIRST_RECORD_AT);
            while let Ok((header, _)) = Header::decode(&bytes[at..]) {
                (last, at) = (at, at + header.frame_bytes());
            }
            bytes[last + 9] += 1;
            let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes[last..last + 32]), &bytes[last + 36..at]);
            bytes[last + 32..last + 36].copy_from_slice(&sum.to_le_bytes());
        }),
        other => panic!("{other}"),
    }
}

#[test]
fn whatever_a_newer_program_wrote_is_refused_and_stays_byte_for_byte() {
    for killed in [false, true] {
        for what in ["current", "node.redb", "facts", "state", "segment", "record"] {
            let disk = left(killed);
            make_newer(&disk, what);
            let before = files(&disk);
            let refused = open(&disk, options());
            assert!(matches!(refused, Err(StoreError::Newer { .. })), "{what}, killed {killed}: {:?}", refused.err());
            let after = files(&disk);
            let changed: Vec<_> = before.iter().zip(&after).filter(|(one, other)| one != other).collect();
            let changed: Vec<_> = changed.iter().map(|((path, _), _)| path).collect();
            assert!(before.len() == after.len() && changed.is_empty(), "{what}, killed {killed}: changed {changed:?}");
        }
    }
}

#[test]
fn what_is_not_newer_is_opened() {
    for killed in [false, true] {
        let opened = open(&left(killed), options()).unwrap();
        assert_eq!((opened.damage, opened.reader.snapshot().entries()), (None, 4));
    }
}
