//! Updates of the durable state that could not be stored: nothing of them is in force.

use super::*;
use crate::protocol::alerts::Alert;
use crate::protocol::alerts::NewAlert;

const FULL: &str = "no space";

fn fail(engine: &mut Engine, at_us: u64, full: bool) -> Vec<Action> {
    let pending = batch_in_flight(engine);
    let failure = DiskFailure { full, reason: FULL.to_owned() };
    fails(engine, at_us, pending, failure)
}

fn refused(ticket: u64, refusal: CommandRefusal) -> Action {
    answered(ticket, Err(refusal))
}

fn disk() -> CommandRefusal {
    CommandRefusal::Disk { reason: FULL.to_owned() }
}

fn in_doubt() -> CommandRefusal {
    CommandRefusal::InDoubt { reason: FULL.to_owned() }
}

fn answers(actions: &[Action]) -> Vec<Action> {
    let answer = |action: &&Action| is_answer(action) || matches!(action, Action::AnswerEnrol { .. });
    actions.iter().filter(answer).cloned().collect()
}

fn state_of(actions: &[Action]) -> DurableState {
    match batch(actions).1 {
        Work::StoreState(order) => *order.job.state,
        other => panic!("{other:?}"),
    }
}

pub(super) fn token(secret: u8) -> StoredToken {
    StoredToken { secret: [secret; 16], expires_ms: u64::MAX }
}

fn alerts(engine: &Engine) -> Vec<Alert> {
    engine.status(Moment(0), u64::MAX).alerts
}

/// A master with an alert, whose shadow is enrolled and away.
fn master_with_an_alert() -> Engine {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let _ = engine
        .handle(now(800), Event::Unpermitted { from: "there".into(), reason: "no".into(), shown: None, times: 1 });
    settle(&mut engine, 801);
    let _ = engine.handle(now(900), Event::LinkDown { link: LINK, reason: "x".into() });
    settle(&mut engine, 901);
    assert_eq!(alerts(&engine).len(), 1);
    engine
}

/// A master that is enabled and has a token alive.
pub(super) fn inviting_master() -> Engine {
    let mut engine = lone_master();
    let _ = command(&mut engine, 20, 1, Command::Enable);
    settle(&mut engine, 21);
    let _ = command(&mut engine, 30, 2, Command::Token(token(1)));
    settle(&mut engine, 31);
    engine
}

#[test]
fn a_full_disk_leaves_nothing_of_a_command() {
    let mut engine = lone_master();
    let before = engine.durable_state().clone();
    let actions = command(&mut engine, 20, 1, Command::Enable);
    let written = DurableState { enabled: true, ..before.clone() };
    let purpose = StatePurpose::Keep { promised_ms: written.promised_ms };
    let work = Work::from(StoreState { state: Box::new(written), purpose }).numbered(BatchId(2));
    assert_eq!(actions, [Action::Persist(work), timer(5 * SECOND + 20)]);
    assert_eq!(engine.durable_state(), &before, "nothing is in force before it is durable");

    let actions = fail(&mut engine, 30, true);
    let alert = alerts(&engine)[0].clone();
    assert_eq!(alert.kind, AlertKind::DiskTrouble);
    assert_eq!(
        actions,
        [
            Action::Notify(Notice::Alert { change: AlertChange::Raised, alert }),
            refused(1, CommandRefusal::DiskFull),
            timer(SECOND + 30),
        ]
    );
    assert_eq!(engine.durable_state(), &before);
    // What is written next holds the alert and nothing of the command.
    let next = state_of(&engine.handle(now(SECOND + 30), Event::Timer));
    assert_eq!(DurableState { alerts: Vec::new(), next_alert: 1, ..next }, before);
}

#[test]
fn a_failed_disk_refuses_once_nothing_is_left() {
    let mut engine = lone_master();
    let before = engine.durable_state().clone();
    let _ = command(&mut engine, 20, 1, Command::Enable);
    let actions = fail(&mut engine, 30, false);
    assert_eq!(answers(&actions), [], "it may be on the disk");
    assert_eq!(engine.durable_state(), &before);
    let (reopen, work) = batch(&actions);
    assert!(matches!(work, Work::Reopen(_)), "{work:?}");
    let head = Position { revision: at(Epoch::FIRST, 0), digest: Digest::ZERO };
    let history = history(&[(Epoch::FIRST, 1)]);
    let receipt = reopened(head, history, None);
    let (era, work) = batch(&done(&mut engine, 40, reopen, receipt));
    let Work::BeginEra(Order { job: BeginEra { state: durable_state, era: Era { epoch, .. } }, .. }) = work else {
        panic!("{work:?}")
    };
    assert!(!durable_state.enabled, "the era's durable state hold what was refused");
    let head = Position { revision: at(epoch, 0), ..head };
    let actions = done(&mut engine, 50, era, EraReceipt { head, log_floor: Revision::NONE });
    assert_eq!(answers(&actions), [refused(1, disk())]);
}

#[test]
fn a_disk_that_fails_again_leaves_a_command_in_doubt() {
    let mut engine = lone_master();
    let _ = command(&mut engine, 20, 1, Command::Enable);
    let _ = fail(&mut engine, 30, false);
    assert_eq!(answers(&fail(&mut engine, 40, false)), [refused(1, in_doubt())]);
    assert!(!engine.durable_state().enabled);
}

#[test]
fn whoever_stops_the_node_meanwhile_is_told_too() {
    let mut engine = lone_master();
    let _ = command(&mut engine, 20, 1, Command::Enable);
    let _ = fail(&mut engine, 30, false);
    let _ = command(&mut engine, 35, 2, Command::Shutdown);
    let told = answers(&fail(&mut engine, 40, false));
    assert_eq!(told, [refused(1, in_doubt()), answered(2, Ok(()))]);
}

#[test]
fn what_was_said_on_the_ground_of_what_failed_fails_with_it() {
    let mut engine = lone_master();
    let before = engine.durable_state().clone();
    let _ = command(&mut engine, 20, 1, Command::Enable);
    let actions = command(&mut engine, 21, 2, Command::Token(token(1)));
    assert_eq!(actions, [], "enabled is about to be so");
    let stranger = Event::Unpermitted { from: "there".into(), reason: "no".into(), shown: None, times: 1 };
    let _ = engine.handle(now(22), stranger);
    let actions = fail(&mut engine, 30, true);
    assert_eq!(answers(&actions), [refused(1, CommandRefusal::DiskFull), refused(2, CommandRefusal::DiskFull)]);
    assert_eq!(engine.durable_state(), &before);
    // The engine's own change of the durable state stays, and is written.
    let kinds: Vec<AlertKind> = alerts(&engine).iter().map(|alert| alert.kind).collect();
    assert_eq!(kinds, [AlertKind::UnpermittedPeer, AlertKind::DiskTrouble]);
    let next = state_of(&engine.handle(now(SECOND + 30), Event::Timer));
    assert_eq!((next.enabled, next.tokens.len(), next.alerts.len()), (false, 0, 2));
}

#[test]
fn what_is_durable_is_in_force_in_the_order_in_which_it_was_said() {
    let mut engine = lone_master();
    let (first, _) = batch(&command(&mut engine, 20, 1, Command::Enable));
    assert_eq!(command(&mut engine, 21, 2, Command::Token(token(1))), []);
    let actions = done(&mut engine, 30, first, ());
    assert_eq!(answers(&actions), [answered(1, Ok(()))]);
    assert!(engine.durable_state().enabled && engine.durable_state().tokens.is_empty());
    let (second, _) = batch(&actions);
    assert_eq!(state_of(&actions).tokens, [token(1)]);
    // A refusal needs no disk.
    assert_eq!(answers(&command(&mut engine, 31, 3, Command::Acknowledge { alert: 9 })).len(), 1);
    let _ = command(&mut engine, 32, 4, Command::Disable);
    let actions = done(&mut engine, 40, second, ());
    assert_eq!(answers(&actions), [answered(2, Ok(()))]);
    assert_eq!(engine.durable_state().tokens, [token(1)]);
    settle(&mut engine, 50);
    assert_eq!((engine.durable_state().enabled, engine.durable_state().tokens.len()), (false, 0));
}

#[test]
fn a_refused_reset_leaves_the_peer_and_the_alerts() {
    let mut engine = master_with_an_alert();
    let (durable_state, alert_log) = (engine.durable_state().clone(), alerts(&engine));
    let actions = command(&mut engine, 950, 1, Command::Reset);
    let written = state_of(&actions);
    assert_eq!((written.peer, written.alerts), (None, Vec::new()));
    assert_eq!(alerts(&engine), alert_log);
    // Nothing begins with a peer that is about to be forgotten.
    let actions = engine.handle(now(960), Event::LinkUp { link: LinkId(2), dialled: false });
    assert_eq!(actions, [Action::Close { link: LinkId(2) }, timer(960 + SECOND)]);
    for time in 961..969 {
        let dials = |action: &Action| matches!(action, Action::Dial { .. });
        assert!(!engine.handle(now(time * 1_000), Event::Timer).iter().any(dials), "for a link that would be closed");
    }
    let actions = fail(&mut engine, 970_000, true);
    assert_eq!(answers(&actions), [refused(1, CommandRefusal::DiskFull)]);
    let cleared =
        |action: &Action| matches!(action, Action::Notify(Notice::Alert { change: AlertChange::Cleared, .. }));
    assert!(!actions.iter().any(cleared), "{actions:#?}");
    assert_eq!(engine.durable_state(), &durable_state);
    assert_eq!(alerts(&engine)[..1], alert_log);
    let _ = engine.handle(now(980_000), Event::LinkUp { link: LinkId(3), dialled: false });
    assert_eq!(engine.links.ids(), [LinkId(3)]);
}

#[test]
fn a_shadow_that_is_being_reset_does_not_take_over() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let _ = engine.handle(now(SECOND), Event::LinkDown { link: LINK, reason: "x".into() });
    settle(&mut engine, SECOND + 1);
    let _ = command(&mut engine, SECOND + 2, 1, Command::Reset);
    assert!(engine.status(Moment(SECOND + 3), 0).why_not.contains(&TakeoverBlocker::NoPeer));
    assert!(!engine.durable_state().detached);
    settle(&mut engine, SECOND + 4);
    assert!(engine.durable_state().detached && engine.durable_state().peer.is_none());
}

#[test]
fn a_refused_acknowledgement_leaves_the_alert_unseen() {
    let mut engine = master_with_an_alert();
    let alert = alerts(&engine)[0].id;
    let written = state_of(&command(&mut engine, 950, 1, Command::Acknowledge { alert }));
    assert!(written.alerts[0].acknowledged && !alerts(&engine)[0].acknowledged);
    let actions = fail(&mut engine, 960, true);
    assert_eq!(answers(&actions), [refused(1, CommandRefusal::DiskFull)]);
    assert!(!alerts(&engine)[0].acknowledged);
}

#[test]
fn the_same_trouble_is_seen_although_it_occurred_again_while_it_was_acknowledged() {
    let mut engine = master_with_an_alert();
    let alert = alerts(&engine)[0].id;
    let _ = command(&mut engine, 950, 1, Command::Acknowledge { alert });
    let _ = engine
        .handle(now(951), Event::Unpermitted { from: "there".into(), reason: "no".into(), shown: None, times: 1 });
    settle(&mut engine, 960);
    let standing = &alerts(&engine)[0];
    assert_eq!((standing.count, standing.acknowledged), (2, true));
}

#[test]
fn news_that_came_while_it_was_acknowledged_is_not_seen() {
    let mut engine = master_with_an_alert();
    let takeover = || NewAlert::new(AlertKind::Takeover, "this node", "it took over");
    engine.raise(now(940), takeover());
    settle(&mut engine, 945);
    let alert = alerts(&engine)[1].id;
    let _ = command(&mut engine, 950, 1, Command::Acknowledge { alert });
    engine.raise(now(951), takeover());
    settle(&mut engine, 960);
    let standing = &alerts(&engine)[1];
    assert_eq!((standing.count, standing.acknowledged), (2, false));
}

#[test]
fn a_refused_enrolment_leaves_the_token_good_and_nobody_pinned() {
    let mut engine = inviting_master();
    let before = engine.durable_state().clone();
    let ask = |engine: &mut Engine, ask: u64, at_us: u64| {
        let asked = Event::EnrolAsked {
            own_key: own_keys().current,
            ask,
            peer: Box::new(peer(SHADOW)),
            proof: EnrolProof::Token(0),
            from: "there".into(),
        };
        let _ = engine.handle(now(at_us), asked);
        engine.handle(now(at_us + 1), Event::EnrolConfirmed { ask })
    };
    let verdict = |ask, verdict| Action::AnswerEnrol { ask, verdict };
    let written = state_of(&ask(&mut engine, 1, 100));
    assert_eq!((written.peer.map(|peer| peer.node), written.tokens), (Some(SHADOW), Vec::new()));
    assert_eq!(engine.durable_state(), &before, "the door opens once it is durable");
    let actions = fail(&mut engine, 110, true);
    assert_eq!(answers(&actions), [verdict(1, EnrolVerdict::Refused { kind: "disk" })]);
    assert_eq!(engine.durable_state(), &before);
    assert_eq!(engine.status(Moment(120), 0).link.state, LinkState::None);

    let _ = engine.handle(now(2 * SECOND), Event::Timer);
    settle(&mut engine, 2 * SECOND + 1);
    let (stored, _) = batch(&ask(&mut engine, 2, 3 * SECOND));
    assert_eq!(answers(&done(&mut engine, 3 * SECOND + 10, stored, ())), [verdict(2, EnrolVerdict::Stored)]);
    assert_eq!(engine.durable_state().peer.as_ref().map(|peer| peer.node), Some(SHADOW));
    assert!(engine.durable_state().tokens.is_empty());
}

#[test]
fn a_token_enrols_one_even_while_that_is_being_stored() {
    let mut engine = inviting_master();
    let asked = |ask, node| Event::EnrolAsked {
        own_key: own_keys().current,
        ask,
        peer: Box::new(peer(node)),
        proof: EnrolProof::Token(0),
        from: "there".into(),
    };
    let _ = engine.handle(now(100), asked(1, SHADOW));
    let _ = engine.handle(now(101), Event::EnrolConfirmed { ask: 1 });
    let other = NodeId([3; 32]);
    let _ = engine.handle(now(102), asked(2, other));
    let actions = engine.handle(now(103), Event::EnrolConfirmed { ask: 2 });
    let refused = EnrolVerdict::Refused { kind: "shadow_enrolled" };
    assert_eq!(answers(&actions), [Action::AnswerEnrol { ask: 2, verdict: refused }]);
    settle(&mut engine, 110);
    assert_eq!(engine.durable_state().peer.as_ref().map(|peer| peer.node), Some(SHADOW));
}
