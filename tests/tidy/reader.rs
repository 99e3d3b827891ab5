//! Reads a file with a parser, without its test code, and notes what the rules need.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Ident, Span, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use super::source::{Kind, Lift, Measure, Method, Module, Name, Source, is_test};

/// The attributes of a node whose variants all have some.
macro_rules! attributes {
    ($node:expr, $kind:ident: $($variant:ident)*) => {
        match $node { $(syn::$kind::$variant(node) => &node.attrs[..],)* _ => &[] }
    };
}

fn item_attributes(item: &syn::Item) -> &[syn::Attribute] {
    attributes!(item, Item: Const Enum ExternCrate Fn ForeignMod Impl Macro Mod Static Struct Trait TraitAlias Type Union Use)
}

fn expression_attributes(expression: &syn::Expr) -> &[syn::Attribute] {
    attributes!(expression, Expr: Array Assign Async Await Binary Block Break Call Cast Closure Const Continue Field ForLoop
        If Index Let Lit Loop Macro Match MethodCall Paren Path Range Reference Repeat Return Struct Try Tuple Unary Unsafe
        While Yield)
}

/// Walks a file and notes what the rules need.
#[derive(Default)]
pub struct Reader {
    pub source: Source,
    /// Inline modules around the place.
    inside: Vec<String>,
    /// Blocks around the place: an item in a block belongs to no module.
    blocks: usize,
    /// The type whose own methods, or the trait whose methods, are read.
    methods_of: Option<String>,
    /// Lines of test code.
    pub cut: BTreeSet<usize>,
}

impl Reader {
    /// Leaves a node out if it is test code; says whether it was.
    fn leave_out(&mut self, attributes: &[syn::Attribute], span: impl FnOnce() -> Span) -> bool {
        let out = is_test(attributes);
        if out {
            let span = span();
            self.cut.extend(span.start().line..=span.end().line);
        }
        out
    }

    fn name(&mut self, path: Vec<String>, line: usize, kind: Kind) {
        self.source.names.push(Name { inside: self.inside.clone(), path, line, kind });
    }

    fn define(&mut self, ident: &Ident) {
        if self.blocks == 0 {
            self.source.items.push((self.inside.clone(), ident.to_string()));
        }
    }

    fn use_tree(&mut self, tree: &syn::UseTree, path: &mut Vec<String>, public: bool) {
        let depth = path.len();
        let kind = if public { Kind::Reexport } else { Kind::Use };
        match tree {
            syn::UseTree::Path(next) => {
                path.push(next.ident.to_string());
                self.use_tree(&next.tree, path, public);
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.use_tree(tree, path, public)),
            syn::UseTree::Glob(glob) => self.name(path.clone(), glob.span().start().line, Kind::Glob),
            syn::UseTree::Name(leaf) => {
                if leaf.ident != "self" {
                    path.push(leaf.ident.to_string());
                }
                let alias = path.last().cloned().unwrap_or_default();
                self.name(path.clone(), leaf.ident.span().start().line, kind(alias));
            }
            syn::UseTree::Rename(leaf) => {
                if leaf.ident != "self" {
                    path.push(leaf.ident.to_string());
                }
                self.name(path.clone(), leaf.ident.span().start().line, kind(leaf.rename.to_string()));
            }
        }
        path.truncate(depth);
    }

    /// Notes the paths and names in tokens that are not parsed: arguments of macros and attributes, bodies of `macro_rules!`.
    fn tokens(&mut self, prefix: &[String], stream: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for tree in stream {
            if matches!(&tree, TokenTree::Punct(punct) if punct.as_char() == ':') {
                colons += 1;
                continue;
            }
            let joined = std::mem::take(&mut colons) == 2;
            match tree {
                TokenTree::Ident(ident) => {
                    if !joined || path.is_empty() {
                        self.token_path(prefix, &mut path, line);
                        line = ident.span().start().line;
                    }
                    self.keyword(&ident.to_string(), ident.span());
                    path.push(ident.to_string());
                }
                TokenTree::Group(group) if joined && group.delimiter() == Delimiter::Brace => {
                    let prefix = [prefix, &path].concat();
                    path.clear();
                    self.tokens(&prefix, group.stream());
                }
                TokenTree::Group(group) => {
                    self.token_path(prefix, &mut path, line);
                    self.tokens(&[], group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => self.token_path(prefix, &mut path, line),
            }
        }
        self.token_path(prefix, &mut path, line);
    }

    fn token_path(&mut self, prefix: &[String], path: &mut Vec<String>, line: usize) {
        let path = std::mem::take(path);
        let path = if path.is_empty() { path } else { [prefix, &path].concat() };
        let is_type = path.first().is_some_and(|name| name.starts_with(char::is_uppercase));
        if path.len() > 1 || is_type {
            self.name(path, line, Kind::Path);
        }
    }

    fn attribute(&mut self, attribute: &syn::Attribute, top: bool) {
        if attribute.path().is_ident("doc") {
            return;
        }
        let line = attribute.span().start().line;
        if attribute.path().is_ident("path") {
            self.source.misplaced.push(("#[path]".into(), line));
        }
        let first = self.source.idents.len();
        visit::visit_attribute(self, attribute);
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(&[], list.tokens.clone());
        }
        let words: Vec<String> = self.source.idents[first..].iter().map(|(word, _)| word.clone()).collect();
        if words.iter().any(|word| matches!(word.as_str(), "allow" | "expect")) {
            let last = attribute.span().end().line;
            self.source.lifts.push(Lift { line, last, top, words });
        }
    }

    fn fields<'f>(&mut self, ident: &Ident, fields: impl IntoIterator<Item = &'f syn::Field>) {
        let size = fields.into_iter().filter(|field| !is_test(&field.attrs)).count();
        self.source.types.push(Measure { name: ident.to_string(), line: ident.span().start().line, size });
    }

    /// Notes an identifier, or a keyword that a rule forbids.
    fn keyword(&mut self, word: &str, span: Span) {
        self.source.idents.push((word.into(), span.start().line));
    }

    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let line = signature.fn_token.span.start().line;
        let size = block.span().end().line + 1 - line;
        self.source.functions.push(Measure { name: signature.ident.to_string(), line, size });
    }

    fn method(&mut self, signature: &syn::Signature, attributes: &[syn::Attribute]) {
        let Some(of) = self.methods_of.clone() else { return };
        let example = attributes.iter().any(|attribute| {
            let text = attribute.meta.require_name_value().ok().map(|pair| &pair.value);
            let is_code = |text: &syn::Expr| matches!(text, syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(s), .. }) if s.value().contains("```"));
            attribute.path().is_ident("doc") && text.is_some_and(is_code)
        });
        let (name, line) = (signature.ident.to_string(), signature.ident.span().start().line);
        self.source.methods.push(Method { of, name, line, example });
    }
}

impl<'a> Visit<'a> for Reader {
    fn visit_file(&mut self, file: &'a syn::File) {
        file.attrs.iter().for_each(|attribute| self.attribute(attribute, true));
        file.items.iter().for_each(|item| self.visit_item(item));
    }

    fn visit_item(&mut self, item: &'a syn::Item) {
        if let syn::Item::Mod(module) = item {
            let path = [&self.inside[..], &[module.ident.to_string()]].concat();
            let (inline, is_test) = (module.content.is_some(), is_test(&module.attrs));
            self.source.modules.push(Module { path, inline, is_test });
        }
        if self.leave_out(item_attributes(item), || item.span()) {
            return;
        }
        match item {
            syn::Item::Const(item) => self.define(&item.ident),
            syn::Item::Enum(item) => self.define(&item.ident),
            syn::Item::Fn(item) => {
                self.define(&item.sig.ident);
                self.function(&item.sig, &item.block);
            }
            syn::Item::Macro(item) => item.ident.iter().for_each(|ident| self.define(ident)),
            syn::Item::Static(item) => self.define(&item.ident),
            syn::Item::Struct(item) => {
                self.define(&item.ident);
                self.fields(&item.ident, &item.fields);
            }
            syn::Item::Trait(item) => self.define(&item.ident),
            syn::Item::Type(item) => self.define(&item.ident),
            syn::Item::Union(item) => {
                self.define(&item.ident);
                self.fields(&item.ident, &item.fields.named);
            }
            syn::Item::ExternCrate(item) => {
                self.source.misplaced.push(("extern crate".into(), item.ident.span().start().line));
            }
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        self.inside.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.inside.pop();
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        let public = !matches!(item.vis, syn::Visibility::Inherited);
        self.use_tree(&item.tree, &mut Vec::new(), public);
        visit::visit_item_use(self, item);
    }

    fn visit_item_impl(&mut self, item: &'a syn::ItemImpl) {
        let own = match &*item.self_ty {
            syn::Type::Path(path) if item.trait_.is_none() => path.path.segments.last().map(|s| s.ident.to_string()),
            _ => None,
        };
        let outer = std::mem::replace(&mut self.methods_of, own);
        visit::visit_item_impl(self, item);
        self.methods_of = outer;
    }

    fn visit_item_trait(&mut self, item: &'a syn::ItemTrait) {
        let outer = self.methods_of.replace(item.ident.to_string());
        visit::visit_item_trait(self, item);
        self.methods_of = outer;
    }

    fn visit_impl_item(&mut self, item: &'a syn::ImplItem) {
        let attributes = attributes!(item, ImplItem: Const Fn Type Macro);
        if self.leave_out(attributes, || item.span()) {
            return;
        }
        if let syn::ImplItem::Fn(item) = item {
            self.function(&item.sig, &item.block);
            if matches!(item.vis, syn::Visibility::Public(_)) {
                self.method(&item.sig, &item.attrs);
            }
        }
        visit::visit_impl_item(self, item);
    }

    fn visit_trait_item(&mut self, item: &'a syn::TraitItem) {
        let attributes = attributes!(item, TraitItem: Const Fn Type Macro);
        if self.leave_out(attributes, || item.span()) {
            return;
        }
        if let syn::TraitItem::Fn(item) = item {
            item.default.iter().for_each(|block| self.function(&item.sig, block));
            self.method(&item.sig, &item.attrs);
        }
        visit::visit_trait_item(self, item);
    }

    fn visit_variant(&mut self, variant: &'a syn::Variant) {
        if !self.leave_out(&variant.attrs, || variant.span()) {
            self.fields(&variant.ident, &variant.fields);
            visit::visit_variant(self, variant);
        }
    }

    fn visit_field(&mut self, field: &'a syn::Field) {
        if !self.leave_out(&field.attrs, || field.span()) {
            visit::visit_field(self, field);
        }
    }

    fn visit_arm(&mut self, arm: &'a syn::Arm) {
        if !self.leave_out(&arm.attrs, || arm.span()) {
            visit::visit_arm(self, arm);
        }
    }

    fn visit_field_value(&mut self, value: &'a syn::FieldValue) {
        if !self.leave_out(&value.attrs, || value.span()) {
            visit::visit_field_value(self, value);
        }
    }

    fn visit_field_pat(&mut self, pattern: &'a syn::FieldPat) {
        if !self.leave_out(&pattern.attrs, || pattern.span()) {
            visit::visit_field_pat(self, pattern);
        }
    }

    fn visit_stmt(&mut self, statement: &'a syn::Stmt) {
        let attributes = match statement {
            syn::Stmt::Local(local) => &local.attrs[..],
            syn::Stmt::Macro(call) => &call.attrs[..],
            syn::Stmt::Item(_) | syn::Stmt::Expr(..) => &[],
        };
        if !self.leave_out(attributes, || statement.span()) {
            visit::visit_stmt(self, statement);
        }
    }

    fn visit_expr(&mut self, expression: &'a syn::Expr) {
        if !self.leave_out(expression_attributes(expression), || expression.span()) {
            visit::visit_expr(self, expression);
        }
    }

    fn visit_block(&mut self, block: &'a syn::Block) {
        self.blocks += 1;
        visit::visit_block(self, block);
        self.blocks -= 1;
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let is_type = names.first().is_some_and(|name| name.starts_with(char::is_uppercase));
        if names.len() > 1 || is_type {
            self.name(names, path.span().start().line, Kind::Path);
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_call(&mut self, call: &'a syn::ExprCall) {
        // A lone name in lower case is a variable, unless it is called.
        if let syn::Expr::Path(path) = &*call.func
            && let Some(ident) = path.path.get_ident()
        {
            self.name(vec![ident.to_string()], ident.span().start().line, Kind::Path);
        }
        visit::visit_expr_call(self, call);
    }

    /// `pub(super)` imports nothing.
    fn visit_vis_restricted(&mut self, _: &'a syn::VisRestricted) {}

    fn visit_attribute(&mut self, attribute: &'a syn::Attribute) {
        self.attribute(attribute, false);
    }

    fn visit_macro(&mut self, call: &'a syn::Macro) {
        let name = call.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        let line = call.path.span().start().line;
        if name == "include" {
            self.source.misplaced.push(("include!".into(), line));
        }
        self.source.macros.push((name, line));
        visit::visit_macro(self, call);
        self.tokens(&[], call.tokens.clone());
    }

    fn visit_ident(&mut self, ident: &'a Ident) {
        self.keyword(&ident.to_string(), ident.span());
    }

    fn visit_signature(&mut self, signature: &'a syn::Signature) {
        signature.asyncness.iter().for_each(|keyword| self.keyword("async", keyword.span));
        visit::visit_signature(self, signature);
    }

    fn visit_expr_async(&mut self, expression: &'a syn::ExprAsync) {
        self.keyword("async", expression.async_token.span);
        visit::visit_expr_async(self, expression);
    }

    fn visit_expr_closure(&mut self, closure: &'a syn::ExprClosure) {
        closure.asyncness.iter().for_each(|keyword| self.keyword("async", keyword.span));
        visit::visit_expr_closure(self, closure);
    }

    fn visit_expr_await(&mut self, expression: &'a syn::ExprAwait) {
        self.keyword("await", expression.await_token.span);
        visit::visit_expr_await(self, expression);
    }
}
