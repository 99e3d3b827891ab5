//! Dialling the peer: name, TCP, TLS and its first word, all within one bound.

use std::future::Future;
use std::time::Duration;

use super::frames::FrameError;
use super::link::Connection;
use super::seam::{BoxStream, Environment};
use crate::identity::{Refused, Tls, refused_by_peer};
use crate::model::limits::DIAL_HEAD_START;
use crate::protocol::engine::DialTrouble;

/// Why a dial led to no link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialFailure {
    /// For people.
    pub reason: String,
    /// In which way.
    pub how: DialTrouble,
}

/// Dials these addresses, the second a little after the first or when that failed; the first that answers wins.
pub async fn dial(
    environment: Environment,
    tls: Tls,
    addresses: Vec<String>,
    timeout: Duration,
) -> Result<Connection, DialFailure> {
    let mut addresses = addresses.into_iter();
    let Some(first) = addresses.next() else {
        return Err(DialFailure { reason: "the peer's address is not known".into(), how: DialTrouble::Unreachable });
    };
    let race = async {
        let one = attempt(&environment, &tls, first);
        match addresses.next() {
            None => one.await,
            Some(second) => race(&environment, one, attempt(&environment, &tls, second)).await,
        }
    };
    let late = || DialFailure { reason: format!("no answer within {timeout:?}"), how: DialTrouble::Unreachable };
    environment.within(timeout, race).await.unwrap_or_else(|| Err(late()))
}

/// The first success of two, or both failures as one.
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
        // The first is still under way: whichever succeeds first, or both failures.
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

/// One address: a TLS 1.3 server that refuses our certificate says so only after our side of the handshake is done, so
/// a connection counts from the peer's first word on.
async fn attempt(environment: &Environment, tls: &Tls, address: String) -> Result<Connection, DialFailure> {
    let at = |reason: String, how| DialFailure { reason: format!("{address}: {reason}"), how };
    let stream = environment
        .net
        .connect(address.clone())
        .await
        .map_err(|error| at(error.to_string(), DialTrouble::Unreachable))?;
    let stream = tls.connect(stream).await.map_err(|error| {
        let how = match error {
            Refused::Unpermitted(_) => DialTrouble::WrongKey,
            Refused::ByPeer(_) => DialTrouble::RefusedByPeer,
            _ => DialTrouble::Unreachable,
        };
        at(error.to_string(), how)
    })?;
    let mut connection = Connection::new(Box::new(stream) as BoxStream);
    match connection.reader.first_word().await {
        Ok(()) => Ok(connection),
        Err(FrameError::Broken(error)) if refused_by_peer(&error) => {
            Err(at("the peer refuses this node's certificate".into(), DialTrouble::RefusedByPeer))
        }
        Err(error) => Err(at(error.to_string(), DialTrouble::Unreachable)),
    }
}

impl DialFailure {
    fn and(self, other: Self) -> Self {
        let how = if self.how == DialTrouble::Unreachable { other.how } else { self.how };
        Self { reason: format!("{}; {}", self.reason, other.reason), how }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(reason: &str, refused: bool) -> DialFailure {
        let how = if refused { DialTrouble::RefusedByPeer } else { DialTrouble::Unreachable };
        DialFailure { reason: reason.into(), how }
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
