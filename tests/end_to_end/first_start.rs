//! Directories that are not what they were when a node starts: a volume that is not mounted, a directory that was emptied.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{FAST, Launch, Pair, turn};

fn master(data: &Path) -> Launch {
    Launch::new("master", data).with(["--listen", "127.0.0.1:0"]).with(FAST.iter().copied())
}

/// Ends with 1 and one line that holds these words; nothing is made.
fn is_refused(launch: &Launch, words: &[&str]) {
    let (status, output, error) = launch.run();
    assert_eq!(status.code(), Some(1), "{output}{error}");
    assert_eq!(error.trim().lines().count(), 1, "{error}");
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
    assert!(output.is_empty(), "{output}");
}

/// The master's volume is not mounted when it starts again: it does not start blank, and its shadow serves alone.
#[test]
fn a_master_without_its_volume_does_not_start_blank() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("put k v");
    pair.in_sync();
    let (data, aside) = (pair.dir().join("first"), pair.dir().join("aside"));
    pair.nodes[0].kill();
    fs::rename(&data, &aside).unwrap();
    fs::create_dir(&data).unwrap();
    is_refused(pair.nodes[0].launch(), &[data.to_str().unwrap(), "not mounted", "--new-pair"]);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "it stays empty");
    pair.nodes[1].serving();
    fs::remove_dir(&data).unwrap();
    fs::rename(&aside, &data).unwrap();
    pair.start_again(0);
    pair.nodes[0].status("the shadow's role", |status| status["role"] == "shadow" && status["in_sync"] == true);
    assert_eq!(pair.nodes[0].ok("get k")["value"], "v");
}

/// What counts as empty, what `--new-pair` permits, and what it never overwrites.
#[test]
fn a_new_pair_is_made_where_no_directory_is_or_on_request() {
    let _turn = turn();
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir(at("fresh")).unwrap();
    fs::create_dir(at("fresh/lost+found")).unwrap();
    is_refused(&master(&at("fresh")), &["exists and is empty"]);
    let mut fresh = master(&at("fresh")).with(["--new-pair"]).start();
    fresh.serving();
    fresh.ok("put k v");
    fresh.quit();
    // Given again it changes nothing.
    fresh.start_again();
    assert_eq!(fresh.ok("get k")["value"], "v");
    fresh.quit();
    fs::remove_file(at("fresh/current")).unwrap();
    is_refused(&master(&at("fresh")), &["remains of a node"]);
    is_refused(&master(&at("fresh")).with(["--new-pair"]), &["remains of a node"]);

    let mut deep = master(&at("volume/pair")).start();
    deep.serving();
    deep.quit();
}

/// A first start that failed leaves a directory in which the same command line goes on.
#[test]
fn a_first_start_that_failed_can_be_repeated() {
    let _turn = turn();
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("pair");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let launch = Launch::new("master", &data).with(["--listen", &address]).with(FAST.iter().copied());
    is_refused(&launch, &["cannot listen"]);
    drop(taken);
    let mut master = launch.start();
    master.serving();
    let left: Vec<_> = fs::read_dir(&data).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name == "first-start"), "{left:?}");
    master.quit();
}

/// A first start that is killed at any moment goes on when it is repeated.
#[test]
fn a_first_start_that_was_killed_goes_on() {
    let _turn = turn();
    for round in 0..12 {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("pair");
        let mut first = master(&data).spawn();
        // Each round is killed a little later: the kill is told apart by what the directory holds by then.
        for _ in 0..round * 20_000 {
            if data.join("current").exists() {
                break;
            }
        }
        first.kill();
        let mut again = master(&data).start();
        again.serving();
        again.ok("put k v");
        again.quit();
    }
}

/// The data directory is below a mount point of `/etc/fstab` that is not mounted.
#[test]
fn a_volume_that_fstab_names_must_be_mounted() {
    let _turn = turn();
    let root = tempfile::tempdir().unwrap();
    let (volume, table) = (root.path().join("volume"), root.path().join("fstab"));
    fs::create_dir(&volume).unwrap();
    fs::write(&table, format!("tmpfs {} tmpfs defaults 0 0\n", volume.display())).unwrap();
    let script = "mount --bind \"$0\" /etc/fstab";
    let can = Command::new("unshare").args(["-m", "sh", "-c", script]).arg(&table).status();
    if !Path::new("/etc/fstab").exists() || !can.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: another /etc/fstab needs unshare(1), mount(8) and the right to use them");
        return;
    }
    let within = |mut launch: Launch, more: &str| {
        launch.wrapper =
            ["unshare", "-m", "sh", "-c", &format!("{script}{more} && exec \"$@\"")].map(Into::into).into();
        launch.wrapper.push(table.clone().into());
        launch
    };
    let unmounted = within(master(&volume.join("pair")), "");
    is_refused(&unmounted, &["/etc/fstab", volume.to_str().unwrap()]);
    let mounted = within(master(&volume.join("pair")), &format!(" && mount {}", volume.display()));
    let mut master = mounted.start();
    master.serving();
    master.quit();
    assert_eq!(master.started["role"], Value::from("master"));
}
