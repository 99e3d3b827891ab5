//! A history that breaks an invariant, told with as few steps as break it.

use std::fmt::Debug;

use crate::campaign::shrink::shrink;
use crate::campaign::violation::{Checked, Invariant, Violation, catch_panic};
use crate::testing::Pair;

/// Lines of a trace that are shown.
const LINES: usize = 400;

/// What happened, where somebody wants to read it.
pub type Trace = Option<Vec<String>>;

/// Runs the history of this seed and plan; a broken invariant becomes a story with fewer steps. `with`: the plan with these steps;
/// `replay`: the test that runs the seed again.
pub fn run<P: Debug, S: Clone, T>(
    seed: u64,
    steps: Vec<S>,
    with: impl Fn(Vec<S>) -> P,
    replay: &str,
    attempt: impl Fn(u64, &P, &mut Trace) -> Result<T, Violation>,
) -> Result<T, String> {
    let violation = match attempt(seed, &with(steps.clone()), &mut None) {
        Ok(summary) => return Ok(summary),
        Err(violation) => violation,
    };
    let plan = with(shrink(steps, violation.invariant, |steps| attempt(seed, &with(steps), &mut None)));
    let mut trace = Some(Vec::new());
    let violation = attempt(seed, &plan, &mut trace).err().unwrap_or(violation);
    let trace = trace.unwrap_or_default();
    let shown = trace[trace.len().saturating_sub(LINES)..].join("\n");
    Err(format!(
        "seed {seed}: {violation}\nreplay: SHADOWPAIR_SEED={seed} cargo test --lib {replay} -- --nocapture\n{plan:?}\n{shown}\n"
    ))
}

/// A history that can be played.
pub trait Played {
    fn play(&mut self) -> Checked;

    fn pair(&self) -> &Pair;
}

/// Plays a history; `trace` takes what happened. Returns the history.
pub fn play<H: Played>(begin: impl FnOnce(bool) -> Result<H, Violation>, trace: &mut Trace) -> Result<H, Violation> {
    let told = trace.is_some();
    // The trace must outlive a panic.
    let mut history = None;
    let result = catch_panic(|| history.insert(begin(told)?).play());
    if let (Some(lines), Some(history)) = (trace, &history) {
        *lines = history.pair().scheduler().told();
    }
    result.and_then(|checked| checked)?;
    history.ok_or_else(|| Violation { invariant: Invariant::Contract, what: "the history has not begun".to_owned() })
}
