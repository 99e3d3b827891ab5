//! Refusals: which connections and first starts are refused, and for which reason.

use serde_json::Value;

use crate::harness::{FAST, Launch, Pair, Proxy, WAIT_MAX, at, lone_master, token, turn};

pub fn unpermitted(alerts: &[Value]) -> bool {
    alerts.iter().any(|alert| alert["kind"] == "unpermitted_peer")
}

fn joining(pair: &Pair, name: &str, token: &str) -> Launch {
    join(&pair.proxies[0], &pair.dir().join(name), token)
}

/// The first start of a shadow, with the master behind this proxy.
pub fn join(wire: &Proxy, data: &std::path::Path, token: &str) -> Launch {
    let join = ["--listen", "127.0.0.1:0", "--master", &wire.address(), "--token", token];
    Launch::new("shadow", data).with(join).with(FAST.iter().copied())
}

/// A refused first start exits with 1, prints one line that says what to do, and leaves the directory empty. Returns that line.
pub fn is_refused(launch: &Launch, dir: &std::path::Path) -> String {
    let (status, output, error) = launch.run();
    assert_eq!(status.code(), Some(1), "{output}{error}");
    assert_eq!(error.trim().lines().count(), 1, "one line that says what to do: {error}");
    is_left_empty(dir);
    error
}

fn is_left_empty(dir: &std::path::Path) {
    let left: Vec<_> = std::fs::read_dir(dir)
        .map(|files| files.map_while(Result::ok).map(|file| file.file_name()).collect())
        .unwrap_or_default();
    assert!(left.len() <= 1, "the directory is empty but for a lock file: {left:?}");
}

/// A shadow refuses writes and names the master.
#[test]
fn a_put_on_the_shadow_names_the_master() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let address = pair.proxies[0].address();
    for command in ["put k v", "delete k", "load 10 10", "token"] {
        let refused = pair.nodes[1].refused(command, "not_master");
        assert_eq!(refused["master"], address, "{refused}");
    }
    pair.nodes[1].ok("begin");
    pair.nodes[1].ok("put k v");
    pair.nodes[1].refused("commit", "not_master");
    pair.in_sync();
}

/// There is one shadow. A used, a wrong and an expired token are refused.
#[test]
fn a_second_shadow_and_bad_tokens_are_refused() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let proxies = [Proxy::new(), Proxy::new()];
    let mut master = lone_master(&dir.path().join("a"), &proxies[0], FAST);
    master.refused("token", "ha_disabled");
    let expiring = {
        master.ok("enable");
        master.ok("token 1ms")["token"].as_str().unwrap().to_owned()
    };
    let good = token(&mut master);
    let join = |name: &str, token: &str| join(&proxies[0], &dir.path().join(name), token);
    is_refused(&join("expired", &expiring), &dir.path().join("expired"));
    master.alerts_until("the alert", unpermitted);
    // Another end of the token: the right master, the wrong secret.
    let wrong = mangled(&good);
    let (status, _, error) = join("wrong", &wrong).run();
    assert!(matches!(status.code(), Some(1 | 2)), "{status} {error}");

    let mut shadow = join("b", &good).start();
    shadow.status("the good token to do", |status| status["in_sync"] == true);
    is_refused(&join("reused", &good), &dir.path().join("reused"));
    master.refused("token", "shadow_enrolled");
    shadow.status("the pair to be undisturbed", |status| status["in_sync"] == true);
    assert_eq!(master.ok("status")["epoch"], master.started["epoch"]);
}

/// Several nodes enrol at once, with one token and with two: one becomes the shadow, the others are refused.
#[test]
fn of_those_who_enrol_at_once_one_is_the_shadow() {
    let _turn = turn();
    for round in 0..8 {
        let dir = tempfile::tempdir().unwrap();
        let wire = Proxy::new();
        let mut master = lone_master(&dir.path().join("a"), &wire, FAST);
        let first = token(&mut master);
        let second = if round % 2 == 0 { token(&mut master) } else { first.clone() };
        let names = ["b", "c", "d"];
        let join = |name: &str, token: &str| join(&wire, &dir.path().join(name), token);
        let asked = names.into_iter().zip([&first, &second, &first]).map(|(name, token)| join(name, token).spawn());
        let mut enrolled = 0;
        for (name, mut program) in names.into_iter().zip(asked.collect::<Vec<_>>()) {
            if program.next_event(WAIT_MAX).is_some() {
                enrolled += 1;
                program.status("the pair to be in sync", |status| status["in_sync"] == true);
                continue;
            }
            assert_eq!(program.exit().code(), Some(1), "{}", program.transcript());
            is_left_empty(&dir.path().join(name));
        }
        assert_eq!(enrolled, 1, "in round {round}");
    }
}

/// The same token with its last letter changed.
fn mangled(token: &str) -> String {
    let (rest, last) = token.split_at(token.len() - 1);
    format!("{rest}{}", if last == "a" { "b" } else { "a" })
}

/// The right master and a secret with one wrong bit: refused with a reason, and the token stays valid.
#[test]
fn a_wrong_secret_for_the_right_master_is_refused() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let wire = Proxy::new();
    let mut master = lone_master(&dir.path().join("a"), &wire, FAST);
    let good = token(&mut master);
    let join = |name: &str, token: &str| join(&wire, &dir.path().join(name), token);
    let mut secret = secret_of(&good);
    secret[7] ^= 0x10;
    let master_key = good.parse::<shadowpair::JoinToken>().unwrap().master();
    let wrong = shadowpair::JoinToken::new(master_key, secret).to_string();
    let different = wrong.bytes().zip(good.bytes()).filter(|(one, other)| one != other).count();
    assert!((1..=9).contains(&different), "a letter, and those of the checksum: {wrong} for {good}");

    is_refused(&join("wrong", &wrong), &dir.path().join("wrong"));
    let alerts = master.alerts_until("the alert", unpermitted);
    let told = |alert: &Value| alert["message"].as_str().is_some_and(|message| message.contains("wrong_proof"));
    assert!(alerts.iter().any(told), "{alerts:?}");
    let mut shadow = join("b", &good).start();
    shadow.status("the good token to do", |status| status["in_sync"] == true);
}

/// The secret of a token: bytes 32 to 47 of what its letters encode, five bits each.
fn secret_of(token: &str) -> [u8; 16] {
    let letters = token.strip_prefix("sp1-").unwrap().bytes();
    let five = letters.map(|letter| match letter {
        b'a'..=b'z' => letter - b'a',
        digit => digit - b'2' + 26,
    });
    let bits: Vec<u8> = five.flat_map(|five| (0..5).rev().map(move |bit| five >> bit & 1)).collect();
    let bytes: Vec<u8> = bits.chunks(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | bit)).collect();
    bytes[32..48].try_into().unwrap()
}

/// A valid certificate of another pair.
#[test]
fn a_shadow_of_another_pair_is_refused_and_follows_nobody() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("put ours 1");
    let ours = pair.in_sync();
    let mut other = Pair::enrol(&[FAST, &["--failover", "manual"]].concat());
    other.nodes[0].ok("put theirs 1");
    let theirs = other.in_sync();
    other.nodes[0].kill();
    // The shadow of the other pair dials our master: by its command line, and because the address of its own master leads there now.
    other.proxies[0].forward_to(&pair.nodes[0].listen());
    other.nodes[1].status("our master to be refused", |status| {
        status["link"]["state"] == "refused" && status["link"]["reason"].is_string()
    });
    other.nodes[1].alerts_until("its alert", unpermitted);
    pair.nodes[0].alerts_until("our alert", unpermitted);
    assert_eq!(pair.in_sync(), ours);
    let kept = crate::harness::content(&other.nodes[1].ok("digest"));
    assert_eq!(kept, theirs, "it follows nobody else");
    other.start_again(0);
    other.nodes[0].serving();
    assert_eq!(other.in_sync(), theirs);
}

/// A new master at the address of the peer is not followed.
#[test]
fn a_blank_master_on_the_peers_address_is_not_followed() {
    let _turn = turn();
    let mut pair = Pair::enrol(&[FAST, &["--failover", "manual"]].concat());
    pair.nodes[0].ok("put k v");
    let before = pair.in_sync();
    pair.nodes[0].kill();
    let mut blank = at("master", &pair.dir().join("blank"), &pair.proxies[0], FAST).start();
    pair.proxies[0].forward_to(&blank.listen());
    pair.nodes[1].status("the stranger to be refused", |status| status["link"]["state"] == "refused");
    pair.nodes[1].alerts_until("the alert", unpermitted);
    assert_eq!(crate::harness::content(&pair.nodes[1].ok("digest")), before);
    blank.kill();
    pair.start_again(0);
    assert_eq!(pair.in_sync(), before);
}

/// The wrong master at the right address: its key is not the one in the token.
#[test]
fn a_token_of_another_master_is_refused() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let mut other = at("master", &pair.dir().join("other"), &Proxy::new(), FAST).start();
    let token = token(&mut other);
    is_refused(&joining(&pair, "x", &token), &pair.dir().join("x"));
    pair.in_sync();
}

/// A first start without a reachable master ends after 30 s and leaves the directory as it was. It only waits, so that it runs
/// beside other tests.
#[test]
fn a_master_that_cannot_be_reached_ends_the_first_start() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = Proxy::new();
    let mut master = at("master", &dir.path().join("master"), &nowhere, FAST).start();
    let token = token(&mut master);
    let join = ["--listen", "127.0.0.1:0", "--master", &nowhere.address(), "--token", &token];
    is_refused(&Launch::new("shadow", &dir.path().join("x")).with(join), &dir.path().join("x"));
}

/// `reset` ends the pairing: the master can enrol another shadow; the old shadow keeps its copy and never serves.
#[test]
fn reset_makes_room_for_another_shadow() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("put k v");
    let before = pair.in_sync();
    pair.nodes[0].refused("reset", "peer_connected");
    pair.nodes[1].refused("reset", "peer_connected");
    pair.nodes[1].ok("disconnect");
    pair.nodes[0].status("the link to be down", |status| status["link"]["state"] != "connected");
    pair.nodes[1].ok("reset");
    pair.nodes[0].ok("reset");
    let status = pair.nodes[1].ok("status");
    assert_eq!((&status["role"], &status["takeover"]["able"]), (&"shadow".into(), &false.into()));
    assert_eq!(pair.nodes[1].ok("get k")["value"], "v");
    let token = token(&mut pair.nodes[0]);
    let mut other = joining(&pair, "third", &token).start();
    other.status("the new shadow to be in sync", |status| status["in_sync"] == true);
    assert_eq!(crate::harness::content(&other.ok("digest")), before);
}
