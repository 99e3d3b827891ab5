use serde::{Deserialize, Serialize};

use super::text;
use crate::model::{Epoch, NodeId, PairId, Revision, WitnessRecord};
use crate::protocol::wire::WireError;

/// [`WitnessRecord`], frozen.
#[derive(Serialize, Deserialize)]
pub struct WitnessV1 {
    pair: [u8; 16],
    holder: [u8; 32],
    epoch: u64,
    lease_us: u64,
    in_sync: Option<[u8; 32]>,
    acknowledged_epoch: u64,
    acknowledged_seq: u64,
    counter: u64,
}

impl TryFrom<&WitnessRecord> for WitnessV1 {
    type Error = WireError;

    fn try_from(record: &WitnessRecord) -> Result<Self, WireError> {
        Ok(Self {
            pair: record.pair.0,
            holder: record.holder.0,
            epoch: record.epoch.as_u64(),
            lease_us: text::micros(record.lease, "lease")?,
            in_sync: record.in_sync.map(|node| node.0),
            acknowledged_epoch: record.revision.epoch.as_u64(),
            acknowledged_seq: record.revision.seq,
            counter: record.counter,
        })
    }
}

impl TryFrom<WitnessV1> for WitnessRecord {
    type Error = WireError;

    fn try_from(record: WitnessV1) -> Result<Self, WireError> {
        Ok(Self {
            pair: PairId(record.pair),
            holder: NodeId(record.holder),
            epoch: Epoch::from_u64(record.epoch),
            lease: text::duration(record.lease_us, "lease")?,
            in_sync: record.in_sync.map(NodeId),
            revision: Revision::new(Epoch::from_u64(record.acknowledged_epoch), record.acknowledged_seq),
            counter: record.counter,
        })
    }
}
