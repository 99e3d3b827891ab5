//! Alerts under noise: what a stranger or a network can cause is bounded in writes, in events and in number.

use super::*;
use crate::model::limits::{ALERT_WRITES_MAX, ALERTS_MAX, UNPERMITTED_SOURCES_MAX};
use crate::protocol::alerts::{NewAlert, Severity};
use crate::protocol::wire::CopySeen;

const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

fn stranger(from: impl std::fmt::Display) -> Event {
    Event::Unpermitted { from: from.to_string(), reason: "no certificate".to_owned(), shown: None, times: 1 }
}

/// What happened in a while: writes of the durable state, and events about alerts.
#[derive(Debug, Default, PartialEq)]
struct Cost {
    writes: u64,
    raised: u64,
    updated: u64,
    cleared: u64,
}

impl Cost {
    /// Counts these actions, and answers what they write at once.
    fn of(&mut self, engine: &mut Engine, at_us: u64, mut actions: Vec<Action>) {
        loop {
            let count = |fits: fn(&Action) -> bool| actions.iter().filter(|action| fits(action)).count() as u64;
            self.writes += count(|action| matches!(action, Action::Persist(_)));
            let told = |wanted: AlertChange| {
                let fits = |action: &&Action| match action {
                    Action::Notify(Notice::Alert { change, alert }) => {
                        *change == wanted && alert.kind != AlertKind::NeedsOperator
                    }
                    _ => false,
                };
                actions.iter().filter(fits).count() as u64
            };
            self.raised += told(AlertChange::Raised);
            self.updated += told(AlertChange::Updated);
            self.cleared += told(AlertChange::Cleared);
            match batch_in_flight(engine) {
                0 => return,
                batch => actions = done(engine, at_us, batch, ()),
            }
        }
    }
}

fn strangers(engine: &Engine) -> Vec<Alert> {
    let alerts = engine.status(Moment(0), u64::MAX).alerts;
    alerts.into_iter().filter(|alert| alert.kind == AlertKind::UnpermittedPeer).collect()
}

/// Lets the engine's own timers come until then, as a driver would.
fn idle(engine: &mut Engine, cost: &mut Cost, to_us: u64) {
    while let Some(at) = engine.last_told.timer_at().filter(|at| at.0 <= to_us) {
        let actions = engine.handle(now(at.0), Event::Timer);
        cost.of(engine, at.0, actions);
    }
}

/// A scanner that comes every second for an hour is one alert with the whole count, some writes and some events. Acknowledged, it
/// stays so. An hour after its last connection it goes by itself.
#[test]
fn a_scanner_every_second_costs_little_and_goes_by_itself() {
    let mut engine = lone_master();
    let mut cost = Cost::default();
    for second in 1..=3_600 {
        let at_us = second * SECOND;
        idle(&mut engine, &mut cost, at_us - 1);
        let actions = engine.handle(now(at_us), stranger("10.0.0.9"));
        cost.of(&mut engine, at_us, actions);
        if second == 10 {
            let id = strangers(&engine)[0].id;
            let actions = command(&mut engine, at_us + 1, 1, Command::Acknowledge { alert: id });
            assert!(actions.iter().any(|action| matches!(action, Action::Persist(_))), "seen is written at once");
            settle(&mut engine, at_us + 2);
        }
    }
    let alerts = strangers(&engine);
    let standing: Vec<_> =
        alerts.iter().map(|alert| (alert.subject.as_str(), alert.count, alert.acknowledged)).collect();
    assert_eq!(standing, [("10.0.0.9", 3_600, true)]);
    assert_eq!((cost.raised, cost.cleared), (1, 0));
    // The first, that this master has no shadow, and the counts.
    assert!(cost.writes <= 2 + 12, "once per five minutes: {cost:?}");
    assert!((50..=61).contains(&cost.updated), "once per minute: {cost:?}");
    // The last count is told and written although nothing more comes.
    idle(&mut engine, &mut cost, HOUR + 6 * MINUTE);
    assert!(!engine.durable.is_unsaved());
    assert_eq!(strangers(&engine).len(), 1);
    idle(&mut engine, &mut cost, 2 * HOUR + SECOND);
    assert_eq!((strangers(&engine), cost.cleared), (vec![], 1));
    assert!(!engine.durable.is_unsaved());
}

/// A node that is told of another copy of itself twice a second, each by a run of its own, is told one thing that counts.
#[test]
fn copies_without_end_cost_little() {
    let mut engine = following_shadow();
    settle(&mut engine, 700);
    let mut cost = Cost::default();
    for half in 1..=1_800 {
        let at_us = half * SECOND / 2;
        let (first, later) = ("here:1".to_owned(), format!("there:{half}"));
        let seen = Message::CopySeen(CopySeen { run: RunId(half), first, later });
        let actions = engine.handle(now(at_us), Event::Message { link: LINK, message: seen });
        cost.of(&mut engine, at_us, actions);
    }
    let found = engine.status(Moment(0), u64::MAX).alerts;
    let found: Vec<_> = found.iter().filter(|alert| alert.kind == AlertKind::DuplicateNode).collect();
    assert_eq!(found.iter().map(|alert| alert.count).collect::<Vec<_>>(), [1_800]);
    assert!((cost.raised, cost.cleared) == (1, 0) && cost.updated <= 15 && cost.writes <= 1 + 3, "{cost:?}");
}

/// However many addresses strangers come from, the alerts about them leave room for all others.
#[test]
fn strangers_from_many_addresses_are_few_alerts() {
    let mut engine = lone_master();
    engine.raise(now(SECOND), NewAlert::new(AlertKind::DiskTrouble, "this node's disk", "it hangs"));
    settle(&mut engine, SECOND);
    let mut cost = Cost::default();
    for number in 0..10 * ALERTS_MAX as u64 {
        let at_us = (2 + number) * SECOND;
        let actions = engine.handle(now(at_us), stranger(format_args!("10.0.{}.{}", number / 256, number % 256)));
        cost.of(&mut engine, at_us, actions);
    }
    let alerts = strangers(&engine);
    assert_eq!(alerts.len(), UNPERMITTED_SOURCES_MAX + 1);
    let others = alerts.iter().find(|alert| alert.subject == "other addresses").map(|alert| alert.count);
    assert_eq!(others, Some((10 * ALERTS_MAX - UNPERMITTED_SOURCES_MAX) as u64));
    assert!(engine.alerts.stands(AlertKind::DiskTrouble), "it was not pushed out");
    assert!(cost.writes <= 9 + 3, "{cost:?}");
}

/// A link that comes and goes every second, with everything that follows from it, is written a bounded number of times.
#[test]
fn what_flaps_is_written_a_bounded_number_of_times() {
    for kind in [AlertKind::ShadowLost, AlertKind::ClockSkew, AlertKind::WitnessUnreachable, AlertKind::SlowLink] {
        let mut engine = lone_master();
        let mut cost = Cost::default();
        for second in 1..=900 {
            let at_us = second * SECOND;
            engine.raise(now(at_us), NewAlert::new(kind, "peer", "it is so"));
            let actions = engine.handle(now(at_us + 1), Event::Timer);
            cost.of(&mut engine, at_us + 1, actions);
            engine.clear(now(at_us + 2), |alert| alert.kind == kind);
            let actions = engine.handle(now(at_us + 3), Event::Timer);
            cost.of(&mut engine, at_us + 3, actions);
        }
        // Three times five minutes.
        let most = 3 * (u64::from(ALERT_WRITES_MAX) + 1) + 1;
        assert!(cost.writes <= most, "{kind:?}: {cost:?}");
        // What no network drives is written at once, however often the others flapped.
        engine.raise(now(901 * SECOND), NewAlert::new(AlertKind::TwoMasters, "peer", "met"));
        let actions = engine.handle(now(901 * SECOND), Event::Timer);
        assert!(matches!(actions[..], [Action::Notify(_), Action::Persist(_), ..]), "{actions:#?}");
    }
}

/// A log that cannot be written is a warning, told once, and keeps a node from nothing.
#[test]
fn an_audit_log_that_cannot_be_written_is_a_warning_that_ends() {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let mut look = |reason: Option<&str>| {
        let reason = reason.map(str::to_owned);
        let actions = engine.handle(now(SECOND), Event::AuditTrouble { reason });
        if batch_in_flight(&engine) != 0 {
            settle(&mut engine, SECOND);
        }
        assert!(!engine.alerts.disk_fails(), "it holds up no switch");
        let stands = engine.status(Moment(SECOND), 0).alerts.into_iter().map(|alert| (alert.severity, alert.subject));
        let told = actions.iter().any(|action| matches!(action, Action::Notify(Notice::Alert { .. })));
        (told, stands.filter(|(_, subject)| subject == "audit log").collect::<Vec<_>>())
    };
    let warning = || vec![(Severity::Warning, "audit log".to_owned())];
    assert_eq!(look(None), (false, vec![]));
    assert_eq!(look(Some("no space left")), (true, warning()));
    assert_eq!(look(Some("no space left")), (false, warning()));
    assert_eq!(look(None), (true, vec![]));
    assert!(engine.authority().serving);
}

/// Too little room is a warning before the disk is full, and ends with some more than is needed. It costs two writes, and is no trouble
/// that keeps a node from anything.
#[test]
fn too_little_room_is_a_warning_before_it_hurts() {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let mut look = |free| {
        let actions = engine.handle(now(SECOND), Event::Room(Room { needed: 8_000, free }));
        let stands =
            engine.status(Moment(SECOND), 0).alerts.into_iter().find(|alert| alert.kind == AlertKind::DiskTrouble);
        let told = actions.iter().any(|action| matches!(action, Action::Notify(Notice::Alert { .. })));
        if batch_in_flight(&engine) != 0 {
            settle(&mut engine, SECOND);
        }
        (told, stands.map(|alert| (alert.severity, alert.subject)))
    };
    let warning = || Some((Severity::Warning, "room on this node's disk".to_owned()));
    assert_eq!(look(8_000), (false, None));
    assert_eq!(look(7_999), (true, warning()));
    assert_eq!(look(100), (false, warning()));
    assert_eq!(look(8_500), (false, warning()));
    assert_eq!(look(9_000), (true, None));
    assert!(engine.authority().serving);
}
