//! The renewal of a key as a reviewed table: every state with every event. And the engine around it.

use super::*;
use crate::model::limits::{CERTIFICATE_RENEW_DAYS, CERTIFICATE_WARN_DAYS};
use crate::protocol::alerts::AlertKind;
use crate::protocol::engine::tests::tables::table;
use crate::protocol::engine::tests::{LINK, SECOND, command, following_shadow, lone_master, now, settle};
use crate::protocol::engine::{Action, Command, CommandRefusal, DiskFailure, Engine, Event};
use crate::protocol::wire::Message;

const OLD: KeyId = KeyId([1; 32]);
const NEXT: KeyId = KeyId([2; 32]);
const OTHER: KeyId = KeyId([3; 32]);

#[test]
fn the_renewal_of_a_key() {
    fn idle() -> Rotation {
        Rotation::new(OwnKeys::only(OLD))
    }
    fn making() -> Rotation {
        let mut rotation = idle();
        assert!(rotation.begin(Some((Ticket(7), Moment(5)))));
        rotation
    }
    fn offered() -> Rotation {
        let mut rotation = making();
        rotation.made(NEXT);
        rotation
    }
    fn using() -> Rotation {
        let mut rotation = offered();
        assert!(rotation.pinned(NEXT));
        rotation
    }
    fn show(rotation: &Rotation) -> String {
        let OwnKeys { current, next } = rotation.keys();
        format!(
            "{:?}, {}, next {:?}, waits {:?}",
            rotation.state,
            current.0[0],
            next.map(|key| key.0[0]),
            rotation.waiter
        )
    }
    let rows = table(
        &[
            ("idle", idle),
            ("making", making),
            ("offered", offered),
            ("using", using),
            ("offered since before the start", || Rotation::new(OwnKeys { current: OLD, next: Some(NEXT) })),
        ],
        &[
            ("begin", |rotation| format!("{}", rotation.begin(Some((Ticket(8), Moment(6)))))),
            ("made", |rotation| {
                rotation.made(OTHER);
                String::new()
            }),
            ("not made", |rotation| format!("{:?}", rotation.not_made())),
            ("a link is up", |rotation| format!("{:?}", rotation.offer())),
            ("pinned", |rotation| format!("{}", rotation.pinned(NEXT))),
            ("another key is pinned", |rotation| format!("{}", rotation.pinned(OTHER))),
            ("there is no peer", |rotation| format!("{:?}", rotation.unpinned())),
            ("used", |rotation| format!("{:?}", rotation.used())),
            ("not used", |rotation| format!("{:?}", rotation.not_used(Moment(9)))),
            ("nobody waits any more", |rotation| format!("{:?}", rotation.take_waiter())),
        ],
        show,
    );
    insta::assert_snapshot!("rotation", rows);
}

fn tell(engine: &mut Engine, at_us: u64, message: Message) -> Vec<Action> {
    engine.handle(now(at_us), Event::Message { link: LINK, message })
}

fn says(key: KeyId) -> Action {
    Action::Send { link: LINK, message: Message::KeyPinned { key } }
}

fn rotate(engine: &mut Engine, at_us: u64) -> Vec<Action> {
    command(engine, at_us, 7, Command::Rotate)
}

fn answer(answer: Result<(), CommandRefusal>) -> Action {
    Action::AnswerCommand { ticket: Ticket(7), answer }
}

/// The peer is told of the next key once that is durable here, and the old one goes once the peer permits the next one.
#[test]
fn a_key_is_renewed_over_the_link() {
    let mut engine = following_shadow();
    assert!(rotate(&mut engine, SECOND).contains(&Action::MakeKey));
    let again = command(&mut engine, SECOND, 8, Command::Rotate);
    let refused = Action::AnswerCommand { ticket: Ticket(8), answer: Err(CommandRefusal::RotationUnderWay) };
    assert!(again.contains(&refused), "{again:#?}");
    let actions = engine.handle(now(SECOND + 10), Event::KeyMade(Ok(NEXT)));
    assert!(actions.contains(&Action::Send { link: LINK, message: Message::NextKey { key: NEXT } }), "{actions:#?}");
    // A word about another key is none about this one.
    assert!(!tell(&mut engine, SECOND + 20, Message::KeyPinned { key: OTHER }).contains(&Action::UseKey { key: NEXT }));
    let actions = tell(&mut engine, SECOND + 30, Message::KeyPinned { key: NEXT });
    assert!(actions.contains(&Action::UseKey { key: NEXT }), "{actions:#?}");
    let actions = engine.handle(now(SECOND + 40), Event::KeyUsed(Ok(NEXT)));
    assert!(actions.contains(&Action::Close { link: LINK }) && actions.contains(&answer(Ok(()))), "{actions:#?}");
    assert!(actions.iter().any(|action| matches!(action, Action::Dial { .. })), "it dials at once: {actions:#?}");
    assert_eq!(engine.own_keys(), OwnKeys::only(NEXT));
}

/// A disk that does not take the next key, or does not let go of the old one, leaves the old one in use.
#[test]
fn a_key_that_cannot_be_stored_is_not_used() {
    let failure = || DiskFailure { full: false, reason: "io".to_owned() };
    let refused = answer(Err(CommandRefusal::Disk { reason: "io".to_owned() }));
    let mut engine = following_shadow();
    let _ = rotate(&mut engine, SECOND);
    assert!(engine.handle(now(SECOND), Event::KeyMade(Err(failure()))).contains(&refused));
    assert_eq!(engine.own_keys(), OwnKeys::only(OLD));
    let _ = rotate(&mut engine, SECOND);
    let _ = engine.handle(now(SECOND), Event::KeyMade(Ok(NEXT)));
    let _ = tell(&mut engine, SECOND, Message::KeyPinned { key: NEXT });
    let actions = engine.handle(now(SECOND), Event::KeyUsed(Err(failure())));
    assert!(actions.contains(&refused) && !actions.contains(&Action::Close { link: LINK }), "{actions:#?}");
    assert_eq!(engine.own_keys(), OwnKeys { current: OLD, next: Some(NEXT) });
}

/// Who waits while the link goes is answered: the renewal goes on without them.
#[test]
fn a_renewal_waits_for_the_peer_and_nobody_waits_for_it() {
    let mut engine = following_shadow();
    let _ = rotate(&mut engine, SECOND);
    let _ = engine.handle(now(SECOND), Event::KeyMade(Ok(NEXT)));
    let actions = engine.handle(now(SECOND + 10), Event::LinkDown { link: LINK, reason: "cut".to_owned() });
    assert!(actions.contains(&answer(Ok(()))), "{actions:#?}");
    assert_eq!(engine.own_keys(), OwnKeys { current: OLD, next: Some(NEXT) });
}

/// A peer whose disk is full, and a disk here that hangs, keep no operator waiting.
#[test]
fn nobody_waits_for_a_disk_that_does_not_answer() {
    let sync = Engine::options(&lone_master()).timeouts.sync.as_micros() as u64;
    let mut engine = following_shadow();
    let _ = rotate(&mut engine, SECOND);
    let actions = engine.handle(now(SECOND + sync), Event::Timer);
    let in_doubt = CommandRefusal::InDoubt { reason: "the disk does not answer".to_owned() };
    assert!(actions.contains(&answer(Err(in_doubt))), "{actions:#?}");

    let mut engine = following_shadow();
    let _ = rotate(&mut engine, SECOND);
    let _ = engine.handle(now(SECOND), Event::KeyMade(Ok(NEXT)));
    let actions = engine.handle(now(SECOND + sync), Event::Timer);
    assert!(actions.contains(&answer(Ok(()))), "{actions:#?}");
}

/// The peer's next key counts once it is durable, beside the present one; when the peer has shown it, alone.
#[test]
fn the_peers_next_key_is_permitted_before_the_peer_hears_so() {
    let mut engine = following_shadow();
    let peer_keys =
        |engine: &Engine| engine.durable_state().peer.as_ref().map(|peer| (peer.keys.current, peer.keys.next));
    let current = peer_keys(&engine).unwrap().0;
    let actions = tell(&mut engine, SECOND, Message::NextKey { key: NEXT });
    assert!(!actions.contains(&says(NEXT)), "not before it is durable: {actions:#?}");
    settle(&mut engine, SECOND + 10);
    assert_eq!(peer_keys(&engine), Some((current, Some(NEXT))));
    // The answer was lost: it is given again.
    assert!(tell(&mut engine, SECOND + 20, Message::NextKey { key: NEXT }).contains(&says(NEXT)));
    let _ = engine.handle(now(SECOND + 30), Event::NextKeyShown { key: OTHER });
    settle(&mut engine, SECOND + 40);
    assert_eq!(peer_keys(&engine), Some((current, Some(NEXT))), "nobody has shown it");
    let _ = engine.handle(now(SECOND + 50), Event::NextKeyShown { key: NEXT });
    settle(&mut engine, SECOND + 60);
    assert_eq!(peer_keys(&engine), Some((NEXT, None)));
    // Nobody but this node has this node's key.
    let _ = tell(&mut engine, SECOND + 70, Message::NextKey { key: OLD });
    settle(&mut engine, SECOND + 80);
    assert_eq!(peer_keys(&engine), Some((NEXT, None)));
}

/// A node renews its certificate by itself, in time; the alert comes only where that has not been possible.
#[test]
fn a_certificate_is_renewed_before_it_ends() {
    let ends_in = |days: u64| Event::CertificateEnds { subject: "this node's certificate".into(), days };
    let mut engine = lone_master();
    assert!(!engine.handle(now(SECOND), ends_in(CERTIFICATE_RENEW_DAYS)).contains(&Action::MakeKey));
    let actions = engine.handle(now(SECOND), ends_in(CERTIFICATE_RENEW_DAYS - 1));
    assert!(actions.contains(&Action::MakeKey) && !engine.alerts.stands(AlertKind::CertificateExpiring));
    assert!(!engine.handle(now(SECOND), ends_in(CERTIFICATE_RENEW_DAYS - 2)).contains(&Action::MakeKey), "it is made");
    // Without a peer nobody has to permit it.
    let actions = engine.handle(now(SECOND), Event::KeyMade(Ok(NEXT)));
    assert!(actions.contains(&Action::UseKey { key: NEXT }), "{actions:#?}");
    let _ = engine.handle(now(SECOND), ends_in(CERTIFICATE_WARN_DAYS - 1));
    assert!(engine.alerts.stands(AlertKind::CertificateExpiring));
    let _ = engine.handle(now(SECOND), Event::KeyUsed(Ok(NEXT)));
    let _ = engine.handle(now(SECOND), ends_in(3_650));
    assert!(!engine.alerts.stands(AlertKind::CertificateExpiring));
}

/// What the peer wants to be stored stays wanted while the disk does not take it, and a key that was shown is never forgotten for the
/// one after it.
#[test]
fn a_shown_key_is_stored_before_the_next_one_however_long_the_disk_takes() {
    let mut engine = following_shadow();
    let _ = tell(&mut engine, SECOND, Message::NextKey { key: NEXT });
    settle(&mut engine, SECOND + 10);
    let full = |engine: &mut Engine, at_us: u64| {
        let work = engine.work.in_flight().unwrap().clone();
        let _ =
            engine.handle(now(at_us), Event::Persisted(work.fail(DiskFailure { full: true, reason: "full".into() })));
    };
    let _ = engine.handle(now(SECOND + 20), Event::NextKeyShown { key: NEXT });
    full(&mut engine, SECOND + 30);
    // Meanwhile the peer renews its key once more.
    let _ = tell(&mut engine, SECOND + 40, Message::NextKey { key: OTHER });
    let keys =
        |engine: &Engine| engine.durable_state().peer.as_ref().map(|peer| (peer.keys.current, peer.keys.next)).unwrap();
    assert_eq!(keys(&engine).1, Some(NEXT), "nothing was stored");
    let mut at_us = SECOND + 50;
    for _ in 0..20 {
        at_us += SECOND / 2;
        let _ = engine.handle(now(at_us), Event::Message { link: LINK, message: Message::Resync });
        settle(&mut engine, at_us);
    }
    assert_eq!(keys(&engine), (NEXT, Some(OTHER)));
}
