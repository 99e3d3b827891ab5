//! What was entered already, and the states that only a person ends, as reviewed tables: every state with every event.

use super::*;
use crate::protocol::engine::tests::tables::{done_with, table};
use crate::protocol::engine::tests::{at, now};

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

#[test]
fn what_was_entered_already() {
    fn quiet() -> Alerts {
        Alerts::restore(Moment(0), Vec::new(), 1, at(Epoch::FIRST, 5))
    }
    fn lost() -> Alerts {
        let mut alerts = quiet();
        let _ = alerts.raise(now(0), NewAlert::new(AlertKind::ShadowLost, Subject::Peer, "lost"));
        alerts.set_peer_lost();
        alerts
    }
    fn told() -> Alerts {
        let mut alerts = lost();
        let id = alerts.log().alerts()[0].id;
        assert!(alerts.tell_again(Moment(0), id));
        alerts
    }
    fn show(alerts: &Alerts) -> String {
        let uncounted = alerts.uncounted(at(Epoch::FIRST, 9)).map_or(0, |(times, _)| times);
        let (standing, due) = (alerts.log().alerts().len(), alerts.untold_deadline().map(|due| due.0));
        format!("lost {}, {uncounted} of 4 to count, {standing} standing, told again {due:?}", alerts.is_peer_lost())
    }
    let rows = table(
        &[("quiet", quiet), ("lost", lost), ("lost, and told", told)],
        &[
            ("change sets are counted", |alerts| done_with(alerts, |alerts| alerts.count_up_to(7))),
            ("the link is down for long", |alerts| done_with(alerts, Alerts::set_peer_lost)),
            ("in sync again", |alerts| format!("{} ended", alerts.in_sync().len())),
            ("the peer answers", |alerts| done_with(alerts, Alerts::peer_answers)),
            ("a peer is enrolled", |alerts| done_with(alerts, |alerts| alerts.start_counting(at(Epoch::FIRST, 9)))),
            ("it occurs again at once", |alerts| format!("told {}", alerts.tell_again(Moment(1), 1))),
            ("it occurs again much later", |alerts| format!("told {}", alerts.tell_again(Moment(u64::MAX), 1))),
            ("a rival is met twice", |alerts| {
                let once = alerts.is_known_rival(RunId(3), Epoch::FIRST);
                format!("known {once}, then {}", alerts.is_known_rival(RunId(3), Epoch::FIRST))
            }),
        ],
        show,
    );
    insta::assert_snapshot!("alerts", rows);
}
