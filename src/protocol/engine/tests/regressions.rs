//! Regressions: each of these situations once left a node stuck, or let it do what it must not.

use super::*;
use crate::protocol::wire::{Refusal, RefusalKind, SnapshotHeader};

/// Runs the timer every 500 ms, settles durable state.
fn run(engine: &mut Engine, from_us: u64, to_us: u64) -> Vec<Action> {
    let mut all = Vec::new();
    let mut time = from_us;
    while time < to_us {
        time += SECOND / 2;
        let actions = engine.handle(now(time), Event::Timer);
        all.extend(actions);
        settle(engine, time);
    }
    all
}

#[test]
fn stalled_and_reset_serves_again() {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let _ = command(&mut engine, 800, 1, Command::Disconnect);
    let _ = run(&mut engine, 0, 2 * SECOND);
    let _ = engine.handle(now(10 * SECOND), Event::Timer);
    let _ = command(&mut engine, 10 * SECOND + 2, 2, Command::Reset);
    settle(&mut engine, 10 * SECOND + 3);
    let _ = run(&mut engine, 10 * SECOND, 120 * SECOND);
    assert!(engine.authority().serving, "stalled for ever: {:?}", engine.status(Moment(120 * SECOND), 0));
}

#[test]
fn stalled_and_refused_by_the_shadow_serves_again() {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let _ = engine.handle(now(60 * SECOND), Event::LinkDown { link: LINK, reason: "x".into() });
    assert!(!engine.authority().serving);
    let mut time = 60 * SECOND;
    for n in 2..40 {
        time += 2 * SECOND;
        let link = LinkId(n);
        let _ = engine.handle(now(time), Event::LinkUp { link, dialled: true });
        let refusal = Refusal { kind: RefusalKind::Schema, reason: "newer".into() };
        let _ = engine.handle(now(time + 1), Event::Message { link, message: Message::Refuse(refusal) });
        settle(&mut engine, time + 2);
    }
    assert!(engine.authority().serving, "stalled for ever");
}

#[test]
fn a_stale_dial_does_not_confirm() {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let actions = engine.handle(now(SECOND), Event::LinkDown { link: LINK, reason: "x".into() });
    let more = engine.handle(now(SECOND + 400_000), Event::Timer);
    assert!(actions.iter().chain(&more).any(|a| matches!(a, Action::Dial { .. })));
    settle(&mut engine, SECOND + 400_001);
    // Stopped with the dial under way; when it goes on, the old dial is found to have timed out.
    let late = 60 * SECOND;
    let _ = engine.handle(now(late), Event::DialFailed { how: DialFailureKind::Unreachable, reason: "late".into() });
    assert!(!engine.authority().serving, "confirmed by a dial that was made before it was stopped");
}

#[test]
fn a_damaged_master_does_not_serve_because_of_a_blank_shadow() {
    let mut durable_state = DurableState::first_master(MASTER, PAIR);
    durable_state.peer = Some(peer(SHADOW));
    let (mut engine, _) = start(durable_state, Position::NONE, History::default(), Some("bits"));
    settle(&mut engine, 50);
    let _ = engine.handle(now(100), Event::LinkUp { link: LINK, dialled: true });
    let hello = hello_of(Role::Shadow, SHADOW, Position::NONE, History::default());
    let actions = tell(&mut engine, 200, Message::Hello(Box::new(hello)));
    let actions = answer(&mut engine, 250, &actions, Position::NONE);
    let era = actions.iter().find(|a| matches!(a, Action::Persist(Work::BeginEra(_))));
    assert!(era.is_none(), "a blank, damaged master opens an era: {era:?}");
}

#[test]
fn the_first_epoch_is_not_used_twice_after_damage() {
    let mut durable_state = DurableState::first_master(MASTER, PAIR);
    durable_state.peer = Some(peer(SHADOW));
    let (mut engine, _) = start(durable_state, Position::NONE, History::default(), Some("bits"));
    settle(&mut engine, 50);
    let actions = command(&mut engine, 100, 1, Command::TakeOverAcceptingLoss);
    let (_, work) = batch(&actions);
    let Work::BeginEra(Order { job: BeginEra { era, .. }, .. }) = work else { panic!("{work:?}") };
    assert!(era.epoch > Epoch::FIRST, "{}", era.epoch);
}

#[test]
fn too_many_links_are_closed() {
    let mut engine = following_shadow();
    let mut closed = std::collections::BTreeSet::new();
    for n in 2..30 {
        for action in engine.handle(now(400 + n), Event::LinkUp { link: LinkId(n), dialled: false }) {
            if let Action::Close { link } = action {
                assert!(closed.insert(link), "{link:?} is closed twice");
            }
        }
    }
    assert!(engine.links.ids().len() <= 5, "{} links", engine.links.ids().len());
}

#[test]
fn an_operators_promotion_outranks_what_was_seen() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let _ = engine.handle(now(400), Event::LinkDown { link: LINK, reason: "x".into() });
    let seen = Epoch::FIRST.promoted(77);
    let lineage = history(&[(Epoch::FIRST, 1), (seen, 6)]);
    let _ = engine.handle(now(500), Event::LinkUp { link: LINK, dialled: true });
    let hello = hello_of(Role::Master, MASTER, position(seen, 9), lineage);
    let _ = tell(&mut engine, 600, Message::Hello(Box::new(hello)));
    settle(&mut engine, 650);
    let actions = command(&mut engine, 700, 1, Command::TakeOverAcceptingLoss);
    let (_, work) = batch(&actions);
    let Work::BeginEra(Order { job: BeginEra { era, .. }, .. }) = work else { panic!("{work:?}") };
    assert!(era.epoch > seen, "{} does not outrank {seen}", era.epoch);
}

/// A dial fails, and the timer follows.
fn dial_in_vain(engine: &mut Engine, at_us: u64) -> Vec<Action> {
    let mut actions = engine.handle(now(at_us), refused_dial());
    settle(engine, at_us);
    actions.extend(engine.handle(now(at_us + 1), Event::Timer));
    settle(engine, at_us + 1);
    actions
}

fn asking() -> (Engine, u64) {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let _ = engine.handle(now(SECOND), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    let mut time = SECOND;
    for _ in 0..20 {
        time += SECOND / 2;
        let actions = dial_in_vain(&mut engine, time);
        if actions.contains(&Action::AskMayTakeOver { question: 1 }) {
            return (engine, time);
        }
    }
    panic!("never asks");
}

#[test]
fn stopped_while_the_host_is_asked_does_not_take_over() {
    let (mut engine, time) = asking();
    let late = time + 600 * SECOND;
    let _ = engine.handle(now(late), Event::HostAnswered { question: 1, allowed: true, reason: String::new() });
    assert_eq!(engine.node_state(), NodeState::Following);
}

#[test]
fn held_while_the_host_is_asked_does_not_take_over() {
    let (mut engine, time) = asking();
    let _ = command(&mut engine, time + 10, 1, Command::Disconnect);
    let _ = engine.handle(now(time + 20), Event::HostAnswered { question: 1, allowed: true, reason: String::new() });
    assert_eq!(engine.node_state(), NodeState::Following);
}

#[test]
fn refused_while_the_host_is_asked_does_not_take_over() {
    let (mut engine, time) = asking();
    let _ = engine.handle(now(time + 5), Event::LinkUp { link: LINK, dialled: true });
    let refusal = Refusal { kind: RefusalKind::Schema, reason: "newer".into() };
    let _ = tell(&mut engine, time + 6, Message::Refuse(refusal));
    let _ = engine.handle(now(time + 20), Event::HostAnswered { question: 1, allowed: true, reason: String::new() });
    assert_eq!(engine.node_state(), NodeState::Following, "the master lives, and takes over from it");
}

#[test]
fn a_host_that_refuses_is_told() {
    let (mut engine, time) = asking();
    let refused = Event::HostAnswered { question: 1, allowed: false, reason: "no uplink".into() };
    let _ = engine.handle(now(time + 20), refused);
    settle(&mut engine, time + 21);
    let _ = run(&mut engine, time + 21, time + 4 * SECOND);
    let status = engine.status(Moment(time + 4 * SECOND), 0);
    assert!(!status.alerts.is_empty() || !status.why_not.is_empty(), "{status:?}");
}

#[test]
fn a_protocol_error_does_not_forbid_a_takeover() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let refusal = Refusal { kind: RefusalKind::ProtocolError, reason: "cannot read its own store".into() };
    let _ = tell(&mut engine, SECOND, Message::Refuse(refusal));
    let mut time = SECOND;
    let mut asked = false;
    for _ in 0..60 {
        time += SECOND / 2;
        let actions = dial_in_vain(&mut engine, time);
        asked |= actions.contains(&Action::AskMayTakeOver { question: 1 });
    }
    assert!(asked, "{:?}", engine.status(Moment(time), 0).why_not);
}

#[test]
fn nothing_is_said_before_the_hello() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let what = Bulk::Records { after: at(Epoch::FIRST, 5), last: at(Epoch::FIRST, 6), durable: at(Epoch::FIRST, 6) };
    let actions = engine.handle(now(400), Event::Bulk { link: LINK, bulk: BulkId(1), what, bytes: 100 });
    let (batch, _) = batch(&actions);
    let _ = engine.handle(now(500), Event::LinkDown { link: LINK, reason: "x".into() });
    let link = LinkId(2);
    let _ = engine.handle(now(600), Event::LinkUp { link, dialled: true });
    let mut hello = hello_of(Role::Master, MASTER, position(Epoch::FIRST, 6), history(&[(Epoch::FIRST, 1)]));
    hello.hello_no = 2;
    let _ = engine.handle(now(700), Event::Message { link, message: Message::Hello(Box::new(hello)) });
    let receipt = RecordsReceipt::Appended { head: position(Epoch::FIRST, 6), log_floor: Revision::NONE, eras: vec![] };
    let actions = done(&mut engine, 800, batch, receipt);
    let sent = sent(&actions);
    assert!(matches!(sent.first(), Some(Message::Hello(_))), "{sent:#?}");
}

#[test]
fn resync_does_not_open_snapshots_without_bound() {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let mut opened = 0;
    for n in 0..100 {
        let actions = tell(&mut engine, 800 + n, Message::Resync);
        opened += actions.iter().filter(|a| matches!(a, Action::OpenSnapshot { .. })).count();
    }
    assert!(opened <= 2, "{opened} snapshots opened at once");
}

#[test]
fn a_blank_shadow_is_not_complete_by_a_word() {
    let durable_state = DurableState::first_shadow(SHADOW, PAIR, peer(MASTER));
    let (mut engine, _) = start(durable_state, Position::NONE, History::default(), None);
    let _ = engine.handle(now(100), Event::LinkUp { link: LINK, dialled: true });
    let hello = hello_of(Role::Master, MASTER, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
    let _ = tell(&mut engine, 200, Message::Hello(Box::new(hello)));
    let _ = tell(&mut engine, 300, Message::Repair(Repair::None));
    assert!(!engine.durable_state().complete, "a blank shadow counts as complete");
}

#[test]
fn a_detached_node_that_is_master_and_enrols_is_not_detached() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let _ = engine.handle(now(400), Event::LinkDown { link: LINK, reason: "x".into() });
    let _ = command(&mut engine, 500, 1, Command::Reset);
    settle(&mut engine, 501);
    let actions = command(&mut engine, 600, 2, Command::TakeOverAcceptingLoss);
    let (promote, work) = batch(&actions);
    let Work::BeginEra(Order { job: BeginEra { state: durable_state, era }, .. }) = work else { panic!("{work:?}") };
    let head = Position { revision: at(era.epoch, 5), ..position(Epoch::FIRST, 5) };
    let _ = done(&mut engine, 700, promote, EraReceipt { head, log_floor: Revision::NONE });
    assert!(!durable_state.detached && !engine.durable_state().detached, "a master that is detached");
}

#[test]
fn a_command_while_the_store_is_broken_is_answered() {
    let mut engine = lone_master();
    let (first, _) = batch(&engine.handle(now(20), Event::Commit { ticket: Ticket(1), bytes: 10 }));
    let failure = || DiskFailure { full: false, reason: "io".to_owned() };
    let mut all = fails(&mut engine, 30, first, failure());
    all.extend(command(&mut engine, 40, 7, Command::Enable));
    let mut time = 50;
    for _ in 0..60 {
        let pending = batch_in_flight(&engine);
        if pending != 0 {
            all.extend(fails(&mut engine, time, pending, failure()));
        }
        time += 2 * SECOND;
        all.extend(engine.handle(now(time), Event::Timer));
    }
    assert!(all.iter().any(|a| matches!(a, Action::AnswerCommand { ticket: Ticket(7), .. })), "never answered");
}

#[test]
fn resync_then_take_over_leaves_a_complete_master() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let _ = engine.handle(now(400), Event::LinkDown { link: LINK, reason: "x".into() });
    let _ = engine.handle(now(500), Event::LinkUp { link: LINK, dialled: true });
    let other = Epoch::FIRST.promoted(3);
    let mut hello = hello_of(Role::Master, MASTER, position(other, 3), history(&[(other, 1)]));
    hello.hello_no = 2;
    let _ = tell(&mut engine, 600, Message::Hello(Box::new(hello)));
    // A batch of durable state (the alert) is in flight.
    assert_ne!(batch_in_flight(&engine), 0);
    let _ = command(&mut engine, 700, 1, Command::Resync);
    let _ = command(&mut engine, 701, 2, Command::TakeOverAcceptingLoss);
    let mut time = 800;
    let mut actions = {
        let p = batch_in_flight(&engine);
        done(&mut engine, time, p, ())
    };
    for _ in 0..8 {
        let Some((no, work)) = actions.iter().find_map(|a| match a {
            Action::Persist(work) => Some((work.batch().0, work.clone())),
            _ => None,
        }) else {
            break;
        };
        time += 10;
        actions = match work {
            Work::BeginEra(order) => {
                let head = Position { revision: at(order.job.era.epoch, 5), ..position(Epoch::FIRST, 5) };
                done(&mut engine, time, no, EraReceipt { head, log_floor: Revision::NONE })
            }
            Work::Quarantine(_) => {
                let (from, to) = (at(Epoch::FIRST, 1), at(Epoch::FIRST, 5));
                done(&mut engine, time, no, QuarantineReceipt { from, to, change_sets: 5 })
            }
            _ => done(&mut engine, time, no, ()),
        };
    }
    assert!(engine.authority().serving);
    assert!(engine.durable_state().complete, "a serving master whose copy counts as incomplete");
}

#[test]
fn a_failed_promotion_leaves_a_session_that_goes_on() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    // Durable state in flight, records wait behind them.
    let _ = command(&mut engine, 400, 1, Command::Enable);
    let what =
        |n| Bulk::Records { after: at(Epoch::FIRST, n - 1), last: at(Epoch::FIRST, n), durable: at(Epoch::FIRST, n) };
    let _ = engine.handle(now(410), Event::Bulk { link: LINK, bulk: BulkId(1), what: what(6), bytes: 100 });
    let _ = command(&mut engine, 420, 2, Command::TakeOverAcceptingLoss);
    let pending = batch_in_flight(&engine);
    let (no, work) = batch(&done(&mut engine, 430, pending, ()));
    assert!(matches!(work, Work::BeginEra(_)), "{work:?}");
    let full = DiskFailure { full: true, reason: "no space".to_owned() };
    let mut all = fails(&mut engine, 440, no, full);
    settle(&mut engine, 450);
    all.extend(engine.handle(now(460), Event::Bulk { link: LINK, bulk: BulkId(2), what: what(7), bytes: 100 }));
    let closed = all.contains(&Action::Close { link: LINK });
    let goes_on = all.iter().any(|a| matches!(a, Action::Persist(Work::AppendRecords(_))));
    assert!(closed || goes_on, "the link stands and its records are never stored: {all:#?}");
}

#[test]
fn a_foreign_masters_alert_ends_with_it() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let _ = engine.handle(now(400), Event::LinkDown { link: LINK, reason: "x".into() });
    let _ = engine.handle(now(500), Event::LinkUp { link: LINK, dialled: true });
    let refusal = Refusal { kind: RefusalKind::ForeignHistory, reason: "foreign".into() };
    let _ = tell(&mut engine, 600, Message::Refuse(refusal));
    settle(&mut engine, 601);
    let _ = engine.handle(now(700), Event::LinkUp { link: LINK, dialled: true });
    let hello = hello_of(Role::Master, MASTER, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
    let _ = tell(&mut engine, 800, Message::Hello(Box::new(hello)));
    let _ = tell(&mut engine, 900, Message::Repair(Repair::None));
    settle(&mut engine, 901);
    let status = engine.status(Moment(1000), 0);
    assert!(status.in_sync);
    assert_eq!(status.alerts, []);
}

#[test]
fn quarantine_is_told_once() {
    let (mut engine, epoch) = leading_master();
    settle(&mut engine, 700);
    let (first, _) = drain_state(&mut engine, Event::Commit { ticket: Ticket(1), bytes: 3 });
    let verdicts = vec![(Ticket(1), Ok(at(epoch, 6)))];
    let head = position(epoch, 6);
    let _ = done(&mut engine, 700, first, GroupReceipt { verdicts, head, log_floor: Revision::NONE });
    settle(&mut engine, 701);
    let _ = engine.handle(now(800), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    settle(&mut engine, 801);
    let _ = engine.handle(now(900), Event::LinkUp { link: LINK, dialled: true });
    let promoted = epoch.promoted(5);
    let lineage = history(&[(Epoch::FIRST, 1), (epoch, 6), (promoted, 6)]);
    let mut hello = hello_of(Role::Master, SHADOW, position(promoted, 9), lineage);
    hello.hello_no = 2;
    let mut actions = tell(&mut engine, 1000, Message::Hello(Box::new(hello)));
    let mut time = 1000;
    for _ in 0..12 {
        time += SECOND + 10_000;
        let found = actions.iter().find_map(|a| match a {
            Action::Persist(work) => Some((work.batch().0, work.clone())),
            _ => None,
        });
        let (no, work) = match found {
            Some(found) => found,
            None => {
                actions = engine.handle(now(time), Event::Timer);
                continue;
            }
        };
        let full = DiskFailure { full: true, reason: "no space".to_owned() };
        actions = match work {
            Work::Quarantine(_) => {
                let receipt = QuarantineReceipt { from: at(epoch, 6), to: at(epoch, 6), change_sets: 1 };
                done(&mut engine, time, no, receipt)
            }
            _ => fails(&mut engine, time, no, full),
        };
    }
    let alerts = engine.status(Moment(time), u64::MAX).alerts;
    let diverged = alerts.iter().find(|a| a.kind == AlertKind::Diverged).unwrap();
    assert_eq!(diverged.count, 1, "{diverged:?}");
}

#[test]
fn a_sink_under_load_stops() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let what =
        |n| Bulk::Records { after: at(Epoch::FIRST, n - 1), last: at(Epoch::FIRST, n), durable: at(Epoch::FIRST, n) };
    let mut actions = engine.handle(now(410), Event::Bulk { link: LINK, bulk: BulkId(1), what: what(6), bytes: 100 });
    let mut stopped = command(&mut engine, 420, 2, Command::Shutdown).contains(&Action::Stop);
    for n in 7..60 {
        let (no, _) = batch(&actions);
        let _ =
            engine.handle(now(420 + n * 1000), Event::Bulk { link: LINK, bulk: BulkId(n), what: what(n), bytes: 100 });
        let receipt =
            RecordsReceipt::Appended { head: position(Epoch::FIRST, n - 1), log_floor: Revision::NONE, eras: vec![] };
        actions = done(&mut engine, 421 + n * 1000, no, receipt);
        stopped |= actions.contains(&Action::Stop);
        if stopped {
            break;
        }
    }
    assert!(stopped, "never stops while the master pushes");
}

#[test]
fn shutdown_while_asking_does_not_promote() {
    let (mut engine, time) = asking();
    // Something is in flight, so that the stop waits.
    let _ = command(&mut engine, time + 10, 1, Command::Enable);
    assert_ne!(batch_in_flight(&engine), 0);
    let _ = command(&mut engine, time + 11, 2, Command::Shutdown);
    let _ = engine.handle(now(time + 20), Event::HostAnswered { question: 1, allowed: true, reason: String::new() });
    let pending = batch_in_flight(&engine);
    let actions = done(&mut engine, time + 30, pending, ());
    let era = actions.iter().any(|a| matches!(a, Action::Persist(Work::BeginEra(_))));
    assert!(!era, "becomes master while it stops");
}

#[test]
fn a_link_that_a_broken_shadow_closes_confirms() {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let _ = engine.handle(now(60 * SECOND), Event::LinkDown { link: LINK, reason: "x".into() });
    let mut time = 60 * SECOND;
    for n in 2..60 {
        time += 2 * SECOND;
        let link = LinkId(n);
        let _ = engine.handle(now(time), Event::LinkUp { link, dialled: true });
        let _ = engine.handle(now(time + 1), Event::LinkDown { link, reason: "closed".into() });
        settle(&mut engine, time + 2);
    }
    assert!(engine.authority().serving, "stalled for ever");
}

/// A master at 1.0/5 whose store is damaged, and a whole shadow that is at 1.0/3: the full push is announced.
fn damaged_master(engine: &mut Engine, link: LinkId, at_us: u64) -> Vec<Action> {
    let _ = engine.handle(now(at_us), Event::LinkUp { link, dialled: true });
    let lineage = history(&[(Epoch::FIRST, 1)]);
    let mut hello = hello_of(Role::Shadow, SHADOW, position(Epoch::FIRST, 3), lineage.clone());
    hello.hello_no = link.0;
    let hello = Message::Hello(Box::new(hello));
    let _ = engine.handle(now(at_us + 1), Event::Message { link, message: hello });
    assert_eq!(engine.node_state(), NodeState::TakingTail);
    let header = SnapshotHeader {
        transfer: link.0,
        position: position(Epoch::FIRST, 3),
        history: lineage,
        chain: 1,
        entries: 1,
        bytes: 1,
    };
    let push = Message::Repair(Repair::Full(header));
    engine.handle(now(at_us + 2), Event::Message { link, message: push })
}

fn start_damaged() -> Engine {
    let mut durable_state = DurableState::first_master(MASTER, PAIR);
    durable_state.peer = Some(peer(SHADOW));
    let (mut engine, _) = start(durable_state, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]), Some("bits"));
    settle(&mut engine, 50);
    engine
}

#[test]
fn a_damaged_master_saves_what_only_it_holds_before_it_is_replaced() {
    let mut engine = start_damaged();
    let actions = damaged_master(&mut engine, LINK, 100);
    let (saving, work) = batch(&actions);
    assert_eq!(quarantine(&work), Some(at(Epoch::FIRST, 3)));
    let receipt = QuarantineReceipt { from: at(Epoch::FIRST, 4), to: at(Epoch::FIRST, 5), change_sets: 2 };
    let actions = done(&mut engine, 200, saving, receipt);
    let alert = engine
        .status(Moment(200), u64::MAX)
        .alerts
        .into_iter()
        .find(|alert| alert.kind == AlertKind::Diverged)
        .unwrap();
    assert_eq!((alert.count, alert.revisions), (2, Some((at(Epoch::FIRST, 4), at(Epoch::FIRST, 5)))));
    assert!(alert.message.contains("bits"), "what is lost is named: {}", alert.message);
    assert_eq!(
        actions[..2],
        [Action::Notify(Notice::Alert { change: AlertChange::Raised, alert }), Action::Close { link: LINK }]
    );
    settle(&mut engine, 201);
    // The next link brings the push, and nothing is set aside twice.
    let (_, work) = batch(&damaged_master(&mut engine, LinkId(2), SECOND));
    assert!(matches!(work, Work::BeginStaging(_)), "{work:?}");
}

#[test]
fn a_damaged_master_without_room_to_save_is_not_replaced() {
    let mut engine = start_damaged();
    let (first, _) = batch(&damaged_master(&mut engine, LINK, 100));
    let full = DiskFailure { full: true, reason: "no space".to_owned() };
    for round in 0..3 {
        let pending = batch_in_flight(&engine);
        let actions = fails(&mut engine, round * SECOND + 200, pending, full.clone());
        assert!(actions.contains(&Action::Close { link: LinkId(round + 1) }), "{actions:#?}");
        settle(&mut engine, round * SECOND + 201);
        let (_, work) = batch(&damaged_master(&mut engine, LinkId(round + 2), round * SECOND + 300));
        assert_eq!(quarantine(&work), Some(at(Epoch::FIRST, 3)));
    }
    assert_ne!(batch_in_flight(&engine), first);
}

#[test]
fn what_cannot_be_read_of_a_damaged_store_does_not_forbid_its_repair() {
    let mut engine = start_damaged();
    for round in 0..2 {
        let (saving, work) = batch(&damaged_master(&mut engine, LinkId(round + 1), round * 3 * SECOND + 100));
        assert!(matches!(work, Work::Quarantine(_)), "{work:?}");
        let failure = DiskFailure { full: false, reason: "unreadable".to_owned() };
        let time = round * 3 * SECOND + 200;
        let _ = fails(&mut engine, time, saving, failure);
        let (reopen, work) = batch(&engine.handle(now(time + 2 * SECOND), Event::Timer));
        assert!(matches!(work, Work::Reopen(_)), "{work:?}");
        let (head, history) = (position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
        let receipt = reopened(head, history, Some("bits"));
        let _ = done(&mut engine, time + 2 * SECOND, reopen, receipt);
        settle(&mut engine, time + 2 * SECOND + 1);
    }
    let alerts = engine.status(Moment(6 * SECOND), u64::MAX).alerts;
    let lost = alerts.iter().find(|alert| alert.kind == AlertKind::Diverged).unwrap();
    assert!(lost.message.contains("lost") && lost.message.contains("unreadable"), "{}", lost.message);
    let (_, work) = batch(&damaged_master(&mut engine, LinkId(9), 7 * SECOND));
    assert!(matches!(work, Work::BeginStaging(_)), "{work:?}");
}

#[test]
fn a_disk_that_does_not_answer_is_an_alert_until_it_does() {
    let mut engine = lone_master();
    let actions = engine.handle(now(20), Event::Commit { ticket: Ticket(1), bytes: 10 });
    let (commit, _) = batch(&actions);
    assert_eq!(actions.last(), Some(&timer(5 * SECOND + 20)), "a node without a peer wakes up for it too");
    let told = |actions: &[Action]| -> Vec<(AlertChange, AlertKind, String)> {
        let told = |action: &Action| match action {
            Action::Notify(Notice::Alert { change, alert }) => Some((*change, alert.kind, alert.subject.clone())),
            _ => None,
        };
        actions.iter().filter_map(told).collect()
    };
    assert_eq!(told(&engine.handle(now(4 * SECOND), Event::Timer)), []);
    let disk = "this node's disk".to_owned();
    let raised = (AlertChange::Raised, AlertKind::DiskTrouble, disk.clone());
    assert_eq!(told(&engine.handle(now(5 * SECOND + 20), Event::Timer)), [raised]);
    assert_eq!(told(&engine.handle(now(9 * SECOND), Event::Timer)), [], "once");
    let verdicts = vec![(Ticket(1), Ok(at(Epoch::FIRST, 1)))];
    let receipt = GroupReceipt { verdicts, head: position(Epoch::FIRST, 1), log_floor: Revision::NONE };
    let over = [
        (AlertChange::Cleared, AlertKind::DiskTrouble, disk),
        (AlertChange::Raised, AlertKind::Recovered, "peer".to_owned()),
    ];
    assert_eq!(told(&done(&mut engine, 10 * SECOND, commit, receipt)), over);
}

#[test]
fn a_node_that_was_stopped_does_not_blame_its_disk() {
    let (mut engine, _) = leading_master();
    let (commit, _) = drain_state(&mut engine, Event::Commit { ticket: Ticket(1), bytes: 3 });
    let _ = engine.handle(now(60 * SECOND), Event::Timer);
    let blamed = engine.status(Moment(60 * SECOND), u64::MAX).alerts.iter().any(|a| a.kind == AlertKind::DiskTrouble);
    assert!(!blamed && batch_in_flight(&engine) == commit);
}

#[test]
fn a_full_push_that_an_operator_asked_for_outlives_its_link() {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let actions = command(&mut engine, 800, 1, Command::Resync);
    assert!(actions.contains(&Action::OpenSnapshot { transfer: 0, withheld: false }), "{actions:#?}");
    let _ = engine.handle(now(900), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    let again = LinkId(2);
    let _ = engine.handle(now(1_000), Event::LinkUp { link: again, dialled: true });
    let head = engine.log.head();
    let hello = Hello { hello_no: 2, ..hello_of(Role::Shadow, SHADOW, head, engine.log.history().clone()) };
    let hello_event = Event::Message { link: again, message: Message::Hello(Box::new(hello)) };
    let actions = engine.handle(now(1_100), hello_event);
    assert!(actions.contains(&Action::OpenSnapshot { transfer: 1, withheld: false }), "{actions:#?}");
}

#[test]
fn a_round_trip_that_the_timings_do_not_allow_is_an_alert_until_it_is_over() {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let slow = |engine: &Engine| {
        let alerts = engine.status(Moment(0), u64::MAX).alerts;
        alerts.iter().filter(|alert| alert.kind == AlertKind::SlowLink).map(|alert| alert.count).sum::<u64>()
    };
    let mut time = SECOND;
    for (rounds, took_us, expected) in [(6, 1_000, 0), (20, 3 * SECOND, 1), (20, 1_000, 0)] {
        for _ in 0..rounds {
            time += SECOND / 2;
            let actions = run(&mut engine, time - SECOND / 2, time);
            let position = engine.log.head();
            if sent(&actions).iter().any(|message| matches!(message, Message::Heartbeat(_))) {
                engine.links.assume_round_trip(took_us);
                let _ = answer(&mut engine, time, &actions, position);
                settle(&mut engine, time);
            }
        }
        assert_eq!(slow(&engine), expected);
    }
}

/// A stop is no absence of the shadow: after it the shadow has its three intervals again.
#[test]
fn a_node_that_was_stopped_gives_its_shadow_time_before_it_calls_it_lost() {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let lost =
        |engine: &Engine| engine.status(Moment(0), u64::MAX).alerts.iter().any(|a| a.kind == AlertKind::ShadowLost);
    let _ = engine.handle(now(SECOND), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    settle(&mut engine, SECOND);
    let _ = engine.handle(now(2 * SECOND), refused_dial());
    settle(&mut engine, 2 * SECOND);
    assert!(!lost(&engine), "its three intervals are not over");
    // It stands still for a minute.
    let _ = engine.handle(now(62 * SECOND), Event::Timer);
    settle(&mut engine, 62 * SECOND);
    assert!(!lost(&engine), "nobody listened meanwhile");
    let _ = engine.handle(now(65 * SECOND - 1), Event::Timer);
    assert!(!lost(&engine));
    let _ = engine.handle(now(65 * SECOND), Event::Timer);
    assert!(lost(&engine));
}
