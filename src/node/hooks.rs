use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::seam::Environment;
use crate::store::Snapshot;

/// What the host has a say in. A panic or a timeout ([`Options::hook_timeout`](crate::Options::hook_timeout)) is a
/// refusal. The methods block a thread of a pool, never the node; each is asked by one thread at a time,
/// so that a hook that hangs holds one thread and no more.
pub trait Hooks: Send + Sync + 'static {
    /// On the shadow, before anything of it is durable: whether this configuration is acceptable.
    ///
    /// # Errors
    /// The reason, which the master's alert shows.
    fn validate(&self, candidate: &Snapshot) -> Result<(), String> {
        let _ = candidate;
        Ok(())
    }

    /// Whether this node may take over now: a check of its own uplinks, say. Asked again after another takeover delay.
    ///
    /// # Errors
    /// The reason, which the link's state shows.
    fn may_take_over(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Asks the host, guarded: an answer, a panic or the end of its time, and never more than one thread per question.
#[derive(Clone)]
pub struct Host {
    hooks: Option<Arc<dyn Hooks>>,
    environment: Environment,
    timeout: Duration,
    validating: Arc<Semaphore>,
    deciding: Arc<Semaphore>,
}

impl Host {
    pub fn new(hooks: Option<Arc<dyn Hooks>>, environment: Environment, timeout: Duration) -> Self {
        let one = || Arc::new(Semaphore::new(1));
        Self { hooks, environment, timeout, validating: one(), deciding: one() }
    }

    /// Whether this configuration is acceptable; without hooks everything is.
    pub async fn validate(&self, candidate: Snapshot) -> Result<(), String> {
        self.ask("validation", &self.validating, move |hooks| hooks.validate(&candidate)).await
    }

    /// Whether this node may take over; without hooks it may.
    pub async fn may_take_over(&self) -> Result<(), String> {
        self.ask("may_take_over", &self.deciding, |hooks| hooks.may_take_over()).await
    }

    async fn ask(
        &self,
        what: &str,
        turn: &Arc<Semaphore>,
        question: impl FnOnce(&dyn Hooks) -> Result<(), String> + Send + 'static,
    ) -> Result<(), String> {
        let Some(hooks) = self.hooks.clone() else { return Ok(()) };
        let asked = async {
            // Held by the job itself: an earlier call that never came back keeps its turn, and this one times out.
            let turn = Arc::clone(turn).acquire_owned().await;
            self.environment
                .block(move || {
                    let _turn = turn;
                    question(&*hooks)
                })
                .await
        };
        match self.environment.within(self.timeout, asked).await {
            Some(Ok(answer)) => answer,
            Some(Err(_)) => Err(format!("the host's {what} hook panicked")),
            None => Err(format!("the host's {what} hook did not answer within {:?}", self.timeout)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc;

    use super::*;

    struct Moody(Mutex<mpsc::Receiver<Option<Result<(), String>>>>);

    impl Hooks for Moody {
        fn may_take_over(&self) -> Result<(), String> {
            let mood = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
            mood.unwrap_or(Some(Ok(()))).expect("a mood")
        }
    }

    #[tokio::test]
    async fn answer_refusal_panic_and_silence() {
        let (mood, moods) = mpsc::channel();
        let host = Host::new(Some(Arc::new(Moody(Mutex::new(moods)))), Environment::real(), Duration::from_millis(500));
        mood.send(Some(Ok(()))).unwrap();
        assert_eq!(host.may_take_over().await, Ok(()));
        mood.send(Some(Err("no uplink".into()))).unwrap();
        assert_eq!(host.may_take_over().await, Err("no uplink".into()));
        mood.send(None).unwrap();
        assert!(host.may_take_over().await.unwrap_err().contains("panicked"));
        for _ in 0..3 {
            assert!(host.may_take_over().await.unwrap_err().contains("did not answer"));
        }
        // One thread hangs, the two that came after it never began: one mood frees it, the next is for a new question.
        mood.send(Some(Ok(()))).unwrap();
        mood.send(Some(Err("late".into()))).unwrap();
        assert_eq!(host.may_take_over().await, Err("late".into()));
    }

    #[tokio::test]
    async fn without_hooks_everything_is_allowed() {
        let host = Host::new(None, Environment::real(), Duration::ZERO);
        assert_eq!(host.may_take_over().await, Ok(()));
    }
}
