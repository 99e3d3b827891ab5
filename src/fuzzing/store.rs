//! A data directory with these bytes in one of its files, and a store that is sent them. It opens or says why not.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::input::Input;
use crate::model::{ChangeSet, Digest, Epoch, Era, NodeId, PairId, Position, Revision};
use crate::protocol::engine::DurableState;
use crate::protocol::wire::record::{Header, Writer};
use crate::protocol::wire::{SnapshotHeader, record};
use crate::store::disk::Disk;
use crate::store::disk::sim::SimDisk;
use crate::store::{Opened, Received, Store, StoreError, StoreOptions, Verified};

const DIR: &str = "data";
const NODE: NodeId = NodeId([7; 32]);
const OPTIONS: StoreOptions = StoreOptions { log_changes: 100, log_bytes: 1_000_000 };
/// Records begin here in a segment.
const RECORDS_AT: u64 = 1_024;

/// The first byte chooses: 0 the log has these bytes at its end, 1 at a place that they name, 2 the log has records of this content
/// at its end, 3 a peer sends these bytes as records, 4 records of this content, 5 a snapshot.
pub fn recovery(bytes: &[u8]) {
    let Some((mode, rest)) = bytes.split_first() else { return };
    let directory = directory();
    let disk = directory.disk.copy();
    let mut input = Input(rest);
    match mode % 6 {
        0 => put(&disk, &directory.log, directory.log_end, rest),
        1 => {
            let at = input.u64() % (directory.log_end + 64);
            put(&disk, &directory.log, at, input.0);
        }
        2 => put(&disk, &directory.log, directory.log_end, &records(&mut input, directory)),
        3 => return send(&disk, rest.to_vec()),
        4 => return send(&disk, records(&mut input, directory)),
        _ => return stage(&disk, &mut input),
    }
    opens_or_says_why_not(&disk);
}

/// The state file, or the node file or the pointer, has these bytes at a place that they name.
pub fn state(bytes: &[u8]) {
    let mut input = Input(bytes);
    let directory = directory();
    let disk = directory.disk.copy();
    let mode = input.u8();
    let path = match mode % 4 {
        2 => Path::new(DIR).join("node.redb"),
        3 => Path::new(DIR).join("current"),
        _ => Path::new(DIR).join("state/state-1.redb"),
    };
    let length = disk.open(&path, false).and_then(|file| file.len()).expect("the file is there");
    let at = input.u64() % (length + 1);
    put(&disk, &path, at, input.0);
    opens_or_says_why_not(&disk);
}

/// The directory that is damaged.
struct Directory {
    disk: SimDisk,
    log: PathBuf,
    /// Where its records end.
    log_end: u64,
    /// Checksum of the last record.
    chain: u32,
}

/// A master with a change set in its state and two in its log.
fn directory() -> &'static Directory {
    static DIRECTORY: OnceLock<Directory> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let sim = SimDisk::new(1);
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        let lock = Store::lock(&disk, DIR.as_ref()).expect("nobody else uses it");
        let state = DurableState::first_master(NODE, PairId([3; 16]));
        let mut opened = Store::create(disk, DIR.as_ref(), lock, &state, OPTIONS).expect("there is room");
        let store = &mut opened.store;
        store.begin_era(&state, Era { epoch: Epoch::FIRST, first_seq: 1, node: NODE }).expect("it is the first");
        commit(store, ChangeSet::new().put("routes/api", "10.0.0.7:80").put_secret("password", "hunter2"));
        while store.maintain().expect("the disk works") {}
        commit(store, ChangeSet::new().put("motd", "hello"));
        commit(store, ChangeSet::new().delete("routes/api"));
        drop(opened);
        sim.kill();
        let log = Path::new(DIR).join("log/00000001-00000001.log");
        let (log_end, chain) = end_of_records(&sim, &log);
        Directory { disk: sim, log, log_end, chain }
    })
}

fn commit(store: &mut Store, set: ChangeSet) {
    let appended = store.append(store.head().revision.epoch, &[set]).expect("the disk works");
    store.make_durable(appended).expect("the disk works");
}

/// Where the records end, and the checksum of the last one.
fn end_of_records(disk: &SimDisk, log: &Path) -> (u64, u32) {
    let file = disk.open(log, false).expect("there is a log");
    let mut bytes = vec![0; file.len().expect("it has a length") as usize];
    file.read_at(0, &mut bytes).expect("it can be read");
    let (mut at, mut chain) = (RECORDS_AT as usize, 0);
    while let Ok((header, _)) = Header::decode(&bytes[at..]) {
        at += header.frame_bytes();
        chain = header.crc;
    }
    (at as u64, chain)
}

fn put(disk: &SimDisk, path: &Path, at: u64, bytes: &[u8]) {
    let file = disk.open(path, false).expect("the file is there");
    file.write_at(at, bytes).expect("the disk works");
    file.sync().expect("the disk works");
}

fn open(disk: &SimDisk) -> Result<Opened, StoreError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let lock = Store::lock(&disk, DIR.as_ref())?;
    Store::open(disk, DIR.as_ref(), lock, OPTIONS)
}

/// Opens the directory twice: what the first time has repaired is right at the second, and the content can be read, or there is an
/// error.
fn opens_or_says_why_not(disk: &SimDisk) {
    let Ok(first) = open(disk) else { return };
    let (head, damage) = (first.head, first.damage.clone());
    let readable = reads(&first);
    drop(first);
    disk.kill();
    let second = open(disk).expect("what opened once opens again");
    assert_eq!((second.head, second.damage.clone()), (head, damage));
    assert_eq!(reads(&second), readable);
}

/// The entries that can be read.
fn reads(opened: &Opened) -> usize {
    let snapshot = opened.reader.snapshot();
    let entries = snapshot.scan("").map_while(Result::ok);
    entries.filter(|entry| snapshot.get(&entry.key).is_ok()).count()
}

/// Records whose checksums are right and whose content is what the input says: a kind, a step of the epoch and of the seq, and the
/// payload. The first byte chooses between records as a writer makes them and ones of any kind with any payload.
fn records(input: &mut Input<'_>, directory: &Directory) -> Vec<u8> {
    let made_by_a_writer = input.u8().is_multiple_of(2);
    let (mut out, mut writer, mut chain) = (Vec::new(), Writer::new(directory.chain), directory.chain);
    let mut at = Revision::new(Epoch::FIRST, 3);
    while !input.is_over() {
        let kind = input.u8();
        at.epoch = match kind >> 4 {
            1 => at.epoch.promoted(1),
            2 => Epoch::from_u64(input.u64()),
            _ => at.epoch,
        };
        at.seq = at.seq.wrapping_add(u64::from(input.u8() % 4));
        let payload = input.piece();
        match kind % 4 {
            _ if !made_by_a_writer => chain = any_record(&mut out, kind % 8, at, chain, payload),
            0 => writer.era(&mut out, at, &NODE),
            1 => writer.part(&mut out, at, payload),
            2 => writer.change_set(&mut out, at, &Digest([kind; 32]), payload.len() / 8, payload),
            _ => chunk(&mut writer, &mut out, at, payload),
        }
    }
    out
}

/// A record of this kind with this payload, whether or not they fit. Returns its checksum.
fn any_record(out: &mut Vec<u8>, kind: u8, at: Revision, chain: u32, payload: &[u8]) -> u32 {
    let begin = out.len();
    out.extend(*b"SPLR");
    out.extend((payload.len() as u32).to_le_bytes());
    out.extend([kind, 1, 0, 0]);
    out.extend(at.epoch.as_u64().to_le_bytes());
    out.extend(at.seq.to_le_bytes());
    out.extend(chain.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&out[begin..]), payload);
    out.extend(checksum.to_le_bytes());
    out.extend(payload);
    checksum
}

fn chunk(writer: &mut Writer, out: &mut Vec<u8>, at: Revision, payload: &[u8]) {
    let Ok(key) = crate::model::Key::new("large") else { return };
    let bytes = payload.len() as u64 + 1;
    let chunk = record::Chunk { index: 0, number: 0, begins: Some((key, false, bytes)), bytes: payload };
    writer.chunk(out, at, &chunk);
}

/// A peer sends this as records. They are stored, or nothing of them is.
fn send(disk: &SimDisk, bytes: Vec<u8>) {
    let mut opened = open(disk).expect("it is not damaged");
    let before = opened.store.head();
    match opened.store.receive(&[Bytes::from(bytes)]).expect("the disk works") {
        Received::Pending { candidate } => {
            assert!(candidate.revision() >= before.revision);
            opened.store.accept(None).expect("the disk works");
        }
        Received::Duplicate | Received::Mismatch => assert_eq!(opened.store.head(), before),
    }
    let head = opened.store.head();
    drop(opened);
    disk.kill();
    let opened = open(disk).expect("what was received can be opened");
    assert_eq!((opened.head, opened.damage.as_deref()), (head, None));
}

/// A peer sends this as a snapshot, in pieces. It is never what its header says, so it is dropped: a digest of zeros, which an empty
/// one has, is not said.
fn stage(disk: &SimDisk, input: &mut Input<'_>) {
    let mut opened = open(disk).expect("it is not damaged");
    let before = opened.store.head();
    let position = Position { revision: Revision::new(Epoch::FIRST, 9), digest: Digest([input.u8().max(1); 32]) };
    let (entries, bytes, history) = (u64::from(input.u8()), u64::from(input.u16()), opened.store.history());
    let header = SnapshotHeader { transfer: 1, position, history, chain: 0, entries, bytes };
    let begun = match input.u8() % 3 {
        0 => opened.store.stage_begin(&header).map(drop),
        1 => opened.store.stage_resume(&header).map(drop),
        _ => opened.store.stage_compare(&header).map(drop),
    };
    begun.expect("the disk works");
    while !input.is_over() {
        let piece = Bytes::copy_from_slice(input.piece());
        if !piece.is_empty() {
            opened.store.stage_write(&piece.into()).expect("the disk works");
        }
    }
    match opened.store.stage_verify().expect("the disk works") {
        Verified::Good { .. } => panic!("a snapshot that lies was taken"),
        Verified::Bad { .. } => opened.store.stage_drop(),
    }
    assert_eq!(opened.store.head(), before);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_record_has_a_right_checksum() {
        let mut out = Vec::new();
        let checksum = any_record(&mut out, 4, Revision::new(Epoch::FIRST, 9), 7, b"content");
        let (header, _) = Header::decode(&out).unwrap();
        assert_eq!((header.crc, header.frame_bytes()), (checksum, out.len()));
    }
}
