//! Rules about Rust code, on its tokens: strings and comments are never taken for code, and what is
//! inside a macro counts like what is outside.

use super::Source;
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::str::FromStr;

#[cfg(test)]
mod tests;

/// Longest function, from `fn` to the closing brace, in lines.
const FUNCTION_LINES: usize = 70;

/// Function length, `todo!`, unsafe code and its comments.
#[must_use]
pub fn check(source: &Source) -> Vec<String> {
    let tokens = match TokenStream::from_str(&source.text) {
        Ok(tokens) => tokens,
        Err(error) => return vec![format!("{}: does not lex: {error}", source.path)],
    };
    let mut scan = Scan { source, lines: source.text.lines().collect(), found: Vec::new() };
    scan.stream(tokens);
    scan.found
}

struct Scan<'a> {
    source: &'a Source,
    lines: Vec<&'a str>,
    found: Vec<String>,
}

impl Scan<'_> {
    fn stream(&mut self, stream: TokenStream) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        for at in 0..tokens.len() {
            let rest = &tokens[at..];
            match &rest[0] {
                TokenTree::Ident(word) if word == "fn" => self.function(rest),
                TokenTree::Ident(word) if word == "unsafe" => self.unsafe_code(rest),
                TokenTree::Ident(word)
                    if (word == "todo" || word == "unimplemented")
                        && punct(rest.get(1)) == Some('!') =>
                {
                    self.report(&rest[0], "unfinished: write it, or return an error");
                }
                TokenTree::Group(group) => self.stream(group.stream()),
                _ => {}
            }
        }
    }

    fn function(&mut self, rest: &[TokenTree]) {
        // `fn(u8)` is a type.
        let Some(TokenTree::Ident(name)) = rest.get(1) else { return };
        for (at, token) in rest.iter().enumerate().skip(2) {
            match token {
                TokenTree::Punct(p) if p.as_char() == ';' => return,
                // A brace inside generic arguments is no body: `-> Array<{ N }>`.
                TokenTree::Group(body)
                    if body.delimiter() == Delimiter::Brace
                        && !matches!(punct(rest.get(at + 1)), Some('>' | ',')) =>
                {
                    let from = rest[0].span().start().line;
                    let lines = body.span_close().end().line - from + 1;
                    if lines > FUNCTION_LINES {
                        let text = format!(
                            "function {name} has {lines} lines, at most {FUNCTION_LINES}: split it"
                        );
                        self.report(&rest[0], &text);
                    }
                    return;
                }
                _ => {}
            }
        }
    }

    fn unsafe_code(&mut self, rest: &[TokenTree]) {
        if is_function_type(rest) {
            return;
        }
        if !self.source.path.starts_with("runtime/") {
            self.report(&rest[0], "unsafe outside runtime/: give runtime/ a safe interface for it");
            return;
        }
        if !self.documented(rest[0].span().start().line) {
            self.report(
                &rest[0],
                "no SAFETY comment above it: say why it is sound, and why safe code cannot do it",
            );
        }
    }

    /// Whether the comment above the statement (or item) on a line speaks of safety. `line` is
    /// counted from 1.
    fn documented(&self, line: usize) -> bool {
        let speaks = |text: &str| text.contains("SAFETY") || text.contains("# Safety");
        let mut at = line - 1;
        if self.lines[at].split_once("//").is_some_and(|(_, comment)| speaks(comment)) {
            return true;
        }
        while at > 0 {
            let above = self.lines[at - 1].trim();
            if above.starts_with("//") {
                if speaks(above) {
                    return true;
                }
            } else if above.is_empty() || (!above.starts_with("#[") && ends_statement(above)) {
                return false;
            }
            at -= 1;
        }
        false
    }

    fn report(&mut self, token: &TokenTree, text: &str) {
        let line = token.span().start().line;
        self.found.push(format!("{}:{line}: {text}", self.source.path));
    }
}

/// Whether what follows begins a statement or item of its own.
fn ends_statement(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default().trim_end();
    code.ends_with([';', '{', '}', ','])
}

fn punct(token: Option<&TokenTree>) -> Option<char> {
    match token {
        Some(TokenTree::Punct(p)) => Some(p.as_char()),
        _ => None,
    }
}

/// `unsafe fn(…)`, `unsafe extern "C" fn(…)` as types do nothing by themselves.
fn is_function_type(rest: &[TokenTree]) -> bool {
    let word =
        |at: usize, word: &str| matches!(rest.get(at), Some(TokenTree::Ident(i)) if i == word);
    let at = if word(1, "extern") { 3 } else { 1 };
    word(at, "fn") && matches!(rest.get(at + 1), Some(TokenTree::Group(_)))
}
