//! Many pairs in one process that do nothing.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shadowpair::{FirstStart, Node};
use tokio::task::JoinSet;

use crate::bench::Bench;
use crate::process::Process;

const PAIRS: u64 = 1_000;
/// Files and sockets of a pair, with room to spare.
const FILES_OF_A_PAIR: u64 = 40;
/// Pairs that are enrolled at the same time.
const AT_ONCE: usize = 32;
const WINDOW_SECONDS: u64 = 20;

pub fn measure(bench: &mut Bench) {
    let pairs = bench.scaled(PAIRS);
    let dir = tempfile::tempdir_in(bench.dir()).unwrap();
    let mut process = Process::start(&["idle", dir.path().to_str().expect("a plain path"), &pairs.to_string()]);
    process.read_line();
    let alone = process.usage();
    process.write_line("start the pairs");
    process.read_line();
    let before = process.usage();
    std::thread::sleep(Duration::from_secs(WINDOW_SECONDS)); // the window that is measured
    let after = process.usage();
    let each = |total: f64| total / pairs as f64;
    let measured = [
        ("pairs", pairs as f64),
        ("memory", each(after.resident - alone.resident)),
        ("cpu", (after.cpu - before.cpu) / WINDOW_SECONDS as f64),
        ("threads", after.threads),
        ("disk", each(size_on_disk(dir.path()))),
    ];
    measured.into_iter().for_each(|(name, value)| bench.figures.add(format!("idle.{name}"), value));
}

/// The process with the pairs. It ends when it is killed or its input ends.
pub fn run(dir: &Path, pairs: u64) {
    allow_files(pairs * FILES_OF_A_PAIR);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let told = || std::io::stdin().read_line(&mut String::new());
    println!("begun");
    told().unwrap();
    let nodes = runtime.block_on(async {
        let starts = (0..pairs).map(|number| start(dir.join(number.to_string())));
        let (mut starting, mut nodes) = (JoinSet::new(), Vec::new());
        for start in starts {
            if starting.len() == AT_ONCE {
                nodes.extend(starting.join_next().await.expect("some are starting").unwrap());
            }
            starting.spawn(start);
        }
        nodes.extend(starting.join_all().await.into_iter().flatten());
        for node in &nodes {
            node.status_watch().wait_for(|status| status.engine.in_sync).await.unwrap();
        }
        nodes
    });
    println!("ready");
    told().unwrap();
    drop(nodes);
}

async fn start(dir: PathBuf) -> [Node; 2] {
    let master = Node::builder(dir.join("a")).first_start(FirstStart::Master).start().await.unwrap();
    master.mastership().await.unwrap();
    let operator = master.operator();
    operator.enable().await.unwrap();
    let (token, _) = operator.token(None).await.unwrap();
    let join = FirstStart::Join { master: master.status().listen.to_string(), token };
    let shadow = Node::builder(dir.join("b")).first_start(join).start().await.unwrap();
    [master, shadow]
}

/// Lets this process have so many open files. A process without the right to it keeps its bound, and says so by failing.
fn allow_files(files: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if let Some(allowed) = current.filter(|allowed| *allowed < files) {
        let maximum = maximum.map(|maximum| maximum.max(files));
        let wanted = Rlimit { current: Some(files), maximum };
        if setrlimit(Resource::Nofile, wanted).is_err() {
            eprintln!("at most {allowed} files may be open, and {files} are wanted");
        }
    }
}

/// Bytes that the files below `dir` occupy.
fn size_on_disk(dir: &Path) -> f64 {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_on_disk(&entry.path()),
        Ok(metadata) => metadata.blocks() as f64 * 512.0,
        Err(_) => 0.0,
    };
    entries.map(size).sum()
}
