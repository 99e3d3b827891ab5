//! Takes events to the machines, and what follows from one to the others.
//!
//! | file | routes |
//! |---|---|
//! | `transitions.rs` | a change of the node's state, and what entering a state asks for |
//! | `links.rs`, `hello.rs`, `heartbeat.rs` | connections, hellos, heartbeats and their answers |
//! | `session.rs` | repairs, bulk, and the outputs of the session's ends |
//! | `completions.rs` | what is written next, and what follows from its receipt |
//! | `commits.rs` | callers that commit |
//! | `commands.rs` | operators, enrolment, shutdown |
//! | `startup_check.rs`, `step_down.rs`, `takeover.rs` | a master that starts, one that steps down, a shadow that takes over |
//! | `authority.rs`, `witness.rs` | covers, promises, and answers of the witness |
//! | `alerts.rs` | what enters the alert log and what ends it |
//! | `deadlines.rs`, `status.rs` | what the host is told, when the engine wakes, what it says of itself |

mod alerts;
mod authority;
mod commands;
mod commits;
mod completions;
mod deadlines;
mod heartbeat;
mod hello;
mod links;
mod session;
mod startup_check;
mod status;
mod step_down;
mod takeover;
mod transitions;
mod witness;
