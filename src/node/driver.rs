//! The driver: the task that owns the engine. It waits for events, passes them to the engine with the current time, and
//! performs the engine's actions.
//!
//! `input` defines the messages from the node's other tasks. `inbox` is the driver's wait. `event_loop` is its loop. `perform`
//! performs the actions. `notifier` notifies the host. `auditor` chooses what the audit log is told.

pub mod alarms;
pub mod auditor;
pub mod callers;
mod carried_sets;
mod carrier;
pub mod context;
pub mod event_loop;
pub mod inbox;
pub mod input;
pub mod maintenance;
pub mod notifier;
mod perform;
pub mod received_bulk;
