//! The smallest host: a program that keeps its routes in a pair and forwards only while it is master.
//!
//! ```text
//! cargo run --release --example embed -- /tmp/embed
//! ```
//!
//! Run alone it is a master without a shadow; `docs/CLI.md` shows how a shadow is enrolled.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a program of its own: it may run tasks")]

use std::error::Error;

use shadowpair::{ChangeSet, FirstStart, Node, Options, Watched};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).ok_or("say where the data directory is")?;
    let mut options = Options::default();
    options.name = "embed".into();
    // An empty directory becomes the first master of a new pair. Any other directory knows its role.
    let node = Node::builder(dir).first_start(FirstStart::Master).options(options).start().await?;

    // The same code runs on both nodes. Only the one that serves does the work.
    let worker = tokio::spawn(forward_while_master(node.clone()));
    // Both nodes receive every change.
    let mut watch = node.config().watch("routes/");
    let watcher = tokio::spawn(async move {
        while let Some(change) = watch.next().await {
            match change {
                Watched::Changed { revision, keys } => println!("{revision} changed {keys:?}"),
                _ => println!("changes were missed: read the snapshot again"),
            }
        }
    });

    // On the shadow `node.config().commit` fails with NotMaster and the address of the master.
    let mastership = node.mastership().await?;
    println!("master as of epoch {}", mastership.epoch());
    let committed = node.config().commit(ChangeSet::new().put("routes/api", "10.0.0.7:80")).await?;
    let route = node.config().snapshot().get("routes/api")?.unwrap_or_default();
    println!("{} holds {}", committed.revision, String::from_utf8_lossy(&route));

    node.shutdown().await;
    watcher.await?;
    worker.await?;
    Ok(())
}

async fn forward_while_master(node: Node) {
    // Ends when the node stops. Work begun before mastership ended must have no effect outside after it. check() tells
    // at every step whether it still holds, and epoch() is the fencing token for outside systems.
    while let Ok(mastership) = node.mastership().await {
        println!("forwarding");
        println!("stopped forwarding: {}", mastership.ended().await);
    }
}
