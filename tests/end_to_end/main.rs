//! End-to-end tests on the real programs, with real disks and real sockets.
//!
//! Each test is complete: it starts its programs, gives the commands that an operator would, breaks something, and asserts order
//! and outcome, never speed.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests of programs from outside: they have threads and a clock, and fail by panicking"
)]

#[path = "../harness/mod.rs"]
mod harness;

mod audit;
mod backup;
mod boot;
mod content;
mod copies;
mod differential;
mod directory;
mod disk;
mod enrolment;
mod error_words;
mod face;
mod first_start;
mod forgotten;
mod former_master;
mod gateway;
mod hostile;
mod hung_disk;
mod manual;
mod network_bad_days;
mod outage;
mod partition;
mod permissions;
mod refusals;
mod replacement;
mod resumption;
mod rotation;
mod signals;
mod streams;
mod switching;
mod takeover;
mod upgrade;
mod witness;
