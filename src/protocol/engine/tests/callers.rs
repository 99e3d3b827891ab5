//! Every caller is answered once, within a bound, and truthfully.

use super::witnessed::*;
use super::*;
use crate::model::WitnessRecord;
use crate::protocol::failover::{micros, waited};

const MS: u64 = 1_000;

pub(super) fn answers(actions: &[Action]) -> Vec<Action> {
    actions.iter().filter(|action| is_answer(action)).cloned().collect()
}

pub(super) fn commit(engine: &mut Engine, at_us: u64, ticket: u64) -> Vec<Action> {
    engine.handle(now(at_us), Event::Commit { ticket: Ticket(ticket), bytes: 3 })
}

/// The change set of this ticket is durable as `epoch`/`seq`.
pub(super) fn stored(engine: &mut Engine, at_us: u64, ticket: u64, epoch: Epoch, seq: u64) -> Vec<Action> {
    let verdicts = vec![(Ticket(ticket), Ok(at(epoch, seq)))];
    let receipt = GroupReceipt { verdicts, head: position(epoch, seq), log_floor: Revision::NONE };
    let batch = batch_in_flight(engine);
    done(engine, at_us, batch, receipt)
}

/// Lets time pass beside a shadow that answers heartbeats with a promise and stores nothing, and a witness that does not
/// answer.
fn beside_a_full_shadow(engine: &mut Engine, from_us: u64, to_us: u64, shadow: Position) -> Vec<Action> {
    let (mut all, mut time) = (Vec::new(), from_us);
    while time < to_us {
        time += 50 * MS;
        let actions = engine.handle(now(time), Event::Timer);
        for action in &actions {
            let event = match action {
                Action::Send { message: Message::Heartbeat(Heartbeat { nonce, .. }), .. } => {
                    let promise = Options::default().lease();
                    let (nonce, role, epoch) = (*nonce, Role::Shadow, shadow.revision.epoch);
                    let ack = HeartbeatAck { nonce, role, epoch, position: shadow, promise };
                    Event::Message { link: LINK, message: Message::HeartbeatAck(ack) }
                }
                Action::AskWitness { ask, .. } => {
                    let answer = WitnessAnswer::Unknown { reason: "away".to_owned() };
                    Event::WitnessAnswered { ask: *ask, answer }
                }
                _ => continue,
            };
            all.extend(engine.handle(now(time + 1), event));
        }
        all.extend(actions);
        all.extend(settle_state(engine, time + 2));
    }
    all
}

#[test]
fn where_neither_shadow_nor_witness_confirms_nothing_more_is_taken() {
    let (mut engine, epoch) = witnessed_master(Replication::Synchronous);
    let _ = engine.handle(now(60 * MS), Event::LinkUp { link: LINK, dialled: false });
    let shadow = position(Epoch::FIRST, 5);
    let hello = hello_of(Role::Shadow, SHADOW, shadow, history(&[(Epoch::FIRST, 1)]));
    let _ = engine.handle(now(70 * MS), Event::Message { link: LINK, message: Message::Hello(Box::new(hello)) });
    let _ = beside_a_full_shadow(&mut engine, 70 * MS, SECOND, shadow);
    let _ = commit(&mut engine, SECOND, 1);
    let _ = stored(&mut engine, SECOND + 10, 1, epoch, 6);
    // The sync timeout, and twice that of the witness.
    let doubt_us = 2 * SECOND + 2 * micros(Options::default().witness_timeout());
    let actions = beside_a_full_shadow(&mut engine, SECOND, SECOND + doubt_us, shadow);
    assert_eq!(answers(&actions), []);
    let _ = commit(&mut engine, SECOND + doubt_us + 1, 2);
    let actions = stored(&mut engine, SECOND + doubt_us + 2, 2, epoch, 7);
    assert_eq!(answers(&actions), [], "the second one has its own time");
    let actions = beside_a_full_shadow(&mut engine, SECOND + doubt_us, 2 * SECOND + doubt_us, shadow);
    assert_eq!(answers(&actions), [refused_commit(1, CommitRefusal::InDoubt { revision: at(epoch, 6) })]);
    assert!(engine.authority().serving, "the shadow's promise covers it");
    let actions = commit(&mut engine, 2 * SECOND + doubt_us + 10, 3);
    assert_eq!(answers(&actions), [refused_commit(3, CommitRefusal::Blocked)]);
    // The shadow has room again, and everything.
    let all = position(epoch, 7);
    let mut actions = tell(&mut engine, 2 * SECOND + doubt_us + 20, Message::Ack { position: all, received: 0 });
    actions.extend(beside_a_full_shadow(&mut engine, 2 * SECOND + doubt_us, 3 * SECOND + doubt_us, all));
    assert_eq!(answers(&actions), [committed(2, at(epoch, 7), true)], "{actions:#?}");
    let actions = commit(&mut engine, 3 * SECOND + doubt_us + 10, 4);
    assert_eq!((answers(&actions), batch_count(&actions)), (vec![], 1));
}

/// A record that is gone may have been a lease until it went: nobody's word shortens the wait for it.
#[test]
fn a_takeover_past_a_record_that_is_gone_waits_for_the_lease_that_it_was() {
    let options = options(Replication::Synchronous);
    let (mut engine, actions) = start_witnessed(shadow_state(0), position(Epoch::FIRST, 5), options);
    let (ask, _) = question(&actions);
    let _ = store_state(&mut engine, MS, actions);
    let lease = Duration::from_secs(9);
    let value = WitnessRecord { lease, ..record(MASTER, Epoch::FIRST, None, 5) };
    let actions = tell_witness(&mut engine, 10 * MS, ask, holds(value, 1));
    let _ = store_state(&mut engine, 11 * MS, actions);
    // Twenty seconds later it has been renewed all the time by others, and is wiped.
    let actions = engine.handle(now(20 * SECOND), refused_dial());
    let (ask, _) = question(&actions);
    let _ = tell_witness(&mut engine, 20 * SECOND, ask, WitnessAnswer::Holds(None));
    let take_over = Event::Command { ticket: Ticket(1), command: Command::TakeOverAcceptingLoss };
    let mut actions = engine.handle(now(20 * SECOND + 1), take_over);
    let mut time = 20 * SECOND;
    while engine.node_state() == NodeState::Following {
        for action in std::mem::take(&mut actions) {
            if let Action::AskWitness { ask, .. } = action {
                actions.extend(tell_witness(&mut engine, time, ask, WitnessAnswer::Holds(None)));
            }
        }
        let _ = settle_state(&mut engine, time + 1);
        time += 100 * MS;
        assert!(time < 60 * SECOND, "it never tried");
        actions = engine.handle(now(time), refused_dial());
    }
    assert_eq!(engine.node_state(), NodeState::AskingWitness);
    assert!(time >= 20 * SECOND + micros(waited(lease)), "after {} ms", time / MS - 20_000);
}

#[test]
fn a_master_behind_whose_back_another_took_over_is_not_told_to_take_it_back() {
    let (mut engine, epoch) = witnessed_master(Replication::Asynchronous);
    let actions = engine.handle(now(2 * SECOND), Event::Timer);
    let (ask, _) = question(&actions);
    let actions = tell_witness(&mut engine, 2 * SECOND + 1, ask, WitnessAnswer::Conflict);
    let (ask, _) = question(&actions);
    let other = record(SHADOW, epoch.promoted(0), None, 5);
    let _ = tell_witness(&mut engine, 2 * SECOND + 2, ask, holds(other, 3));
    let alerts = engine.status(Moment(2 * SECOND + 3), u64::MAX).alerts;
    let told = alerts.iter().find(|alert| alert.subject == "witness").map(|alert| (alert.kind, alert.message.as_str()));
    let message =
        "the witness names the other node as master: this one does not serve, and becomes its shadow on contact";
    assert_eq!(told, Some((AlertKind::Takeover, message)));
}

#[test]
fn a_shutdown_does_not_wait_for_a_shadow_for_ever_and_denies_nothing_that_is_durable() {
    let (mut engine, epoch) = witnessed_master(Replication::Synchronous);
    let _ = commit(&mut engine, 100 * MS, 1);
    let _ = stored(&mut engine, 110 * MS, 1, epoch, 6);
    let actions = command(&mut engine, 120 * MS, 2, Command::Shutdown);
    assert_eq!(answers(&actions), [], "{actions:#?}");
    let late = 120 * MS + micros(Options::default().timeouts.drain);
    let mut actions = engine.handle(now(late), Event::Timer);
    actions.extend(settle_state(&mut engine, late + 1));
    let doubt = CommitRefusal::InDoubt { revision: at(epoch, 6) };
    assert_eq!(answers(&actions), [refused_commit(1, doubt), answered(2, Ok(()))]);
    assert!(actions.contains(&Action::Stop), "{actions:#?}");
}

#[test]
fn what_a_hung_disk_holds_when_the_node_stops_is_in_doubt() {
    let mut engine = lone_master();
    let _ = commit(&mut engine, 20, 1);
    let _ = commit(&mut engine, 21, 2);
    let _ = command(&mut engine, 22, 3, Command::Enable);
    let actions = command(&mut engine, 23, 4, Command::Shutdown);
    assert_eq!(answers(&actions), []);
    let actions = engine.handle(now(10 * SECOND), Event::Abandoned);
    let told = [
        refused_commit(1, CommitRefusal::InDoubt { revision: at(Epoch::FIRST, 1) }),
        refused_commit(2, CommitRefusal::Stopped),
        answered(3, Err(CommandRefusal::Stopped)),
        answered(4, Ok(())),
    ];
    assert_eq!(answers(&actions), told);
    assert!(actions.contains(&Action::Stop), "{actions:#?}");
    // It stops once.
    let actions = engine.handle(now(11 * SECOND), Event::Abandoned);
    assert!(actions.iter().all(|action| matches!(action, Action::SetTimer { .. })), "{actions:#?}");
}

#[test]
fn an_operators_word_counts_while_the_host_is_asked() {
    let (mut engine, time) = asking_shadow();
    let take_over = Event::Command { ticket: Ticket(1), command: Command::TakeOver };
    let actions = engine.handle(now(time + 10), take_over);
    let mut attempted = engine.node_state();
    let mut all = actions;
    all.extend(settle_state(&mut engine, time + 11));
    if attempted == NodeState::AskingHost {
        all.extend(engine.handle(now(time + 12), Event::Timer));
        attempted = engine.node_state();
    }
    assert_eq!((attempted, answers(&all)), (NodeState::AskingWitness, vec![]), "{all:#?}");
}

#[test]
fn a_host_that_refuses_does_not_refuse_an_operator() {
    let (mut engine, time) = asking_shadow();
    engine.setup.options.heartbeat = Duration::from_secs(1);
    // The record is looked at again, and the take_over waits for that.
    let take_over = Event::Command { ticket: Ticket(1), command: Command::TakeOver };
    if let Some(witnessed) = engine.authority.witnessed_mut() {
        witnessed.client.register_mut().outdated();
    }
    let mut actions = engine.handle(now(time + 10), take_over);
    let refused = Event::HostAnswered { question: 1, allowed: false, reason: "no uplink".into() };
    actions.extend(engine.handle(now(time + 20), refused));
    assert_eq!((engine.node_state(), answers(&actions)), (NodeState::Following, vec![]), "{actions:#?}");
    let (ask, _) = question(&actions);
    let value = record(MASTER, Epoch::FIRST, Some(SHADOW), 5);
    let mut actions = tell_witness(&mut engine, time + 30, ask, holds(value, 1));
    actions.extend(settle_state(&mut engine, time + 31));
    actions.extend(engine.handle(now(time + 32), Event::Timer));
    assert_eq!((engine.node_state(), answers(&actions)), (NodeState::AskingWitness, vec![]), "{actions:#?}");
}

#[test]
fn a_stopped_master_whose_link_is_held_lets_nobody_wait_for_ever() {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let _ = command(&mut engine, 800, 1, Command::Disconnect);
    let late = 10 * SECOND;
    let actions = commit(&mut engine, late, 2);
    assert_eq!((engine.node_state(), answers(&actions)), (NodeState::Stalled, vec![]), "it asks first");
    let mut time = late;
    let mut told = Vec::new();
    while told.is_empty() {
        time += SECOND / 2;
        assert!(time < late + 60 * SECOND, "never answered");
        told = answers(&engine.handle(now(time), Event::Timer));
    }
    assert_eq!(told, [refused_commit(2, CommitRefusal::NotMaster { master: None })]);
    let actions = commit(&mut engine, time + 1, 3);
    assert_eq!(answers(&actions), [refused_commit(3, CommitRefusal::NotMaster { master: None })]);
}

/// The third takeover within the hold-down's time is the last one, not the second: an attempt does not count itself.
#[test]
fn an_attempt_is_not_held_down_by_itself() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let state = after_takeovers(engine.durable_state(), vec![now(0).wall_ms; 2]);
    engine.durable = durable::Durable::new(state);
    let _ = engine.handle(now(SECOND), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    let mut time = SECOND;
    let durable_state = loop {
        time += SECOND / 2;
        assert!(time < 20 * SECOND, "it never takes over");
        let mut actions = engine.handle(now(time), refused_dial());
        actions.extend(engine.handle(now(time + 1), Event::Timer));
        if actions.contains(&Action::AskMayTakeOver { question: 1 }) {
            let allowed = Event::HostAnswered { question: 1, allowed: true, reason: String::new() };
            actions.extend(engine.handle(now(time + 2), allowed));
        }
        let era = actions.iter().find_map(|action| match action {
            Action::Persist(Work::BeginEra(order)) => Some(order.job.state.clone()),
            _ => None,
        });
        if let Some(durable_state) = era {
            break durable_state;
        }
        settle(&mut engine, time + 3);
    };
    assert_eq!(durable_state.moves.takeovers_ms.len(), 3);
}

/// Two nodes that were given different witnesses part by epoch, as without one: else both would serve for ever.
#[test]
fn a_master_that_the_witness_names_yields_to_one_that_cannot_have_asked_it() {
    let (mut engine, epoch) = witnessed_master(Replication::Asynchronous);
    let _ = engine.handle(now(60 * MS), Event::LinkUp { link: LINK, dialled: true });
    let promoted = epoch.promoted(5);
    let lineage = history(&[(Epoch::FIRST, 1), (promoted, 6)]);
    let hello = hello_of(Role::Master, SHADOW, position(promoted, 9), lineage);
    let actions = engine.handle(now(70 * MS), Event::Message { link: LINK, message: Message::Hello(Box::new(hello)) });
    // It may be news: the witness is asked first.
    assert_eq!(engine.node_state(), NodeState::Serving);
    let mut actions = [actions, settle_state(&mut engine, 71 * MS)].concat();
    let mut time = 71 * MS;
    while engine.node_state() == NodeState::Serving {
        for action in std::mem::take(&mut actions) {
            if let Action::AskWitness { ask, question } = action {
                let answer = match question {
                    WitnessQuestion::Read => holds(record(MASTER, epoch, None, 5), 2),
                    WitnessQuestion::Swap { .. } => swapped(time),
                };
                actions.extend(tell_witness(&mut engine, time, ask, answer));
            }
        }
        actions.extend(settle_state(&mut engine, time + 1));
        time += 50 * MS;
        assert!(time < 10 * SECOND, "both stay");
        actions.extend(engine.handle(now(time), Event::Timer));
    }
    assert_eq!(engine.node_state(), NodeState::Following);
    let alerts = engine.status(Moment(time), u64::MAX).alerts;
    assert!(
        alerts.iter().any(|alert| alert.kind == AlertKind::TwoMasters && alert.message.contains("the same witness"))
    );
}

#[test]
fn a_witness_that_can_be_read_and_not_written_is_an_alert() {
    let (mut engine, epoch) = witnessed_master(Replication::Asynchronous);
    let mut time = 60 * MS;
    let lease_us = micros(Options::default().lease());
    let mut told = Vec::new();
    while time < 3 * lease_us {
        time += 50 * MS;
        let mut actions = engine.handle(now(time), Event::Timer);
        while let Some((ask, question)) = actions.iter().find_map(|action| match action {
            Action::AskWitness { ask, question } => Some((*ask, question.clone())),
            _ => None,
        }) {
            let answer = match question {
                WitnessQuestion::Read => holds(record(MASTER, epoch, None, 5), 2),
                WitnessQuestion::Swap { .. } => WitnessAnswer::Unknown { reason: "permission denied".to_owned() },
            };
            actions = tell_witness(&mut engine, time, ask, answer);
        }
        let _ = settle_state(&mut engine, time + 1);
        let status = engine.status(Moment(time), 0);
        told = status.alerts.iter().map(|alert| (alert.kind, alert.subject.clone())).collect();
    }
    assert!(told.contains(&(AlertKind::WitnessUnreachable, "witness".to_owned())), "{told:?}");
    let status = engine.status(Moment(time), 0);
    assert_eq!(
        (status.serving, status.why_not),
        (false, vec![TakeoverBlocker::Master, TakeoverBlocker::WitnessUnreachable])
    );
    // An operator who wants it to serve is told, when waiting is no use.
    let actions = command(&mut engine, time + 1, 1, Command::TakeOver);
    assert_eq!(answers(&actions), []);
    let wait_us = engine.takeover_wait_us();
    let mut all = Vec::new();
    for beat in 1..300 {
        let at_us = time + beat * SECOND / 10;
        if at_us > time + wait_us + SECOND {
            break;
        }
        all.extend(engine.handle(now(at_us), Event::Timer));
        all.extend(settle_state(&mut engine, at_us + 1));
    }
    assert_eq!(answers(&all), [answered(1, Err(CommandRefusal::WitnessUnreachable))]);
}

/// A master that serves alone goes on serving while a shadow enrols: its lease is there before it needs one.
#[test]
fn an_enrolment_does_not_interrupt_a_master_with_a_witness() {
    let durable_state = DurableState { enabled: true, ..DurableState::first_master(MASTER, PAIR) };
    let token = StoredToken { secret: [7; 16], expires_ms: u64::MAX };
    let durable_state = DurableState { tokens: vec![token], ..durable_state };
    let options = options(Replication::Asynchronous);
    let (mut engine, actions) = start_at(durable_state, Position::NONE, History::default(), options);
    let (ask, _) = question(&actions);
    let mut actions = actions;
    actions.extend(tell_witness(&mut engine, MS, ask, WitnessAnswer::Holds(None)));
    let actions = store_state(&mut engine, 2 * MS, actions);
    let head = Position { revision: at(Epoch::FIRST, 0), digest: Digest::ZERO };
    let era = actions.iter().find_map(|action| match action {
        Action::Persist(work @ Work::BeginEra(_)) => Some(work.batch().0),
        _ => None,
    });
    let mut all = done(&mut engine, 3 * MS, era.unwrap(), EraReceipt { head, log_floor: Revision::NONE });
    assert!(engine.authority().serving, "{all:#?}");
    all.extend(settle_state(&mut engine, 4 * MS));
    all.clear();
    let asked = Event::EnrolAsked {
        own_key: own_keys().current,
        ask: 1,
        peer: Box::new(peer(SHADOW)),
        proof: EnrolProof::Token(0),
        from: "there".to_owned(),
    };
    let mut actions = engine.handle(now(10 * MS), asked);
    for step in 0..6 {
        for action in std::mem::take(&mut actions) {
            if let Action::AskWitness { ask, question } = &action {
                let answer = match question {
                    WitnessQuestion::Read => WitnessAnswer::Holds(None),
                    WitnessQuestion::Swap { .. } => swapped(1),
                };
                actions.extend(tell_witness(&mut engine, (11 + step) * MS, *ask, answer));
            }
            all.push(action);
        }
    }
    all.extend(settle_state(&mut engine, 18 * MS));
    all.extend(engine.handle(now(20 * MS), Event::EnrolConfirmed { ask: 1 }));
    all.extend(settle_state(&mut engine, 21 * MS));
    all.extend(engine.handle(now(22 * MS), Event::Timer));
    assert!(engine.durable_state().peer.is_some() && engine.authority().serving);
    let roles = all.iter().filter(|action| matches!(action, Action::Notify(Notice::Role { .. }))).count();
    assert_eq!(roles, 0, "{all:#?}");
    assert!(engine.authority().until <= Moment(20 * MS + micros(Options::default().lease())), "it is bound now");
}
