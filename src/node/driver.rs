//! The driver: the one task that owns the engine. It waits, tells the engine what happened and when, and performs the
//! engine's actions.
//!
//! `input` is everything that the node's other tasks tell it, `inbox` where it waits, `event_loop` its loop, `perform` the
//! execution of actions, `notifier` what the host is told.

pub mod alarms;
pub mod callers;
pub mod context;
pub mod event_loop;
pub mod inbox;
pub mod input;
pub mod maintenance;
pub mod notifier;
mod perform;
pub mod received_bulk;
