//! A node that was started once as root, and then as its user: what it may not use stands in the message, with what mends it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use crate::harness::{FAST, Launch, Proxy, at, example, token, turn};

const NOBODY: u32 = 65534;

/// The same program as another user. Prints so and returns `None` where this user may not do that.
fn as_nobody(mut launch: Launch) -> Option<Launch> {
    let drop = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let program = example(launch.program);
    let can = Command::new(drop[0]).args(&drop[1..]).arg(program).arg("--help").output();
    if !can.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "SKIPPED: another user needs setpriv(1), the rights of root, and a build directory that others may read"
        );
        return None;
    }
    launch.wrapper = drop.map(Into::into).to_vec();
    Some(launch)
}

/// Ends with 1 and one line that names the file, its owner, its mode, this user and the command.
fn is_denied(launch: &Launch, path: &Path, mode: &str, mend: &str) {
    let (status, output, error) = launch.run();
    assert_eq!(status.code(), Some(1), "{output}{error}");
    assert_eq!(error.trim().lines().count(), 1, "{error}");
    for word in [&format!("{} belongs to root", path.display()), mode, "runs as nobody", mend] {
        assert!(error.contains(word), "{word:?} is missing: {error}");
    }
}

fn own(path: &Path, uid: u32) {
    chown(path, Some(uid), Some(uid)).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| own(&entry.unwrap().path(), uid));
    }
}

/// Every file of a data directory, its folders, and the directory itself.
#[test]
fn a_file_of_another_user_is_named_with_what_mends_it() {
    let _turn = turn();
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let data = root.path().join("pair");
    let launch = Launch::new("master", &data).with(["--listen", "127.0.0.1:0"]).with(FAST.iter().copied());
    let Some(user) = as_nobody(launch.clone()) else { return };
    let install = format!("install -d -o nobody -m 700 {}", data.display());
    is_denied(&user, root.path(), "0755", &install);

    let mut master = launch.start();
    master.serving();
    master.ok("put k v");
    master.quit();
    let mend = format!("chown -R nobody {}", data.display());
    is_denied(&user, &data, "0700", &mend);
    let log = fs::read_dir(data.join("log")).unwrap().next().unwrap().unwrap().path();
    let state = fs::read_dir(data.join("state")).unwrap().next().unwrap().unwrap().path();
    for path in ["lock", "current", "identity.pem", "node.redb", "log", "state"].map(|name| data.join(name)) {
        own(&data, NOBODY);
        chown(&path, Some(0), Some(0)).unwrap();
        is_denied(&user, &path, if path.is_dir() { "0700" } else { "0600" }, &mend);
    }
    for path in [log, state] {
        own(&data, NOBODY);
        chown(&path, Some(0), Some(0)).unwrap();
        is_denied(&user, &path, "0600", &mend);
    }
    own(&data, NOBODY);
    let mut mended = user.start();
    assert_eq!(mended.ok("get k")["value"], "v");
    mended.quit();
}

/// The file with the token.
#[test]
fn a_token_file_of_another_user_is_named() {
    let _turn = turn();
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let wire = Proxy::new();
    let mut master = at("master", &root.path().join("a"), &wire, FAST).start();
    let file = root.path().join("token");
    fs::write(&file, token(&mut master)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let join = ["--master", &wire.address(), "--token-file", file.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let Some(shadow) = as_nobody(Launch::new("shadow", &root.path().join("b")).with(join)) else { return };
    let (status, _, error) = shadow.run();
    assert_eq!(status.code(), Some(1), "{error}");
    for word in [file.to_str().unwrap(), "uid 0", "0600", "uid 65534", "chown 65534"] {
        assert!(error.contains(word), "{word:?} is missing: {error}");
    }
}
