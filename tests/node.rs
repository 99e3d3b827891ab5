//! The public face in one process, on both flavours of tokio.

#![allow(clippy::disallowed_methods, reason = "a test bounds what it waits for")]

use std::sync::Arc;
use std::time::Duration;

use shadowpair::{
    BoxFuture, ChangeSet, CommitError, FirstStart, Hooks, Node, Options, Remaining, Replication, Snapshot, Swap,
    Watched, Witness, WitnessError, WitnessRecord, WitnessVersion,
};

/// Bound on anything that is waited for; nothing here takes a fraction of it.
const LONG: Duration = Duration::from_secs(30);

fn on_both_flavours(test: fn() -> std::pin::Pin<Box<dyn Future<Output = ()>>>) {
    let current = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    current.block_on(test());
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    multi.block_on(test());
}

async fn master(dir: &std::path::Path) -> Node {
    let node = Node::builder(dir.join("node")).first_start(FirstStart::Master).start().await.unwrap();
    tokio::time::timeout(LONG, node.mastership()).await.unwrap().unwrap();
    node
}

#[test]
fn an_accepted_commit_is_not_undone_by_dropping_its_future() {
    on_both_flavours(|| {
        Box::pin(async {
            let dir = tempfile::tempdir().unwrap();
            let node = master(dir.path()).await;
            let mut watch = node.config().watch("dropped/");
            drop(node.config().try_commit(ChangeSet::new().put("dropped/key", "value")).unwrap());
            let seen = tokio::time::timeout(LONG, watch.next()).await.unwrap().unwrap();
            assert!(matches!(seen, Watched::Changed { keys, .. } if keys[0].as_str() == "dropped/key"));
            assert_eq!(node.config().snapshot().get("dropped/key").unwrap().unwrap(), "value");
            node.shutdown().await;
        })
    });
}

#[test]
fn a_stopped_node_says_so_and_its_directory_can_be_opened_again() {
    on_both_flavours(|| {
        Box::pin(async {
            let dir = tempfile::tempdir().unwrap();
            let node = master(dir.path()).await;
            let mastership = node.mastership().await.unwrap();
            let committed = node.config().commit(ChangeSet::new().put("key", "value")).await.unwrap();
            node.local().put("mine", "here").await.unwrap();
            let config = node.config();
            node.shutdown().await;
            assert!(mastership.check().is_err());
            tokio::time::timeout(LONG, mastership.ended()).await.unwrap();
            assert_eq!(config.commit(ChangeSet::new().put("key", "late")).await, Err(CommitError::Stopped));
            drop((node, config));

            let again = master(dir.path()).await;
            assert_eq!(again.config().snapshot().get("key").unwrap().unwrap(), "value");
            assert_eq!(again.local().get("mine").unwrap().unwrap(), "here");
            let mastership = again.mastership().await.unwrap();
            assert!(mastership.epoch() > committed.revision.epoch, "no two lives share an epoch");
            again.shutdown().await;
        })
    });
}

#[test]
fn a_shadow_reads_its_own_copy_and_refuses_writes() {
    on_both_flavours(|| {
        Box::pin(async {
            let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let node = master(first.path()).await;
            node.config().commit(ChangeSet::new().put("key", "value")).await.unwrap();
            node.operator().enable().await.unwrap();
            let (token, _) = node.operator().token(None).await.unwrap();
            let join = FirstStart::Join { master: node.status().listen.to_string(), token };
            let shadow = Node::builder(second.path()).first_start(join).start().await.unwrap();
            let mut status = shadow.status_watch();
            tokio::time::timeout(LONG, status.wait_for(|status| status.engine.in_sync)).await.unwrap().unwrap();
            assert_eq!(shadow.config().snapshot().get("key").unwrap().unwrap(), "value");
            let refused = shadow.config().commit(ChangeSet::new().put("key", "mine")).await;
            assert_eq!(refused, Err(CommitError::NotMaster { master: Some(node.status().listen.to_string()) }));
            shadow.shutdown().await;
            node.shutdown().await;
        })
    });
}

/// Accepts everything but one key.
struct NoBadKey;

impl Hooks for NoBadKey {
    fn validate(&self, candidate: &Snapshot) -> Result<(), String> {
        match candidate.get("bad") {
            Ok(None) => Ok(()),
            other => Err(format!("refused: {other:?}")),
        }
    }
}

/// Received records are stored in one step without hooks, and in two with them.
#[test]
fn a_synchronous_commit_is_on_both_nodes_with_and_without_hooks() {
    on_both_flavours(|| {
        Box::pin(async {
            for hooks in [None, Some(Arc::new(NoBadKey))] {
                let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
                let mut options = Options::default();
                options.replication = Replication::Synchronous;
                let builder =
                    Node::builder(first.path().join("node")).first_start(FirstStart::Master).options(options.clone());
                let node = builder.start().await.unwrap();
                tokio::time::timeout(LONG, node.mastership()).await.unwrap().unwrap();
                node.operator().enable().await.unwrap();
                let (token, _) = node.operator().token(None).await.unwrap();
                let join = FirstStart::Join { master: node.status().listen.to_string(), token };
                let mut builder = Node::builder(second.path()).first_start(join).options(options);
                if let Some(hooks) = &hooks {
                    builder = builder.hooks(Arc::clone(hooks) as Arc<dyn Hooks>);
                }
                let shadow = builder.start().await.unwrap();
                let mut status = node.status_watch();
                tokio::time::timeout(LONG, status.wait_for(|status| status.engine.in_sync)).await.unwrap().unwrap();
                let config = node.config();
                for n in 0..50 {
                    // Also larger than what is sent in one frame.
                    let value = vec![b'x'; if n % 10 == 9 { 700_000 } else { n }];
                    let commit = config.commit(ChangeSet::new().put(format!("key/{n}"), value));
                    let committed = tokio::time::timeout(LONG, commit).await.unwrap().unwrap();
                    assert!(committed.replicated, "{n}");
                }
                shadow.local().put("mine", "here").await.unwrap();
                assert!(node.operator().diverged().await.unwrap().is_empty());
                node.shutdown().await;
                shadow.shutdown().await;
                let seen = shadow.config().snapshot();
                assert_eq!(seen.get("key/49").unwrap().map(|value| value.len()), Some(700_000));
            }
        })
    });
}

/// A witness that hangs for good holds up neither the node nor its end.
#[derive(Debug)]
struct Hanging;

impl Witness for Hanging {
    fn kind(&self) -> &'static str {
        "hanging"
    }
    fn read(&self) -> BoxFuture<'_, Result<Option<(WitnessRecord, WitnessVersion)>, WitnessError>> {
        Box::pin(std::future::pending())
    }
    fn swap(&self, _: Option<WitnessVersion>, _: WitnessRecord) -> BoxFuture<'_, Swap> {
        Box::pin(std::future::pending())
    }
}

#[test]
fn a_node_with_a_witness_says_so_and_stops_although_it_hangs() {
    on_both_flavours(|| {
        Box::pin(async {
            let dir = tempfile::tempdir().unwrap();
            let builder =
                Node::builder(dir.path().join("node")).first_start(FirstStart::Master).witness(Arc::new(Hanging));
            let node = builder.start().await.unwrap();
            let status = node.status();
            assert_eq!((status.witness, status.engine.replication), (Some("hanging"), Replication::Asynchronous));
            tokio::time::timeout(LONG, node.shutdown()).await.unwrap();
        })
    });
}

#[test]
fn a_node_alone_is_bounded_by_nothing() {
    on_both_flavours(|| {
        Box::pin(async {
            let dir = tempfile::tempdir().unwrap();
            let node = master(dir.path()).await;
            assert_eq!(node.status().witness, None);
            assert_eq!(node.mastership().await.unwrap().check(), Ok(Remaining::Unbounded));
            node.shutdown().await;
        })
    });
}
