//! The witness of a simulated pair: a register in memory behind a network that is slow, cut or loses answers.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;

use super::machine_id::MachineId;
use super::scheduler::{Owner, Scheduler};
use super::witness::MemoryWitness;
use crate::model::{WitnessRecord, WitnessVersion};
use crate::witness::{BoxFuture, Swap, Witness, WitnessError};

/// Bounds of one way to the witness or back, microseconds.
const WAY_US: (u64, u64) = (200, 2_000);

/// The register. Clones share it.
#[derive(Clone)]
pub(crate) struct Register {
    scheduler: Scheduler,
    held: MemoryWitness,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Debug)]
struct Faults {
    /// Whether questions of this machine are lost.
    unreachable: [bool; 3],
    /// Answers to this machine to lose, from now on.
    lose_answers: [u64; 3],
    /// Questions of this machine that land late from now on, and how late.
    late: [(u64, u64); 3],
    way_us: (u64, u64),
}

impl Register {
    /// One that holds nothing.
    pub(crate) fn new(scheduler: &Scheduler) -> Self {
        let faults = Faults { unreachable: [false; 3], lose_answers: [0; 3], late: [(0, 0); 3], way_us: WAY_US };
        Self { scheduler: scheduler.clone(), held: MemoryWitness::new(), faults: Arc::new(Mutex::new(faults)) }
    }

    /// The witness as this machine sees it.
    pub(crate) fn of(&self, place: MachineId) -> Arc<dyn Witness> {
        Arc::new(MachineWitness { register: self.clone(), place })
    }

    /// What it holds.
    pub(crate) fn record(&self) -> Option<WitnessRecord> {
        at_once(self.held.read()).and_then(Result::ok).flatten().map(|(record, _)| record)
    }

    /// Holds this record from now on; it must hold none.
    #[cfg(test)]
    pub(crate) fn hold(&self, record: WitnessRecord) {
        let held = at_once(self.held.swap(None, record));
        assert!(matches!(held, Some(Swap::Swapped(_))), "{held:?}");
    }

    /// Whether questions of this machine arrive.
    pub(crate) fn set_reachable(&self, place: impl Into<MachineId>, reachable: bool) {
        self.faults().unreachable[place.into().index()] = !reachable;
    }

    /// The next answers to this machine are lost; what was asked is done.
    pub(crate) fn lose_answers(&self, place: impl Into<MachineId>, count: u64) {
        self.faults().lose_answers[place.into().index()] = count;
    }

    /// The next questions of this machine reach the register this much late.
    pub(crate) fn land_late(&self, place: impl Into<MachineId>, count: u64, us: u64) {
        self.faults().late[place.into().index()] = (count, us);
    }

    /// Time of one way from now on, microseconds.
    pub(crate) fn set_way(&self, low_us: u64, high_us: u64) {
        self.faults().way_us = (low_us, high_us.max(low_us));
    }

    /// Ends all faults and restores the default latency.
    pub(crate) fn set_well(&self) {
        *self.faults() = Faults { unreachable: [false; 3], lose_answers: [0; 3], late: [(0, 0); 3], way_us: WAY_US };
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the register after the time of one way; the answer takes another such time. A question that was sent
    /// reaches the register even if nobody waits for it. `None`: no answer ever comes.
    fn ask<T: Send + 'static>(
        &self,
        place: MachineId,
        act: impl FnOnce(&MemoryWitness) -> Option<T> + Send + 'static,
    ) -> Option<oneshot::Receiver<T>> {
        let mut faults = self.faults();
        if faults.unreachable[place.index()] {
            return None;
        }
        let way_us = faults.way_us;
        let (late, late_us) = &mut faults.late[place.index()];
        let extra_us = if *late > 0 { *late_us } else { 0 };
        *late = late.saturating_sub(1);
        let lose = &mut faults.lose_answers[place.index()];
        let lost = *lose > 0;
        *lose = lose.saturating_sub(1);
        drop(faults);
        let (answer, answered) = oneshot::channel();
        let (there_us, back_us) = (self.scheduler.draw(way_us) + extra_us, self.scheduler.draw(way_us));
        let (held, scheduler) = (self.held.clone(), self.scheduler.clone());
        self.scheduler.after(there_us, Owner::World, move || {
            if let Some(outcome) = act(&held) {
                // An error means that nobody waits for it any more.
                scheduler.after(back_us, Owner::World, move || drop(answer.send(outcome)));
            }
        });
        (!lost).then_some(answered)
    }
}

/// Waits for an answer, for ever if none comes: the node has its own time limit.
async fn wait<T>(answered: Option<oneshot::Receiver<T>>) -> T {
    if let Some(Ok(answer)) = match answered {
        Some(answered) => Some(answered.await),
        None => None,
    } {
        return answer;
    }
    std::future::pending().await
}

/// The output of a future that is ready at once.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// The witness as one machine sees it.
struct MachineWitness {
    register: Register,
    place: MachineId,
}

impl fmt::Debug for MachineWitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MachineWitness({:?})", self.place)
    }
}

impl Witness for MachineWitness {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    fn read(&self) -> BoxFuture<'_, Result<Option<(WitnessRecord, WitnessVersion)>, WitnessError>> {
        let answered = self.register.ask(self.place, |held| at_once(held.read()));
        Box::pin(wait(answered))
    }

    fn swap(&self, expected: Option<WitnessVersion>, record: WitnessRecord) -> BoxFuture<'_, Swap> {
        let answered = self.register.ask(self.place, move |held| at_once(held.swap(expected, record)));
        Box::pin(wait(answered))
    }
}
