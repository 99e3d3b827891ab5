//! Nodes that enrol as a reviewed table: every state with every event.

use super::*;
use crate::protocol::engine::tests::tables::table;
use crate::protocol::engine::tests::{SHADOW, peer};

#[test]
fn nodes_that_enrol() {
    fn accepted() -> Enrolments {
        let mut enrolments = Enrolments::default();
        enrolments.accept(1, peer(SHADOW), None);
        enrolments
    }
    fn full() -> Enrolments {
        let mut enrolments = Enrolments::default();
        (1..=16).for_each(|ask| enrolments.accept(ask, peer(SHADOW), None));
        enrolments
    }
    let rows = table(
        &[("nobody", Enrolments::default), ("one", accepted), ("the bound", full)],
        &[
            ("another is accepted, the first confirms", |enrolments| {
                enrolments.accept(99, peer(SHADOW), None);
                format!("{}", enrolments.confirm(1).is_some())
            }),
            ("the first confirms", |enrolments| format!("{}", enrolments.confirm(1).is_some())),
            ("a stranger confirms", |enrolments| format!("{}", enrolments.confirm(77).is_some())),
        ],
        |enrolments| format!("empty {}", enrolments.is_empty()),
    );
    insta::assert_snapshot!("enrolments", rows);
}
