//! A machine that boots: the address to listen on comes later than the node.

use std::net::TcpListener;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{FAST, Launch, Program, kind_is, turn};

const ADDRESS: &str = "192.0.2.7";

/// A master in a network namespace of its own. Prints so and returns `None` where the machine does not permit it.
fn alone(data: &std::path::Path, more: &[&str]) -> Option<Launch> {
    let can = Command::new("unshare").args(["-n", "ip", "link", "set", "lo", "up"]).status();
    if !can.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: an address that comes later needs unshare(1), ip(8) and the right to use them");
        return None;
    }
    let address = format!("{ADDRESS}:7443");
    let mut launch = Launch::new("master", data).with(["--listen", &address]).with(FAST.iter().chain(more).copied());
    launch.wrapper = ["unshare", "-n", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"].map(Into::into).to_vec();
    Some(launch)
}

fn add_address(program: &Program) {
    let pid = program.pid().to_string();
    let added = ["-t", &pid, "-n", "ip", "address", "add", ADDRESS, "dev", "lo"];
    assert!(Command::new("nsenter").args(added).status().unwrap().success());
}

/// It waits, says so, and serves when the address is there.
#[test]
fn a_node_waits_for_its_listen_address() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let Some(launch) = alone(&dir.path().join("a"), &[]) else { return };
    let mut master = launch.spawn();
    master.logs(&format!("cannot listen on {ADDRESS}:7443 yet"));
    add_address(&master);
    let started = master.wait("the start", kind_is("started"));
    assert_eq!(started["listen"], format!("{ADDRESS}:7443"));
    master.serving();
    master.quit();
}

/// The wait is bounded, can be turned off, and ends at once with SIGTERM.
#[test]
fn the_wait_for_a_listen_address_ends() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    for (wait, lines) in [("0s", 1), ("700ms", 2)] {
        let Some(launch) = alone(&dir.path().join("a"), &["--listen-wait", wait]) else { return };
        let (status, output, error) = launch.run();
        assert_eq!(status.code(), Some(1), "{output}{error}");
        assert_eq!(error.trim().lines().count(), lines, "{error}");
        assert!(error.trim().lines().last().unwrap().contains("--listen-wait"), "{error}");
        assert!(output.is_empty(), "it never ran: {output}");
    }
    let Some(launch) = alone(&dir.path().join("a"), &["--listen-wait", "24h"]) else { return };
    let mut waiting = launch.spawn();
    waiting.logs("cannot listen");
    waiting.signal(Signal::TERM);
    assert!(waiting.exit().success());
}

/// Another process has the address: whoever started a second node by mistake learns it at once.
#[test]
fn an_address_that_another_process_uses_is_told_of_at_once() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = dir.path().join("a");
    let launch = Launch::new("master", &data).with(["--listen", &address]).with(FAST.iter().copied());
    let (status, output, error) = launch.run();
    assert_eq!(status.code(), Some(1), "{output}{error}");
    assert_eq!(error.trim().lines().count(), 1, "{error}");
    assert!(error.contains(&format!("cannot listen on {address}")) && error.contains("in use"), "{error}");
}
