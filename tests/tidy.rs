//! What the compiler does not hold: who may import whom, that pure rooms are pure, that no files import each other in a
//! circle, how large files, functions and types may be, where a ban may be lifted, and what documents say of limits and
//! files. Sources are read with a parser; `tidy/planted.rs` shows that every rule is seen to be broken in every room.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/house.rs"]
mod house;
#[path = "tidy/known.rs"]
mod known;
#[path = "tidy/planted.rs"]
mod planted;
#[path = "tidy/reader.rs"]
mod reader;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/words.rs"]
mod words;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use house::House;
use rules::Finding;
use source::Source;

/// The crate.
static HOUSE: LazyLock<House> = LazyLock::new(|| House::new(read(&["src"])));
/// What stands beside it: only sizes and work left for later are judged there.
static BESIDE: LazyLock<Vec<Source>> = LazyLock::new(|| read(&["tests", "examples", "benches", "fuzz/fuzz_targets"]));

#[test]
fn every_file_keeps_every_rule() {
    let inside = HOUSE.code().flat_map(|source| rules::all(&HOUSE, source));
    let beside = BESIDE.iter().flat_map(|source| rules::all(&HOUSE, source));
    let undeclared = HOUSE.undeclared().into_iter().map(|source| Finding {
        rule: "layout",
        path: source.path.clone(),
        line: 1,
        what: "no file declares this module".into(),
    });
    let all: Vec<Finding> = inside.chain(beside).chain(undeclared).collect();
    let is_known = |finding: &Finding, known: &(&str, &str)| {
        finding.rule == "sizes" && finding.path == known.0 && finding.what.starts_with(known.1)
    };
    let new = all.iter().filter(|finding| !known::SIZES.iter().any(|known| is_known(finding, known)));
    let mut found: Vec<String> = new.map(Finding::to_string).collect();
    let gone = known::SIZES.iter().filter(|known| !all.iter().any(|finding| is_known(finding, known)));
    found.extend(gone.map(|(path, what)| format!("tests/tidy/known.rs: {path}: {what}: holds now, remove the entry")));
    clean(found);
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let circles = rules::circles(&HOUSE);
    let is_known = |files: &[String]| known::CIRCLES.iter().any(|known| *known == files);
    let mut found = Vec::new();
    for circle in circles.iter().filter(|circle| !is_known(&circle.files)) {
        found.push(format!("a circle: &{:?},", circle.files));
        for (from, line, to, name) in &circle.edges {
            found.push(format!("    {from}:{line}: to {to} by `{name}`"));
        }
    }
    let gone = known::CIRCLES.iter().filter(|known| !circles.iter().any(|circle| circle.files == **known));
    found.extend(gone.map(|files| format!("tests/tidy/known.rs: {files:?}: is no circle now, remove the entry")));
    clean(found);
}

#[test]
fn documents_point_at_what_is_there() {
    clean(docs::dead_links(root(), &files(&["docs", "."], "md")));
}

#[test]
fn documents_leave_nothing_for_later() {
    let of = |path: &PathBuf| {
        let lines = text(path).lines().map(rules::puts_off).collect::<Vec<_>>();
        let late = lines.into_iter().enumerate().filter(|(_, late)| *late);
        late.map(|(line, _)| format!("{}:{}: work left for later", path.display(), line + 1)).collect::<Vec<_>>()
    };
    clean(files(&["docs", "."], "md").iter().flat_map(of));
}

#[test]
fn documents_name_limits_by_their_values() {
    let known = docs::limits(&text(Path::new("src/model/limits.rs")));
    // What is computed here is what the compiler computes.
    assert_eq!(known["KEY_BYTES_MAX"], docs::Value::Count(shadowpair::limits::KEY_BYTES_MAX as u128));
    assert_eq!(known["CHANGE_SET_BYTES_MAX"], docs::Value::Count(shadowpair::limits::CHANGE_SET_BYTES_MAX as u128));
    assert_eq!(known["VALUE_CHUNKS_MAX"], docs::Value::Count(shadowpair::limits::VALUE_CHUNKS_MAX as u128));
    assert_eq!(known["TOKEN_LIFE_MAX"], docs::Value::Time(shadowpair::limits::TOKEN_LIFE_MAX.as_millis()));
    let mut found = Vec::new();
    for path in files(&["docs", "."], "md") {
        let (checked, wrong) = docs::wrong_limits(&path.to_string_lossy(), &text(&path), &known);
        found.extend(wrong);
        let states_limits = ["README.md", "docs/PROTOCOL.md"].iter().any(|name| path == Path::new(name));
        assert!(checked >= 3 || !states_limits, "{} states limits without their names", path.display());
    }
    clean(found);
}

#[test]
fn every_word_that_a_program_shows_is_explained_in_one_place() {
    let unexplained = |place: &words::WordList| {
        words::unexplained(place, &text(Path::new(place.source)), &text(Path::new(place.document)))
    };
    let mut found: Vec<String> = words::WORD_LISTS.iter().flat_map(unexplained).collect();
    // Whoever reads the manual finds each of them.
    let manual = text(Path::new("docs/OPERATIONS.md"));
    let away = words::WORD_LISTS.iter().map(|place| {
        let document = place.document.trim_start_matches("docs/").replace("OPERATIONS.md", "");
        format!("({document}#{})", docs::anchor(place.heading))
    });
    found.extend(away.filter(|link| !manual.contains(link)).map(|link| format!("docs/OPERATIONS.md: no link {link}")));
    clean(found);
}

#[test]
fn every_command_of_the_line_interface_is_given_by_a_test() {
    let commands = words::commands(&text(Path::new("docs/CLI.md")), "Commands");
    assert!(commands.len() > 30, "{commands:?}");
    let tests: String = files(&["tests/end_to_end", "tests/harness"], "rs").iter().map(|path| text(path)).collect();
    let is_given = |command: &String| ["\"", " ", "{"].iter().any(|end| tests.contains(&format!("\"{command}{end}")));
    clean(commands.iter().filter(|command| !is_given(command)).map(|command| format!("no test says `{command}`")));
}

/// Prints how many public methods show how they are called. That each says what it does is held by
/// `deny(missing_docs)`.
#[test]
fn public_methods_are_counted() {
    let exports = |source: &&Source| matches!(source.path.as_str(), "src/lib.rs" | "src/testing.rs");
    let names = HOUSE.code().filter(exports).flat_map(|source| &source.names);
    let shown = names.filter_map(|name| match &name.kind {
        source::Kind::Reexport(alias) => Some(alias.as_str()),
        _ => None,
    });
    let shown: BTreeSet<&str> = shown.collect();
    let methods = HOUSE.code().flat_map(|source| source.methods.iter().map(move |method| (source, method)));
    let methods: Vec<_> = methods.filter(|(_, method)| shown.contains(method.of.as_str())).collect();
    let without: Vec<_> = methods.iter().filter(|(_, method)| !method.example).collect();
    assert!(methods.len() > 50, "the public face was not found");
    println!("{} of {} public methods have an example; without:", methods.len() - without.len(), methods.len());
    for (source, method) in without {
        println!("    {}:{}: {}::{}", source.path, method.line, method.of, method.name);
    }
}

/// Fails with everything that was found.
fn clean(found: impl IntoIterator<Item = String>) {
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn read(folders: &[&str]) -> Vec<Source> {
    files(folders, "rs").iter().map(|path| Source::new(&path.to_string_lossy(), &text(path))).collect()
}

/// Paths below these folders, relative to the root, in order; `"."` is the root itself without its folders.
fn files(folders: &[&str], extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in folders {
        walk(Path::new(folder), *folder != ".", extension, &mut found);
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
