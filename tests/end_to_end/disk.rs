//! Full disks.

use crate::harness::{FAST, Launch, Pair, Proxy, SmallDisk, at, content, lone_master, token, turn};

const DISK_MB: u32 = 96;

/// On the master: a clear error, no half change, and commits work again when there is room.
#[test]
fn a_full_disk_on_the_master_is_a_clear_error_and_passes() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::at(&dir.path().join("disk")) else { return };
    let wire = Proxy::new();
    let mut master = disk.hosts(at("master", &disk.data(), &wire, FAST), DISK_MB).start();
    wire.forward_to(&master.listen());
    master.serving();
    let token = token(&mut master);
    let join = ["--listen", "127.0.0.1:0", "--master", &wire.address(), "--token", &token];
    let mut shadow = Launch::new("shadow", &dir.path().join("shadow")).with(join).with(FAST.iter().copied()).start();
    master.ok("put before 1");
    disk.fill(&master);
    let mut last = master.ok("digest");
    let refused = loop {
        let reply = master.say("load 50 20000 fill/");
        if reply["ok"] == false {
            break reply;
        }
        last = master.ok("digest");
    };
    master.check(refused["error"] == "disk_full", &format!("{refused}"));
    if refused["loaded"] == 0 {
        assert_eq!(content(&master.ok("digest")), content(&last), "nothing of a refused change set remains");
    }
    assert_eq!(master.ok("get before")["value"], "1", "it can still be read");
    master.alerts_until("the disk's alert", |alerts| alerts.iter().any(|alert| alert["kind"] == "disk_trouble"));

    disk.free(&master);
    master.until("put after 1", "room to be found", |reply| reply["ok"] == true);
    master.alerts_until("the alert to go", |alerts| alerts.iter().all(|alert| alert["kind"] != "disk_trouble"));
    for node in [&mut master, &mut shadow] {
        node.status("both to be in sync", |status| status["in_sync"] == true);
    }
    let [one, other] = [&mut master, &mut shadow].map(|node| content(&node.ok("digest")));
    assert_eq!(one, other);
}

/// On the shadow: an alert on both nodes, the last good configuration stays live, and a repair follows when there is room.
#[test]
fn a_full_disk_on_the_shadow_is_told_on_both_and_passes() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::at(&dir.path().join("disk")) else { return };
    let wire = Proxy::new();
    let mut master = lone_master(&dir.path().join("master"), &wire, FAST);
    let token = token(&mut master);
    let join = ["--listen", "127.0.0.1:0", "--master", &wire.address(), "--token", &token];
    let launch = Launch::new("shadow", &disk.data()).with(join).with(FAST.iter().copied());
    let mut shadow = disk.hosts(launch, DISK_MB).start();
    master.ok("put before 1");
    shadow.status("the start to be in sync", |status| status["in_sync"] == true);
    disk.fill(&shadow);
    let full = |alerts: &[serde_json::Value]| alerts.iter().any(|alert| alert["kind"] == "disk_trouble");
    // The log may have room in advance: it takes several pushes until there is none.
    let mut told = [false, false];
    for _ in 0..200 {
        master.ok("load 50 20000 fill/");
        for (node, told) in [&mut master, &mut shadow].into_iter().zip(&mut told) {
            *told |= !node.alerts("disk_trouble").is_empty();
        }
        if told == [true, true] {
            break;
        }
    }
    assert_eq!(told, [true, true], "the alert stands on both nodes");
    assert_eq!(shadow.ok("get before")["value"], "1", "the last good configuration is live");
    assert_eq!(master.ok("put during 1")["ok"], true, "the master works on");

    disk.free(&shadow);
    for node in [&mut master, &mut shadow] {
        node.status("both to be in sync again", |status| status["in_sync"] == true);
        node.alerts_until("the alert to go", |alerts| !full(alerts));
    }
    assert_eq!(shadow.ok("get during")["value"], "1");
}

/// A shadow enrols on a disk that is too small for the first push: both nodes say what is needed, and it goes on when there is room.
#[test]
fn a_shadow_with_too_little_room_says_how_much_it_needs() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::at(&dir.path().join("disk")) else { return };
    let wire = Proxy::new();
    let mut master = lone_master(&dir.path().join("master"), &wire, FAST);
    master.ok("load 6000 1000 load/");
    let token = token(&mut master);
    let join = ["--listen", "127.0.0.1:0", "--master", &wire.address(), "--token", &token];
    let launch = Launch::new("shadow", &disk.data()).with(join).with(FAST.iter().copied());
    let mut shadow = disk.hosts_with_little_room(launch, DISK_MB, 8).start();
    for node in [&mut master, &mut shadow] {
        let found =
            node.alerts_until("the disk's alert", |alerts| alerts.iter().any(|alert| alert["kind"] == "disk_trouble"));
        let said = format!("{found:?}");
        node.check(said.contains("disk_full") && said.contains("bytes of room") && said.contains("are free"), &said);
    }
    master.check(master.transcript().matches("syncing").count() < 50, "it does not try without end");
    disk.free(&shadow);
    for node in [&mut master, &mut shadow] {
        node.status("both to be in sync", |status| status["in_sync"] == true);
        node.alerts_until("the alert to go", |alerts| alerts.iter().all(|alert| alert["kind"] != "disk_trouble"));
    }
}

/// A second process in the same data directory gets a clear error and does no harm.
#[test]
fn a_second_process_in_the_same_directory_is_refused() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let (status, _, error) = pair.nodes[0].launch().run();
    assert_eq!(status.code(), Some(1), "{error}");
    assert!(error.contains("another process") && error.trim().lines().count() == 1, "{error}");
    pair.nodes[0].ok("put k v");
    pair.in_sync();
}
