//! The audit log of the real programs.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::harness::{FAST, Launch, Program, Proxy, at, token, turn};

const PATIENT: &[&str] = &["--heartbeat", "100ms", "--takeover-delay", "60s", "--failover", "manual"];

fn text(data: &Path) -> String {
    std::fs::read_to_string(data.join("audit.log")).unwrap()
}

fn lines(data: &Path) -> Vec<Value> {
    text(data).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until a line with this word is in the file: it is written beside the answer. Returns the last one.
fn told(program: &mut Program, data: &Path, what: &str) -> Value {
    let find = || lines(data).into_iter().rev().find(|line| line["what"] == what);
    program.until("status", what, |_| find().is_some());
    find().unwrap()
}

#[test]
fn the_audit_log_tells_who_did_what_and_nothing_that_is_secret() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| dir.path().join(name));
    let wires = [Proxy::new(), Proxy::new()];
    let mut master = at("master", &first, &wires[0], PATIENT).start();
    wires[0].forward_to(&master.listen());
    master.serving();
    let good = token(&mut master);
    let join = |data: &Path, token: &str| {
        let address = wires[0].address();
        let options = [PATIENT, &["--master", &address, "--token", token]].concat();
        at("shadow", data, &wires[1], &options)
    };

    // The right master, and a secret that it does not know.
    let wrong = shadowpair::JoinToken::new(good.parse::<shadowpair::JoinToken>().unwrap().master(), [7; 16]);
    let refused: Launch = join(&dir.path().join("wrong"), &wrong.to_string());
    assert_eq!(refused.run().0.code(), Some(1));
    let line = told(&mut master, &first, "enrolment_refused");
    assert_eq!((&line["reason"], &line["who"]), (&"wrong_proof".into(), &"enrolling".into()), "{line}");
    assert_eq!(line["address"], "127.0.0.1");

    let mut shadow = join(&second, &good).start();
    wires[1].forward_to(&shadow.listen());
    shadow.status("the pair to be in sync", |status| status["in_sync"] == true);
    let line = told(&mut master, &first, "enrolled");
    assert_eq!(line["node"], shadow.started["node"], "{line}");
    assert_eq!(told(&mut shadow, &second, "enrolled")["node"], master.started["node"]);

    master.ok("put database/password hunter2");
    master.status("the pair to be in sync", |status| status["in_sync"] == true);
    master.until("switch-roles", "the switch", |reply| reply["ok"] == true);
    assert_eq!(told(&mut master, &first, "roles_switched")["who"], "operator");
    assert_eq!(told(&mut master, &first, "became_shadow")["reason"], "switched");
    let line = told(&mut shadow, &second, "became_master");
    assert_eq!(line["epoch"], shadow.serving()["epoch"], "{line}");

    // The former master takes over while the link is held, and forgets the pairing.
    master.ok("disconnect");
    shadow.status("the link to be held", |status| status["link"]["state"] == "held");
    master.ok("take-over --accept-loss");
    master.serving();
    assert_eq!(told(&mut master, &first, "loss_accepted")["who"], "operator");
    let line = told(&mut master, &first, "became_master");
    assert_eq!((&line["who"], &line["reason"]), (&"operator".into(), &"operator".into()), "{line}");
    master.ok("reset");
    told(&mut master, &first, "reset");
    master.quit();
    shadow.quit();

    for data in [&first, &second] {
        let all = lines(data);
        assert_eq!(all.last().unwrap()["what"], "stopped", "{all:?}");
        let times: Vec<_> = all.iter().map(|line| line["at"].as_str().unwrap().to_owned()).collect();
        assert!(times.is_sorted() && times.iter().all(|at| at.len() == 24 && at.ends_with('Z')), "{times:?}");
        for line in &all {
            assert!(["what", "who", "epoch"].iter().all(|field| line[*field].is_string()), "{line}");
        }
        let mode = std::fs::metadata(data.join("audit.log")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = text(data);
        for secret in ["hunter2", "database/password", &good, "sp1-", "PRIVATE KEY"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

/// What each node did stays with it: an export does not hold it, and a shadow that is repaired keeps its own.
#[test]
fn the_audit_log_stays_on_its_node() {
    let _turn = turn();
    let mut pair = crate::harness::Pair::enrol(FAST);
    pair.nodes[0].ok("put k v");
    pair.in_sync();
    let [first, second] = ["first", "second"].map(|name| pair.dir().join(name));
    let before = text(&second);
    let export = pair.dir().join("export");
    pair.nodes[0].ok(&format!("export {}", export.display()));
    assert!(told(&mut pair.nodes[0], &first, "exported")["revision"].is_string());
    pair.nodes[1].ok("resync");
    told(&mut pair.nodes[1], &second, "resync_asked");
    pair.in_sync();
    let bytes = std::fs::read(&export).unwrap();
    assert!(!bytes.windows(9).any(|window| window == b"pair_made"));
    assert!(text(&second).starts_with(&before), "it is only appended to");
    assert!(!text(&second).contains("pair_made"), "it is not replicated");
}
