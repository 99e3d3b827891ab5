//! Who may enrol, and a shadow that is replaced.

use super::pending_updates::{inviting_master, token};
use super::witnessed::{question, settle_state, swapped, tell_witness, witnessed_master};
use super::*;
use crate::protocol::wire::Bye;

const MS: u64 = 1_000;
const OTHER: NodeId = NodeId([3; 32]);

fn asks(engine: &mut Engine, at_us: u64, node: NodeId, proof: EnrolProof) -> EnrolVerdict {
    let asked = Event::EnrolAsked {
        own_key: own_keys().current,
        ask: at_us,
        peer: Box::new(peer(node)),
        proof,
        from: "there".into(),
    };
    let actions = engine.handle(now(at_us), asked);
    let verdict = actions.into_iter().find_map(|action| match action {
        Action::AnswerEnrol { ask, verdict } if ask == at_us => Some(verdict),
        _ => None,
    });
    verdict.expect("it is answered at once")
}

fn refused(kind: &'static str) -> EnrolVerdict {
    EnrolVerdict::Refused { kind }
}

fn of_commands(actions: &[Action]) -> Vec<&Action> {
    actions.iter().filter(|action| is_answer(action)).collect()
}

/// Who has proved nothing gets one word, whatever is the matter with it and with the node.
#[test]
fn without_a_proof_there_is_one_answer() {
    let (enrolled, _) = leading_master();
    for (what, mut engine) in [
        ("disabled", lone_master()),
        ("open", inviting_master()),
        ("enrolled", enrolled),
        ("shadow", following_shadow()),
    ] {
        for (at_us, proof) in [(SECOND, EnrolProof::Nothing), (SECOND + 1, EnrolProof::Token(9))] {
            assert_eq!(asks(&mut engine, at_us, OTHER, proof), refused("wrong_proof"), "{what}");
        }
    }
}

#[test]
fn who_has_proved_itself_learns_why_it_is_refused() {
    let (mut enrolled, _) = leading_master();
    assert_eq!(asks(&mut enrolled, SECOND, OTHER, EnrolProof::User), refused("ha_disabled"));
    let _ = command(&mut enrolled, SECOND + 10, 1, Command::Enable);
    settle(&mut enrolled, SECOND + 20);
    assert_eq!(asks(&mut enrolled, SECOND + 30, OTHER, EnrolProof::User), refused("shadow_enrolled"));
    // The answer to its enrolment was lost: its key is proof enough.
    let welcome = EnrolVerdict::Accepted { pair: PAIR };
    assert_eq!(asks(&mut enrolled, SECOND + 40, SHADOW, EnrolProof::Nothing), welcome);
    assert_eq!(asks(&mut following_shadow(), SECOND, OTHER, EnrolProof::User), refused("not_master"));
    assert_eq!(asks(&mut inviting_master(), SECOND, MASTER, EnrolProof::Token(0)), refused("same_node"));
}

#[test]
fn a_user_enrols_a_shadow_unless_it_was_forbidden_meanwhile() {
    for forbidden in [false, true] {
        let mut engine = inviting_master();
        let welcome = EnrolVerdict::Accepted { pair: PAIR };
        assert_eq!(asks(&mut engine, 100, SHADOW, EnrolProof::User), welcome);
        if forbidden {
            let _ = command(&mut engine, 110, 3, Command::Disable);
            settle(&mut engine, 111);
        }
        let _ = engine.handle(now(120), Event::EnrolConfirmed { ask: 100 });
        settle(&mut engine, 121);
        assert_eq!(engine.durable_state().peer.is_some(), !forbidden);
    }
}

#[test]
fn a_replacement_is_refused_where_nobody_can_be_replaced() {
    let replace = || Command::ReplaceShadow(token(5));
    let refused = |actions: &[Action], refusal| {
        assert_eq!(of_commands(actions), [&answered(7, Err(refusal))]);
        assert_eq!(batch_count(actions), 0, "{actions:#?}");
    };
    refused(&command(&mut inviting_master(), 100, 7, replace()), CommandRefusal::NoPeer);
    refused(&command(&mut lone_master(), 100, 7, replace()), CommandRefusal::Disabled);
    let at_the_master = CommandRefusal::NotMaster { master: Some("there:1".into()) };
    refused(&command(&mut following_shadow(), 350, 7, replace()), at_the_master);
}

/// The token would name the old key, which goes as soon as there is no shadow that must permit the next one.
#[test]
fn a_shadow_is_not_replaced_while_this_nodes_key_is_renewed() {
    let mut engine = enabled_master();
    let _ = command(&mut engine, 850, 6, Command::Rotate);
    let actions = command(&mut engine, 900, 7, Command::ReplaceShadow(token(5)));
    assert_eq!(of_commands(&actions), [&answered(7, Err(CommandRefusal::RotationUnderWay))]);
    assert!(!sent(&actions).contains(&Message::Bye(Bye::Reset)));
}

fn enabled_master() -> Engine {
    let (mut engine, _) = leading_master();
    settle(&mut engine, 700);
    let _ = command(&mut engine, 800, 1, Command::Enable);
    settle(&mut engine, 801);
    engine
}

/// One write ends the old pin and keeps the new token; the link ends before anything is answered, and without a word: the old shadow
/// is not replaced before the write is durable.
#[test]
fn a_replaced_shadow_loses_its_link_and_its_pin_in_one_step() {
    let mut engine = enabled_master();
    let actions = command(&mut engine, 900, 7, Command::ReplaceShadow(token(5)));
    assert!(!sent(&actions).contains(&Message::Bye(Bye::Reset)), "{actions:#?}");
    assert!(actions.contains(&Action::Close { link: LINK }), "{actions:#?}");
    assert_eq!(of_commands(&actions), Vec::<&Action>::new());
    let (stored, work) = batch(&actions);
    let Work::StoreState(order) = work else { panic!("{work:?}") };
    assert_eq!((&order.job.state.peer, &order.job.state.tokens[..]), (&None, &[token(5)][..]));
    assert!(engine.durable_state().peer.is_some(), "not before it is durable");
    // The old shadow dials meanwhile.
    let actions = engine.handle(now(950), Event::LinkUp { link: LinkId(9), dialled: false });
    assert_eq!(actions[0], Action::Close { link: LinkId(9) });
    let actions = done(&mut engine, 1_000, stored, ());
    assert_eq!(of_commands(&actions), [&answered(7, Ok(()))]);
    assert!(engine.authority().serving && engine.durable_state().peer.is_none());
    assert_eq!(
        asks(&mut engine, 1_100, SHADOW, EnrolProof::Nothing),
        refused("wrong_proof"),
        "its key is no proof now"
    );
    assert_eq!(asks(&mut engine, 1_200, OTHER, EnrolProof::Token(0)), EnrolVerdict::Accepted { pair: PAIR });
}

#[test]
fn a_replacement_that_cannot_be_stored_leaves_the_shadow() {
    let mut engine = enabled_master();
    let (stored, _) = batch(&command(&mut engine, 900, 7, Command::ReplaceShadow(token(5))));
    let actions = fails(&mut engine, 950, stored, DiskFailure { full: true, reason: "full".into() });
    assert_eq!(of_commands(&actions), [&answered(7, Err(CommandRefusal::DiskFull))]);
    assert_eq!(engine.durable_state().peer.as_ref().map(|peer| peer.node), Some(SHADOW));
    assert!(engine.durable_state().tokens.is_empty());
}

/// A shadow that its master forgot does not take over when that is silent, since it is refused and not alone.
#[test]
fn a_shadow_that_was_replaced_does_not_take_over() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let _ = tell(&mut engine, 400, Message::Bye(Bye::Reset));
    settle(&mut engine, 401);
    for second in 1..30 {
        let dial = Event::DialFailed { how: DialFailureKind::Unreachable, reason: "nobody".into() };
        let actions = engine.handle(now(second * SECOND), dial);
        assert!(!actions.iter().any(|action| matches!(action, Action::AskMayTakeOver { .. })), "{actions:#?}");
        settle(&mut engine, second * SECOND + 1);
    }
    assert!(engine.status(Moment(31 * SECOND), 0).why_not.contains(&TakeoverBlocker::Refused));
}

/// A master with a witness whose record names its shadow as in sync. An operator replaces the shadow: the swap that is to clear
/// the flag.
fn replacing() -> (Engine, u64) {
    let (mut engine, _) = witnessed_master(Replication::Synchronous);
    let _ = command(&mut engine, 60 * MS, 1, Command::Enable);
    let _ = settle_state(&mut engine, 61 * MS);
    let actions = command(&mut engine, 70 * MS, 7, Command::ReplaceShadow(token(5)));
    assert_eq!((batch_count(&actions), of_commands(&actions)), (0, Vec::new()), "the record comes first");
    let (ask, what) = question(&actions);
    let WitnessQuestion::Swap { record, .. } = what else { panic!("{what:?}") };
    assert_eq!((record.holder, record.in_sync), (MASTER, None));
    (engine, ask)
}

/// Rule 24.
#[test]
fn with_a_witness_a_shadow_is_replaced_once_the_record_does_not_name_it() {
    let (mut engine, ask) = replacing();
    let actions = tell_witness(&mut engine, 80 * MS, ask, swapped(9));
    assert_eq!(of_commands(&actions), Vec::<&Action>::new());
    let (stored, work) = batch(&actions);
    let Work::StoreState(order) = work else { panic!("{work:?}") };
    assert_eq!(order.job.state.peer, None);
    // No renewal names it meanwhile.
    let actions = engine.handle(now(2 * SECOND), Event::Timer);
    let (ask, what) = question(&actions);
    let WitnessQuestion::Swap { record, .. } = what else { panic!("{what:?}") };
    assert_eq!(record.in_sync, None);
    let _ = tell_witness(&mut engine, 2 * SECOND + 1, ask, swapped(10));
    let actions = done(&mut engine, 2 * SECOND + 2, stored, ());
    assert_eq!(of_commands(&actions), [&answered(7, Ok(()))]);
    assert!(engine.durable_state().peer.is_none() && engine.authority().serving);
}

#[test]
fn a_witness_that_does_not_answer_refuses_a_replacement() {
    let (mut engine, ask) = replacing();
    let answer = WitnessAnswer::Unknown { reason: "no answer".into() };
    let actions = tell_witness(&mut engine, 80 * MS, ask, answer);
    assert_eq!(of_commands(&actions), [&answered(7, Err(CommandRefusal::WitnessUnreachable))]);
    assert_eq!(engine.durable_state().peer.as_ref().map(|peer| peer.node), Some(SHADOW));
    // What it may still do is undone by the next renewal.
    let (mut engine, _) = replacing();
    let mut told = Vec::new();
    for step in 0..200 {
        told.extend(engine.handle(now(100 * MS + step * 100 * MS), Event::Timer));
    }
    let answers: Vec<_> = of_commands(&told);
    assert_eq!(answers, [&answered(7, Err(CommandRefusal::WitnessUnreachable))], "no answer at all");
}

#[test]
fn a_node_that_stops_refuses_a_replacement_under_way() {
    let (mut engine, _) = replacing();
    let mut actions = command(&mut engine, 80 * MS, 8, Command::Shutdown);
    for step in 1..100 {
        actions.extend(settle_state(&mut engine, (80 + step) * MS));
        actions.extend(engine.handle(now((80 + step * 100) * MS), Event::Timer));
    }
    let told: Vec<_> = of_commands(&actions);
    assert!(told.iter().any(|answer| matches!(answer, Action::AnswerCommand { ticket: Ticket(7), answer: Err(_) })));
}
