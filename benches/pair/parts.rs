//! What is measured, in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::bench::Bench;
use crate::{commits, faults, floor, growth, idle, million, peers, slow_link, switching, takeover};

/// A part of the run, which can be asked for by name.
pub struct Part {
    pub name: &'static str,
    pub what: &'static str,
    often: Often,
    measure: fn(&mut Bench),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Often {
    /// In each round, so that everything is measured in turns.
    EveryRound,
    /// Long, and hardly different from one round to the next.
    Once,
    /// Only where it is asked for by name.
    IfNamed,
    /// In each round, where `--peers` is given.
    WithPeers,
}

pub const ALL: &[Part] = &[
    part("floor", "the disk, the wire and redb alone", Often::EveryRound, floor::measure),
    part("one-caller", "one caller, synchronous and asynchronous", Often::EveryRound, commits::one_caller),
    part("callers", "64 callers on 1,000 and on 10,000 keys", Often::EveryRound, commits::callers),
    part("change-sets", "change sets of 100", Often::EveryRound, commits::change_sets),
    part("load", "loading in change sets of 1,000", Often::EveryRound, million::load),
    part("random", "64 callers on as many keys as were loaded", Often::EveryRound, million::random),
    part("full-push", "a full push of what was loaded", Often::EveryRound, million::full_push),
    part("restart", "from a start after kill -9 to the first read", Often::EveryRound, million::restart),
    part("differential", "a push where 1,000 entries differ", Often::EveryRound, million::differential),
    part("large-values", "a full push of 100 values of 4 MiB", Often::EveryRound, million::large_values),
    part("redis", "the same with Redis", Often::WithPeers, peers::redis::measure),
    part("postgres", "the same with PostgreSQL", Often::WithPeers, peers::postgres::measure),
    part("takeover", "takeovers after kill -9", Often::Once, takeover::measure),
    part("switching", "switches of roles under load, and clean ends", Often::Once, switching::measure),
    part("slow-link", "a full push over 2 MB/s, both cores busy", Often::Once, slow_link::measure),
    part("idle", "1,000 pairs in one process", Often::Once, idle::measure),
    part("growth", "load, full push and restart by size", Often::IfNamed, growth::measure),
    part("faults", "downtime by kind of fault", Often::IfNamed, faults::measure),
];

const fn part(name: &'static str, what: &'static str, often: Often, measure: fn(&mut Bench)) -> Part {
    Part { name, what, often, measure }
}

/// Measures what was asked for, and shows what there is after each part. A part that fails is told, and the others go on.
pub fn measure(bench: &mut Bench, show: impl Fn(&Bench)) {
    let rounds = bench.rounds();
    for round in 1..=rounds {
        let wanted: Vec<&Part> = ALL.iter().filter(|part| part.is_wanted(bench, round)).collect();
        for part in wanted {
            // What was written or removed before this part costs the disk nothing during it.
            rustix::fs::sync();
            let begun = Instant::now();
            if catch_unwind(AssertUnwindSafe(|| (part.measure)(bench))).is_err() {
                println!("round {round}: {} FAILED", part.name);
                bench.end_pairs();
            }
            println!("round {round} of {rounds}: {} in {:.1} s", part.name, begun.elapsed().as_secs_f64());
            show(bench);
        }
        bench.end_pairs();
    }
}

impl Part {
    fn is_wanted(&self, bench: &Bench, round: usize) -> bool {
        let names = &bench.settings.names;
        let named = names.iter().any(|name| self.name.starts_with(name.as_str()));
        match self.often {
            Often::EveryRound => names.is_empty() || named,
            Often::Once => round == 1 && (names.is_empty() || named),
            Often::IfNamed => round == 1 && named,
            Often::WithPeers => bench.settings.peers && (names.is_empty() || named),
        }
    }
}
