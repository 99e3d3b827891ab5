//! Threads for what blocks: the disk, the host's hooks, name servers. One pool serves all nodes of the process.
//!
//! It is not tokio's blocking pool, because the end of a runtime waits for that one: a call that hangs in a network file
//! system would hang the host's shutdown. Nobody waits for these threads.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::model::limits::{POOL_IDLE, POOL_THREADS_MAX};

type Job = Box<dyn FnOnce() + Send>;

/// Runs a job on a thread of the pool: at once where a thread is idle or may be made, else when one is free. A job must
/// not panic; its caller guards it. If no thread can be made at all, the job is dropped, and its caller sees that.
pub fn run(job: Job) {
    let mut queue = POOL.lock();
    queue.jobs.push_back(job);
    if queue.idle >= queue.jobs.len() {
        POOL.wake.notify_one();
        return;
    }
    if queue.threads < POOL_THREADS_MAX {
        queue.threads += 1;
        drop(queue);
        let thread = std::thread::Builder::new().name("shadowpair-io".into());
        if thread.spawn(|| POOL.work()).is_err() {
            POOL.shrink();
        }
    }
}

static POOL: Pool =
    Pool { queue: Mutex::new(Queue { jobs: VecDeque::new(), threads: 0, idle: 0 }), wake: Condvar::new() };

struct Pool {
    queue: Mutex<Queue>,
    wake: Condvar,
}

struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl Pool {
    /// No job runs under the lock, so a poisoned lock guards nothing that is half done.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs jobs on one thread until none has come for [`POOL_IDLE`].
    fn work(&self) {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job();
                queue = self.lock();
                continue;
            }
            queue.idle += 1;
            let (woken, wait) = self.wake.wait_timeout(queue, POOL_IDLE).unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            queue.idle -= 1;
            if wait.timed_out() && queue.jobs.is_empty() {
                queue.threads -= 1;
                return;
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
}
