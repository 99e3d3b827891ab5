//! A peer that has said that it stops: nobody waits for it.

use super::Links;

impl Links {
    /// The peer says that it stops.
    pub(in super::super) fn peer_stops(&mut self) {
        self.peer.stops();
    }

    /// Whether the peer has said that it stops, and was not met since.
    pub(in super::super) fn peer_has_stopped(&self) -> bool {
        self.peer.has_stopped()
    }
}
