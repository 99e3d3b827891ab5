//! A disk that does not answer: after the disk timeout the batch in flight counts as failed, and nothing waits for it.

use super::*;
use crate::model::limits::{CHANGE_SET_BYTES_MAX, DISK_RATE_MIN};

/// The disk timeout of [`Options::default`].
const TIMEOUT: u64 = 15 * SECOND;

/// Wakes the engine every half second up to this time; the peer is heard all the while.
fn wait(engine: &mut Engine, from_us: u64, to_us: u64) -> Vec<Action> {
    let mut all = Vec::new();
    let mut time = from_us;
    while time < to_us {
        time = (time + SECOND / 2).min(to_us);
        let beat = Heartbeat {
            nonce: time,
            role: if engine.durable_state().role == Role::Master { Role::Shadow } else { Role::Master },
            serving: engine.durable_state().role == Role::Shadow,
            epoch: engine.log.epoch(),
            position: engine.log.head(),
            asks: false,
            wall_ms: now(time).wall_ms,
        };
        all.extend(tell(engine, time, Message::Heartbeat(beat)));
        all.extend(engine.handle(now(time), Event::Timer));
    }
    all
}

fn disk_alerts(engine: &Engine) -> Vec<String> {
    let alerts = engine.status(Moment(0), 0).alerts;
    alerts.into_iter().filter(|alert| alert.kind == AlertKind::DiskTrouble).map(|alert| alert.subject).collect()
}

#[test]
fn a_master_whose_disk_hangs_lets_go_and_asks_again_when_it_answers() {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let epoch = engine.log.epoch();
    let next = at(epoch, engine.log.revision().seq + 1);
    let (hung, _) = batch(&engine.handle(now(SECOND), Event::Commit { ticket: Ticket(1), bytes: 10 }));
    let _ = engine.handle(now(SECOND + 1), Event::Commit { ticket: Ticket(2), bytes: 10 });
    let _ = command(&mut engine, SECOND + 2, 3, Command::Disable);
    let before = wait(&mut engine, SECOND, SECOND + TIMEOUT - 1);
    assert!(engine.authority().serving && !before.iter().any(is_answer), "it has time until then");
    assert_eq!(disk_alerts(&engine), ["this node's disk"]);

    let actions = engine.handle(now(SECOND + TIMEOUT), Event::Timer);
    let refused = [
        refused_commit(1, CommitRefusal::InDoubt { revision: next }),
        refused_commit(2, CommitRefusal::NotMaster { master: Some("there:1".to_owned()) }),
    ];
    let answers: Vec<_> = actions.iter().filter(|action| is_answer(action)).cloned().collect();
    assert_eq!(answers[..2], refused);
    assert!(matches!(&answers[2..], [Action::AnswerCommand { ticket: Ticket(3), answer: Err(_) }]), "{answers:?}");
    assert!(actions.contains(&Action::Close { link: LINK }), "the shadow hears nothing more: {actions:#?}");
    assert!(actions.contains(&role(Role::Master, false, epoch, RoleReason::DiskTrouble)), "{actions:#?}");
    assert_eq!(batch_count(&actions), 0, "nothing of it needs the disk");
    assert!(!engine.authority().serving);
    assert_eq!(engine.status(Moment(0), 0).why_not, [TakeoverBlocker::DiskTrouble]);

    // A link that comes up is closed, and nothing is asked of the disk as long as it hangs.
    let quiet = engine.handle(now(2 * TIMEOUT), Event::LinkUp { link: LinkId(2), dialled: false });
    assert!(quiet.contains(&Action::Close { link: LinkId(2) }), "{quiet:#?}");
    let quiet = engine.handle(now(2 * TIMEOUT + 1), Event::Timer);
    assert!(batch_count(&quiet) == 0 && sent(&quiet).is_empty(), "{quiet:#?}");

    // It was written after all. That is found out by opening the store; whoever asked was answered.
    let (head, verdicts) = (position(epoch, next.seq), vec![(Ticket(1), Ok(next))]);
    let actions = done(&mut engine, 3 * TIMEOUT, hung, GroupReceipt { verdicts, head, log_floor: Revision::NONE });
    assert!(!actions.iter().any(is_answer), "{actions:#?}");
    let (reopen, work) = batch(&actions);
    assert!(matches!(work, Work::Reopen(_)), "{work:?}");
    let lineage = engine.log.history().clone();
    let receipt = reopened(head, lineage, None);
    let actions = done(&mut engine, 3 * TIMEOUT + 1, reopen, receipt);
    assert!(actions.iter().any(|action| matches!(action, Action::Dial { .. })), "it asks its peer: {actions:#?}");
    assert!(!engine.authority().serving && disk_alerts(&engine).is_empty());
    assert_eq!(engine.log.revision(), next);
}

/// The largest change set, on a disk that writes 4 MB/s, takes longer than the disk timeout.
#[test]
fn a_large_change_set_has_the_time_that_a_slow_disk_needs_for_it() {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let bytes = CHANGE_SET_BYTES_MAX;
    let needed = bytes as u64 / 4;
    let (slow, _) = batch(&engine.handle(now(SECOND), Event::Commit { ticket: Ticket(1), bytes }));
    assert!(needed > TIMEOUT);
    let before = wait(&mut engine, SECOND, SECOND + needed);
    assert!(engine.authority().serving && !before.iter().any(is_answer), "it has time until then");
    assert!(disk_alerts(&engine).is_empty(), "it is not slow for what it writes");
    let next = at(engine.log.epoch(), engine.log.revision().seq + 1);
    let (head, verdicts) = (position(next.epoch, next.seq), vec![(Ticket(1), Ok(next))]);
    let receipt = GroupReceipt { verdicts, head, log_floor: Revision::NONE };
    let actions = done(&mut engine, SECOND + needed, slow, receipt);
    assert!(actions.iter().any(is_answer), "{actions:#?}");
    // The next one is small, and has no more time than usual.
    let then = SECOND + needed + 1;
    let _ = engine.handle(now(then), Event::Commit { ticket: Ticket(2), bytes: 10 });
    let _ = wait(&mut engine, then, then + TIMEOUT);
    assert!(!engine.authority().serving);
    // One that hangs is given up too.
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let _ = engine.handle(now(SECOND), Event::Commit { ticket: Ticket(1), bytes });
    let grace = bytes as u64 * 1_000 / DISK_RATE_MIN * 1_000;
    let _ = wait(&mut engine, SECOND, SECOND + TIMEOUT + grace - 1);
    assert!(engine.authority().serving);
    let _ = engine.handle(now(SECOND + TIMEOUT + grace), Event::Timer);
    assert!(!engine.authority().serving);
}

#[test]
fn a_shadow_whose_disk_hangs_says_so_to_its_master_and_does_not_take_over() {
    let mut engine = following_shadow();
    settle(&mut engine, 700);
    let what = Bulk::Records { after: at(Epoch::FIRST, 5), last: at(Epoch::FIRST, 6), durable: at(Epoch::FIRST, 6) };
    let actions = engine.handle(now(SECOND), Event::Bulk { link: LINK, bulk: BulkId(1), what, bytes: 100 });
    let (hung, _) = batch(&actions);
    // Records of the peer may wait for the host as well.
    let hook = Options::default().timeouts.hook.as_micros() as u64;
    let actions = wait(&mut engine, SECOND, SECOND + TIMEOUT + hook - 1);
    assert!(!actions.contains(&Action::Close { link: LINK }));
    let actions = engine.handle(now(SECOND + TIMEOUT + hook), Event::Timer);
    let told = sent(&actions).into_iter().any(|message| matches!(message, Message::DiskTrouble { full: false, .. }));
    assert!(told && actions.contains(&Action::Close { link: LINK }), "{actions:#?}");
    let actions = engine.handle(now(10 * TIMEOUT), Event::Timer);
    assert!(engine.status(Moment(10 * TIMEOUT), 0).why_not.contains(&TakeoverBlocker::DiskTrouble), "{actions:#?}");
    assert!(!actions.iter().any(|action| matches!(action, Action::AskMayTakeOver { .. } | Action::Persist(_))));
    let head = position(Epoch::FIRST, 6);
    let receipt = RecordsReceipt::Appended { head, log_floor: Revision::NONE, eras: Vec::new() };
    let actions = done(&mut engine, 10 * TIMEOUT + 1, hung, receipt);
    assert!(matches!(batch(&actions).1, Work::Reopen(_)));
}

#[test]
fn a_master_without_a_peer_waits_for_its_disk() {
    let mut engine = lone_master();
    let (hung, _) = batch(&engine.handle(now(20), Event::Commit { ticket: Ticket(1), bytes: 10 }));
    let actions = engine.handle(now(10 * TIMEOUT), Event::Timer);
    assert!(engine.authority().serving && !actions.iter().any(is_answer), "nobody could serve instead");
    let (head, verdicts) = (position(Epoch::FIRST, 1), vec![(Ticket(1), Ok(at(Epoch::FIRST, 1)))]);
    let receipt = GroupReceipt { verdicts, head, log_floor: Revision::NONE };
    let actions = done(&mut engine, 11 * TIMEOUT, hung, receipt);
    assert!(actions.contains(&committed(1, at(Epoch::FIRST, 1), false)), "{actions:#?}");
}

#[test]
fn a_stop_of_the_node_is_no_time_of_the_disk() {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let _ = engine.handle(now(SECOND), Event::Commit { ticket: Ticket(1), bytes: 10 });
    let _ = engine.handle(now(60 * SECOND), Event::Timer);
    assert!(batch_in_flight(&engine) != 0 && disk_alerts(&engine).is_empty(), "the disk had no time to answer");
    assert_ne!(engine.status(Moment(60 * SECOND), 0).why_not, [TakeoverBlocker::DiskTrouble]);
}

#[test]
fn a_shutdown_answers_nobody_twice() {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let _ = engine.handle(now(SECOND), Event::Commit { ticket: Ticket(1), bytes: 10 });
    let _ = wait(&mut engine, SECOND, SECOND + TIMEOUT);
    let _ = command(&mut engine, 2 * TIMEOUT, 2, Command::Shutdown);
    let actions = engine.handle(now(3 * TIMEOUT), Event::Abandoned);
    let answers: Vec<_> = actions.iter().filter(|action| is_answer(action)).cloned().collect();
    assert_eq!(answers, [answered(2, Ok(()))]);
    assert!(actions.contains(&Action::Stop));
}

#[test]
fn the_disk_timeout_belongs_to_the_timings() {
    let with = |delay, disk: Option<u64>| {
        let timeouts = Timeouts { disk: disk.map(Duration::from_millis), ..Timeouts::default() };
        Options { takeover_delay: Duration::from_millis(delay), timeouts, ..Options::default() }
    };
    assert_eq!(with(5_000, None).disk_timeout(), Some(Duration::from_secs(15)));
    assert_eq!(with(2_000, None).disk_timeout(), Some(Duration::from_secs(10)));
    assert_eq!(with(5_000, Some(0)).disk_timeout(), None);
    assert_eq!(with(5_000, Some(0)).validate(), Ok(()));
    assert_eq!(with(5_000, Some(5_001)).validate(), Ok(()));
    assert_eq!(with(5_000, Some(5_000)).validate(), Err(OptionsError::DiskTimeout));
    assert_eq!(with(24 * 3_600_000, None).validate(), Ok(()));
}
