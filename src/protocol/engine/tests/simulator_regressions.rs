//! Regressions that the simulator found, reduced to the events that show them.

use super::callers::{answers, commit, stored};
use super::witnessed::*;
use super::*;
use crate::model::WitnessRecord;

const MS: u64 = 1_000;

/// The simulator found a master that yielded to a node whose take-over had been refused.
#[test]
fn a_takeover_that_a_full_disk_refused_was_never_said() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let _ = engine.handle(now(SECOND), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    settle(&mut engine, SECOND + 1);
    let before = (engine.durable_state().clone(), engine.epoch());
    let actions = command(&mut engine, 2 * SECOND, 1, Command::TakeOverAcceptingLoss);
    let (era, work) = batch(&actions);
    assert!(matches!(work, Work::BeginEra(_)), "{work:?}");
    let failure = DiskFailure { full: true, reason: "no space".to_owned() };
    let actions = fails(&mut engine, 2 * SECOND + 1, era, failure);
    assert_eq!(answers(&actions), [answered(1, Err(CommandRefusal::DiskFull))]);
    assert_eq!((engine.durable_state().clone(), engine.epoch()), before);
}

/// The simulator found a former master whose own changes were never set aside, so that it never followed: its disk was full,
/// and the master it was to follow started again before there was room.
#[test]
fn what_a_yielding_master_has_alone_is_saved_after_the_link_is_gone_too() {
    let (mut engine, epoch) = witnessed_master(Replication::Asynchronous);
    let _ = commit(&mut engine, 60 * MS, 1);
    let _ = stored(&mut engine, 61 * MS, 1, epoch, 6);
    let _ = settle_state(&mut engine, 62 * MS);
    // Its lease runs out.
    let _ = engine.handle(now(8 * SECOND), Event::Timer);
    let _ = settle_state(&mut engine, 8 * SECOND + 1);
    let _ = engine.handle(now(8 * SECOND + 63 * MS), Event::LinkUp { link: LinkId(2), dialled: true });
    let promoted = epoch.promoted(5);
    let lineage = history(&[(Epoch::FIRST, 1), (epoch, 6), (promoted, 6)]);
    let hello = hello_of(Role::Master, SHADOW, position(promoted, 9), lineage);
    let hello_event = |link, hello: &Hello| Event::Message { link, message: Message::Hello(Box::new(hello.clone())) };
    let _ = engine.handle(now(8 * SECOND + 64 * MS), hello_event(LinkId(2), &hello));
    refuse_all(&mut engine, 8 * SECOND + 65 * MS, &DiskFailure { full: true, reason: "no space".to_owned() });
    assert_eq!(engine.node_state(), NodeState::SteppingDown);
    let _ = engine.handle(now(8 * SECOND + 66 * MS), Event::LinkDown { link: LinkId(2), reason: "reset".to_owned() });
    // It has started again, and asks as a master that is none yet.
    let _ = engine.handle(now(8 * SECOND + 67 * MS), Event::LinkUp { link: LinkId(3), dialled: true });
    let sender = HelloSender { run: RunId(4), ..hello.sender.clone() };
    let _ =
        engine.handle(now(8 * SECOND + 68 * MS), hello_event(LinkId(3), &Hello { serving: false, sender, ..hello }));
    let mut actions = Vec::new();
    for beat in 9..12 {
        actions.extend(engine.handle(now(beat * SECOND), Event::Timer));
    }
    let saves = actions.iter().find_map(|action| match action {
        Action::Persist(work) => quarantine(work),
        _ => None,
    });
    assert_eq!(saves, Some(at(epoch, 5)), "{actions:#?}");
}

/// The disk refuses whatever is asked of it.
fn refuse_all(engine: &mut Engine, at_us: u64, failure: &DiskFailure) {
    for _ in 0..4 {
        let pending = batch_in_flight(engine);
        if pending != 0 {
            let _ = fails(engine, at_us, pending, failure.clone());
        }
    }
}

/// The simulator found a pair of which neither did anything: a batch of the link before was done between the peer's hello and
/// this node's, so that one judged by the position before it and the other by the one after.
#[test]
fn a_hello_that_comes_before_this_nodes_own_is_judged_when_that_is_said() {
    let mut engine = following_shadow();
    settle(&mut engine, 310);
    let epoch = Epoch::FIRST;
    let records =
        |after, last| Bulk::Records { after: at(epoch, after), last: at(epoch, last), durable: at(epoch, last) };
    let bulk = Event::Bulk { link: LINK, bulk: BulkId(1), what: records(5, 6), bytes: 10 };
    let (append, work) = batch(&engine.handle(now(400), bulk));
    assert!(matches!(work, Work::AppendRecords(_)), "{work:?}");
    let _ = engine.handle(now(410), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    let actions = engine.handle(now(420), Event::LinkUp { link: LinkId(2), dialled: true });
    assert_eq!(sent(&actions), [], "the append comes first");
    let hello = hello_of(Role::Master, MASTER, position(epoch, 6), history(&[(epoch, 1)]));
    let hello_event = Event::Message { link: LinkId(2), message: Message::Hello(Box::new(hello)) };
    let actions = engine.handle(now(430), hello_event);
    assert_eq!(engine.status(Moment(431), 0).link.state, LinkState::Handshake, "{actions:#?}");
    let head = position(epoch, 6);
    let receipt = RecordsReceipt::Appended { head, log_floor: Revision::NONE, eras: vec![] };
    let actions = done(&mut engine, 440, append, receipt);
    let said = sent(&actions).into_iter().find_map(|message| match message {
        Message::Hello(hello) => Some(hello.log.position),
        _ => None,
    });
    assert_eq!((said, engine.status(Moment(441), 0).link.state), (Some(head), LinkState::Syncing), "{actions:#?}");
}

/// The simulator found a shadow that led because its position was later than the recorded one, in another history.
#[test]
fn a_later_position_of_another_history_does_not_reach_the_record() {
    let (own, other) = (Epoch::FIRST.promoted(9), Epoch::FIRST.promoted(5));
    let lineage = history(&[(Epoch::FIRST, 1), (own, 6)]);
    let options = options(Replication::Asynchronous);
    let (mut engine, actions) = start_at(shadow_state(0), position(own, 5), lineage, options);
    let (ask, _) = question(&actions);
    let _ = store_state(&mut engine, MS, actions);
    let value = WitnessRecord { revision: at(other, 5), ..record(SHADOW, other, None, 5) };
    let _ = tell_witness(&mut engine, 10 * MS, ask, holds(value, 1));
    let _ = settle_state(&mut engine, 11 * MS);
    let why_not = engine.status(Moment(20 * MS), 0).why_not;
    assert!(why_not.contains(&TakeoverBlocker::BehindRecord), "{why_not:?}");
    assert_eq!(engine.node_state(), NodeState::Following);
}

/// The simulator found a master that had yielded once, had taken over since, and never served again after a restart of its
/// store: it still counted as outranked.
#[test]
fn whoever_took_over_is_outranked_no_more() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    engine.links.set_outranked(true);
    let _ = engine.handle(now(SECOND), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    settle(&mut engine, SECOND + 1);
    let (era, work) = batch(&command(&mut engine, 2 * SECOND, 1, Command::TakeOverAcceptingLoss));
    let Work::BeginEra(Order { job: BeginEra { era: begun, .. }, .. }) = work else { panic!("{work:?}") };
    let head = Position { revision: at(begun.epoch, 5), ..position(Epoch::FIRST, 5) };
    let _ = done(&mut engine, 2 * SECOND + 1, era, EraReceipt { head, log_floor: Revision::NONE });
    assert!(!engine.links.is_outranked());
}

/// The simulator found a pair that refused each other over an era in which nothing was committed.
#[test]
fn an_era_without_change_sets_is_no_reason_to_refuse_a_master() {
    let promoted = Epoch::FIRST.promoted(9);
    let durable_state = DurableState { complete: true, ..DurableState::first_shadow(SHADOW, PAIR, peer(MASTER)) };
    let (mut engine, _) = begin(durable_state, position(promoted, 5), history(&[(Epoch::FIRST, 1), (promoted, 6)]));
    let _ = engine.handle(now(100), Event::LinkUp { link: LINK, dialled: true });
    let hello = hello_of(Role::Master, MASTER, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
    let _ = tell(&mut engine, 200, Message::Hello(Box::new(hello)));
    assert_eq!(engine.status(Moment(201), 0).link.state, LinkState::Syncing);
    settle(&mut engine, 210);
    let header = crate::protocol::wire::SnapshotHeader {
        transfer: 3,
        position: position(Epoch::FIRST, 5),
        history: history(&[(Epoch::FIRST, 1)]),
        chain: 0,
        entries: 1,
        bytes: 1,
    };
    let (begun, work) = batch(&tell(&mut engine, 300, Message::Repair(Repair::Full(header.clone()))));
    assert_eq!(
        work,
        Work::from(BeginStaging { header: Box::new(header), onto: StagingBase::StagedOrCopy }).numbered(BatchId(begun))
    );
}

/// The simulator found a pair that nobody led: the host of a master refused what its disk had lost, and nobody asked again.
#[test]
fn a_host_that_refuses_what_its_disk_had_lost_is_asked_again() {
    let durable_state = DurableState { peer: Some(peer(SHADOW)), ..DurableState::first_master(MASTER, PAIR) };
    let (mut engine, _) = begin(durable_state, position(Epoch::FIRST, 3), history(&[(Epoch::FIRST, 1)]));
    let _ = engine.handle(now(100), Event::LinkUp { link: LINK, dialled: true });
    let hello = hello_of(Role::Shadow, SHADOW, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
    let _ = tell(&mut engine, 200, Message::Hello(Box::new(hello)));
    settle(&mut engine, 210);
    assert_eq!(engine.node_state(), NodeState::TakingTail);
    let _ = tell(&mut engine, 300, Message::Repair(Repair::Incremental { to: at(Epoch::FIRST, 5) }));
    let (first, last) = (at(Epoch::FIRST, 3), at(Epoch::FIRST, 5));
    let what = Bulk::Records { after: first, last, durable: last };
    let (append, _) = batch(&engine.handle(now(400), Event::Bulk { link: LINK, bulk: BulkId(1), what, bytes: 10 }));
    let receipt = RecordsReceipt::Rejected { at: last, reason: "no".to_owned() };
    let actions = done(&mut engine, 500, append, receipt);
    assert!(actions.contains(&Action::Close { link: LINK }), "{actions:#?}");
    let actions = engine.handle(now(3 * SECOND), Event::Timer);
    assert!(actions.iter().any(|action| matches!(action, Action::Dial { .. })), "{actions:#?}");
}
