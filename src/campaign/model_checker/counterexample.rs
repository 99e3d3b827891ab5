//! Describes a path for a person.

use super::bounds::Bounds;
use super::choice::Choice;
use super::state::PairState;

/// How many of the last lines of the trace are shown.
const LINES: usize = 120;

/// The choices of a path with their moments, what broke, and what the engines did before.
pub fn describe(bounds: &Bounds, choices: &[Choice]) -> String {
    let mut pair = PairState::begin_traced(bounds, Some(Vec::new()));
    let mut lines = vec![format!("{bounds:?}")];
    let mut passed = 0;
    for choice in choices {
        if *choice == Choice::Continue {
            passed += 1;
        } else {
            lines.push(format!("{:>10.6} s  {choice:?} (after {passed} times Continue)", pair.now() as f64 / 1e6));
        }
        pair = pair.after(bounds, *choice);
    }
    lines.push(match pair.violation() {
        Some(violation) => format!("{:>10.6} s  broken: {violation}", pair.now() as f64 / 1e6),
        None => "nothing is broken".into(),
    });
    lines.push("what happened:".into());
    let trace = pair.trace();
    lines.extend_from_slice(&trace[trace.len().saturating_sub(LINES)..]);
    lines.join("\n")
}
