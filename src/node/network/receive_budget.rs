//! Bounds the bulk that a link has received and that is not stored yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::model::limits::{BULK_OVERHEAD_BYTES, LINK_BULK_BYTES_MAX};

/// Bytes of bulk that one link received and that are not stored yet. Clones share.
#[derive(Clone, Debug, Default)]
pub struct ReceiveBudget(Arc<AtomicUsize>);

/// Counts one bulk frame against its link's [`ReceiveBudget`] until it is dropped.
#[derive(Debug)]
pub struct ReceivePermit {
    budget: ReceiveBudget,
    bytes: usize,
}

impl ReceiveBudget {
    /// Admits a frame of this many bytes; `None` where the peer has sent more than it may.
    pub fn admit(&self, bytes: usize) -> Option<ReceivePermit> {
        let bytes = bytes + BULK_OVERHEAD_BYTES;
        let total = self.0.fetch_add(bytes, SeqCst) + bytes;
        let permit = ReceivePermit { budget: self.clone(), bytes };
        (total <= LINK_BULK_BYTES_MAX).then_some(permit)
    }
}

impl Drop for ReceivePermit {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_that_is_not_stored_is_bounded_in_bytes_and_number() {
        let budget = ReceiveBudget::default();
        let large = budget.admit(LINK_BULK_BYTES_MAX - BULK_OVERHEAD_BYTES).expect("room");
        assert!(budget.admit(0).is_none());
        drop(large);
        let small: Vec<_> = std::iter::from_fn(|| budget.admit(0)).collect();
        assert_eq!(small.len(), LINK_BULK_BYTES_MAX / BULK_OVERHEAD_BYTES);
        drop(small);
        assert_eq!(budget.0.load(SeqCst), 0);
    }
}
