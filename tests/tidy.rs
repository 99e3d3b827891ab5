//! What the compiler does not hold: who may import whom, how long a file may be, where a ban may be lifted, and that
//! the documents point at each other. Every rule is shown to catch a sample that breaks it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

#[path = "tidy/lexer.rs"]
mod lexer;
#[path = "tidy/rules.rs"]
mod rules;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rules::{Source, docs};

/// Longest file, in lines before its tests.
const FILE_LINES_MAX: usize = 500;
/// Longest function, in lines from `fn` to its last brace.
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn imports_follow_the_table() {
    clean(sources(&["src"]).iter().flat_map(rules::imports));
}

#[test]
fn files_and_functions_are_short() {
    let all = sources(&["src", "tests", "examples", "benches"]);
    clean(all.iter().flat_map(|source| rules::lengths(source, FILE_LINES_MAX, FUNCTION_LINES_MAX)));
}

#[test]
fn one_file_knows_the_encoder() {
    let users: Vec<String> = sources(&["src"]).iter().filter(|s| s.names("bincode")).map(|s| s.path.clone()).collect();
    assert!(users.len() <= 1, "bincode is named in {users:?}");
    assert!(users.iter().all(|path| path.starts_with("src/protocol/wire")), "bincode is named in {users:?}");
}

#[test]
fn bans_are_lifted_at_the_top_of_the_shell_only() {
    clean(sources(&["src"]).iter().flat_map(rules::lifted_bans));
}

#[test]
fn pure_rooms_do_not_name_the_world() {
    clean(sources(&["src/model", "src/protocol"]).iter().flat_map(rules::world));
}

#[test]
fn nothing_is_left_for_later() {
    clean(sources(&["src", "examples", "benches"]).iter().flat_map(rules::left_for_later));
}

#[test]
fn documents_point_at_what_is_there() {
    clean(docs::dead_links(root(), &files(&["docs", "."], "md")));
}

#[test]
fn an_import_against_the_table_is_caught() {
    let caught = |path: &str, text: &str| !rules::imports(&Source::new(path, text)).is_empty();
    for (path, text) in [
        ("src/model/key.rs", "use crate::store::Store;"),
        ("src/protocol/wire/codec.rs", "use crate::{\n  model::Key,\n  protocol::{alerts::Alert},\n};"),
        ("src/protocol/failover/role.rs", "use super::super::replication::Sink;"),
        ("src/protocol/replication.rs", "fn f() { let x: crate::protocol::failover::Role = g(); }"),
        ("src/store/log.rs", "use crate::identity::Pins;"),
        ("src/store/log.rs", "use crate::protocol::replication::Source;"),
        ("src/store/log.rs", "use crate::protocol::*;"),
        ("src/store.rs", "use crate::Key;"),
        ("src/node/drive.rs", "mod inner { use super::super::super::testing::Sim; }"),
        ("src/admin/page.rs", "use crate::{store, node::Node};"),
    ] {
        assert!(caught(path, text), "{path}: {text}");
    }
    for (path, text) in [
        ("src/model/key.rs", "pub(crate) struct Key; // crate::store\nuse super::limits::KIB;"),
        ("src/protocol/engine/master.rs", "use crate::{model::Key, protocol::{wire::Role, replication::Source}};"),
        ("src/store/log.rs", "use crate::protocol::engine::DurableState; use crate::store::disk::Disk;"),
        ("src/store/log.rs", "#[cfg(test)]\nmod tests { use crate::testing::Sim; use crate::Key; }"),
        ("src/store/log/tests.rs", "use crate::testing::Sim;"),
        ("src/node/drive.rs", "mod inner { use super::super::Node; }\nconst A: &str = \"crate::testing::x\";"),
        ("src/lib.rs", "pub use crate::testing::Pair;"),
    ] {
        assert!(!caught(path, text), "{path}: {text}");
    }
}

#[test]
fn a_long_file_and_a_long_function_are_caught() {
    let lengths = |text: &str| rules::lengths(&Source::new("src/model/x.rs", text), 20, 5).len();
    let body = |lines: usize| "    g();\n".repeat(lines);
    assert_eq!(lengths(&format!("fn f() {{\n{}}}\n", body(3))), 0);
    assert_eq!(lengths(&format!("fn f<const N: usize>(a: [u8; N])\nwhere\n    A: B,\n{{\n{}}}\n", body(1))), 1);
    assert_eq!(lengths(&format!("trait T {{\n    fn f();\n{}}}\n", "    fn g(x: fn(u8) -> u8);\n".repeat(8))), 0);
    assert_eq!(lengths(&"// a line\n".repeat(21)), 1);
    let tested = format!("#[cfg(test)]\nmod tests {{\n    fn f() {{\n{}    }}\n}}\n", body(30));
    assert_eq!(lengths(&tested), 0, "tests may be long");
}

#[test]
fn a_ban_lifted_elsewhere_is_caught() {
    let caught = |path: &str, text: &str| !rules::lifted_bans(&Source::new(path, text)).is_empty();
    let top = "//! Doc.\n#![allow(clippy::disallowed_methods, reason = \"the shell\")]\n";
    assert!(!caught("src/node.rs", top));
    assert!(!caught("src/testing.rs", top));
    assert!(caught("src/store.rs", top), "another room");
    assert!(caught("src/node/dial.rs", top), "not the top of the room");
    assert!(caught("src/node.rs", "#![allow(clippy::disallowed_methods)]"), "without a reason");
    assert!(caught("src/node.rs", "#[expect(clippy::disallowed_methods, reason = \"x\")]\nfn f() {}"), "on an item");
    assert!(caught("src/node.rs", "#![allow(clippy::all, reason = \"x\")]"), "by the back door");
}

#[test]
fn the_world_named_in_a_pure_room_is_caught() {
    let caught = |text: &str| !rules::world(&Source::new("src/protocol/engine.rs", text)).is_empty();
    for text in ["use tokio::sync::mpsc;", "let t = std::time::Instant::now();", "use std::{fs, time::Duration};"] {
        assert!(caught(text), "{text}");
    }
    assert!(caught("async fn f() {}") && caught("let s = ::std::net::TcpStream::connect(a);"));
    assert!(!caught("use std::time::Duration; // tokio\nconst A: &str = \"async\";"));
}

#[test]
fn work_left_for_later_is_caught() {
    let caught = |text: &str| !rules::left_for_later(&Source::new("src/x.rs", text)).is_empty();
    for word in ["TO\u{44}O", "FIX\u{4d}E"] {
        assert!(caught(&format!("// {word}: later")) && !caught(&format!("const {word}S: u8 = 1;")));
    }
    for name in ["todo", "unimplemented"] {
        assert!(caught(&format!("fn f() {{ {name}!() }}")) && !caught(&format!("fn f() {{ g(\"{name}!\") }}")));
    }
}

#[test]
fn a_dead_link_is_caught() {
    let links = |text: &str| docs::links(text);
    assert_eq!(links("see [a](b.md) and [c](https://d) and `docs/E.md`\n```\n[x](y.md)\n```\n"), ["b.md", "docs/E.md"]);
    assert_eq!(docs::anchor("What holds: `the` lease, again"), "what-holds-the-lease-again");
}

/// Fails with everything that was found.
fn clean(found: impl IntoIterator<Item = String>) {
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sources below these folders; a folder's own file (`src/model.rs` for `src/model`) belongs to it. Whole test
/// files are marked as such by whoever declares them.
fn sources(folders: &[&str]) -> Vec<Source> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(root().join(path)).unwrap();
        Source::new(&path.to_string_lossy(), &text)
    };
    let all: Vec<Source> = files(folders, "rs").iter().map(read).collect();
    let tests: BTreeSet<String> = all.iter().flat_map(Source::test_files).collect();
    all.into_iter().filter(|source| !tests.contains(&source.path)).collect()
}

/// Paths below these folders, relative to the root; `"."` is the root itself without its folders.
fn files(folders: &[&str], extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in folders {
        walk(Path::new(folder), *folder != ".", extension, &mut found);
        let own = Path::new(folder).with_extension(extension);
        found.extend(root().join(&own).is_file().then_some(own));
    }
    found.sort();
    found
}

fn walk(folder: &Path, deep: bool, extension: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(root().join(folder)) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let name = PathBuf::from(entry.file_name());
        let path = if folder == Path::new(".") { name } else { folder.join(name) };
        match entry.file_type().unwrap() {
            kind if kind.is_dir() && deep => walk(&path, deep, extension, found),
            kind if kind.is_file() && path.extension().is_some_and(|e| e == extension) => found.push(path),
            _ => {}
        }
    }
}
