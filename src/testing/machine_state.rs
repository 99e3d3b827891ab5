//! What the executor knows of one machine: its life, its clock and timers, and the events that wait while it is paused.

use std::collections::BTreeMap;
use std::task::Waker;

use super::clock::MachineClock;

/// A machine. `E` is an event that waits while the machine is paused.
pub(crate) struct MachineState<E> {
    /// Counts from 1.
    pub(crate) life: u64,
    pub(crate) paused: bool,
    pub(crate) clock: MachineClock,
    /// Timers by the moment of the machine's clock at which they are due, and a number.
    pub(crate) timers: BTreeMap<(u64, u64), Waker>,
    /// Events that came up while it was paused.
    pub(crate) deferred: Vec<E>,
    /// After how many reads of its clock by its own tasks the machine stalls in the middle of a poll, and for how long.
    pub(crate) stall: Option<(u64, u64)>,
}

impl<E> MachineState<E> {
    /// A machine in its first life.
    pub(crate) fn new(clock: MachineClock) -> Self {
        Self { life: 1, paused: false, clock, timers: BTreeMap::new(), deferred: Vec::new(), stall: None }
    }

    /// True time of its next timer; none while it is paused.
    pub(crate) fn next_timer(&self, now_us: u64) -> Option<u64> {
        let ((due, _), _) = self.timers.first_key_value().filter(|_| !self.paused)?;
        Some(self.clock.true_time(*due, now_us))
    }

    /// Takes the timers that are due.
    pub(crate) fn due_timers(&mut self, now_us: u64) -> Vec<Waker> {
        let later = self.timers.split_off(&(self.clock.local(now_us) + 1, 0));
        std::mem::replace(&mut self.timers, later).into_values().collect()
    }

    /// Counts a read of its clock by its own task. Returns how long it stalls now, if it does.
    pub(crate) fn stalls(&mut self) -> Option<u64> {
        let (reads, us) = self.stall.filter(|_| !self.paused)?;
        self.stall = (reads > 1).then_some((reads - 1, us));
        (reads <= 1).then_some(us)
    }
}
