//! Backups with the real programs: exports under load, imports into a fresh pair, restores on purpose, refusals.

use std::path::Path;

use serde_json::Value;

use crate::harness::{FAST, Launch, Pair, Program, turn};

/// A master without a shadow, which listens on any port.
fn alone(data: &Path) -> Program {
    let mut master = Launch::new("master", data).with(["--listen", "127.0.0.1:0"]).with(FAST).start();
    master.serving();
    master
}

fn list(node: &mut Program) -> Value {
    node.ok("list")["entries"].clone()
}

/// The shadow exports while the master is under load; then the master exports. Each is one revision, and a fresh pair that
/// imports it has the same content on both nodes.
#[test]
fn exports_under_load_are_imported_by_a_fresh_pair() {
    let _turn = turn();
    let (mut pair, mut fresh) = (Pair::enrol(FAST), Pair::enrol(FAST));
    fresh.nodes[0].ok("put old content");
    pair.nodes[0].ok("load 3000 400 base/");
    pair.in_sync();
    let path = |number: usize| pair.dir().join(format!("export-{number}")).display().to_string();
    let paths: Vec<String> = (0..4).map(path).collect();
    let mut exported = Vec::new();
    pair.nodes[0].write("load 20000 200 load/");
    for path in &paths[..3] {
        exported.push(pair.nodes[1].ok(&format!("export {path}")));
    }
    pair.nodes[0].answer("load 20000 200 load/");
    exported.push(pair.nodes[0].ok(&format!("export {}", paths[3])));
    let revisions: Vec<_> = exported.iter().map(|done| done["revision"]["seq"].as_u64().unwrap()).collect();
    assert!(revisions.is_sorted(), "{revisions:?}");

    for (path, done) in paths.iter().zip(&exported) {
        let imported = fresh.nodes[0].ok(&format!("import {path}"));
        assert_eq!(imported["from"]["digest"], done["digest"]);
        assert_eq!(imported["from"]["revision"], done["revision"]);
        fresh.in_sync();
        for node in &mut fresh.nodes {
            let content = node.ok("content");
            for field in ["content", "entries", "bytes"] {
                assert_eq!(content[field], done[field], "{field} of {path}");
            }
            assert_eq!(content["digest"], imported["digest"], "the digest of this pair, on both nodes");
        }
    }
    assert_eq!(list(&mut fresh.nodes[1]), list(&mut pair.nodes[0]), "the last export is what the first pair has");
    // History goes on: later changes, and a takeover.
    fresh.nodes[0].ok("put after import");
    fresh.in_sync();
    fresh.nodes[0].kill();
    fresh.nodes[1].serving();
    assert_eq!(fresh.nodes[1].ok("get after")["value"], "import");
    assert_eq!(list(&mut fresh.nodes[1]).as_array().unwrap().len(), 23_001, "what was imported, and one more");
}

/// Going back on purpose is a new change, which the shadow follows. A file that cannot be used changes nothing.
#[test]
fn a_restore_goes_back_on_purpose_and_a_bad_file_changes_nothing() {
    let _turn = turn();
    let mut pair = Pair::enrol(FAST);
    pair.nodes[0].ok("put yesterday right");
    let path = pair.dir().join("yesterday");
    let yesterday = pair.nodes[0].ok(&format!("export {}", path.display()));
    pair.nodes[0].ok("put yesterday wrong");
    pair.nodes[0].ok("put today 1");
    let before = pair.in_sync();
    let revision = pair.nodes[0].ok("digest")["revision"].clone();

    let refused = pair.nodes[1].refused(&format!("restore {}", path.display()), "not_master");
    assert_eq!(refused["master"], pair.proxies[0].address());
    let bytes = std::fs::read(&path).unwrap();
    let damaged: [(&str, Vec<u8>); 4] = [
        ("truncated", bytes[..bytes.len() - 9].to_vec()),
        ("damaged", bytes.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == bytes.len() / 2)).collect()),
        ("newer", bytes.iter().enumerate().map(|(at, byte)| byte + u8::from(at == 4)).collect()),
        ("not_an_export", b"#!/bin/sh\nexit 0\n".to_vec()),
    ];
    let bad = pair.dir().join("bad");
    for (word, bytes) in damaged {
        std::fs::write(&bad, bytes).unwrap();
        for verb in ["import", "restore"] {
            pair.nodes[0].refused(&format!("{verb} {}", bad.display()), word);
        }
    }
    pair.nodes[0].refused("import /no/such/file", "file_failed");
    pair.nodes[0].refused("export /no/such/directory/file", "file_failed");
    pair.nodes[0].refused("export /dev/null", "bad_argument");
    let other = pair.dir().join("other");
    let mut stranger = alone(&pair.dir().join("stranger"));
    stranger.ok(&format!("export {}", other.display()));
    pair.nodes[0].refused(&format!("restore {}", other.display()), "other_pair");
    assert_eq!(pair.nodes[0].ok("digest")["revision"], revision, "nothing changed");
    assert_eq!(pair.in_sync(), before);

    let restored = pair.nodes[0].ok(&format!("restore {}", path.display()));
    assert_eq!(restored["digest"], yesterday["digest"], "in the pair that wrote it the digest is the same");
    assert_eq!(restored["revision"]["seq"].as_u64(), revision["seq"].as_u64().map(|seq| seq + 1), "one change");
    pair.in_sync();
    for node in &mut pair.nodes {
        assert_eq!(node.ok("get yesterday")["value"], "right");
        assert!(node.ok("get today")["value"].is_null());
    }
    pair.restart(0);
    pair.nodes[0].serving();
    pair.in_sync();
    assert_eq!(pair.nodes[0].ok("get yesterday")["value"], "right");
    stranger.quit();
}
