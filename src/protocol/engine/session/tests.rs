//! The session as reviewed tables: every state with every event.

use std::time::Duration;

use super::*;
use crate::model::Epoch;
use crate::protocol::engine::tests::tables::{done_with, table};
use crate::protocol::engine::tests::{SHADOW, at, hello_of, history, position};
use crate::protocol::replication::{LogView, SinkCopy};
use crate::protocol::wire::Role;

const HEARTBEAT: Duration = Duration::from_secs(1);

/// A source at 1.0/9 for a shadow at 1.0/5.
fn source() -> Source {
    let lineage = history(&[(Epoch::FIRST, 1)]);
    let (head, held) = (position(Epoch::FIRST, 9), position(Epoch::FIRST, 5));
    let log = LogView { head, written: None, log_floor: Revision::NONE, history: &lineage };
    let copy = SinkCopy { position: held, history: &lineage, complete: true, told_marks: true };
    Source::begin(log, copy, false, HEARTBEAT, 4, Moment(0)).0
}

fn hello() -> Box<Hello> {
    Box::new(hello_of(Role::Shadow, SHADOW, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)])))
}

fn agreed(outcome: Negotiation) -> Session {
    let mut session = Session::default();
    session.agree(Moment(7), outcome, hello());
    session
}

fn as_source() -> Session {
    let mut session = agreed(Negotiation::Lead);
    session.begin_source(source());
    session
}

fn as_sink() -> Session {
    let mut session = agreed(Negotiation::Follow);
    session.begin_sink(Sink::begin(Moment(0), HEARTBEAT, true));
    session
}

fn end(session: &Session) -> &'static str {
    match (session.source(), session.is_sink()) {
        (Some(_), _) => "source",
        (None, true) => "sink",
        (None, false) => "none",
    }
}

#[test]
fn the_ends_of_a_session() {
    fn show(session: &Session) -> String {
        let agreement = session.agreement().map(|(outcome, _)| format!("{outcome:?}"));
        let (agreement, bulk) = (agreement.unwrap_or_else(|| "nothing".to_owned()), session.waiting.frames);
        format!("{}, in progress {}, agreed {agreement}, {bulk} waiting", end(session), session.in_progress())
    }
    let rows = table(
        &[("none", || agreed(Negotiation::Lead)), ("source", as_source), ("sink", as_sink)],
        &[
            ("the source ends", |session| {
                format!("{:?}", session.end_source().and_then(|source| source.open_transfer()))
            }),
            ("the sink ends", |session| format!("{}", session.end_sink().is_some())),
            ("bulk comes", |session| format!("room {}", session.bulk_waits(100))),
            ("more bulk than fits comes", |session| format!("room {}", session.bulk_waits(usize::MAX / 2))),
            ("bulk comes and goes to the store", |session| {
                let _ = session.bulk_waits(100);
                session.bulk_taken();
                String::new()
            }),
            ("the link is lost", |session| done_with(session, Session::link_lost)),
        ],
        show,
    );
    insta::assert_snapshot!("ends", rows);
}

#[test]
fn full_pushes_and_what_the_copy_lacks() {
    fn under_way() -> Session {
        let mut session = Session::default();
        session.full_push_begins();
        session
    }
    fn wanted() -> Session {
        let mut session = Session::default();
        session.want_full_push();
        session.fell_behind();
        session
    }
    let rows = table(
        &[("none", Session::default), ("wanted, and behind", wanted), ("under way", under_way)],
        &[
            ("it is wanted", |session| done_with(session, Session::want_full_push)),
            ("it begins", |session| done_with(session, Session::full_push_begins)),
            ("it is over", |session| done_with(session, Session::full_push_ended)),
            ("the link is lost", |session| done_with(session, Session::link_lost)),
            ("the copy is complete", |session| done_with(session, Session::caught_up)),
            ("this node is master now", |session| done_with(session, Session::became_master)),
        ],
        |session| format!("{:?}, copy {:?}", session.full_push, session.copy),
    );
    insta::assert_snapshot!("full_push", rows);
}

#[test]
fn what_was_agreed_and_a_former_master() {
    fn show(session: &Session) -> String {
        let follows = session.steps_down_for().is_some();
        let (answer, head) = (session.answer_of_peer(), at(Epoch::FIRST, 9));
        let waits = (session.is_outranked(), session.waits_for_peer(), session.met_as_shadows().is_some());
        let quarantined = session.is_quarantined(head);
        format!("answer {answer:?}, outranked, waits, met {waits:?}, steps down {follows}, quarantined {quarantined}")
    }
    let rows = table(
        &[
            ("nothing", Session::default),
            ("lead", || agreed(Negotiation::Lead)),
            ("follow", || agreed(Negotiation::Follow)),
            ("take the tail", || agreed(Negotiation::TakeTail)),
            ("step down", || agreed(Negotiation::StepDown)),
            ("the peer steps down", || agreed(Negotiation::PeerStepsDown)),
            ("two shadows", || agreed(Negotiation::MeetAsShadows)),
        ],
        &[
            ("the peer answers as a shadow", |session| done_with(session, Session::peer_answered)),
            ("the master has the tail", |session| done_with(session, Session::follow_instead)),
            ("its own changes are saved", |session| {
                done_with(session, |session| session.set_quarantined(at(Epoch::FIRST, 9)))
            }),
            ("its own changes cannot be read, twice", |session| {
                let once = session.unreadable_again(at(Epoch::FIRST, 9));
                format!("{once}, then {}", session.unreadable_again(at(Epoch::FIRST, 9)))
            }),
            ("this node is the shadow now", |session| done_with(session, Session::stepped_down)),
            ("the link is lost", |session| done_with(session, Session::link_lost)),
        ],
        show,
    );
    insta::assert_snapshot!("agreement", rows);
}
