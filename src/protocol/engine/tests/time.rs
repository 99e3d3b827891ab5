//! What depends on time: ages, and what the wall clock is used for.

use super::*;

/// `in_sync` stays what it was while the master is away, and its age grows.
#[test]
fn in_sync_says_how_old_it_is() {
    let mut engine = following_shadow();
    let age = |engine: &Engine, at_us: u64| {
        let status = engine.status(Moment(at_us), 0);
        (status.in_sync, status.in_sync_as_of_us)
    };
    settle(&mut engine, 350);
    let heard = 2 * SECOND;
    let beat = Heartbeat {
        nonce: 1,
        role: Role::Master,
        serving: true,
        epoch: Epoch::FIRST,
        position: position(Epoch::FIRST, 5),
        asks: false,
        wall_ms: now(heard).wall_ms,
    };
    let _ = tell(&mut engine, heard, Message::Heartbeat(beat));
    assert_eq!(age(&engine, heard), (true, Some(0)));
    let _ = engine.handle(now(heard + 1), Event::LinkDown { link: LINK, reason: "reset".to_owned() });
    assert_eq!(age(&engine, heard + 3 * SECOND), (true, Some(3 * SECOND)));
    // A node that was told nothing since its start, and one without a peer, have no age to show.
    let peerless = lone_master();
    assert_eq!(age(&peerless, SECOND), (false, None));
    let shadow = DurableState { complete: true, ..DurableState::first_shadow(SHADOW, PAIR, peer(MASTER)) };
    let (started, _) = begin(shadow, position(Epoch::FIRST, 5), history(&[(Epoch::FIRST, 1)]));
    assert_eq!(age(&started, SECOND), (false, None));
}
