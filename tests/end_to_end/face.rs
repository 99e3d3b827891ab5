//! The contract of `docs/CLI.md`: arguments, exit codes, error words, order of answers.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{FAST, Launch, Pair, kind_is, turn};

fn alone(dir: &std::path::Path) -> Launch {
    Launch::new("master", dir).with(["--listen", "127.0.0.1:0", "--name", "alone"]).with(FAST.iter().copied())
}

/// Bad arguments exit with 2, before anything is written.
#[test]
fn bad_arguments_end_with_2() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let bad: [(&str, &[&str]); 19] = [
        ("master", &["--no-such-flag"]),
        ("master", &["--listen", "nowhere"]),
        ("master", &["--heartbeat", "fast"]),
        ("master", &["--heartbeat", "1ms"]),
        ("master", &["--heartbeat", "1s", "--takeover-delay", "1s"]),
        ("master", &["--failover", "perhaps"]),
        ("master", &["--log-changes", "0"]),
        ("master", &["--permit", "10.0.0.0/99"]),
        ("master", &["--witness", "etcd:http://127.0.0.1:2379"]),
        ("master", &["--witness", "/tmp/w"]),
        ("master", &["--witness", "file:"]),
        ("master", &["--replication", "perhaps"]),
        ("master", &["--sync-timeout", "soon"]),
        ("master", &["--heartbeat", "1s", "--lease", "500ms"]),
        ("master", &["--takeover-delay", "5s", "--lease", "5s"]),
        ("shadow", &[]),
        ("shadow", &["--master", "127.0.0.1:1"]),
        ("shadow", &["--master", "127.0.0.1:1", "--token-file", "/nowhere/at/all"]),
        ("shadow", &["--master", "127.0.0.1:1", "--fingerprint", "00", "--user", "u"]),
    ];
    for (program, arguments) in bad {
        let (status, output, error) = Launch::new(program, &data).with(arguments.iter().copied()).run();
        assert_eq!(status.code(), Some(2), "{program} {arguments:?}: {output}{error}");
        assert_eq!(error.trim().lines().count(), 1, "{program} {arguments:?}: {error}");
        assert!(output.is_empty(), "{program} {arguments:?}: {output}");
    }
    let left = std::fs::read_dir(&data).map(|files| files.count()).unwrap_or_default();
    assert!(left <= 1, "nothing but a lock file");
}

/// Every clean end.
#[test]
fn quit_end_of_input_and_signals_end_with_0_and_stopped_last() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    for end in ["quit", "end of input", "SIGINT", "SIGTERM"] {
        let mut master = alone(&dir.path().join("data")).start();
        match end {
            "quit" => _ = master.ok("quit"),
            "SIGINT" => master.signal(Signal::INT),
            "SIGTERM" => master.signal(Signal::TERM),
            _ => {
                master.quit();
                continue;
            }
        }
        master.wait("stopped", kind_is("stopped"));
        assert!(master.next_event(crate::harness::WAIT_MAX).is_none(), "nothing follows `stopped`");
        assert_eq!(master.exit().code(), Some(0), "{end}");
    }
}

/// The first event, the form of every line, and the answers of a single node.
#[test]
fn a_node_alone_answers_as_written() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let mut master = alone(&dir.path().join("data")).start();
    let started = master.started.clone();
    assert!(started["listen"].as_str().unwrap().starts_with("127.0.0.1:") && started["role"] == "master");
    assert_eq!((hex(&started["node"]), hex(&started["pair"])), (64, 32), "{started}");
    master.serving();

    let put = master.ok("put k a value with  spaces");
    assert_eq!((&put["revision"]["seq"], &put["replicated"]), (&json!(1), &json!(false)));
    assert_eq!(put["revision"]["epoch"], master.ok("status")["epoch"]);
    assert_eq!(master.ok("get k")["value"], "a value with  spaces");
    assert_eq!(master.ok("get absent")["value"], Value::Null);
    assert_eq!(master.ok("put empty ")["ok"], true);
    assert_eq!(master.ok("get empty")["value"], "");
    assert_eq!(master.ok("delete empty")["revision"]["seq"], 3);

    assert_eq!(master.ok("begin")["staged"], 0);
    master.refused("begin", "change_set_open");
    master.refused("load 1 1", "change_set_open");
    assert_eq!(master.ok("put a 1")["staged"], 1);
    assert_eq!(master.ok("delete k")["staged"], 2);
    assert_eq!(master.ok("get k")["value"], "a value with  spaces", "nothing is visible before the commit");
    assert_eq!(master.ok("commit")["revision"]["seq"], 4);
    assert_eq!(master.ok("get k")["value"], Value::Null);
    master.ok("begin");
    master.ok("put b 1");
    master.ok("abort");
    assert_eq!(master.ok("get b")["value"], Value::Null);
    master.refused("commit", "no_change_set");
    master.refused("abort", "no_change_set");

    let loaded = master.ok("load 2500 10 l/");
    assert_eq!(loaded["revision"]["seq"], 7, "change sets of at most 1,000: {loaded}");
    let list = master.ok("list l/");
    let entries = list["entries"].as_array().unwrap();
    assert_eq!((entries.len(), &entries[0]), (2500, &json!({"key": "l/000000", "bytes": 10, "secret": false})));
    assert_eq!(master.ok("digest")["entries"], 2501);
    assert_eq!(master.ok("history")["history"][0]["first_seq"], 1);
    assert_eq!(master.ok("alerts")["alerts"], json!([]));
    assert_eq!(master.ok("diverged")["diverged"], json!([]));
    status_is_whole(&master.ok("status"));
}

fn hex(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default();
    assert!(text.bytes().all(|byte| byte.is_ascii_hexdigit()), "{text}");
    text.len()
}

fn status_is_whole(status: &Value) {
    assert_eq!(
        (&status["role"], &status["serving"], &status["in_sync"]),
        (&json!("master"), &json!(true), &json!(false))
    );
    assert_eq!((&status["name"], &status["enabled"]), (&json!("alone"), &json!(false)));
    for field in ["epoch", "revision", "node", "pair", "listen", "link", "takeover", "replication", "witness", "alerts"]
    {
        assert!(status.get(field).is_some(), "{field} is missing: {status}");
    }
    for field in ["state", "peer", "peer_revision", "lag", "last_seen_ms", "round_trip_us", "reason"] {
        assert!(status["link"].get(field).is_some(), "link.{field} is missing: {status}");
    }
    assert_eq!((&status["link"]["state"], &status["replication"]), (&json!("none"), &json!("async")));
    assert_eq!((&status["witness"], &status["two_masters_possible"]), (&Value::Null, &json!(true)));
    assert_eq!(status["alerts"], json!({"error": 0, "warning": 0, "info": 0}));
    assert!(status["takeover"]["able"].is_boolean() && status["takeover"]["why_not"].is_array());
}

/// `status` shows the options of the command line, and the witness is not used before it is needed.
#[test]
fn a_witness_and_synchronous_replication_show_in_status() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let witness = format!("file:{}", dir.path().join("not/mounted/w").display());
    let asked = ["--witness", &witness, "--lease", "300ms", "--replication", "sync", "--sync-timeout", "1s"];
    let mut master = alone(&dir.path().join("data")).with(asked).start();
    master.serving();
    let status = master.ok("status");
    assert_eq!((&status["witness"]["kind"], &status["witness"]["reachable"]), (&json!("file"), &json!(false)));
    assert_eq!((&status["replication"], &status["two_masters_possible"]), (&json!("sync"), &json!(false)));
    assert!(!dir.path().join("not").exists(), "no node makes what is not mounted");
    master.quit();
}

/// Every refusal has its error word, and the next command works.
#[test]
fn every_refusal_has_its_word() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let mut master = alone(&dir.path().join("data")).start();
    master.serving();
    master.refused("put-secret k v", "not_supported");
    master.refused("replace-shadow", "ha_disabled");
    master.refused("replace-shadow soon", "bad_argument");
    for command in ["reapply 1", "discard 1"] {
        master.refused(command, "unknown_diverged");
    }
    master.refused("export-diverged 1 /dev/null", "bad_argument");
    let long = format!("put {} v", "k".repeat(513));
    for command in [
        "put",
        "put k",
        "reapply",
        "reapply one",
        "discard 1 2",
        "export-diverged 1",
        "put  v",
        "delete",
        "get",
        "get a b",
        "load",
        "load x 1",
        "ack",
        "ack x",
        "token soon",
        "replication",
        "replication perhaps",
        "replication sync now",
        "quit now",
        &long,
    ] {
        master.refused(command, "bad_argument");
    }
    for command in ["no-such-command", "", "PUT k v"] {
        master.refused(command, "unknown_command");
    }
    master.refused("load 1 67108865", "too_large");
    master.refused("token", "ha_disabled");
    master.refused("ack 99", "unknown_alert");
    for command in ["disconnect", "resync"] {
        master.refused(command, "no_peer");
    }
    master.ok("enable");
    let token = master.ok("token 10m");
    assert!(token["token"].as_str().unwrap().len() > 40 && token["expires"].as_str().unwrap().ends_with('Z'));
    master.refused("token 25h", "bad_argument");
    master.ok("disable");
    master.refused("token", "ha_disabled");
}

/// Answers come in order, and no event splits a line.
#[test]
fn many_commands_at_once_are_answered_in_order() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let commands: Vec<String> = (0..500).map(|n| format!("put order {n}")).collect();
    commands.iter().for_each(|command| pair.nodes[0].write(command));
    let mut last = 0;
    for command in &commands {
        let reply = pair.nodes[0].answer(command);
        let seq = reply["revision"]["seq"].as_u64().unwrap_or_default();
        pair.nodes[0].check(seq > last, &format!("out of order: {reply}"));
        last = seq;
    }
    pair.in_sync();
    assert_eq!(pair.nodes[1].ok("get order")["value"], "499");
}

/// The data directory knows its role: after the first start, `shadow` and `master` are the same program.
#[test]
fn after_the_first_start_the_directory_knows() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut master = alone(&data).start();
    let (node, pair) = (master.started["node"].clone(), master.started["pair"].clone());
    master.serving();
    master.ok("put k v");
    master.quit();
    let mut again = Launch::new("shadow", &data).with(["--listen", "127.0.0.1:0"]).start();
    assert_eq!((&again.started["node"], &again.started["pair"]), (&node, &pair));
    let status = again.serving();
    assert_ne!(status["epoch"], master.started["epoch"], "a restart is a new incarnation");
    assert_eq!(again.ok("get k")["value"], "v");
}

/// An idle pair needs little memory. (The bench measures its processor time.)
#[test]
fn an_idle_pair_is_small() {
    let _turn = turn();
    let pair = Pair::enrol(&[]);
    for node in &pair.nodes {
        let resident = node.resident();
        println!("{}: {} KiB resident", node.launch().program, resident / 1024);
        // A test build has debug information; the bench measures the release build against 32 MiB.
        node.check(resident < 64 * 1024 * 1024, &format!("{resident} bytes resident"));
    }
}
