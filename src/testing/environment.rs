//! The simulated surroundings of one life of a machine: implementations of the traits in `node::environment`.

use std::io;
use std::sync::Arc;

use super::disk::MachineDisk;
use super::machine_id::MachineId;
use super::network::Network;
use super::scheduler::{Owner, Scheduler};
use crate::node::environment::{BoxFuture, Clock, Environment, Randomness, Tasks, WrittenDisks};
use crate::protocol::engine::Moment;

/// What is called when a machine's disk stopped because power was cut.
pub(crate) type PowerLost = Arc<dyn Fn() + Send + Sync>;

/// The surroundings of this machine in its current life.
pub(crate) fn environment(
    scheduler: &Scheduler,
    network: &Network,
    disk: &MachineDisk,
    place: MachineId,
    power_lost: PowerLost,
) -> Environment {
    let (scheduler, owner) = (scheduler.clone(), scheduler.owner(place));
    Environment {
        clock: Arc::new(MachineClock { scheduler: scheduler.clone(), place }),
        net: network.of(place),
        disk: Arc::new(disk.clone()),
        tasks: Arc::new(MachineTasks { scheduler: scheduler.clone(), owner, disk: disk.clone(), power_lost }),
        randomness: Arc::new(SeededRandomness { scheduler }),
        written: WrittenDisks::default(),
    }
}

#[derive(Debug)]
struct MachineClock {
    scheduler: Scheduler,
    place: MachineId,
}

impl Clock for MachineClock {
    fn now(&self) -> Moment {
        Moment(self.scheduler.read_clock(self.place))
    }

    fn wall_ms(&self) -> u64 {
        self.scheduler.with_clock(self.place, |clock, now_us| clock.wall_ms(now_us))
    }

    fn sleep_until(&self, at: Moment) -> BoxFuture<'static, ()> {
        self.scheduler.sleep_until(self.place, at.0)
    }
}

/// Bytes that follow from the seed.
#[derive(Debug)]
struct SeededRandomness {
    scheduler: Scheduler,
}

impl Randomness for SeededRandomness {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.scheduler.fill(bytes);
        Ok(())
    }
}

struct MachineTasks {
    scheduler: Scheduler,
    owner: Owner,
    disk: MachineDisk,
    power_lost: PowerLost,
}

impl std::fmt::Debug for MachineTasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MachineTasks({:?})", self.owner)
    }
}

impl Tasks for MachineTasks {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.scheduler.spawn(self.owner, task);
    }

    fn block(&self, job: Box<dyn FnOnce() + Send>) {
        let (disk, power_lost) = (self.disk.clone(), Arc::clone(&self.power_lost));
        self.disk.run(&self.scheduler, self.owner, job, move || {
            if disk.sim.is_stopped() {
                power_lost();
            }
        });
    }
}
