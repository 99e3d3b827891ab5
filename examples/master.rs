//! The first master of a pair. After its first start its data directory decides its role.
//!
//! ```text
//! cargo run --release --example master -- --data /tmp/a
//! ```
//!
//! `docs/CLI.md` describes its commands and its output.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, reason = "they panic where nobody reads")]

mod common;

fn main() -> std::process::ExitCode {
    common::main(common::FirstRole::Master, |_, _| async {})
}
