//! What happens to the names of a data directory while its node runs.

use crate::harness::{FAST, Pair, turn};

/// Somebody cleans up and removes the lock file: a second process still does not get in, and the first one goes on.
#[test]
fn a_removed_lock_file_lets_no_second_process_in() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("put key 1");
    std::fs::remove_file(pair.dir().join("first/lock")).unwrap();
    let (status, out, err) = pair.nodes[0].launch().run();
    assert_eq!(status.code(), Some(1), "{out}{err}");
    assert!(err.contains("another process uses"), "{err}");
    pair.nodes[0].ok("put key 2");
    pair.in_sync();
}

/// Nobody writes, so nothing but a look tells. What is put afterwards is refused, and the shadow serves.
#[test]
fn a_directory_that_is_removed_under_an_idle_master_ends_its_mastership() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("put key 1");
    pair.in_sync();
    let (first, aside) = (pair.dir().join("first"), pair.dir().join("aside"));
    std::fs::rename(&first, &aside).unwrap();
    std::fs::create_dir(&first).unwrap();
    let found = pair.nodes[0].alerts_until("the directory to be missed", |alerts| {
        alerts.iter().any(|alert| alert["kind"] == "disk_trouble")
    });
    assert!(format!("{found:?}").contains("was replaced"), "{found:?}");
    pair.nodes[0].refused("put key 2", "not_master");
    pair.nodes[1].serving();
    assert_eq!(pair.nodes[1].ok("get key")["value"], "1");
    pair.nodes[1].ok("put key 3");
    // It is put back: this node goes on by itself, as the shadow.
    std::fs::remove_dir(&first).unwrap();
    std::fs::rename(&aside, &first).unwrap();
    pair.in_sync();
    assert_eq!(pair.nodes[0].ok("get key")["value"], "3");
}
