//! Passes events to the machines, and the consequences from one machine to another.
//!
//! | file | routes |
//! |---|---|
//! | `transitions.rs` | changes of the node's state, and what each new state requires |
//! | `link_events.rs`, `negotiation.rs`, `heartbeat.rs` | connections, hellos, heartbeats and their answers |
//! | `session_inputs.rs`, `session_outputs.rs` | repairs, bulk, and the outputs of the session's ends |
//! | `completions.rs` | the next batch of durable work, and the consequences of its receipt |
//! | `durable_mark.rs` | a group that is pushed while it is made durable |
//! | `duplicates.rs` | two nodes with one identity |
//! | `rollback.rs` | a disk that turns out to be an older copy |
//! | `callers.rs` | callers that commit |
//! | `commands.rs` | operators, shutdown |
//! | `enrolment.rs`, `replacement.rs` | join tokens and nodes that ask to enrol; a shadow that is replaced |
//! | `startup_check.rs`, `step_down.rs`, `takeover_steps.rs` | a master that starts, one that steps down, a shadow that takes over |
//! | `switchover_of_master.rs`, `switchover_of_shadow.rs`, `modes.rs` | a planned switch of roles, on the master and on the shadow; pause and freeze |
//! | `key_renewal.rs` | renewal of this node's key, and of the peer's |
//! | `promises_and_leases.rs`, `witness.rs` | leases, promises, and answers of the witness |
//! | `alert_conditions.rs` | when alerts are raised and when they end |
//! | `operator_state_conditions.rs` | the states that only a person ends |
//! | `deadlines.rs`, `status_report.rs` | notices to the host, the timer, and the status of the engine |

mod alert_conditions;
mod callers;
mod commands;
mod completions;
mod deadlines;
mod duplicates;
mod durable_mark;
mod enrolment;
mod heartbeat;
mod key_renewal;
mod link_events;
mod modes;
mod negotiation;
mod operator_state_conditions;
mod promises_and_leases;
mod replacement;
mod rollback;
mod session_inputs;
mod session_outputs;
mod startup_check;
mod status_report;
mod step_down;
mod switchover_of_master;
mod switchover_of_shadow;
mod takeover_steps;
mod transitions;
mod witness;
