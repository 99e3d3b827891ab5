//! Asks the witness.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::node::environment::{BoxFuture, Environment};
use crate::protocol::engine::{WitnessAnswer, WitnessQuestion};
use crate::witness::{Swap, Witness};

/// Asks the witness. Every question has exactly one answer, whatever the back end does. A panic and a time-out are an unknown
/// outcome; an answer that comes later is dropped. Clones share.
#[derive(Clone)]
pub struct WitnessClient {
    witness: Option<Arc<dyn Witness>>,
    environment: Environment,
    timeout: Duration,
}

impl WitnessClient {
    pub fn new(witness: Option<Arc<dyn Witness>>, environment: Environment, timeout: Duration) -> Self {
        Self { witness, environment, timeout }
    }

    /// Asks once.
    pub async fn ask(&self, question: WitnessQuestion) -> WitnessAnswer {
        let answer = match &self.witness {
            None => Err("there is no witness".to_owned()),
            Some(witness) => match question {
                WitnessQuestion::Read => match self.bounded(|| witness.read()).await {
                    Ok(Ok(held)) => Ok(WitnessAnswer::Holds(held.map(Box::new))),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(reason) => Err(reason),
                },
                WitnessQuestion::Swap { expected, record } => {
                    self.bounded(|| witness.swap(expected, *record)).await.map(WitnessAnswer::from)
                }
            },
        };
        answer.unwrap_or_else(|reason| WitnessAnswer::Unknown { reason })
    }

    async fn bounded<'a, T>(&self, begin: impl FnOnce() -> BoxFuture<'a, T>) -> Result<T, String> {
        let mut work = guarded(begin)?;
        let step = poll_fn(|context| match guarded(|| work.as_mut().poll(context)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(reason) => Poll::Ready(Err(reason)),
        });
        let answer = self.environment.within(self.timeout, step).await;
        // Dropping it may panic as well, and the answer must survive that.
        let _ = guarded(|| drop(work));
        answer.unwrap_or_else(|| Err(format!("it did not answer within {:?}", self.timeout)))
    }
}

/// Runs the back end's code. What panicked is dropped, and never polled again.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| "it panicked".to_owned())
}

impl From<Swap> for WitnessAnswer {
    fn from(swap: Swap) -> Self {
        match swap {
            Swap::Swapped(version) => Self::Swapped(version),
            Swap::Conflict => Self::Conflict,
            Swap::Unknown { reason } => Self::Unknown { reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;
    use crate::model::{WitnessRecord, WitnessVersion};
    use crate::testing::{MemoryWitness, witness_record};
    use crate::witness::WitnessError;

    fn swap() -> WitnessQuestion {
        WitnessQuestion::Swap { expected: None, record: Box::new(witness_record(1)) }
    }

    fn client(witness: impl Witness, timeout: Duration) -> WitnessClient {
        WitnessClient::new(Some(Arc::new(witness)), Environment::real(), timeout)
    }

    fn reason(answer: WitnessAnswer) -> String {
        match answer {
            WitnessAnswer::Unknown { reason } => reason,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_a_witness_says_is_handed_on() {
        let client = client(MemoryWitness::new(), Duration::from_secs(30));
        assert_eq!(client.ask(WitnessQuestion::Read).await, WitnessAnswer::Holds(None));
        let first = WitnessVersion::new(1);
        assert_eq!(client.ask(swap()).await, WitnessAnswer::Swapped(first.clone()));
        assert_eq!(client.ask(swap()).await, WitnessAnswer::Conflict);
        assert_eq!(
            client.ask(WitnessQuestion::Read).await,
            WitnessAnswer::Holds(Some(Box::new((witness_record(1), first))))
        );
        let none = WitnessClient::new(None, Environment::real(), Duration::ZERO);
        assert_eq!(reason(none.ask(swap()).await), "there is no witness");
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Mood {
        PanicsAtOnce,
        PanicsLater,
        Hangs,
        PanicsWhenDropped,
        Fails,
    }

    #[derive(Debug)]
    struct Moody(Mood, Arc<AtomicUsize>);

    struct Bomb(bool);

    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(!self.0, "dropped on purpose");
        }
    }

    impl Moody {
        fn behave<T: Send>(&self) -> BoxFuture<'_, T> {
            self.1.fetch_add(1, SeqCst);
            assert!(self.0 != Mood::PanicsAtOnce, "on purpose");
            Box::pin(async {
                let _bomb = Bomb(self.0 == Mood::PanicsWhenDropped);
                tokio::task::yield_now().await;
                assert!(self.0 != Mood::PanicsLater, "on purpose");
                std::future::pending().await
            })
        }
    }

    impl Witness for Moody {
        fn kind(&self) -> &'static str {
            "moody"
        }
        fn read(&self) -> BoxFuture<'_, Result<Option<(WitnessRecord, WitnessVersion)>, WitnessError>> {
            if self.0 == Mood::Fails {
                return Box::pin(async { Err(WitnessError::Newer { found: 9, known: 1 }) });
            }
            self.behave()
        }
        fn swap(&self, _: Option<WitnessVersion>, _: WitnessRecord) -> BoxFuture<'_, Swap> {
            if self.0 == Mood::Fails {
                return Box::pin(async { Swap::Unknown { reason: "lost".into() } });
            }
            self.behave()
        }
    }

    #[tokio::test]
    async fn panics_silence_and_errors_are_unknown_and_asked_once() {
        for (mood, expected) in [
            (Mood::PanicsAtOnce, "panicked"),
            (Mood::PanicsLater, "panicked"),
            (Mood::Hangs, "did not answer within 20ms"),
            (Mood::PanicsWhenDropped, "did not answer within 20ms"),
        ] {
            let asked = Arc::new(AtomicUsize::new(0));
            let client = client(Moody(mood, Arc::clone(&asked)), Duration::from_millis(20));
            for question in [WitnessQuestion::Read, swap()] {
                let reason = reason(client.ask(question).await);
                assert!(reason.contains(expected), "{mood:?}: {reason}");
            }
            assert_eq!(asked.load(SeqCst), 2, "{mood:?}: never asked twice");
        }
        let client = client(Moody(Mood::Fails, Arc::default()), Duration::from_secs(30));
        assert!(reason(client.ask(WitnessQuestion::Read).await).contains("newer program"));
        assert_eq!(reason(client.ask(swap()).await), "lost");
    }
}
