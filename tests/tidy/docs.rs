//! The rules about documents: links and mentions lead somewhere, and a limit that is named has its value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Links, and mentions of files, that lead nowhere.
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

/// Targets of links, documents mentioned as `docs/NAME.md`, and sources mentioned as `src/...` or `tests/...`, where
/// `{a,b}` stands for both; neither from code blocks nor from the web.
pub fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        for part in line.split("](").skip(1) {
            found.extend(part.split(')').next().map(String::from));
        }
        let words = line.split(|c: char| !(c.is_alphanumeric() || "/._-".contains(c)));
        found.extend(words.filter(|word| word.starts_with("docs/") && word.ends_with(".md")).map(String::from));
        let quoted = line.split('`').skip(1).step_by(2);
        let is_path = |text: &&str| (text.starts_with("src/") || text.starts_with("tests/")) && !text.contains(' ');
        found.extend(quoted.filter(is_path).flat_map(alternatives));
    }
    found.retain(|link| !link.contains("://") && !link.starts_with("mailto:"));
    found.dedup();
    found
}

/// The lines outside code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// `a/{b,c}.rs` as `a/b.rs` and `a/c.rs`.
fn alternatives(path: &str) -> Vec<String> {
    match (path.find('{'), path.find('}')) {
        (Some(open), Some(close)) if open < close => {
            let (head, tail) = (&path[..open], &path[close + 1..]);
            path[open + 1..close].split(',').map(|part| format!("{head}{part}{tail}")).collect()
        }
        _ => vec![path.into()],
    }
}

/// The fragment of a heading, as the common renderers make it.
pub fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// The value of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Bytes, or things counted.
    Count(u128),
    /// Milliseconds.
    Time(u128),
}

/// The constants of `limits.rs`, computed from their text.
pub fn limits(text: &str) -> BTreeMap<String, Value> {
    let constant = |item| match item {
        syn::Item::Const(item) => Some((item.ident.to_string(), item.expr)),
        _ => None,
    };
    let mut left: Vec<_> = syn::parse_file(text).unwrap().items.into_iter().filter_map(constant).collect();
    let mut known = BTreeMap::new();
    // One may be computed from another that stands below it.
    while !left.is_empty() {
        let before = left.len();
        left.retain(|(name, expression)| match value(expression, &known) {
            Some(value) => known.insert(name.clone(), value).is_some(),
            None => true,
        });
        assert!(left.len() < before, "cannot compute {:?}", left.iter().map(|(name, _)| name).collect::<Vec<_>>());
    }
    known
}

fn value(expression: &syn::Expr, known: &BTreeMap<String, Value>) -> Option<Value> {
    let count = |expression: &syn::Expr| match value(expression, known)? {
        Value::Count(count) => Some(count),
        Value::Time(_) => None,
    };
    match expression {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Int(number), .. }) => {
            Some(Value::Count(number.base10_parse().ok()?))
        }
        syn::Expr::Path(path) => known.get(&path.path.segments.last()?.ident.to_string()).copied(),
        syn::Expr::Paren(inner) => value(&inner.expr, known),
        syn::Expr::Cast(inner) => value(&inner.expr, known),
        syn::Expr::Binary(binary) => {
            let (left, right) = (count(&binary.left)?, count(&binary.right)?);
            Some(Value::Count(match binary.op {
                syn::BinOp::Add(_) => left + right,
                syn::BinOp::Sub(_) => left - right,
                syn::BinOp::Mul(_) => left * right,
                syn::BinOp::Div(_) => left / right,
                _ => return None,
            }))
        }
        syn::Expr::MethodCall(call) if call.method == "div_ceil" => {
            Some(Value::Count(count(&call.receiver)?.div_ceil(count(call.args.first()?)?)))
        }
        syn::Expr::Call(call) => {
            let syn::Expr::Path(function) = &*call.func else { return None };
            let argument = count(call.args.first()?)?;
            let unit = function.path.segments.last()?.ident.to_string();
            Some(Value::Time(argument * if unit == "from_secs" { 1_000 } else { 1 }))
        }
        _ => None,
    }
}

/// Limits that a document names with another value than they have, or that do not exist. A limit and its value are
/// written `` `KEY_BYTES_MAX` (512 bytes) ``.
pub fn wrong_limits(document: &str, text: &str, known: &BTreeMap<String, Value>) -> (usize, Vec<String>) {
    let (mut checked, mut found) = (0, Vec::new());
    for line in prose(text) {
        let mut parts = line.split('`').skip(1).step_by(2).zip(line.split('`').skip(2).step_by(2));
        let named = parts.by_ref().filter(|(name, _)| is_constant(name));
        for (name, after) in named {
            let said = after.strip_prefix(" (").and_then(|rest| rest.split([')', ';']).next());
            let Some(said) = said.filter(|said| said.starts_with(|c: char| c.is_ascii_digit())) else { continue };
            checked += 1;
            match known.get(name) {
                Some(value) if read(said) == Some(*value) => {}
                Some(value) => found.push(format!("{document}: `{name}` is {value:?}, not {said}")),
                None => found.push(format!("{document}: there is no limit `{name}`")),
            }
        }
    }
    (checked, found)
}

fn is_constant(name: &str) -> bool {
    name.contains('_') && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// Reads `512`, `512 bytes`, `64 MiB`, `10,000`, `250 ms`, `5 s`, `24 h`.
fn read(text: &str) -> Option<Value> {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let number: u128 = number.replace(',', "").parse().ok()?;
    Some(match unit {
        "" | "bytes" => Value::Count(number),
        "KiB" => Value::Count(number << 10),
        "MiB" => Value::Count(number << 20),
        "ms" => Value::Time(number),
        "s" => Value::Time(number * 1_000),
        "min" => Value::Time(number * 60_000),
        "h" => Value::Time(number * 3_600_000),
        _ => return None,
    })
}
