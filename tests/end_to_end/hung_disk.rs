//! A disk that hangs: the file system under a node is frozen, and goes on later.

use serde_json::Value;

use crate::harness::{FAST, LoopDisk, Program, Proxy, Witness, at, content, token, turn};

/// With these a disk is given up after two seconds.
const DISK_TIMEOUT: &[&str] = &["--disk-timeout", "2s"];

/// A pair whose node with this number is on a disk that can hang.
struct HangingPair {
    // First, so that the disk goes on before its program is killed.
    disk: LoopDisk,
    nodes: [Program; 2],
    _wires: [Proxy; 2],
    _dir: tempfile::TempDir,
}

impl HangingPair {
    fn enrol(hanging: usize, options: &[&str]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let disk = LoopDisk::at(dir.path())?;
        let wires = [Proxy::new(), Proxy::new()];
        let options: Vec<&str> = options.iter().chain(DISK_TIMEOUT).copied().collect();
        let launch = |node: usize, program| {
            let data = if node == hanging { disk.data() } else { dir.path().join("other") };
            let launch = at(program, &data, &wires[node], &options);
            if node == hanging { disk.hosts(launch) } else { launch }
        };
        let mut master = launch(0, "master").start();
        wires[0].forward_to(&master.listen());
        master.serving();
        let token = token(&mut master);
        let mut shadow = launch(1, "shadow").with(["--master", &wires[0].address(), "--token", &token]).start();
        wires[1].forward_to(&shadow.listen());
        master.ok("put before 1");
        for node in [&mut master, &mut shadow] {
            node.status("the pair to be in sync", |status| status["in_sync"] == true);
        }
        Some(Self { disk, nodes: [master, shadow], _wires: wires, _dir: dir })
    }

    fn in_sync(&mut self) {
        for node in &mut self.nodes {
            node.status("both to be in sync again", |status| status["in_sync"] == true);
        }
        let [one, other] = self.nodes.each_mut().map(|node| content(&node.ok("digest")));
        assert_eq!(one, other);
    }
}

fn has_disk_trouble(alerts: &[Value]) -> bool {
    alerts.iter().any(|alert| alert["kind"] == "disk_trouble")
}

/// The disk under the master hangs: its shadow serves before it goes on, and the former master comes back as shadow.
fn the_shadow_serves_while_the_masters_disk_hangs(options: &[&str]) {
    let Some(mut pair) = HangingPair::enrol(0, options) else { return };
    let [master, shadow] = &mut pair.nodes;
    pair.disk.freeze(master);
    master.write("put during 1");
    assert_eq!(master.answer("put during 1")["error"], "in_doubt", "nobody knows what became of it");
    master.refused("put during 2", "not_master");
    master.status("it to let go", |status| status["serving"] == false);
    assert!(!master.alerts("disk_trouble").is_empty());
    shadow.serving();
    shadow.ok("put after 1");

    pair.disk.thaw();
    master.status("the former master to follow", |status| status["role"] == "shadow");
    pair.in_sync();
    let [master, shadow] = &mut pair.nodes;
    assert_eq!(master.ok("get after")["value"], "1");
    assert_eq!(master.ok("get before")["value"], "1");
    assert_eq!(shadow.serving()["serving"], true);
    master.alerts_until("the disk's alert to go", |alerts| !has_disk_trouble(alerts));
}

#[test]
fn the_shadow_of_a_hung_disk_serves() {
    let _turn = turn();
    the_shadow_serves_while_the_masters_disk_hangs(FAST);
}

#[test]
fn the_shadow_of_a_hung_disk_serves_by_the_witness() {
    let _turn = turn();
    let witness = Witness::new();
    let options = witness.options();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    the_shadow_serves_while_the_masters_disk_hangs(&options);
}

/// Nobody commits: the master's own look finds that its disk does not write.
#[test]
fn the_shadow_of_an_idle_master_on_a_hung_disk_serves() {
    let _turn = turn();
    let Some(mut pair) = HangingPair::enrol(0, FAST) else { return };
    let [master, shadow] = &mut pair.nodes;
    pair.disk.freeze(master);
    shadow.serving();
    master.status("it to let go", |status| status["serving"] == false);
    pair.disk.thaw();
    pair.nodes[0].status("the former master to follow", |status| status["role"] == "shadow");
    pair.in_sync();
}

/// Nobody took over: the master serves again by itself when its disk goes on.
#[test]
fn a_master_alone_serves_again_when_its_disk_goes_on() {
    let _turn = turn();
    let Some(mut pair) = HangingPair::enrol(0, FAST) else { return };
    let [master, shadow] = &mut pair.nodes;
    shadow.kill();
    pair.disk.freeze(master);
    assert_eq!(master.say("put during 1")["error"], "in_doubt");
    master.status("it to let go", |status| {
        status["serving"] == false && status["takeover"]["why_not"][0] == "disk_trouble"
    });
    pair.disk.thaw();
    master.serving();
    master.ok("put after 1");
    shadow.start_again();
    pair._wires[1].forward_to(&shadow.listen());
    pair.in_sync();
}

/// The disk under the shadow hangs: both say so, the master serves on, and the shadow does not take over before it goes on.
#[test]
fn a_shadow_whose_disk_hangs_is_no_shadow_until_it_goes_on() {
    let _turn = turn();
    let Some(mut pair) = HangingPair::enrol(1, &[FAST, &["--replication", "sync"]].concat()) else { return };
    let [master, shadow] = &mut pair.nodes;
    pair.disk.freeze(shadow);
    let alone = master.ok("put during 1");
    assert_eq!(alone["replicated"], false, "it is acknowledged without the shadow: {alone}");
    for node in [&mut *master, &mut *shadow] {
        node.alerts_until("the disk's alert", has_disk_trouble);
    }
    shadow.status("it to know that it cannot take over", |status| {
        status["takeover"]["why_not"].as_array().is_some_and(|words| words.iter().any(|word| word == "disk_trouble"))
    });
    master.kill();
    shadow.status("the link to be lost", |status| status["link"]["state"] == "lost");
    assert_eq!(shadow.status("its role", |_| true)["role"], "shadow");
    master.start_again();
    pair._wires[0].forward_to(&master.listen());
    pair.disk.thaw();
    pair.in_sync();
    assert_eq!(pair.nodes[1].ok("get during")["value"], "1");
}
