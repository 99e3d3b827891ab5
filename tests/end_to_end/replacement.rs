//! A shadow that is replaced by a new one in one step.

use serde_json::Value;

use crate::harness::{Absence, FAST, Pair, Program, Proxy, Witness, at, content, turn};

/// A third node that enrols with this token, and its proxy.
fn third(pair: &Pair, token: &str, options: &[&str]) -> (Program, Proxy) {
    let wire = Proxy::new();
    let join = ["--master", &pair.proxies[0].address(), "--token", token];
    let program = at("shadow", &pair.dir().join("third"), &wire, options).with(join).start();
    wire.forward_to(&program.listen());
    (program, wire)
}

fn is_in_sync(status: &Value) -> bool {
    status["in_sync"] == true && status["link"]["state"] == "connected"
}

fn replaced(master: &mut Program) -> String {
    let reply = master.ok("replace-shadow");
    master.check(reply["expires"].is_string(), &format!("{reply}"));
    reply["token"].as_str().unwrap().to_owned()
}

/// The master dies: the new shadow serves what the master had, and the old one never does.
fn new_one_takes_over(pair: &mut Pair, third: &mut Program, before: &Value) {
    pair.nodes[0].kill();
    third.status("the new shadow to serve", |status| status["serving"] == true);
    assert_eq!(content(&third.ok("digest")), *before);
    let old = pair.nodes[1].ok("status");
    let state = (&old["role"], &old["serving"], &old["takeover"]["able"]);
    assert_eq!(state, (&Value::from("shadow"), &Value::from(false), &Value::from(false)), "{old}");
}

/// The old shadow is there: its link drops with the answer, its pin is gone, also after restarts, and the new one takes its place.
#[test]
fn a_live_shadow_is_replaced_and_cannot_come_back() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("put k v");
    let before = pair.in_sync();
    pair.nodes[1].refused("replace-shadow", "not_master");
    let token = replaced(&mut pair.nodes[0]);
    let status = pair.nodes[0].ok("status");
    assert_eq!((&status["link"]["state"], &status["serving"]), (&Value::from("none"), &Value::from(true)), "{status}");
    let is_refused = |status: &Value| status["link"]["state"] == "refused";
    pair.nodes[1].status("the old shadow to be refused", is_refused);
    pair.restart(1);
    pair.nodes[1].status("the old shadow to be refused again", is_refused);
    pair.nodes[0].refused("replace-shadow", "no_peer");

    let (mut third, _wire) = third(&pair, &token, FAST);
    third.status("the new shadow to be in sync", is_in_sync);
    pair.nodes[0].status("the master to be in sync", is_in_sync);
    pair.nodes[1].status("the old shadow to be refused still", is_refused);
    new_one_takes_over(&mut pair, &mut third, &before);
}

#[test]
fn a_dead_shadow_is_replaced_and_cannot_come_back() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("put k v");
    pair.in_sync();
    pair.nodes[1].kill();
    pair.nodes[0].ok("put k w");
    let token = replaced(&mut pair.nodes[0]);
    let (mut third, _wire) = third(&pair, &token, FAST);
    third.status("the new shadow to be in sync", is_in_sync);
    let before = content(&pair.nodes[0].ok("digest"));
    pair.start_again(1);
    pair.nodes[1].status("the old shadow to be refused", |status| status["link"]["state"] == "refused");
    new_one_takes_over(&mut pair, &mut third, &before);
}

/// With a witness and synchronous replication: the record names the old shadow as in sync, and no more when the command is answered.
#[test]
fn a_witnessed_shadow_is_replaced_and_cannot_take_over_by_the_record() {
    let _turn = turn();
    for dead in [false, true] {
        let witness = Witness::new();
        let options = witness.options();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let mut pair = Pair::witnessed(&witness, ["master", "shadow"]);
        pair.nodes[0].ok("put k v");
        pair.in_sync();
        if dead {
            pair.nodes[1].kill();
        }
        let token = replaced(&mut pair.nodes[0]);
        let reply = pair.nodes[0].ok("put k w");
        assert_eq!(reply["replicated"], false, "nobody else holds it");
        if dead {
            pair.start_again(1);
        }
        // The master dies before there is another shadow: the old one must stay what it is.
        pair.nodes[0].kill();
        pair.nodes[1].status("the old shadow to say why it does not serve", |status| {
            let why: Vec<&str> =
                status["takeover"]["why_not"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            status["link"]["state"] != "connected" && why.contains(&"not_in_sync")
        });
        pair.nodes[1].refused("take-over", "loss");
        pair.start_again(0);
        pair.nodes[0].serving();
        let (mut third, _wire) = third(&pair, &token, &options);
        third.status("the new shadow to be in sync", is_in_sync);
        let reply = pair.nodes[0].until("put k x", "both to hold it", |reply| reply["replicated"] == true);
        assert_eq!(reply["ok"], true);
        let before = content(&pair.nodes[0].ok("digest"));
        new_one_takes_over(&mut pair, &mut third, &before);
    }
}

/// Nothing is replaced while the record cannot be changed.
#[test]
fn without_its_witness_a_shadow_is_not_replaced() {
    let _turn = turn();
    let witness = Witness::new();
    let mut pair = Pair::witnessed(&witness, ["master", "shadow"]);
    pair.nodes[0].ok("put k v");
    let before = pair.in_sync();
    witness.take_away(Absence::Missing);
    pair.nodes[0].refused("replace-shadow", "witness_unreachable");
    witness.bring_back();
    assert_eq!(pair.in_sync(), before);
    replaced(&mut pair.nodes[0]);
}

/// A shadow that was reset is enrolled again where it is, with a new token. It keeps its copy, and gets what it lacks.
#[test]
fn a_shadow_that_was_reset_is_enrolled_again_in_place() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("load 500 1000");
    pair.in_sync();
    pair.nodes[1].ok("disconnect");
    pair.nodes[0].status("the link to be down", |status| status["link"]["state"] != "connected");
    pair.nodes[1].ok("reset");
    let token = replaced(&mut pair.nodes[0]);
    pair.nodes[0].ok("put k v");
    let node = pair.nodes[1].started["node"].clone();
    // Its old command line has a token that was used up: it starts as it was, with a readable copy.
    pair.restart(1);
    let status = pair.nodes[1].ok("status");
    assert_eq!((&status["link"]["state"], &status["takeover"]["able"]), (&"none".into(), &false.into()), "{status}");
    assert_eq!(pair.nodes[1].ok("digest")["entries"], 500);
    pair.nodes[1].kill();

    let join = ["--master", &pair.proxies[0].address(), "--token", &token];
    let data = pair.dir().join("second");
    let mut again = at("shadow", &data, &pair.proxies[1], FAST).with(join).start();
    pair.proxies[1].forward_to(&again.listen());
    let synced = again.wait("it to be repaired", |event| event["event"] == "synced");
    again.check(synced["how"] == "incremental", &format!("{synced}"));
    again.status("the pair to be in sync", is_in_sync);
    assert_eq!(again.started["node"], node, "it is the same node");
    assert_eq!(again.ok("get k")["value"], "v");
    pair.nodes[0].kill();
    again.status("it to serve", |status| status["serving"] == true);
}
