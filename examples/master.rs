//! The first master of a pair; after its first start whatever its data directory says it is.
//!
//! ```text
//! cargo run --release --example master -- --data /tmp/a
//! ```
//!
//! What it says and hears stands in `docs/CLI.md`.
#![forbid(unsafe_code)]

mod common;

fn main() -> std::process::ExitCode {
    common::main(common::FirstRole::Master, |_, _| async {})
}
