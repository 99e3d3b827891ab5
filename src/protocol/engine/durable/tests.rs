//! The durable state with its updates, and the wall clock, as reviewed tables: every state with every event.

use super::wall_clock::WallClock;
use super::*;
use crate::protocol::engine::Ticket;
use crate::protocol::engine::tests::tables::{done_with, table};
use crate::protocol::engine::tests::{MASTER, PAIR, now};

#[test]
fn the_durable_state_and_its_updates() {
    fn saved() -> Durable {
        Durable::new(DurableState::first_master(MASTER, PAIR))
    }
    fn counted() -> Durable {
        let mut durable = saved();
        durable.counted(Moment(0));
        durable
    }
    fn waiting() -> Durable {
        let mut durable = saved();
        assert!(durable.update(Requester::Operator(Ticket(1)), Update::Enabled(true)));
        durable
    }
    fn written() -> Durable {
        let mut durable = waiting();
        let _ = durable.begin_write(&AlertLog::default());
        durable
    }
    fn in_doubt() -> Durable {
        let mut durable = written();
        assert!(durable.updates_failed(Some("io")).is_empty());
        durable.write_failed(Moment(5));
        durable
    }
    fn show(durable: &Durable) -> String {
        let expected = durable.expected(&AlertLog::default()).0.enabled;
        let due = durable.is_due(Moment(4), false);
        format!("enabled {}, will be {expected}, unsaved {}, due {due}", durable.enabled, durable.is_unsaved())
    }
    let rows = table(
        &[("saved", saved), ("counted", counted), ("waiting", waiting), ("written", written), ("in doubt", in_doubt)],
        &[
            ("it changes", |durable| done_with(durable, Durable::changed)),
            ("it counts", |durable| done_with(durable, |durable| durable.counted(Moment(3)))),
            ("an alert counts", |durable| done_with(durable, |durable| durable.alert_counted(Moment(3)))),
            ("an update is asked for", |durable| {
                format!("{}", durable.update(Requester::Enrolling(2), Update::Enabled(false)))
            }),
            ("it is being written", |durable| format!("enabled {}", durable.begin_write(&AlertLog::default()).enabled)),
            ("it is written", |durable| format!("{} adopted", durable.written(&mut AlertLog::default()).len())),
            ("the disk is full", |durable| format!("{} refused", durable.updates_failed(None).len())),
            ("the disk fails", |durable| format!("{} refused", durable.updates_failed(Some("io")).len())),
            ("the doubt ends", |durable| {
                let (requesters, reason) = durable.end_doubt();
                format!("{} answered because of {reason:?}", requesters.len())
            }),
            ("the store is gone", |durable| format!("{} refused", durable.drop_waiting_updates().len())),
        ],
        show,
    );
    insta::assert_snapshot!("durable", rows);
}

/// The wall clock is looked at a second after the first look.
#[test]
fn the_wall_clock() {
    fn seen() -> WallClock {
        let mut clock = WallClock::default();
        let _ = clock.look(now(0));
        clock
    }
    fn look(clock: &mut WallClock, off_ms: i64) -> String {
        let later = now(1_000_000);
        format!("{:?}", clock.look(Now { wall_ms: later.wall_ms.saturating_add_signed(off_ms), ..later }))
    }
    let rows = table(
        &[("not seen yet", WallClock::default), ("seen", seen)],
        &[
            ("it goes on", |clock| look(clock, 0)),
            ("it goes a little fast", |clock| look(clock, 14)),
            ("it was set ahead", |clock| look(clock, 3_600_000)),
            ("it was set back", |clock| look(clock, -3_600_000)),
        ],
        |clock| format!("{clock:?}"),
    );
    insta::assert_snapshot!("wall_clock", rows);
}
