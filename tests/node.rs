//! The public face in one process, on both flavours of tokio.

#![allow(clippy::disallowed_methods, reason = "a test bounds what it waits for")]

use std::sync::Arc;
use std::time::Duration;

use shadowpair::{
    BoxFuture, ChangeSet, CommitError, Conflict, Expected, FirstStart, Guard, Hooks, Key, Node, Options, Remaining,
    Replication, Snapshot, Swap, Watched, Witness, WitnessError, WitnessRecord, WitnessVersion,
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
            let mut watch = node.config().watch("dropped/", None);
            drop(node.config().try_commit(ChangeSet::new().put("dropped/key", "value")).unwrap());
            let seen = tokio::time::timeout(LONG, watch.next()).await.unwrap().unwrap();
            assert!(matches!(seen, Watched::Changed { keys, .. } if keys[0].as_str() == "dropped/key"));
            assert_eq!(node.config().snapshot().get("dropped/key").unwrap().unwrap(), "value");
            node.shutdown().await;
        })
    });
}

#[test]
fn a_guard_that_does_not_hold_changes_nothing_and_one_of_a_new_read_does() {
    on_both_flavours(|| {
        Box::pin(async {
            let dir = tempfile::tempdir().unwrap();
            let node = master(dir.path()).await;
            let config = node.config();
            let key = Key::new("key").unwrap();
            let only_if = |expected: &'static str| Guard::Key {
                key: Key::new("key").unwrap(),
                expected: Expected::Value(expected.into()),
            };
            let read = config.commit(ChangeSet::new().put("key", "read")).await.unwrap().revision;
            let newer = config.commit(ChangeSet::new().put("key", "newer")).await.unwrap().revision;

            let stale = ChangeSet::new().put("key", "mine").put("other", "mine").only_if(only_if("read"));
            assert_eq!(config.commit(stale).await, Err(CommitError::Guard(Conflict::Key { key })));
            let stale = ChangeSet::new().put("other", "mine").only_if(Guard::Head(read));
            let conflict = Conflict::Head { expected: read, head: newer };
            assert_eq!(config.commit(stale).await, Err(CommitError::Guard(conflict)));
            let now = config.snapshot();
            assert_eq!((now.revision(), now.get("other").unwrap()), (newer, None), "nothing was changed");

            let again = now.get("key").unwrap().unwrap();
            assert_eq!(again, "newer");
            let fresh = ChangeSet::new().put("key", "mine").only_if(only_if("newer")).only_if(Guard::Head(newer));
            config.commit(fresh).await.unwrap();
            assert_eq!(config.snapshot().get("key").unwrap().unwrap(), "mine");
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

/// Writes change set `n` for n = 1, 2, ...: what a revision must hold follows from its `n`.
async fn write_numbered(node: Node, from: u64, stop: Arc<std::sync::atomic::AtomicBool>) -> u64 {
    let mut n = from;
    while !stop.load(std::sync::atomic::Ordering::SeqCst) {
        let text = n.to_string();
        let set = ChangeSet::new().put("a", text.clone()).put(format!("slot/{:02}", n % 40), format!("{n:>3000}"));
        node.config().commit(set.put("z", text)).await.unwrap();
        n += 1;
    }
    n
}

/// Whether this is exactly one of the revisions that [`write_numbered`] made. Returns its number.
fn numbered(snapshot: &Snapshot) -> u64 {
    let read = |key: &str| {
        let value = snapshot.get(key).unwrap();
        value.map_or(0, |value| std::str::from_utf8(&value).unwrap().trim().parse::<u64>().unwrap())
    };
    let n = read("a");
    assert_eq!(read("z"), n, "one half of a change set");
    for slot in 0..40 {
        let expected = (n.saturating_sub(39)..=n).find(|m| m % 40 == slot).unwrap_or(0);
        assert_eq!(read(&format!("slot/{slot:02}")), expected, "slot {slot} at {n}");
    }
    n
}

fn multi_threaded(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}

/// A node and its shadow, in sync.
async fn pair(first: &std::path::Path, second: &std::path::Path, options: &Options) -> [Node; 2] {
    let builder = Node::builder(first.join("node")).first_start(FirstStart::Master).options(options.clone());
    let node = builder.start().await.unwrap();
    tokio::time::timeout(LONG, node.mastership()).await.unwrap().unwrap();
    node.operator().enable().await.unwrap();
    let (token, _) = node.operator().token(None).await.unwrap();
    let join = FirstStart::Join { master: node.status().listen.to_string(), token };
    let shadow = Node::builder(second.join("node")).first_start(join).options(options.clone()).start().await.unwrap();
    in_sync(&shadow).await;
    [node, shadow]
}

async fn in_sync(node: &Node) {
    let mut status = node.status_watch();
    tokio::time::timeout(LONG, status.wait_for(|status| status.engine.in_sync)).await.unwrap().unwrap();
}

/// Twenty exports taken under load, ten on either node: each is one whole revision, and a fresh pair imports it as such.
#[test]
fn exports_under_load_are_whole_revisions_and_a_fresh_pair_imports_each() {
    multi_threaded(async {
        let dirs: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
        let options = Options::default();
        let nodes = pair(dirs[0].path(), dirs[1].path(), &options).await;
        let fresh = pair(dirs[2].path(), dirs[3].path(), &options).await;
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let writer = tokio::spawn(write_numbered(nodes[0].clone(), 1, Arc::clone(&stop)));
        let mut exports = Vec::new();
        for number in 0..20 {
            let path = dirs[0].path().join(format!("export-{number}"));
            exports.push((path.clone(), nodes[number % 2].operator().export(&path).await.unwrap()));
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        let last = tokio::time::timeout(LONG, writer).await.unwrap().unwrap();
        assert!(exports[19].1.position.revision > exports[1].1.position.revision, "there was load: {last}");
        for (path, exported) in exports {
            let imported = tokio::time::timeout(LONG, fresh[0].operator().import(&path)).await.unwrap().unwrap();
            assert_eq!(imported.exported, exported);
            let here = fresh[0].operator().content().await.unwrap();
            assert_eq!((here.content, here.entries), (exported.content, exported.entries));
            assert_eq!(here.position.digest, imported.digest);
            numbered(&fresh[0].config().snapshot());
        }
        let all_there = |status: &Arc<shadowpair::Status>| {
            status.engine.in_sync && status.engine.position == fresh[0].status().engine.position
        };
        let mut status = fresh[1].status_watch();
        tokio::time::timeout(LONG, status.wait_for(all_there)).await.unwrap().unwrap();
        assert_eq!(
            fresh[1].operator().content().await.unwrap().content,
            fresh[0].operator().content().await.unwrap().content
        );
        for node in nodes.iter().chain(&fresh) {
            node.shutdown().await;
        }
    });
}

fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_all(&entry.path(), &to),
            // Removed meanwhile.
            false => drop(std::fs::copy(entry.path(), to)),
        }
    }
}

/// A copy of a directory that is in use is no backup. It is refused, or known to be damaged, or is one whole revision.
#[test]
fn a_copy_of_a_live_directory_is_refused_or_one_whole_revision() {
    multi_threaded(async {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::default();
        (options.log.changes, options.log.bytes) = (30, 200_000);
        let live = dir.path().join("live");
        let builder = Node::builder(&live).first_start(FirstStart::Master).options(options.clone());
        let node = builder.start().await.unwrap();
        tokio::time::timeout(LONG, node.mastership()).await.unwrap().unwrap();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let writer = tokio::spawn(write_numbered(node.clone(), 1, Arc::clone(&stop)));
        let mut outcomes = [0; 3];
        for number in 0..16 {
            let copy = dir.path().join(format!("copy-{number}"));
            let (from, to) = (live.clone(), copy.clone());
            tokio::task::spawn_blocking(move || copy_all(&from, &to)).await.unwrap();
            match Node::builder(&copy).options(options.clone()).start().await {
                Err(_) => outcomes[0] += 1,
                Ok(copied) => {
                    let status = copied.status();
                    let damaged = status.engine.why_not.contains(&shadowpair::TakeoverBlocker::Incomplete);
                    if !damaged {
                        numbered(&copied.config().snapshot());
                    }
                    outcomes[if damaged { 1 } else { 2 }] += 1;
                    copied.shutdown().await;
                }
            }
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        println!("refused {}, damaged {}, whole {}", outcomes[0], outcomes[1], outcomes[2]);
        tokio::time::timeout(LONG, writer).await.unwrap().unwrap();
        node.shutdown().await;
    });
}

/// A host's type, and what it was in an earlier version.
#[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq, Clone)]
struct Route {
    backend: String,
    #[serde(default)]
    weight: u32,
}

#[test]
fn typed_entries_evolve_and_one_that_does_not_parse_hides_no_other() {
    on_both_flavours(|| {
        Box::pin(async {
            let dir = tempfile::tempdir().unwrap();
            let node = master(dir.path()).await;
            let routes = node.config().typed::<Route>("routes/");
            let api = Route { backend: "10.0.0.7:80".into(), weight: 3 };
            let set = routes.put(ChangeSet::new(), "api", &api).put("routes/bad", "no json");
            let set = set.put("routes/old", r#"{"backend":"10.0.0.8:80"}"#).put("other", "1");
            let set = set.put("routes/new", r#"{"backend":"10.0.0.9:80","weight":1,"zone":"a"}"#);
            node.config().commit(set.put_secret("routes/secret", "\"hunter2\"")).await.unwrap();
            let snapshot = routes.snapshot();
            assert_eq!(snapshot.get("api").unwrap(), Some(api));
            assert_eq!(snapshot.get("old").unwrap().unwrap().weight, 0, "a field that is missing");
            assert_eq!(snapshot.get("new").unwrap().unwrap().weight, 1, "a field that is unknown");
            assert_eq!(snapshot.get("none").unwrap(), None);
            let read: Vec<_> = snapshot.scan().collect();
            assert_eq!(read.iter().filter(|entry| entry.is_ok()).count(), 3);
            let errors: Vec<String> =
                read.iter().filter_map(|entry| entry.as_ref().err()).map(|e| e.to_string()).collect();
            assert!(errors[0].contains("routes/bad") && errors[1].contains("routes/secret"), "{errors:?}");
            assert!(!errors[1].contains("hunter2"), "{errors:?}");
            node.shutdown().await;
        })
    });
}

/// Changes before the watch is first asked, more than it can lag behind, and a replaced configuration: the copy that it keeps is
/// right in the end.
#[test]
fn a_typed_watch_misses_no_change() {
    on_both_flavours(|| {
        Box::pin(async {
            let dir = tempfile::tempdir().unwrap();
            let node = master(dir.path()).await;
            let config = node.config();
            let limits = config.typed::<u64>("limits/");
            config.commit(limits.put(ChangeSet::new(), "gone", &1)).await.unwrap();
            let exported = dir.path().join("export");
            node.operator().export(&exported).await.unwrap();
            let (now, mut changes) = limits.watch().unwrap();
            let mut copy: std::collections::BTreeMap<String, u64> =
                now.scan().map(|entry| entry.map(|(key, value)| (key.to_string(), value)).unwrap()).collect();
            assert_eq!(copy.len(), 1);
            let check = async |changes: &mut shadowpair::TypedWatch<u64>,
                               copy: &mut std::collections::BTreeMap<_, _>| {
                let expected: std::collections::BTreeMap<String, u64> =
                    limits.snapshot().scan().flatten().map(|(key, value)| (key.to_string(), value)).collect();
                while *copy != expected {
                    match tokio::time::timeout(LONG, changes.next()).await.unwrap().unwrap().unwrap() {
                        shadowpair::TypedChange::Put { key, value } => drop(copy.insert(key.to_string(), value)),
                        shadowpair::TypedChange::Removed { key } => drop(copy.remove(key.as_str())),
                    }
                }
            };
            config
                .commit(limits.put(ChangeSet::new(), "a", &1).delete(limits.key("gone")).put("other", "1"))
                .await
                .unwrap();
            config.commit(limits.put(ChangeSet::new(), "b", &2)).await.unwrap();
            check(&mut changes, &mut copy).await;
            // Many more than a watch remembers.
            for number in 0..3_000u64 {
                let name = format!("{}", number % 7);
                let set = limits.put(ChangeSet::new(), &name, &number);
                drop(config.try_commit(if number % 5 == 0 { set.delete(limits.key("3")) } else { set }));
            }
            config.commit(limits.put(ChangeSet::new(), "last", &7)).await.unwrap();
            check(&mut changes, &mut copy).await;
            node.operator().restore(&exported).await.unwrap();
            check(&mut changes, &mut copy).await;
            assert_eq!(copy.len(), 1, "what the export has: {copy:?}");
            config.commit(ChangeSet::new().put("limits/bad", "no number")).await.unwrap();
            let told = tokio::time::timeout(LONG, changes.next()).await.unwrap().unwrap();
            assert!(matches!(told, Err(shadowpair::EntryError::Parse { key, .. }) if key.as_str() == "limits/bad"));
            // A plain watch that begins at an older revision says that it missed something.
            let mut late = config.watch("", Some(now.revision()));
            assert_eq!(late.next().await, Some(Watched::Lagged));
            node.shutdown().await;
            assert!(changes.next().await.is_none());
        })
    });
}
