//! A host that does real work: the gateway example, as its clients see it.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Pair, Program, WAIT_MAX, Witness, kind_is, turn};

/// A web server that answers every request with its name, one connection each.
struct Backend {
    address: SocketAddr,
}

impl Backend {
    fn named(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                    if !lines.any(|line| line.is_empty()) {
                        return; // the request never ended
                    }
                    let length = name.len();
                    _ = write!(
                        stream,
                        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{name}"
                    );
                });
            }
        });
        Self { address }
    }
}

/// Makes one request, as `curl` would. Returns the answer of the backend.
fn curl(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: pair\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").filter(|(head, _)| head.starts_with("HTTP/1.1 200 "));
    body.map(|(_, body)| body.to_owned()).ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

/// `curl` in a loop, on a thread of its own.
struct Client {
    answers: Receiver<(Instant, String)>,
    /// Dropping it ends the loop.
    _going: Sender<()>,
}

impl Client {
    fn asks(address: SocketAddr) -> Self {
        let (sender, answers) = channel();
        let (_going, over) = channel();
        std::thread::spawn(move || {
            // The pace of the loop, and a wait for its end.
            while over.recv_timeout(Duration::from_millis(5)) == Err(RecvTimeoutError::Timeout) {
                let asked = Instant::now();
                _ = curl(address).map(|answer| sender.send((asked, answer)));
            }
        });
        Self { answers, _going }
    }

    /// Waits for this answer to a request made from now on.
    fn hears(&self, wanted: &str, program: &Program) {
        let (now, end) = (Instant::now(), Instant::now() + WAIT_MAX);
        while let Ok((asked, answer)) = self.answers.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if asked >= now && answer == wanted {
                return;
            }
        }
        program.fail(&format!("the client waited for an answer of {wanted:?}"));
    }
}

/// A free address of this machine.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn door(state: &'static str) -> impl Fn(&Value) -> bool {
    move |event| kind_is("route")(event) && event["route"] == "web" && event["state"] == state
}

/// Clients survive the death of the master: the same address answers again, from the other gateway. A changed route takes effect
/// at once on the current master.
#[test]
fn a_client_loop_lives_through_the_death_of_the_master() {
    let _turn = turn();
    let witness = Witness::new();
    let mut pair = Pair::witnessed(&witness, ["gateway", "gateway"]);
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let address = free_address();

    pair.nodes[0].ok(&format!("put routes/web {address} {}", one.address));
    pair.nodes[0].wait("its door", door("open"));
    let client = Client::asks(address);
    client.hears("one", &pair.nodes[0]);
    pair.in_sync();
    // Only one process can bind the port. The shadow did not even try.
    pair.nodes[1].check(!pair.nodes[1].has_printed("\"event\":\"route\""), "a shadow has no doors");

    let (mut master, mut shadow) = (0, 1);
    for name in ["two", "one", "two"] {
        pair.nodes[master].kill();
        pair.nodes[shadow].wait("its door", door("open"));
        client.hears(if name == "two" { "one" } else { "two" }, &pair.nodes[shadow]);

        // The former master returns with its old command line and opens no route.
        pair.start_again(master);
        pair.nodes[master].status("it to follow", |status| status["role"] == "shadow" && status["serving"] == false);
        pair.in_sync();
        pair.nodes[shadow].check(pair.nodes[shadow].has_printed("\"state\":\"open\""), "the master has a door");
        pair.nodes[master].check(!pair.nodes[master].has_printed("\"event\":\"route\""), "the shadow has none");

        (master, shadow) = (shadow, master);
        let backend = if name == "two" { two.address } else { one.address };
        pair.nodes[master].ok(&format!("put routes/web {address} {backend}"));
        client.hears(name, &pair.nodes[master]);
        pair.in_sync();
    }

    pair.nodes[master].skip_to_now(); // a door was closed for each change of its route, too
    pair.nodes[master].ok("delete routes/web");
    pair.nodes[master].wait("the door to close", door("closed"));
    assert_eq!(curl(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    pair.nodes[master].ok("put routes/web nowhere");
    let refused = pair.nodes[master].wait("a word about it", door("refused"));
    assert!(refused["reason"].as_str().unwrap().contains("LISTEN BACKEND"), "{refused}");
}

/// A gateway that loses mastership while it runs closes its listeners and connections. Only then can the other one bind the
/// address.
#[test]
fn a_gateway_that_was_stopped_closes_door_and_connections_when_it_wakes() {
    let _turn = turn();
    let witness = Witness::new();
    let mut pair = Pair::witnessed(&witness, ["gateway", "gateway"]);
    // A backend that sends without end.
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let (talking, address) = (backend.local_addr().unwrap(), free_address());
    let accepted = Arc::new(AtomicU64::new(0));
    let count = accepted.clone();
    std::thread::spawn(move || {
        for mut stream in backend.incoming().map_while(Result::ok) {
            count.fetch_add(1, SeqCst);
            std::thread::spawn(move || while stream.write_all(b"on and on\n").is_ok() {});
        }
    });
    pair.nodes[0].ok(&format!("put routes/web {address} {talking}"));
    pair.nodes[0].wait("its door", door("open"));
    pair.in_sync();
    let talk = TcpStream::connect(address).unwrap();
    talk.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let mut lines = BufReader::new(talk).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "on and on");

    pair.nodes[0].signal(rustix::process::Signal::STOP);
    let waiting = pair.nodes[1].wait("the other to want the address", door("waiting"));
    assert!(waiting["reason"].as_str().is_some_and(|why| why.contains("in use")), "{waiting}");
    pair.nodes[0].signal(rustix::process::Signal::CONT);
    pair.nodes[0].wait("its door to close", door("closed"));
    pair.nodes[1].wait("the other's door", door("open"));
    let end = lines.find_map(Result::err).map(|e| e.kind());
    assert!(!matches!(end, Some(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "the connection was left open");
    pair.nodes[0].status("it to follow", |status| status["role"] == "shadow" && status["serving"] == false);
    assert_eq!(accepted.load(SeqCst), 1, "it let nobody in after it woke up");
}
