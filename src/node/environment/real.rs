//! The real surroundings: this machine and its tokio runtime.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Semaphore;

use super::blocking::run_blocking;
use super::thread_pool;
use super::traits::{BoxFuture, BoxStream, Clock, Listener, Net, Randomness, Tasks};
use crate::model::limits::POOL_LOOKUPS_MAX;
use crate::protocol::engine::Moment;

/// `CLOCK_BOOTTIME` where there is one, else the monotonic clock; tokio's timer to wait.
#[derive(Debug, Default)]
pub struct RealClock {
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
        Moment(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn sleep_until(&self, at: Moment) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // The runtime's timer rounds to milliseconds and does not count suspended time, so the clock is read again.
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

/// tokio runs what waits, [`thread_pool`] what blocks.
#[derive(Debug)]
pub struct TokioTasks;

impl Tasks for TokioTasks {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn block(&self, job: Box<dyn FnOnce() + Send>) {
        thread_pool::run(job);
    }
}

/// Bounds the look-ups of names that are under way in this process.
static LOOKUPS: Semaphore = Semaphore::const_new(POOL_LOOKUPS_MAX);

/// TCP, without delay for small frames.
#[derive(Debug)]
pub struct TcpNet {
    tasks: Arc<dyn Tasks>,
}

#[derive(Debug)]
struct TcpListening {
    socket: tokio::net::TcpListener,
    address: SocketAddr,
}

impl TcpNet {
    pub fn new(tasks: Arc<dyn Tasks>) -> Self {
        Self { tasks }
    }
}

impl Net for TcpNet {
    /// Resolves a name on the thread pool, since a name server that hangs must not hold up the end of the runtime. The
    /// caller may give up; the look-up keeps its thread and its permit until the system answers.
    fn addresses(&self, address: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let tasks = Arc::clone(&self.tasks);
        Box::pin(async move {
            if let Ok(address) = address.parse() {
                return Ok(vec![address]);
            }
            let permit = LOOKUPS.acquire().await.map_err(io::Error::other)?;
            let lookup = move || {
                let found = address.to_socket_addrs().map(Iterator::collect);
                drop(permit);
                found
            };
            run_blocking(&*tasks, lookup).await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
        })
    }

    fn listen(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let addresses = self.addresses(address);
        Box::pin(async move {
            let socket = tokio::net::TcpListener::bind(addresses.await?.as_slice()).await?;
            let address = socket.local_addr()?;
            Ok(Box::new(TcpListening { socket, address }) as Box<dyn Listener>)
        })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<BoxStream>> {
        Box::pin(async move {
            let socket = tokio::net::TcpStream::connect(address).await?;
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

/// Randomness of the operating system.
#[derive(Debug)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        getrandom::fill(bytes).map_err(io::Error::other)
    }
}
