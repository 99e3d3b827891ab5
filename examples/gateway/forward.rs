//! The routes on sockets: a listener per route, and the connections that it accepts.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use shadowpair::{Ended, Mastership};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::common::{Event, Printer};
use super::routes::{Machine, Report, Route};

/// Connections forwarded at once, over all routes. Each holds two sockets and two buffers of [`BUFFER_BYTES`], so 32 MiB at the
/// most. Further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 1_024;
/// Bytes on their way, per connection and direction.
const BUFFER_BYTES: usize = 16 * 1024;
/// Time until a failing listener is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// Bound on a dial of the backend.
const DIAL: Duration = Duration::from_secs(3);

/// This machine. Clones share.
#[derive(Clone)]
pub struct Sockets {
    limit: Arc<Semaphore>,
    printer: Printer,
}

impl Sockets {
    pub fn new(printer: Printer) -> Self {
        Self { limit: Arc::new(Semaphore::new(CONNECTIONS_MAX)), printer }
    }
}

impl Machine for Sockets {
    type Listener = TcpListener;

    async fn listen(&self, route: &Route) -> io::Result<TcpListener> {
        TcpListener::bind(route.listen).await
    }

    async fn forward(&self, listener: TcpListener, route: &Route, mastership: &Mastership) -> Result<(), Ended> {
        // Dropping the set closes its connections.
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            // Without room, clients wait in the queue of the listener.
            let Ok(room) = self.limit.clone().acquire_owned().await else { return Ok(()) };
            let accepted = listener.accept().await;
            mastership.check()?;
            match accepted {
                Ok((client, _)) => {
                    let (backend, mastership) = (route.backend.clone(), mastership.clone());
                    connections.spawn(async move {
                        // An error ends only this connection; its client sees that.
                        _ = connect(client, &backend, &mastership).await;
                        drop(room);
                    });
                }
                // No more sockets, or the client is gone already.
                Err(_) => sleep(RETRY).await,
            }
        }
    }

    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(task);
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        tokio::task::spawn_blocking(work).await.ok()
    }

    async fn sleep(&self, time: Duration) {
        sleep(time).await;
    }

    fn report(&self, report: Report<'_>) {
        let Report { name, state, route, reason } = report;
        let listen = route.map(|route| route.listen.to_string());
        let backend = route.map(|route| route.backend.clone());
        self.printer.print(Event::Route { route: name.into(), state, listen, backend, reason });
    }

    fn unreadable(&self, reason: String) {
        self.printer.print(Event::Error { error: "read_failed", message: reason, more: Default::default() });
    }
}

async fn connect(mut client: TcpStream, backend: &str, mastership: &Mastership) -> io::Result<()> {
    let mut backend = timeout(DIAL, TcpStream::connect(backend)).await??;
    _ = (client.set_nodelay(true), backend.set_nodelay(true));
    let ((from_client, to_client), (from_backend, to_backend)) = (client.split(), backend.split());
    tokio::try_join!(carry(from_client, to_backend, mastership), carry(from_backend, to_client, mastership))?;
    Ok(())
}

/// Copies bytes one way until the end. Mastership is checked after each wait: a process that was stopped meanwhile must send
/// nothing that its successor does not know of.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mastership: &Mastership,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let bytes = from.read(&mut buffer).await?;
        if bytes == 0 {
            return to.shutdown().await;
        }
        mastership.check().map_err(io::Error::other)?;
        to.write_all(&buffer[..bytes]).await?;
    }
}
