//! RE2's syntax, in which Envoy's regular expressions are written, to the regex crate's.
//!
//! Both are linear-time engines with nearly the same language. What differs is rewritten here:
//! RE2's classes `\d \w \s` and `\b` are ASCII, `\Q…\E` quotes, a `{` that begins no repetition is
//! itself, and inside brackets `[`, `&&`, `--` and `~~` are plain characters.

#[cfg(test)]
mod tests;

use regex::bytes::{Regex, RegexBuilder};

/// Why a pattern or a substitution cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Not a regular expression.
    #[error("invalid regex '{pattern}': {reason}")]
    Syntax {
        /// As configured.
        pattern: String,
        /// The engine's words.
        reason: String,
    },
    /// Not a substitution.
    #[error("invalid substitution '{0}': \\ must be followed by a digit or another \\")]
    Substitution(String),
    /// Refers to a group the pattern does not have.
    #[error("substitution refers to group \\{group}, but the regex has {groups}")]
    Group {
        /// The number used.
        group: usize,
        /// How many there are.
        groups: usize,
    },
}

/// Bytes a compiled program may take.
const PROGRAM_BYTES_MAX: usize = 4 << 20;

/// Compiles a pattern that must match the whole value.
pub(crate) fn full_match(pattern: &str) -> Result<Regex, Error> {
    build(pattern, &format!("^(?:{})$", translate(pattern)))
}

/// Compiles a pattern that is looked for.
pub(crate) fn search(pattern: &str) -> Result<Regex, Error> {
    build(pattern, &translate(pattern))
}

fn build(pattern: &str, translated: &str) -> Result<Regex, Error> {
    // Without Unicode `\d`, `\w`, `\b` and `.` mean what they mean in RE2 on ASCII, and programs
    // are small. Patterns with Unicode classes do not compile so and are tried again with it.
    let build = |unicode| {
        RegexBuilder::new(translated).unicode(unicode).size_limit(PROGRAM_BYTES_MAX).build()
    };
    build(false).or_else(|error| build(true).map_err(|_| error)).map_err(|error| Error::Syntax {
        pattern: pattern.to_owned(),
        reason: error.to_string().lines().last().unwrap_or("not a regex").to_owned(),
    })
}

/// RE2's rewrite string (`\1`, `\\`) as the regex crate's replacement (`${1}`, `\`, `$$`).
///
/// Envoy takes any text. Where it makes no sense RE2 gives up while it replaces, and so: `Err` has
/// what is replaced then (nothing at all if a group is missing) and why.
pub(crate) fn substitution(text: &str, groups: usize) -> Result<String, (Option<String>, Error)> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '$' => out.push_str("$$"),
            '\\' => match chars.next() {
                Some('\\') => out.push('\\'),
                Some(digit) if digit.is_ascii_digit() => {
                    let group = digit.to_digit(10).unwrap_or_default() as usize;
                    if group >= groups {
                        let groups = groups.saturating_sub(1);
                        return Err((None, Error::Group { group, groups }));
                    }
                    out.push_str("${");
                    out.push(digit);
                    out.push('}');
                }
                _ => return Err((Some(out), Error::Substitution(text.to_owned()))),
            },
            other => out.push(other),
        }
    }
    Ok(out)
}

/// A pattern in the regex crate's syntax.
pub(crate) fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = match c {
            '\\' => escape(rest, &mut out),
            '[' => class(rest, &mut out),
            '{' if !is_repetition(rest) => {
                out.push_str("\\{");
                &rest[1..]
            }
            _ => {
                out.push(c);
                &rest[c.len_utf8()..]
            }
        };
    }
    out
}

/// A backslash and what belongs to it; `rest` begins with the backslash.
fn escape<'a>(rest: &'a str, out: &mut String) -> &'a str {
    if let Some(quoted) = rest.strip_prefix("\\Q") {
        let (text, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
        out.push_str(&regex::escape(text));
        return after;
    }
    if let Some(after) = rest.strip_prefix("\\C") {
        // Any byte; without Unicode that is what a dot with `s` matches.
        out.push_str("(?s-u:.)");
        return after;
    }
    let len = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
    out.push_str(&rest[..len]);
    &rest[len..]
}

/// A bracketed class; `rest` begins with the bracket.
fn class<'a>(rest: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    let mut rest = &rest[1..];
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut first = true;
    while let Some(c) = rest.chars().next() {
        match c {
            ']' if !first => {
                out.push(']');
                return &rest[1..];
            }
            ']' => {
                out.push_str("\\]");
                rest = &rest[1..];
            }
            '[' if rest.starts_with("[:") && rest.contains(":]") => {
                let end = rest.find(":]").map_or(rest.len(), |at| at + 2);
                out.push_str(&rest[..end]);
                rest = &rest[end..];
            }
            '[' | '&' | '~' => {
                out.push('\\');
                out.push(c);
                rest = &rest[1..];
            }
            '-' if rest.starts_with("--") => {
                out.push_str("\\-");
                rest = &rest[1..];
            }
            '\\' => rest = escape(rest, out),
            _ => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        first = false;
    }
    rest
}

/// `{n}`, `{n,}` or `{n,m}`.
fn is_repetition(rest: &str) -> bool {
    let Some((inner, _)) = rest.get(1..).and_then(|r| r.split_once('}')) else { return false };
    let (low, high) = inner.split_once(',').unwrap_or((inner, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !low.is_empty() && digits(low) && digits(high)
}
