//! Each small machine of the engine as a reviewed table: every state with every event. The larger ones have tables of their own:
//! the node's state (`failover`), the links (`links_table.rs`), Source and Sink (`replication`).

use super::*;
use crate::protocol::alerts::AlertLog;
use crate::protocol::engine::alerts::{OperatorState, OperatorStates};
use crate::protocol::engine::authority::{Attempt, Question, WitnessClient};
use crate::protocol::engine::commits::Commits;
use crate::protocol::engine::durable::{Durable, Requester, Update};
use crate::protocol::engine::enrolments::Enrolments;
use crate::protocol::engine::work_queue::WorkQueue;
use crate::protocol::failover::NodeState;

type Make<M> = (&'static str, fn() -> M);
type Apply<M> = (&'static str, fn(&mut M) -> String);

/// A row for every state and every event: what came of it, and the state after it.
fn table<M>(states: &[Make<M>], events: &[Apply<M>], show: fn(&M) -> String) -> String {
    let mut rows = String::new();
    for (state, make) in states {
        rows.push_str(&format!("{state} ({})\n", show(&make())));
        for (event, apply) in events {
            let mut machine = make();
            let outcome = apply(&mut machine);
            rows.push_str(&format!("    {event}: {outcome} -> {}\n", show(&machine)));
        }
    }
    rows
}

fn done_with<M>(machine: &mut M, act: impl FnOnce(&mut M)) -> String {
    act(machine);
    "done".to_owned()
}

#[test]
fn the_work_queue() {
    let busy = || {
        let mut queue = WorkQueue::default();
        let _ = queue.start(Moment(0), Reopen);
        queue
    };
    fn writing() -> WorkQueue {
        let mut queue = WorkQueue::default();
        let _ = queue.start(Moment(0), AppendRecords { frames: vec![BulkId(3)], durable: Revision::NONE });
        queue
    }
    fn given_up() -> WorkQueue {
        let mut queue = writing();
        let _ = queue.give_up(Moment(9), 5);
        queue
    }
    let waiting = || {
        let mut queue = WorkQueue::default();
        queue.queue(AppendRecords { frames: vec![BulkId(7)], durable: Revision::NONE });
        queue.queue(Quarantine { common: Revision::NONE });
        queue
    };
    fn show(queue: &WorkQueue) -> String {
        let in_flight = queue.in_flight().map_or("nothing".to_owned(), |work| format!("batch {}", work.batch().0));
        format!("{in_flight} in flight, idle {}", queue.is_idle())
    }
    let rows = table(
        &[
            ("idle", WorkQueue::default),
            ("busy opening", busy),
            ("busy writing", writing),
            ("given up", given_up),
            ("waiting", waiting),
        ],
        &[
            ("work is queued", |queue| done_with(queue, |queue| queue.queue(Reopen))),
            ("an era is queued", |queue| {
                queue.queue_era(Epoch::FIRST);
                let next: Vec<_> = std::iter::from_fn(|| queue.take_next()).collect();
                format!("era {:?}, then {} more", queue.take_era(), next.len())
            }),
            ("an era is cancelled", |queue| format!("{}", queue.cancel_era())),
            ("batch 1 is done", |queue| format!("{:?}", queue.completed(BatchId(1)))),
            ("batch 2 is done", |queue| format!("{:?}", queue.completed(BatchId(2)))),
            ("the link of a sink is gone", |queue| format!("dropped {:?}", queue.drop_sink_work())),
            ("it takes too long", |queue| format!("{:?}", queue.report_slow(Moment(9), 5))),
            ("its time is over", |queue| format!("{:?}", queue.give_up(Moment(9), 5).map(|work| work.batch()))),
            ("the store is gone", |queue| done_with(queue, WorkQueue::clear)),
            ("it is abandoned", |queue| format!("{}", queue.abandon().is_some())),
        ],
        show,
    );
    insta::assert_snapshot!("work_queue", rows);
}

#[test]
fn the_shadows_part_in_acknowledgements() {
    fn synchronous() -> Commits {
        Commits::new(Replication::Synchronous)
    }
    fn joined() -> Commits {
        let mut commits = synchronous();
        commits.shadow_synced(true);
        commits
    }
    fn given_up() -> Commits {
        let mut commits = joined();
        commits.give_up_shadow();
        commits
    }
    fn frozen() -> Commits {
        let mut commits = given_up();
        commits.set_frozen(true);
        commits
    }
    fn switching() -> Commits {
        let mut commits = given_up();
        commits.want_asynchronous(Ticket(9), Moment(0));
        commits
    }
    fn show(commits: &Commits) -> String {
        let (mode, frozen) = (commits.mode(), commits.is_frozen());
        format!("{mode:?}, waits {}, joined {}, frozen {frozen}", commits.waits(), commits.joined())
    }
    let rows = table(
        &[
            ("asynchronous", || Commits::new(Replication::Asynchronous)),
            ("awaited", synchronous),
            ("joined", joined),
            ("given up", given_up),
            ("frozen", frozen),
            ("switching to asynchronous", switching),
        ],
        &[
            ("a caller commits", |commits| format!("{:?}", commits.enqueue(Ticket(1), 10))),
            ("the shadow holds all", |commits| done_with(commits, |commits| commits.shadow_synced(true))),
            ("the shadow holds what it was sent", |commits| done_with(commits, |commits| commits.shadow_synced(false))),
            ("the shadow is silent", |commits| done_with(commits, Commits::give_up_shadow)),
            ("an era begins", |commits| done_with(commits, Commits::begin_era)),
            ("an operator wants synchronous", |commits| done_with(commits, Commits::become_synchronous)),
            ("nobody in sync is recorded", |commits| format!("{:?}", commits.become_asynchronous())),
            ("the witness does not answer", |commits| format!("{:?}", commits.stay_synchronous())),
        ],
        show,
    );
    insta::assert_snapshot!("commits", rows);
}

#[test]
fn the_durable_state_and_its_updates() {
    fn saved() -> Durable {
        Durable::new(DurableState::first_master(MASTER, PAIR))
    }
    fn counted() -> Durable {
        let mut durable = saved();
        durable.counted(Moment(0));
        durable
    }
    fn waiting() -> Durable {
        let mut durable = saved();
        assert!(durable.update(Requester::Operator(Ticket(1)), Update::Enabled(true)));
        durable
    }
    fn written() -> Durable {
        let mut durable = waiting();
        let _ = durable.begin_write(&AlertLog::default());
        durable
    }
    fn in_doubt() -> Durable {
        let mut durable = written();
        assert!(durable.updates_failed(Some("io")).is_empty());
        durable.write_failed(Moment(5));
        durable
    }
    fn show(durable: &Durable) -> String {
        let expected = durable.expected(&AlertLog::default()).0.enabled;
        let due = durable.is_due(Moment(4), false);
        format!("enabled {}, will be {expected}, unsaved {}, due {due}", durable.enabled, durable.is_unsaved())
    }
    let rows = table(
        &[("saved", saved), ("counted", counted), ("waiting", waiting), ("written", written), ("in doubt", in_doubt)],
        &[
            ("it changes", |durable| done_with(durable, Durable::changed)),
            ("it counts", |durable| done_with(durable, |durable| durable.counted(Moment(3)))),
            ("an alert counts", |durable| done_with(durable, |durable| durable.alert_counted(Moment(3)))),
            ("an update is asked for", |durable| {
                format!("{}", durable.update(Requester::Enrolling(2), Update::Enabled(false)))
            }),
            ("it is being written", |durable| format!("enabled {}", durable.begin_write(&AlertLog::default()).enabled)),
            ("it is written", |durable| format!("{} adopted", durable.written(&mut AlertLog::default()).len())),
            ("the disk is full", |durable| format!("{} refused", durable.updates_failed(None).len())),
            ("the disk fails", |durable| format!("{} refused", durable.updates_failed(Some("io")).len())),
            ("the doubt ends", |durable| {
                let (requesters, reason) = durable.end_doubt();
                format!("{} answered because of {reason:?}", requesters.len())
            }),
            ("the store is gone", |durable| format!("{} refused", durable.drop_waiting_updates().len())),
        ],
        show,
    );
    insta::assert_snapshot!("durable", rows);
}

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
fn nodes_that_enrol() {
    fn accepted() -> Enrolments {
        let mut enrolments = Enrolments::default();
        enrolments.accept(1, peer(SHADOW), None);
        enrolments
    }
    fn full() -> Enrolments {
        let mut enrolments = Enrolments::default();
        (1..=16).for_each(|ask| enrolments.accept(ask, peer(SHADOW), None));
        enrolments
    }
    let rows = table(
        &[("nobody", Enrolments::default), ("one", accepted), ("the bound", full)],
        &[
            ("another is accepted, the first confirms", |enrolments| {
                enrolments.accept(99, peer(SHADOW), None);
                format!("{}", enrolments.confirm(1).is_some())
            }),
            ("the first confirms", |enrolments| format!("{}", enrolments.confirm(1).is_some())),
            ("a stranger confirms", |enrolments| format!("{}", enrolments.confirm(77).is_some())),
        ],
        |enrolments| format!("empty {}", enrolments.is_empty()),
    );
    insta::assert_snapshot!("enrolments", rows);
}

#[test]
fn the_states_that_only_a_person_ends() {
    fn absent() -> OperatorStates {
        OperatorStates::new(Moment(0))
    }
    fn held() -> OperatorStates {
        let mut states = absent();
        let _ = states.note(OperatorState::Held, true, Moment(3));
        states
    }
    fn show(states: &OperatorStates) -> String {
        let since =
            |state: &OperatorState| states.since(*state).map(|since| format!("{} since {}", state.as_str(), since.0));
        let since: Vec<String> = OperatorState::ALL.iter().filter_map(since).collect();
        if since.is_empty() { "none".to_owned() } else { since.join(", ") }
    }
    let rows = table(
        &[("absent", absent), ("held", held)],
        &[
            ("it holds", |states| format!("{:?}", states.note(OperatorState::Held, true, Moment(7)))),
            ("it holds no more", |states| format!("{:?}", states.note(OperatorState::Held, false, Moment(7)))),
            ("another one holds", |states| format!("{:?}", states.note(OperatorState::Detached, true, Moment(7)))),
            ("this node was stopped", |states| done_with(states, |states| states.restart_clocks(Moment(9)))),
        ],
        show,
    );
    insta::assert_snapshot!("operator_states", rows);
}
