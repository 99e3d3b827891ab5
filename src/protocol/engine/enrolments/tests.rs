//! Nodes that enrol as a reviewed table: every state with every event.

use super::*;
use crate::protocol::engine::tests::tables::table;
use crate::protocol::engine::tests::{SHADOW, peer};

#[test]
fn nodes_that_enrol() {
    fn accepted() -> Enrolments {
        let mut enrolments = Enrolments::default();
        enrolments.accept(1, (peer(SHADOW), KeyId([1; 32])), Welcome::User);
        enrolments
    }
    fn full() -> Enrolments {
        let mut enrolments = Enrolments::default();
        (1..=16).for_each(|ask| enrolments.accept(ask, (peer(SHADOW), KeyId([1; 32])), Welcome::User));
        enrolments
    }
    fn replacing() -> Enrolments {
        let mut enrolments = Enrolments::default();
        let token = StoredToken { secret: [7; 16], expires_ms: 9 };
        enrolments.replace(Replacement { ticket: Ticket(1), shadow: SHADOW, token, since: Moment(3) });
        enrolments
    }
    let rows = table(
        &[("nobody", Enrolments::default), ("one", accepted), ("the bound", full), ("a shadow is replaced", replacing)],
        &[
            ("another is accepted, the first confirms", |enrolments| {
                enrolments.accept(99, (peer(SHADOW), KeyId([1; 32])), Welcome::User);
                format!("{}", enrolments.confirm(1).is_some())
            }),
            ("the first confirms", |enrolments| format!("{}", enrolments.confirm(1).is_some())),
            ("a stranger confirms", |enrolments| format!("{}", enrolments.confirm(77).is_some())),
            ("the shadow was replaced", |enrolments| format!("{}", enrolments.take_replacement().is_some())),
        ],
        |enrolments| format!("empty {}, replacing {}", enrolments.is_empty(), enrolments.replacement().is_some()),
    );
    insta::assert_snapshot!("enrolments", rows);
}
