//! A planned switch of roles, and the modes of the pair.

use super::*;
use crate::protocol::engine::switchover::Switchover;
use crate::protocol::wire::{Mode, Modes, Switch, SwitchObstacle};

fn head() -> Position {
    position(Epoch::FIRST, 5)
}

/// A master at 1.0/5 that serves, with a shadow that holds the same.
fn serving_master() -> (Engine, Position) {
    let mut state = DurableState::first_master(MASTER, PAIR);
    state.peer = Some(peer(SHADOW));
    state.epoch = Epoch::FIRST;
    let (mut engine, _) = begin(state, head(), history(&[(Epoch::FIRST, 1)]));
    let _ = engine.handle(now(100), Event::LinkUp { link: LINK, dialled: false });
    let hello = hello_of(Role::Shadow, SHADOW, head(), history(&[(Epoch::FIRST, 1)]));
    let actions = tell(&mut engine, 200, Message::Hello(Box::new(hello)));
    let asked = actions.iter().find_map(|action| match action {
        Action::Send { message: Message::Heartbeat(beat), .. } => Some(beat.nonce),
        _ => None,
    });
    settle(&mut engine, 250);
    let answer = HeartbeatAck {
        nonce: asked.expect("it asks its peer"),
        role: Role::Shadow,
        epoch: Epoch::FIRST,
        position: head(),
        promise: Duration::ZERO,
    };
    let _ = tell(&mut engine, 300, Message::HeartbeatAck(answer));
    let Some(Work::BeginEra(order)) = engine.work.in_flight().cloned() else { panic!("no era") };
    let era = order.job.era.epoch;
    let opened = Position { revision: at(era, 5), ..head() };
    let batch = batch_in_flight(&engine);
    let _ = done(&mut engine, 400, batch, EraReceipt { head: opened, log_floor: Revision::NONE });
    settle(&mut engine, 400);
    let _ = tell(&mut engine, 500, Message::Ack { position: opened, received: 0 });
    settle(&mut engine, 500);
    assert!(engine.authority().serving && engine.in_sync(), "{:?}", engine.status(Moment(500), 0));
    (engine, opened)
}

fn steps(actions: &[Action]) -> Vec<Switch> {
    let step = |message| match message {
        Message::Switch(step) => Some(step),
        _ => None,
    };
    sent(actions).into_iter().filter_map(step).collect()
}

fn answers(actions: &[Action]) -> Vec<Action> {
    actions.iter().filter(|action| is_answer(action)).cloned().collect()
}

#[test]
fn a_master_without_a_witness_is_a_shadow_before_it_hands_over() {
    let (mut engine, opened) = serving_master();
    let actions = command(&mut engine, 600, 9, Command::SwitchRoles);
    let epoch = engine.epoch();
    assert_eq!(steps(&actions), [Switch::Prepare { position: opened, epoch }]);
    assert!(engine.is_ending());
    // A change set that comes now waits.
    let actions = engine.handle(now(700), Event::Commit { ticket: Ticket(1), bytes: 10 });
    assert_eq!((batch_count(&actions), answers(&actions)), (0, vec![]));
    let term = epoch.promoted(5);
    let actions = tell(&mut engine, 800, Message::Switch(Switch::Ready { epoch: term }));
    assert!(!engine.authority().serving && steps(&actions).is_empty(), "{actions:#?}");
    let (stored, work) = batch(&actions);
    let Work::StoreState(Order { job: StoreState { state, purpose }, .. }) = work else { panic!("{work:?}") };
    let given = Given { epoch: term, position: opened };
    assert_eq!((purpose, state.role, state.moves.given), (StatePurpose::HandOver, Role::Shadow, Some(given)));
    let actions = done(&mut engine, 900, stored, ());
    assert_eq!(steps(&actions), [Switch::HandOver { position: opened, epoch: term, stops: false }]);
    let elsewhere = CommitRefusal::NotMaster { master: Some("there:1".to_owned()) };
    assert_eq!(answers(&actions), [refused_commit(1, elsewhere), answered(9, Ok(()))]);
    let Moves { takeovers_ms, .. } = &engine.durable_state().moves;
    assert!(takeovers_ms.is_empty(), "a planned switch does not count for the hold-down");
}

#[test]
fn a_switch_that_is_not_over_in_time_ends_and_what_waited_is_written() {
    let (mut engine, _) = serving_master();
    settle(&mut engine, 590);
    let _ = command(&mut engine, 600, 9, Command::SwitchRoles);
    let _ = engine.handle(now(700), Event::Commit { ticket: Ticket(1), bytes: 10 });
    let mut actions = engine.handle(now(2 * SECOND + 600), Event::Timer);
    assert_eq!(steps(&actions), [Switch::CallOff { why: SwitchObstacle::TimedOut }]);
    let refused = Err(CommandRefusal::CalledOff { why: SwitchObstacle::TimedOut });
    assert_eq!(answers(&actions), [answered(9, refused)]);
    assert!(engine.authority().serving && !engine.is_ending());
    let (number, mut work) = batch(&actions);
    if let Work::StoreState(_) = work {
        actions = done(&mut engine, 2 * SECOND + 700, number, ());
        work = batch(&actions).1;
    }
    assert!(matches!(work, Work::AppendGroup(_)), "{work:?}");
}

#[test]
fn a_full_disk_calls_it_off_and_the_master_goes_on_when_its_shadow_answers() {
    let (mut engine, _) = serving_master();
    let _ = command(&mut engine, 600, 9, Command::SwitchRoles);
    let term = engine.epoch().promoted(5);
    let (stored, _) = batch(&tell(&mut engine, 800, Message::Switch(Switch::Ready { epoch: term })));
    let actions = fails(&mut engine, 900, stored, DiskFailure { full: true, reason: "no space".to_owned() });
    assert_eq!(steps(&actions), [Switch::CallOff { why: SwitchObstacle::Disk }]);
    assert!(matches!(answers(&actions)[..], [Action::AnswerCommand { answer: Err(CommandRefusal::Disk { .. }), .. }]));
    assert!(!engine.authority().serving && engine.durable_state().role == Role::Master);
}

#[test]
fn a_switch_is_refused_with_the_reason() {
    let refusal = |engine: &mut Engine| {
        let actions = command(engine, 700, 9, Command::SwitchRoles);
        match &answers(&actions)[..] {
            [Action::AnswerCommand { answer: Err(refusal), .. }] => refusal.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refusal(&mut lone_master()), CommandRefusal::NoPeer);
    let (mut engine, _) = serving_master();
    let _ = command(&mut engine, 600, 8, Command::SwitchRoles);
    assert_eq!(refusal(&mut engine), CommandRefusal::SwitchUnderWay);
    let (mut engine, _) = serving_master();
    let _ = command(&mut engine, 600, 8, Command::Disconnect);
    assert_eq!(refusal(&mut engine), CommandRefusal::Held);
    let (mut engine, _) = serving_master();
    let _ = engine.handle(now(600), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    assert_eq!(refusal(&mut engine), CommandRefusal::NotInSync);
    let (mut engine, _) = serving_master();
    let _ = command(&mut engine, 600, 8, Command::Pause(true));
    settle(&mut engine, 650);
    assert_eq!(refusal(&mut engine), CommandRefusal::Paused);
    // A shadow asks its master; where there is no link there is nobody to ask.
    let mut shadow = following_shadow();
    let _ = shadow.handle(now(600), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    assert_eq!(refusal(&mut shadow), CommandRefusal::NotInSync);
}

#[test]
fn a_peer_of_an_older_version_is_sent_nothing_of_it() {
    let mut state = DurableState::first_shadow(SHADOW, PAIR, peer(MASTER));
    state.complete = true;
    let (mut engine, _) = begin(state, head(), history(&[(Epoch::FIRST, 1)]));
    let _ = engine.handle(now(100), Event::LinkUp { link: LINK, dialled: true });
    let hello = hello_of(Role::Master, MASTER, head(), history(&[(Epoch::FIRST, 1)]));
    let old = Hello { versions: Versions { min: 1, max: 2 }, ..hello };
    let _ = tell(&mut engine, 200, Message::Hello(Box::new(old)));
    let actions = command(&mut engine, 300, 9, Command::SwitchRoles);
    assert!(actions.contains(&answered(9, Err(CommandRefusal::PeerTooOld))), "{actions:#?}");
    settle(&mut engine, 350);
    let _ = command(&mut engine, 400, 8, Command::Pause(true));
    for _ in 0..4 {
        let pending = batch_in_flight(&engine);
        if pending > 0 {
            let actions = done(&mut engine, 500, pending, ());
            assert!(!sent(&actions).iter().any(|message| matches!(message, Message::Modes(_))), "{actions:#?}");
        }
    }
    assert!(engine.durable_state().moves.modes.paused.on);
}

/// A shadow that has noted a term, and that term.
fn ready_shadow() -> (Engine, Epoch) {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let prepare = Switch::Prepare { position: head(), epoch: Epoch::FIRST };
    let actions = tell(&mut engine, 400, Message::Switch(prepare));
    assert!(steps(&actions).is_empty(), "nothing is said before the term is durable");
    let (noted, work) = batch(&actions);
    assert!(
        matches!(&work, Work::StoreState(order) if matches!(order.job.purpose, StatePurpose::NoteTerm { .. })),
        "{work:?}"
    );
    let actions = done(&mut engine, 500, noted, ());
    let [Switch::Ready { epoch }] = steps(&actions)[..] else { panic!("{actions:#?}") };
    (engine, epoch)
}

#[test]
fn a_shadow_takes_exactly_what_it_was_prepared_for() {
    let (mut engine, epoch) = ready_shadow();
    let actions = tell(&mut engine, 600, Message::Switch(Switch::HandOver { position: head(), epoch, stops: false }));
    let (_, work) = batch(&actions);
    let Work::BeginEra(Order { job: BeginEra { era, state }, .. }) = work else { panic!("{work:?}") };
    assert_eq!((era.epoch, era.first_seq, state.role), (epoch, 6, Role::Master));
    assert!(state.moves.takeovers_ms.is_empty() && !engine.authority().serving);
    // Said again, it changes nothing.
    let actions = tell(&mut engine, 700, Message::Switch(Switch::HandOver { position: head(), epoch, stops: false }));
    assert_eq!((steps(&actions), batch_count(&actions)), (vec![], 0));
}

/// Rule 23: another head, another term, nothing that was prepared for, or something of its own under way.
#[test]
fn a_hand_over_that_is_not_exact_is_refused() {
    let refused = |engine: &mut Engine, position: Position, epoch: Epoch| {
        let actions = tell(engine, 600, Message::Switch(Switch::HandOver { position, epoch, stops: false }));
        assert_eq!(steps(&actions), [Switch::CallOff { why: SwitchObstacle::NotInSync }], "{actions:#?}");
        assert_eq!(engine.durable_state().role, Role::Shadow);
    };
    let (mut engine, epoch) = ready_shadow();
    refused(&mut engine, position(Epoch::FIRST, 6), epoch);
    // What was refused once is not taken later.
    refused(&mut engine, head(), epoch);
    let (mut engine, epoch) = ready_shadow();
    refused(&mut engine, Position { digest: Digest([77; 32]), ..head() }, epoch);
    let (mut engine, epoch) = ready_shadow();
    refused(&mut engine, head(), epoch.promoted(1));
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    refused(&mut engine, head(), Epoch::new(2, 5));
    // It was stopped in between: the master may have taken over again.
    let (mut engine, epoch) = ready_shadow();
    let _ = engine.handle(now(60 * SECOND), Event::Timer);
    let over = Message::Switch(Switch::HandOver { position: head(), epoch, stops: false });
    let actions = engine.handle(now(60 * SECOND + 10), Event::Message { link: LINK, message: over });
    assert!(batch_count(&actions) == 0 || engine.durable_state().role == Role::Shadow, "{actions:#?}");
}

/// The answer to a question is not the end of the switch that is under way.
#[test]
fn a_shadow_that_is_refused_another_switch_takes_the_one_under_way() {
    let (mut engine, epoch) = ready_shadow();
    let actions = command(&mut engine, 550, 9, Command::SwitchRoles);
    assert_eq!(answers(&actions), [answered(9, Err(CommandRefusal::SwitchUnderWay))]);
    assert_eq!(steps(&actions), []);
    let _ = tell(&mut engine, 560, Message::Switch(Switch::Refused { why: SwitchObstacle::UnderWay }));
    let over = Message::Switch(Switch::HandOver { position: head(), epoch, stops: false });
    let actions = tell(&mut engine, 600, over);
    assert!(matches!(batch(&actions).1, Work::BeginEra(_)), "{actions:#?}");
}

/// A node that has handed over asks for nothing before it has seen its peer as master: the answer would be that there is none.
#[test]
fn a_node_that_has_handed_over_does_not_ask_to_have_it_back() {
    let (mut engine, _) = serving_master();
    let _ = command(&mut engine, 600, 8, Command::SwitchRoles);
    let term = engine.epoch().promoted(5);
    let (stored, _) = batch(&tell(&mut engine, 800, Message::Switch(Switch::Ready { epoch: term })));
    let _ = done(&mut engine, 900, stored, ());
    let actions = command(&mut engine, 950, 9, Command::SwitchRoles);
    assert_eq!(answers(&actions), [answered(9, Err(CommandRefusal::SwitchUnderWay))]);
    let actions = tell(&mut engine, 960, Message::Switch(Switch::Refused { why: SwitchObstacle::NotServing }));
    assert!(batch_count(&actions) == 0 && engine.durable_state().role == Role::Shadow, "{actions:#?}");
}

/// A term is ready when it is durable itself, and not when an earlier one is.
#[test]
fn the_end_of_an_earlier_note_makes_no_term_ready() {
    let mut switch = Switchover::default();
    switch.note(head(), Epoch::new(3, 1));
    assert_eq!(switch.noted(Epoch::new(2, 9)), None);
    assert_eq!(switch.noted(Epoch::new(3, 1)), Some(Epoch::new(3, 1)));
}

#[test]
fn two_shadows_of_which_one_has_handed_over_go_on_where_they_were() {
    let epoch = Epoch::new(2, 5);
    let mut state = DurableState::first_shadow(MASTER, PAIR, peer(SHADOW));
    (state.complete, state.epoch, state.tried) = (true, Epoch::FIRST, epoch);
    state.moves.given = Some(Given { epoch, position: head() });
    let (mut engine, _) = begin(state, head(), history(&[(Epoch::FIRST, 1)]));
    let _ = engine.handle(now(100), Event::LinkUp { link: LINK, dialled: true });
    let hello = hello_of(Role::Shadow, SHADOW, head(), history(&[(Epoch::FIRST, 1)]));
    let actions = tell(&mut engine, 200, Message::Hello(Box::new(hello)));
    assert_eq!(steps(&actions), [Switch::HandOver { position: head(), epoch, stops: false }]);
    // The other one does not take it: this node becomes master again, under a new term.
    settle(&mut engine, 250);
    let actions = tell(&mut engine, 300, Message::Switch(Switch::CallOff { why: SwitchObstacle::Disk }));
    let (_, work) = batch(&actions);
    let Work::BeginEra(Order { job: BeginEra { era, state }, .. }) = work else { panic!("{work:?}") };
    assert!(era.epoch > epoch && state.moves.given.is_none());
}

#[test]
fn a_frozen_master_refuses_change_sets_and_nothing_else() {
    let mut engine = lone_master();
    let (stored, _) = batch(&command(&mut engine, 20, 1, Command::Freeze(true)));
    let actions = done(&mut engine, 30, stored, ());
    assert!(actions.contains(&answered(1, Ok(()))));
    let actions = engine.handle(now(40), Event::Commit { ticket: Ticket(2), bytes: 10 });
    assert!(actions.contains(&refused_commit(2, CommitRefusal::Frozen)));
    assert!(engine.authority().serving && engine.status(Moment(41), 0).modes.frozen.on);
    settle(&mut engine, 45);
    let (stored, _) = batch(&command(&mut engine, 50, 3, Command::Freeze(false)));
    let _ = done(&mut engine, 60, stored, ());
    let (_, work) = batch(&engine.handle(now(70), Event::Commit { ticket: Ticket(4), bytes: 10 }));
    assert!(matches!(work, Work::AppendGroup(_)));
}

#[test]
fn a_pause_reaches_the_peer_and_an_older_word_does_not_end_it() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let mode = |changes, on| Mode { changes, on };
    let modes = |paused| Modes { paused, frozen: mode(0, false) };
    let actions = tell(&mut engine, 400, Message::Modes(modes(mode(3, true))));
    let status = engine.status(Moment(401), 0);
    assert!(status.modes.paused.on && status.why_not.contains(&TakeoverBlocker::Paused), "{actions:#?}");
    settle(&mut engine, 410);
    // The peer knows less: it is told.
    let actions = tell(&mut engine, 500, Message::Modes(modes(mode(2, false))));
    assert!(sent(&actions).contains(&Message::Modes(modes(mode(3, true)))), "{actions:#?}");
    // What both know is not said again.
    let actions = tell(&mut engine, 600, Message::Modes(modes(mode(3, true))));
    assert!(!sent(&actions).iter().any(|message| matches!(message, Message::Modes(_))), "{actions:#?}");
    assert!(engine.durable_state().moves.modes.paused.on);
}
