//! How many change sets may wait to be committed.
//!
//! They are counted here and nowhere else. So a caller learns at once that it is refused, and what waits is bounded
//! before the driver sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::model::limits::{COMMIT_QUEUE_BYTES_MAX, COMMIT_QUEUE_MAX};

/// Bounds what waits to be committed, over all callers, in number and bytes.
#[derive(Debug, Default)]
pub struct Admission {
    change_sets: AtomicUsize,
    bytes: AtomicUsize,
}

/// Counts one change set against the bounds until it is dropped, which is when its caller is answered.
#[derive(Debug)]
pub struct AdmissionPermit {
    admission: Arc<Admission>,
    bytes: usize,
}

impl Admission {
    /// Admits a change set of this many bytes; `None` when too much waits.
    pub fn admit(self: &Arc<Self>, bytes: usize) -> Option<AdmissionPermit> {
        let change_sets = self.change_sets.fetch_add(1, SeqCst) + 1;
        let total = self.bytes.fetch_add(bytes, SeqCst) + bytes;
        // Where the change set is refused, dropping the permit takes both back.
        let permit = AdmissionPermit { admission: Arc::clone(self), bytes };
        (change_sets <= COMMIT_QUEUE_MAX && total <= COMMIT_QUEUE_BYTES_MAX).then_some(permit)
    }
}

impl AdmissionPermit {
    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        self.admission.change_sets.fetch_sub(1, SeqCst);
        self.admission.bytes.fetch_sub(self.bytes, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits::CHANGE_SET_BYTES_MAX;

    #[test]
    fn admission_is_bounded_in_number_and_bytes() {
        let admission = Arc::new(Admission::default());
        let many: Vec<_> = (0..COMMIT_QUEUE_MAX).map(|_| admission.admit(1).expect("room")).collect();
        assert!(admission.admit(1).is_none());
        drop(many);
        let large: Vec<_> = (0..2).map(|_| admission.admit(CHANGE_SET_BYTES_MAX).expect("room")).collect();
        assert!(admission.admit(1).is_none());
        drop(large);
        assert_eq!((admission.change_sets.load(SeqCst), admission.bytes.load(SeqCst)), (0, 0));
    }
}
