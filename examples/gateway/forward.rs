//! One route: its listener, and the connections that it accepted.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use shadowpair::{Ended, Mastership};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::common::Printer;
use super::routes::{Route, event};

/// Bytes on their way, per connection and direction.
pub const BUFFER_BYTES: usize = 16 * 1024;
/// Time until a busy address or a failing listener is retried.
const RETRY: Duration = Duration::from_millis(100);
/// Bound on a dial of the backend.
const DIAL: Duration = Duration::from_secs(3);

/// Forwards the connections of this route while mastership lasts. When it is dropped, its listener and connections close.
pub async fn serve(name: String, route: Route, mastership: Mastership, limit: Arc<Semaphore>, printer: Printer) {
    let forwarding = async {
        let listener = bind(&name, &route, &mastership, &printer).await?;
        printer.print(event(&name, "open", Some(&route), None));
        accept(listener, &route, &mastership, limit).await
    };
    tokio::select! {
        _ = mastership.ended() => (),
        _ = forwarding => (),
    }
}

/// Binds the address, as soon as it is free. On one machine the former master may still have it.
async fn bind(name: &str, route: &Route, mastership: &Mastership, printer: &Printer) -> Result<TcpListener, Ended> {
    let mut reported = String::new();
    loop {
        mastership.check()?;
        let reason = match TcpListener::bind(route.listen).await {
            Ok(listener) => {
                mastership.check()?; // it may have ended meanwhile
                return Ok(listener);
            }
            Err(e) => e.to_string(),
        };
        if reported != reason {
            printer.print(event(name, "waiting", Some(route), Some(reason.clone())));
            reported = reason;
        }
        sleep(RETRY).await;
    }
}

async fn accept(
    listener: TcpListener,
    route: &Route,
    mastership: &Mastership,
    limit: Arc<Semaphore>,
) -> Result<(), Ended> {
    // Dropping the set closes its connections.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // Without room, clients wait in the queue of the listener.
        let Ok(room) = limit.clone().acquire_owned().await else { return Ok(()) };
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
