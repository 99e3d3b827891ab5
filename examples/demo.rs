//! Both nodes of a pair in one process, narrated: enrolment, full push, changes, an outage with its alerts and the
//! warning after it, the master's death, the takeover, the old master's return, and the switch back.
//!
//! ```text
//! cargo run --release --example demo
//! ```
//!
//! TLS, disk and sockets are real, on loopback and in a temporary directory. It exits with 0, or prints why a step failed.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, reason = "they panic where nobody reads")]
#![allow(clippy::disallowed_methods, reason = "a program of its own: it may run tasks and bound waits")]

#[path = "demo/network.rs"]
mod network;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use network::Network;
use shadowpair::{
    AlertKind, ChangeSet, Config, Events, FirstStart, Handover, LinkState, Node, NodeEvent, Options, RepairKind, Role,
    Severity, Status,
};

/// Longest wait of a step.
const WAIT_MAX: Duration = Duration::from_secs(10);
const TAKEOVER_DELAY: Duration = Duration::from_millis(500);
const ENTRIES: usize = 10_000;

type Step<T = ()> = Result<T, String>;

#[tokio::main]
async fn main() -> ExitCode {
    let begun = Instant::now();
    match run().await {
        Ok(()) => {
            say(format!("\nEverything held. {:.1} s in all.", begun.elapsed().as_secs_f64()));
            ExitCode::SUCCESS
        }
        Err(reason) => {
            _ = writeln!(std::io::stderr(), "\nThe demo failed: {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Step {
    let dir = tempfile::tempdir().map_err(because("no temporary directory"))?;
    let network = Network::new().await.map_err(because("no sockets on loopback"))?;
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));

    let (master, shadow) = enrol(&a, &b, &network).await?;
    changes(&master, &shadow).await?;
    outage(&master, &shadow, &network).await?;
    let (master, shadow) = (takeover(master, shadow).await?, come_back(&a, &network).await?);
    returned(&master, &shadow).await?;
    switched_back(&master, &shadow).await?;
    shadow.shutdown().await;
    master.shutdown().await;
    Ok(())
}

async fn enrol(a: &Path, b: &Path, network: &Network) -> Step<(Node, Node)> {
    heading("A master is started, filled, and told to expect a shadow");
    let master = start("a", a, network, FirstStart::Master).await?;
    serving(&master).await?;
    let (took, ()) = timed(fill(&master.config())).await?;
    report(took, format!("{ENTRIES} entries are committed"));
    let operator = master.operator();
    operator.enable().await.map_err(because("enable"))?;
    let (token, _) = operator.token(None).await.map_err(because("token"))?;
    report(Duration::ZERO, "a join token is made: one use, fifteen minutes, and it names the master's key".into());

    heading("A shadow enrols with the token, over TLS that both ends pin, and gets everything");
    let join = FirstStart::Join { master: network.address("a").into(), token };
    let (took, shadow) = timed(start("b", b, network, join)).await?;
    report(took, "enrolled".into());
    let mut events = shadow.events();
    if !shadow.status().engine.in_sync {
        let full = |event: &NodeEvent| matches!(event, NodeEvent::Synced { how: RepairKind::Full, .. });
        if let NodeEvent::Synced { entries, bytes, took, .. } = happens(&mut events, "a full push", full).await? {
            report(took, format!("full push: {entries} entries, {:.1} MB", bytes as f64 / 1e6));
        }
    }
    same(&master, &shadow).await?;
    Ok((master, shadow))
}

async fn fill(config: &Config) -> Step {
    for first in (0..ENTRIES).step_by(1000) {
        let numbers = first..(first + 1000).min(ENTRIES);
        let set = numbers.fold(ChangeSet::new(), |set, n| {
            set.put(format!("routes/{n:05}"), format!("10.0.{}.{}:80", n / 256, n % 256))
        });
        config.commit(set).await.map_err(because("commit"))?;
    }
    Ok(())
}

async fn changes(master: &Node, shadow: &Node) -> Step {
    heading("A change and a deletion follow at once");
    let mut watch = shadow.config().watch("routes/", None);
    let change = ChangeSet::new().put("routes/00007", "10.9.9.9:443").delete("routes/00008");
    let (took, committed) = timed(async {
        let committed = master.config().commit(change).await.map_err(because("commit"))?;
        within("the change on the shadow", watch.next()).await?.ok_or("the shadow stopped")?;
        Ok(committed)
    })
    .await?;
    report(took, format!("{} is durable on the master and visible on the shadow", committed.revision));
    same(master, shadow).await?;
    let copy = shadow.config().snapshot();
    let read = |key: &str| copy.get(key).map_err(because("read"));
    check(read("routes/00007")?.as_deref() == Some(b"10.9.9.9:443"), "the change did not arrive")?;
    check(read("routes/00008")?.is_none(), "the deletion did not arrive")?;
    match shadow.config().commit(ChangeSet::new().put("routes/00001", "x")).await {
        Err(refused) => report(Duration::ZERO, format!("the shadow refuses a write: {refused}")),
        Ok(_) => return Err("the shadow accepted a write".into()),
    }
    Ok(())
}

async fn outage(master: &Node, shadow: &Node, network: &Network) -> Step {
    heading("The link is held by an operator, then the network fails too, and the master goes on changing");
    // Without a witness a failing network makes two masters. A shadow whose link is held does not take over.
    let mut events = master.events();
    shadow.operator().disconnect().await.map_err(because("disconnect"))?;
    network.cut();
    status(master, "the link to be lost", |status| status.engine.link.state != LinkState::Connected).await?;
    for n in 0..100 {
        let set = ChangeSet::new().put("routes/00009", format!("10.8.8.{n}:80"));
        master.config().commit(set).await.map_err(because("a commit during the outage"))?;
    }
    let failed =
        |event: &NodeEvent| matches!(event, NodeEvent::Alert { alert, .. } if alert.severity == Severity::Error);
    happens(&mut events, "an alert", failed).await?;
    let standing = status(master, "an alert that counts", |status| {
        status.engine.alerts.iter().any(|alert| alert.kind == AlertKind::PushFailed)
    })
    .await?;
    for alert in standing.engine.alerts.iter().filter(|alert| alert.severity != Severity::Info) {
        report(Duration::ZERO, format!("alert {:?} x{}: {}", alert.kind, alert.count, alert.message));
    }

    heading("The network heals");
    network.heal();
    let mut healed = shadow.events();
    shadow.operator().reconnect().await.map_err(because("reconnect"))?;
    let by_log = |event: &NodeEvent| matches!(event, NodeEvent::Synced { how: RepairKind::Incremental, .. });
    if let NodeEvent::Synced { entries, bytes, took, .. } =
        happens(&mut healed, "an incremental repair", by_log).await?
    {
        report(took, format!("incremental repair: {entries} change sets, {bytes} bytes"));
    }
    let after = status(master, "the warning after the outage", |status| {
        let standing = |kind| status.engine.alerts.iter().filter(|alert| alert.kind == kind).count();
        standing(AlertKind::Recovered) == 1 && standing(AlertKind::PushFailed) + standing(AlertKind::ShadowLost) == 0
    })
    .await?;
    for alert in after.engine.alerts.iter().filter(|alert| alert.kind == AlertKind::Recovered) {
        report(Duration::ZERO, format!("one warning is left: {}", alert.message));
    }
    same(master, shadow).await
}

async fn takeover(master: Node, shadow: Node) -> Step<Node> {
    heading(&format!("The master dies; the takeover delay is {} ms", TAKEOVER_DELAY.as_millis()));
    let digest = master.config().snapshot().digest();
    let killed = Instant::now();
    drop(master); // as in a crash: nothing tells the shadow
    let mastership = within("the takeover", shadow.mastership()).await?.map_err(because("mastership"))?;
    let took = killed.elapsed();
    report(took, format!("the shadow is master, epoch {}", mastership.epoch()));
    check(took < TAKEOVER_DELAY * 4, "the takeover took far longer than the delay")?;
    check(shadow.config().snapshot().digest() == digest, "the new master's content is another one")?;
    let set = ChangeSet::new().put("routes/00010", "10.7.7.7:80");
    let (took, committed) = timed(async { shadow.config().commit(set).await.map_err(because("commit")) }).await?;
    report(took, format!("{} is committed by the new master", committed.revision));
    Ok(shadow)
}

async fn come_back(a: &Path, network: &Network) -> Step<Node> {
    heading("The old master is started again, as it was started the first time");
    start("a", a, network, FirstStart::Master).await
}

async fn returned(master: &Node, shadow: &Node) -> Step {
    let begun = Instant::now();
    let now = status(shadow, "the old master to be a shadow in sync", |status| {
        status.engine.role == Role::Shadow && status.engine.in_sync
    })
    .await?;
    report(begun.elapsed(), format!("it is the {:?}, in sync at {}", now.engine.role, now.engine.position.revision));
    same(master, shadow).await?;
    check(shadow.config().snapshot().entries() == ENTRIES as u64 - 1, "an entry was lost")?;
    report(Duration::ZERO, "both hold the same, to the last bit".into());
    Ok(())
}

async fn switched_back(master: &Node, shadow: &Node) -> Step {
    heading("An operator switches the roles back while changes are written");
    let (config, mastership) = (master.config(), master.mastership().await.map_err(because("mastership"))?);
    let writer = tokio::spawn(async move {
        let mut written = 0;
        loop {
            let set = ChangeSet::new().put("routes/00011", format!("10.6.6.{}:80", written % 256));
            match config.commit(set).await {
                Ok(_) => written += 1,
                Err(refused) => return (written, refused),
            }
        }
    });
    let (took, ()) = timed(async { shadow.operator().switch_roles().await.map_err(because("switch-roles")) }).await?;
    report(took, "the node that was master first serves again; nobody waited for the takeover delay".into());
    let (written, refused) = within("the end of the changes", writer).await?.map_err(because("the writer"))?;
    report(
        Duration::ZERO,
        format!("{written} change sets were acknowledged meanwhile; the next one is told: {refused}"),
    );
    let ended = within("the end of the mastership", mastership.ended()).await?;
    report(Duration::ZERO, format!("the mastership of the other node has ended: {}", ended.reason));
    let set = ChangeSet::new().put("routes/00012", "10.5.5.5:80");
    shadow.config().commit(set).await.map_err(because("a commit after the switch"))?;
    same(shadow, master).await?;
    check(shadow.config().snapshot().entries() == ENTRIES as u64 - 1, "an entry was lost")
}

async fn start(name: &'static str, dir: &Path, network: &Network, first: FirstStart) -> Step<Node> {
    let mut options = Options::default();
    options.heartbeat = Duration::from_millis(100);
    options.takeover_delay = TAKEOVER_DELAY;
    options.name = name.into();
    // A node that is dropped would hand over before it stops. Here it is to die.
    options.handover = Handover::Never;
    let builder = Node::builder(dir).options(options).listen("127.0.0.1:0").advertise(network.address(name));
    let node = builder.first_start(first).start().await.map_err(because("start"))?;
    network.leads(name, node.status().listen);
    Ok(node)
}

async fn serving(node: &Node) -> Step {
    within("mastership", node.mastership()).await?.map(drop).map_err(because("mastership"))
}

/// Both are at the same position and hold the same.
async fn same(master: &Node, shadow: &Node) -> Step {
    status(shadow, "the nodes to be in sync", |status| {
        status.engine.in_sync && status.engine.position == master.status().engine.position
    })
    .await?;
    let (one, other) = (master.config().snapshot(), shadow.config().snapshot());
    check(one.digest() == other.digest(), "in sync, and yet the content differs")
}

async fn happens(events: &mut Events, what: &str, wanted: impl Fn(&NodeEvent) -> bool) -> Step<NodeEvent> {
    within(what, async {
        while let Some(event) = events.next().await {
            if wanted(&event) {
                return Ok(event);
            }
        }
        Err(format!("the node stopped; expected {what}"))
    })
    .await?
}

async fn status(node: &Node, what: &str, wanted: impl Fn(&Status) -> bool) -> Step<std::sync::Arc<Status>> {
    let mut watch = node.status_watch();
    let found = within(what, watch.wait_for(|status| wanted(status))).await?;
    Ok(found.map_err(because("the node stopped"))?.clone())
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> Step<T> {
    tokio::time::timeout(WAIT_MAX, future).await.map_err(|_| format!("no {what} within {WAIT_MAX:?}"))
}

async fn timed<T>(future: impl Future<Output = Step<T>>) -> Step<(Duration, T)> {
    let begun = Instant::now();
    let done = future.await?;
    Ok((begun.elapsed(), done))
}

fn check(holds: bool, otherwise: &str) -> Step {
    holds.then_some(()).ok_or_else(|| otherwise.to_owned())
}

fn because<E: std::fmt::Display>(what: &str) -> impl Fn(E) -> String {
    move |e| format!("{what}: {e}")
}

fn heading(text: &str) {
    say(format!("\n{text}"));
}

fn report(took: Duration, text: String) {
    say(match took.is_zero() {
        true => format!("              {text}"),
        false => format!("  {:>8.1} ms {text}", took.as_secs_f64() * 1e3),
    });
}

/// Prints where somebody reads; `println!` would panic elsewhere.
fn say(text: String) {
    _ = writeln!(std::io::stdout(), "{text}");
}
