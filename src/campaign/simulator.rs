//! The engine simulator: two engines with a network, disks, clocks, hosts, callers, operators and a witness.
//!
//! A seed stands for one history: the surroundings and the steps, drawn in [`plan`]. [`history`] runs it and checks every
//! invariant after every event; a violation is shrunk to fewer steps and printed with a trace and the command that replays
//! it. The idea is FoundationDB's and TigerBeetle's: the shipping code runs in a world that is worse than the real one, and
//! that a number replays.
//!
//! | file | what it is |
//! |---|---|
//! | [`step`], [`plan`], [`scenarios`] | what can be done to a pair; how a seed draws it; beginnings that random steps rarely find |
//! | [`faults`] | carries out the steps |
//! | [`world`], [`node`], [`network`], [`witness`] | the pair and true time; one node; what is between the nodes; the witness |
//! | [`driver`] | hands events to an engine and carries out its actions, as the shell does |
//! | [`store`] | the model of the store, and the real store beside it |
//! | [`byzantine_peer`] | arbitrary well-formed messages |
//! | [`violation`] | the invariants by name |
//! | [`oracle`] | everything that was written, shown, acknowledged and refused |
//! | [`invariants`] | what must hold after every event |
//! | [`safety`] | what a witness and synchronous replication promise |
//! | [`expected_settings`] | what operators were told is in force |
//! | [`liveness`] | what must come about after the faults |
//! | [`summary`], [`coverage`] | what the histories contained |

mod byzantine_peer;
mod coverage;
mod driver;
mod expected_settings;
pub(super) mod faults;
mod history;
mod invariants;
pub(super) mod liveness;
mod network;
mod node;
mod oracle;
pub(super) mod plan;
pub(super) mod random;
mod safety;
mod scenarios;
pub(super) mod step;
mod store;
mod summary;
pub(super) mod violation;
mod witness;
pub(super) mod world;

mod tests;
