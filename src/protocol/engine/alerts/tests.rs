//! The states that only a person ends as a reviewed table: every state with every event.

use super::*;
use crate::protocol::engine::tests::tables::{done_with, table};

#[test]
fn the_states_that_only_a_person_ends() {
    fn absent() -> OperatorStates {
        OperatorStates::new(Moment(0))
    }
    fn held() -> OperatorStates {
        let mut states = absent();
        let _ = states.note(OperatorState::Held, true, Moment(3));
        states
    }
    fn show(states: &OperatorStates) -> String {
        let since =
            |state: &OperatorState| states.since(*state).map(|since| format!("{} since {}", state.as_str(), since.0));
        let since: Vec<String> = OperatorState::ALL.iter().filter_map(since).collect();
        if since.is_empty() { "none".to_owned() } else { since.join(", ") }
    }
    let rows = table(
        &[("absent", absent), ("held", held)],
        &[
            ("it holds", |states| format!("{:?}", states.note(OperatorState::Held, true, Moment(7)))),
            ("it holds no more", |states| format!("{:?}", states.note(OperatorState::Held, false, Moment(7)))),
            ("another one holds", |states| format!("{:?}", states.note(OperatorState::Detached, true, Moment(7)))),
            ("this node was stopped", |states| done_with(states, |states| states.restart_clocks(Moment(9)))),
        ],
        show,
    );
    insta::assert_snapshot!("operator_states", rows);
}
