//! The bytes of a record at the witness, which are the same in every back end.

use super::backend::WitnessError;
use crate::model::WitnessRecord;
use crate::protocol::wire::{decode_witness, encode_witness};

impl WitnessRecord {
    /// Encodes the record as every back end stores it: with a version and a checksum, in at most
    /// [`WITNESS_BYTES_MAX`](crate::limits::WITNESS_BYTES_MAX) bytes. `docs/PROTOCOL.md` describes every byte. The lease is
    /// rounded down to the microsecond.
    ///
    /// ```
    /// # use shadowpair::{Epoch, NodeId, PairId, Revision, WitnessRecord};
    /// let record = WitnessRecord {
    ///     pair: PairId([1; 16]),
    ///     holder: NodeId([2; 32]),
    ///     epoch: Epoch::FIRST,
    ///     lease: std::time::Duration::from_secs(3),
    ///     in_sync: None,
    ///     revision: Revision::NONE,
    ///     counter: 1,
    /// };
    /// let bytes = record.to_bytes()?;
    /// assert_eq!(WitnessRecord::from_bytes(&bytes)?, record);
    /// assert!(WitnessRecord::from_bytes(&bytes[1..]).is_err());
    /// # Ok::<(), shadowpair::WitnessError>(())
    /// ```
    ///
    /// # Errors
    /// [`WitnessError::Bound`] if the lease is longer than 24 h.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WitnessError> {
        Ok(encode_witness(self)?)
    }

    /// Decodes what [`WitnessRecord::to_bytes`] encoded.
    ///
    /// # Errors
    /// [`WitnessError::Newer`] and [`WitnessError::Damaged`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WitnessError> {
        Ok(decode_witness(bytes)?)
    }
}
