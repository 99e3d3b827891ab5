//! A small host that does real work: a TCP forwarder in a pair. Its routes are the replicated configuration. It forwards only
//! while it holds mastership: clients get answers from exactly one of two gateways, and from the other one when that one dies.
//!
//! An entry `routes/NAME` with the value `LISTEN BACKEND` is a route: `LISTEN` is an address of this machine (`IP:PORT`),
//! `BACKEND` is dialled (`HOST:PORT`). Routes come, change and go while it runs.
//!
//! To try it, in three terminals (the join token is what `token` prints in the first):
//!
//! ```text
//! 1$ cargo run --release --example gateway -- --data /tmp/a --takeover-delay 2s --heartbeat 500ms
//! enable
//! token
//!
//! 2$ cargo run --release --example gateway -- --data /tmp/b --takeover-delay 2s --heartbeat 500ms --master 127.0.0.1:7443 --token TOKEN
//!
//! 3$ python3 -m http.server 9000 & while sleep 0.2; do curl -sS -o /dev/null -w '%{http_code} ' http://127.0.0.1:8080/; done
//!
//! 1> put routes/web 127.0.0.1:8080 127.0.0.1:9000
//! ```
//!
//! Now `kill -9` the first one: after the takeover delay `curl` gets its answers from the second one. Start the first one again
//! with its old command line: it is a shadow now.
//!
//! On one machine both gateways listen on the same address, so that two could not forward at once: the second could not bind. A
//! gateway that is stopped (`kill -STOP`) keeps its port, and the other one retries until it is free. On two machines each listens
//! on an address that both have, such as `0.0.0.0:8080`. Clients, or their load balancer, try both machines: the one that is not
//! master refuses the connection.
//!
//! The command line and the commands are those of `master` and `shadow` (`docs/CLI.md`). With `--master` its first start makes a
//! shadow, otherwise a first master. Routes add one event,
//! `{"event":"route","route":NAME,"state":"open|waiting|refused|closed","listen":…,"backend":…,"reason":…}`.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, reason = "they panic where nobody reads")]
#![allow(clippy::disallowed_methods, reason = "a program of its own: it may run tasks and bound waits")]

mod common;
#[path = "gateway/forward.rs"]
mod forward;
#[path = "gateway/routes.rs"]
mod routes;

fn main() -> std::process::ExitCode {
    let joins =
        std::env::args_os().any(|word| word.to_str().is_some_and(|word| word.split('=').next() == Some("--master")));
    let first = if joins { common::FirstRole::Shadow } else { common::FirstRole::Master };
    common::main(first, |node, printer| routes::follow(node, forward::Sockets::new(printer)))
}
