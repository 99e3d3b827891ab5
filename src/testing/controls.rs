//! What a test of a host breaks: the disk and the clocks of a machine, the link, the witness.

use std::time::Duration;

use super::disk::MachineDisk;
use super::machine_id::MachineId;
use super::network::Network;
use super::register::Register;
use super::resolver::Resolver;
use super::scheduler::{Owner, Scheduler};
use super::side::Side;
use crate::model::WitnessRecord;

/// Waits by the clock of one machine.
#[derive(Clone, Debug)]
pub struct Timer {
    pub(crate) scheduler: Scheduler,
    pub(crate) place: MachineId,
}

impl Timer {
    /// Returns after this time.
    pub async fn sleep(&self, time: Duration) {
        let until_us = self.scheduler.local_us(self.place).saturating_add(micros(time));
        self.scheduler.sleep_until(self.place, until_us).await;
    }
}

/// Runs futures of the host on one machine, also from within other futures there. They wait while the machine is paused, and
/// end with the process that ran when this was made.
#[derive(Clone)]
pub struct Spawner {
    pub(crate) scheduler: Scheduler,
    pub(crate) owner: Owner,
}

impl Spawner {
    /// Runs this future. If the process has ended, it is dropped.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.scheduler.spawn(self.owner, Box::pin(future));
    }
}

impl std::fmt::Debug for Spawner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Spawner").finish()
    }
}

/// The disk of one node.
///
/// ```
/// use shadowpair::testing::{Pair, Side};
/// use shadowpair::{ChangeSet, CommitError};
///
/// let pair = Pair::builder(1).start()?;
/// let (disk, config) = (pair.node(Side::A).disk(), pair.node(Side::A).handle().config());
/// disk.fill();
/// // A small change would still fit into the room that the log has reserved.
/// let refused = pair.block_on(config.commit(ChangeSet::new().put("key", vec![7; 8 << 20])));
/// assert!(matches!(refused, Err(CommitError::DiskFull)), "{refused:?}");
/// disk.make_room();
/// pair.block_on(config.commit(ChangeSet::new().put("key", "value")))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct SimulatedDisk<'a> {
    pub(crate) scheduler: &'a Scheduler,
    pub(crate) disk: &'a MachineDisk,
    pub(crate) place: MachineId,
}

impl SimulatedDisk<'_> {
    /// Makes the disk full: every write that needs more room fails.
    pub fn fill(&self) {
        let sim = &self.disk.sim;
        sim.set_capacity(sim.used());
        self.note("is full");
    }

    /// Leaves so much room, which the system tells whoever asks for it.
    pub fn leave(&self, bytes: u64) {
        let sim = &self.disk.sim;
        sim.tell_room();
        sim.set_capacity(sim.used().saturating_add(bytes));
        self.note("is almost full");
    }

    /// There is room again.
    pub fn make_room(&self) {
        self.disk.sim.set_capacity(u64::MAX);
        self.note("has room again");
    }

    /// Every sync fails from now on, or none does.
    pub fn fail_syncs(&self, fails: bool) {
        self.disk.set_failing(fails);
        self.note(if fails { "fails every sync" } else { "syncs again" });
    }

    /// The file system with the data directory is unmounted, as by a lazy `umount`: its names are gone, and files that are open
    /// can still be written.
    pub fn unmount(&self) {
        self.disk.set_unmounted(true);
        self.note("is unmounted");
    }

    /// The file system is mounted again.
    pub fn mount(&self) {
        self.disk.set_unmounted(false);
        self.note("is mounted again");
    }

    /// Every job hangs from now on, as on a hung network file system.
    pub fn freeze(&self) {
        self.disk.set_frozen(self.scheduler, true);
        self.note("hangs");
    }

    /// Jobs run again. Those that waited run now.
    pub fn thaw(&self) {
        self.disk.set_frozen(self.scheduler, false);
        self.note("goes on");
    }

    /// Every job on it takes from `low` to `high`. What a host's hooks do counts as such a job.
    pub fn latency(&self, low: Duration, high: Duration) {
        self.disk.set_takes(micros(low), micros(high));
        self.note("changes its speed");
    }

    fn note(&self, what: &str) {
        self.scheduler.note(|| format!("{:?} its disk {what}", self.place));
    }
}

/// The clocks of one node's machine.
///
/// ```
/// use std::time::Duration;
/// use shadowpair::testing::{Pair, Side};
///
/// let pair = Pair::builder(1).start()?;
/// pair.node(Side::A).clock().wall_forward(Duration::from_secs(86_400));
/// pair.run_for(Duration::from_secs(30));
/// // No wall clock decides who is master.
/// assert_eq!(pair.masters(), [Side::A]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct SimulatedClock<'a> {
    pub(crate) scheduler: &'a Scheduler,
    pub(crate) place: MachineId,
}

impl SimulatedClock<'_> {
    /// Sets the wall clock forward.
    pub fn wall_forward(&self, by: Duration) {
        self.jump(i64::try_from(by.as_micros()).unwrap_or(i64::MAX));
    }

    /// Sets the wall clock back.
    pub fn wall_back(&self, by: Duration) {
        self.jump(-i64::try_from(by.as_micros()).unwrap_or(i64::MAX));
    }

    /// How much faster than true time the suspend-aware clock runs, in millionths. The crate's promises hold up to 1 %, that is
    /// 10,000, between the two nodes.
    pub fn rate(&self, ppm: i64) {
        self.scheduler.note(|| format!("{:?} its clock runs at {ppm} ppm", self.place));
        self.scheduler.with_clock(self.place, |clock, now_us| clock.set_rate(now_us, ppm));
    }

    fn jump(&self, us: i64) {
        self.scheduler.note(|| format!("{:?} its wall clock jumps by {us} us", self.place));
        self.scheduler.with_clock(self.place, |clock, _| clock.jump_wall(us));
    }
}

/// The network between the nodes of a [`Pair`](super::Pair).
///
/// ```
/// use std::time::Duration;
/// use shadowpair::testing::{Pair, Side};
///
/// let pair = Pair::builder(1).start()?;
/// pair.link().cut_one_way(Side::A);
/// pair.run_for(Duration::from_secs(30));
/// // With the witness there is at most one master, whatever is cut.
/// assert!(pair.masters().len() <= 1);
/// pair.link().heal();
/// pair.run_until(Duration::from_secs(60), Pair::is_whole)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Link<'a> {
    pub(crate) network: &'a Network,
    pub(crate) scheduler: &'a Scheduler,
}

impl Link<'_> {
    /// Cuts both directions: nothing arrives. What is sent meanwhile arrives after the heal, as TCP sends it again.
    pub fn cut(&self) {
        Side::BOTH.into_iter().for_each(|from| self.cut_one_way(from));
    }

    /// Cuts one direction: nothing that this node sends arrives.
    pub fn cut_one_way(&self, from: Side) {
        self.scheduler.note(|| format!("what {from:?} sends does not arrive"));
        self.network.cut(from);
    }

    /// Ends every cut: everything arrives again, in both directions.
    pub fn heal(&self) {
        self.scheduler.note(|| "everything arrives".into());
        MachineId::ALL.into_iter().for_each(|from| self.network.heal(from));
    }

    /// Breaks every connection.
    pub fn reset(&self) {
        self.scheduler.note(|| "every connection breaks".into());
        self.network.reset();
    }

    /// One way takes from `low` to `high`, drawn for each write.
    pub fn latency(&self, low: Duration, high: Duration) {
        self.network.set_latency(micros(low), micros(high));
    }

    /// Each way carries at most so many bytes per second from now on, for all connections together; zero is unlimited, and
    /// the default. With a rate the times depend on what TLS sends, which the seed does not decide to the byte.
    pub fn rate(&self, bytes_per_second: u64) {
        self.scheduler.note(|| format!("each way carries {bytes_per_second} bytes per second"));
        self.network.set_rate(bytes_per_second);
    }

    /// No name is resolved any more: every look-up fails at once. It matters to a [named](super::PairBuilder::named) pair.
    pub fn names_fail(&self) {
        self.scheduler.note(|| "no name is resolved".into());
        self.network.set_resolver(Resolver::Fails);
    }

    /// No look-up of a name ends any more.
    pub fn names_hang(&self) {
        self.scheduler.note(|| "no look-up ends".into());
        self.network.set_resolver(Resolver::Hangs);
    }

    /// Names are resolved again.
    pub fn names_work(&self) {
        self.scheduler.note(|| "names are resolved".into());
        self.network.set_resolver(Resolver::Answers);
    }

    /// The next dials of this node are refused.
    pub fn refuse(&self, from: Side, dials: u64) {
        self.network.refuse(from, dials);
    }
}

/// The witness of a [`Pair`](super::Pair).
///
/// ```
/// use std::time::Duration;
/// use shadowpair::testing::{Crash, Pair, Side};
///
/// let pair = Pair::builder(1).start()?;
/// pair.witness().down();
/// pair.node(Side::A).crash(Crash::Power);
/// pair.run_for(Duration::from_secs(60));
/// // Without the witness nobody takes over.
/// assert!(pair.masters().is_empty());
/// pair.witness().up();
/// pair.run_until(Duration::from_secs(60), |pair| pair.masters() == [Side::B])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct SimulatedWitness<'a> {
    pub(crate) register: &'a Register,
    pub(crate) scheduler: &'a Scheduler,
}

impl SimulatedWitness<'_> {
    /// Stops the witness: it answers neither node.
    pub fn down(&self) {
        self.note("is down");
        MachineId::ALL.into_iter().for_each(|place| self.register.set_reachable(place, false));
    }

    /// This node cannot reach it.
    pub fn unreachable_from(&self, side: Side) {
        self.scheduler.note(|| format!("{side:?} does not reach the witness"));
        self.register.set_reachable(side, false);
    }

    /// This node can reach it again.
    pub fn reachable_from(&self, side: Side) {
        self.scheduler.note(|| format!("{side:?} reaches the witness"));
        self.register.set_reachable(side, true);
    }

    /// Ends all faults of the witness, for both nodes.
    pub fn up(&self) {
        self.note("is well");
        self.register.set_well();
    }

    /// The next answers to this node are lost; what was asked is done.
    pub fn lose_answers(&self, side: Side, count: u64) {
        self.register.lose_answers(side, count);
    }

    /// The next questions of this node reach the witness this much late, even if the node no longer waits for them.
    pub fn land_late(&self, side: Side, count: u64, late: Duration) {
        self.register.land_late(side, count, micros(late));
    }

    /// Latency of each way, to the witness and back, drawn for each question.
    pub fn latency(&self, low: Duration, high: Duration) {
        self.register.set_way(micros(low), micros(high));
    }

    /// What it holds.
    pub fn record(&self) -> Option<WitnessRecord> {
        self.register.record()
    }

    fn note(&self, what: &str) {
        self.scheduler.note(|| format!("the witness {what}"));
    }
}

/// A time in microseconds.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
