//! What tests of a host need: a pair of real nodes in one process, in a simulated world that the test controls.
//!
//! A [`Pair`] runs two real [`Node`](crate::Node)s, with real TLS and a real store, on simulated time, network, disks and
//! witness. Its test cuts links, crashes and pauses nodes, fills disks and silences the witness; then it lets time pass and
//! looks at what the host did. A minute of failover takes milliseconds: nothing sleeps, and no port is opened. The seed
//! decides every latency and the order in which tasks run, so a failure is replayed with the same seed.
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
//! /// What the forwarders of both nodes did, in true order.
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
//!     // The master stands still for half a minute, and its shadow takes over.
//!     pair.node(Side::A).pause();
//!     pair.run_for(Duration::from_secs(30));
//!     assert_eq!(pair.masters(), [Side::B]);
//!     pair.node(Side::A).resume();
//!     pair.run_until(Duration::from_secs(60), Pair::is_whole)?;
//!
//!     // Each forwarder worked under its own epoch, and the older one never again once the newer one had begun.
//!     let log = log.lock().unwrap();
//!     assert!(log.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{}", pair.trace());
//!     assert!(log.iter().any(|(_, side)| *side == Side::A) && log.iter().any(|(_, side)| *side == Side::B));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is simulated, and what is not
//!
//! | part | in a [`Pair`] |
//! |---|---|
//! | engine, shell, store, TLS, wire | real |
//! | time | [`SimulatedClock`]: each machine has an offset of its own, a rate and a wall clock that can be set |
//! | network | [`Link`]: latency for each write; cut in one direction or both, reset, refused |
//! | disks | [`SimulatedDisk`]: full, failing, slow, hanging; a [`Crash`] loses or tears what was not synced |
//! | witness | [`SimulatedWitness`]: slow, down, answers lost, questions that land late |
//! | processes | [`SimulatedNode`]: crashed, paused, restarted |
//!
//! The bytes of TLS are not drawn from the seed. Nothing in the schedule depends on them.
//!
//! # A witness of your own
//!
//! [`MemoryWitness`] lets two nodes of one process be a witnessed pair on real sockets. [`witness_conformance`] is what any
//! back end of a [`Witness`](crate::Witness) must pass.
#![allow(clippy::disallowed_methods, reason = "the test bed is a shell of its own: it spawns, and it has a clock")]
#![allow(clippy::panic, reason = "a test that waits in vain ends by panicking")]

mod clock;
mod connection;
mod controls;
mod disk;
mod environment;
mod identities;
mod machine;
mod machine_state;
mod network;
mod pair;
mod random;
mod register;
mod scheduler;
mod side;
mod witness;

pub use controls::{Link, SimulatedClock, SimulatedDisk, SimulatedWitness, Timer};
pub use machine::Crash;
pub use pair::{Pair, PairBuilder, SimulatedNode, TimedOut};
pub use side::Side;
pub use witness::{MemoryWitness, witness_conformance};
