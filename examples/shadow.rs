//! The shadow of a master; after its first start whatever its data directory says it is.
//!
//! ```text
//! cargo run --release --example shadow -- --data /tmp/b --master 127.0.0.1:7443 --token TOKEN
//! ```
//!
//! What it says and hears stands in `docs/CLI.md`.
#![forbid(unsafe_code)]

mod common;

fn main() -> std::process::ExitCode {
    common::main(common::FirstRole::Shadow, |_, _| async {})
}
