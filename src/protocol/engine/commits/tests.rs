//! The shadow's part in acknowledgements as a reviewed table: every state with every event.

use super::*;
use crate::protocol::engine::tests::tables::{done_with, table};

#[test]
fn the_shadows_part_in_acknowledgements() {
    fn synchronous() -> Commits {
        Commits::new(Replication::Synchronous)
    }
    fn joined() -> Commits {
        let mut commits = synchronous();
        commits.shadow_synced(true);
        commits
    }
    fn given_up() -> Commits {
        let mut commits = joined();
        commits.give_up_shadow();
        commits
    }
    fn blocked() -> Commits {
        let mut commits = given_up();
        commits.set_blocked(true);
        commits
    }
    fn switching() -> Commits {
        let mut commits = given_up();
        commits.want_asynchronous(Ticket(9), Moment(0));
        commits
    }
    fn show(commits: &Commits) -> String {
        let (mode, blocked) = (commits.mode(), commits.is_blocked());
        format!("{mode:?}, waits {}, joined {}, blocked {blocked}", commits.waits(), commits.joined())
    }
    let rows = table(
        &[
            ("asynchronous", || Commits::new(Replication::Asynchronous)),
            ("awaited", synchronous),
            ("joined", joined),
            ("given up", given_up),
            ("blocked", blocked),
            ("switching to asynchronous", switching),
        ],
        &[
            ("a caller commits", |commits| format!("{:?}", commits.enqueue(Ticket(1), 10))),
            ("the shadow holds all", |commits| done_with(commits, |commits| commits.shadow_synced(true))),
            ("the shadow holds what it was sent", |commits| done_with(commits, |commits| commits.shadow_synced(false))),
            ("the shadow is silent", |commits| done_with(commits, Commits::give_up_shadow)),
            ("an era begins", |commits| done_with(commits, Commits::begin_era)),
            ("an operator wants synchronous", |commits| done_with(commits, Commits::become_synchronous)),
            ("nobody in sync is recorded", |commits| format!("{:?}", commits.become_asynchronous())),
            ("the witness does not answer", |commits| format!("{:?}", commits.stay_synchronous())),
        ],
        show,
    );
    insta::assert_snapshot!("commits", rows);
}
