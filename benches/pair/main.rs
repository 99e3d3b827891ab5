//! What a pair costs, beside what the disk and the wire under it cost, in one run.
//!
//! ```text
//! cargo bench --bench pair                           everything, three rounds, medians
//! cargo bench --bench pair -- one-caller full-push   these parts only; `--list` names them all
//! cargo bench --bench pair -- --quick                one short round, to see that it works
//! cargo bench --bench pair -- --peers                Redis and PostgreSQL beside it, where they are installed
//! cargo bench --bench pair -- growth --entries 10000000
//! ```
//!
//! Every node is a process of its own: this program again, as the host of one node (`host`). Callers run inside that process, as they do in
//! a host application. `parts` lists what is measured and `table` what is printed; a measurement only adds figures to
//! `Figures`, by name, and the table takes their medians over the rounds.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that measures: it has a clock, and fails by panicking"
)]

mod bench;
#[path = "../../tests/chaos/campaign/mod.rs"]
mod campaign;
mod commits;
mod faults;
mod figures;
mod floor;
mod growth;
#[path = "../../tests/harness/mod.rs"]
mod harness;
mod host;
mod idle;
mod machine;
mod million;
mod parts;
mod peers;
mod picture;
mod process;
mod rows;
mod slow_link;
mod switching;
mod table;
mod takeover;
mod tls;
mod workload;

use std::path::Path;

use bench::{Bench, Settings};
use clap::Parser;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["host", launch] => host::run(launch),
        ["append", dir] => floor::append_on_command(Path::new(dir)),
        ["idle", dir, pairs] => idle::run(Path::new(dir), pairs.parse().expect("a number of pairs")),
        ["burn"] => slow_link::burn(),
        _ => measure(Settings::parse()),
    }
}

fn measure(settings: Settings) {
    if settings.list {
        parts::ALL.iter().for_each(|part| println!("{:<14} {}", part.name, part.what));
        return;
    }
    let mut bench = Bench::new(settings);
    let machine = machine::line(bench.dir());
    println!("{machine}\n");
    parts::measure(&mut bench, |bench| write(bench, &machine));
    println!("\n{}", table::report(&machine, &bench));
    println!("written to {}", bench.out().display());
}

/// Writes what was measured so far.
fn write(bench: &Bench, machine: &str) {
    let out = bench.out();
    std::fs::create_dir_all(&out).unwrap();
    std::fs::write(out.join("pair.md"), table::report(machine, bench)).unwrap();
    std::fs::write(out.join("pair.json"), bench.figures.to_json()).unwrap();
    if let Some(picture) = picture::draw(machine, &bench.figures) {
        std::fs::write(out.join("pair.svg"), picture).unwrap();
    }
}
