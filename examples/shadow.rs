//! The shadow of a master. After its first start its data directory decides its role.
//!
//! ```text
//! cargo run --release --example shadow -- --data /tmp/b --master 127.0.0.1:7443 --token TOKEN
//! ```
//!
//! `docs/CLI.md` describes its commands and its output.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, reason = "they panic where nobody reads")]

mod common;

fn main() -> std::process::ExitCode {
    common::main(common::FirstRole::Shadow, |_, _| async {})
}
