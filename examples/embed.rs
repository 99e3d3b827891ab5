//! The smallest host: a program that keeps its routes in a pair and forwards only while it is master.
//!
//! ```text
//! cargo run --release --example embed -- /tmp/embed
//! ```
//!
//! Run alone it is a master without a shadow; `docs/CLI.md` shows how a shadow is enrolled.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, reason = "they panic where nobody reads")]
#![allow(clippy::disallowed_methods, reason = "a program of its own: it may run tasks and make a thread")]

use std::error::Error;
use std::io::Write;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use shadowpair::{ChangeSet, FirstStart, Node, Options, Watched};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).ok_or("say where the data directory is")?;
    let mut options = Options::default();
    options.name = "embed".into();
    // A directory that does not exist becomes the first master of a new pair. Any other one knows its role.
    let node = Node::builder(dir).first_start(FirstStart::Master).options(options).start().await?;

    let (say, printing) = Say::start();
    // The same code runs on both nodes. Only the one that serves does the work.
    let worker = tokio::spawn(forward_while_master(node.clone(), say.clone()));
    // Both nodes receive every change.
    let mut watch = node.config().watch("routes/", None);
    let watched = say.clone();
    let watcher = tokio::spawn(async move {
        while let Some(change) = watch.next().await {
            match change {
                Watched::Changed { revision, keys } => watched.line(format!("{revision} changed {keys:?}")),
                _ => watched.line("changes were missed: read the snapshot again".into()),
            }
        }
    });

    // On the shadow `node.config().commit` fails with NotMaster and the address of the master.
    let mastership = node.mastership().await?;
    say.line(format!("master as of epoch {}", mastership.epoch()));
    let committed = node.config().commit(ChangeSet::new().put("routes/api", "10.0.0.7:80")).await?;
    let route = node.config().snapshot().get("routes/api")?.unwrap_or_default();
    say.line(format!("{} holds {}", committed.revision, String::from_utf8_lossy(&route)));

    node.shutdown().await;
    watcher.await?;
    worker.await?;
    drop(say);
    _ = printing.join();
    Ok(())
}

/// Prints on a thread of its own, and drops what nobody reads. `println!` panics where standard output is closed, and blocks the node's
/// thread where its reader is stopped. What a host prints must not cost it its mastership.
#[derive(Clone)]
struct Say(SyncSender<String>);

impl Say {
    fn start() -> (Self, JoinHandle<()>) {
        let (sender, lines) = sync_channel::<String>(64);
        let print = move || lines.iter().for_each(|line| drop(writeln!(std::io::stdout(), "{line}")));
        (Self(sender), std::thread::spawn(print))
    }

    fn line(&self, line: String) {
        drop(self.0.try_send(line));
    }
}

async fn forward_while_master(node: Node, say: Say) {
    // Ends when the node stops. Work begun before mastership ended must have no effect outside after it. check() tells
    // at every step whether it still holds, and epoch() is the fencing token for outside systems.
    while let Ok(mastership) = node.mastership().await {
        say.line("forwarding".into());
        say.line(format!("stopped forwarding: {}", mastership.ended().await));
    }
}
