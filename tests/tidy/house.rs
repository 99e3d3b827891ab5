//! All files of the crate, and where a path leads: to the file that defines the item, through aliases and re-exports.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Kind, Name, Source};

/// A room that is declared for tests only and is still held to every rule, except for its modules `tests`, which need no
/// condition of their own.
const HELD_THOUGH_TEST: &[&str] = &["campaign"];
/// Aliases that are followed one after the other. Two that name each other would never end.
const ALIASES_MAX: usize = 16;

/// The crate's files.
pub struct House {
    pub sources: Vec<Source>,
    modules: BTreeMap<Vec<String>, Scope>,
}

/// What a module holds.
#[derive(Default)]
struct Scope {
    /// The index of the file.
    file: usize,
    items: BTreeSet<String>,
    aliases: Vec<Alias>,
}

/// A `use`.
struct Alias {
    /// `None` for a glob.
    name: Option<String>,
    path: Vec<String>,
}

impl House {
    /// Marks the files that are test code and indexes what the others define.
    pub fn new(mut sources: Vec<Source>) -> Self {
        let declared_for_tests = |source: &Source| {
            let own = source.module();
            let tests = source.modules.iter().filter(|module| module.is_test && !module.inline);
            let held = |path: &[String]| path.len() == 1 && HELD_THOUGH_TEST.contains(&path[0].as_str());
            tests.map(|module| [&own[..], &module.path].concat()).filter(|path| !held(path)).collect::<Vec<_>>()
        };
        let tests: BTreeSet<Vec<String>> = sources.iter().flat_map(declared_for_tests).collect();
        for source in &mut sources {
            let module = source.module();
            let held = module.first().is_some_and(|room| HELD_THOUGH_TEST.contains(&room.as_str()));
            source.is_test |= (1..=module.len()).any(|depth| tests.contains(&module[..depth]));
            source.is_test |= held && module.iter().any(|name| name == "tests");
        }
        let mut modules: BTreeMap<Vec<String>, Scope> = BTreeMap::new();
        for (file, source) in sources.iter().enumerate().filter(|(_, source)| !source.is_test) {
            let own = source.module();
            modules.entry(own.clone()).or_default().file = file;
            let scope = |inside: &[String]| [&own[..], inside].concat();
            for module in source.modules.iter().filter(|module| module.inline && !module.is_test) {
                modules.entry(scope(&module.path)).or_default().file = file;
            }
            for (inside, item) in &source.items {
                modules.entry(scope(inside)).or_default().items.insert(item.clone());
            }
            for name in &source.names {
                let alias = match &name.kind {
                    Kind::Path => continue,
                    Kind::Use(alias) | Kind::Reexport(alias) => Some(alias.clone()),
                    Kind::Glob => None,
                };
                let alias = Alias { name: alias, path: name.path.clone() };
                modules.entry(scope(&name.inside)).or_default().aliases.push(alias);
            }
        }
        Self { sources, modules }
    }

    /// Files that are not test code.
    pub fn code(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(|source| !source.is_test)
    }

    /// Files that nobody declares as a module.
    pub fn undeclared(&self) -> Vec<&Source> {
        let declared = |source: &Source| {
            let own = source.module();
            source.modules.iter().map(|module| [&own[..], &module.path].concat()).collect::<Vec<_>>()
        };
        let declared: BTreeSet<Vec<String>> = self.sources.iter().flat_map(declared).collect();
        let known = |source: &&Source| source.module().is_empty() || declared.contains(&source.module());
        self.sources.iter().filter(|source| !known(source)).collect()
    }

    /// The path from the crate's root, as far as the text of the file tells; `None` for another crate's.
    pub fn absolute(&self, source: &Source, name: &Name) -> Option<Vec<String>> {
        let mut at = [&source.module()[..], &name.inside].concat();
        let mut path = name.path.clone();
        for _ in 0..ALIASES_MAX {
            let first = path.first()?.clone();
            if matches!(first.as_str(), "crate" | "super" | "self") {
                return Some(from_root(&at, &path));
            }
            let scope = self.modules.get(&at)?;
            let child = [&at[..], std::slice::from_ref(&first)].concat();
            if self.modules.contains_key(&child) || scope.items.contains(&first) {
                return Some([&at[..], &path].concat());
            }
            // Inside a function, `use x::y` stands beside what it names.
            let alias = scope.aliases.iter().find(|alias| {
                alias.name.as_ref() == Some(&first) && alias.path.first() != Some(&first) && alias.path != path
            })?;
            path = [&alias.path[..], &path[1..]].concat();
            at = [&source.module()[..], &name.inside].concat();
        }
        None
    }

    /// The file that defines what a path names, where that can be told.
    pub fn file_of(&self, source: &Source, name: &Name) -> Option<usize> {
        let at = [&source.module()[..], &name.inside].concat();
        self.locate(&at, &name.path, ALIASES_MAX)
    }

    /// Follows a path that stands in the module `at`.
    fn locate(&self, at: &[String], path: &[String], aliases: usize) -> Option<usize> {
        let anchored = matches!(path.first()?.as_str(), "crate" | "super" | "self");
        let (mut at, mut rest) = (at.to_vec(), path);
        if anchored {
            let steps = path.iter().take_while(|name| matches!(name.as_str(), "crate" | "super" | "self")).count();
            (at, rest) = (from_root(&at, &path[..steps]), &path[steps..]);
        }
        loop {
            let name = rest.first()?;
            let child = [&at[..], std::slice::from_ref(name)].concat();
            if self.modules.contains_key(&child) {
                (at, rest) = (child, &rest[1..]);
                continue;
            }
            let scope = self.modules.get(&at)?;
            if scope.items.contains(name) {
                return Some(scope.file);
            }
            let left = aliases.checked_sub(1)?;
            let (named, globs): (Vec<_>, Vec<_>) = scope.aliases.iter().partition(|alias| alias.name.is_some());
            let same = named.into_iter().filter(|alias| alias.name.as_ref() == Some(name));
            let mut paths = same.map(|alias| [&alias.path[..], &rest[1..]].concat());
            return paths
                .find_map(|path| self.locate(&at, &path, left))
                .or_else(|| globs.iter().find_map(|glob| self.locate(&at, &[&glob.path[..], rest].concat(), left)));
        }
    }
}

/// Resolves `crate`, `super` and `self` at the beginning of a path that stands in the module `at`.
fn from_root(at: &[String], path: &[String]) -> Vec<String> {
    let mut base = at.to_vec();
    let steps = path.iter().take_while(|name| matches!(name.as_str(), "crate" | "super" | "self"));
    for step in steps.clone() {
        match step.as_str() {
            "crate" => base.clear(),
            "super" => drop(base.pop()),
            _ => {}
        }
    }
    base.extend(path[steps.count()..].iter().cloned());
    base
}
