//! The engine simulator: two engines with a network, disks, clocks, hosts, callers, operators and a witness.
//!
//! A seed stands for one history: the surroundings and the steps. Every invariant is checked after every event. A violation is
//! shrunk to fewer steps and printed with a trace and the command that replays it. The idea is FoundationDB's and TigerBeetle's: the shipping code runs in a world that is worse than the real one, and
//! that a number replays.
//!
//! | file | what it is |
//! |---|---|
//! | [`step`] | what can happen to a pair |
//! | [`plan`], [`generator`], [`scenarios`] | a history before it runs; how a seed draws it; beginnings that random steps rarely produce |
//! | [`history`] | runs a plan, shrinks it where it fails |
//! | [`world`] | the data: [`machine`] is a node, [`network`] what is between them, [`witness`], [`schedule`] what is under way |
//! | [`event_loop`], [`lifecycle`], [`faults`] | time passes; processes start and end; steps are carried out |
//! | [`driver`], [`delivery`], [`witness_client`] | what stands between an engine and its disk, host and callers; the network; the witness |
//! | [`store`] | the model of the store, and the real store beside it |
//! | [`byzantine_peer`] | arbitrary well-formed messages |
//! | [`oracle`], [`expected_settings`] | everything that was written, shown, acknowledged and refused; what operators were told |
//! | [`invariants`], [`safety`], [`liveness`] | what must hold after every event; what a witness promises; what must come about after the faults |
//! | [`exemptions`] | what happened that takes a promise away |
//! | [`injected_bug`] | mistakes put in on purpose |
//! | [`summary`], [`coverage`] | what the histories contained |
//! | [`outline`] | tells states apart for the model checker |

mod byzantine_peer;
mod coverage;
mod delivery;
mod driver;
mod event_loop;
mod exemptions;
mod expected_settings;
pub(super) mod faults;
mod generator;
mod history;
pub(super) mod injected_bug;
mod invariants;
mod lifecycle;
pub(super) mod liveness;
mod machine;
mod network;
mod newest_group;
mod oracle;
mod outline;
pub(super) mod plan;
pub(super) mod random;
mod safety;
mod scenarios;
mod schedule;
pub(super) mod step;
mod store;
mod summary;
mod witness;
mod witness_client;
pub(super) mod world;

mod tests;
