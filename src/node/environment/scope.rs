//! Tasks that end with their owner.
//!
//! tokio's `JoinSet` does the same, but only for tasks of a tokio runtime. Tasks of a node go through [`Tasks`], so that
//! a simulation can run them.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::traits::Tasks;

/// Ends the tasks that were spawned on it when it is dropped.
#[derive(Debug)]
pub struct TaskScope {
    /// Never has a permit. Closing it wakes its waiters in the order in which they began to wait, so that a simulated
    /// node stops in the same order every time.
    end: Arc<Semaphore>,
}

impl TaskScope {
    /// Without tasks yet.
    pub fn new() -> Self {
        Self { end: Arc::new(Semaphore::new(0)) }
    }

    /// Runs a future until it ends or the scope is dropped.
    pub fn spawn(&self, tasks: &dyn Tasks, task: impl Future<Output = ()> + Send + 'static) {
        let end = Arc::clone(&self.end);
        tasks.spawn(Box::pin(async move {
            tokio::select! {
                biased;
                _ = end.acquire() => {}
                () = task => {}
            }
        }));
    }
}

impl Drop for TaskScope {
    fn drop(&mut self) {
        self.end.close();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::node::environment::Environment;

    #[tokio::test]
    async fn a_dropped_scope_ends_its_tasks() {
        let tasks = Environment::real().tasks;
        let (held, ended) = oneshot::channel::<()>();
        let scope = TaskScope::new();
        scope.spawn(&*tasks, async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(scope);
        assert!(ended.await.is_err());
    }
}
