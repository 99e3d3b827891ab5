//! What depends on time: ages, and what the wall clock is used for.

use super::*;

/// `in_sync` stays what it was while the master is away, and its age grows.
#[test]
fn in_sync_says_how_old_it_is() {
    let mut engine = following_shadow();
    let age = |engine: &Engine, at_us: u64| {
        let status = engine.status(Moment(at_us), 0);
        (status.in_sync, status.in_sync_as_of_us)
    };
    settle(&mut engine, 350);
    let heard = 2 * SECOND;
    let beat = Heartbeat {
        nonce: 1,
        role: Role::Master,
        serving: true,
        epoch: Epoch::FIRST,
        position: position(Epoch::FIRST, 5),
        asks: false,
        wall_ms: now(heard).wall_ms,
    };
    let _ = tell(&mut engine, heard, Message::Heartbeat(beat));
    assert_eq!(age(&engine, heard), (true, Some(0)));
    let _ = engine.handle(now(heard + 1), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    assert_eq!(age(&engine, heard + 3 * SECOND), (true, Some(3 * SECOND)));
    // A node that was told nothing since its start, and one without a peer, have no age to show.
    let peerless = lone_master();
    assert_eq!(age(&peerless, SECOND), (false, None));
    let shadow = DurableState { complete: true, ..DurableState::first_shadow(SHADOW, PAIR, peer(MASTER)) };
    let (started, _) = begin(shadow, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
    assert_eq!(age(&started, SECOND), (false, None));
}

const YEAR_MS: i64 = 365 * 24 * 3_600_000;

/// The time, by a wall clock that is wrong by so much.
fn wrong(at_us: u64, by_ms: i64) -> Now {
    let right = now(at_us);
    Now { wall_ms: right.wall_ms.saturating_add_signed(by_ms), ..right }
}

fn is_held_down(engine: &Engine, now: Now) -> bool {
    engine.status(now.at, now.wall_ms).why_not.contains(&TakeoverBlocker::HoldDown)
}

/// A shadow that knows of these takeovers, at its start and once its first batch is written.
fn shadow_after_takeovers(started: Now, takeovers_ms: Vec<u64>) -> (Engine, Vec<Action>) {
    let state = DurableState {
        complete: true,
        moves: Moves { takeovers_ms, ..Moves::default() },
        ..DurableState::first_shadow(SHADOW, PAIR, peer(MASTER))
    };
    let start = Start {
        durable_state: state,
        head: position(Epoch::FIRST, 5),
        log_floor: Revision::NONE,
        history: history(&[(Epoch::FIRST, 1)]),
        shown: at(Epoch::FIRST, 5),
        options: Options::default(),
        run: RunId(7),
        address: "here:1".to_owned(),
        keys: own_keys(),
        witnessed: false,
        damage: None,
    };
    Engine::start(started, start)
}

/// Three takeovers under a clock that is a year ahead or behind. When it is set right, the hold-down lasts as long as it would have.
#[test]
fn a_hold_down_lasts_its_length_although_the_clock_is_set() {
    for by_ms in [YEAR_MS, -YEAR_MS] {
        let (mut engine, _) = shadow_after_takeovers(wrong(0, by_ms), vec![wrong(0, by_ms).wall_ms; 3]);
        let _ = engine.handle(wrong(100 * SECOND, by_ms), Event::Timer);
        assert!(is_held_down(&engine, wrong(100 * SECOND, by_ms)));
        let _ = engine.handle(now(101 * SECOND), Event::Timer);
        assert!(is_held_down(&engine, now(599 * SECOND)), "it is not over at once");
        assert!(!is_held_down(&engine, now(600 * SECOND)), "nor does it last a year");
    }
}

/// The clock was set while the node was down: what lies ahead counts as now, once, and not anew at every start.
#[test]
fn a_hold_down_from_the_future_counts_from_the_start_and_only_once() {
    let (engine, actions) = shadow_after_takeovers(now(0), vec![wrong(0, YEAR_MS).wall_ms; 3]);
    assert!(is_held_down(&engine, now(599 * SECOND)) && !is_held_down(&engine, now(600 * SECOND)));
    let written = match batch(&actions) {
        (_, Work::StoreState(order)) => order.job.state.moves.takeovers_ms.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(written, [now(0).wall_ms; 3]);
}

fn with_token(started: Now, expires_ms: u64) -> Engine {
    let tokens = vec![StoredToken { secret: [7; 16], expires_ms }];
    let state = DurableState { enabled: true, tokens, ..DurableState::first_master(MASTER, PAIR) };
    let start = Start {
        durable_state: state,
        head: Position::NONE,
        log_floor: Revision::NONE,
        history: History::default(),
        shown: Revision::NONE,
        options: Options::default(),
        run: RunId(7),
        address: "here:1".to_owned(),
        keys: own_keys(),
        witnessed: false,
        damage: None,
    };
    let (mut engine, actions) = Engine::start(started, start);
    let head = Position { revision: at(Epoch::FIRST, 0), digest: Digest::ZERO };
    let (era, _) = batch(&actions);
    let receipt = EraReceipt { head, log_floor: Revision::NONE };
    let _ = done(&mut engine, started.at.0, era, receipt);
    settle(&mut engine, started.at.0);
    engine
}

/// The batch of durable state in flight is written.
fn written(engine: &Engine) -> Event {
    match engine.work.in_flight().cloned() {
        Some(Work::StoreState(order)) => Event::Persisted(complete(order, ())),
        other => panic!("{other:?}"),
    }
}

/// A token lives as long as was said, however the clock is set meanwhile; and is forgotten when its time is over.
#[test]
fn a_token_lives_its_time_although_the_clock_is_set() {
    for by_ms in [YEAR_MS, -YEAR_MS] {
        let life_ms = 900_000;
        let mut engine = with_token(now(0), now(0).wall_ms + life_ms);
        let _ = engine.handle(wrong(10 * SECOND, by_ms), Event::Timer);
        let _ = engine.handle(wrong(899 * SECOND, by_ms), Event::Timer);
        // The step is written.
        let written = written(&engine);
        let _ = engine.handle(wrong(899 * SECOND, by_ms), written);
        assert_eq!(engine.durable_state().tokens.len(), 1, "set by {by_ms} ms");
        let due = engine.last_told.timer_at();
        assert!(due.is_some_and(|at| at <= Moment(900 * SECOND)), "nobody else wakes it: {due:?}");
        let actions = engine.handle(wrong(900 * SECOND, by_ms), Event::Timer);
        assert_eq!(engine.durable_state().tokens, [], "set by {by_ms} ms");
        assert!(matches!(batch(&actions).1, Work::StoreState(_)), "{actions:#?}");
    }
}

/// A token that was made under a clock a year ahead, by a process that is no more, ends within the longest life of one.
#[test]
fn a_token_from_the_future_ends_within_a_day() {
    let mut engine = with_token(now(0), wrong(0, YEAR_MS).wall_ms);
    let day = 24 * 3_600 * SECOND;
    let _ = engine.handle(now(day - SECOND), Event::Timer);
    assert_eq!(engine.durable_state().tokens.len(), 1);
    let _ = engine.handle(now(day), Event::Timer);
    assert_eq!(engine.durable_state().tokens, []);
}

/// The times of alerts move with the clock, so that no age is negative and none is a year too long.
#[test]
fn the_times_of_alerts_move_with_the_clock() {
    for by_ms in [YEAR_MS, -YEAR_MS] {
        let mut engine = lone_master();
        let stranger = || Event::Unpermitted { from: "there".into(), reason: "no".into(), shown: None, times: 1 };
        let _ = engine.handle(now(SECOND), stranger());
        settle(&mut engine, SECOND);
        let _ = engine.handle(now(61 * SECOND), stranger());
        let _ = engine.handle(wrong(100 * SECOND, by_ms), Event::Timer);
        let shown = engine.status(Moment(101 * SECOND), wrong(101 * SECOND, by_ms).wall_ms).alerts;
        let expected = (wrong(SECOND, by_ms).wall_ms, wrong(61 * SECOND, by_ms).wall_ms);
        assert_eq!((shown[0].first_ms, shown[0].last_ms), expected);
        // It goes an hour after the last one, and not in a year.
        let _ = engine.handle(wrong(3_660 * SECOND, by_ms), Event::Timer);
        assert_eq!(engine.status(Moment(0), u64::MAX).alerts.len(), 1);
        let _ = engine.handle(wrong(3_661 * SECOND, by_ms), Event::Timer);
        assert_eq!(engine.status(Moment(0), u64::MAX).alerts, []);
    }
}

/// Alerts of the future are of now when a node starts, and none is ever shown as of the future.
#[test]
fn alerts_from_the_future_are_of_now() {
    let mut engine = lone_master();
    let stranger = Event::Unpermitted { from: "there".into(), reason: "no".into(), shown: None, times: 1 };
    let _ = engine.handle(wrong(SECOND, YEAR_MS), stranger);
    let future = engine.status(Moment(SECOND), u64::MAX).alerts;
    let early = engine.status(Moment(SECOND), now(SECOND).wall_ms).alerts;
    assert_eq!((early[0].first_ms, early[0].last_ms), (now(SECOND).wall_ms, now(SECOND).wall_ms), "{future:?}");
    let state = DurableState { alerts: future, ..DurableState::first_master(MASTER, PAIR) };
    let (engine, _) = begin(state, Position::NONE, History::default());
    let shown = engine.status(Moment(0), u64::MAX).alerts;
    assert_eq!((shown[0].first_ms, shown[0].last_ms), (now(0).wall_ms, now(0).wall_ms));
}

/// A clock far ahead says that the certificate is over. When the clock is right, that is not so any more.
#[test]
fn what_a_wrong_clock_said_of_a_certificate_ends() {
    let mut engine = lone_master();
    let ends_in = |days: u64| Event::CertificateEnds { subject: "this node's certificate".into(), days };
    let _ = engine.handle(now(SECOND), ends_in(3_650));
    assert!(!engine.alerts.stands(AlertKind::CertificateExpiring));
    let _ = engine.handle(now(SECOND), ends_in(0));
    assert!(engine.alerts.stands(AlertKind::CertificateExpiring));
    let _ = engine.handle(now(2 * SECOND), ends_in(3_650));
    assert!(!engine.alerts.stands(AlertKind::CertificateExpiring));
}
