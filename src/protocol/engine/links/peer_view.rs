//! What was last heard of the peer.

use super::Moment;
use crate::model::{Epoch, Position, RunId};

/// The peer, as this node knows it.
#[derive(Clone, Debug)]
pub(super) struct PeerView {
    /// Silence of a peer that was never heard counts from here: the start of this run, or the end of a stop.
    silent_from: Moment,
    /// The last frame of the peer, since this run began.
    last_heard: Option<Moment>,
    position: Option<Position>,
    /// When the peer last said where it stands.
    position_at: Option<Moment>,
    /// By its last word, the peer holds mastership.
    serves: bool,
    /// At the last negotiation the peer was a master that outranks this one.
    outranks: bool,
    highest_epoch: Epoch,
    round_trip_us: Option<u64>,
    /// The run of the peer that was met last.
    run: Option<RunId>,
    /// That run has said that it stops.
    stopped: bool,
}

impl PeerView {
    pub(super) fn new(at: Moment) -> Self {
        Self {
            silent_from: at,
            last_heard: None,
            position: None,
            position_at: None,
            serves: false,
            outranks: false,
            highest_epoch: Epoch::NONE,
            round_trip_us: None,
            run: None,
            stopped: false,
        }
    }

    /// The run of the peer that was met last.
    pub(super) fn run(&self) -> Option<RunId> {
        self.run
    }

    /// This run of the peer was met.
    pub(super) fn met(&mut self, run: RunId) {
        (self.run, self.stopped) = (Some(run), false);
    }

    /// That run says that it stops.
    pub(super) fn stops(&mut self) {
        self.stopped = true;
    }

    /// Whether the run that was met last has said that it stops.
    pub(super) fn has_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn last_heard(&self) -> Option<Moment> {
        self.last_heard
    }

    /// Since when the peer is silent.
    pub(super) fn silent_since(&self) -> Moment {
        self.last_heard.unwrap_or(self.silent_from)
    }

    pub(super) fn position(&self) -> Option<Position> {
        self.position
    }

    pub(super) fn position_at(&self) -> Option<Moment> {
        self.position_at
    }

    pub(super) fn serves(&self) -> bool {
        self.serves
    }

    pub(super) fn outranks(&self) -> bool {
        self.outranks
    }

    pub(super) fn highest_epoch(&self) -> Epoch {
        self.highest_epoch
    }

    /// The smoothed round trip, microseconds.
    pub(super) fn round_trip_us(&self) -> Option<u64> {
        self.round_trip_us
    }

    pub(super) fn heard(&mut self, at: Moment) {
        self.last_heard = Some(at);
    }

    pub(super) fn is_at(&mut self, position: Position, at: Moment) {
        self.position = Some(position);
        self.position_at = Some(at);
    }

    pub(super) fn is(&mut self, epoch: Epoch, serves: bool) {
        self.highest_epoch = self.highest_epoch.max(epoch);
        self.serves = serves;
    }

    pub(super) fn set_outranks(&mut self, outranks: bool) {
        self.outranks = outranks;
    }

    /// An answer took this long.
    pub(super) fn answered_in(&mut self, took_us: u64) {
        self.round_trip_us = Some(match self.round_trip_us {
            Some(before) => (7 * before + took_us) / 8,
            None => took_us,
        });
    }

    /// What was not heard until now says nothing of the peer.
    pub(super) fn restart_silence(&mut self, at: Moment) {
        self.last_heard = self.last_heard.map(|_| at);
        self.silent_from = at;
    }

    /// The pairing is forgotten. What was seen of epochs is not: a new one must be above them.
    pub(super) fn forget(&mut self) {
        self.position = None;
        self.position_at = None;
        self.last_heard = None;
        self.round_trip_us = None;
        self.outranks = false;
        self.stopped = false;
    }

    #[cfg(test)]
    pub(super) fn assume_round_trip(&mut self, us: u64) {
        self.round_trip_us = Some(us);
    }
}
