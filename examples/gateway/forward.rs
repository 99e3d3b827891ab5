//! One door: a listener, and the connections that came through it.

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
/// How soon an address that is taken, or a listener that fails, is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// Bound on a dial of the backend.
const DIAL: Duration = Duration::from_secs(3);

/// Forwards what comes to this route, while mastership holds. Dropped, it closes its listener and its connections.
pub async fn serve(name: String, route: Route, mastership: Mastership, limit: Arc<Semaphore>, printer: Printer) {
    let forwarding = async {
        let listener = bind(&name, &route, &mastership, &printer).await?;
        printer.print(event(&name, "open", Some(&route), None)).await;
        accept(listener, &route, &mastership, limit).await
    };
    tokio::select! {
        _ = mastership.ended() => (),
        _ = forwarding => (),
    }
}

/// Takes the address, as soon as whoever has it lets go: on one machine that is the former master.
async fn bind(name: &str, route: &Route, mastership: &Mastership, printer: &Printer) -> Result<TcpListener, Ended> {
    let mut said = String::new();
    loop {
        mastership.check()?;
        let reason = match TcpListener::bind(route.listen).await {
            Ok(listener) => {
                mastership.check()?; // it may have ended meanwhile
                return Ok(listener);
            }
            Err(e) => e.to_string(),
        };
        if said != reason {
            printer.print(event(name, "waiting", Some(route), Some(reason.clone()))).await;
            said = reason;
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
    // Dropping the set closes what is in it.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // Who comes when there is no room waits in the listener's own queue.
        let Ok(room) = limit.clone().acquire_owned().await else { return Ok(()) };
        let accepted = listener.accept().await;
        mastership.check()?;
        match accepted {
            Ok((client, _)) => {
                let (backend, mastership) = (route.backend.clone(), mastership.clone());
                connections.spawn(async move {
                    // A broken connection ends here; its client sees it end too, and nobody else has to know.
                    _ = connect(client, &backend, &mastership).await;
                    drop(room);
                });
            }
            // Out of sockets, or the client was gone before it was let in.
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

/// Carries bytes one way to their end. Mastership is looked at after the wait for them: a process that was stopped in
/// between lets nothing out that its successor does not know of.
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
