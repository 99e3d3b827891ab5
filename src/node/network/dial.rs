//! Dials the peer: name, TCP, TLS and the peer's first byte, all within one bound.

use std::future::Future;
use std::time::Duration;

use super::connection::Connection;
use crate::identity::{Refused, Tls};
use crate::model::limits::DIAL_HEAD_START;
use crate::node::environment::Environment;
use crate::protocol::engine::DialFailureKind;

/// Why a dial led to no link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialFailure {
    /// The kind of failure.
    pub how: DialFailureKind,
    /// The reason, for people.
    pub reason: String,
}

/// Dials these addresses: the second one [`DIAL_HEAD_START`] after the first, or when the first failed. The first
/// connection wins.
pub async fn dial(
    environment: Environment,
    tls: Tls,
    addresses: Vec<String>,
    timeout: Duration,
) -> Result<Connection, DialFailure> {
    let mut addresses = addresses.into_iter();
    let Some(first) = addresses.next() else {
        let reason = "the peer's address is not known".into();
        return Err(DialFailure { how: DialFailureKind::Unreachable, reason });
    };
    let race = async {
        let one = attempt(&environment, &tls, first);
        match addresses.next() {
            None => one.await,
            Some(second) => race(&environment, one, attempt(&environment, &tls, second)).await,
        }
    };
    let reason = || format!("no answer within {timeout:?}");
    let late = || Err(DialFailure { how: DialFailureKind::Unreachable, reason: reason() });
    environment.within(timeout, race).await.unwrap_or_else(late)
}

/// The first success of two attempts, or both failures as one.
async fn race<T>(
    environment: &Environment,
    first: impl Future<Output = Result<T, DialFailure>>,
    second: impl Future<Output = Result<T, DialFailure>>,
) -> Result<T, DialFailure> {
    tokio::pin!(first, second);
    let early = tokio::select! {
        biased;
        outcome = &mut first => Some(outcome),
        () = environment.sleep(DIAL_HEAD_START) => None,
    };
    let failed = match early {
        Some(Ok(connection)) => return Ok(connection),
        Some(Err(failure)) => return second.await.map_err(|other| failure.and(other)),
        // The first attempt is still under way beside the second.
        None => tokio::select! {
            biased;
            outcome = &mut first => (outcome, true),
            outcome = &mut second => (outcome, false),
        },
    };
    match failed {
        (Ok(connection), _) => Ok(connection),
        (Err(failure), true) => second.await.map_err(|other| failure.and(other)),
        (Err(failure), false) => first.await.map_err(|other| other.and(failure)),
    }
}

/// Dials one address.
async fn attempt(environment: &Environment, tls: &Tls, address: String) -> Result<Connection, DialFailure> {
    let at = |reason: String, how| DialFailure { how, reason: format!("{address}: {reason}") };
    let stream = environment.net.connect(address.clone()).await;
    let stream = stream.map_err(|error| at(error.to_string(), DialFailureKind::Unreachable))?;
    match tls.connect(stream).await {
        Ok(stream) => Ok(Connection::new(Box::new(stream))),
        Err(error @ Refused::Unpermitted(_)) => Err(at(error.to_string(), DialFailureKind::WrongKey)),
        Err(error @ Refused::ByPeer(_)) => Err(at(error.to_string(), DialFailureKind::RefusedByPeer)),
        Err(error @ Refused::Broken(_)) => Err(at(error.to_string(), DialFailureKind::Unreachable)),
    }
}

impl DialFailure {
    /// Joins two failures. The more specific kind wins: refused by the peer, then wrong key, then unreachable.
    fn and(self, other: Self) -> Self {
        let weight = |how| match how {
            DialFailureKind::Unreachable => 0,
            DialFailureKind::WrongKey => 1,
            DialFailureKind::RefusedByPeer => 2,
        };
        let how = if weight(other.how) > weight(self.how) { other.how } else { self.how };
        Self { how, reason: format!("{}; {}", self.reason, other.reason) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(reason: &str, refused: bool) -> DialFailure {
        let how = if refused { DialFailureKind::RefusedByPeer } else { DialFailureKind::Unreachable };
        DialFailure { how, reason: reason.into() }
    }

    #[tokio::test]
    async fn the_first_success_wins_and_two_failures_are_told_as_one() {
        let world = Environment::real();
        let ok = |n: u8| async move { Ok::<_, DialFailure>(n) };
        let bad = |reason: &'static str, refused| async move { Err::<u8, _>(failure(reason, refused)) };
        let slow = |time, outcome: Result<u8, DialFailure>| {
            let world = world.clone();
            async move {
                world.sleep(Duration::from_millis(time)).await;
                outcome
            }
        };
        assert_eq!(race(&world, ok(1), ok(2)).await, Ok(1));
        assert_eq!(race(&world, bad("a", false), ok(2)).await, Ok(2));
        assert_eq!(race(&world, slow(1_000, Ok(1)), ok(2)).await, Ok(2));
        assert_eq!(race(&world, slow(300, Ok(1)), bad("b", false)).await, Ok(1));
        assert_eq!(race(&world, bad("a", false), bad("b", true)).await, Err(failure("a; b", true)));
        let late = slow(300, Err(failure("a", false)));
        assert_eq!(race(&world, late, bad("b", true)).await, Err(failure("a; b", true)));
    }
}
