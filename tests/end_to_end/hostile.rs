//! Hostile connections: silence, noise, wrong certificates, false enrolment; and in `hostile/` a peer with the right key that says
//! what it must not.

mod attacker;
mod malicious_master;
mod malicious_shadow;
mod strangers;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;

use crate::harness::{FAST, Pair, Program, WAIT_MAX, turn};

/// 200 connections that send nothing, or half a frame: the pair works on, and memory does not grow.
#[test]
fn two_hundred_idle_connections_cost_next_to_nothing() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("load 1000 100");
    pair.in_sync();
    let epoch = pair.nodes[0].ok("status")["epoch"].clone();
    let before = pair.nodes.each_ref().map(Program::resident);
    let mut idle = Vec::new();
    for node in &pair.nodes {
        for number in 0..200 {
            // A connection that is refused at once will do.
            let Ok(mut stream) = TcpStream::connect(node.listen()) else { continue };
            if number % 2 == 0 {
                _ = stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00]); // the first five bytes of a TLS hello
            }
            idle.push(stream);
        }
    }
    for round in 0..20 {
        pair.nodes[0].ok(&format!("put during/{round} {round}"));
        pair.in_sync();
    }
    for (node, before) in pair.nodes.iter().zip(before) {
        let grown = node.resident().saturating_sub(before);
        node.check(grown < 32 * 1024 * 1024, &format!("{grown} bytes more for idle connections"));
    }
    assert_eq!(pair.nodes[0].ok("status")["epoch"], epoch, "nobody took over");
    drop(idle);
}

/// HTTP and noise are refused with an alert, and do not disturb the pair.
#[test]
fn http_and_random_bytes_are_refused_and_alerted() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let noise: Vec<u8> = (0..5000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for words in [b"GET / HTTP/1.1\r\nHost: shadow\r\n\r\n".as_slice(), &noise] {
        for node in &pair.nodes {
            refuses(node, words);
        }
    }
    pair.nodes[0].alerts_until("the alert", |alerts| alerts.iter().any(|alert| alert["kind"] == "unpermitted_peer"));
    undisturbed(&mut pair);
}

/// A client without a certificate, or with an unknown one, is refused in the handshake.
#[test]
fn no_certificate_and_a_foreign_certificate_are_refused() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    for certificate in [None, Some(stranger())] {
        for alpn in [b"shadowpair/1".as_slice(), b"shadowpair-enrol/1", b"shadowpair-enrol/2", b"h2"] {
            let heard = speak_tls(&pair.nodes[0], certificate.as_ref(), alpn);
            pair.nodes[0].check(heard.is_err(), &format!("it was answered {heard:?}"));
        }
    }
    pair.nodes[0].alerts_until("the alert", |alerts| alerts.iter().any(|alert| alert["kind"] == "unpermitted_peer"));
    undisturbed(&mut pair);
}

/// A scanner that does not stop is one alert that counts. An operator who has seen it is not told again, neither by the alert nor
/// by events.
#[test]
fn a_scanner_that_was_acknowledged_stays_acknowledged() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    let standing = |alerts: &[Value]| {
        let mut strangers = alerts.iter().filter(|alert| alert["kind"] == "unpermitted_peer").cloned();
        let first = strangers.next();
        assert!(strangers.next().is_none(), "one source, one alert: {alerts:?}");
        first
    };
    let count = |alerts: &[Value]| standing(alerts).map_or(0, |alert| alert["count"].as_u64().unwrap());
    refuses(&pair.nodes[0], b"GET / HTTP/1.1\r\n\r\n");
    let alerts = pair.nodes[0].alerts_until("the alert", |alerts| count(alerts) == 1);
    let alert = standing(&alerts).unwrap();
    assert_eq!(alert["subject"], "127.0.0.1", "the source");
    pair.nodes[0].ok(&format!("ack {}", alert["id"]));
    pair.nodes[0].skip_to_now();
    for round in 2..6 {
        refuses(&pair.nodes[0], b"GET / HTTP/1.1\r\n\r\n");
        let alerts = pair.nodes[0].alerts_until("it to be counted", |alerts| count(alerts) >= round);
        assert_eq!(standing(&alerts).unwrap()["acknowledged"], true, "it is the same trouble");
    }
    let mut told = 0;
    while let Some(event) = pair.nodes[0].next_event(Duration::ZERO) {
        // The acknowledgement itself is told too, with the count of one, before its reply or after.
        let again = event["event"] == "alert" && event["kind"] == "unpermitted_peer" && event["count"] != 1;
        told += u64::from(again);
    }
    pair.nodes[0].check(told <= 1, &format!("{told} events within a minute"));
    undisturbed(&mut pair);
}

fn undisturbed(pair: &mut Pair) {
    pair.nodes[0].ok("put after 1");
    pair.in_sync();
    let [master, shadow] = &mut pair.nodes;
    assert_eq!(master.ok("status")["epoch"], master.started["epoch"]);
    assert_eq!(shadow.ok("status")["role"], "shadow");
}

/// The node closes a connection on which this is sent.
fn refuses(node: &Program, words: &[u8]) {
    let mut stream = TcpStream::connect(node.listen()).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    // It may close before it has read everything.
    _ = stream.write_all(words);
    let mut heard = Vec::new();
    let end = stream.take(64 * 1024).read_to_end(&mut heard);
    let timed_out =
        end.is_err_and(|e| matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
    node.check(!timed_out, "it keeps a connection that cannot be its peer's");
    node.check(heard.len() < 64, &format!("it answers a stranger at length: {heard:?}"));
}

pub type Certificate = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// A certificate that nobody knows.
pub fn stranger() -> Certificate {
    let key = rcgen::generate_simple_self_signed(["shadowpair".to_owned()]).unwrap();
    (key.cert.der().clone(), PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap())
}

/// A client of TLS that accepts any certificate.
pub fn client(certificate: Option<&Certificate>, alpn: &[u8]) -> ClientConnection {
    let provider = Arc::new(provider());
    let provider_of_keys = provider.key_provider;
    let trusting = Arc::new(Trusting(provider.clone()));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(trusting);
    let mut config = match certificate {
        // Whether key and certificate belong together is for the other side to find out.
        Some((certificate, key)) => {
            let key = provider_of_keys.load_private_key(key.clone_key()).unwrap();
            let shown = CertifiedKey::new(vec![certificate.clone()], key);
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    ClientConnection::new(Arc::new(config), ServerName::try_from("shadowpair").unwrap()).unwrap()
}

/// Connects with TLS, accepting any certificate, sends zeros, and returns the answer.
fn speak_tls(node: &Program, certificate: Option<&Certificate>, alpn: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut tls = client(certificate, alpn);
    let mut socket = TcpStream::connect(node.listen())?;
    socket.set_read_timeout(Some(WAIT_MAX))?;
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    stream.write_all(&[0; 64])?;
    stream.flush()?;
    let mut heard = vec![0; 1024];
    match stream.read(&mut heard)? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        bytes => Ok(heard[..bytes].to_vec()),
    }
}

#[cfg(feature = "aws-lc-rs")]
pub fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

#[cfg(not(feature = "aws-lc-rs"))]
pub fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// Accepts any certificate, as an attacker does.
#[derive(Debug)]
struct Trusting(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Somebody answers at the dead master's address and refuses every TLS connection: a few bytes that prove nothing, and so stop no
/// takeover.
#[test]
fn a_stranger_who_refuses_at_a_dead_masters_address_does_not_stop_the_takeover() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("put k v");
    pair.in_sync();
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    pair.proxies[0].forward_to(&stranger.local_addr().unwrap().to_string());
    let (refused, refusals) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in stranger.incoming() {
            let Ok(mut stream) = stream else { return };
            // A fatal alert of TLS, access denied.
            if stream.write_all(&[21, 3, 3, 0, 2, 2, 49]).is_err() || refused.send(()).is_err() {
                return;
            }
            _ = stream.read(&mut [0; 4096]);
        }
    });
    pair.nodes[0].kill();
    refusals.recv_timeout(WAIT_MAX).expect("the shadow dials");
    pair.nodes[1].serving();
    assert_eq!(pair.nodes[1].ok("get k")["value"], "v");
}
