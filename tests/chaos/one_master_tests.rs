//! What the check for two masters must find, and what it must not.

use crate::campaign::one_master::{Epoch, Evidence, OneMasterCheck, Wall};

fn served(node: usize, term: u64, not_before: Wall, not_after: Wall) -> Evidence {
    let answer = format!("status of {node}");
    Evidence { node, epoch: Epoch(term, 0), not_before: Some(not_before), not_after, acknowledged: None, answer }
}

fn acknowledged(node: usize, term: u64, not_before: Wall, not_after: Wall, seq: u64) -> Evidence {
    Evidence { acknowledged: Some(seq), ..served(node, term, not_before, not_after) }
}

fn finds(evidence: &[Evidence]) -> usize {
    // The order in which answers arrive must not matter.
    let count = |order: &mut dyn Iterator<Item = &Evidence>| {
        let mut check = OneMasterCheck::default();
        order.for_each(|evidence| _ = check.add(evidence.clone()));
        check.findings().len()
    };
    let (forwards, backwards) = (count(&mut evidence.iter()), count(&mut evidence.iter().rev()));
    assert_eq!(forwards > 0, backwards > 0, "the order matters: {evidence:?}");
    forwards
}

#[test]
fn one_mastership_after_another_is_right() {
    assert_eq!(finds(&[served(0, 1, 10, 20), served(0, 1, 30, 40), served(1, 2, 50, 60), served(1, 2, 70, 80)]), 0);
}

#[test]
fn windows_that_overlap_prove_nothing() {
    assert_eq!(finds(&[served(0, 1, 10, 100), served(1, 2, 20, 90), served(0, 1, 30, 110)]), 0);
}

#[test]
fn a_stopped_process_that_answers_late_is_no_violation_but_its_next_answer_is() {
    // Asked at 10, stopped, woken at 3,000 and stamped then. The other node has served since 500.
    let late = [served(0, 1, 10, 3_000), served(1, 2, 490, 500)];
    assert_eq!(finds(&late), 0);
    let next = acknowledged(0, 1, 3_000, 3_001, 7);
    assert_eq!(finds(&[late.as_slice(), &[next]].concat()), 1);
}

#[test]
fn one_that_serves_on_while_another_does_is_found() {
    assert_eq!(finds(&[served(0, 1, 10, 20), served(1, 2, 30, 40), served(0, 1, 50, 60)]), 1);
    assert_eq!(finds(&[served(1, 2, 30, 40), acknowledged(0, 1, 41, 60, 9)]), 1);
}

#[test]
fn a_role_event_proves_that_a_mastership_had_begun_and_nothing_else() {
    let event = Evidence { not_before: None, ..served(1, 2, 0, 40) };
    assert_eq!(finds(&[event.clone(), served(0, 1, 50, 60)]), 1);
    assert_eq!(finds(&[event, served(0, 1, 39, 60)]), 0);
    let late = Evidence { not_before: None, ..served(0, 1, 0, 500) };
    assert_eq!(finds(&[late, served(1, 2, 30, 40)]), 0);
}

#[test]
fn an_epoch_on_two_nodes_and_a_position_twice_are_found() {
    assert_eq!(finds(&[served(0, 2, 10, 20), served(1, 2, 10, 20)]), 1);
    assert_eq!(finds(&[acknowledged(0, 1, 10, 20, 5), acknowledged(0, 1, 30, 40, 5)]), 1);
    assert_eq!(finds(&[acknowledged(0, 1, 10, 20, 5), acknowledged(0, 1, 30, 40, 6)]), 0);
}

#[test]
fn a_node_that_begins_anew_may_name_its_old_epoch_once_more_but_not_acknowledge_as_it() {
    assert_eq!(finds(&[served(0, 2, 30, 40), served(0, 1, 41, 50)]), 0);
    assert_eq!(finds(&[served(0, 2, 30, 40), acknowledged(0, 1, 41, 50, 3)]), 1);
}
