//! The parts of the authority as reviewed tables: every state with every event. The node's state itself has its table in `failover`.

use super::*;
use crate::protocol::engine::Ticket;
use crate::protocol::engine::tests::tables::{done_with, table};

#[test]
fn an_attempt_at_a_takeover() {
    fn machine() -> AuthorityMachine {
        AuthorityMachine::new(Moment(0), NodeState::Following, Some(0))
    }
    fn with(attempt: Attempt) -> AuthorityMachine {
        let mut machine = machine();
        machine.takeover.set_attempt(attempt);
        machine
    }
    fn show(machine: &AuthorityMachine) -> String {
        let attempt = match machine.takeover.attempt() {
            None => "none",
            Some(Attempt::Wanted { .. }) => "wanted",
            Some(Attempt::Noting { .. }) => "noting",
            Some(Attempt::Noted { .. }) => "noted",
            Some(Attempt::Won { .. }) => "won",
        };
        format!("{attempt}, won epoch {:?}", machine.won_epoch().map(|epoch| epoch.to_string()))
    }
    let rows = table(
        &[
            ("none", machine),
            ("wanted", || with(Attempt::Wanted { accept_loss: true })),
            ("noting", || with(Attempt::Noting { epoch: Epoch::FIRST, accept_loss: false, version: None })),
            ("noted", || with(Attempt::Noted { epoch: Epoch::FIRST, accept_loss: false, version: None })),
            ("won", || with(Attempt::Won { epoch: Epoch::FIRST })),
        ],
        &[
            ("the term is durable", |machine| done_with(machine, |machine| machine.takeover.noted(Epoch::FIRST))),
            ("the attempt ends", |machine| done_with(machine, |machine| machine.takeover.end_attempt())),
            ("an operator waits", |machine| {
                machine.takeover.wait(Ticket(1));
                format!("{} wait", machine.takeover.take_waiters().len())
            }),
        ],
        show,
    );
    insta::assert_snapshot!("takeover", rows);
}

#[test]
fn the_covers_of_a_master() {
    fn bare() -> AuthorityMachine {
        AuthorityMachine::new(Moment(10), NodeState::Serving, Some(0))
    }
    fn promised() -> AuthorityMachine {
        let mut machine = bare();
        machine.witnessed.as_mut().unwrap().covers.promised(Moment(10), Moment(100));
        machine
    }
    fn leased() -> AuthorityMachine {
        let mut machine = bare();
        machine.witnessed.as_mut().unwrap().covers.renewed(Moment(10), Moment(90), true, true);
        machine
    }
    fn show(machine: &AuthorityMachine) -> String {
        let covers = &machine.witnessed.as_ref().unwrap().covers;
        let until = machine.covered_until().map(|until| until.0);
        format!("until {until:?}, alone {}, unrivalled {}", covers.is_alone(), covers.is_unrivalled())
    }
    let rows = table(
        &[("bare", bare), ("promised", promised), ("leased", leased)],
        &[
            ("a promise", |m| done_with(m, |m| m.witnessed.as_mut().unwrap().covers.promised(Moment(20), Moment(120)))),
            ("a promise to an old question", |m| {
                done_with(m, |m| m.witnessed.as_mut().unwrap().covers.promised(Moment(9), Moment(120)))
            }),
            ("a renewal that says in sync", |m| {
                done_with(m, |m| m.witnessed.as_mut().unwrap().covers.renewed(Moment(20), Moment(130), false, false))
            }),
            ("a renewal that says alone", |m| {
                done_with(m, |m| m.witnessed.as_mut().unwrap().covers.renewed(Moment(20), Moment(130), true, false))
            }),
            ("a swap to in sync is sent", |m| done_with(m, |m| m.witnessed.as_mut().unwrap().covers.may_be_in_sync())),
            ("a takeover is won", |m| done_with(m, |m| m.witnessed.as_mut().unwrap().covers.won(Moment(140), true))),
            ("an era begins", |m| done_with(m, |m| m.witnessed.as_mut().unwrap().covers.begin_era())),
            ("a peer is enrolled", |m| done_with(m, |m| m.witnessed.as_mut().unwrap().covers.new_peer())),
            ("it is deposed", |m| done_with(m, |m| m.witnessed.as_mut().unwrap().covers.end())),
            ("it was stopped", |m| done_with(m, |m| m.drop_covers(Moment(30)))),
        ],
        show,
    );
    insta::assert_snapshot!("covers", rows);
}

#[test]
fn questions_to_the_witness() {
    fn asked() -> WitnessClient {
        let mut client = WitnessClient::default();
        let _ = client.ask(Moment(0), 1, Question::Read);
        client
    }
    fn show(client: &WitnessClient) -> String {
        let (asking, consulted) = (client.is_asking(), client.is_consulted());
        format!("asking {asking}, at once {}, consulted {consulted}", client.asks_at_once())
    }
    let rows = table(
        &[("idle", WitnessClient::default), ("asked", asked)],
        &[
            ("it is to be asked soon", |client| done_with(client, WitnessClient::ask_soon)),
            ("question 1 is answered", |client| format!("{}", client.answered(1).is_some())),
            ("question 2 is answered", |client| format!("{}", client.answered(2).is_some())),
            ("mastership is asked for", |client| done_with(client, WitnessClient::consult_anew)),
        ],
        show,
    );
    insta::assert_snapshot!("witness_client", rows);
}

#[test]
fn the_promise_of_a_shadow() {
    const LEASE: Duration = Duration::from_millis(100);
    fn none() -> OwnPromise {
        OwnPromise::new(Moment(0), 0)
    }
    fn remembered() -> OwnPromise {
        OwnPromise::new(Moment(50_000), 100)
    }
    fn given() -> OwnPromise {
        let mut promise = remembered();
        promise.give(Moment(10_000), LEASE);
        promise
    }
    fn show(promise: &OwnPromise) -> String {
        let (until, remembered) = (promise.until().0, promise.is_remembered());
        format!("until {until}, the remembered one {remembered}, may be given {}", promise.is_stored(LEASE))
    }
    let rows = table(
        &[("none", none), ("remembered", remembered), ("given", given)],
        &[
            ("its length is stored", |promise| done_with(promise, |promise| promise.stored(100))),
            ("a shorter one is stored", |promise| done_with(promise, |promise| promise.stored(40))),
            ("it is given", |promise| done_with(promise, |promise| promise.give(Moment(20_000), LEASE))),
            ("a shorter one is given", |promise| {
                done_with(promise, |promise| promise.give(Moment(20_000), Duration::from_millis(1)))
            }),
        ],
        show,
    );
    insta::assert_snapshot!("promise", rows);
}
