//! What a node touches of the world: time, network, disk and tasks, one seam each, so that the same node runs on real
//! ones and on simulated ones. Nothing else in this folder names a clock, a socket, a file or a runtime.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Semaphore, oneshot, watch};

use super::pool;
use crate::identity::Stream;
use crate::model::limits::POOL_LOOKUPS_MAX;
use crate::protocol::engine::Moment;
use crate::store::disk::{Disk, RealDisk};
pub use crate::witness::BoxFuture;

/// One connection, whatever carries it.
pub type BoxStream = Box<dyn Stream>;

/// Time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// By the suspend-aware clock.
    fn now(&self) -> Moment;

    /// By the wall clock, milliseconds since 1970.
    fn wall_ms(&self) -> u64;

    /// Returns at this moment or a little later, never before.
    fn sleep_until(&self, at: Moment) -> BoxFuture<'static, ()>;
}

/// The network.
pub trait Net: fmt::Debug + Send + Sync {
    /// Listens on `host:port`; port 0 lets the system choose.
    fn listen(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>>;

    /// Connects to `host:port`. Not bounded in time: the caller does that.
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<BoxStream>>;

    /// The addresses of a host name.
    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// A socket that listens.
pub trait Listener: fmt::Debug + Send {
    /// Where it listens.
    fn address(&self) -> SocketAddr;

    /// The next connection, and where it comes from.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>>;
}

/// What runs beside the caller.
pub trait Tasks: fmt::Debug + Send + Sync {
    /// Runs a future.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Runs what blocks. Must not hold up the end of the runtime, however long it takes.
    fn block(&self, job: Box<dyn FnOnce() + Send>);
}

/// The world as one node sees it.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The network.
    pub net: Arc<dyn Net>,
    /// The file system.
    pub disk: Arc<dyn Disk>,
    /// What runs beside the caller.
    pub tasks: Arc<dyn Tasks>,
}

/// The job ended in a panic, or was dropped with its runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the job panicked")]
pub struct Panicked;

/// Ends the tasks that were spawned on it when it is dropped.
#[derive(Debug)]
pub struct Scope(watch::Sender<()>);

impl Environment {
    /// This machine.
    pub fn real() -> Self {
        let tasks: Arc<dyn Tasks> = Arc::new(TokioTasks);
        Self {
            clock: Arc::new(RealClock::default()),
            net: Arc::new(TcpNet { tasks: Arc::clone(&tasks) }),
            disk: Arc::new(RealDisk),
            tasks,
        }
    }

    /// Runs what blocks and returns what it returns.
    pub async fn block<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Panicked> {
        run_blocking(&*self.tasks, job).await
    }

    /// Returns after this time.
    pub async fn sleep(&self, time: Duration) {
        self.clock.sleep_until(self.after(time)).await;
    }

    /// The moment this far from now.
    pub fn after(&self, time: Duration) -> Moment {
        later(self.clock.now(), time)
    }

    /// The future's output, or `None` when it takes longer than this.
    pub async fn within<T>(&self, time: Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            output = work => Some(output),
            () = self.sleep(time) => None,
        }
    }
}

impl Scope {
    /// Without tasks yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    /// Runs a future until it ends or the scope is dropped.
    pub fn spawn(&self, tasks: &dyn Tasks, task: impl Future<Output = ()> + Send + 'static) {
        let mut end = self.0.subscribe();
        tasks.spawn(Box::pin(async move {
            tokio::select! {
                biased;
                // Nothing is ever sent: this returns when the scope is gone.
                _ = end.changed() => {}
                () = task => {}
            }
        }));
    }
}

/// A moment and a time after it.
pub fn later(at: Moment, time: Duration) -> Moment {
    Moment(at.0.saturating_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)))
}

/// Random bytes of the operating system: the only place that asks for some.
pub fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(io::Error::other)
}

/// A random number of the operating system.
pub fn random_u64() -> io::Result<u64> {
    getrandom::u64().map_err(io::Error::other)
}

async fn run_blocking<T: Send + 'static>(
    tasks: &dyn Tasks,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Panicked> {
    let (answer, answered) = oneshot::channel();
    // A panic is the job's own: what it worked on is either reopened (the store) or the host's (a hook).
    let guarded = move || drop(answer.send(catch_unwind(AssertUnwindSafe(job)).map_err(|_| Panicked)));
    tasks.block(Box::new(guarded));
    answered.await.unwrap_or(Err(Panicked))
}

/// `CLOCK_BOOTTIME` where there is one, else the monotonic clock; tokio's timer to wait.
#[derive(Debug, Default)]
struct RealClock {
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    start: std::time::Instant,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn boottime() -> Moment {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Moment(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000))
}

impl Clock for RealClock {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn now(&self) -> Moment {
        boottime()
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn now(&self) -> Moment {
        later(Moment(0), self.start.elapsed())
    }

    fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn sleep_until(&self, at: Moment) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // The runtime's timer rounds to milliseconds and does not count suspended time: look again after it.
            loop {
                let now = boottime();
                if now >= at {
                    return;
                }
                tokio::time::sleep(Duration::from_micros(at.0 - now.0)).await;
            }
        })
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn sleep_until(&self, at: Moment) -> BoxFuture<'static, ()> {
        let until = self.start.checked_add(Duration::from_micros(at.0));
        Box::pin(async move {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        })
    }
}

/// tokio for what waits, [`pool`] for what blocks.
#[derive(Debug)]
struct TokioTasks;

impl Tasks for TokioTasks {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn block(&self, job: Box<dyn FnOnce() + Send>) {
        pool::run(job);
    }
}

/// Look-ups of names under way in this process.
static LOOKUPS: Semaphore = Semaphore::const_new(POOL_LOOKUPS_MAX);

/// TCP, without delay for small frames.
#[derive(Debug)]
struct TcpNet {
    tasks: Arc<dyn Tasks>,
}

#[derive(Debug)]
struct TcpListening {
    socket: tokio::net::TcpListener,
    address: SocketAddr,
}

impl TcpNet {
    /// Resolves in the pool: a name server that hangs must not hold up the end of the runtime. Whoever waits may give up; the
    /// look-up keeps its thread until the system answers, and with it one of the places that there are for them.
    fn addresses(&self, address: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let tasks = Arc::clone(&self.tasks);
        Box::pin(async move {
            if let Ok(address) = address.parse() {
                return Ok(vec![address]);
            }
            let place = LOOKUPS.acquire().await.map_err(io::Error::other)?;
            let lookup = move || {
                let found = address.to_socket_addrs().map(Iterator::collect);
                drop(place);
                found
            };
            run_blocking(&*tasks, lookup).await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
        })
    }
}

impl Net for TcpNet {
    fn listen(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let addresses = self.addresses(address);
        Box::pin(async move {
            let socket = tokio::net::TcpListener::bind(addresses.await?.as_slice()).await?;
            let address = socket.local_addr()?;
            Ok(Box::new(TcpListening { socket, address }) as Box<dyn Listener>)
        })
    }

    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<BoxStream>> {
        let addresses = self.addresses(address);
        Box::pin(async move {
            let socket = tokio::net::TcpStream::connect(addresses.await?.as_slice()).await?;
            socket.set_nodelay(true)?;
            Ok(Box::new(socket) as BoxStream)
        })
    }

    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let addresses = self.addresses(format!("{host}:0"));
        Box::pin(async move { Ok(addresses.await?.into_iter().map(|address| address.ip()).collect()) })
    }
}

impl Listener for TcpListening {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>> {
        Box::pin(async move {
            let (socket, from) = self.socket.accept().await?;
            socket.set_nodelay(true)?;
            Ok((Box::new(socket) as BoxStream, from))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleep_never_ends_early() {
        let world = Environment::real();
        let at = world.after(Duration::from_micros(1_300));
        world.clock.sleep_until(at).await;
        assert!(world.clock.now() >= at);
    }

    #[tokio::test]
    async fn a_panic_in_a_job_is_reported_and_the_pool_lives_on() {
        let world = Environment::real();
        assert_eq!(world.block(|| -> u8 { panic!("on purpose") }).await, Err(Panicked));
        assert_eq!(world.block(|| 7).await, Ok(7));
    }

    #[tokio::test]
    async fn a_dropped_scope_ends_its_tasks() {
        let world = Environment::real();
        let (held, gone) = oneshot::channel::<()>();
        let scope = Scope::new();
        scope.spawn(&*world.tasks, async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(scope);
        assert!(gone.await.is_err());
    }

    #[test]
    fn a_hung_job_does_not_hold_up_the_runtime() {
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let world = Environment::real();
        let hung = runtime
            .block_on(async { world.within(Duration::from_millis(5), world.block(move || wait.recv().is_ok())).await });
        assert!(hung.is_none());
        drop(runtime);
        drop(release);
    }

    #[tokio::test]
    async fn a_real_connection_goes_both_ways() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let net = Environment::real().net;
        let mut listener = net.listen("127.0.0.1:0".into()).await.unwrap();
        let address = listener.address();
        let dial = net.connect(address.to_string());
        let (accepted, dialled) = tokio::join!(listener.accept(), dial);
        let ((mut here, _), mut there) = (accepted.unwrap(), dialled.unwrap());
        there.write_all(b"ping").await.unwrap();
        let mut read = [0; 4];
        here.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"ping");
    }
}
