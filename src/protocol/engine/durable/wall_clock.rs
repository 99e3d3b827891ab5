//! Times by the wall clock that outlive the process: of alerts, tokens and takeovers. The wall clock may show anything, and may be
//! set at any time, so each of them is bounded whatever the clock showed when it was noted.
//!
//! | | while the node runs | at its start |
//! |---|---|---|
//! | the clock is set | every noted time moves with it, so ages and remaining times stay as they are | - |
//! | a noted time lies ahead | - | it counts as now; a token ends after its longest life |
//! | a noted time lies behind | - | it is believed: a token or a hold-down may end early, and an age may be too long |

use super::super::{Alert, Moment, Now};
use super::state::DurableState;
use crate::model::limits::{CLOCK_STEP, TOKEN_LIFE_MAX};
use crate::protocol::failover::micros;

/// The wall clock, as it was at the last event.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WallClock {
    last: Option<(Moment, u64)>,
}

/// By how much the wall clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct ClockStep {
    /// Milliseconds; negative where it was set back.
    ms: i64,
}

impl WallClock {
    /// Looks at the clock. Returns by how much it was set since the last look, where that is more than its rate explains.
    pub(super) fn look(&mut self, now: Now) -> Option<ClockStep> {
        let (at, wall_ms) = self.last.replace((now.at, now.wall_ms))?;
        let passed_ms = now.at.0.saturating_sub(at.0) / 1_000;
        let expected_ms = wall_ms.saturating_add(passed_ms);
        let tolerated_ms = micros(CLOCK_STEP) / 1_000 + passed_ms / 64;
        let apart_ms = i64::try_from(now.wall_ms.abs_diff(expected_ms)).unwrap_or(i64::MAX);
        let ms = if now.wall_ms < expected_ms { -apart_ms } else { apart_ms };
        (apart_ms.unsigned_abs() > tolerated_ms).then_some(ClockStep { ms })
    }
}

impl ClockStep {
    /// Moves a time with the clock.
    pub(in super::super) fn shift(self, ms: &mut u64) {
        *ms = ms.saturating_add_signed(self.ms);
    }

    pub(in super::super) fn shift_alert(self, alert: &mut Alert) {
        self.shift(&mut alert.first_ms);
        self.shift(&mut alert.last_ms);
    }

    /// Moves what the durable state holds, but for the alerts.
    pub(super) fn shift_state(self, state: &mut DurableState) {
        state.moves.takeovers_ms.iter_mut().for_each(|at_ms| self.shift(at_ms));
        state.tokens.iter_mut().for_each(|token| self.shift(&mut token.expires_ms));
    }
}

/// Bounds the times in the state of a node that starts. Returns whether any of them was out of bounds.
pub(in super::super) fn bound_times(state: &mut DurableState, wall_ms: u64) -> bool {
    let token_ms = wall_ms.saturating_add(micros(TOKEN_LIFE_MAX) / 1_000);
    let tokens = state.tokens.iter_mut().map(|token| (&mut token.expires_ms, token_ms));
    let takeovers = state.moves.takeovers_ms.iter_mut().map(|at_ms| (at_ms, wall_ms));
    let alerts = state.alerts.iter_mut().flat_map(|alert| [&mut alert.first_ms, &mut alert.last_ms]);
    let mut changed = false;
    for (at_ms, most_ms) in tokens.chain(takeovers).chain(alerts.map(|at_ms| (at_ms, wall_ms))) {
        changed |= *at_ms > most_ms;
        *at_ms = (*at_ms).min(most_ms);
    }
    changed
}
