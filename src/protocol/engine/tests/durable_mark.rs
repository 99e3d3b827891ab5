//! A group that is pushed while it is made durable.

use super::callers::{answers, commit};
use super::*;
use crate::protocol::wire::{Bulk, Bye};

/// Ticket 1 is in the log as `epoch`/6 and was pushed. Returns its batch.
fn written(engine: &mut Engine, epoch: Epoch) -> u64 {
    let replicate = Event::Command { ticket: Ticket(9), command: Command::Replicate(Replication::Synchronous) };
    let _ = engine.handle(now(1_000), replicate);
    settle(engine, 1_100);
    let (batch, _) = batch(&commit(engine, 2_000, 1));
    let written = Written { head: position(epoch, 6), bytes: 100 };
    let actions = engine.handle(now(2_100), Event::Written { batch: BatchId(batch), written });
    let (after, upto) = (at(epoch, 5), at(epoch, 6));
    let push = |action: &&Action| matches!(action, Action::PushRecords { .. });
    let max_bytes = crate::model::limits::WINDOW_BYTES_MIN;
    let expected = Action::PushRecords { link: LINK, after, upto, durable: after, max_bytes };
    assert_eq!(actions.iter().filter(push).collect::<Vec<_>>(), [&expected]);
    let _ = engine.handle(now(2_200), Event::RecordsPushed { link: LINK, last: upto, bytes: 100, gone: false });
    batch
}

fn acknowledged(engine: &mut Engine, at_us: u64, epoch: Epoch) -> Vec<Action> {
    let ack = Message::Ack { position: position(epoch, 6), received: 172 };
    engine.handle(now(at_us), Event::Message { link: LINK, message: ack })
}

fn durable(engine: &mut Engine, at_us: u64, batch: u64, epoch: Epoch) -> Vec<Action> {
    let verdicts = vec![(Ticket(1), Ok(at(epoch, 6)))];
    let receipt = GroupReceipt { verdicts, head: position(epoch, 6), log_floor: Revision::NONE };
    done(engine, at_us, batch, receipt)
}

#[test]
fn an_acknowledgement_needs_both_disks_whichever_is_first() {
    for shadow_first in [true, false] {
        let (mut engine, epoch) = leading_master();
        let batch = written(&mut engine, epoch);
        let (first, second) = if shadow_first {
            (acknowledged(&mut engine, 3_000, epoch), durable(&mut engine, 3_100, batch, epoch))
        } else {
            (durable(&mut engine, 3_000, batch, epoch), acknowledged(&mut engine, 3_100, epoch))
        };
        assert_eq!(answers(&first), []);
        assert!(!first.iter().any(|action| matches!(action, Action::Confirm { .. } | Action::Publish { .. })));
        assert_eq!(answers(&second), [committed(1, at(epoch, 6), true)]);
        assert!(second.contains(&Action::Confirm { upto: at(epoch, 6) }), "{second:#?}");
        let told = sent(if shadow_first { &second } else { &first });
        assert!(told.contains(&Message::Durable { upto: at(epoch, 6) }), "{told:#?}");
    }
}

#[test]
fn a_shadow_that_says_that_it_stops_is_not_waited_for() {
    let (mut engine, epoch) = leading_master();
    let batch = written(&mut engine, epoch);
    let actions = durable(&mut engine, 3_000, batch, epoch);
    assert_eq!(answers(&actions), []);
    let bye = Event::Message { link: LINK, message: Message::Bye(Bye::Shutdown) };
    let actions = engine.handle(now(3_100), bye);
    assert_eq!(answers(&actions), [committed(1, at(epoch, 6), false)]);
}

#[test]
fn a_group_whose_sync_failed_is_in_doubt_and_the_link_is_closed() {
    let (mut engine, epoch) = leading_master();
    let batch = written(&mut engine, epoch);
    let _ = acknowledged(&mut engine, 3_000, epoch);
    let work = engine.work.in_flight().unwrap().clone();
    assert_eq!(work.batch(), BatchId(batch));
    let failed = work.fail(DiskFailure { full: false, reason: "input/output error".to_owned() });
    let actions = engine.handle(now(3_100), Event::Persisted(failed));
    let refusal = CommitRefusal::InDoubt { revision: at(epoch, 6) };
    assert_eq!(answers(&actions), [Action::AnswerCommit { ticket: Ticket(1), answer: Err(refusal) }]);
    assert!(actions.contains(&Action::Close { link: LINK }), "{actions:#?}");
}

#[test]
fn a_shadow_shows_what_its_master_says_to_be_durable() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let (after, last) = (at(Epoch::FIRST, 5), at(Epoch::FIRST, 6));
    let what = Bulk::Records { after, last, durable: after };
    let actions = engine.handle(now(400), Event::Bulk { link: LINK, bulk: BulkId(1), what, bytes: 100 });
    let (batch, work) = batch(&actions);
    assert!(matches!(work, Work::AppendRecords(order) if order.job.durable == after));
    let head = position(Epoch::FIRST, 6);
    let receipt = RecordsReceipt::Appended { head, log_floor: Revision::NONE, eras: Vec::new() };
    let actions = done(&mut engine, 500, batch, receipt);
    assert!(sent(&actions).contains(&Message::Ack { position: head, received: 100 }), "{actions:#?}");
    assert!(!actions.iter().any(|action| matches!(action, Action::Publish { .. })), "{actions:#?}");
    let actions = tell(&mut engine, 600, Message::Durable { upto: last });
    assert!(actions.contains(&Action::Publish { upto: last }), "{actions:#?}");
}

/// A master that lost its last group in a crash has no older disk. One that lacks what its shadow has shown has.
#[test]
fn what_was_never_durable_is_no_older_disk() {
    for (shown, told) in [(5, false), (6, true)] {
        let state = DurableState { peer: Some(peer(SHADOW)), ..DurableState::first_master(MASTER, PAIR) };
        let history = history(&[(Epoch::FIRST, 1)]);
        let (mut engine, _) = begin(state, position(Epoch::FIRST, 5), history.clone());
        let _ = engine.handle(now(100), Event::LinkUp { link: LINK, dialled: true });
        let mut hello = hello_of(Role::Shadow, SHADOW, position(Epoch::FIRST, 6), history);
        hello.log.shown = at(Epoch::FIRST, shown);
        let _ = tell(&mut engine, 200, Message::Hello(Box::new(hello)));
        let alerts = engine.status(Moment(300), 0).alerts;
        assert_eq!(alerts.iter().any(|alert| alert.kind == AlertKind::RolledBack), told);
    }
}
