//! The words that a program shows: each stands in a row of the table that explains it, and the manual leads there. A word without
//! its row fails, so that whoever adds one says what it means and what to do. So does a row whose word nothing shows any more.

use std::collections::BTreeSet;

use syn::visit::Visit;

/// The words of a type, and where they are explained.
pub struct WordList {
    pub source: &'static str,
    pub of: &'static str,
    pub document: &'static str,
    pub heading: &'static str,
}

const fn words_of(source: &'static str, of: &'static str, document: &'static str, heading: &'static str) -> WordList {
    WordList { source, of, document, heading }
}

/// Everything that a person may read in `status`, `alerts`, events and answers.
pub const WORD_LISTS: &[WordList] = &[
    words_of("src/protocol/alerts.rs", "AlertKind", "docs/CLI.md", "Alerts"),
    words_of(
        "src/protocol/engine/alerts/operator_states.rs",
        "OperatorState",
        "docs/CLI.md",
        "States that only a person ends",
    ),
    words_of("src/protocol/engine/reason.rs", "RoleReason", "docs/CLI.md", "Events"),
    words_of("src/protocol/engine/status.rs", "LinkState", "docs/CLI.md", "Status"),
    words_of("src/protocol/wire/message.rs", "RefusalKind", "docs/CLI.md", "Status"),
    words_of(
        "src/protocol/failover/blockers.rs",
        "TakeoverBlocker",
        "docs/FAILOVER.md",
        "Why a node would not take over now",
    ),
    words_of(
        "src/protocol/wire/switch.rs",
        "SwitchObstacle",
        "docs/OPERATIONS.md",
        "Why a switch is refused or called off",
    ),
    words_of("src/node/offload/audit_entry.rs", "AuditWord", "docs/OPERATIONS.md", "Words of the audit log"),
];

/// Words of these tables that stand for the absence of a value: a refusal without a kind.
const ALSO_SHOWN: &[&str] = &["not_permitted"];

/// The literals of a type's method `as_str`.
pub fn words(source: &str, of: &str) -> BTreeSet<String> {
    struct Literals(BTreeSet<String>);
    impl<'ast> Visit<'ast> for Literals {
        fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
            self.0.insert(literal.value());
        }
    }
    let file = syn::parse_file(source).unwrap();
    let mut literals = Literals(BTreeSet::new());
    for item in &file.items {
        let syn::Item::Impl(block) = item else { continue };
        let is_of = matches!(&*block.self_ty, syn::Type::Path(path) if path.path.is_ident(of));
        let methods = block.items.iter().filter_map(|item| match item {
            syn::ImplItem::Fn(method) if method.sig.ident == "as_str" => Some(method),
            _ => None,
        });
        if is_of && block.trait_.is_none() {
            methods.for_each(|method| literals.visit_block(&method.block));
        }
    }
    literals.0
}

/// The lines from this heading to the next one that is not below it.
pub fn section<'a>(text: &'a str, heading: &str) -> Vec<&'a str> {
    let level = |line: &str| line.chars().take_while(|c| *c == '#').count();
    let mut lines = text.lines().skip_while(|line| level(line) == 0 || line.trim_start_matches('#').trim() != heading);
    let Some(first) = lines.next() else { return Vec::new() };
    lines.take_while(|line| level(line) == 0 || level(line) > level(first)).collect()
}

/// Whether a row explains this word, or it is named as one that no program shows yet.
fn is_explained(section: &[&str], word: &str) -> bool {
    let quoted = format!("`{word}`");
    section.iter().any(|line| {
        let mut cells = line.trim().trim_matches('|').split('|');
        let row = line.starts_with('|')
            && cells.next().is_some_and(|first| first.contains(&quoted))
            && cells.any(|cell| !cell.trim().is_empty());
        row || (line.contains(&quoted) && line.contains("are reserved."))
    })
}

/// The words of this source that the document does not explain.
pub fn unexplained(place: &WordList, source: &str, document: &str) -> Vec<String> {
    let (words, section) = (words(source, place.of), section(document, place.heading));
    let lost = [
        (words.is_empty(), format!("{}: {} has no words", place.source, place.of)),
        (section.is_empty(), format!("{}: there is no section \"{}\"", place.document, place.heading)),
    ];
    let missing = words.iter().filter(|word| !is_explained(&section, word));
    let missing = missing.map(|word| format!("{}: \"{}\": no row for `{word}`", place.document, place.heading));
    let stale = explained(&section).into_iter().flat_map(|table| {
        // A table of other things may name some of these words.
        let known = table.intersection(&words).count() * 2 > table.len();
        let shown = |word: &String| words.contains(word) || ALSO_SHOWN.contains(&word.as_str());
        table.into_iter().filter(|word| known && !shown(word)).collect::<Vec<_>>()
    });
    let stale = stale.map(|word| format!("{}: \"{}\": nothing shows `{word}`", place.document, place.heading));
    let lost = lost.into_iter().filter_map(|(is_lost, what)| is_lost.then_some(what));
    lost.chain(missing).chain(stale).collect()
}

/// The quoted words in the first column of each table of this section.
fn explained(section: &[&str]) -> Vec<BTreeSet<String>> {
    let tables = section.split(|line| !line.starts_with('|'));
    let firsts = |table: &[&str]| -> BTreeSet<String> {
        // The first row is the head of the table.
        let cells = table.iter().skip(1).filter_map(|line| line.split('|').nth(1));
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
    };
    tables.map(firsts).collect()
}

/// The commands in the first column of the table under this heading.
pub fn commands(document: &str, heading: &str) -> BTreeSet<String> {
    let rows = section(document, heading).into_iter().filter(|line| line.starts_with("| `"));
    let firsts = rows.filter_map(|line| line.split('|').nth(1));
    let quoted = firsts.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    quoted.filter_map(|command| command.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn a_word_without_a_row_is_seen() {
    let source =
        "impl Kind { fn as_str(self) -> &'static str { match self { Self::A => \"a\", Self::B => \"b_c\" } } }";
    let place = words_of("x.rs", "Kind", "X.md", "Words");
    let known =
        "## Words\n\n| word | |\n| `a` | this | that |\n\n### Below\n\n| word | |\n| `b_c` | this | |\n\n## Other\n";
    assert_eq!(unexplained(&place, source, known), [""; 0]);
    for broken in [known.replace("`b_c`", "`b`"), known.replace("### Below", "## Below"), known.replace("this |", " |")]
    {
        assert!(!unexplained(&place, source, &broken).is_empty(), "{broken}");
    }
    let stale = known.replace("| `a` |", "| `a`, `z` | |\n| `a` |").replace("| `b_c` |", "| `b_c` | x |\n| `y` |");
    assert_eq!(unexplained(&place, source, &stale).len(), 0, "half of a table may be of other things");
    let stale = known.replace("| `a` |", "| `a`, `b_c`, `z` | |\n| `a` |");
    assert_eq!(unexplained(&place, source, &stale), ["X.md: \"Words\": nothing shows `z`"]);
    assert_eq!(unexplained(&place, "impl Other {}", known).len(), 1);
    assert_eq!(unexplained(&place, source, "# Nothing").len(), 3);
}
