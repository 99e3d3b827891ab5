//! The model checker: a pair of the shipping engines, tried exhaustively within bounds under stateright.
//!
//! It uses the world and the invariants of the simulator, but draws nothing: delays are fixed, and the random bits of an engine
//! follow from the time. Only one thing is open: *which* fault comes *when*. Every choice within the bounds is tried. [`bounds`]
//! are the bounds, [`choice`] is what may happen next, [`state`] is the pair with its successors, and [`counterexample`]
//! describes a path for a person.
//!
//! Choices come at two granularities. At heartbeats paths are cheap and have many faults. At every event of either node, the
//! network and the witness, they have few. Either way a path has each kind of fault at most once, and faults at one moment come in
//! one order.

mod bounds;
mod choice;
mod counterexample;
mod state;

use stateright::{Model, Property};

use super::violation::Invariant;
use bounds::Bounds;
use choice::Choice;
use state::PairState;

/// A check of all paths within these bounds.
pub(crate) struct Check {
    pub(crate) bounds: Bounds,
    /// Look only for a violation of this invariant.
    pub(crate) wanted: Option<Invariant>,
}

impl Model for Check {
    type State = PairState;
    type Action = Choice;

    fn init_states(&self) -> Vec<PairState> {
        vec![PairState::begin(&self.bounds)]
    }

    fn actions(&self, pair: &PairState, choices: &mut Vec<Choice>) {
        pair.choices(&self.bounds, choices);
    }

    fn next_state(&self, pair: &PairState, choice: Choice) -> Option<PairState> {
        Some(pair.after(&self.bounds, choice))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        if self.wanted.is_some() {
            return vec![Property::sometimes("caught", |check: &Self, pair: &PairState| {
                check.wanted.is_some_and(|wanted| pair.breaks(wanted))
            })];
        }
        vec![
            Property::always("1: one master", |_, pair: &PairState| !pair.breaks(Invariant::OneMaster)),
            Property::always("2: nothing acknowledged is lost", |_, pair: &PairState| {
                !pair.breaks(Invariant::NothingLost)
            }),
            Property::always("every other invariant", |_, pair: &PairState| {
                pair.breaks(Invariant::OneMaster) || pair.breaks(Invariant::NothingLost) || pair.holds()
            }),
            Property::sometimes(TAKEN_OVER, |_, pair: &PairState| pair.was_taken_over()),
            Property::sometimes(RETURNED, |_, pair: &PairState| pair.returned()),
            Property::sometimes(FENCED, |_, pair: &PairState| pair.fenced()),
            Property::sometimes(ALONE, |_, pair: &PairState| pair.acknowledged_alone()),
            Property::sometimes(SWITCHED, |_, pair: &PairState| pair.was_switched()),
            Property::sometimes(PAUSED, |_, pair: &PairState| pair.pause_holds()),
        ]
    }
}

/// States that must be met: a check without them proves nothing.
const TAKEN_OVER: &str = "the shadow takes over";
const RETURNED: &str = "the old master is back as shadow, in sync";
const FENCED: &str = "a master is fenced, having lost its authority";
const ALONE: &str = "a master acknowledges alone, the record naming nobody";
const SWITCHED: &str = "the roles are switched as an operator said";
const PAUSED: &str = "nothing but a pause keeps the shadow from taking over";

mod tests;
