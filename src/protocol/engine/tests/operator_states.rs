//! States that only a person ends: each is an alert that says since when, before it hurts, and ends when they do.

use super::*;
use crate::protocol::alerts::Severity;
use crate::protocol::wire::{Bye, Refusal, RefusalKind};

const MINUTE: u64 = 60 * SECOND;

/// The states that are said: word, severity, seconds since they began.
fn said(engine: &Engine, at_us: u64) -> Vec<(String, Severity, u64)> {
    let wall_ms = now(at_us).wall_ms;
    let alerts = engine.status(Moment(at_us), wall_ms).alerts.into_iter();
    let states = alerts.filter(|alert| alert.kind == AlertKind::NeedsOperator);
    states.map(|alert| (alert.subject, alert.severity, (wall_ms - alert.first_ms) / 1_000)).collect()
}

fn state(word: &str, severity: Severity, seconds: u64) -> (String, Severity, u64) {
    (word.to_owned(), severity, seconds)
}

/// Lets the engine's own timers come until then. Durable state is written at once; dials fail. Returns how often it was written.
fn pass(engine: &mut Engine, to_us: u64) -> u64 {
    let mut writes = 0;
    while let Some(at) = engine.last_told.timer_at().filter(|at| at.0 <= to_us) {
        let mut actions = engine.handle(now(at.0), Event::Timer);
        if actions.iter().any(|action| matches!(action, Action::Dial { .. })) {
            actions.extend(engine.handle(now(at.0), refused()));
        }
        if batch_in_flight(engine) != 0 {
            settle(engine, at.0);
            writes += 1;
        }
    }
    writes
}

/// Nobody is there.
fn refused() -> Event {
    Event::DialFailed { how: DialFailureKind::Unreachable, reason: "refused".to_owned() }
}

/// A hold is an error at once, on either node. It costs one write, however long it lasts, and ends with the hold.
#[test]
fn a_hold_is_an_error_at_once_and_says_how_long_it_has_lasted() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let actions = command(&mut engine, SECOND, 1, Command::Disconnect);
    let raised = actions.iter().any(|action| match action {
        Action::Notify(Notice::Alert { change: AlertChange::Raised, alert }) => alert.message.contains("reconnect"),
        _ => false,
    });
    assert!(raised && batch(&actions).1.batch() == BatchId(batch_in_flight(&engine)), "{actions:#?}");
    settle(&mut engine, SECOND);
    let _ = pass(&mut engine, MINUTE);
    assert_eq!(pass(&mut engine, 600 * MINUTE), 0, "nothing is written while it lasts");
    assert!(said(&engine, 600 * MINUTE).contains(&state("held", Severity::Error, 599 * 60 + 59)));
    assert!(engine.status(Moment(SECOND), 0).why_not.contains(&TakeoverBlocker::Held));
    let _ = command(&mut engine, 600 * MINUTE, 2, Command::Reconnect);
    assert!(!said(&engine, 600 * MINUTE).iter().any(|(word, ..)| word == "held"));
}

/// A hold does not outlast a restart of its node, and its operator is told.
#[test]
fn a_hold_that_ended_with_a_restart_is_told() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let actions = command(&mut engine, SECOND, 1, Command::Disconnect);
    let (_, Work::StoreState(order)) = batch(&actions) else { panic!("{actions:#?}") };
    let (mut engine, actions) = begin(*order.job.state, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
    let told = actions.iter().any(|action| match action {
        Action::Notify(Notice::Alert { change: AlertChange::Raised, alert }) => {
            alert.kind == AlertKind::Recovered && alert.message.contains("say disconnect again")
        }
        _ => false,
    });
    assert!(told && said(&engine, SECOND).is_empty(), "{actions:#?}");
    assert!(actions.iter().any(|action| matches!(action, Action::Dial { .. })), "{actions:#?}");
    // The next start has nothing to tell.
    let state = engine.durable_state().clone();
    settle(&mut engine, SECOND);
    let (_, actions) = begin(state, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
    assert!(!actions.iter().any(|action| matches!(action, Action::Notify(Notice::Alert { .. }))), "{actions:#?}");
}

/// The peer of the node that is held says so too. A master that restarts meanwhile does not serve: that is an error of its own.
#[test]
fn a_master_that_restarts_beside_a_held_shadow_says_that_it_does_not_serve() {
    let state_of_master = DurableState { peer: Some(peer(SHADOW)), ..DurableState::first_master(MASTER, PAIR) };
    let (mut engine, _) = begin(state_of_master, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
    let _ = engine.handle(now(100), Event::LinkUp { link: LINK, dialled: true });
    let _ = tell(&mut engine, 200, Message::Bye(Bye::Held));
    assert_eq!(said(&engine, 200), [state("held_by_peer", Severity::Error, 0)]);
    settle(&mut engine, 200);
    let _ = pass(&mut engine, 12 * SECOND);
    assert_eq!(said(&engine, 12 * SECOND), [state("held_by_peer", Severity::Error, 12)]);
    let _ = pass(&mut engine, 14 * SECOND);
    let both = [state("held_by_peer", Severity::Error, 14), state("not_serving", Severity::Error, 1)];
    assert_eq!(said(&engine, 14 * SECOND), both);
    let status = engine.status(Moment(14 * SECOND), 0);
    assert_eq!((status.serving, status.why_not), (false, vec![TakeoverBlocker::Master, TakeoverBlocker::Held]));
    // What stands outlives another restart, with its beginning, until the node has met its peer or waited for it.
    let alerts = engine.status(Moment(14 * SECOND), u64::MAX).alerts;
    let state_of_master = DurableState { alerts, ..engine.durable_state().clone() };
    let (mut engine, _) = begin(state_of_master, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
    assert_eq!(said(&engine, SECOND).len(), 2);
    let _ = engine.handle(now(SECOND), Event::LinkUp { link: LINK, dialled: true });
    let hello = hello_of(Role::Shadow, SHADOW, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
    let _ = tell(&mut engine, SECOND, Message::Hello(Box::new(hello)));
    assert!(!said(&engine, SECOND).iter().any(|(word, ..)| word == "held_by_peer"));
}

/// An earlier version said `read_only` of a freeze and `frozen` of change sets in doubt. A start ends both, whether the pair is frozen
/// or not, and says the freeze in the words of this version.
#[test]
fn alerts_with_former_words_end_at_the_start() {
    use crate::protocol::alerts::{AlertLog, NewAlert};
    use crate::protocol::wire::{Mode, Modes};
    let starts = |frozen: bool| {
        let mut log = AlertLog::default();
        for (subject, message) in [("frozen", "change sets are in doubt"), ("read_only", "the pair is frozen")] {
            let _ = log.raise(NewAlert::new(AlertKind::NeedsOperator, subject, message), 1);
        }
        let modes = Modes { frozen: Mode { changes: 1, on: frozen }, ..Modes::default() };
        let mut state = DurableState { alerts: log.alerts().to_vec(), ..DurableState::first_master(MASTER, PAIR) };
        state.moves.modes = modes;
        begin(state, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]))
    };
    let (engine, actions) = starts(false);
    let is_end =
        |action: &&Action| matches!(action, Action::Notify(Notice::Alert { change: AlertChange::Cleared, .. }));
    assert_eq!((actions.iter().filter(is_end).count(), said(&engine, 0)), (2, vec![]), "{actions:#?}");
    let (engine, _) = starts(true);
    assert_eq!(said(&engine, 0), [state("frozen", Severity::Warning, 0)]);
    // The alert of this version outlives a restart as it stands.
    let alerts = engine.status(Moment(0), now(0).wall_ms).alerts;
    assert!(alerts[0].message.contains("unfreeze"));
    let (engine, _) = begin(
        DurableState { alerts: alerts.clone(), ..engine.durable_state().clone() },
        position(Epoch::FIRST, 5),
        history(&[(Epoch::FIRST, 1)]),
    );
    assert_eq!(engine.status(Moment(0), now(0).wall_ms).alerts, alerts);
}

/// With manual failover nobody takes over, and a master that restarts alone does not serve: an operator is called for both.
#[test]
fn manual_failover_calls_its_operator() {
    let manual = Options { failover: Failover::Manual, ..Options::default() };
    let start = |durable_state: DurableState| Start {
        durable_state,
        head: position(Epoch::FIRST, 5),
        log_floor: Revision::NONE,
        history: history(&[(Epoch::FIRST, 1)]),
        shown: at(Epoch::FIRST, 5),
        options: manual.clone(),
        run: RunId(7),
        address: "here:1".to_owned(),
        keys: own_keys(),
        witnessed: false,
        damage: None,
    };
    let shadow = DurableState { complete: true, ..DurableState::first_shadow(SHADOW, PAIR, peer(MASTER)) };
    let (mut engine, _) = Engine::start(now(0), start(shadow));
    let _ = engine.handle(now(0), refused());
    let _ = pass(&mut engine, 4 * SECOND);
    assert_eq!(said(&engine, 4 * SECOND), []);
    let _ = pass(&mut engine, 6 * SECOND);
    assert_eq!(said(&engine, 6 * SECOND), [state("no_takeover", Severity::Error, 1)]);

    let master = DurableState { peer: Some(peer(SHADOW)), ..DurableState::first_master(MASTER, PAIR) };
    let (mut engine, _) = Engine::start(now(0), start(master));
    let _ = engine.handle(now(0), refused());
    let _ = pass(&mut engine, 14 * SECOND);
    assert_eq!(said(&engine, 14 * SECOND), [state("not_serving", Severity::Error, 1)]);
    let why_not = engine.status(Moment(14 * SECOND), 0).why_not;
    assert_eq!(why_not, [TakeoverBlocker::Master, TakeoverBlocker::Manual]);
}

/// Two shadows refuse each other: nobody serves, and both say so.
#[test]
fn nodes_that_refuse_each_other_call_an_operator() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let _ = engine.handle(now(SECOND), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    let refusal = Refusal { kind: RefusalKind::NoMaster, reason: "both are shadows".to_owned() };
    let _ = engine.handle(now(SECOND), Event::LinkUp { link: LinkId(2), dialled: false });
    let message = Message::Refuse(refusal);
    let _ = engine.handle(now(SECOND), Event::Message { link: LinkId(2), message });
    settle(&mut engine, SECOND);
    assert_eq!(said(&engine, SECOND), []);
    // The peer answers every dial with a refusal, so it is alive.
    let _ = engine.handle(now(6 * SECOND), Event::Timer);
    assert_eq!(said(&engine, 6 * SECOND), []);
    settle(&mut engine, 6 * SECOND);
    let _ = pass(&mut engine, 12 * SECOND);
    assert!(
        said(&engine, 12 * SECOND).iter().any(|(word, severity, _)| word == "refused" && *severity == Severity::Error)
    );
}

/// A master without a shadow is given time. Then it is a warning; where a shadow is wanted, an error after an hour.
#[test]
fn a_master_without_a_shadow_says_so_in_time() {
    let mut engine = lone_master();
    assert_eq!(pass(&mut engine, 10 * MINUTE - 1), 0);
    assert_eq!(said(&engine, 10 * MINUTE - 1), []);
    assert_eq!(pass(&mut engine, 10 * MINUTE), 1);
    assert_eq!(said(&engine, 10 * MINUTE), [state("not_enabled", Severity::Warning, 0)]);
    assert_eq!(pass(&mut engine, 600 * MINUTE), 0);
    assert_eq!(said(&engine, 600 * MINUTE), [state("not_enabled", Severity::Warning, 590 * 60)]);

    let enabled = 600 * MINUTE;
    let _ = command(&mut engine, enabled, 1, Command::Enable);
    settle(&mut engine, enabled);
    let token = StoredToken { secret: [7; 16], expires_ms: now(enabled + 60 * MINUTE).wall_ms };
    let _ = command(&mut engine, enabled, 2, Command::Token(token));
    settle(&mut engine, enabled);
    let _ = pass(&mut engine, enabled + 11 * MINUTE);
    let warned = [state("no_shadow", Severity::Warning, 60), state("token", Severity::Warning, 60)];
    assert_eq!(said(&engine, enabled + 11 * MINUTE), warned);
    let id = engine.status(Moment(0), u64::MAX).alerts.iter().find(|alert| alert.subject == "no_shadow").unwrap().id;
    let _ = command(&mut engine, enabled + 11 * MINUTE, 3, Command::Acknowledge { alert: id });
    settle(&mut engine, enabled + 11 * MINUTE);
    let _ = pass(&mut engine, enabled + 71 * MINUTE);
    // The token's time is over. What has become worse is not acknowledged any more.
    assert_eq!(said(&engine, enabled + 71 * MINUTE), [state("no_shadow", Severity::Error, 61 * 60)]);
    let alert = &engine.status(Moment(0), u64::MAX).alerts[0];
    assert_eq!((alert.count, alert.acknowledged), (1, false));
}

/// The hold-down is a warning while the master is there, and an error while nobody serves.
#[test]
fn a_hold_down_is_said_and_ends() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let taken = after_takeovers(engine.durable_state(), vec![now(0).wall_ms; 3]);
    engine.durable = durable::Durable::new(taken);
    let _ = engine.handle(now(SECOND), Event::Timer);
    settle(&mut engine, SECOND);
    assert_eq!(said(&engine, SECOND), [state("hold_down", Severity::Warning, 0)]);
    let _ = engine.handle(now(2 * SECOND), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    settle(&mut engine, 2 * SECOND);
    assert_eq!(said(&engine, 2 * SECOND), [state("hold_down", Severity::Error, 1)]);
    let _ = engine.handle(now(600 * SECOND), Event::Timer);
    assert!(!said(&engine, 600 * SECOND).iter().any(|(word, ..)| word == "hold_down"));
}

/// An address that nobody can dial is a warning at once, on the node that advertises it and on its peer. It is no error: the link stands.
#[test]
fn an_address_that_nobody_can_dial_is_a_warning_while_that_lasts() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let own = || Some("0.0.0.0:1 names no machine".to_owned());
    let checked = |own, peer| Event::AddressesChecked(Undialable { own, peer });
    let actions = engine.handle(now(SECOND), checked(own(), own()));
    let told = |word: &str| {
        actions.iter().any(|action| match action {
            Action::Notify(Notice::Alert { change: AlertChange::Raised, alert }) => {
                alert.subject == word && alert.message.contains("0.0.0.0:1 names no machine")
            }
            _ => false,
        })
    };
    assert!(told("undialable") && told("peer_undialable"), "{actions:#?}");
    settle(&mut engine, SECOND);
    let both = ["undialable", "peer_undialable"].map(|word| state(word, Severity::Warning, 59));
    assert_eq!(said(&engine, MINUTE), both);
    let _ = engine.handle(now(2 * SECOND), checked(None, own()));
    assert_eq!(said(&engine, MINUTE), both[1..]);
    let _ = engine.handle(now(3 * SECOND), checked(None, None));
    assert!(said(&engine, MINUTE).is_empty());
    // A lone master says it as soon as a shadow may be enrolled.
    let mut engine = lone_master();
    let _ = engine.handle(now(SECOND), checked(own(), None));
    assert!(!said(&engine, SECOND).iter().any(|(word, ..)| word == "undialable"));
    let _ = command(&mut engine, 2 * SECOND, 1, Command::Enable);
    settle(&mut engine, 2 * SECOND);
    assert!(said(&engine, 2 * SECOND).contains(&state("undialable", Severity::Warning, 0)));
}
