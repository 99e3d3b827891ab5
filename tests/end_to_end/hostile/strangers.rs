//! Strangers on the network, who have no key that is pinned.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::attacker::stolen;
use super::{refuses, speak_tls, undisturbed};
use crate::harness::{FAST, Pair, WAIT_MAX, turn};

/// 1,000 connections at once: the oldest ones without a certificate are closed, and the pair works on.
#[test]
fn a_thousand_connections_at_once_do_not_disturb_the_pair() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let before = pair.nodes[0].resident();
    let held: Vec<TcpStream> = (0..1_000).filter_map(|_| TcpStream::connect(pair.nodes[0].listen()).ok()).collect();
    pair.nodes[0].ok("put during 1");
    pair.in_sync();
    let grown = pair.nodes[0].resident().saturating_sub(before);
    pair.nodes[0].check(grown < 32 * 1024 * 1024, &format!("{grown} bytes more for connections"));
    drop(held);
    undisturbed(&mut pair);
}

/// A hello byte by byte: the connection ends within the time for a handshake.
#[test]
fn a_slow_loris_in_the_handshake_is_cut_off() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let mut stream = TcpStream::connect(pair.nodes[0].listen()).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    stream.write_all(&[22, 3, 1, 2, 0]).unwrap();
    let mut end = [0; 64];
    // An alert or nothing, and then the end.
    while stream.read(&mut end).is_ok_and(|bytes| bytes > 0) {}
    undisturbed(&mut pair);
}

/// TLS 1.2, an older version and one to come; records of TLS that are no hello.
#[test]
fn what_is_no_hello_of_tls_1_3_is_refused() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    // A hello of TLS 1.2 with one cipher suite and no extensions.
    let mut old = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
    old.extend([7; 32]);
    old.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]);
    let oversized = [&[22, 3, 1, 0x40, 0][..], &[1, 0xff, 0xff, 0xff], &[0; 0x4000 - 4]].concat();
    let attacks: [(&str, &[u8]); 6] = [
        ("TLS 1.2", &old),
        ("SSL 2", &[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10]),
        ("application data before the handshake", &[23, 3, 3, 0, 5, 1, 2, 3, 4, 5]),
        ("a record longer than TLS allows", &[22, 3, 3, 0xff, 0xff, 1]),
        ("a hello of 16 MiB", &oversized),
        ("a certificate in place of the hello", &[22, 3, 3, 0, 8, 11, 0, 0, 4, 0, 0, 0, 0]),
    ];
    for (what, bytes) in attacks {
        println!("{what}");
        refuses(&pair.nodes[0], bytes);
        refuses(&pair.nodes[1], bytes);
    }
    undisturbed(&mut pair);
}

/// The peer's certificate is no secret. Without its key nobody can sign with it: neither with a foreign key, nor with a certificate
/// that has the right name.
#[test]
fn the_peers_certificate_with_another_key_is_refused() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let (shadows, _) = stolen(&pair.dir().join("second"));
    let (_, masters) = stolen(&pair.dir().join("first"));
    let foreign = rcgen::KeyPair::generate().unwrap();
    let named = rcgen::CertificateParams::new(["shadowpair".to_owned()]).unwrap().self_signed(&foreign).unwrap();
    let key = || rustls::pki_types::PrivateKeyDer::try_from(foreign.serialize_der()).unwrap();
    for (what, certificate) in
        [("the right name", (named.der().clone(), key())), ("the node's own key", (shadows.clone(), masters))]
    {
        let heard = speak_tls(&pair.nodes[0], Some(&certificate), b"shadowpair/1");
        pair.nodes[0].check(heard.is_err(), &format!("{what} is answered {heard:?}"));
    }
    undisturbed(&mut pair);
}

/// A key is a name in the configuration and never one of a file.
#[test]
fn keys_that_look_like_paths_make_no_files() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let names = |pair: &Pair| -> std::collections::BTreeSet<_> {
        let dirs = ["", "first", "second", "first/state", "second/state"].map(|dir| pair.dir().join(dir));
        let files = dirs.iter().flat_map(|dir| std::fs::read_dir(dir).unwrap());
        files.map(|file| file.unwrap().path()).collect()
    };
    let before = names(&pair);
    let keys =
        ["../evil", "../../evil", "/evil", "log/../../evil", "state/state-1.redb", "identity.pem", "%2e%2e%2fevil"];
    for key in keys {
        pair.nodes[0].ok(&format!("put {key} evil"));
    }
    pair.in_sync();
    for key in keys {
        assert_eq!(pair.nodes[1].ok(&format!("get {key}"))["value"], "evil", "{key}");
    }
    assert_eq!(names(&pair), before);
    undisturbed(&mut pair);
}
