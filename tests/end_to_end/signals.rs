//! Signals, and terminals that go.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

use crate::harness::{FAST, Launch, Pair, Program, turn};

/// SIGHUP (log rotation) and its siblings end nothing, on either node; SIGTERM does, cleanly.
#[test]
fn a_hangup_signal_ends_no_node() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let epoch = pair.nodes[0].ok("status")["epoch"].clone();
    for node in &mut pair.nodes {
        for (signal, name) in [(Signal::HUP, "SIGHUP"), (Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")] {
            node.signal(signal);
            node.logs(name);
        }
    }
    pair.nodes[0].ok("put k v");
    pair.in_sync();
    let status = pair.nodes[0].ok("status");
    assert_eq!((&status["role"], &status["serving"], &status["epoch"]), (&"master".into(), &true.into(), &epoch));
    for node in &mut pair.nodes {
        node.signal(Signal::HUP);
        assert!(!node.has_printed(r#""event":"stopped""#), "{}", node.transcript());
        node.signal(Signal::TERM);
        node.ends_well();
    }
}

/// The other side of a terminal that a program runs in, and the program.
struct InTerminal {
    terminal: Option<File>,
    program: Program,
}

/// Starts the second node again, with a terminal as its input and output. `shell` starts it there. Prints why, and returns `None`, where
/// there are no terminals.
fn in_terminal(pair: &mut Pair, shell: &str) -> Option<InTerminal> {
    let has_setsid = Command::new("setsid").arg("true").status().is_ok_and(|status| status.success());
    let Some(terminal) =
        openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).ok().filter(|_| has_setsid)
    else {
        eprintln!("SKIPPED: it needs setsid(1) and a pseudo-terminal");
        return None;
    };
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("the terminal can be used");
    let name = ptsname(&terminal, Vec::new()).expect("it has a name").into_string().expect("text");
    let (address, data) = (pair.nodes[1].listen(), pair.dir().join("second"));
    let advertise = pair.proxies[1].address();
    let mut launch = Launch::new("shadow", &data).with(["--listen", &address, "--advertise", &advertise]);
    launch = launch.with(FAST.iter().copied());
    let script = format!("export RUST_LOG=info; exec setsid --ctty {shell} <{name} >{name}");
    launch.wrapper = ["bash", "-c", &script, "bash"].map(Into::into).to_vec();
    pair.nodes[1].kill();
    pair.nodes[0].status("the second node to be lost", |status| status["link"]["state"] != "connected");
    let program = launch.spawn();
    pair.nodes[0].status("the pair to be in sync", in_sync);
    Some(InTerminal { terminal: Some(File::from(terminal)), program })
}

fn in_sync(status: &Value) -> bool {
    status["in_sync"] == true && status["link"]["state"] == "connected"
}

/// The terminal of a node goes, as when a connection breaks: SIGHUP, and the end of its input. The node lives and serves.
#[test]
fn a_terminal_that_goes_takes_no_node_with_it() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let Some(mut remote) = in_terminal(&mut pair, "\"$@\"") else { return };
    drop(remote.terminal.take());
    remote.program.logs("SIGHUP");
    remote.program.logs("the terminal is gone");
    // It takes over, prints to nowhere, and acknowledges nothing that is lost.
    pair.nodes[0].ok("put k v");
    pair.nodes[0].status("the change to arrive", in_sync);
    pair.nodes[0].kill();
    remote.program.logs("took over");
    pair.start_again(0);
    pair.nodes[0].status("the takeover", |status| status["role"] == "shadow" && in_sync(status));
    remote.program.signal(Signal::TERM);
    assert!(remote.program.exit().success());
}

/// A line typed ^D is still the end of input.
#[test]
fn the_end_of_a_terminals_input_ends_the_node() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let Some(mut local) = in_terminal(&mut pair, "\"$@\"") else { return };
    local.terminal.as_mut().unwrap().write_all(b"\x04").unwrap();
    assert!(local.program.exit().success());
}

/// A node in the background of a terminal is not stopped by what is typed there, nor by what it prints (SIGTTIN, SIGTTOU).
#[test]
fn a_node_in_the_background_is_not_stopped() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let shell = "bash -c 'stty tostop; set -m; \"$@\" <&0 & wait; wait' bash \"$@\"";
    let Some(mut shell) = in_terminal(&mut pair, shell) else { return };
    let terminal = shell.terminal.as_mut().unwrap();
    terminal.write_all(b"for the shell\n").unwrap();
    let mut echo = [0; 13];
    terminal.read_exact(&mut echo).unwrap();
    let children = format!("/proc/{0}/task/{0}/children", shell.program.pid());
    let child = std::fs::read_to_string(children).unwrap();
    let child = Pid::from_raw(child.trim().parse().expect("one child")).unwrap();
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.as_raw_nonzero())).unwrap();
    for round in 0..5 {
        // Each change is printed there, and a stopped shadow would be lost.
        pair.nodes[0].ok(&format!("put k {round}"));
        pair.nodes[0].status("the pair to be in sync", in_sync);
    }
    let state = state();
    kill_process(child, Signal::TERM).unwrap();
    assert!(!state.contains(") T "), "{state}");
    assert!(shell.program.exit().success());
    assert!(pair.nodes[0].alerts("takeover").is_empty());
}
