//! Standard streams that nobody reads, and that take nothing: they cost no node and no acknowledgement.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Broken, FAST, Launch, Pair, Pipe, Program, breaks, turn};

/// The second node of a pair again, with a broken stream. It is spoken to blindly: what it did shows on the other node.
fn restart_with(pair: &mut Pair, stream: u8, how: Broken, pipe: &Pipe) -> Program {
    let (address, data) = (pair.nodes[1].listen(), pair.dir().join("second"));
    let advertise = pair.proxies[1].address();
    let launch = Launch::new("shadow", &data).with(["--listen", &address, "--advertise", &advertise]);
    let launch = breaks(launch.with(FAST.iter().copied()), stream, how, pipe);
    pair.nodes[1].kill();
    pair.nodes[0].status("the second node to be lost", |status| status["link"]["state"] != "connected");
    let blind = launch.spawn();
    in_sync(pair);
    blind
}

/// Waits until the first node sees that both are in sync.
fn in_sync(pair: &mut Pair) {
    let status = |status: &Value| status["in_sync"] == true && status["link"]["state"] == "connected";
    pair.nodes[0].status("the pair to be in sync", status);
}

/// The first node is killed and takes two seconds to boot: longer than a takeover.
fn reboot(pair: &mut Pair) {
    let mut launch = pair.nodes[0].launch().clone();
    launch.wrapper = ["sh", "-c", "sleep 2; exec \"$@\"", "sh"].map(Into::into).to_vec();
    pair.nodes[0].kill();
    pair.nodes[0] = launch.start();
    pair.proxies[0].forward_to(&pair.nodes[0].listen());
}

fn arrives(pair: &mut Pair, key: &str) {
    pair.nodes[0].until(&format!("get {key}"), key, |reply| reply["value"] == "1");
}

fn works_with_a_broken(stream: u8) {
    let _turn = turn();
    for how in Broken::ALL {
        let mut pair = Pair::enrol(FAST);
        let pipe = Pipe::full(&pair.dir().join("pipe"));
        let mut blind = restart_with(&mut pair, stream, how, &pipe);
        pair.nodes[0].ok("put before 1");
        in_sync(&mut pair);
        // It takes over, and its old master follows it.
        reboot(&mut pair);
        pair.nodes[0].status("the takeover", |status| status["role"] == "shadow" && status["in_sync"] == true);
        blind.write("put after 1");
        arrives(&mut pair, "after");
        // Its shadow dies, which is logged and printed, and it works on.
        for round in 0..3 {
            pair.nodes[0].kill();
            blind.write(&format!("put alone/{round} 1"));
            pair.start_again(0);
            arrives(&mut pair, &format!("alone/{round}"));
            in_sync(&mut pair);
        }
        assert_eq!(pair.nodes[0].ok("status")["role"], "shadow", "{how:?}: it served all the time");
        blind.signal(Signal::TERM);
        let status = blind.exit();
        blind.check(status.success(), &format!("{stream} {how:?}: it ended with {status}"));
    }
}

/// Standard error: the log.
#[test]
fn a_log_that_cannot_be_written_costs_nothing() {
    works_with_a_broken(2);
}

/// Standard output: events and answers.
#[test]
fn events_and_answers_that_cannot_be_written_cost_nothing() {
    works_with_a_broken(1);
}

/// A reader that stops and reads again gets whole lines in order, and is told where lines are missing.
#[test]
fn a_reader_that_was_stopped_is_told_what_it_missed() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let mut pipe = Pipe::full(&pair.dir().join("pipe"));
    let mut blind = restart_with(&mut pair, 1, Broken::ReaderStopped, &pipe);
    for _ in 0..6_000 {
        blind.write("get k");
    }
    blind.write("digest");
    // The reply to `disconnect` is dropped as well, and yet it is executed.
    blind.write("disconnect");
    // A busy machine may lose the link before, and then nothing was dropped yet.
    pair.nodes[0].status("the link to be held", |status| status["link"]["state"] == "held");
    let mut text = String::new();
    pipe.read_until(&mut text, "events_missed");
    blind.write("digest");
    pipe.read_until(&mut text, r#""command":"digest""#);
    let lines: Vec<Value> =
        text.lines().filter(|line| *line != "#").map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["event"], "started");
    let answers = lines.iter().filter(|line| line["command"] == "get").count() as u64;
    let missed: u64 = lines.iter().filter_map(|line| line["answers"].as_u64()).sum();
    assert_eq!(answers + missed, 6_000 + 2, "what is not there is counted");
    blind.signal(Signal::TERM);
    assert!(blind.exit().success());
}

/// Input that ends while nobody reads the answers ends the node.
#[test]
fn the_end_of_input_is_found_although_nobody_reads() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let pipe = Pipe::full(&pair.dir().join("pipe"));
    let mut blind = restart_with(&mut pair, 1, Broken::ReaderStopped, &pipe);
    blind.write("put k 1");
    blind.close_input();
    assert!(blind.exit().success());
}

/// A program that fails says so by its exit code, also where its last line cannot be written.
#[test]
fn a_failure_that_cannot_be_told_is_an_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = Pipe::full(&dir.path().join("pipe"));
    for how in Broken::ALL {
        let bad = Launch::new("master", &dir.path().join("x")).with(["--heartbeat", "never"]);
        assert_eq!(breaks(bad, 2, how, &pipe).run().0.code(), Some(2), "{how:?}");
        let refused = Launch::new("master", &dir.path().join("x")).with(["--listen", "127.0.0.1:1", "--permit", "?"]);
        assert_eq!(breaks(refused, 2, how, &pipe).run().0.code(), Some(2), "{how:?}");
        let failed = Launch::new("master", std::path::Path::new("/dev/null/x")).with(["--listen", "127.0.0.1:0"]);
        assert_eq!(breaks(failed, 2, how, &pipe).run().0.code(), Some(1), "{how:?}");
    }
}
