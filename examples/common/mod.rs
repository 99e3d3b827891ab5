//! The program behind `master`, `shadow` and `gateway`. They differ in their first start, and `gateway` has work of its own. A line
//! of input is a command; one object answers it. Events of the node are printed as they happen. `docs/CLI.md` is the contract.
//!
//! Reading order: [`args`] reads the command line, [`run`] runs the node, [`input`] reads lines, [`commands`] parses a line of input, [`session`] executes
//! a command, [`users`] knows who may enrol a shadow, [`view`] turns the node's answers and events into JSON, [`output`] writes it and [`log`] the log, each through
//! a [`stream`] of its own; [`signals`] and [`terminal`] are what the system does to a program.

#![allow(
    clippy::disallowed_methods,
    reason = "a program of its own: it may look at the clock, make threads and run tasks"
)]

mod args;
mod commands;
mod input;
mod keeping;
mod load;
mod log;
mod output;
mod run;
mod session;
mod signals;
mod stream;
mod terminal;
mod users;
mod view;

pub use args::FirstRole;
#[allow(unused_imports, reason = "only the gateway prints events of its own")]
pub use output::{Event, Printer};
pub use run::main;
