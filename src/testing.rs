//! Test support for hosts: a pair of real nodes in one process, in a simulated world that the test controls.
//!
//! A [`Pair`] runs two real [`Node`](crate::Node)s, with real TLS and a real store, on simulated time, network, disks and
//! witness. A test cuts links, crashes and pauses nodes, fills disks and stops the witness. Then it lets simulated time pass
//! and checks what the host did. A simulated minute takes milliseconds, because nothing sleeps. No port is opened. The seed
//! decides every latency and the order in which tasks run, so the same seed replays a failure.
//!
//! # A host's forwarder never works on both nodes
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use std::time::Duration;
//!
//! use shadowpair::testing::{Pair, Side, Timer};
//! use shadowpair::{ChangeSet, Epoch, Node};
//!
//! /// What the forwarders of both nodes did, in order of true time.
//! type Log = Arc<Mutex<Vec<(Epoch, Side)>>>;
//!
//! /// The host under test: forwards a packet every 50 ms, as long as its node is master.
//! async fn forward(node: Node, side: Side, timer: Timer, log: Log) {
//!     while let Ok(mastership) = node.mastership().await {
//!         while mastership.check().is_ok() {
//!             log.lock().unwrap().push((mastership.epoch(), side));
//!             timer.sleep(Duration::from_millis(50)).await;
//!         }
//!     }
//! }
//!
//! for seed in 0..3 {
//!     let pair = Pair::builder(seed).start()?;
//!     let log = Log::default();
//!     for side in Side::BOTH {
//!         let node = pair.node(side);
//!         node.spawn(forward(node.handle(), side, node.timer(), Arc::clone(&log)));
//!     }
//!     let master = pair.node(Side::A).handle();
//!     pair.block_on(async { master.config().commit(ChangeSet::new().put("route", "10.0.0.7")).await })?;
//!
//!     // The master is paused for 30 seconds, and its shadow takes over.
//!     pair.node(Side::A).pause();
//!     pair.run_for(Duration::from_secs(30));
//!     assert_eq!(pair.masters(), [Side::B]);
//!     pair.node(Side::A).resume();
//!     pair.run_until(Duration::from_secs(60), Pair::is_whole)?;
//!
//!     // Each forwarder worked under its own epoch. The older one did nothing after the newer one began.
//!     let log = log.lock().unwrap();
//!     assert!(log.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{}", pair.trace());
//!     assert!(log.iter().any(|(_, side)| *side == Side::A) && log.iter().any(|(_, side)| *side == Side::B));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Test your own failover
//!
//! 1. Put behind a trait what the host does to the world: listening, writing to a device, sending. `examples/gateway/routes.rs` has
//!    such a trait, `Machine`. The program implements it with sockets (`forward.rs`), the test with a list of what was done.
//! 2. Run the host's own future on both nodes with [`SimulatedNode::spawn`]. A host that spawns tasks itself gets a [`Spawner`], and
//!    one that waits gets a [`Timer`]: nothing in it may read the real clock or sleep.
//! 3. Break one thing per history, let time pass, mend it, and wait with [`Pair::run_until`] until the pair [is whole](Pair::is_whole).
//!
//!    | the question | the calls |
//!    |---|---|
//!    | the process is stopped and wakes up late | [`SimulatedNode::pause`], [`SimulatedNode::resume`] |
//!    | it is killed, or the power fails | [`SimulatedNode::crash`], [`SimulatedNode::restart`] |
//!    | the cable is cut, in one direction or both | [`Link::cut`], [`Link::cut_one_way`], [`Link::heal`] |
//!    | the line is slow or far | [`Link::rate`], [`Link::latency`] |
//!    | the disk is full, failing, or hangs | [`SimulatedDisk::fill`], [`SimulatedDisk::fail_syncs`], [`SimulatedDisk::freeze`] |
//!    | nobody reaches the witness | [`SimulatedWitness::down`] |
//!    | somebody sets the clock | [`SimulatedClock::wall_forward`], [`SimulatedClock::wall_back`] |
//!
//! 4. Assert what must hold for the host's users. For most hosts that is: what is done under one
//!    [epoch](crate::Mastership::epoch) is not done after something was done under a higher one.
//! 5. Do it for many seeds: `for seed in 0..100`. A failure names its seed, and the same seed does the same again, event by event:
//!    [`Pair::trace`] tells them.
//! 6. Take [`Mastership::check`](crate::Mastership::check) out of the host, and see the test fail. A test that still passes looks away.
//!
//! The crate tests its own example so (`src/testing/pair/tests/gateway.rs`): 15 histories of two minutes each take a second or two.
//!
//! # What is simulated, and what is not
//!
//! | part | in a [`Pair`] |
//! |---|---|
//! | engine, shell, store, TLS, wire | real |
//! | time | [`SimulatedClock`]: each machine has its own offset, rate and wall clock |
//! | network | [`Link`]: latency for each write; a rate; cut in one direction or both, reset, refused |
//! | disks | [`SimulatedDisk`]: full, failing, slow, hanging; a [`Crash`] loses or tears what was not synced |
//! | witness | [`SimulatedWitness`]: slow, down, answers lost, questions delayed |
//! | processes | [`SimulatedNode`]: crashed, paused, restarted |
//!
//! The seed does not decide the bytes of TLS. The schedule does not depend on them.
//!
//! # A witness of your own
//!
//! With a [`MemoryWitness`], two nodes of one process can be a witnessed pair on real sockets. Every back end of a
//! [`Witness`](crate::Witness) must pass [`witness_conformance`].
#![allow(clippy::disallowed_methods, reason = "the test bed is a shell of its own: it spawns, and it has a clock")]
#![allow(clippy::panic, reason = "a test that waits in vain ends by panicking")]

mod clock;
mod connection;
mod controls;
mod disk;
mod environment;
mod identities;
mod machine;
mod machine_id;
mod machine_state;
mod network;
mod pair;
mod random;
mod register;
mod resolver;
mod scheduler;
mod side;
mod witness;

pub use controls::{Link, SimulatedClock, SimulatedDisk, SimulatedWitness, Spawner, Timer};
pub use machine::Crash;
#[cfg(test)]
pub(crate) use machine::Machine;
#[cfg(test)]
pub(crate) use machine_id::MachineId;
pub use pair::{Pair, PairBuilder, SimulatedNode, TimedOut};
pub use side::Side;
#[cfg(test)]
pub(crate) use witness::record as witness_record;
pub use witness::{MemoryWitness, witness_conformance};
