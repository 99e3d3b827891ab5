//! The rules. Each takes one file and returns what breaks it, as `path:line: what`.

use super::lexer::{Token, tokens};

/// The import table of `docs/ARCHITECTURE.md`: a room and the rooms it may import. A room may always import itself.
/// What is not in the table (`lib.rs`) may import everything.
const TABLE: &[(&str, &[&str])] = &[
    ("model", &[]),
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
    ("campaign", &["model", "protocol", "store", "witness"]),
    ("testing", &["model", "protocol", "store", "identity", "witness", "node"]),
];
/// The nouns, and the protocol's types.
const TYPES: &[&str] = &["model", "protocol::engine", "protocol::wire", "protocol::alerts"];
const SHELL: &[&str] = &["model", "protocol", "store", "identity", "witness"];
/// Where clocks, randomness, sleeping and spawning are allowed.
const UNBANNED: &[&str] = &["node", "identity", "witness", "testing"];
/// What reaches for the world, as far as a name tells.
const WORLD: &[&str] =
    &["async", "await", "getrandom", "redb", "rustix", "rustls", "tokio", "tokio_rustls", "Instant", "SystemTime"];
const STD_WORLD: &[&str] = &["env", "fs", "net", "process", "thread", "sync"];

/// One file, without its tests.
pub struct Source {
    /// Relative to the root.
    pub path: String,
    text: String,
    tokens: Vec<Token>,
    /// Lines before the first test module.
    lines: usize,
    test_files: Vec<String>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let lines = text.lines().count();
        let mut source =
            Self { path: path.into(), text: text.into(), tokens: Vec::new(), lines, test_files: Vec::new() };
        if !source.is_test_file() {
            source.tokens = tokens(text);
            source.cut_tests();
        } else {
            (source.text, source.lines) = (String::new(), 0);
        }
        source
    }

    /// Whether it names this, outside of comments, texts and tests.
    pub fn names(&self, name: &str) -> bool {
        self.tokens.iter().any(|token| token.text == name)
    }

    /// Files that this one declares as tests.
    pub fn test_files(&self) -> Vec<String> {
        self.test_files.clone()
    }

    fn is_test_file(&self) -> bool {
        self.path.starts_with("src/") && self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }

    /// Takes everything out that is compiled for tests only.
    fn cut_tests(&mut self) {
        let mut at = 0;
        while at < self.tokens.len() {
            if !self.is_test_attribute(at) {
                at += 1;
                continue;
            }
            let mut end = at;
            while end < self.tokens.len() && !matches!(self.text_at(end), "{" | ";") {
                end += 1;
            }
            if self.text_at(end) == ";" && end > 1 && self.text_at(end - 2) == "mod" {
                let name = self.text_at(end - 1).to_owned();
                let folder = self.path.trim_end_matches(".rs").trim_end_matches("/mod").to_owned();
                let folder = folder.strip_suffix("/lib").unwrap_or(&folder).to_owned();
                self.test_files.extend([format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")]);
            }
            if self.text_at(end) == "{" {
                self.lines = self.lines.min(self.tokens[at].line - 1);
                end = self.closing(end);
            }
            self.tokens.drain(at..(end + 1).min(self.tokens.len()));
        }
    }

    /// `#[cfg(test)]`, or `#[cfg(all(test, ...))]`.
    fn is_test_attribute(&self, at: usize) -> bool {
        let starts = |words: &[&str]| words.iter().enumerate().all(|(i, word)| self.text_at(at + i) == *word);
        starts(&["#", "[", "cfg", "(", "test"]) || starts(&["#", "[", "cfg", "(", "all", "(", "test"])
    }

    fn text_at(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.text)
    }

    /// The index of the sign that closes the one at `open`.
    fn closing(&self, open: usize) -> usize {
        let mut depth = 0usize;
        for (i, token) in self.tokens.iter().enumerate().skip(open) {
            match token.text.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return i;
            }
        }
        self.tokens.len()
    }

    /// Its module, as names from the crate's root.
    fn module(&self) -> Vec<String> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/').filter(|part| !matches!(*part, "lib" | "mod")).map(String::from).collect()
    }

    fn at(&self, token: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, self.tokens[token].line)
    }
}

/// The room a path leads into; `protocol` alone is none of its rooms.
fn room(path: &[String]) -> String {
    match path {
        [first, second, ..] if first == "protocol" => format!("{first}::{second}"),
        [first, ..] => first.clone(),
        [] => String::new(),
    }
}

/// Imports that the table does not allow.
pub fn imports(source: &Source) -> Vec<String> {
    let own = room(&source.module());
    let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == own) else { return Vec::new() };
    let fits = |to: &str, allowed: &str| to == allowed || to.strip_prefix(allowed).is_some_and(|r| r.starts_with("::"));
    let mut found = Vec::new();
    for (token, path) in paths(source) {
        let to = room(&path);
        if to != own && !allowed.iter().any(|allowed| fits(&to, allowed)) {
            found.push(source.at(token, &format!("`{own}` must not import `{}`", path.join("::"))));
        }
    }
    found
}

/// Every path of ours, resolved to the crate's root, with the token where it begins.
fn paths(source: &Source) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    // Inline modules around the token: the index of the brace that ends each.
    let mut inside: Vec<(usize, String)> = Vec::new();
    let mut at = 0;
    while at < source.tokens.len() {
        inside.retain(|(end, _)| *end > at);
        if source.text_at(at) == "mod" && source.text_at(at + 2) == "{" {
            inside.push((source.closing(at + 2), source.text_at(at + 1).to_owned()));
        }
        let follows = source.text_at(at + 1) == ":" && source.text_at(at + 2) == ":";
        let inner = at > 1 && source.text_at(at - 1) == ":" && source.text_at(at - 2) == ":";
        let begins = matches!(source.text_at(at), "crate" | "super") && follows && !inner;
        if !begins {
            at += 1;
            continue;
        }
        let mut base = source.module();
        base.extend(inside.iter().map(|(_, name)| name.clone()));
        let mut leaves = Vec::new();
        let end = tree(source, at, &mut Vec::new(), &mut leaves);
        found.extend(leaves.into_iter().map(|leaf| (at, resolve(&base, &leaf))));
        at = end.max(at + 1);
    }
    found
}

/// Reads a use tree or a path; returns the index after it.
fn tree(source: &Source, mut at: usize, prefix: &mut Vec<String>, leaves: &mut Vec<Vec<String>>) -> usize {
    let depth = prefix.len();
    loop {
        match source.text_at(at) {
            "{" => {
                let end = source.closing(at);
                at += 1;
                while at < end {
                    let next = source.text_at(at) == ",";
                    at = if next { at + 1 } else { tree(source, at, &mut prefix.clone(), leaves).max(at + 1) };
                }
                prefix.truncate(depth);
                return end + 1;
            }
            name => prefix.push(name.to_owned()),
        }
        at += 1;
        let goes_on = source.text_at(at) == ":" && source.text_at(at + 1) == ":";
        // A turbofish ends the path as far as rooms are concerned.
        if !goes_on || source.text_at(at + 2) == "<" {
            break;
        }
        at += 2;
    }
    if source.text_at(at) == "as" {
        at += 2;
    }
    leaves.push(prefix.clone());
    prefix.truncate(depth);
    at
}

fn resolve(base: &[String], leaf: &[String]) -> Vec<String> {
    let supers = leaf.iter().take_while(|name| *name == "super").count();
    let kept = if supers == 0 { 0 } else { base.len().saturating_sub(supers) };
    let rest = leaf.iter().filter(|name| !matches!(name.as_str(), "crate" | "super" | "self"));
    base[..kept].iter().chain(rest).cloned().collect()
}

/// Files and functions that are too long. Test files may be as long as they need.
pub fn lengths(source: &Source, file_max: usize, function_max: usize) -> Vec<String> {
    let mut found = Vec::new();
    if source.lines > file_max {
        found.push(format!("{}: {} lines, at most {file_max}", source.path, source.lines));
    }
    for at in 0..source.tokens.len() {
        let name = source.text_at(at + 1);
        if source.text_at(at) != "fn" || !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            continue;
        }
        let mut body = at;
        while body < source.tokens.len() && !matches!(source.text_at(body), "{" | ";") {
            body = if matches!(source.text_at(body), "(" | "[") { source.closing(body) } else { body } + 1;
        }
        if source.text_at(body) != "{" {
            continue;
        }
        let last = source.tokens.get(source.closing(body)).map_or(0, |token| token.line);
        let lines = (last + 1).saturating_sub(source.tokens[at].line);
        if lines > function_max {
            found.push(source.at(at, &format!("`{name}` has {lines} lines, at most {function_max}")));
        }
    }
    found
}

/// A ban of `clippy.toml` lifted where it must not be.
pub fn lifted_bans(source: &Source) -> Vec<String> {
    let top = UNBANNED.iter().any(|room| source.path == format!("src/{room}.rs"));
    let mut found = Vec::new();
    for at in 0..source.tokens.len() {
        let (inner, open) = match (source.text_at(at), source.text_at(at + 1), source.text_at(at + 2)) {
            ("#", "[", _) => (false, at + 1),
            ("#", "!", "[") => (true, at + 2),
            _ => continue,
        };
        let words: Vec<&str> = (open..source.closing(open)).map(|i| source.text_at(i)).collect();
        let lifts = words.iter().any(|word| matches!(*word, "allow" | "expect"));
        let banned = |word: &&str| matches!(*word, "disallowed_methods" | "disallowed_types" | "style" | "all");
        if !lifts || !words.contains(&"clippy") || !words.iter().any(banned) {
            continue;
        }
        let by_group = words.iter().any(|word| matches!(*word, "style" | "all"));
        if by_group || !(top && inner && words.contains(&"reason")) {
            found.push(source.at(at, "a ban is lifted at the top of the shell's rooms only, once, with a reason"));
        }
    }
    found
}

/// Names of the world in a room that must not know it.
pub fn world(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for at in 0..source.tokens.len() {
        let name = source.text_at(at);
        if WORLD.contains(&name) {
            found.push(source.at(at, &format!("`{name}` in a pure room")));
        }
        if name != "std" {
            continue;
        }
        let mut leaves = Vec::new();
        tree(source, at, &mut Vec::new(), &mut leaves);
        let second = |leaf: &Vec<String>| leaf.get(1).is_some_and(|name| STD_WORLD.contains(&name.as_str()));
        // Shared ownership is not the world.
        let shared =
            |leaf: &Vec<String>| leaf.ends_with(&["sync".into(), "Arc".into()]) || leaf.contains(&"Arc".into());
        for leaf in leaves.iter().filter(|leaf| second(leaf) && !shared(leaf)) {
            found.push(source.at(at, &format!("`{}` in a pure room", leaf.join("::"))));
        }
    }
    found
}

/// Macros and words that put work off.
pub fn left_for_later(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for at in 0..source.tokens.len() {
        if matches!(source.text_at(at), "todo" | "unimplemented") && source.text_at(at + 1) == "!" {
            found.push(source.at(at, &format!("`{}!`", source.text_at(at))));
        }
    }
    let words = ["TO\u{44}O", "FIX\u{4d}E"];
    for (number, line) in source.text.lines().enumerate() {
        let mut parts = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if parts.any(|part| words.contains(&part)) {
            found.push(format!("{}:{}: work left for later", source.path, number + 1));
        }
    }
    found
}

/// The documents.
pub mod docs {
    use std::path::{Path, PathBuf};

    /// Links and mentions of documents that are not there.
    pub fn dead_links(root: &Path, documents: &[PathBuf]) -> Vec<String> {
        let mut found = Vec::new();
        for document in documents {
            let text = std::fs::read_to_string(root.join(document)).unwrap();
            for link in links(&text) {
                if !alive(root, document, &text, &link) {
                    found.push(format!("{}: dead link to {link}", document.display()));
                }
            }
        }
        found
    }

    fn alive(root: &Path, document: &Path, text: &str, link: &str) -> bool {
        let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
        let beside = root.join(document).with_file_name(file);
        let path = if file.is_empty() { root.join(document) } else { beside };
        // Mentions in text, and sources, are named from the root.
        let path = if path.exists() { path } else { root.join(file) };
        let there = path.exists();
        if fragment.is_empty() || !there || path.extension().is_none_or(|e| e != "md") {
            return there;
        }
        let target = if file.is_empty() { text.to_owned() } else { std::fs::read_to_string(&path).unwrap() };
        target.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line.trim_start_matches('#')) == fragment)
    }

    /// Targets of links, and documents mentioned as `docs/NAME.md`; neither from code blocks nor from the web.
    pub fn links(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut code = false;
        for line in text.lines() {
            code ^= line.trim_start().starts_with("```");
            if code {
                continue;
            }
            for part in line.split("](").skip(1) {
                found.extend(part.split(')').next().map(String::from));
            }
            let words = line.split(|c: char| !(c.is_alphanumeric() || "/._-".contains(c)));
            found.extend(words.filter(|word| word.starts_with("docs/") && word.ends_with(".md")).map(String::from));
        }
        found.retain(|link| !link.contains("://") && !link.starts_with("mailto:"));
        found.dedup();
        found
    }

    /// The fragment of a heading, as the common renderers make it.
    pub fn anchor(heading: &str) -> String {
        let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
    }
}
