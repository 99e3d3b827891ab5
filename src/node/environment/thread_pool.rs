//! Threads for what blocks: the disk, the host's hooks, name servers. One pool serves all nodes of the process.
//!
//! It is not tokio's blocking pool, because the end of a runtime waits for that one: a call that hangs in a network file
//! system would hang the host's shutdown. Nobody waits for these threads.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use crate::model::limits::{POOL_IDLE, POOL_THREADS_MAX};

type Job = Box<dyn FnOnce() + Send>;

/// Runs a job on a thread of the pool: at once where a thread is idle or may be made, else when one is free. A job must
/// not panic; its caller guards it. If no thread can be made at all, the job is dropped, and its caller sees that.
pub fn run(job: Job) {
    POOL.run(job);
}

static POOL: Pool = Pool::new();

struct Pool {
    queue: Mutex<Queue>,
}

struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    /// The threads that have nothing to do. The one that became idle last is woken first, so that those of a burst of jobs end although
    /// there is always something to do for a few.
    idle: Vec<Thread>,
}

impl Pool {
    const fn new() -> Self {
        Self { queue: Mutex::new(Queue { jobs: VecDeque::new(), threads: 0, idle: Vec::new() }) }
    }

    fn run(&'static self, job: Job) {
        let mut queue = self.lock();
        queue.jobs.push_back(job);
        if let Some(idle) = queue.idle.pop() {
            drop(queue);
            return idle.unpark();
        }
        if queue.threads < POOL_THREADS_MAX {
            queue.threads += 1;
            drop(queue);
            let thread = std::thread::Builder::new().name("shadowpair-io".into());
            if thread.spawn(|| self.work()).is_err() {
                self.shrink();
            }
        }
    }

    /// No job runs under the lock, so a poisoned lock guards nothing that is half done.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs jobs on one thread until none has come for [`POOL_IDLE`].
    fn work(&self) {
        let this = std::thread::current();
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job();
                queue = self.lock();
                continue;
            }
            queue.idle.push(this.clone());
            drop(queue);
            std::thread::park_timeout(POOL_IDLE);
            queue = self.lock();
            // Whoever wakes a thread takes it from the list first. One that is still in it has waited in vain.
            if let Some(at) = queue.idle.iter().position(|idle| idle.id() == this.id()) {
                queue.idle.remove(at);
                if queue.jobs.is_empty() {
                    queue.threads -= 1;
                    return;
                }
            }
        }
    }

    /// A thread could not be made. If there is none at all, drops the jobs, since nobody would ever run them.
    fn shrink(&self) {
        let mut queue = self.lock();
        queue.threads -= 1;
        let lost = if queue.threads == 0 { std::mem::take(&mut queue.jobs) } else { VecDeque::new() };
        drop(queue);
        drop(lost);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use std::time::Duration;

    use super::*;

    #[test]
    fn jobs_run_although_others_hang() {
        let (release, wait) = mpsc::channel::<()>();
        let wait = std::sync::Arc::new(Mutex::new(wait));
        for _ in 0..8 {
            let wait = std::sync::Arc::clone(&wait);
            run(Box::new(move || assert!(wait.lock().unwrap().recv().is_err())));
        }
        let (done, all) = mpsc::channel();
        for n in 0..100 {
            let done = done.clone();
            run(Box::new(move || done.send(n).unwrap()));
        }
        let mut seen: Vec<i32> = (0..100).map(|_| all.recv_timeout(Duration::from_secs(20)).unwrap()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        drop(release);
    }

    /// After a burst, what comes one after the other is done by one thread, so that the others become idle for long enough to end.
    #[test]
    fn the_thread_that_became_idle_last_is_woken_first() {
        let pool: &Pool = Box::leak(Box::new(Pool::new()));
        let (release, wait) = mpsc::channel::<()>();
        let wait = std::sync::Arc::new(Mutex::new(wait));
        let is_idle = |threads| {
            while pool.lock().idle.len() < threads {
                std::thread::yield_now();
            }
        };
        for _ in 0..4 {
            let wait = std::sync::Arc::clone(&wait);
            pool.run(Box::new(move || assert!(wait.lock().unwrap().recv().is_err())));
        }
        drop(release);
        is_idle(4);
        let (done, ran) = mpsc::channel();
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let done = done.clone();
                pool.run(Box::new(move || done.send(std::thread::current().id()).unwrap()));
                let thread = ran.recv_timeout(Duration::from_secs(20)).unwrap();
                is_idle(4);
                thread
            })
            .collect();
        assert!(threads.iter().all(|thread| *thread == threads[0]), "{threads:?}");
    }
}
