//! The machinery that looks for mistakes: a simulator of random histories of the engine and the store, random histories of
//! the whole shell, and a model checker that tries every path of the engine within bounds. Compiled for tests only.
//!
//! ```text
//! SHADOWPAIR_RUNS=2000 cargo test --lib campaign                                  a short run of everything here
//! SHADOWPAIR_RUNS=1000000 cargo test --release --lib long_campaign -- --ignored --nocapture
//! SHADOWPAIR_DEPTH=3 cargo test --release --lib deeper_bounds -- --ignored --nocapture
//! SHADOWPAIR_SHELL_RUNS=20000 cargo test --release --lib shell::tests::random -- --nocapture
//! SHADOWPAIR_COPY_RUNS=20000 cargo test --release --lib copies::tests::histories -- --nocapture
//! SHADOWPAIR_SEED=7 cargo test --lib replay_seed -- --nocapture                   one history again
//! ```
#![allow(clippy::disallowed_methods, reason = "histories run on threads, and the run is timed")]

mod model_checker;
mod shell;
mod shrink;
mod simulator;
mod violation;
