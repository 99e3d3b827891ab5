//! The model checker: the pair with the engines that ship, tried exhaustively within bounds under stateright.
//!
//! Its world is the simulator's, with its judge, but nothing is left to chance: latencies are fixed and an engine's random bits are
//! those of the moment. What is left open is *which* fault comes *when*, and every choice within the bounds is tried. `bounds` says
//! what these are, `state` is a state and what a choice makes of it, `counterexample` tells a path to a person.
//!
//! Time comes in two grains. By heartbeats: between two beats go on, or make a fault; so paths hold many faults. By events: a fault
//! at every single event of either node, the network and the witness; so paths hold few. In both each kind of fault comes once in
//! a path at the most, and faults at one moment come in one order.

mod bounds;
mod counterexample;
mod state;

use stateright::{Model, Property};

use super::simulator::violation::Invariant;
use bounds::Bounds;
use state::{Choice, Pair};

/// What is checked: all paths within these bounds.
pub(crate) struct Check {
    pub(crate) bounds: Bounds,
    /// Look for a violation of this invariant, and for nothing else.
    pub(crate) wanted: Option<Invariant>,
}

impl Model for Check {
    type State = Pair;
    type Action = Choice;

    fn init_states(&self) -> Vec<Pair> {
        vec![Pair::begin(&self.bounds)]
    }

    fn actions(&self, pair: &Pair, choices: &mut Vec<Choice>) {
        pair.choices(&self.bounds, choices);
    }

    fn next_state(&self, pair: &Pair, choice: Choice) -> Option<Pair> {
        Some(pair.after(&self.bounds, choice))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        if self.wanted.is_some() {
            return vec![Property::sometimes("caught", |check: &Self, pair: &Pair| {
                check.wanted.is_some_and(|wanted| pair.breaks(wanted))
            })];
        }
        vec![
            Property::always("1: one master", |_, pair: &Pair| !pair.breaks(Invariant::OneMaster)),
            Property::always("2: nothing acknowledged is lost", |_, pair: &Pair| !pair.breaks(Invariant::NothingLost)),
            Property::always("every other invariant", |_, pair: &Pair| {
                pair.breaks(Invariant::OneMaster) || pair.breaks(Invariant::NothingLost) || pair.holds()
            }),
            Property::sometimes(TAKEN_OVER, |_, pair: &Pair| pair.was_taken_over()),
            Property::sometimes(RETURNED, |_, pair: &Pair| pair.returned()),
            Property::sometimes(FENCED, |_, pair: &Pair| pair.fenced()),
            Property::sometimes(ALONE, |_, pair: &Pair| pair.acknowledged_alone()),
        ]
    }
}

/// A space without these proves nothing.
const TAKEN_OVER: &str = "the shadow takes over";
const RETURNED: &str = "the old master is back as shadow, in sync";
const FENCED: &str = "a master is fenced, both its covers being out";
const ALONE: &str = "a master acknowledges alone, the record naming nobody";

mod tests;
