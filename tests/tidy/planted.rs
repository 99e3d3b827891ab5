//! The rules are shown to see: every rule is broken on purpose in every room that it holds for, in every place where a
//! weaker reader would miss it, and each time exactly that must be reported, with its line.

use std::fmt::Write as _;

use super::house::House;
use super::rules::{self, Finding, PURE, TABLE, UNBANNED};
use super::source::Source;
use super::{BESIDE, HOUSE};

/// Where a violation is put. `@` stands for it, as an item. What stands before it once hid what came after.
const PLACES: &[(&str, &str)] = &[
    ("plainly", "@"),
    ("behind a test-only field", "pub struct Zz1 {\n    #[cfg(test)]\n    zz: u8,\n}\n@"),
    ("behind a test-only variant", "pub enum Zz2 {\n    #[cfg(test)]\n    Zz(u8),\n    Zy,\n}\n@"),
    ("behind a test-only value", "fn zz3() -> Zz {\n    Zz {\n        #[cfg(test)]\n        zz: None,\n    }\n}\n@"),
    ("behind test-only statements", "fn zz4() {\n    #[cfg(test)]\n    zz();\n    #[cfg(test)]\n    { zz() }\n}\n@"),
    ("behind tests", "#[cfg(test)]\nmod zz5 {\n    fn zz() {}\n}\n@"),
    ("behind a test file", "#[cfg(test)]\nmod zz6;\n@"),
    ("for a feature that tests have too", "#[cfg(any(test, feature = \"testing\"))]\n@"),
    ("outside tests only", "#[cfg(not(test))]\n@"),
    ("in a nested module", "mod zz7 {\n    mod zz8 {\n@\n    }\n}"),
    ("in a function", "fn zz9() {\n@\n}"),
    ("in a method behind a test-only one", "impl Zz {\n    #[cfg(test)]\n    fn zz() {}\n    fn zy() {\n@\n    }\n}"),
];
/// Where the same text breaks nothing.
const TEST_PLACES: &[(&str, &str)] = &[
    ("in tests", "#[cfg(test)]\nmod zz1 {\n@\n}"),
    ("in tests of one platform", "#[cfg(all(test, unix))]\nmod zz2 {\n@\n}"),
    ("in a test-only method", "impl Zz {\n    #[cfg(test)]\n    fn zz() {\n@\n    }\n}"),
    ("in a test", "#[test]\nfn zz3() {\n@\n}"),
    ("in a comment and a text", "// @\nconst ZZ: &str = r#\"@\"#;"),
];

/// Nothing that stands in a real file hides what follows it.
#[test]
fn the_end_of_every_file_is_seen() {
    let fields = (0..16).fold(String::new(), |text, i| text + &format!("zz{i}: u8, "));
    for source in HOUSE.code() {
        let seen = found(source, &format!("mod zz {{\n    struct Zz {{ {fields} }}\n    fn zz() {{ todo!() }}\n}}"));
        let rules: Vec<&str> = seen.iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, ["later", "sizes"], "{}", source.path);
    }
}

/// A real file of each room: a short one, because it is parsed anew for every planted line.
fn rooms() -> Vec<(&'static str, &'static Source)> {
    let of = |room: &str| {
        let files = HOUSE.code().filter(|source| rules::room(&source.module()) == room);
        files.min_by_key(|source| source.text.len())
    };
    TABLE.iter().filter_map(|(room, _)| Some((*room, of(room)?))).collect()
}

fn is_pure(room: &str) -> bool {
    PURE.iter().any(|pure| room == *pure || room.starts_with(&format!("{pure}::")))
}

/// What is found in a real file with this text behind it, beyond what is found in the file itself.
fn found(source: &Source, planted: &str) -> Vec<Finding> {
    let mut changed = Source::new(&source.path, &format!("{}\n{planted}\n", source.text));
    // The length of the real file is no matter here.
    changed.lines = 0;
    let before = source.text.lines().count();
    rules::all(&HOUSE, &changed).into_iter().filter(|finding| finding.line > before).collect()
}

/// Plants a violation in every place of a file and requires the rule to report it on its line and nowhere else.
fn must_be_seen(room: &str, source: &Source, rule: &str, violation: &str) {
    assert_eq!(violation.lines().count(), 1, "a violation has one line");
    for (place, text) in PLACES {
        let planted = text.replace('@', violation);
        let line = source.text.lines().count() + 2 + text[..text.find('@').unwrap()].matches('\n').count();
        let found = found(source, &planted);
        let seen = !found.is_empty() && found.iter().all(|finding| finding.rule == rule && finding.line == line);
        assert!(seen, "{room}, {place}, line {line}: `{violation}` breaks {rule}; found {found:?}");
    }
    for (place, text) in TEST_PLACES {
        let found = found(source, &text.replace('@', violation));
        assert!(found.is_empty(), "{room}, {place}: `{violation}` breaks nothing; found {found:?}");
    }
}

#[test]
fn an_import_against_the_table_is_seen_in_every_room() {
    for (room, source) in rooms().into_iter().filter(|(room, _)| *room != "campaign") {
        // Nobody imports these two; a room that may import the first is given the second.
        let target = if room == "testing" { "campaign" } else { "testing" };
        for violation in [
            format!("use crate::{target}::Zz;"),
            format!("use crate::{{{target}::Zz as Zy}};"),
            format!("use crate::{target}::*;"),
            format!("const ZZ: u8 = <crate::{target}::Zz as Clone>::ZZ;"),
            format!("const ZZ: u8 = zz!(a, crate::{target}::Zz);"),
            format!("macro_rules! zz {{ () => {{ use $crate::{{{target}::Zz}}; }}; }}"),
            format!("type Zz = Vec<Option<crate::{target}::Zz>>;"),
        ] {
            must_be_seen(room, source, "imports", &violation);
        }
        let depth = source.module().len();
        let up = "super::".repeat(depth);
        let planted = format!("use {up}{target}::Zz;\nmod zz {{\n    use super::{up}{target}::Zz;\n}}\n");
        assert_eq!(found(source, &planted).len(), 2, "{room}: by `super`");
        // `crate` by another name is found where it is imported.
        assert!(!found(source, "use crate as zz;").is_empty(), "{room}: the whole crate");
    }
}

#[test]
fn rows_of_the_table_hold() {
    let imports = |path: &str, text: &str| {
        let house = House::new(vec![Source::new(path, text)]);
        rules::imports(&house, &house.sources[0]).len()
    };
    for (path, text) in [
        ("src/model/key.rs", "use crate::store::Store;"),
        ("src/protocol/wire/codec.rs", "use crate::{\n  model::Key,\n  protocol::{alerts::Alert},\n};"),
        ("src/protocol/failover/role.rs", "use super::super::replication::Sink;"),
        ("src/protocol/replication.rs", "fn f() { let x: crate::protocol::failover::Role = g(); }"),
        ("src/store/log.rs", "use crate::identity::Pins;"),
        ("src/store/log.rs", "use crate::protocol::replication::Source;"),
        ("src/store/log.rs", "use crate::protocol::*;"),
        ("src/store/log.rs", "use crate::protocol::engine::{self as engine};\nfn f() { super::super::node::f() }"),
        ("src/store/log.rs", "use crate::{self as all};"),
        ("src/store.rs", "use crate::Key;"),
        ("src/store.rs", "fn f() { use super::identity::Pins; }"),
        ("src/node/drive.rs", "mod inner { use super::super::super::testing::Sim; }"),
        ("src/admin/page.rs", "use crate::{store, node::Node};"),
        ("src/cellar/a.rs", "fn a() {}"),
    ] {
        assert_eq!(imports(path, text), 1, "{path}: {text}");
    }
    let alias = "use crate::protocol;\nfn f() -> protocol::failover::Role {}";
    assert_eq!(imports("src/store/log.rs", alias), 2, "the alias, and what is reached through it");
    for (path, text) in [
        ("src/model/key.rs", "pub(crate) struct Key; // crate::store\nuse super::limits::KIB;"),
        ("src/protocol/engine/master.rs", "use crate::{model::Key, protocol::{wire::Role, replication::Source}};"),
        ("src/store/log.rs", "use crate::protocol::engine::DurableState; use crate::store::disk::Disk;"),
        ("src/store/log.rs", "#[cfg(test)]\nmod tests { use crate::testing::Sim; use crate::Key; }"),
        ("src/node/drive.rs", "mod inner { use super::super::Node; }\nconst A: &str = \"crate::testing::x\";"),
        ("src/campaign/judge.rs", "use crate::{testing::Pair, node::Node, store::Store};"),
        ("src/lib.rs", "pub use crate::testing::Pair;"),
    ] {
        assert_eq!(imports(path, text), 0, "{path}: {text}");
    }
}

#[test]
fn the_world_is_seen_in_every_pure_room() {
    let pure: Vec<_> = rooms().into_iter().filter(|(room, _)| is_pure(room)).collect();
    assert!(pure.len() >= 6, "pure rooms were not found");
    for (room, source) in pure {
        for violation in [
            "use tokio::sync::mpsc;",
            "use std::time::Instant;",
            "use std::{fs, time::Duration};",
            "use std::sync::{Arc, atomic};",
            "use std as zz;",
            "static ZZ: std::sync::OnceLock<u8> = std::sync::OnceLock::new();",
            "const ZZ: u8 = zz!(std::time::SystemTime::now());",
            "const ZZ: u8 = zz!(move || { std::net::zz() });",
            "type Zz = std::collections::HashMap<u8, u8>;",
            "async fn zy() {}",
            "fn zy() { zz!(async { 1 }) }",
            "fn zy() { drop(async || {}) }",
            "fn zy() { getrandom::fill(&mut []) }",
        ] {
            must_be_seen(room, source, "purity", violation);
        }
        assert!(found(source, "use std::{sync::Arc, time::Duration, collections::BTreeMap, fmt};").is_empty());
    }
}

#[test]
fn a_lifted_ban_and_the_encoder_are_seen_in_every_room() {
    for (room, source) in rooms() {
        must_be_seen(room, source, "bans", "#[allow(clippy::disallowed_methods, reason = \"x\")] fn zy() {}");
        must_be_seen(room, source, "bans", "#[cfg_attr(unix, expect(clippy::disallowed_types))] fn zy() {}");
        must_be_seen(room, source, "bans", "#[allow(clippy::all)] fn zy() {}");
        must_be_seen(
            room,
            source,
            "bans",
            "fn zx() { zz! { #[allow(clippy::disallowed_methods, reason = \"x\")] fn zy() {} } }",
        );
        if source.path != "src/protocol/wire/codec.rs" {
            must_be_seen(room, source, "encoder", "fn zy() { zz!(bincode::encode()) }");
        }
    }
    let caught = |path: &str, text: &str| !rules::lifted_bans(&Source::new(path, text)).is_empty();
    let top = "//! Doc.\n#![allow(\n    clippy::disallowed_methods,\n    reason = \"the shell\"\n)]\n";
    for room in UNBANNED {
        assert!(!caught(&format!("src/{room}.rs"), top));
        assert!(caught(&format!("src/{room}/dial.rs"), top), "not the top of the room");
    }
    assert!(caught("src/store.rs", top), "another room");
    assert!(caught("src/node.rs", "#![allow(clippy::disallowed_methods)]"), "without a reason");
    assert!(caught("src/node.rs", "#![allow(clippy::style, reason = \"x\")]"), "by the back door");
}

#[test]
fn what_is_too_large_is_seen_in_every_room() {
    let fields = |count: usize| (0..count).fold(String::new(), |text, i| text + &format!("zz{i}: u8, "));
    let lines = |count: usize| "zz();\n".repeat(count);
    for (room, source) in rooms() {
        must_be_seen(room, source, "sizes", &format!("struct Zy {{ {} }}", fields(16)));
        must_be_seen(room, source, "sizes", &format!("enum Zy {{ Zz {{ {} }} }}", fields(16)));
        must_be_seen(room, source, "sizes", &format!("struct Zy({});", "u8, ".repeat(16)));
        assert!(found(source, &format!("struct Zy {{ {} }}", fields(15))).is_empty(), "{room}: 15 fields");
        let tested = format!("struct Zy {{ {} #[cfg(test)] zy: u8 }}", fields(15));
        assert!(found(source, &tested).is_empty(), "{room}: 15 fields and one for tests");
        for (place, text) in PLACES {
            let planted = text.replace('@', &format!("fn zy() {{\n{}}}", lines(69)));
            let found = found(source, &planted);
            assert!(
                found.iter().any(|finding| finding.what.contains("`zy` has 71 lines")),
                "{room}, {place}: {found:?}"
            );
        }
        let method = format!("impl Zz {{\n    #[cfg(test)]\n    fn a() {{}}\n    fn zy() {{\n{}}}\n}}", lines(69));
        assert_eq!(found(source, &method).len(), 1, "{room}: a method");
        assert!(found(source, &format!("fn zy() {{\n{}}}", lines(68))).is_empty(), "{room}: 70 lines");
    }
}

#[test]
fn a_long_file_is_measured_without_its_tests() {
    let lines = |text: &str| Source::new("src/model/x.rs", text).lines;
    assert_eq!(lines("//! A.\n\n/// B.\nfn b() {}\n"), 4);
    let tests = "#[cfg(test)]\nmod tests {\n    fn f() {}\n}\n";
    assert_eq!(lines(&format!("{tests}fn a() {{}}\n/// B.\nfn b() {{}}\n")), 3, "what stands behind tests counts");
    assert_eq!(lines("struct A {\n    a: u8,\n    /// For tests.\n    #[cfg(test)]\n    b: u8,\n}\n"), 3);
    let long = format!("#[cfg(test)]\nmod tests {{}}\n{}", "// a line\n".repeat(501));
    let findings = rules::sizes(&Source::new("src/model/x.rs", &long));
    assert_eq!(findings.len(), 1);
    assert!(rules::sizes(&Source::new("src/model/x.rs", &long[..long.len() - 10])).is_empty());
}

#[test]
fn work_left_for_later_is_seen_everywhere() {
    let word = "TO\u{44}O";
    let beside = BESIDE.iter().take(1).map(|source| ("beside", source));
    for (room, source) in rooms().into_iter().chain(beside) {
        for name in ["todo", "unimplemented"] {
            let planted = format!("fn zy() {{ {name}!() }}");
            assert_eq!(found(source, &planted).len(), 1, "{room}");
        }
        for comment in
            [format!("// {word}: later"), "/* FIX\u{4d}E */".to_string(), format!("/// XX\u{58} {word}\nfn zy() {{}}")]
        {
            assert_eq!(found(source, &comment).len(), 1, "{room}: {comment}");
        }
        assert!(found(source, &format!("const {word}S: u8 = 1;\nconst A: &str = \"todo!\";")).is_empty(), "{room}");
    }
}

#[test]
fn a_circle_is_seen_in_every_room() {
    let mut sources = HOUSE.sources.clone();
    let before = rules::circles(&HOUSE).len();
    let mut planted = 0;
    for (room, _) in TABLE {
        let folder = room.replace("::", "/");
        let mut plant = |name: &str, text: &str| sources.push(Source::new(&format!("src/{folder}/{name}.rs"), text));
        // By name; through a re-export; a child and its parent; by a path in a macro, behind a test-only field.
        plant("zz1", "use super::zz2::B;\npub struct A(B);");
        plant("zz2", "pub struct B;\nfn b() { super::zz1::A::new() }");
        plant("zz3", "mod zz4;\npub use zz4::D;\npub use super::zz5::E;\npub struct F;\nstruct C(D);");
        plant("zz3/zz4", "pub struct D;\nfn d(f: super::F) {}");
        plant("zz5", "pub struct E;\nfn e() { super::zz6::g() }");
        plant(
            "zz6",
            "pub fn g() {}\nstruct H {\n    #[cfg(test)]\n    a: u8,\n}\nimpl H {\n    fn h() { zz!(super::zz3::E) }\n}",
        );
        planted += 3;
    }
    let circles = rules::circles(&House::new(sources));
    assert_eq!(circles.len(), before + planted);
    for (room, _) in TABLE {
        let folder = room.replace("::", "/");
        for names in [["zz1", "zz2"], ["zz3", "zz3/zz4"], ["zz5", "zz6"]] {
            let files = names.map(|name| format!("src/{folder}/{name}.rs"));
            let circle = circles.iter().find(|circle| circle.files == files);
            assert!(circle.is_some_and(|circle| circle.edges.len() == 2), "{files:?}");
        }
    }
}

#[test]
fn a_facade_and_its_tests_make_no_circle() {
    let facade = "mod a;\nmod b;\npub use a::A;\npub use b::*;\n#[cfg(test)]\nmod tests { use super::A; }";
    let sources = vec![
        Source::new("src/store.rs", facade),
        Source::new("src/store/a.rs", "use super::B;\npub struct A(B);\n#[cfg(test)]\nmod tests { use super::A; }"),
        Source::new("src/store/b.rs", "pub struct B;\n#[cfg(test)]\nmod tests;"),
        Source::new("src/store/b/tests.rs", "use crate::store::{A, B};\nuse super::B;"),
    ];
    assert!(rules::circles(&House::new(sources)).is_empty());
}

#[test]
fn a_module_that_hides_is_seen() {
    for hidden in ["#[path = \"x.rs\"]\nmod x;", "include!(\"x.rs\");", "extern crate self as zz;"] {
        for (room, source) in rooms() {
            assert!(found(source, hidden).iter().any(|finding| finding.rule == "layout"), "{room}: {hidden}");
        }
    }
    let house =
        House::new(vec![Source::new("src/lib.rs", "mod a;"), Source::new("src/a.rs", ""), Source::new("src/b.rs", "")]);
    assert_eq!(house.undeclared().iter().map(|source| &source.path[..]).collect::<Vec<_>>(), ["src/b.rs"]);
}

#[test]
fn a_test_file_and_what_is_below_it_are_test_code() {
    let text = "use crate::testing::Zz;";
    let house = House::new(vec![
        Source::new(
            "src/lib.rs",
            "mod store;\n#[cfg(test)]\nmod campaign;\n#[cfg(any(test, feature = \"x\"))]\nmod testing;",
        ),
        Source::new("src/store.rs", "#[cfg(test)]\nmod tests;\nmod log;"),
        Source::new("src/store/tests.rs", "mod crash;"),
        Source::new("src/store/tests/crash.rs", text),
        Source::new("src/store/log.rs", text),
        Source::new("src/campaign.rs", "mod judge;"),
        Source::new("src/campaign/judge.rs", "mod tests;"),
        Source::new("src/campaign/judge/tests.rs", ""),
        Source::new("src/testing.rs", ""),
    ]);
    let tests: Vec<&str> =
        house.sources.iter().filter(|source| source.is_test).map(|source| &source.path[..]).collect();
    assert_eq!(tests, ["src/store/tests.rs", "src/store/tests/crash.rs", "src/campaign/judge/tests.rs"]);
}

#[test]
fn a_dead_link_and_a_wrong_limit_are_seen() {
    let text = "see [a](b.md) and [c](https://d), `docs/E.md`, `src/{f,g}.rs`\n```\n[x](y.md) `src/z.rs`\n```\n";
    assert_eq!(super::docs::links(text), ["b.md", "docs/E.md", "src/f.rs", "src/g.rs"]);
    assert_eq!(super::docs::anchor("What holds: `the` lease, again"), "what-holds-the-lease-again");

    let mut source = String::new();
    for line in
        ["A_MAX: usize = 2 * 1024", "B_MAX: u64 = (A_MAX as u64 + 2) / 2", "C_TIME: Duration = Duration::from_secs(3)"]
    {
        writeln!(source, "pub const {line};").unwrap();
    }
    let known = super::docs::limits(&source);
    let wrong = |text: &str| super::docs::wrong_limits("X.md", text, &known);
    let right = "`A_MAX` (2 KiB), `B_MAX` (1,025) `C_TIME` (3 s; more) and `C_TIME` (3,000 ms) | `A_MAX` (of records)";
    assert_eq!(wrong(right), (4, Vec::new()));
    for text in ["`A_MAX` (2 MiB)", "`A_MAX` (2 s)", "x `B_MAX` (1,026)", "`D_MAX` (1)", "`C_TIME` (3)"] {
        assert_eq!(wrong(text).1.len(), 1, "{text}");
    }
}
