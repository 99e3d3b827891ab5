use proptest::prelude::*;

use super::*;
use crate::model::EntryHash;
use crate::model::limits::VALUE_INLINE_BYTES_MAX;
use crate::protocol::wire::golden;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn at(seq: u64) -> Revision {
    Revision::new(Epoch::new(1, 2), seq)
}

fn sample() -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(0);
    writer.era(&mut out, at(0), &NodeId([9; 32]));
    let begins = Some((key("l"), true, VALUE_INLINE_BYTES_MAX as u64 + 1));
    writer.chunk(&mut out, at(1), &Chunk { index: 0, number: 0, begins, bytes: b"abc" });
    writer.chunk(&mut out, at(1), &Chunk { index: 0, number: 1, begins: None, bytes: b"d" });
    let mut part = Vec::new();
    encode_change(&mut part, &RecordChange::Put { key: key("k"), value: b"value", secret: false });
    encode_change(&mut part, &RecordChange::Put { key: key("s"), value: b"", secret: true });
    writer.part(&mut out, at(1), &part);
    let mut last = Vec::new();
    let (bytes, hash) = (VALUE_INLINE_BYTES_MAX as u64 + 1, EntryHash([5; 32]));
    encode_change(&mut last, &RecordChange::Large { key: key("l"), hash, bytes, index: 0, secret: true });
    encode_change(&mut last, &RecordChange::Delete { key: key("é") });
    writer.change_set(&mut out, at(1), &Digest([6; 32]), 4, &last);
    out
}

fn sample_items() -> Vec<u8> {
    let mut out = Vec::new();
    encode_item(&mut out, &Item::Entry { key: key("a"), value: b"1", secret: true });
    encode_item(&mut out, &Item::Large { key: key("b"), bytes: VALUE_INLINE_BYTES_MAX as u64 + 1, secret: false });
    encode_item(&mut out, &Item::Chunk(b"xyz"));
    out
}

/// What protocol version 3 added.
fn sample_resumed_items() -> Vec<u8> {
    let mut out = Vec::new();
    encode_item(&mut out, &Item::Continue { after: key("m"), from: at(9) });
    encode_item(&mut out, &Item::Delete { key: key("é") });
    out
}

/// The same, for what differs.
fn sample_compared_items() -> Vec<u8> {
    let mut out = Vec::new();
    encode_item(&mut out, &Item::Compare(&[0x81; 512]));
    encode_item(&mut out, &Item::Compare(&[]));
    encode_item(&mut out, &Item::Hashes(&[1, 2, 3, 4, 5, 6, 7, 8]));
    encode_item(&mut out, &Item::Hashes(&[]));
    out
}

#[test]
fn bytes_are_frozen() {
    golden::compare("records-v1", &sample());
    golden::compare("snapshot-items-v1", &sample_items());
    golden::compare("snapshot-items-v3", &sample_resumed_items());
    golden::compare("snapshot-items-v3-compared", &sample_compared_items());
}

#[test]
fn items_are_read_back_and_measured() {
    let bytes = [sample_items(), sample_resumed_items(), sample_compared_items()].concat();
    let (mut rest, mut again) = (&bytes[..], Vec::new());
    for item in decode_items(&bytes) {
        let item = item.unwrap();
        encode_item(&mut again, &item);
        let length = item_bytes_at(rest).unwrap().unwrap();
        assert_eq!(decode_items(&rest[..length]).collect::<Result<Vec<_>, _>>(), Ok(vec![item]));
        rest = &rest[length..];
    }
    assert!(again == bytes && rest.is_empty());
}

#[test]
fn records_are_read_back_and_chained() {
    let bytes = sample();
    let (mut rest, mut prev, mut kinds) = (&bytes[..], 0, Vec::new());
    while !rest.is_empty() {
        let (header, payload) = Header::decode(rest).unwrap();
        assert_eq!((header.prev, header.payload), (prev, payload.len()));
        match header.kind {
            Kind::Era => assert_eq!(decode_era(payload), Ok(NodeId([9; 32]))),
            Kind::Chunk => assert!(decode_chunk(payload).is_ok()),
            Kind::Part => assert_eq!(decode_part(payload).map(Result::unwrap).count(), 2),
            Kind::ChangeSet => {
                let (digest, count, changes) = decode_change_set(payload).unwrap();
                assert_eq!((digest, count), (Digest([6; 32]), 4));
                assert!(
                    matches!(changes.last().unwrap().unwrap(), RecordChange::Delete { key } if key.as_str() == "é")
                );
            }
        }
        kinds.push((header.kind, header.revision));
        prev = header.crc;
        rest = &rest[header.frame_bytes()..];
    }
    assert_eq!(kinds.first(), Some(&(Kind::Era, at(0))));
    assert_eq!(kinds.last(), Some(&(Kind::ChangeSet, at(1))));
}

#[test]
fn a_flipped_bit_is_found_and_a_newer_version_told() {
    let bytes = sample();
    let (first, _) = Header::decode(&bytes).unwrap();
    for at in 0..first.frame_bytes() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 4;
        let error = Header::decode(&flipped).unwrap_err();
        assert!(!matches!(error, BadRecord::Newer { .. }), "{at}");
    }
    let mut newer = bytes[..first.frame_bytes()].to_vec();
    newer[9] = 2;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&newer[..CRC_AT]), &newer[HEADER_BYTES..]);
    newer[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(Header::decode(&newer), Err(BadRecord::Newer { found: 2 }));
}

#[test]
fn the_largest_record_keeps_its_bound() {
    let mut part = vec![0; PART - 1];
    let (name, value) = ("k".repeat(512), vec![1; VALUE_INLINE_BYTES_MAX]);
    encode_change(&mut part, &RecordChange::Put { key: key(&name), value: &value, secret: true });
    let mut out = Vec::new();
    Writer::new(0).change_set(&mut out, at(1), &Digest::ZERO, 1, &part);
    assert!(out.len() <= RECORD_FRAME_BYTES_MAX && Header::decode(&out).is_ok());
}

const PART: usize = crate::model::limits::PART_BYTES;

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Header::decode(&bytes);
        let _ = (decode_era(&bytes), decode_chunk(&bytes));
        decode_part(&bytes).for_each(drop);
        decode_items(&bytes).for_each(drop);
        if let Ok((_, _, changes)) = decode_change_set(&bytes) {
            changes.for_each(drop);
        }
    }

    #[test]
    fn items_with_a_flipped_byte_are_answered(at in 0usize..2000, byte in any::<u8>()) {
        let mut bytes = [sample_items(), sample_resumed_items(), sample_compared_items()].concat();
        let len = bytes.len();
        bytes[at % len] = byte;
        decode_items(&bytes).for_each(drop);
    }
}
