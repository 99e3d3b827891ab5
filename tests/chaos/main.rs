//! Chaos tests: real processes, witnessed and synchronous, with random faults, while a client counts what was acknowledged.
//!
//! ```text
//! cargo build --examples                                                        the programs; `cargo test` does it too
//! cargo test --test chaos                                                     a handful of faults
//! SHADOWPAIR_CHAOS_SECONDS=600 cargo test --test chaos -- --nocapture        ten minutes of them
//! SHADOWPAIR_SEED=N SHADOWPAIR_CHAOS_SECONDS=60 cargo test --test chaos -- --nocapture
//! ```
//!
//! Every run prints its seed, and the command that draws the same faults in the same order. The timing of the processes is not
//! repeated. Faults: kill -9 of the master, SIGSTOP for 3 s, the link cut, cut one way, the witness gone, both nodes killed. The
//! nodes reach each other only through proxies of this test, and the witness over a symbolic link that it can redirect.
//!
//! What must hold: two nodes never serve at once, whatever fails. In the end both nodes are in sync with the same digest, and
//! both have every acknowledged change with its value. The table of downtimes at the end is for reading: no speed is asserted.
//!
//! # Why the check for two masters is sound
//!
//! An answer says that its node served (`status` with `serving`, or an acknowledged `put`) at *some* moment within known bounds.
//! The programs take one command at a time, and write each answer before they read the next command. So an answer was produced
//!
//! - not before its command was written, nor before the answer to the command before it was stamped (its `at`);
//! - not after its own `at`, nor after it was read here.
//!
//! All four are readings of one wall clock, that of this machine. (It must not be set during a run: a clock that goes back ends
//! the run.) Overlapping windows of two nodes prove nothing. Nor does a late answer of a process that was stopped: it may have
//! decided before it was stopped, and stamped the answer afterwards. Its *next* answer was produced after it woke up.
//!
//! So the check uses the order of epochs. Every mastership has its own epoch, and a promotion has a higher one than all before
//! it. Let node B serve under epoch *f* at a moment **not after** t, and node A under a lower epoch *e* at a moment **not before**
//! t. Then A served after B's mastership had begun: two masters, or a deposed one that acknowledged. No correct order of events
//! looks like that, so there are no false alarms. And if two masters ever serve at once, the lower one is caught by its first
//! answer to a question asked after the higher one was heard of, an acknowledgement or a status. Both nodes are asked for both
//! every few milliseconds, whatever their role.
//!
//! The same epoch on two nodes, and a position that is acknowledged twice, are violations too.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests of programs from outside: they have threads and a clock, and fail by panicking"
)]

mod campaign;
#[path = "../harness/mod.rs"]
mod harness;
mod one_master_tests;

use std::time::Duration;

use campaign::Campaign;

/// A run of `cargo test`; `.ci/run` and people ask for more.
const SECONDS: u64 = 10;

#[test]
fn whatever_fails_one_serves_and_nothing_acknowledged_is_lost() {
    let _exclusive = harness::turn();
    let asked = std::env::var("SHADOWPAIR_CHAOS_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let seconds = asked.unwrap_or(SECONDS);
    let mut campaign = Campaign::begin();
    println!(
        "replay: SHADOWPAIR_SEED={} SHADOWPAIR_CHAOS_SECONDS={seconds} cargo test --test chaos -- --nocapture",
        campaign.seed()
    );
    campaign.run_faults_for(Duration::from_secs(seconds));
    let report = campaign.end();
    println!("{report}");
}

/// Everything acknowledged before any of twenty kills is there after all of them.
#[test]
fn twenty_takeovers_under_load_lose_nothing_acknowledged() {
    let _exclusive = harness::turn();
    let mut campaign = Campaign::begin();
    for _ in 0..20 {
        campaign.take_over();
    }
    println!("{}", campaign.end());
}
