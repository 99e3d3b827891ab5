//! Identities for simulated nodes: a fixed set, since the order of two `NodeId`s decides which connection stays.
//!
//! The keys are public: whoever uses them elsewhere has no secret.

use std::sync::{Arc, Mutex, PoisonError};

/// Keys and certificates, one after the other.
const PEM: &str = include_str!("identities.pem");
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";

/// Hands out the identities in order, from a drawn one on. Clones share.
#[derive(Clone, Debug)]
pub(crate) struct Identities {
    next: Arc<Mutex<usize>>,
}

impl Identities {
    /// Begins somewhere in the set.
    pub(crate) fn new(first: u64) -> Self {
        Self { next: Arc::new(Mutex::new(first as usize)) }
    }

    /// Key and certificate of a new node.
    pub(crate) fn next(&self) -> String {
        let all: Vec<&str> = PEM.split(BEGIN).skip(1).collect();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let chosen = all.get(*next % all.len().max(1)).copied().unwrap_or_default();
        *next += 1;
        format!("{BEGIN}{chosen}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::identity::Identity;

    #[test]
    fn they_are_eight_and_differ() {
        let identities = Identities::new(3);
        let nodes: BTreeSet<_> = (0..8).map(|_| Identity::from_pem(&identities.next()).unwrap().node()).collect();
        assert_eq!(nodes.len(), 8);
    }
}
