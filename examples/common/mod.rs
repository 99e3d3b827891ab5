//! What `master` and `shadow` are: one program with another first start; `gateway` is the same with work of its own. A
//! line of input is a command and is answered by one object; what happens to the node is printed as it happens.
//! `docs/CLI.md` is the contract.
//!
//! Reading order: [`args`] makes a node, [`run`] joins its input, its events and its end, [`commands`] reads a line,
//! [`session`] does what it says, [`output`] writes.

#![allow(
    clippy::disallowed_methods,
    reason = "a program of its own: it may look at the clock, make threads and run tasks"
)]

mod args;
mod commands;
mod load;
mod output;
mod run;
mod session;
mod view;

pub use args::FirstRole;
#[allow(unused_imports, reason = "for the one program that has something of its own to say")]
pub use output::{Event, Printer};
pub use run::main;
