//! Passes events to the machines, and the consequences from one machine to another.
//!
//! | file | routes |
//! |---|---|
//! | `transitions.rs` | changes of the node's state, and what each new state requires |
//! | `links.rs`, `hello.rs`, `heartbeat.rs` | connections, hellos, heartbeats and their answers |
//! | `session.rs`, `session_outputs.rs` | repairs, bulk, and the outputs of the session's ends |
//! | `completions.rs` | the next batch of durable work, and the consequences of its receipt |
//! | `durable_mark.rs` | a group that is pushed while it is made durable |
//! | `duplicates.rs` | two nodes with one identity |
//! | `rollback.rs` | a disk that turns out to be an older copy |
//! | `commits.rs` | callers that commit |
//! | `commands.rs` | operators, enrolment, shutdown |
//! | `startup_check.rs`, `step_down.rs`, `takeover.rs` | a master that starts, one that steps down, a shadow that takes over |
//! | `switchover.rs`, `switchover_of_shadow.rs`, `modes.rs` | a planned switch of roles, on the master and on the shadow; pause and freeze |
//! | `rotation.rs` | renewal of this node's key, and of the peer's |
//! | `authority.rs`, `witness.rs` | covers, promises, and answers of the witness |
//! | `alerts.rs` | when alerts are raised and when they end |
//! | `operator_states.rs` | the states that only a person ends |
//! | `deadlines.rs`, `status.rs` | notices to the host, the timer, and the status of the engine |

mod alerts;
mod authority;
mod commands;
mod commits;
mod completions;
mod deadlines;
mod duplicates;
mod durable_mark;
mod heartbeat;
mod hello;
mod links;
mod modes;
mod operator_states;
mod rollback;
mod rotation;
mod session;
mod session_outputs;
mod startup_check;
mod status;
mod step_down;
mod switchover;
mod switchover_of_shadow;
mod takeover;
mod transitions;
mod witness;
