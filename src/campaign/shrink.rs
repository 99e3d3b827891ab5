//! Finds a shorter history that breaks the same invariant.

use super::violation::{Invariant, Violation};

/// Drops every step without which the same invariant still breaks, the last one first. `run` replays a history of these steps.
pub fn shrink<S: Clone, T>(
    mut steps: Vec<S>,
    broken: Invariant,
    mut run: impl FnMut(Vec<S>) -> Result<T, Violation>,
) -> Vec<S> {
    for at in (0..steps.len()).rev() {
        let mut fewer = steps.clone();
        fewer.remove(at);
        if run(fewer.clone()).is_err_and(|violation| violation.invariant == broken) {
            steps = fewer;
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_the_same_invariant_stays_and_the_rest_goes() {
        let broken = |invariant: Invariant| Err::<(), _>(Violation { invariant, what: String::new() });
        let run = |steps: Vec<u8>| match (steps.contains(&2), steps.contains(&5)) {
            (true, true) => broken(Invariant::OneMaster),
            // Another invariant: not what is looked for.
            (true, false) => broken(Invariant::Bounded),
            (false, _) => Ok(()),
        };
        assert_eq!(shrink((0..8).collect(), Invariant::OneMaster, run), [2, 5]);
        assert_eq!(shrink((0..4).collect(), Invariant::Bounded, run), [2]);
    }
}
