//! Dials the peer: names, TCP, TLS and the peer's first byte, all within one bound.
//!
//! A name may have several addresses, and some of them may be dead. So addresses are tried one after the other, each
//! [`DIAL_HEAD_START`] after the one before or when that failed, and the first that leads to a link wins (happy eyeballs,
//! RFC 8305). A name server that is silent or wrong does not keep a node from its peer: the addresses that worked last are
//! tried too.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use super::address_book::AddressBook;
use super::connection::Connection;
use crate::identity::{Refused, Tls, Unpermitted, key_exchange_of, peer_key_of};
use crate::model::limits::{DIAL_ADDRESSES_MAX, DIAL_HEAD_START};
use crate::node::environment::{BoxFuture, Environment, later};
use crate::protocol::engine::DialFailureKind;

/// Why a dial led to no link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialFailure {
    /// The kind of failure.
    pub how: DialFailureKind,
    /// The reason, for people.
    pub reason: String,
}

/// Dials these names and addresses, `host:port` each. The first connection wins.
pub async fn dial(
    environment: Environment,
    tls: Tls,
    book: AddressBook,
    names: Vec<String>,
    timeout: Duration,
) -> Result<Connection, DialFailure> {
    let lookup = |name: String| environment.net.addresses(name);
    let attempt = |at| -> BoxFuture<'_, _> { Box::pin(attempt(&environment, &tls, at)) };
    tls.forget_silence();
    let race = Race::new(&environment, &book, names, lookup, attempt).run();
    let outcome = environment.within(timeout, race).await;
    let silence = || tls.silence().map(|why| format!("; {why}")).unwrap_or_default();
    match outcome {
        Some(Err(failure)) if failure.how == DialFailureKind::Unreachable => {
            Err(DialFailure::unreachable(format!("{}{}", failure.reason, silence())))
        }
        Some(outcome) => outcome,
        None => Err(DialFailure::unreachable(format!("no answer within {timeout:?}{}", silence()))),
    }
}

/// Dials one address.
async fn attempt(environment: &Environment, tls: &Tls, address: SocketAddr) -> Result<Connection, DialFailure> {
    let at = |reason: String, how| DialFailure { how, reason: format!("{address}: {reason}") };
    let stream = environment.net.connect(address).await;
    let stream = stream.map_err(|error| at(error.to_string(), DialFailureKind::Unreachable))?;
    let own_key = tls.key();
    match tls.connect(stream).await {
        Ok(stream) => {
            let key_exchange = key_exchange_of(stream.get_ref().1);
            match peer_key_of(stream.get_ref().1) {
                Some(peer_key) => Ok(Connection::new(Box::new(stream), address, (peer_key, own_key), key_exchange)),
                None => Err(at("it showed no certificate".into(), DialFailureKind::WrongKey { shown: None })),
            }
        }
        Err(Refused::Unpermitted(Unpermitted { reason, shown })) => {
            Err(at(reason, DialFailureKind::WrongKey { shown }))
        }
        Err(error @ Refused::ByPeer(_)) => Err(at(error.to_string(), DialFailureKind::RefusedByPeer)),
        // Whoever may be anybody, and cannot show the peer's key, must not keep a shadow from taking over.
        Err(error @ (Refused::Broken(_) | Refused::Unproven(_))) => {
            Err(at(error.to_string(), DialFailureKind::Unreachable))
        }
    }
}

/// An address to be tried.
#[derive(Clone, Debug)]
struct Candidate {
    name: String,
    at: SocketAddr,
    /// Nobody says that the name has this address now; it had it once.
    remembered: bool,
}

type Attempt<'a, T> = BoxFuture<'a, (Candidate, Result<T, DialFailure>)>;
type Lookup<'a> = BoxFuture<'a, (String, io::Result<Vec<SocketAddr>>)>;

/// Attempts and look-ups of one dial.
struct Race<'a, T, A> {
    environment: &'a Environment,
    book: &'a AddressBook,
    attempt: A,
    lookups: Vec<Lookup<'a>>,
    attempts: Vec<Attempt<'a, T>>,
    waiting: VecDeque<Candidate>,
    /// Tried once the look-ups have had their head start, or are over.
    remembered: Vec<Candidate>,
    tried: Vec<SocketAddr>,
    failure: Option<DialFailure>,
}

impl<'a, T: 'a, A: Fn(SocketAddr) -> BoxFuture<'a, Result<T, DialFailure>>> Race<'a, T, A> {
    fn new(
        environment: &'a Environment,
        book: &'a AddressBook,
        names: Vec<String>,
        lookup: impl Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>,
        attempt: A,
    ) -> Self {
        let remember = |name: &String| {
            let found = book.worked(name).into_iter();
            found.map(|at| Candidate { name: name.clone(), at, remembered: true }).collect::<Vec<_>>()
        };
        let remembered = names.iter().flat_map(remember).collect();
        let look = |name: String| -> Lookup<'a> {
            let found = lookup(name.clone());
            Box::pin(async move { (name, found.await) })
        };
        Self {
            environment,
            book,
            attempt,
            lookups: names.into_iter().map(look).collect(),
            attempts: Vec::new(),
            waiting: VecDeque::new(),
            remembered,
            tried: Vec::new(),
            failure: None,
        }
    }

    async fn run(mut self) -> Result<T, DialFailure> {
        let (clock, environment) = (&self.environment.clock, self.environment);
        let mut next = clock.now();
        let head_start = environment.after(DIAL_HEAD_START);
        loop {
            if self.lookups.is_empty() || clock.now() >= head_start {
                self.waiting.extend(self.remembered.drain(..));
            }
            if self.attempts.is_empty() || clock.now() >= next {
                self.start_next();
                next = environment.after(DIAL_HEAD_START);
            }
            if self.attempts.is_empty() && self.lookups.is_empty() {
                let unknown = || DialFailure::unreachable("the peer's address is not known".into());
                return Err(self.failure.unwrap_or_else(unknown));
            }
            let more = !self.waiting.is_empty() || !self.remembered.is_empty();
            let until = if self.waiting.is_empty() { head_start } else { next };
            tokio::select! {
                biased;
                (candidate, outcome) = first(&mut self.attempts) => match outcome {
                    Ok(connection) => {
                        self.book.note(&candidate.name, candidate.at);
                        return Ok(connection);
                    }
                    Err(failure) => {
                        self.failed(&candidate, failure);
                        next = clock.now();
                    }
                },
                (name, found) = first(&mut self.lookups) => self.found(name, found),
                () = environment.clock.sleep_until(until.max(later(clock.now(), Duration::from_millis(1)))), if more => {}
            }
        }
    }

    /// Tries the next address that was not tried yet.
    fn start_next(&mut self) {
        while let Some(candidate) = self.waiting.pop_front() {
            if self.tried.contains(&candidate.at) || self.tried.len() >= DIAL_ADDRESSES_MAX {
                continue;
            }
            self.tried.push(candidate.at);
            let outcome = (self.attempt)(candidate.at);
            return self.attempts.push(Box::pin(async move { (candidate, outcome.await) }));
        }
    }

    fn found(&mut self, name: String, found: io::Result<Vec<SocketAddr>>) {
        match found {
            Ok(found) => {
                let candidate = |at| Candidate { name: name.clone(), at, remembered: false };
                self.waiting.extend(by_turns(found).into_iter().map(candidate));
            }
            Err(error) => self.fail(DialFailure::unreachable(format!("{name}: {error}"))),
        }
    }

    /// A stranger at an address that is only remembered is no stranger at the peer's address: it is forgotten.
    fn failed(&mut self, candidate: &Candidate, mut failure: DialFailure) {
        if candidate.remembered && failure.how != DialFailureKind::Unreachable {
            self.book.forget(&candidate.name);
            failure.how = DialFailureKind::Unreachable;
        }
        self.fail(failure);
    }

    fn fail(&mut self, failure: DialFailure) {
        self.failure = Some(match self.failure.take() {
            Some(before) => before.and(failure),
            None => failure,
        });
    }
}

/// The addresses by turns of their families, beginning with that of the first: a family without a way costs one attempt.
fn by_turns(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first = found.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) = found.into_iter().partition(|at| at.is_ipv6() == first);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    std::iter::from_fn(|| match (one.next(), other.next()) {
        (None, None) => None,
        pair => Some([pair.0, pair.1]),
    })
    .flatten()
    .flatten()
    .collect()
}

/// The first output of these futures; never, where there are none.
async fn first<T>(futures: &mut Vec<BoxFuture<'_, T>>) -> T {
    poll_fn(|context| {
        for number in 0..futures.len() {
            if let Some(future) = futures.get_mut(number)
                && let Poll::Ready(output) = future.as_mut().poll(context)
            {
                drop(futures.remove(number));
                return Poll::Ready(output);
            }
        }
        Poll::Pending
    })
    .await
}

impl DialFailure {
    fn unreachable(reason: String) -> Self {
        Self { how: DialFailureKind::Unreachable, reason }
    }

    /// Joins two failures. The more specific kind wins: refused by the peer, then wrong key, then unreachable.
    fn and(self, other: Self) -> Self {
        let weight = |how| match how {
            DialFailureKind::Unreachable => 0,
            DialFailureKind::WrongKey { .. } => 1,
            DialFailureKind::RefusedByPeer => 2,
        };
        let how = if weight(other.how) > weight(self.how) { other.how } else { self.how };
        Self { how, reason: format!("{}; {}", self.reason, other.reason) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 1))
    }

    /// Names ending in `.down` do not resolve, in `.hangs` never answer; others have the addresses in their first label.
    fn lookup(name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            match name.rsplit_once('.') {
                Some((_, "down")) => Err(io::Error::other("no such name")),
                Some((_, "hangs")) => std::future::pending().await,
                _ => Ok(name.split('-').map(|last| at(last.parse().unwrap())).collect()),
            }
        })
    }

    /// Addresses below 10 answer, those below 20 refuse, those below 30 are strangers, others are dead.
    fn attempt(to: SocketAddr) -> BoxFuture<'static, Result<SocketAddr, DialFailure>> {
        Box::pin(async move {
            let SocketAddr::V4(v4) = to else { return Ok(to) };
            match v4.ip().octets()[3] {
                0..10 => Ok(to),
                10..20 => Err(DialFailure { how: DialFailureKind::RefusedByPeer, reason: "r".into() }),
                20..30 => Err(DialFailure { how: DialFailureKind::WrongKey { shown: None }, reason: "w".into() }),
                _ => std::future::pending().await,
            }
        })
    }

    async fn race(book: &AddressBook, names: &[&str]) -> Option<Result<SocketAddr, DialFailure>> {
        let world = Environment::real();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let race = Race::new(&world, book, names, lookup, |at| -> BoxFuture<'_, _> { Box::pin(attempt(at)) });
        world.within(Duration::from_secs(3), race.run()).await
    }

    #[tokio::test]
    async fn a_dead_address_and_a_silent_resolver_cost_a_head_start_each() {
        let book = AddressBook::default();
        assert_eq!(race(&book, &["1-2"]).await, Some(Ok(at(1))));
        assert_eq!(race(&book, &["40-41-2"]).await, Some(Ok(at(2))));
        assert_eq!(race(&book, &["a.hangs", "40", "3"]).await, Some(Ok(at(3))));
        assert_eq!(race(&book, &["a.hangs", "a.down"]).await, None);
        let failed = race(&book, &["20", "a.down", "10"]).await.unwrap().unwrap_err();
        assert_eq!(failed.how, DialFailureKind::RefusedByPeer);
        let failed = race(&book, &["a.down"]).await.unwrap().unwrap_err();
        assert_eq!((failed.how, failed.reason.as_str()), (DialFailureKind::Unreachable, "a.down: no such name"));
    }

    #[tokio::test]
    async fn what_worked_last_is_tried_too_and_a_stranger_there_is_forgotten() {
        let book = AddressBook::default();
        for name in ["a.down", "a.hangs", "40"] {
            book.note(name, at(5));
            assert_eq!(race(&book, &[name]).await, Some(Ok(at(5))), "{name}");
        }
        book.note("b.down", at(20));
        let failed = race(&book, &["b.down"]).await.unwrap().unwrap_err();
        assert_eq!(failed.how, DialFailureKind::Unreachable);
        assert_eq!(book.worked("b.down"), None);
        assert_eq!(race(&book, &["7"]).await, Some(Ok(at(7))));
        assert_eq!(book.worked("7"), Some(at(7)));
    }

    #[test]
    fn families_are_tried_by_turns() {
        let six = |last: u16| SocketAddr::from(([0xfe80, 0, 0, 0, 0, 0, 0, last], 1));
        assert_eq!(by_turns(vec![six(1), six(2), at(1), six(3)]), [six(1), at(1), six(2), six(3)]);
        assert_eq!(by_turns(vec![]), []);
    }
}
