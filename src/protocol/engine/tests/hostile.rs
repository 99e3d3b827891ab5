//! An authenticated peer with malicious content: it loses the link, an alert says so, and nothing else happens.

use super::*;
use crate::model::limits::{MODE_CHANGES_AHEAD_MAX, TERMS_AHEAD_MAX};
use crate::protocol::wire::{Mode, Modes, Refusal, RefusalKind, ResumePoint, SnapshotHeader, Switch};

fn closes(actions: &[Action]) -> bool {
    actions.contains(&Action::Close { link: LINK })
}

/// The link is closed with a refusal, an alert is raised, and the durable state stays as it was but for the alert.
fn is_refused(message: Message) {
    let mut engine = following_shadow();
    settle(&mut engine, SECOND);
    let before = engine.durable_state().clone();
    let actions = tell(&mut engine, SECOND, message.clone());
    assert!(closes(&actions), "{message:?}: {actions:#?}");
    assert!(engine.alerts.stands(AlertKind::UnpermittedPeer), "{message:?}");
    settle(&mut engine, 2 * SECOND);
    assert_eq!(engine.durable_state(), &before, "{message:?}");
}

/// Following it would use up the terms, so that this node could never take over.
#[test]
fn an_epoch_that_no_history_leads_to_is_refused_wherever_it_stands() {
    let far = Epoch::new(TERMS_AHEAD_MAX + 2, 0);
    let (position, revision) = (position(far, 9), at(far, 9));
    let near = super::position(Epoch::FIRST, 5);
    let era = Era { epoch: far, first_seq: 6, node: MASTER };
    let eras = [Era { epoch: Epoch::FIRST, first_seq: 1, node: MASTER }, era];
    let header = SnapshotHeader {
        transfer: 1,
        chain: 0,
        position,
        entries: 0,
        bytes: 0,
        history: History::from_eras(eras.to_vec()).unwrap(),
    };
    let beat = |epoch, position| {
        let (nonce, role, wall_ms) = (9, Role::Master, now(0).wall_ms);
        Message::Heartbeat(Heartbeat { nonce, role, serving: true, epoch, position, asks: false, wall_ms })
    };
    let ack = |epoch, position| {
        let (nonce, role, promise) = (9, Role::Master, Duration::ZERO);
        Message::HeartbeatAck(HeartbeatAck { nonce, role, epoch, position, promise })
    };
    let point = Box::new(ResumePoint {
        after: crate::model::Key::new("k").unwrap(),
        from: at(Epoch::FIRST, 1),
        upto: revision,
    });
    let messages = [
        beat(far, near),
        beat(Epoch::FIRST, position),
        ack(far, near),
        ack(Epoch::FIRST, position),
        Message::Repair(Repair::Incremental { to: revision }),
        Message::Repair(Repair::Full(header)),
        Message::SnapshotResume { transfer: 1, point },
        Message::Ack { position, received: 0 },
        Message::Mismatch { at: position },
        Message::Rejected { at: revision, reason: String::new() },
        Message::Durable { upto: revision },
        Message::Switch(Switch::Prepare { position: near, epoch: far }),
        Message::Switch(Switch::Ready { epoch: far }),
        Message::Switch(Switch::HandOver { position: near, epoch: far, stops: false }),
    ];
    messages.into_iter().for_each(is_refused);

    let mut engine = following_shadow();
    let what = Bulk::Records { after: at(Epoch::FIRST, 5), last: revision, durable: at(Epoch::FIRST, 5) };
    let actions = engine.handle(now(SECOND), Event::Bulk { link: LINK, bulk: BulkId(4), what, bytes: 100 });
    assert!(closes(&actions) && actions.contains(&Action::DropBulk { bulk: BulkId(4) }), "{actions:#?}");
}

/// A mode that was turned on for the last time there is could never be turned off.
#[test]
fn modes_that_were_turned_impossibly_often_are_refused() {
    let turned = |changes| Mode { changes, on: true };
    is_refused(Message::Modes(Modes { paused: turned(MODE_CHANGES_AHEAD_MAX + 1), frozen: Mode::default() }));
    is_refused(Message::Modes(Modes { paused: Mode::default(), frozen: turned(u64::MAX) }));
    let mut engine = following_shadow();
    let most = Modes { paused: turned(MODE_CHANGES_AHEAD_MAX), frozen: Mode::default() };
    assert!(!closes(&tell(&mut engine, SECOND, Message::Modes(most))));
    assert!(engine.durable_state().moves.modes.paused.on);
}

/// A source that says what only a sink says raises no alert by it.
#[test]
fn what_only_a_sink_says_raises_no_alert_on_a_shadow() {
    let mut engine = following_shadow();
    for message in [
        Message::Rejected { at: at(Epoch::FIRST, 5), reason: "no".to_owned() },
        Message::DiskTrouble { full: true, reason: "full".to_owned() },
        Message::Mismatch { at: position(Epoch::FIRST, 5) },
    ] {
        let actions = tell(&mut engine, SECOND, message.clone());
        let alert = actions.iter().any(|action| matches!(action, Action::Notify(Notice::Alert { .. })));
        assert!(!alert, "{message:?}: {actions:#?}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_and_told_of() {
    let mut engine = following_shadow();
    settle(&mut engine, 350);
    let noise = |link| Event::Malformed { link, what: "noise".into() };
    assert_eq!(engine.handle(now(SECOND), noise(LinkId(99))).len(), 1, "a link that is gone: the timer only");
    let actions = engine.handle(now(SECOND), noise(LINK));
    let reason = "the peer broke the protocol: noise".to_owned();
    let refusal = Refusal { kind: RefusalKind::ProtocolError, reason: reason.clone() };
    let told = Action::Send { link: LINK, message: Message::Refuse(refusal) };
    assert!(actions.contains(&told) && actions.contains(&Action::Close { link: LINK }), "{actions:#?}");
    settle(&mut engine, SECOND + 1);
    let alerts = engine.status(Moment(SECOND + 2), 0).alerts;
    let alert = alerts.iter().find(|alert| alert.kind == AlertKind::UnpermittedPeer).unwrap();
    assert_eq!((alert.subject.as_str(), &alert.message), ("peer", &reason));
}
