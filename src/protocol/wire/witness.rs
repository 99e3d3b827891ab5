//! The bytes of the record at the witness, the same in every back end.

use super::v1::WitnessV1;
use super::{WireError, open_durable, seal_durable};
use crate::model::WitnessRecord;
use crate::model::limits::WITNESS_BYTES_MAX;

/// The format that this build writes.
const FORMAT: u16 = 1;
const WHAT: &str = "the witness's record";
/// First bytes of the record, in every format.
const MAGIC: [u8; 4] = *b"SPLW";
/// Magic and checksum, in every format.
const HEADER_BYTES: usize = 4 + 4;

/// Encodes a record: magic, checksum of what follows, format number, frozen struct. The lease is rounded down to a
/// microsecond.
///
/// # Errors
/// [`WireError::Bound`] where the lease is longer than a day.
pub fn encode_witness(record: &WitnessRecord) -> Result<Vec<u8>, WireError> {
    let sealed = seal_durable::<WitnessV1, WITNESS_BYTES_MAX>(WHAT, FORMAT, &record.try_into()?)?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(crc32c::crc32c(&sealed).to_le_bytes());
    bytes.extend(sealed);
    Ok(bytes)
}

/// Decodes a record that [`encode_witness`] encoded.
///
/// # Errors
/// [`WireError::Newer`] where a newer program wrote it, [`WireError::Malformed`] and [`WireError::Bound`] where it is damaged
/// or not a record.
pub fn decode_witness(bytes: &[u8]) -> Result<WitnessRecord, WireError> {
    let malformed = |reason| WireError::Malformed { what: WHAT, reason };
    if bytes.len() > WITNESS_BYTES_MAX {
        return Err(malformed("it is longer than its bound"));
    }
    let Some((header, sealed)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(malformed("it is cut short"));
    };
    let [magic @ .., a, b, c, d] = header;
    if magic != &MAGIC {
        return Err(malformed("it does not begin like a witness record"));
    }
    if crc32c::crc32c(sealed) != u32::from_le_bytes([*a, *b, *c, *d]) {
        return Err(malformed("its checksum is wrong"));
    }
    open_durable::<WitnessV1, WITNESS_BYTES_MAX>(WHAT, FORMAT, sealed)?.try_into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::model::limits::PEER_DURATION_MAX;
    use crate::model::{Epoch, NodeId, PairId, Revision};
    use crate::protocol::wire::golden;

    fn record(in_sync: Option<NodeId>) -> WitnessRecord {
        WitnessRecord {
            pair: PairId([0x22; 16]),
            holder: NodeId([0x11; 32]),
            epoch: Epoch::new(3, 5),
            lease: Duration::from_millis(3_500),
            in_sync,
            revision: Revision::new(Epoch::new(2, 4_000), 420_000),
            counter: 70_000,
        }
    }

    #[test]
    fn records_have_the_bytes_that_were_promised() {
        for (name, record) in [("witness", record(Some(NodeId([0x33; 32])))), ("witness-alone", record(None))] {
            golden::compare(name, &encode_witness(&record).unwrap());
            assert_eq!(decode_witness(&golden::read(name)), Ok(record));
        }
    }

    #[test]
    fn the_longest_record_is_within_its_arithmetic() {
        let (most, node) = (u64::MAX, Some(NodeId([0xff; 32])));
        let (epoch, revision) = (Epoch::from_u64(most), Revision::new(Epoch::from_u64(most), most));
        let longest = WitnessRecord { epoch, revision, lease: PEER_DURATION_MAX, counter: most, ..record(node) };
        let bytes = encode_witness(&longest).unwrap();
        assert_eq!((bytes.len(), decode_witness(&bytes)), (136, Ok(longest)));
    }

    #[test]
    fn a_lease_beyond_its_bound_is_not_written() {
        let long = WitnessRecord { lease: PEER_DURATION_MAX + Duration::from_micros(1), ..record(None) };
        assert_eq!(encode_witness(&long), Err(WireError::Bound { field: "lease" }));
    }

    /// Magic, checksum and the place of the format number never change, so a newer record is never taken for a damaged one.
    #[test]
    fn a_record_of_a_newer_program_is_refused_as_such() {
        let sealed = [&[2, 0][..], &[7; 900]].concat();
        let newer = [&MAGIC[..], &crc32c::crc32c(&sealed).to_le_bytes(), &sealed].concat();
        assert_eq!(decode_witness(&newer), Err(WireError::Newer { what: WHAT, found: 2, known: 1 }));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_found() {
        let bytes = encode_witness(&record(None)).unwrap();
        for at in 0..bytes.len() {
            assert!(decode_witness(&bytes[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(decode_witness(&damaged).is_err(), "bit {bit} of byte {at}");
            }
        }
        assert!(decode_witness(&[&bytes[..], &[0]].concat()).is_err());
        assert!(decode_witness(&[bytes, vec![0; WITNESS_BYTES_MAX]].concat()).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_witness(&bytes);
            let sealed = [&[1, 0][..], &bytes].concat();
            let _ = decode_witness(&[&MAGIC[..], &crc32c::crc32c(&sealed).to_le_bytes(), &sealed].concat());
        }
    }
}
