//! Opens the routes of the configuration while this node is master.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use shadowpair::{Config, Mastership, Node};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::common::{Event, Printer};
use super::forward;

const PREFIX: &str = "routes/";
/// Most routes; those later in the alphabet are refused.
const ROUTES_MAX: usize = 256;
/// Bytes of a route: two addresses, the longer one with a host name of 253 bytes.
const ROUTE_BYTES_MAX: u64 = 512;
/// Connections forwarded at once, over all routes. Each holds two sockets and two buffers of
/// [`forward::BUFFER_BYTES`], so 32 MiB at the most. Further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 1_024;

/// One route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    pub listen: SocketAddr,
    /// Resolved at every connection, because its address may change.
    pub backend: String,
}

type Wanted = BTreeMap<String, Result<Route, String>>;

/// Forwards while this node is master, until it stops.
pub async fn follow(node: Node, printer: Printer) {
    let limit = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(mastership) = node.mastership().await {
        let mut routes =
            OpenRoutes { open: BTreeMap::new(), mastership, limit: limit.clone(), printer: printer.clone() };
        let reason = routes.follow_config(node.config()).await;
        routes.close_all(reason).await;
    }
}

/// The state of a route.
struct OpenRoute {
    route: Result<Route, String>,
    /// The task that serves it; `None` where the route was refused.
    task: Option<JoinHandle<()>>,
}

/// The routes of one mastership.
struct OpenRoutes {
    open: BTreeMap<String, OpenRoute>,
    mastership: Mastership,
    limit: Arc<Semaphore>,
    printer: Printer,
}

impl OpenRoutes {
    /// Opens and closes routes as the configuration changes, until mastership ends. Returns why it ended.
    async fn follow_config(&mut self, config: Config) -> &'static str {
        // The watch begins before the snapshot is taken, so that no change falls between the two.
        let mut watch = config.watch(PREFIX, None);
        loop {
            match read(config.clone()).await {
                Ok(wanted) => self.change_to(wanted).await,
                // Open routes stay: they were right when they could still be read.
                Err(reason) => {
                    self.printer.print(Event::Error { error: "read_failed", message: reason, more: Default::default() })
                }
            }
            tokio::select! {
                ended = self.mastership.ended() => return ended.reason.as_str(),
                change = watch.next() => if change.is_none() { return "stopped" },
            }
        }
    }

    async fn change_to(&mut self, wanted: Wanted) {
        let gone = |(name, open): (&String, &OpenRoute)| (wanted.get(name) != Some(&open.route)).then(|| name.clone());
        // First close, then open: an address may move from one route to another.
        for name in self.open.iter().filter_map(gone).collect::<Vec<_>>() {
            self.close(&name, "changed").await;
        }
        for (name, route) in wanted {
            if self.open.contains_key(&name) {
                continue;
            }
            let task = match &route {
                Ok(route) => Some(tokio::spawn(forward::serve(
                    name.clone(),
                    route.clone(),
                    self.mastership.clone(),
                    self.limit.clone(),
                    self.printer.clone(),
                ))),
                Err(reason) => {
                    self.report(&name, "refused", None, Some(reason.clone()));
                    None
                }
            };
            self.open.insert(name, OpenRoute { route, task });
        }
    }

    /// Closes a route. When this returns, its address is free and its connections are closing.
    async fn close(&mut self, name: &str, reason: &str) {
        if let Some(OpenRoute { route: Ok(route), task: Some(task) }) = self.open.remove(name) {
            task.abort();
            _ = task.await;
            self.report(name, "closed", Some(&route), Some(reason.into()));
        }
    }

    async fn close_all(mut self, reason: &str) {
        // Stop all of them first, so that none waits for another.
        self.open.values().filter_map(|open| open.task.as_ref()).for_each(JoinHandle::abort);
        for name in self.open.keys().cloned().collect::<Vec<_>>() {
            self.close(&name, reason).await;
        }
    }

    fn report(&self, name: &str, state: &'static str, route: Option<&Route>, reason: Option<String>) {
        self.printer.print(event(name, state, route, reason));
    }
}

/// The event that reports the state of a route.
pub fn event(name: &str, state: &'static str, route: Option<&Route>, reason: Option<String>) -> Event {
    let listen = route.map(|route| route.listen.to_string());
    Event::Route { route: name.into(), state, listen, backend: route.map(|route| route.backend.clone()), reason }
}

/// The routes of the configuration as it is now, on a thread that may wait for the disk.
async fn read(config: Config) -> Result<Wanted, String> {
    let read = move || {
        let snapshot = config.snapshot();
        let mut wanted = Wanted::new();
        for entry in snapshot.scan(PREFIX) {
            let entry = entry?;
            let key = entry.key.as_str();
            let route = if wanted.len() >= ROUTES_MAX {
                Err(format!("there are more than {ROUTES_MAX} routes"))
            } else if entry.bytes > ROUTE_BYTES_MAX {
                Err(format!("a route has at most {ROUTE_BYTES_MAX} bytes"))
            } else {
                parse(&snapshot.get(key)?.unwrap_or_default())
            };
            wanted.insert(key[PREFIX.len()..].to_owned(), route);
            if wanted.len() > ROUTES_MAX {
                break; // one refusal is enough
            }
        }
        Ok::<_, shadowpair::ReadError>(wanted)
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(routes) => routes.map_err(|e| format!("the routes cannot be read: {e}")),
        Err(e) => Err(format!("the routes cannot be read: {e}")),
    }
}

fn parse(value: &[u8]) -> Result<Route, String> {
    let text = std::str::from_utf8(value).map_err(|_| "a route is text: LISTEN BACKEND")?;
    let mut words = text.split_ascii_whitespace();
    let (Some(listen), Some(backend), None) = (words.next(), words.next(), words.next()) else {
        return Err("a route is LISTEN BACKEND, such as 0.0.0.0:8080 10.0.0.7:80".into());
    };
    let listen = listen.parse().map_err(|e| format!("LISTEN is IP:PORT: {e}"))?;
    let port = backend.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    if !matches!(port, Some(Ok(1..))) {
        return Err("BACKEND is HOST:PORT".into());
    }
    Ok(Route { listen, backend: backend.into() })
}
