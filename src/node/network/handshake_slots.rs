//! Bounds the connections that are not authenticated yet.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::model::limits::UNAUTHENTICATED_MAX;

/// The connections that have not shown a permitted certificate yet, oldest first. Beyond the bound the oldest one is
/// dropped, so a flood of idle connections does not keep out a peer that finishes its handshake. Clones share.
#[derive(Clone, Default)]
pub struct HandshakeSlots(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    next: u64,
    slots: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// One connection's slot, freed when it is dropped.
pub struct HandshakeSlot {
    slots: HandshakeSlots,
    number: u64,
}

impl HandshakeSlots {
    /// A slot, and what fires when a younger connection takes it.
    pub fn enter(&self) -> (HandshakeSlot, oneshot::Receiver<()>) {
        let (evict, evicted) = oneshot::channel();
        let mut open = self.lock();
        open.next += 1;
        let number = open.next;
        open.slots.push_back((number, evict));
        let oldest = (open.slots.len() > UNAUTHENTICATED_MAX).then(|| open.slots.pop_front()).flatten();
        drop(open);
        if let Some((_, evict)) = oldest {
            let _ = evict.send(());
        }
        (HandshakeSlot { slots: self.clone(), number }, evicted)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HandshakeSlot {
    /// The connection is authenticated or gone: it no longer counts, and is not dropped for a younger one.
    pub fn free(&self) {
        self.slots.lock().slots.retain(|(number, _)| *number != self.number);
    }
}

impl Drop for HandshakeSlot {
    fn drop(&mut self) {
        self.free();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_connection_goes_when_all_slots_are_taken() {
        let slots = HandshakeSlots::default();
        let mut connections: Vec<_> = (0..UNAUTHENTICATED_MAX).map(|_| slots.enter()).collect();
        let known = connections.remove(1);
        known.0.free();
        let younger: Vec<_> = (0..2).map(|_| slots.enter()).collect();
        assert_eq!(connections.remove(0).1.await, Ok(()));
        let (_slot, mut evicted) = known;
        assert!(evicted.try_recv().is_err());
        assert_eq!(slots.lock().slots.len(), UNAUTHENTICATED_MAX);
        drop((connections, younger));
        assert_eq!(slots.lock().slots.len(), 0);
    }
}
