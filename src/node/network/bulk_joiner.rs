//! Joins records and items that a peer sent in parts.

use bytes::{Bytes, BytesMut};

use crate::protocol::wire::Bulk;
use crate::protocol::wire::record::{BadRecord, HEADER_BYTES, Header, item_bytes_at};

/// The part of a record or an item whose rest is still to come, on one link. It is shorter than the longest of them.
///
/// | state | bulk that ends between records | bulk that ends within a record | a new repair |
/// |---|---|---|---|
/// | nothing kept | passed on as it is | whole records passed on, the part kept | - |
/// | a part kept | joined with it | joined with it | the part is dropped |
#[derive(Debug, Default)]
pub struct BulkJoiner {
    part: BytesMut,
    /// The kept part is of an item of a snapshot, not of a record.
    snapshot: bool,
}

impl BulkJoiner {
    /// Whole records or items: what was kept and these bytes, without the part at their end. What is neither is passed on
    /// as it is; the store refuses it.
    pub fn join(&mut self, what: &Bulk, bytes: Bytes) -> Bytes {
        let snapshot = matches!(what, Bulk::Snapshot { .. });
        if snapshot != self.snapshot {
            self.restart();
            self.snapshot = snapshot;
        }
        if self.part.is_empty() {
            let Some(whole) = whole_bytes(snapshot, &bytes) else { return bytes };
            self.part.extend_from_slice(bytes.get(whole..).unwrap_or_default());
            return bytes.slice(..whole);
        }
        self.part.extend_from_slice(&bytes);
        let whole = whole_bytes(snapshot, &self.part).unwrap_or(self.part.len());
        self.part.split_to(whole).freeze()
    }

    /// Drops what is kept: the peer begins another repair.
    pub fn restart(&mut self) {
        self.part.clear();
    }
}

/// How many of these bytes are whole records or items; `None` where they are something else.
fn whole_bytes(snapshot: bool, bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let length = match snapshot {
            true => item_bytes_at(rest),
            false if rest.len() < HEADER_BYTES => Ok(None),
            false => Header::frame_bytes_at(rest).map(Some),
        };
        match length {
            Ok(Some(length)) if length <= rest.len() => at += length,
            Ok(_) | Err(BadRecord::Short) => return Some(at),
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits::{CHUNK_BYTES, VALUE_INLINE_BYTES_MAX};
    use crate::model::{Epoch, Key, NodeId, Revision};
    use crate::protocol::wire::record::{Item, Writer, decode_items, encode_item};

    const RECORDS: Bulk = Bulk::Records { after: Revision::NONE, last: Revision::NONE, durable: Revision::NONE };
    const SNAPSHOT: Bulk = Bulk::Snapshot { transfer: 1 };

    fn records() -> Vec<u8> {
        let (mut writer, mut bytes) = (Writer::new(0), Vec::new());
        writer.era(&mut bytes, Revision::new(Epoch::FIRST, 0), &NodeId([7; 32]));
        writer.part(&mut bytes, Revision::new(Epoch::FIRST, 1), &vec![9; 300_000]);
        writer.part(&mut bytes, Revision::new(Epoch::FIRST, 1), &[9; 10]);
        bytes
    }

    fn items() -> Vec<u8> {
        let (key, large) = (Key::new("key").unwrap(), vec![3; VALUE_INLINE_BYTES_MAX]);
        let mut bytes = Vec::new();
        encode_item(&mut bytes, &Item::Entry { key: key.clone(), value: &large, secret: true });
        encode_item(&mut bytes, &Item::Large { key, bytes: VALUE_INLINE_BYTES_MAX as u64 + 1, secret: false });
        encode_item(&mut bytes, &Item::Chunk(&large[..CHUNK_BYTES]));
        encode_item(&mut bytes, &Item::Chunk(&[1]));
        bytes
    }

    /// However the bytes are cut, what comes out is the same bytes, and each piece is whole records or items.
    #[test]
    fn parts_come_out_as_whole_records_and_items() {
        for (what, bytes) in [(RECORDS, records()), (SNAPSHOT, items())] {
            for step in [1, 2, 35, 4_096, 299_999, bytes.len()] {
                let (mut joiner, mut joined) = (BulkJoiner::default(), Vec::new());
                // One byte at a time is slow where all that is kept is looked at again: only at the beginning.
                let fine = if step < 30 { 500 } else { 0 };
                let (first, rest) = bytes.split_at(fine);
                for part in first.chunks(step).chain(rest.chunks(step.max(1_000))) {
                    let whole = joiner.join(&what, Bytes::copy_from_slice(part));
                    match what {
                        Bulk::Snapshot { .. } => assert!(decode_items(&whole).all(|item| item.is_ok()), "{step}"),
                        Bulk::Records { .. } => assert_eq!(whole_bytes(false, &whole), Some(whole.len()), "{step}"),
                    }
                    joined.extend_from_slice(&whole);
                }
                assert!(joined == bytes && joiner.part.is_empty(), "{step}");
            }
        }
    }

    #[test]
    fn whole_bulk_is_passed_on_without_a_copy_and_a_new_repair_forgets_the_part() {
        let bytes = Bytes::from(records());
        let mut joiner = BulkJoiner::default();
        assert_eq!(joiner.join(&RECORDS, bytes.clone()).as_ptr(), bytes.as_ptr());
        assert!(joiner.join(&RECORDS, bytes.slice(..10)).is_empty());
        joiner.restart();
        assert_eq!(joiner.join(&RECORDS, bytes.clone()), bytes);
        assert!(joiner.join(&RECORDS, bytes.slice(..10)).is_empty());
        // A snapshot after a part of a record: the part belongs to something that was given up.
        assert_eq!(joiner.join(&SNAPSHOT, Bytes::from(items())), Bytes::from(items()));
    }

    #[test]
    fn what_is_neither_is_passed_on_for_the_store_to_refuse() {
        let mut joiner = BulkJoiner::default();
        let noise = Bytes::from(vec![0xEE; 100]);
        assert_eq!(joiner.join(&RECORDS, noise.clone()), noise);
        assert_eq!(joiner.join(&SNAPSHOT, noise.clone()), noise);
        let mut long = vec![5];
        long.extend_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(joiner.join(&SNAPSHOT, Bytes::from(long.clone())), Bytes::from(long));
    }
}
