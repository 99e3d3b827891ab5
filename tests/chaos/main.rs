//! Real processes, witnessed and synchronous, struck at random while a caller counts what was acknowledged to it.
//!
//! ```text
//! cargo build --examples                                                        the programs; `cargo test` does it too
//! cargo test --test chaos                                                     a handful of strikes
//! SHADOWPAIR_CHAOS_SECONDS=600 cargo test --test chaos -- --nocapture        ten minutes of them
//! SHADOWPAIR_SEED=N SHADOWPAIR_CHAOS_SECONDS=60 cargo test --test chaos -- --nocapture
//! ```
//!
//! Every run prints its seed and the command that draws the same strikes in the same order; the processes' own timing is not
//! repeated. Strikes: kill -9 of the master, SIGSTOP for 3 s, the link cut, cut one way, the witness gone, both nodes killed.
//! The nodes reach each other only through wires that this test holds, and the witness over a link that it can turn away.
//!
//! What must hold: never two that serve, whatever strikes; in the end both nodes in sync with the same digest, and every
//! acknowledged change present on both with its value. The table of downtimes at the end is for reading: nothing is asserted
//! about speed.
//!
//! # Why the check for two masters is sound
//!
//! An answer says that its node served (`status` with `serving`, or an acknowledged `put`) at *some* moment between two that
//! are known. The programs take one command at a time, and write each answer before they read the next command. So the
//! moment when an answer was produced is
//!
//! - not before its command was written, nor before the answer to the command before it was stamped (its `at`);
//! - not after its own `at`, nor after it was read here.
//!
//! All four are readings of this machine's one wall clock (it must not be set during a run: a clock that goes back ends it).
//! That windows of two nodes overlap proves nothing, and that a process that was stopped answers late neither: what
//! it decided before it was stopped may be stamped afterwards. Its *next* answer, though, was produced after it woke up.
//!
//! So the judge uses the order of epochs. Every mastership has an epoch, no two share one, and a promotion's is above all before
//! it. If node B served as epoch *f*, and that moment was **not after** t, and node A served as a lower epoch *e*, at a moment
//! **not before** t, then A served after B's reign had begun: two masters, or one that was deposed and acknowledged. No order of
//! events that is right looks like that, so there are no false alarms; and if two masters ever serve at once, the lower of them
//! is caught by its first answer that was asked for after the higher one was heard of, be it an acknowledgement or a status.
//! Both nodes are asked for both all the time, every few milliseconds, whatever role they have.
//!
//! The same epoch on two nodes, and a position acknowledged twice, are violations by themselves.
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

mod campaign;
mod one_master_tests;

use std::time::Duration;

use campaign::Campaign;

/// A run of `cargo test`; `.ci/run` and people ask for more.
const SECONDS: u64 = 10;

#[test]
fn whatever_fails_one_serves_and_nothing_acknowledged_is_lost() {
    let _turn = harness::turn();
    let asked = std::env::var("SHADOWPAIR_CHAOS_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let seconds = asked.unwrap_or(SECONDS);
    let mut campaign = Campaign::begin();
    println!(
        "replay: SHADOWPAIR_SEED={} SHADOWPAIR_CHAOS_SECONDS={seconds} cargo test --test chaos -- --nocapture",
        campaign.seed()
    );
    campaign.strike_for(Duration::from_secs(seconds));
    let report = campaign.end();
    println!("{report}");
}

/// The caller counts: whatever was acknowledged before one of twenty deaths is there after them all.
#[test]
fn twenty_takeovers_under_load_lose_nothing_acknowledged() {
    let _turn = harness::turn();
    let mut campaign = Campaign::begin();
    for _ in 0..20 {
        campaign.take_over();
    }
    println!("{}", campaign.end());
}
