//! The traits through which a node reaches its surroundings.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::identity::Stream;
use crate::protocol::engine::Moment;
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

    /// The addresses of `host:port`, in the order in which they are to be tried. Not bounded in time: the caller does that.
    fn addresses(&self, address: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

    /// Connects to an address. Not bounded in time: the caller does that.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<BoxStream>>;

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

/// Tasks, and threads for what blocks.
pub trait Tasks: fmt::Debug + Send + Sync {
    /// Runs a future.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Runs a job that blocks. The end of the runtime does not wait for it, however long it takes.
    fn block(&self, job: Box<dyn FnOnce() + Send>);
}

/// Randomness that nobody can predict.
pub trait Randomness: fmt::Debug + Send + Sync {
    /// Fills all of `bytes`.
    ///
    /// # Errors
    /// The system has no randomness to give.
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()>;
}
