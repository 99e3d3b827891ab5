//! What is known of one file of Rust. The rules work on that; [`super::reader`] reads it with a parser.
//!
//! Test code is left out. An item, a field, a variant, an arm or a statement is test code when its `#[cfg(...)]` cannot
//! hold without `test`, whatever else holds: `cfg(test)` and `cfg(all(test, unix))` are; `cfg(any(test, feature = "testing"))`
//! is not, because a host may compile it. A `#[test]` function is test code. So is a file that is declared by a
//! test-only `mod`, and every file below it; [`super::house`] marks those, and says why `campaign` is none.

use syn::visit::Visit as _;

use super::reader::Reader;

/// A file without its test code.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Relative to the root of the repository.
    pub path: String,
    /// The whole text, test code included.
    pub text: String,
    /// Whether the whole file is test code.
    pub is_test: bool,
    /// Lines that are not test code.
    pub lines: usize,
    /// Paths of other items, as they are written.
    pub names: Vec<Name>,
    /// Items by the module that holds them.
    pub items: Vec<(Vec<String>, String)>,
    /// Modules that are declared here.
    pub modules: Vec<Module>,
    /// Every identifier, and the keywords `async` and `await`, with the line.
    pub idents: Vec<(String, usize)>,
    /// Functions with a body.
    pub functions: Vec<Measure>,
    /// Structs, unions and variants, measured by their fields.
    pub types: Vec<Measure>,
    /// Attributes that silence a lint.
    pub lifts: Vec<Lift>,
    /// Calls of macros.
    pub macros: Vec<(String, usize)>,
    /// Attributes and items that break the rule that a module's path is its file's path.
    pub misplaced: Vec<(String, usize)>,
    /// Public methods of types and methods of traits.
    pub methods: Vec<Method>,
}

/// A path as it is written.
#[derive(Clone, Debug)]
pub struct Name {
    /// Names of the inline modules around it.
    pub inside: Vec<String>,
    /// Its segments.
    pub path: Vec<String>,
    /// Where it stands.
    pub line: usize,
    /// How it is used.
    pub kind: Kind,
}

/// How a path is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In code.
    Path,
    /// By a private `use`, under this name.
    Use(String),
    /// By a `pub use` of any reach, under this name.
    Reexport(String),
    /// By a `use` of everything below it.
    Glob,
}

/// A declared module.
#[derive(Clone, Debug)]
pub struct Module {
    /// Path below the file's own module.
    pub path: Vec<String>,
    /// Whether its content stands in the same file.
    pub inline: bool,
    /// Whether it is compiled for tests only.
    pub is_test: bool,
}

/// Something that has a bound on its size.
#[derive(Clone, Debug)]
pub struct Measure {
    pub name: String,
    pub line: usize,
    /// Lines or fields.
    pub size: usize,
}

/// An attribute that silences a lint.
#[derive(Clone, Debug)]
pub struct Lift {
    pub line: usize,
    /// Its last line.
    pub last: usize,
    /// Whether it stands at the top of the file, for all of it.
    pub top: bool,
    /// Names in it: lints, `clippy`, `reason`.
    pub words: Vec<String>,
}

/// A method that a host may call, if its type is public.
#[derive(Clone, Debug)]
pub struct Method {
    /// The type or trait.
    pub of: String,
    pub name: String,
    pub line: usize,
    /// Whether its documentation has an example.
    pub example: bool,
}

impl Source {
    /// Parses the text. Fails the test where that is not possible: a file that cannot be read cannot be checked.
    pub fn new(path: &str, text: &str) -> Self {
        let file = match syn::parse_file(text) {
            Ok(file) => file,
            Err(error) => panic!("{path}:{}: {error}", error.span().start().line),
        };
        let mut reader = Reader::default();
        reader.visit_file(&file);
        let Reader { mut source, cut, .. } = reader;
        source.path = path.into();
        source.text = text.into();
        source.lines = text.lines().count() - cut.len();
        source
    }

    /// The names of the modules from the crate's root to this file.
    pub fn module(&self) -> Vec<String> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/').filter(|part| *part != "lib").map(String::from).collect()
    }
}

/// Whether these attributes make their item test code.
pub fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        let condition = || attribute.parse_args::<syn::Meta>().ok();
        path.is_ident("test") || path.is_ident("cfg") && condition().and_then(|c| holds(&c)) == Some(false)
    })
}

/// Whether a condition holds outside tests; `None` where that depends on other things.
fn holds(condition: &syn::Meta) -> Option<bool> {
    let parts = || {
        let list = condition.require_list().ok()?;
        let parts = list.parse_args_with(syn::punctuated::Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated);
        Some(parts.ok()?.iter().map(holds).collect::<Vec<_>>())
    };
    let path = condition.path();
    if path.is_ident("test") {
        Some(false)
    } else if path.is_ident("not") {
        parts()?.first().copied().flatten().map(|holds| !holds)
    } else if path.is_ident("all") {
        let parts = parts()?;
        if parts.contains(&Some(false)) { Some(false) } else { parts.into_iter().min().flatten() }
    } else if path.is_ident("any") {
        let parts = parts()?;
        if parts.contains(&Some(true)) { Some(true) } else { parts.iter().all(|p| *p == Some(false)).then_some(false) }
    } else {
        None
    }
}
