//! When each disk last wrote, as the nodes on this machine found out.
//!
//! A node looks from time to time whether its disk still writes, by a write and a sync. Where many nodes of one process have their
//! directories on one file system, one of them is enough: a file system that is frozen, or hangs, does so for all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::protocol::engine::Moment;

/// When each file system last wrote. Clones share.
#[derive(Clone, Debug, Default)]
pub struct WrittenDisks(Arc<Mutex<BTreeMap<u64, Moment>>>);

impl WrittenDisks {
    /// A write to this file system that began at the moment came to its end.
    pub fn note(&self, device: u64, began: Moment) {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = written.entry(device).or_insert(began);
        *last = began.max(*last);
    }

    /// Whether one has that began after this moment.
    pub fn wrote_after(&self, device: u64, moment: Moment) -> bool {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.get(&device).is_some_and(|began| *began > moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_of_one_node_counts_for_all_on_its_disk() {
        let (one, other) = (WrittenDisks::default(), WrittenDisks::default());
        let clone = one.clone();
        one.note(1, Moment(20));
        one.note(1, Moment(10));
        assert!(clone.wrote_after(1, Moment(19)) && !clone.wrote_after(1, Moment(20)));
        assert!(!clone.wrote_after(2, Moment(0)) && !other.wrote_after(1, Moment(0)));
    }
}
