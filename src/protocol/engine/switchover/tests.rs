//! The phases of a switch as a reviewed table: every phase with every event.

use super::*;
use crate::model::{Digest, Revision};

fn head() -> Position {
    Position { revision: Revision::new(Epoch::FIRST, 5), digest: Digest([5; 32]) }
}

/// A state, and what happens in it.
type Act = (&'static str, fn(&mut Switchover) -> String);

/// Every phase with every event: the table at the top of `switchover.rs`.
#[test]
fn the_phases_of_a_switch() {
    let asker = Asker::Operator(Ticket(7));
    let at = Moment(90);
    let ready = |switch: &mut Switchover| {
        switch.note(head(), Epoch::new(2, 1));
        let _ = switch.noted(Epoch::new(2, 1));
    };
    let states: [(&str, usize); 7] = [
        ("announced", 1),
        ("draining", 2),
        ("preparing", 3),
        ("prepared", 4),
        ("handing over", 5),
        ("leaving", 6),
        ("left", 7),
    ];
    let master = |steps: usize| {
        let mut switch = Switchover::default();
        let acts: [&dyn Fn(&mut Switchover); 7] = [
            &|switch| assert!(switch.begin(asker, at)),
            &|switch| switch.drain(at),
            &|switch| switch.drained(head()),
            &|switch| switch.ready(Epoch::new(2, 1)),
            &|switch| switch.hands_over(),
            &|switch| assert!(switch.handed_over().is_some()),
            &|switch| assert!(switch.left().is_some()),
        ];
        acts.iter().take(steps).for_each(|act| act(&mut switch));
        switch
    };
    let mut all = vec![("idle", Switchover::default())];
    all.extend(states.map(|(name, steps)| (name, master(steps))));
    let mut back = master(6);
    let _ = back.not_taken();
    all.push(("taking back", back));
    let mut noting = Switchover::default();
    noting.note(head(), Epoch::new(2, 1));
    all.push(("noting", noting));
    let mut waiting = Switchover::default();
    ready(&mut waiting);
    all.push(("ready", waiting.clone()));
    waiting.take();
    all.push(("taking", waiting));
    let acts: [Act; 17] = [
        ("one begins", |switch| format!("{}", switch.begin(Asker::Shadow, Moment(5)))),
        ("the host has had its time", |switch| {
            switch.drain(Moment(9));
            String::new()
        }),
        ("drained", |switch| {
            switch.drained(head());
            String::new()
        }),
        ("the shadow is ready", |switch| {
            switch.ready(Epoch::new(2, 2));
            String::new()
        }),
        ("it lets go", |switch| {
            switch.hands_over();
            String::new()
        }),
        ("the swap or the write goes", |switch| format!("{}", switch.ask_once().is_some())),
        ("handed over", |switch| format!("{}", switch.handed_over().is_some())),
        ("the role is stored", |switch| format!("{:?}", switch.left())),
        ("called off", |switch| format!("{:?}", switch.call_off())),
        ("the shadow does not take it", |switch| format!("{:?}", switch.not_taken())),
        ("prepare", |switch| {
            switch.note(head(), Epoch::new(3, 1));
            String::new()
        }),
        ("the term is durable", |switch| format!("{:?}", switch.noted(Epoch::new(2, 1)))),
        ("it is taken", |switch| {
            switch.take();
            String::new()
        }),
        ("the master calls it off", |switch| {
            switch.called_off_by_master();
            String::new()
        }),
        ("over", |switch| {
            switch.forget();
            String::new()
        }),
        ("the link is lost", |switch| {
            switch.link_lost();
            String::new()
        }),
        ("its time is over", |switch| format!("{}", switch.is_over(Moment(91)))),
    ];
    let mut rows = String::new();
    for (name, state) in &all {
        rows.push_str(&format!("{name}: holds commits {}\n", state.holds_commits()));
        for (event, act) in &acts {
            let mut switch = state.clone();
            let outcome = act(&mut switch);
            if switch.phase() != state.phase() || !["", "None", "false"].contains(&outcome.as_str()) {
                rows.push_str(&format!("    {event}: {outcome} -> {}\n", short(switch.phase())));
            }
        }
    }
    insta::assert_snapshot!("switchover", rows);
}

fn short(phase: Phase) -> String {
    format!("{phase:?}").split(' ').next().unwrap_or_default().to_owned()
}
