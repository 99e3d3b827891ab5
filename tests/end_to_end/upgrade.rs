//! Upgrades with the real programs: a directory of a newer version is refused untouched, and a pair of two versions works.

use std::path::{Path, PathBuf};

use crate::harness::{FAST, Launch, Pair, Program, turn};

/// All files below a directory, with what they hold.
fn tree(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut files, mut left) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = left.pop() {
        for path in std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => left.push(path),
                false => files.push((path.clone(), std::fs::read(&path).unwrap())),
            }
        }
    }
    files.sort();
    files
}

/// The program refuses the directory as newer. Every file in it stays as it is, but for those of these names.
fn is_refused_as_newer(launch: &Launch, dir: &Path, but_for: &[&str]) {
    let before = tree(dir);
    let (status, _, errors) = launch.run();
    assert_eq!(status.code(), Some(1), "{errors}");
    let last = errors.lines().last().unwrap_or_default();
    assert!(last.contains("newer"), "{errors}");
    let after = tree(dir);
    let names = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after));
    let changed = after.iter().filter(|file| !before.contains(file)).map(|(path, _)| path);
    let changed: Vec<_> = changed.filter(|path| !but_for.iter().any(|name| path.ends_with(name))).collect();
    assert!(changed.is_empty(), "changed: {changed:?}");
}

#[test]
fn a_directory_of_a_newer_version_is_refused_and_stays_byte_for_byte() {
    let _turn = turn();
    for clean in [true, false] {
        let mut pair = Pair::enrol(FAST);
        pair.nodes[0].ok("load 200 300");
        pair.in_sync();
        if clean {
            pair.nodes[1].quit()
        } else {
            pair.nodes[1].kill()
        }
        let dir = pair.dir().join("second");
        let known = std::fs::read(dir.join("current")).unwrap();
        let mut newer = known.clone();
        newer[4] += 1;
        let sum = crc32c::crc32c(&newer[..16]).to_le_bytes();
        newer[16..20].copy_from_slice(&sum);
        std::fs::write(dir.join("current"), &newer).unwrap();
        is_refused_as_newer(&Launch::new("shadow", &dir).with(["--listen", "127.0.0.1:0"]).with(FAST), &dir, &[]);
        // The newer version goes on with it.
        pair.nodes[0].ok("put meanwhile 1");
        std::fs::write(dir.join("current"), &known).unwrap();
        pair.start_again(1);
        pair.in_sync();
    }
}

/// The programs of the last version, in place of those that were built with this test.
fn last(launch: Launch) -> Launch {
    let programs = std::env::var("SHADOWPAIR_LAST").expect("SHADOWPAIR_LAST names a directory with master and shadow");
    let start = format!("program={programs}/$(basename \"$1\"); shift; exec \"$program\" \"$@\"");
    Launch { wrapper: ["sh", "-c", &start, "sh"].map(Into::into).to_vec(), ..launch }
}

/// Two machines, on each of which either version can run.
struct Machines {
    dir: tempfile::TempDir,
    ports: [u16; 2],
    nodes: [Option<Program>; 2],
}

impl Machines {
    fn launch(&self, node: usize, old: bool) -> Launch {
        let listen = format!("127.0.0.1:{}", self.ports[node]);
        let launch = Launch::new(["master", "shadow"][node], &self.data(node)).with(["--listen", &listen]).with(FAST);
        if old { last(launch) } else { launch }
    }

    fn data(&self, node: usize) -> PathBuf {
        self.dir.path().join(["first", "second"][node])
    }

    fn node(&mut self, node: usize) -> &mut Program {
        self.nodes[node].as_mut().expect("it runs")
    }

    fn start(&mut self, node: usize, old: bool) {
        self.nodes[node] = Some(self.launch(node, old).start());
    }

    fn in_sync_under(&mut self, master: usize) {
        for (node, role) in [(master, "master"), (1 - master, "shadow")] {
            self.node(node)
                .status("the pair to be in sync", |status| status["role"] == role && status["in_sync"] == true);
        }
        let [one, other] = [0, 1].map(|node| self.node(node).ok("digest")["digest"].clone());
        assert_eq!(one, other);
    }

    /// Kills the master; the other node serves, and the killed one comes back in its old version.
    fn fail_over(&mut self, master: usize, old: bool) {
        self.node(master).ok(&format!("put before {master}"));
        self.in_sync_under(master);
        self.node(master).kill();
        self.node(1 - master).serving();
        self.node(1 - master).ok(&format!("put after {master}"));
        self.start(master, old);
        self.in_sync_under(1 - master);
        assert_eq!(self.node(master).ok("get after")["value"], master.to_string());
    }
}

/// `SHADOWPAIR_LAST=DIR cargo test --test end_to_end last_version -- --ignored`, where DIR holds `master` and `shadow` as
/// `cargo build --example master --example shadow` makes them of the last version.
#[test]
#[ignore = "needs the programs of the last version"]
fn a_pair_of_the_last_version_is_upgraded_and_a_way_back_is_refused_and_loses_nothing() {
    let _turn = turn();
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listeners = [free(), free()];
    let ports = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
    drop(listeners);
    let mut pair = Machines { dir: tempfile::tempdir().unwrap(), ports, nodes: [None, None] };
    pair.start(0, true);
    pair.node(0).serving();
    pair.node(0).ok("load 300 400");
    let token = crate::harness::token(pair.node(0));
    let master = format!("127.0.0.1:{}", pair.ports[0]);
    pair.nodes[1] = Some(pair.launch(1, true).with(["--master", &master, "--token", &token]).start());
    pair.in_sync_under(0);
    // The shadow first.
    pair.node(1).quit();
    pair.start(1, false);
    pair.in_sync_under(0);
    pair.node(1).refused("switch-roles", "peer_too_old");
    pair.fail_over(0, true);
    pair.fail_over(1, false);
    pair.node(0).ok("load 300 400 more/");
    pair.node(1).ok("resync");
    pair.in_sync_under(0);
    // Then the master: it stops, and the new version serves.
    pair.node(0).quit();
    pair.node(1).serving();
    pair.start(0, false);
    pair.in_sync_under(1);
    pair.node(0).ok("switch-roles");
    pair.in_sync_under(0);
    // The way back. The last version opens the database `node.redb` before it finds out that a newer version wrote it, and redb
    // then notes in the file that it was opened. What the file holds is not touched by that: this version goes on with it.
    let before = pair.node(1).ok("digest");
    let node = pair.node(1).ok("status")["node"].clone();
    let alerts = pair.node(1).ok("alerts")["alerts"].as_array().map(Vec::len);
    pair.node(1).quit();
    is_refused_as_newer(&pair.launch(1, true), &pair.data(1), &["node.redb"]);
    pair.start(1, false);
    let after = pair.node(1).ok("digest");
    assert_eq!((&after["digest"], &after["entries"]), (&before["digest"], &before["entries"]), "nothing was lost");
    assert_eq!(pair.node(1).started["node"], node);
    pair.in_sync_under(0);
    assert_eq!(pair.node(1).ok("alerts")["alerts"].as_array().map(Vec::len), alerts, "it finds no damage");
    pair.node(0).kill();
    pair.node(1).serving();
    assert_eq!(pair.node(1).ok("digest")["digest"], before["digest"]);
}
