//! Opens the routes of the configuration while this node is master. What it needs of the machine is a trait, so that the same code
//! runs on sockets (`forward.rs`) and, in the crate's tests, in a simulated pair.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use shadowpair::{Config, Ended, Mastership, Node};
use tokio::sync::oneshot;

const PREFIX: &str = "routes/";
/// Most routes; those later in the alphabet are refused.
const ROUTES_MAX: usize = 256;
/// Bytes of a route: two addresses, the longer one with a host name of 253 bytes.
const ROUTE_BYTES_MAX: u64 = 512;
/// Time until a busy address is retried.
const RETRY: Duration = Duration::from_millis(100);

/// What the routes need of the machine that they run on.
pub trait Machine: Clone + Send + Sync + 'static {
    /// An address that this machine listens on. Dropped, it is free again, and the connections that it accepted are closed.
    type Listener: Send;

    /// Listens on the address of a route.
    fn listen(&self, route: &Route) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Forwards what comes, until the mastership has ended.
    fn forward(
        &self,
        listener: Self::Listener,
        route: &Route,
        mastership: &Mastership,
    ) -> impl Future<Output = Result<(), Ended>> + Send;

    /// Runs a task beside this one.
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>);

    /// Runs work that waits for the disk. `None` where it panicked.
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Option<T>> + Send;

    /// Returns after this time.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send;

    /// Tells what became of a route.
    fn report(&self, report: Report<'_>);

    /// Tells that the routes could not be read.
    fn unreadable(&self, reason: String);
}

/// One route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    pub listen: SocketAddr,
    /// Resolved at every connection, because its address may change.
    pub backend: String,
}

/// What became of a route: `open`, `waiting`, `refused` or `closed`.
pub struct Report<'a> {
    pub name: &'a str,
    pub state: &'static str,
    pub route: Option<&'a Route>,
    pub reason: Option<String>,
}

type Wanted = BTreeMap<String, Result<Route, String>>;

/// Forwards while this node is master, until it stops.
pub async fn follow(node: Node, machine: impl Machine) {
    while let Ok(mastership) = node.mastership().await {
        let mut routes = OpenRoutes { open: BTreeMap::new(), mastership, machine: machine.clone() };
        let reason = routes.follow_config(node.config()).await;
        routes.close_all(reason).await;
    }
}

/// The state of a route.
struct OpenRoute {
    route: Result<Route, String>,
    /// What serves it; `None` where the route was refused.
    task: Option<Task>,
}

/// A task that serves a route.
struct Task {
    /// Dropped, it stops the task.
    stop: oneshot::Sender<()>,
    /// Ends with the task.
    ended: oneshot::Receiver<()>,
}

/// The routes of one mastership.
struct OpenRoutes<M> {
    open: BTreeMap<String, OpenRoute>,
    mastership: Mastership,
    machine: M,
}

impl<M: Machine> OpenRoutes<M> {
    /// Opens and closes routes as the configuration changes, until mastership ends. Returns why it ended.
    async fn follow_config(&mut self, config: Config) -> &'static str {
        // The watch begins before the snapshot is taken, so that no change falls between the two.
        let mut watch = config.watch(PREFIX, None);
        loop {
            let of = config.clone();
            let wanted = self.machine.blocking(move || read(&of)).await;
            match wanted.unwrap_or_else(|| Err("reading them panicked".into())) {
                Ok(wanted) => self.change_to(wanted).await,
                // Open routes stay: they were right when they could still be read.
                Err(reason) => self.machine.unreadable(format!("the routes cannot be read: {reason}")),
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
                Ok(route) => Some(self.start(&name, route)),
                Err(reason) => {
                    self.report(&name, "refused", None, Some(reason.clone()));
                    None
                }
            };
            self.open.insert(name, OpenRoute { route, task });
        }
    }

    fn start(&self, name: &str, route: &Route) -> Task {
        let ((stop, stopped), (ends, ended)) = (oneshot::channel(), oneshot::channel());
        let serving = serve(self.machine.clone(), name.to_owned(), route.clone(), self.mastership.clone());
        self.machine.spawn(Box::pin(async move {
            tokio::select! {
                () = serving => (),
                _ = stopped => (),
            }
            drop::<oneshot::Sender<()>>(ends);
        }));
        Task { stop, ended }
    }

    /// Closes a route. When this returns, its address is free and its connections are closing.
    async fn close(&mut self, name: &str, reason: &str) {
        if let Some(OpenRoute { route: Ok(route), task: Some(task) }) = self.open.remove(name) {
            drop(task.stop);
            _ = task.ended.await;
            self.report(name, "closed", Some(&route), Some(reason.into()));
        }
    }

    async fn close_all(mut self, reason: &str) {
        for name in self.open.keys().cloned().collect::<Vec<_>>() {
            self.close(&name, reason).await;
        }
    }

    fn report(&self, name: &str, state: &'static str, route: Option<&Route>, reason: Option<String>) {
        self.machine.report(Report { name, state, route, reason });
    }
}

/// Serves a route while mastership lasts. When it is dropped, its listener and connections close.
async fn serve(machine: impl Machine, name: String, route: Route, mastership: Mastership) {
    let forwarding = async {
        let listener = listen(&machine, &name, &route, &mastership).await?;
        machine.report(Report { name: &name, state: "open", route: Some(&route), reason: None });
        machine.forward(listener, &route, &mastership).await
    };
    tokio::select! {
        _ = mastership.ended() => (),
        _ = forwarding => (),
    }
}

/// Listens on the address, as soon as it is free. On one machine the former master may still have it.
async fn listen<M: Machine>(
    machine: &M,
    name: &str,
    route: &Route,
    mastership: &Mastership,
) -> Result<M::Listener, Ended> {
    let mut reported = String::new();
    loop {
        mastership.check()?;
        let reason = match machine.listen(route).await {
            Ok(listener) => {
                mastership.check()?; // it may have ended meanwhile
                return Ok(listener);
            }
            Err(e) => e.to_string(),
        };
        if reported != reason {
            machine.report(Report { name, state: "waiting", route: Some(route), reason: Some(reason.clone()) });
            reported = reason;
        }
        machine.sleep(RETRY).await;
    }
}

/// The routes of the configuration as it is now. It may wait for the disk.
fn read(config: &Config) -> Result<Wanted, String> {
    let read = || {
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
    read().map_err(|e| e.to_string())
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
