//! Who the node and its peer are.

use crate::model::{NodeId, PairId};

pub(super) const PAIR: PairId = PairId([0x11; 16]);
pub(super) const NODE: NodeId = NodeId([0x33; 32]);
pub(super) const PEER: NodeId = NodeId([0x22; 32]);
