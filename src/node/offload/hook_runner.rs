//! Asks the host's hooks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::node::environment::Environment;
use crate::node::handles::hooks::Hooks;
use crate::store::Snapshot;

/// Asks the host. A panic and a time-out are refusals. Each question holds at most one thread. Clones share.
#[derive(Clone)]
pub struct HookRunner {
    hooks: Option<Arc<dyn Hooks>>,
    environment: Environment,
    timeout: Duration,
    validating: Arc<Semaphore>,
    deciding: Arc<Semaphore>,
}

impl HookRunner {
    pub fn new(hooks: Option<Arc<dyn Hooks>>, environment: Environment, timeout: Duration) -> Self {
        let one = || Arc::new(Semaphore::new(1));
        Self { hooks, environment, timeout, validating: one(), deciding: one() }
    }

    /// Whether the host has set hooks.
    pub fn is_set(&self) -> bool {
        self.hooks.is_some()
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
            // The job itself holds the turn: while an earlier call hangs, this one times out.
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
        let runner =
            HookRunner::new(Some(Arc::new(Moody(Mutex::new(moods)))), Environment::real(), Duration::from_millis(500));
        mood.send(Some(Ok(()))).unwrap();
        assert_eq!(runner.may_take_over().await, Ok(()));
        mood.send(Some(Err("no uplink".into()))).unwrap();
        assert_eq!(runner.may_take_over().await, Err("no uplink".into()));
        mood.send(None).unwrap();
        assert!(runner.may_take_over().await.unwrap_err().contains("panicked"));
        for _ in 0..3 {
            assert!(runner.may_take_over().await.unwrap_err().contains("did not answer"));
        }
        // One call hangs, the two after it never began. The first mood frees it, the second answers a new question.
        mood.send(Some(Ok(()))).unwrap();
        mood.send(Some(Err("late".into()))).unwrap();
        assert_eq!(runner.may_take_over().await, Err("late".into()));
    }

    #[tokio::test]
    async fn without_hooks_everything_is_allowed() {
        let runner = HookRunner::new(None, Environment::real(), Duration::ZERO);
        assert_eq!(runner.may_take_over().await, Ok(()));
    }
}
