//! The rules of the witnessed pair, one story each; `FAILOVER.md` numbers them. Whole histories are the simulator's.

use super::*;
use crate::model::{WitnessRecord, WitnessVersion};
use crate::protocol::failover::{micros, waited};

const MS: u64 = 1_000;

pub(super) fn options(replication: Replication) -> Options {
    Options { replication, ..Options::default() }
}

pub(super) fn start_witnessed(durable_state: DurableState, head: Position, options: Options) -> (Engine, Vec<Action>) {
    start_at(durable_state, head, history(&[(Epoch::FIRST, 1)]), options)
}

pub(super) fn start_at(
    durable_state: DurableState,
    head: Position,
    history: History,
    options: Options,
) -> (Engine, Vec<Action>) {
    let start = Start {
        durable_state,
        head,
        log_floor: Revision::NONE,
        history,
        shown: head.revision,
        options,
        run: RunId(7),
        address: "here:1".to_owned(),
        keys: own_keys(),
        witnessed: true,
        damage: None,
    };
    Engine::start(now(0), start)
}

pub(super) fn master_state() -> DurableState {
    DurableState { peer: Some(peer(SHADOW)), witnessed: Epoch::FIRST, ..DurableState::first_master(MASTER, PAIR) }
}

pub(super) fn shadow_state(promised_ms: u64) -> DurableState {
    DurableState {
        complete: true,
        promised_ms,
        witnessed: Epoch::FIRST,
        ..DurableState::first_shadow(SHADOW, PAIR, peer(MASTER))
    }
}

pub(super) fn record(holder: NodeId, epoch: Epoch, in_sync: Option<NodeId>, seq: u64) -> WitnessRecord {
    let lease = Options::default().lease();
    WitnessRecord { pair: PAIR, holder, epoch, lease, in_sync, revision: at(Epoch::FIRST, seq), counter: 1 }
}

/// The question that these actions ask.
pub(super) fn question(actions: &[Action]) -> (u64, WitnessQuestion) {
    let found = actions.iter().rev().find_map(|action| match action {
        Action::AskWitness { ask, question } => Some((*ask, question.clone())),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no question in {actions:#?}"))
}

/// The record that these actions swap in.
fn swap(actions: &[Action]) -> (u64, WitnessRecord) {
    match question(actions) {
        (ask, WitnessQuestion::Swap { record, .. }) => (ask, *record),
        other => panic!("no swap but {other:?}"),
    }
}

pub(super) fn tell_witness(engine: &mut Engine, at_us: u64, ask: u64, answer: WitnessAnswer) -> Vec<Action> {
    engine.handle(now(at_us), Event::WitnessAnswered { ask, answer })
}

pub(super) fn holds(record: WitnessRecord, version: u64) -> WitnessAnswer {
    WitnessAnswer::Holds(Some(Box::new((record, WitnessVersion::new(version)))))
}

pub(super) fn swapped(version: u64) -> WitnessAnswer {
    WitnessAnswer::Swapped(WitnessVersion::new(version))
}

/// Answers durable state batches until something else, or nothing, is under way; returns all that was done on the way.
pub(super) fn store_state(engine: &mut Engine, at_us: u64, actions: Vec<Action>) -> Vec<Action> {
    let mut all = actions;
    while let Some(Action::Persist(work @ Work::StoreState(_))) =
        all.iter().rev().find(|action| matches!(action, Action::Persist(_)))
    {
        let batch = work.batch().0;
        if batch_in_flight(engine) != batch {
            break;
        }
        all.extend(done(engine, at_us, batch, ()));
    }
    all
}

/// Answers the batches of durable state that are under way.
pub(super) fn settle_state(engine: &mut Engine, at_us: u64) -> Vec<Action> {
    let mut all = Vec::new();
    for _ in 0..4 {
        match batch_in_flight(engine) {
            0 => break,
            batch => all.extend(done(engine, at_us, batch, ())),
        }
    }
    all
}

/// Answers the one batch of durable state that is under way.
pub(super) fn settle_one(engine: &mut Engine, at_us: u64) -> Vec<Action> {
    let batch = batch_in_flight(engine);
    done(engine, at_us, batch, ())
}

/// A master that restarted, was vouched for by the witness because its peer is away, and serves under its lease.
pub(super) fn witnessed_master(replication: Replication) -> (Engine, Epoch) {
    let (mut engine, actions) = start_witnessed(master_state(), position(Epoch::FIRST, 5), options(replication));
    let (ask, what) = question(&actions);
    assert_eq!(what, WitnessQuestion::Read, "it reads before anything else");
    let actions = store_state(&mut engine, 5, actions);
    assert!(!actions.iter().any(|action| matches!(action, Action::Persist(Work::BeginEra(_)))));
    // A short lease stands in the record: it is waited for, because a copy of this node could hold it.
    let lease = Duration::from_millis(5);
    let held = WitnessRecord { lease, ..record(MASTER, Epoch::FIRST, Some(SHADOW), 5) };
    let _ = tell_witness(&mut engine, 10 * MS, ask, holds(held, 1));
    let actions = engine.handle(now(20 * MS), refused_dial());
    let (era_batch, work) = batch(&actions);
    let Work::BeginEra(Order { job: BeginEra { era, .. }, .. }) = work else { panic!("{work:?}") };
    let head = Position { revision: at(era.epoch, 5), ..position(Epoch::FIRST, 5) };
    let actions = done(&mut engine, 30 * MS, era_batch, EraReceipt { head, log_floor: Revision::NONE });
    assert!(!engine.authority().serving, "an era is no cover: {actions:#?}");
    let (ask, swapped_in) = swap(&actions);
    // Rule 17: under the new incarnation. Rule 13: the flag is kept.
    assert_eq!((swapped_in.holder, swapped_in.epoch, swapped_in.in_sync), (MASTER, era.epoch, Some(SHADOW)));
    let actions = tell_witness(&mut engine, 40 * MS, ask, swapped(2));
    assert!(actions.contains(&role(Role::Master, true, era.epoch, RoleReason::Confirmed)), "{actions:#?}");
    let _ = settle_state(&mut engine, 50 * MS);
    (engine, era.epoch)
}

#[test]
fn a_lease_counts_from_when_it_was_asked_for_and_then_nothing_is_acknowledged() {
    let (mut engine, epoch) = witnessed_master(Replication::Asynchronous);
    let lease_us = micros(Options::default().lease());
    // Sent at 30 ms, answered at 40.
    assert!(engine.authority().until <= Moment(30 * MS + lease_us));
    let actions = engine.handle(now(500 * MS), Event::Commit { ticket: Ticket(1), bytes: 3 });
    let (commit, _) = batch(&actions);
    // The witness is silent from now on; the receipt comes when the lease is over.
    let late = 30 * MS + lease_us + 1;
    let mut time = 600 * MS;
    while time < late {
        let _ = engine.handle(now(time), Event::Timer);
        time += 500 * MS;
    }
    let verdicts = vec![(Ticket(1), Ok(at(epoch, 6)))];
    let receipt = GroupReceipt { verdicts, head: position(epoch, 6), log_floor: Revision::NONE };
    let actions = done(&mut engine, late, commit, receipt);
    assert!(actions.contains(&role(Role::Master, false, epoch, RoleReason::Uncovered)), "{actions:#?}");
    assert!(!actions.iter().any(is_answer), "{actions:#?}");
}

#[test]
fn who_is_not_named_steps_down() {
    let (mut engine, epoch) = witnessed_master(Replication::Asynchronous);
    let actions = engine.handle(now(2 * SECOND), Event::Timer);
    let (ask, _) = question(&actions);
    let actions = tell_witness(&mut engine, 2 * SECOND + 1, ask, WitnessAnswer::Conflict);
    assert!(engine.authority().serving, "a conflict proves nothing yet");
    let (ask, what) = question(&actions);
    assert_eq!(what, WitnessQuestion::Read);
    // Rule 11.
    let actions = tell_witness(&mut engine, 2 * SECOND + 2, ask, holds(record(SHADOW, epoch.promoted(0), None, 5), 3));
    assert!(!engine.authority().serving);
    assert!(
        actions.iter().any(|action| matches!(
            action,
            Action::Notify(Notice::Role { serving: false, reason: RoleReason::NotNamed, .. })
        )),
        "{actions:#?}"
    );
    // And it does not begin again by itself.
    for second in 3..20 {
        let actions = engine.handle(now(second * SECOND), refused_dial());
        assert!(!actions.iter().any(|action| matches!(action, Action::Persist(Work::BeginEra(_)))));
    }
}

#[test]
fn acknowledged_alone_only_when_the_record_says_that_nobody_is_in_sync() {
    let (mut engine, epoch) = witnessed_master(Replication::Synchronous);
    let actions = engine.handle(now(100 * MS), Event::Commit { ticket: Ticket(1), bytes: 3 });
    let (commit, _) = batch(&actions);
    let verdicts = vec![(Ticket(1), Ok(at(epoch, 6)))];
    let receipt = GroupReceipt { verdicts, head: position(epoch, 6), log_floor: Revision::NONE };
    let actions = done(&mut engine, 110 * MS, commit, receipt);
    assert!(!actions.iter().any(|action| is_answer(action) || matches!(action, Action::Publish { .. })));
    // The shadow is silent past the timeout of two seconds.
    let mut asked = Vec::new();
    let mut time = 200 * MS;
    while time < 2_200 * MS {
        asked = engine.handle(now(time), Event::Timer);
        if let Some((ask, WitnessQuestion::Swap { record, .. })) = asked.iter().rev().find_map(|action| match action {
            Action::AskWitness { ask, question } => Some((*ask, question.clone())),
            _ => None,
        }) {
            if record.in_sync.is_none() {
                break;
            }
            asked = tell_witness(&mut engine, time, ask, swapped(time));
        }
        assert!(!asked.iter().any(is_answer), "{asked:#?}");
        time += 50 * MS;
    }
    let (ask, alone) = swap(&asked);
    assert_eq!((alone.in_sync, time / MS), (None, 2_150));
    let actions = tell_witness(&mut engine, time + 1, ask, swapped(9_999_999));
    let told: Vec<&Action> =
        actions.iter().filter(|action| is_answer(action) || matches!(action, Action::Publish { .. })).collect();
    assert_eq!(told, [&Action::Publish { upto: at(epoch, 6) }, &committed(1, at(epoch, 6), false)]);
}

/// A shadow whose master is silent notes the term that it is about to try.
struct TakeoverUnderWay {
    engine: Engine,
    at_us: u64,
    /// A read that is under way.
    ask: u64,
    note: u64,
    durable_state: DurableState,
    value: WitnessRecord,
}

/// A shadow whose host is asked whether it may take over, since when, and a read of the witness that is under way.
fn asking_shadow_and_read() -> (Engine, u64, u64, WitnessRecord) {
    let (mut engine, actions) =
        start_witnessed(shadow_state(3_500), position(Epoch::FIRST, 5), options(Replication::Synchronous));
    let (mut ask, _) = question(&actions);
    let value = record(MASTER, Epoch::FIRST, Some(SHADOW), 5);
    let mut time = 0;
    loop {
        time += 100 * MS;
        let mut actions = tell_witness(&mut engine, time, ask, holds(value.clone(), 1));
        actions.extend(engine.handle(now(time + 1), refused_dial()));
        actions = store_state(&mut engine, time + 2, actions);
        let asked = actions.iter().rev().find_map(|action| match action {
            Action::AskWitness { ask, .. } => Some(*ask),
            _ => None,
        });
        if let Some(next) = asked {
            ask = next;
        }
        if actions.contains(&Action::AskMayTakeOver { question: 1 }) {
            return (engine, time, ask, value);
        }
        assert!(time < 20 * SECOND, "it never took over");
    }
}

/// The same, with nothing under way at the witness.
pub(super) fn asking_shadow() -> (Engine, u64) {
    let (mut engine, at_us, ask, value) = asking_shadow_and_read();
    let _ = tell_witness(&mut engine, at_us + 3, ask, holds(value, 1));
    let _ = settle_state(&mut engine, at_us + 4);
    (engine, at_us + 5)
}

fn shadow_taking_over() -> TakeoverUnderWay {
    let (mut engine, at_us, ask, value) = asking_shadow_and_read();
    let allowed = Event::HostAnswered { question: 1, allowed: true, reason: String::new() };
    let mut actions = engine.handle(now(at_us + 10), allowed);
    if batch_count(&actions) == 0 {
        // The alert about the silent master is written first.
        actions.extend(settle_one(&mut engine, at_us + 11));
    }
    // Rule 7: first the note.
    assert!(!swaps(&actions), "{actions:#?}");
    let (note, work) = batch(&actions);
    let Work::StoreState(Order { job: StoreState { state: durable_state, .. }, .. }) = work else { panic!("{work:?}") };
    assert_eq!((durable_state.tried.term(), durable_state.role), (2, Role::Shadow));
    TakeoverUnderWay { engine, at_us, ask, note, durable_state: *durable_state, value }
}

fn swaps(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::AskWitness { question: WitnessQuestion::Swap { .. }, .. }))
}

#[test]
fn a_takeover_waits_for_promise_and_lease_notes_its_term_and_wins_the_register() {
    let TakeoverUnderWay { mut engine, at_us, ask, note, durable_state, value } = shadow_taking_over();
    // Rule 5: its promise of before the restart; rule 4: with the margin; the takeover delay is five seconds.
    let promise_us = micros(waited(Duration::from_millis(3_500)));
    assert!(at_us > promise_us && at_us >= 5 * SECOND, "{at_us}");
    let mut actions = done(&mut engine, at_us + 20, note, ());
    actions.extend(tell_witness(&mut engine, at_us + 20, ask, holds(value, 1)));
    let (ask, tried) = swap(&actions);
    // Rule 10: the recorded revision is copied.
    assert_eq!(
        (tried.holder, tried.epoch, tried.in_sync, tried.revision),
        (SHADOW, durable_state.tried, None, at(Epoch::FIRST, 5))
    );
    let actions = tell_witness(&mut engine, at_us + 30, ask, swapped(2));
    let (era_batch, work) = batch(&actions);
    let Work::BeginEra(Order { job: BeginEra { era, .. }, .. }) = work else { panic!("{work:?}") };
    assert_eq!(era.epoch, durable_state.tried);
    assert!(!engine.authority().serving, "won, and not yet stored");
    let head = Position { revision: at(era.epoch, 5), ..position(Epoch::FIRST, 5) };
    let actions = done(&mut engine, at_us + 40, era_batch, EraReceipt { head, log_floor: Revision::NONE });
    assert!(actions.contains(&role(Role::Master, true, era.epoch, RoleReason::Takeover)), "{actions:#?}");
    assert!(engine.authority().until <= Moment(at_us + 20 + micros(Options::default().lease())));
}

#[test]
fn a_shadow_is_not_reset_while_its_takeover_is_at_the_witness() {
    let TakeoverUnderWay { mut engine, at_us, ask, note, value, .. } = shadow_taking_over();
    let actions = command(&mut engine, at_us + 5, 9, Command::Reset);
    assert!(actions.contains(&answered(9, Err(CommandRefusal::PeerConnected))), "{actions:#?}");
    let mut actions = done(&mut engine, at_us + 20, note, ());
    actions.extend(tell_witness(&mut engine, at_us + 20, ask, holds(value, 1)));
    let (ask, _) = swap(&actions);
    let actions = command(&mut engine, at_us + 25, 10, Command::Reset);
    assert!(actions.contains(&answered(10, Err(CommandRefusal::PeerConnected))), "{actions:#?}");
    // The peer is still known when the swap is won, so the new master has somebody to push to.
    let _ = tell_witness(&mut engine, at_us + 30, ask, swapped(2));
    assert_eq!(engine.node_state(), NodeState::Promoting);
    assert!(engine.durable_state().peer.is_some());
}

/// The simulator found two masters: the value that was replaced was another than the one whose lease had been waited for.
#[test]
fn a_record_that_is_renewed_while_the_term_is_noted_is_not_taken() {
    let TakeoverUnderWay { mut engine, at_us, ask, note, value, .. } = shadow_taking_over();
    let renewed = WitnessRecord { counter: value.counter + 1, ..value };
    let actions = tell_witness(&mut engine, at_us + 15, ask, holds(renewed, 2));
    assert!(!swaps(&actions), "{actions:#?}");
    let actions = done(&mut engine, at_us + 20, note, ());
    assert!(!swaps(&actions), "{actions:#?}");
    assert_eq!(engine.node_state(), NodeState::Following);
    // The note stays: rule 7.
    assert_eq!(engine.durable_state().tried.term(), 2);
}

#[test]
fn a_takeover_whose_answer_is_lost_is_none_and_being_named_is_no_mastership() {
    let TakeoverUnderWay { mut engine, at_us, ask, note, durable_state, value } = shadow_taking_over();
    let mut actions = done(&mut engine, at_us + 20, note, ());
    actions.extend(tell_witness(&mut engine, at_us + 20, ask, holds(value, 1)));
    let (ask, tried) = swap(&actions);
    let actions = tell_witness(&mut engine, at_us + 30, ask, WitnessAnswer::Unknown { reason: "late".to_owned() });
    let (ask, what) = question(&actions);
    assert_eq!((what, engine.node_state()), (WitnessQuestion::Read, NodeState::Following));
    // It landed after all. Rule 8: it tries again, with a new term, and waits for nobody's lease.
    let _ = tell_witness(&mut engine, at_us + 40, ask, holds(tried, 2));
    assert!(!engine.authority().serving);
    let mut time = at_us + 40;
    while engine.node_state() != NodeState::AskingWitness {
        let _ = settle_state(&mut engine, time);
        time += 50 * MS;
        assert!(time < at_us + 2 * SECOND, "it never tried again");
        let _ = engine.handle(now(time), Event::Timer);
    }
    assert!(engine.durable_state().tried > durable_state.tried);
}

/// The simulator found a pair in which nobody served: the one that the record named had yielded to a term tried in vain.
#[test]
fn a_term_that_was_tried_in_vain_makes_no_master_yield() {
    let (mut engine, epoch) = witnessed_master(Replication::Asynchronous);
    let _ = engine.handle(now(100 * MS), Event::LinkUp { link: LINK, dialled: false });
    let position = position(Epoch::FIRST, 5);
    let rival = Hello {
        epoch: epoch.promoted(7),
        serving: false,
        ..hello_of(Role::Master, SHADOW, position, history(&[(Epoch::FIRST, 1)]))
    };
    let _ = engine.handle(now(200 * MS), Event::Message { link: LINK, message: Message::Hello(Box::new(rival)) });
    assert_eq!(engine.node_state(), NodeState::Serving);
}

/// The simulator found a shadow whose visible configuration went back: its master did not know yet what it held.
#[test]
fn a_full_push_of_less_than_what_is_here_is_answered_with_what_is_here() {
    let mut engine = following_shadow();
    let older = history(&[(Epoch::FIRST, 1)]);
    let header = crate::protocol::wire::SnapshotHeader {
        transfer: 3,
        position: position(Epoch::FIRST, 4),
        history: older,
        chain: 0,
        entries: 1,
        bytes: 1,
    };
    let actions =
        engine.handle(now(400), Event::Message { link: LINK, message: Message::Repair(Repair::Full(header)) });
    assert_eq!(batch_count(&actions), 0, "{actions:#?}");
    assert_eq!(sent(&actions), [Message::Ack { position: position(Epoch::FIRST, 5), received: 0 }]);
}

#[test]
fn a_shadow_that_is_not_in_sync_does_not_take_over_and_an_operator_is_told_what_is_missing() {
    let (mut engine, actions) =
        start_witnessed(shadow_state(0), position(Epoch::FIRST, 5), options(Replication::Synchronous));
    let (ask, _) = question(&actions);
    let actions = store_state(&mut engine, MS, actions);
    assert!(!actions.is_empty());
    let _ = tell_witness(&mut engine, 10 * MS, ask, holds(record(MASTER, Epoch::FIRST, None, 8), 1));
    assert_eq!(engine.status(Moment(20 * MS), 0).why_not, [TakeoverBlocker::NoContact, TakeoverBlocker::NotInSync]);
    let take_over = |accept_loss| if accept_loss { Command::TakeOverAcceptingLoss } else { Command::TakeOver };
    let actions = engine.handle(now(30 * MS), Event::Command { ticket: Ticket(1), command: take_over(false) });
    let missing = Some((at(Epoch::FIRST, 6), at(Epoch::FIRST, 8)));
    assert!(actions.contains(&answered(1, Err(CommandRefusal::Loss { missing }))), "{actions:#?}");
    // With the loss accepted it waits for the lease all the same.
    let actions = engine.handle(now(40 * MS), Event::Command { ticket: Ticket(2), command: take_over(true) });
    assert_eq!(batch_count(&actions), 0, "{actions:#?}");
    assert!(!actions.iter().any(is_answer), "{actions:#?}");
}

#[test]
fn a_promise_is_durable_before_it_is_given() {
    let (mut engine, actions) =
        start_witnessed(shadow_state(0), position(Epoch::FIRST, 5), options(Replication::Asynchronous));
    let (stored, work) = batch(&actions);
    let Work::StoreState(Order { job: StoreState { state: durable_state, .. }, .. }) = work else { panic!("{work:?}") };
    assert_eq!(durable_state.promised_ms, 3_500);
    let _ = engine.handle(now(100), Event::LinkUp { link: LINK, dialled: true });
    let hello = hello_of(Role::Master, MASTER, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
    let _ = engine.handle(now(200), Event::Message { link: LINK, message: Message::Hello(Box::new(hello)) });
    let beat = |nonce| {
        let beat = Heartbeat {
            nonce,
            role: Role::Master,
            serving: true,
            epoch: Epoch::FIRST,
            position: position(Epoch::FIRST, 5),
            asks: false,
            wall_ms: 1_700_000_000_000,
        };
        Event::Message { link: LINK, message: Message::Heartbeat(beat) }
    };
    let promise = |actions: &[Action]| {
        sent(actions).into_iter().find_map(|message| match message {
            Message::HeartbeatAck(ack) => Some(ack.promise),
            _ => None,
        })
    };
    assert_eq!(promise(&engine.handle(now(300), beat(1))), Some(Duration::ZERO));
    let _ = done(&mut engine, 400, stored, ());
    assert_eq!(promise(&engine.handle(now(500), beat(2))), Some(Duration::from_millis(3_500)));
}

/// The epoch that a master without a past chooses, whose peer knows of none and whose witness says this.
fn first_epoch(said: WitnessAnswer) -> Epoch {
    let durable_state = DurableState { witnessed: Epoch::NONE, ..master_state() };
    let (mut engine, actions) =
        start_at(durable_state, Position::NONE, History::default(), options(Replication::Synchronous));
    let (ask, _) = question(&actions);
    let _ = store_state(&mut engine, 5, actions);
    let _ = tell_witness(&mut engine, 10 * MS, ask, said);
    let _ = engine.handle(now(20 * MS), Event::LinkUp { link: LINK, dialled: true });
    let hello = hello_of(Role::Shadow, SHADOW, Position::NONE, History::default());
    let mut actions =
        engine.handle(now(30 * MS), Event::Message { link: LINK, message: Message::Hello(Box::new(hello)) });
    actions.extend(settle_state(&mut engine, 40 * MS));
    let nonce = sent(&actions).iter().find_map(|message| match message {
        Message::Heartbeat(Heartbeat { nonce, .. }) => Some(*nonce),
        _ => None,
    });
    let promise = Options::default().lease();
    let (role, epoch, position) = (Role::Shadow, Epoch::NONE, Position::NONE);
    let ack = HeartbeatAck { nonce: nonce.unwrap(), role, epoch, position, promise };
    let actions = engine.handle(now(50 * MS), Event::Message { link: LINK, message: Message::HeartbeatAck(ack) });
    match batch(&actions) {
        (_, Work::BeginEra(order)) => order.job.era.epoch,
        (_, other) => panic!("{other:?}"),
    }
}

/// Rule 17 where the first master's disk was lost: it may be that only the witness knows of its first epoch.
#[test]
fn the_first_epoch_is_chosen_only_where_the_witness_knows_of_none() {
    assert_eq!(first_epoch(WitnessAnswer::Holds(None)), Epoch::FIRST);
    assert!(first_epoch(WitnessAnswer::Unknown { reason: "away".to_owned() }) > Epoch::FIRST);
}
