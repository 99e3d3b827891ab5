//! This program as the host of one node: a line of JSON on standard input is a request, a line on standard output its reply.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use shadowpair::{ChangeSet, FirstStart, LinkState, Node, NodeEvent, Options, RepairKind, Replication};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;

use crate::figures::Latencies;
use crate::workload::{self, Load, Run};

/// How a node is started.
#[derive(Clone, Serialize, Deserialize)]
pub struct Launch {
    pub dir: PathBuf,
    pub listen: String,
    pub advertise: Option<String>,
    /// Address and token of the master, for the first start of a shadow.
    pub join: Option<(String, String)>,
    pub heartbeat_ms: u64,
    pub takeover_delay_ms: u64,
    /// Bound of the log in change sets. `None` is the default.
    pub log_changes: Option<u64>,
}

#[derive(Serialize, Deserialize)]
pub enum Request {
    /// Enables enrolment and makes a token.
    Token,
    /// Waits until both nodes are in sync, and a takeover is possible.
    Ready,
    /// Waits until this node is master.
    Serving,
    /// The same, and until it has acknowledged a change.
    FirstCommit,
    SwitchRoles,
    /// Replies at once, and commits 1,000 changes a second until one is refused.
    CommitUntilRefused,
    Synchronous(bool),
    Load(Load),
    Run(Run),
    Get(String),
    /// Asks for a full push and waits until it is done.
    Resync,
    Disconnect,
    /// Lets the link come up again and waits until both are at the same position.
    Reconnect,
    /// Changes of role or serving so far.
    RoleChanges,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    Started,
    Done,
    Token(String),
    Took { seconds: f64 },
    Ran(Latencies),
    Synced { how: String, bytes: u64, seconds: f64 },
    RoleChanges(u64),
}

/// Hosts a node until the end of input.
pub fn run(launch: &str) {
    let launch: Launch = serde_json::from_str(launch).expect("a launch");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(serve(launch));
    // A read of standard input may still be under way.
    runtime.shutdown_background();
}

async fn serve(launch: Launch) {
    let host = Host::new(start(launch).await);
    reply(&Reply::Started);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let request = serde_json::from_str(&line).expect("a request");
        reply(&host.answer(request).await);
    }
    host.node.shutdown().await;
}

fn reply(reply: &Reply) {
    println!("{}", serde_json::to_string(reply).expect("a reply"));
}

async fn start(launch: Launch) -> Node {
    let mut options = Options::default();
    options.heartbeat = Duration::from_millis(launch.heartbeat_ms);
    options.takeover_delay = Duration::from_millis(launch.takeover_delay_ms);
    options.hold_down = Duration::ZERO;
    options.replication = Replication::Synchronous;
    options.log.changes = launch.log_changes.unwrap_or(options.log.changes);
    let first = match launch.join {
        Some((master, token)) => FirstStart::Join { master, token: token.parse().expect("a token") },
        None => FirstStart::Master,
    };
    let mut builder = Node::builder(launch.dir).first_start(first).options(options).listen(launch.listen);
    if let Some(advertise) = launch.advertise {
        builder = builder.advertise(advertise);
    }
    builder.start().await.expect("the node starts")
}

struct Host {
    node: Node,
    synced: watch::Receiver<Option<Synced>>,
    role_changes: Arc<AtomicU64>,
}

/// The last push that ended.
#[derive(Clone, Copy)]
struct Synced {
    number: u64,
    how: RepairKind,
    bytes: u64,
}

impl Host {
    fn new(node: Node) -> Self {
        let (sender, synced) = watch::channel(None::<Synced>);
        let role_changes = Arc::new(AtomicU64::new(0));
        let (mut events, counted) = (node.events(), Arc::clone(&role_changes));
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                match event {
                    NodeEvent::Synced { how, bytes, .. } => sender.send_modify(|last| {
                        let number = last.map_or(1, |last| last.number + 1);
                        *last = Some(Synced { number, how, bytes });
                    }),
                    NodeEvent::Role { .. } => _ = counted.fetch_add(1, Ordering::Relaxed),
                    _ => {}
                }
            }
        });
        Self { node, synced, role_changes }
    }

    async fn answer(&self, request: Request) -> Reply {
        let operator = self.node.operator();
        match request {
            Request::Token => {
                self.node.mastership().await.unwrap();
                operator.enable().await.unwrap();
                Reply::Token(operator.token(None).await.unwrap().0.to_string())
            }
            Request::Ready => self.ready().await,
            Request::Serving => {
                self.node.mastership().await.unwrap();
                Reply::Done
            }
            Request::FirstCommit => {
                self.node.mastership().await.unwrap();
                self.node.config().commit(ChangeSet::new().put("first", "commit")).await.unwrap();
                Reply::Done
            }
            Request::SwitchRoles => {
                operator.switch_roles().await.unwrap();
                Reply::Done
            }
            Request::CommitUntilRefused => {
                self.commit_until_refused();
                Reply::Done
            }
            Request::Synchronous(wanted) => {
                let wanted = if wanted { Replication::Synchronous } else { Replication::Asynchronous };
                operator.replicate(wanted).await.unwrap();
                Reply::Done
            }
            Request::Load(load) => {
                Reply::Took { seconds: workload::load(&self.node.config(), &load).await.as_secs_f64() }
            }
            Request::Run(run) => Reply::Ran(workload::run(&self.node.config(), &run).await),
            Request::Get(key) => {
                self.node.config().snapshot().get(key).expect("it can be read").expect("the entry is there");
                Reply::Done
            }
            Request::Resync => {
                let begun = self.mark();
                operator.resync().await.unwrap();
                self.until_synced(begun, |synced| synced.how == RepairKind::Full).await
            }
            Request::Disconnect => {
                operator.disconnect().await.unwrap();
                Reply::Done
            }
            Request::Reconnect => {
                let begun = self.mark();
                operator.reconnect().await.unwrap();
                self.until_synced(begun, |_| true).await
            }
            Request::RoleChanges => Reply::RoleChanges(self.role_changes.load(Ordering::Relaxed)),
        }
    }

    fn commit_until_refused(&self) {
        let config = self.node.config();
        tokio::spawn(async move {
            let mut beats = tokio::time::interval(Duration::from_millis(1));
            for number in 0_u64.. {
                beats.tick().await;
                let key = format!("load/{}", number % 1_000);
                let value = number.to_string().into_bytes();
                if config.commit(ChangeSet::new().put(&key, value)).await.is_err() {
                    return;
                }
            }
        });
    }

    async fn ready(&self) -> Reply {
        let mut statuses = self.node.status_watch();
        let ready = statuses.wait_for(|status| {
            let engine = &status.engine;
            let may_take_over = engine.serving || engine.why_not.is_empty();
            engine.in_sync && engine.link.state == LinkState::Connected && may_take_over
        });
        ready.await.expect("the node runs");
        Reply::Done
    }

    /// The number of the last push that ended, and the time.
    fn mark(&self) -> (u64, Instant) {
        (self.synced.borrow().map_or(0, |last| last.number), Instant::now())
    }

    /// Waits for the end of a push that is later than the mark.
    async fn until_synced(&self, (after, begun): (u64, Instant), is_meant: impl Fn(&Synced) -> bool) -> Reply {
        let mut synced = self.synced.clone();
        let ended = synced.wait_for(|last| last.as_ref().is_some_and(|last| last.number > after && is_meant(last)));
        let Synced { how, bytes, .. } = ended.await.expect("the node runs").expect("that was waited for");
        Reply::Synced { how: how.as_str().into(), bytes, seconds: begun.elapsed().as_secs_f64() }
    }
}
