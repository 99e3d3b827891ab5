//! The rules about sources. Each returns what breaks it.

use std::fmt;

use super::house::House;
use super::source::{Kind, Source};

/// What breaks a rule, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub rule: &'static str,
    pub path: String,
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.what)
    }
}

fn finding(rule: &'static str, source: &Source, line: usize, what: impl Into<String>) -> Finding {
    Finding { rule, path: source.path.clone(), line, what: what.into() }
}

/// The import table of `docs/ARCHITECTURE.md`: a room and the rooms that it may import. A room may always import itself.
/// `protocol` alone stands for `src/protocol.rs`, which declares its rooms.
pub const TABLE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("protocol", &["protocol"]),
    ("protocol::wire", &["model"]),
    ("protocol::replication", &["model", "protocol::wire"]),
    ("protocol::failover", &["model", "protocol::wire"]),
    ("protocol::alerts", &["model", "protocol::wire"]),
    ("protocol::engine", &["model", "protocol"]),
    ("store", TYPES),
    ("identity", TYPES),
    ("witness", TYPES),
    ("node", SHELL),
    ("admin", &["model", "node"]),
    ("mirror", &["model", "node"]),
    ("testing", &["model", "protocol", "store", "identity", "witness", "node"]),
    ("campaign", &["model", "protocol", "store", "identity", "witness", "node", "admin", "mirror", "testing"]),
    ("fuzzing", SHELL),
];
/// The nouns, and the protocol's types.
const TYPES: &[&str] = &["model", "protocol::engine", "protocol::wire", "protocol::alerts"];
const SHELL: &[&str] = &["model", "protocol", "store", "identity", "witness"];

/// Rooms without clocks, sockets, files, tasks, locks, randomness and `async`.
pub const PURE: &[&str] = &["model", "protocol"];
/// Names that reach for the world. `HashMap` and `HashSet` draw the order of their entries at random.
const WORLD: &[&str] = &[
    "async",
    "await",
    "getrandom",
    "redb",
    "rustix",
    "rustls",
    "tokio",
    "tokio_rustls",
    "tracing",
    "Instant",
    "SystemTime",
    "Mutex",
    "RwLock",
    "Condvar",
    "OnceLock",
    "LazyLock",
    "OnceCell",
    "thread_local",
    "HashMap",
    "HashSet",
    "RandomState",
    "println",
    "eprintln",
    "print",
    "eprint",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
];
/// Modules of `std` that reach for the world.
const STD_WORLD: &[&str] = &["env", "fs", "io", "net", "os", "process", "sync", "thread"];

/// Rooms that may use clocks, randomness, sleeping and spawning.
pub const UNBANNED: &[&str] = &["node", "identity", "witness", "testing", "campaign"];

/// Most fields of a struct or a variant.
pub const FIELDS_MAX: usize = 15;
/// Longest function, in lines from `fn` to its last brace.
pub const FUNCTION_LINES_MAX: usize = 70;
/// Longest file, in lines without its tests.
pub const FILE_LINES_MAX: usize = 500;

/// The room that a path leads into.
pub fn room(path: &[String]) -> String {
    match path {
        [first, second, ..] if first == "protocol" => format!("{first}::{second}"),
        [first, ..] => first.clone(),
        [] => String::new(),
    }
}

/// Every rule that looks at one file at a time.
pub fn all(house: &House, source: &Source) -> Vec<Finding> {
    let mut found = left_for_later(source);
    found.extend(sizes(source));
    found.extend(layout(source));
    if source.path.starts_with("src/") {
        found.extend(imports(house, source));
        found.extend(encoder(source));
        found.extend(lifted_bans(source));
        found.extend(purity(source));
    }
    found
}

/// Imports that the table does not allow.
pub fn imports(house: &House, source: &Source) -> Vec<Finding> {
    let own = room(&source.module());
    if own.is_empty() {
        return Vec::new();
    }
    let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == own) else {
        return vec![finding("imports", source, 1, format!("`{own}` is a room without a row in the import table"))];
    };
    let within = |to: &str, room: &str| to == room || to.strip_prefix(room).is_some_and(|r| r.starts_with("::"));
    let mut found = Vec::new();
    for name in &source.names {
        let Some(path) = house.absolute(source, name) else { continue };
        let to = room(&path);
        if to != own && !allowed.iter().any(|room| within(&to, room)) {
            let what = format!("`{own}` must not import `crate::{}`", path.join("::"));
            found.push(finding("imports", source, name.line, what));
        }
    }
    found
}

/// Names of the world in a pure room.
pub fn purity(source: &Source) -> Vec<Finding> {
    if !source.module().first().is_some_and(|room| PURE.contains(&room.as_str())) {
        return Vec::new();
    }
    let is_world = |name: &str| WORLD.contains(&name) || name.starts_with("Atomic");
    let idents = source.idents.iter().filter(|(name, _)| is_world(name));
    let mut found: Vec<Finding> =
        idents.map(|(name, line)| finding("purity", source, *line, format!("`{name}` in a pure room"))).collect();
    for name in &source.names {
        let mut path = name.path.iter().map(String::as_str);
        let allowed = match (path.next(), path.next(), path.next()) {
            (Some("std" | "core" | "alloc"), Some("sync"), Some("Arc")) => true,
            (Some("std" | "core" | "alloc"), Some(module), _) => !STD_WORLD.contains(&module),
            (Some("std" | "core" | "alloc"), None, _) => false,
            _ => true,
        };
        if !allowed {
            found.push(finding("purity", source, name.line, format!("`{}` in a pure room", name.path.join("::"))));
        }
    }
    found
}

/// One file knows the encoder.
pub fn encoder(source: &Source) -> Vec<Finding> {
    if source.path == "src/protocol/wire/codec.rs" {
        return Vec::new();
    }
    let uses = source.idents.iter().filter(|(name, _)| name == "bincode");
    let what = "only `src/protocol/wire/codec.rs` may name `bincode`";
    uses.map(|(_, line)| finding("encoder", source, *line, what)).collect()
}

/// A ban of `clippy.toml` lifted where it must not be.
pub fn lifted_bans(source: &Source) -> Vec<Finding> {
    let own = UNBANNED.iter().any(|room| source.path == format!("src/{room}.rs"));
    let mut found = Vec::new();
    for lift in &source.lifts {
        let has = |words: &[&str]| lift.words.iter().any(|word| words.contains(&word.as_str()));
        let whole_group = has(&["style", "all", "warnings"]);
        let banned = has(&["disallowed_methods", "disallowed_types", "disallowed_macros"]);
        if whole_group || banned && !(own && lift.top && has(&["reason"])) {
            let what = "a ban is lifted once, at the top of a room's own file, with a reason, and not in this room";
            found.push(finding("bans", source, lift.line, what));
        }
    }
    let in_macros = source.idents.iter().filter(|(name, line)| {
        name.starts_with("disallowed_") && !source.lifts.iter().any(|lift| (lift.line..=lift.last).contains(line))
    });
    found.extend(in_macros.map(|(_, line)| finding("bans", source, *line, "a ban is lifted inside a macro")));
    found
}

/// Functions, types and files that are too large.
pub fn sizes(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for function in source.functions.iter().filter(|function| function.size > FUNCTION_LINES_MAX) {
        let what = format!("function `{}` has {} lines, at most {FUNCTION_LINES_MAX}", function.name, function.size);
        found.push(finding("sizes", source, function.line, what));
    }
    for fields in source.types.iter().filter(|fields| fields.size > FIELDS_MAX) {
        let what = format!("`{}` has {} fields, at most {FIELDS_MAX}", fields.name, fields.size);
        found.push(finding("sizes", source, fields.line, what));
    }
    if source.lines > FILE_LINES_MAX {
        let what = format!("{} lines without tests, at most {FILE_LINES_MAX}", source.lines);
        found.push(finding("sizes", source, 1, what));
    }
    found
}

/// What would make a module's path differ from its file's path, so that other rules could not follow it.
pub fn layout(source: &Source) -> Vec<Finding> {
    let moved = source.misplaced.iter().filter(|_| source.path.starts_with("src/"));
    moved
        .map(|(what, line)| finding("layout", source, *line, format!("`{what}` hides where a module stands")))
        .collect()
}

/// Macros and words that put work off.
pub fn left_for_later(source: &Source) -> Vec<Finding> {
    let macros = source.macros.iter().filter(|(name, _)| matches!(name.as_str(), "todo" | "unimplemented"));
    let mut found: Vec<Finding> =
        macros.map(|(name, line)| finding("later", source, *line, format!("`{name}!`"))).collect();
    for (number, line) in source.text.lines().enumerate() {
        if puts_off(line) {
            found.push(finding("later", source, number + 1, "work left for later"));
        }
    }
    found
}

/// Whether a line has one of the words that mark unfinished work.
pub fn puts_off(line: &str) -> bool {
    let words = ["TO\u{44}O", "FIX\u{4d}E", "XX\u{58}"];
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| words.contains(&word))
}

/// Groups of files that import each other, with the edges between them.
pub struct Circle {
    pub files: Vec<String>,
    /// From a file and line to a file, by a path; one for each two files.
    pub edges: Vec<(String, usize, String, String)>,
}

/// Every circle of files. A path in code is an edge to the file that defines what it names, also through re-exports; a
/// private `use` is one too. `mod child;` and a re-export are none: a facade does not depend on what it shows.
pub fn circles(house: &House) -> Vec<Circle> {
    let count = house.sources.len();
    let mut edges: Vec<Vec<(usize, usize, String)>> = vec![Vec::new(); count];
    for (from, source) in house.sources.iter().enumerate().filter(|(_, source)| !source.is_test) {
        let imports = source.names.iter().filter(|name| matches!(name.kind, Kind::Path | Kind::Use(_)));
        for name in imports {
            let to = house.file_of(source, name).filter(|to| *to != from);
            // The first of several between two files tells enough.
            let new = to.filter(|to| !edges[from].iter().any(|(known, ..)| known == to));
            edges[from].extend(new.map(|to| (to, name.line, name.path.join("::"))));
        }
    }
    let reach: Vec<Vec<bool>> = (0..count).map(|from| reachable(&edges, from)).collect();
    let mut found = Vec::new();
    for (first, reached) in reach.iter().enumerate() {
        let members: Vec<usize> = (0..count).filter(|other| reached[*other] && reach[*other][first]).collect();
        if members.len() < 2 || members[0] != first {
            continue;
        }
        let path = |file: usize| house.sources[file].path.clone();
        let inner = members.iter().flat_map(|from| edges[*from].iter().map(|edge| (*from, edge)));
        let inner = inner.filter(|(_, (to, ..))| members.contains(to));
        let edges = inner.map(|(from, (to, line, name))| (path(from), *line, path(*to), name.clone())).collect();
        found.push(Circle { files: members.iter().map(|member| path(*member)).collect(), edges });
    }
    found
}

fn reachable(edges: &[Vec<(usize, usize, String)>], from: usize) -> Vec<bool> {
    let mut seen = vec![false; edges.len()];
    let mut next = vec![from];
    while let Some(at) = next.pop() {
        for (to, ..) in &edges[at] {
            if !std::mem::replace(&mut seen[*to], true) {
                next.push(*to);
            }
        }
    }
    seen
}
