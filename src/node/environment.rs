//! All that a node reaches of its surroundings: time, network, disk, tasks and randomness, one trait each, so that the
//! same node runs on real ones and on simulated ones. Outside of this folder, nothing in `node` names a clock, a socket,
//! a file or a runtime.

mod blocking;
mod real;
mod scope;
mod thread_pool;
mod traits;
mod written_disks;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use blocking::{Panicked, catch};
pub use scope::TaskScope;
pub use traits::{BoxFuture, BoxStream, Clock, Listener, Net, Randomness, Tasks};
pub use written_disks::WrittenDisks;

use crate::protocol::engine::Moment;
use crate::store::disk::{Disk, RealDisk};
use blocking::run_blocking;
use real::{RealClock, SystemRandomness, TcpNet, TokioTasks};

/// The surroundings of one node.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The network.
    pub net: Arc<dyn Net>,
    /// The file system.
    pub disk: Arc<dyn Disk>,
    /// Tasks, and threads for what blocks.
    pub tasks: Arc<dyn Tasks>,
    /// Randomness.
    pub randomness: Arc<dyn Randomness>,
    /// When the disks last wrote, as any node on this machine found out.
    pub written: WrittenDisks,
}

/// When the disks of this machine were written last, for all nodes of the process.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn written_disks() -> WrittenDisks {
    static WRITTEN: std::sync::LazyLock<WrittenDisks> = std::sync::LazyLock::new(WrittenDisks::default);
    WRITTEN.clone()
}

/// Elsewhere each node has a clock of its own, so moments of one mean nothing to another.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn written_disks() -> WrittenDisks {
    WrittenDisks::default()
}

impl Environment {
    /// This machine.
    pub fn real() -> Self {
        let tasks: Arc<dyn Tasks> = Arc::new(TokioTasks);
        Self {
            clock: Arc::new(RealClock::default()),
            net: Arc::new(TcpNet::new(Arc::clone(&tasks))),
            disk: Arc::new(RealDisk),
            tasks,
            randomness: Arc::new(SystemRandomness),
            written: written_disks(),
        }
    }

    /// Runs a job that blocks and returns what it returns.
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

    /// A random number.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn random_u64(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.randomness.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// A moment and a time after it.
pub fn later(at: Moment, time: Duration) -> Moment {
    Moment(at.0.saturating_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)))
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
        let dial = net.connect(address);
        let (accepted, dialled) = tokio::join!(listener.accept(), dial);
        let ((mut here, _), mut there) = (accepted.unwrap(), dialled.unwrap());
        there.write_all(b"ping").await.unwrap();
        let mut read = [0; 4];
        here.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"ping");
    }
}
