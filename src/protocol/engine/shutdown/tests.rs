//! A clean shutdown as a reviewed table: every state with every event.

use super::*;
use crate::protocol::engine::tests::tables::{done_with, table};

#[test]
fn a_clean_shutdown() {
    fn stopping() -> Shutdown {
        Shutdown::Stopping { ticket: Ticket(1), until: Moment(9) }
    }
    fn show(shutdown: &Shutdown) -> String {
        format!("under way {}, until {:?}", shutdown.is_under_way(), shutdown.deadline().map(|until| until.0))
    }
    let rows = table(
        &[("running", Shutdown::default), ("stopping", stopping), ("stopped", || Shutdown::Stopped)],
        &[
            ("it begins", |shutdown| done_with(shutdown, |shutdown| shutdown.begin(Ticket(2), Moment(20)))),
            ("it is over", |shutdown| format!("answers {:?}", shutdown.finish())),
        ],
        show,
    );
    insta::assert_snapshot!("shutdown", rows);
}
