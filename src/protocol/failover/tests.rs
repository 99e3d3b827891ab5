use std::time::Duration;

use super::*;
use crate::model::Moment;

const TRANSITIONS: [Transition; 28] = [
    Transition::NoPeer,
    Transition::PeerFollows,
    Transition::PeerAhead,
    Transition::Outranked,
    Transition::PeerSilent,
    Transition::LinkLost,
    Transition::OperatorTakesOver,
    Transition::EraDurable,
    Transition::EraDurableUncovered,
    Transition::EraFailed,
    Transition::Late,
    Transition::Uncovered,
    Transition::Confirmed,
    Transition::Deposed,
    Transition::NamedByWitness,
    Transition::SteppedDown,
    Transition::Silence,
    Transition::MustAskWitness,
    Transition::WitnessWon,
    Transition::WitnessLost,
    Transition::WitnessLostAsMaster,
    Transition::HostAllows,
    Transition::HostRefuses,
    Transition::MasterHeard,
    Transition::StoreFailed,
    Transition::ReopenedAsMaster,
    Transition::ReopenedAsShadow,
    Transition::Stopped,
];

/// The whole machine as a reviewed table: a change of any cell shows.
#[test]
fn every_state_and_every_transition() {
    let mut table = String::new();
    for transition in TRANSITIONS {
        table.push_str(&format!("{transition:?}\n"));
        for state in NodeState::ALL {
            if let Some(next) = state.transition(transition) {
                table.push_str(&format!("    {state:?} -> {next:?}\n"));
            }
        }
    }
    insta::assert_snapshot!("states", table);
}

#[test]
fn the_last_dial_of_a_silence_fits_into_the_delay() {
    for (heartbeat, delay) in [(10, 20), (50, 200), (100, 500), (1_000, 5_000), (1_000, 60_000)] {
        let timing = Timing::of(Duration::from_millis(heartbeat), Duration::from_millis(delay));
        assert!(timing.lost_after_us > timing.heartbeat_us && timing.lost_after_us < timing.delay_us);
    }
}

#[test]
fn hold_down_counts_only_the_window_and_is_off_at_zero() {
    let minute = Duration::from_secs(60);
    assert!(held_down(&[1_000, 2_000, 3_000], minute, 60_000));
    assert!(!held_down(&[1_000, 2_000, 3_000], minute, 61_001));
    assert!(!held_down(&[2_000, 3_000], minute, 4_000));
    assert!(!held_down(&[1, 2, 3, 4], Duration::ZERO, 4));
}

#[test]
fn backoff_stays_within_its_cap_and_jitters() {
    let mut backoff = Backoff::default();
    let mut last = 0;
    for random in 0..50u64 {
        let wait = backoff.next(Moment(0), 1_000_000, false, random * 7_919).0;
        assert!((10_000..=1_250_000).contains(&wait), "{wait}");
        last = wait;
    }
    assert!(last >= 750_000);
}

#[test]
fn a_ready_shadow_has_no_reason_and_every_reason_has_a_word() {
    let words = |conditions: TakeoverConditions| -> Vec<&str> {
        conditions.blockers().into_iter().map(TakeoverBlocker::as_str).collect()
    };
    let ready = TakeoverConditions {
        witness: None,
        shadow: true,
        serving: false,
        enrolled: true,
        manual: false,
        complete: true,
        syncing: false,
        contact: true,
        held: false,
        paused: false,
        hold_down: false,
        broken: false,
        refused: false,
    };
    assert_eq!(words(ready), Vec::<&str>::new());
    let never = TakeoverConditions {
        enrolled: false,
        manual: true,
        complete: false,
        contact: false,
        held: true,
        paused: true,
        hold_down: true,
        broken: true,
        refused: true,
        ..ready
    };
    let all =
        ["no_peer", "manual", "incomplete", "no_contact", "held", "paused", "hold_down", "refused", "disk_trouble"];
    assert_eq!(words(never), all);
    assert_eq!(words(TakeoverConditions { syncing: true, ..ready }), ["syncing"]);
    assert_eq!(words(TakeoverConditions { shadow: false, ..never }), ["master", "manual", "incomplete", "held"]);
    assert_eq!(words(TakeoverConditions { shadow: false, serving: true, ..never }), ["master"]);
}
