//! Asks the host whether it knows a user.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::model::Password;
use crate::node::environment::{BoxFuture, Environment};

/// The host's question of whether it knows a user with this password.
pub type Authenticate = Arc<dyn Fn(String, Password) -> BoxFuture<'static, bool> + Send + Sync>;

/// Asks the host. A panic and a time-out are refusals, and so is every question where the host has set nothing. Clones share.
#[derive(Clone)]
pub struct Authenticator {
    ask: Option<Authenticate>,
    environment: Environment,
    timeout: Duration,
}

impl Authenticator {
    pub fn new(ask: Option<Authenticate>, environment: Environment, timeout: Duration) -> Self {
        Self { ask, environment, timeout }
    }

    /// Whether the host answers such questions.
    pub fn is_set(&self) -> bool {
        self.ask.is_some()
    }

    /// Whether the host knows this user with this password. The question ends with the returned future.
    pub async fn knows(&self, user: String, password: Password) -> bool {
        let Some(ask) = self.ask.clone() else { return false };
        match self.environment.within(self.timeout, caught(move || ask(user, password))).await {
            Some(Some(known)) => known,
            Some(None) => {
                tracing::warn!("the host's authenticator panicked: the user is refused");
                false
            }
            None => {
                tracing::warn!(timeout = ?self.timeout, "the host's authenticator did not answer: the user is refused");
                false
            }
        }
    }
}

/// What the question comes to; nothing where it panics.
async fn caught(ask: impl FnOnce() -> BoxFuture<'static, bool>) -> Option<bool> {
    let mut answer = catch_unwind(AssertUnwindSafe(ask)).ok()?;
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(known)) => Poll::Ready(Some(known)),
        // It is not polled again.
        Err(_) => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn knows(ask: Option<Authenticate>) -> bool {
        let authenticator = Authenticator::new(ask, Environment::real(), Duration::from_millis(50));
        authenticator.knows("admin".into(), Password::new("secret").unwrap()).await
    }

    #[tokio::test]
    async fn answer_panic_silence_and_nobody_to_ask() {
        let right: Authenticate =
            Arc::new(|user, password| Box::pin(async move { user == "admin" && password.as_str() == "secret" }));
        assert!(knows(Some(right)).await);
        let wrong: Authenticate = Arc::new(|_, _| Box::pin(async { false }));
        assert!(!knows(Some(wrong)).await);
        let panics: Authenticate = Arc::new(|_, _| panic!("in the question"));
        assert!(!knows(Some(panics)).await);
        let panics_late: Authenticate = Arc::new(|_, _| {
            Box::pin(async {
                tokio::task::yield_now().await;
                panic!("in the answer")
            })
        });
        assert!(!knows(Some(panics_late)).await);
        let silent: Authenticate = Arc::new(|_, _| Box::pin(std::future::pending()));
        assert!(!knows(Some(silent)).await);
        assert!(!knows(None).await);
    }
}
