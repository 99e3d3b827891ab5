//! The same histories and the same judge, with the real store under both nodes, on disks that break.

use super::*;

/// Histories of the default run; `SHADOWPAIR_RUNS` asks for another number where it is smaller than that of the model's own
/// run, and `SHADOWPAIR_STORED` for any.
const RUNS: u64 = 200;

/// The plan of a seed. A liar's records and snapshots have no bytes: its histories are those of the model alone.
fn stored(seed: u64) -> Option<Plan> {
    let plan = plan(seed);
    (!plan.hostile).then_some(Plan { stored: true, ..plan })
}

/// `SHADOWPAIR_SEED=7 cargo test --lib sim::tests::stored::replay -- --nocapture`
#[test]
fn replay() {
    let Some(seed) = number("SHADOWPAIR_SEED") else { return };
    let Some(plan) = stored(seed) else { return };
    let summary = quietly(|| run(seed, plan)).unwrap_or_else(|story| panic!("{}", replayed(&story)));
    println!("seed {seed}: {summary:?}");
}

/// `SHADOWPAIR_STORED=5000 cargo test --lib sim::tests::stored::survey -- --ignored --nocapture`
#[test]
#[ignore = "a tool for whoever works on the store or the engine"]
fn survey() {
    let first = number("SHADOWPAIR_FIRST").unwrap_or(0);
    let mut kinds: std::collections::BTreeMap<String, (u64, u64, String)> = std::collections::BTreeMap::new();
    let mut total = Summary::default();
    let begin = std::time::Instant::now();
    quietly(|| {
        for seed in first..first + number("SHADOWPAIR_STORED").unwrap_or(RUNS) {
            let Some(plan) = stored(seed) else { continue };
            match attempt(seed, plan, None, &mut None) {
                Ok(summary) => total += summary,
                Err(violation) => {
                    let text = violation.to_string();
                    let kind: String = text.chars().filter(|c| !c.is_ascii_digit()).take(60).collect();
                    kinds.entry(kind).or_insert((0, seed, text)).0 += 1;
                }
            }
        }
    });
    println!("{:.1} s", begin.elapsed().as_secs_f64());
    for (kind, count) in &total.faults {
        println!("{count:>12}  {kind}");
    }
    for (count, seed, text) in kinds.values() {
        println!("{count:>6} x, first seed {seed}: {text}");
    }
}
