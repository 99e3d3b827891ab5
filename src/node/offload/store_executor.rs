//! Owns the store, and runs work on it in the order in which it was handed over.
//!
//! At most one thread of the pool works for a node at a time: it takes jobs from the queue until there are none. A job
//! reports its result itself, so that no task waits for it. Where a host's hook decides on received data, the store is lent
//! to a task for the whole batch, and the queue waits until it comes back.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::durable_work::{self, StoreWork};
use super::store_access::{StoreAccess, Unavailable, on_store};
use super::tail::Tail;
use crate::node::environment::{Environment, Panicked, WrittenDisks, catch};
use crate::node::network::receive_budget::ReceivePermit;
use crate::protocol::engine::{BatchId, Completed, DiskFailure, Moment, Room, Written};
use crate::store::{Checkpoint, ReadError, Reader, Store};

/// Runs work on the store of one node. Clones share.
#[derive(Clone)]
pub struct StoreExecutor {
    shared: Arc<Shared>,
}

/// What the executor tells the driver.
pub enum StoreReport {
    /// A group is in the log, and its sync is about to begin. Only where a link waits for its records.
    Written { batch: BatchId, written: Written, tail: Tail },
    /// A batch is done.
    Persisted(Completed),
    /// Maintenance is done.
    Maintained(Result<(), DiskFailure>),
    /// The directory and its files are as they were, or not. With the room on its disk, where that was asked for and can be told.
    Looked(Result<Option<Room>, DiskFailure>),
}

/// A batch of the engine, with all that it needs.
pub struct Batch {
    pub work: StoreWork,
    /// Received bulk counts against its link until the batch is done.
    pub permits: Vec<ReceivePermit>,
    /// Whether links wait for the records of a group.
    pub links_wait: bool,
}

struct Shared {
    environment: Environment,
    reader: Reader,
    reports: mpsc::Sender<StoreReport>,
    queue: Mutex<Queue>,
    /// Bounds the host's reads to one in the queue.
    host_reads: Arc<Semaphore>,
    /// When the file system of the directory last wrote, as the nodes on it found out; or as this one did, where nobody can tell which file
    /// system that is.
    written: WrittenDisks,
    device: u64,
    /// A note of what is visible waits.
    notes_shown: AtomicBool,
}

/// Bounded by its users: the driver has one batch, one checkpoint and one look here, local entries are admitted like change
/// sets, and the host's reads come one at a time.
struct Queue {
    jobs: VecDeque<Job>,
    store: KeptStore,
    /// A thread works on the queue or was asked to, or a task has the store.
    busy: bool,
}

/// Where the store is.
#[expect(clippy::large_enum_variant, reason = "a node has one, and a box would be made anew for every batch")]
enum KeptStore {
    /// Here: nobody uses it.
    Idle(Store),
    /// A thread or a task has it, and gives it back.
    InUse,
    /// A thread or a task has it. It is closed as soon as it comes back.
    Abandoned,
    Closed,
}

impl KeptStore {
    /// Takes the store to use it; `None` where it is closed.
    fn take(&mut self) -> Option<Store> {
        match std::mem::replace(self, Self::Closed) {
            Self::Idle(store) => {
                *self = Self::InUse;
                Some(store)
            }
            other => {
                *self = other;
                None
            }
        }
    }

    /// It comes back, or was closed by whoever had it. Returns it where it is to be closed.
    fn give_back(&mut self, store: Option<Store>) -> Option<Store> {
        match (store, &*self) {
            (Some(store), Self::InUse) => {
                *self = Self::Idle(store);
                None
            }
            (store, _) => {
                *self = Self::Closed;
                store
            }
        }
    }

    /// Nobody is to use it any more. Returns it where nobody does.
    fn abandon(&mut self) -> Option<Store> {
        match std::mem::replace(self, Self::Closed) {
            Self::Idle(store) => Some(store),
            Self::InUse | Self::Abandoned => {
                *self = Self::Abandoned;
                None
            }
            Self::Closed => None,
        }
    }
}

enum Job {
    /// Runs this. It must not panic.
    Run(Box<dyn FnOnce(StoreAccess<'_>) + Send>),
    /// Lends the store to a task.
    Lend(oneshot::Sender<LentStore>),
    /// Closes the store.
    Close(oneshot::Sender<()>),
}

impl StoreExecutor {
    pub fn new(environment: Environment, store: Store, reader: Reader, reports: mpsc::Sender<StoreReport>) -> Self {
        let (written, device) = match store.device() {
            Some(device) => (environment.written.clone(), device),
            None => (WrittenDisks::default(), 0),
        };
        let queue = Mutex::new(Queue { jobs: VecDeque::new(), store: KeptStore::Idle(store), busy: false });
        let host_reads = Arc::new(Semaphore::new(1));
        let notes_shown = AtomicBool::new(false);
        let shared = Shared { environment, reader, reports, queue, host_reads, written, device, notes_shown };
        Self { shared: Arc::new(shared) }
    }

    /// Runs a batch, and reports it to the driver.
    pub fn persist(&self, batch: Batch) {
        let executor = self.clone();
        self.submit(Job::Run(Box::new(move |access| {
            let Batch { work, permits, links_wait } = batch;
            let completed = durable_work::execute(access, work, |batch, after, group| {
                let (head, bytes) = (group.head(), group.records().clone());
                if links_wait && !bytes.is_empty() {
                    let written = Written { head, bytes: bytes.len() };
                    let tail = Tail { after, last: head.revision, bytes };
                    executor.report(StoreReport::Written { batch, written, tail });
                }
            });
            drop(permits);
            executor.report(StoreReport::Persisted(completed));
        })));
    }

    /// Lends the store, when all jobs that came before are done. No other job runs until it comes back.
    pub async fn lend(&self) -> Result<LentStore, Unavailable> {
        let (lend, lent) = oneshot::channel();
        self.submit(Job::Lend(lend));
        lent.await.map_err(|_| Unavailable::NoThread)
    }

    /// Makes a checkpoint of the store, and reports that to the driver. It runs on a thread of its own: other jobs wait neither
    /// for it nor for its sync.
    pub fn make_checkpoint(&self) {
        let executor = self.clone();
        self.submit(Job::Run(Box::new(move |access| match on_store(access, Store::begin_checkpoint) {
            Ok(Some(checkpoint)) => {
                let planned = PlannedCheckpoint { executor: executor.clone(), checkpoint, ran: false };
                executor.shared.environment.tasks.block(Box::new(move || planned.run()));
            }
            // One is under way that no thread could be found for.
            Ok(None) => executor.complete_checkpoint(),
            Err(failure) => executor.report(StoreReport::Maintained(Err(failure))),
        })));
    }

    fn complete_checkpoint(&self) {
        let executor = self.clone();
        self.submit(Job::Run(Box::new(move |access| match on_store(access, Store::complete_checkpoint) {
            Ok(true) => executor.make_checkpoint(),
            Ok(false) => executor.report(StoreReport::Maintained(Ok(()))),
            Err(failure) => executor.report(StoreReport::Maintained(Err(failure))),
        })));
    }

    /// Looks whether the directory and its files are still there, and reports that to the driver. `writes_after`: also writes and syncs,
    /// where no write of a node to this disk is known that began within this time; `room`: whether to tell how much room is left.
    pub fn look(&self, writes_after: Option<Duration>, room: bool) {
        let executor = self.clone();
        self.submit(Job::Run(Box::new(move |access| {
            // Without the store, or a thread, there is nothing to be told of the directory.
            let look = |store: &mut Store| executor.look_at(store, writes_after, room);
            let looked = access.map_or(Ok(None), |store| on_store(Ok(store), look));
            executor.report(StoreReport::Looked(looked));
        })));
    }

    fn look_at(
        &self,
        store: &mut Store,
        writes_after: Option<Duration>,
        room: bool,
    ) -> Result<Option<Room>, DiskFailure> {
        let Shared { environment, written, device, .. } = &*self.shared;
        let now = environment.clock.now();
        let before = |age: Duration| Moment(now.0.saturating_sub(u64::try_from(age.as_micros()).unwrap_or(u64::MAX)));
        let probe = writes_after.is_some_and(|age| !written.wrote_after(*device, before(age)));
        store.look(probe)?;
        if probe {
            written.note(*device, now);
        }
        Ok(if room { store.room().ok() } else { None })
    }

    /// Notes how far received records are visible, so that a start without the master shows as much. One note at a time waits.
    pub fn note_shown(&self) {
        if self.shared.notes_shown.swap(true, Ordering::AcqRel) {
            return;
        }
        let executor = self.clone();
        self.submit(Job::Run(Box::new(move |access| {
            executor.shared.notes_shown.store(false, Ordering::Release);
            if let Ok(store) = access {
                let _ = catch(|| store.note_shown());
            }
        })));
    }

    /// Stores where the peer was reached.
    pub fn keep_addresses(&self, addresses: Vec<u8>) {
        self.submit(Job::Run(Box::new(move |access| {
            if let Ok(store) = access {
                // A node that lacks the file goes on.
                let _ = catch(|| store.keep_addresses(&addresses));
            }
        })));
    }

    /// Runs a job and returns what it returns. Dropping the future does not stop the job.
    pub async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(StoreAccess<'_>) -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let (result, received) = oneshot::channel();
        self.submit(Job::Run(Box::new(move |access| drop(result.send(catch(|| job(access)))))));
        received.await.unwrap_or(Err(Panicked))
    }

    /// Reads for the host, in turn with all other work.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let permit = Arc::clone(&self.shared.host_reads).acquire_owned().await;
        let reader = self.shared.reader.clone();
        let done = self.call(move |_| {
            let _permit = permit;
            read(&reader)
        });
        done.await.unwrap_or_else(|panicked| Err(ReadError::Disk(panicked.to_string())))
    }

    /// Closes the store, which frees the data directory. Jobs that come later fail.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        self.submit(Job::Close(done));
        // An error means that there is no thread to close it on: it is closed when the executor is dropped.
        let _ = closed.await;
    }

    /// Closes the store at once where nobody works on it, else as soon as nobody does.
    pub fn abandon(&self) {
        let store = self.queue().store.abandon();
        close(store);
    }

    fn submit(&self, job: Job) {
        let mut queue = self.queue();
        queue.jobs.push_back(job);
        let was_busy = std::mem::replace(&mut queue.busy, true);
        drop(queue);
        if !was_busy {
            self.start();
        }
    }

    /// Asks the pool for a thread to work on the queue.
    fn start(&self) {
        let worker = Worker { executor: self.clone(), ran: false };
        self.shared.environment.tasks.block(Box::new(move || worker.run()));
    }

    /// Runs jobs until there are none, or the store is lent.
    fn work(&self) {
        while let Some((job, mut store)) = self.next_job() {
            match job {
                Job::Run(run) => run(store.as_mut().ok_or(Unavailable::Stopped)),
                Job::Close(done) => {
                    let _ = catch(|| store.take().map(Store::release));
                    let _ = done.send(());
                }
                Job::Lend(to) => {
                    // The lent store resumes the queue when it is dropped: at once, if nobody waits for it any more.
                    drop(to.send(LentStore { executor: self.clone(), store }));
                    return;
                }
            }
            self.put_back(store);
        }
    }

    fn next_job(&self) -> Option<(Job, Option<Store>)> {
        let mut queue = self.queue();
        match queue.jobs.pop_front() {
            Some(job) => Some((job, queue.store.take())),
            None => {
                queue.busy = false;
                None
            }
        }
    }

    fn put_back(&self, store: Option<Store>) {
        let closes = self.queue().store.give_back(store);
        close(closes);
    }

    /// A task gives the store back: goes on with the queue.
    fn resume(&self, store: Option<Store>) {
        self.put_back(store);
        let mut queue = self.queue();
        queue.busy = !queue.jobs.is_empty();
        let waits = queue.busy;
        drop(queue);
        if waits {
            self.start();
        }
    }

    /// The pool has no thread: whatever waits fails.
    fn fail_waiting(&self) {
        let mut queue = self.queue();
        queue.busy = false;
        let jobs = std::mem::take(&mut queue.jobs);
        drop(queue);
        for job in jobs {
            match job {
                Job::Run(run) => run(Err(Unavailable::NoThread)),
                // The caller sees that its channel is closed.
                Job::Lend(_) | Job::Close(_) => {}
            }
        }
    }

    /// Tells the driver.
    pub fn report(&self, report: StoreReport) {
        // The channel has room for all possible reports. An error means that the driver has ended.
        let _ = self.shared.reports.try_send(report);
    }

    /// No job runs under the lock, so a poisoned lock guards nothing that is half done.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Works on the queue on a thread of the pool. Dropped without having run, it fails whatever waits.
struct Worker {
    executor: StoreExecutor,
    ran: bool,
}

impl Worker {
    fn run(mut self) {
        self.ran = true;
        self.executor.work();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.ran {
            self.executor.fail_waiting();
        }
    }
}

/// A checkpoint that the pool is to run. Dropped without having run, it waits for the next one.
struct PlannedCheckpoint {
    executor: StoreExecutor,
    checkpoint: Checkpoint,
    ran: bool,
}

impl PlannedCheckpoint {
    fn run(mut self) {
        self.ran = true;
        // Where it panics, the store finds out when it completes it.
        let _ = catch(|| self.checkpoint.run());
        self.executor.complete_checkpoint();
    }
}

impl Drop for PlannedCheckpoint {
    fn drop(&mut self) {
        if !self.ran {
            self.executor.report(StoreReport::Maintained(Err(Unavailable::NoThread.into())));
        }
    }
}

/// The store, lent to a task for one batch. It goes back when this is dropped.
pub struct LentStore {
    executor: StoreExecutor,
    store: Option<Store>,
}

impl LentStore {
    /// Runs one step of a batch on a thread of the pool, and keeps the store.
    pub async fn step<T: Send + 'static>(
        mut self,
        work: impl FnOnce(&mut Store) -> Result<T, DiskFailure> + Send + 'static,
    ) -> Result<(Self, T), DiskFailure> {
        let environment = self.executor.shared.environment.clone();
        let step = move || {
            let access = self.store.as_mut().ok_or(Unavailable::Stopped);
            on_store(access, work).map(|output| (self, output))
        };
        environment.block(step).await.unwrap_or_else(|panicked| Err(panicked.into()))
    }

    /// Runs the last step of a batch, and gives the store back.
    pub async fn finish<T: Send + 'static>(
        self,
        work: impl FnOnce(&mut Store) -> Result<T, DiskFailure> + Send + 'static,
    ) -> Result<T, DiskFailure> {
        self.step(work).await.map(|(_, output)| output)
    }
}

impl Drop for LentStore {
    fn drop(&mut self) {
        self.executor.resume(self.store.take());
    }
}

/// Closes the store. That may touch the disk, and where it panics the store is closed all the same.
fn close(store: Option<Store>) {
    let _ = catch(|| drop(store));
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::task::Poll;

    use super::*;
    use crate::model::{Key, NodeId, PairId};
    use crate::node::environment::{BoxFuture, Tasks};
    use crate::protocol::engine::DurableState;
    use crate::store::{Opened, StoreOptions};

    fn executor(dir: &std::path::Path, environment: Environment) -> (StoreExecutor, mpsc::Receiver<StoreReport>) {
        let (disk, options) = (Arc::clone(&environment.disk), StoreOptions { log_changes: 100, log_bytes: 1 << 20 });
        let lock = Store::lock(&disk, dir).unwrap();
        let state = DurableState::first_master(NodeId([1; 32]), PairId([2; 16]));
        let Opened { store, reader, .. } = Store::create(disk, dir, lock, &state, options).unwrap();
        let (reports, reported) = mpsc::channel(crate::model::limits::STORE_REPORTS_MAX);
        (StoreExecutor::new(environment, store, reader, reports), reported)
    }

    fn is_free(dir: &std::path::Path) -> bool {
        Store::lock(&Environment::real().disk, dir).is_ok()
    }

    async fn is_ready(future: Pin<&mut impl Future>) -> bool {
        let mut future = future;
        poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await
    }

    #[tokio::test]
    async fn a_lent_store_holds_up_the_queue_until_it_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let (executor, _reports) = executor(dir.path(), Environment::real());
        let lent = executor.lend().await.unwrap();
        let mut call = pin!(executor.call(|access| access.is_ok()));
        assert!(!is_ready(call.as_mut()).await);
        let (lent, ()) = lent.step(|store| store.put_local(&Key::new("key").unwrap(), Some(b"value"))).await.unwrap();
        assert!(!is_ready(call.as_mut()).await);
        drop(lent);
        assert_eq!(call.await, Ok(true));
    }

    #[tokio::test]
    async fn jobs_run_in_order_and_a_panic_ends_only_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (executor, mut reports) = executor(dir.path(), Environment::real());
        let ran = Arc::new(Mutex::new(Vec::new()));
        let note = |number: u32| {
            let ran = Arc::clone(&ran);
            move |_: StoreAccess<'_>| ran.lock().unwrap().push(number)
        };
        let (one, two, three) =
            (executor.call(note(1)), executor.call(|_| panic!("on purpose")), executor.call(note(3)));
        let (one, two, three): (_, Result<(), _>, _) = tokio::join!(one, two, three);
        assert_eq!((one, two, three), (Ok(()), Err(Panicked), Ok(())));
        assert_eq!(*ran.lock().unwrap(), [1, 3]);
        executor.make_checkpoint();
        assert!(matches!(reports.recv().await, Some(StoreReport::Maintained(Ok(())))));
        let failed = executor.lend().await.unwrap().finish(|_| -> Result<(), _> { panic!("on purpose") }).await;
        assert_eq!(failed.unwrap_err().reason, "the store panicked");
        assert_eq!(executor.call(|access| access.is_ok()).await, Ok(true));
    }

    #[tokio::test]
    async fn a_closed_store_frees_the_directory_and_later_jobs_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let (executor, _reports) = executor(dir.path(), Environment::real());
        executor.close().await;
        assert!(is_free(dir.path()));
        assert_eq!(executor.call(|access| access.err()).await, Ok(Some(Unavailable::Stopped)));
    }

    #[tokio::test]
    async fn an_abandoned_store_is_closed_when_it_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let (executor, _reports) = executor(dir.path(), Environment::real());
        let lent = executor.lend().await.unwrap();
        executor.abandon();
        assert!(!is_free(dir.path()));
        drop(lent);
        assert!(is_free(dir.path()));
        let idle = tempfile::tempdir().unwrap();
        let (unused, _reports) = super::tests::executor(idle.path(), Environment::real());
        unused.abandon();
        assert!(is_free(idle.path()));
    }

    /// A system without a thread to spare.
    #[derive(Debug)]
    struct NoThreads;

    impl Tasks for NoThreads {
        fn spawn(&self, _task: BoxFuture<'static, ()>) {}

        fn block(&self, job: Box<dyn FnOnce() + Send>) {
            drop(job);
        }
    }

    #[tokio::test]
    async fn without_a_thread_every_job_fails() {
        let dir = tempfile::tempdir().unwrap();
        let environment = Environment { tasks: Arc::new(NoThreads), ..Environment::real() };
        let (executor, mut reports) = executor(dir.path(), environment);
        assert_eq!(executor.call(|access| access.err()).await, Ok(Some(Unavailable::NoThread)));
        assert_eq!(executor.lend().await.err(), Some(Unavailable::NoThread));
        executor.make_checkpoint();
        assert!(matches!(reports.recv().await, Some(StoreReport::Maintained(Err(_)))));
        executor.close().await;
    }
}
