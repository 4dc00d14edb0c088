//! Regular expressions from a query, with RE2's words for what is wrong in them.

use regex::{Regex, RegexBuilder};

/// Memory a filter's program may take: a client chose the expression.
const PROGRAM_BYTES_MAX: usize = 1 << 20;

/// Compiles a filter. It matches anywhere in a name, as in Envoy.
///
/// # Errors
/// What is wrong, as RE2 would put it where it has words for the same thing.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(PROGRAM_BYTES_MAX)
        .build()
        .map_err(|error| explain(pattern, &error))
}

fn explain(pattern: &str, error: &regex::Error) -> String {
    let text = match error {
        regex::Error::CompiledTooBig(_) => return "pattern too large - compile failed".to_owned(),
        other => other.to_string(),
    };
    // The parser's last line is its verdict; the lines above draw the pattern.
    let verdict = text.lines().last().unwrap_or_default();
    let verdict = verdict.trim_start_matches("error: ");
    const KNOWN: [(&str, &str); 5] = [
        ("unclosed group", "missing )"),
        ("unopened group", "unexpected )"),
        ("unclosed character class", "missing ]"),
        ("repetition operator missing expression", "no argument for repetition operator"),
        ("incomplete escape sequence", "trailing \\"),
    ];
    let Some((_, re2)) = KNOWN.iter().find(|(ours, _)| verdict.starts_with(ours)) else {
        return format!("{verdict}: {pattern}");
    };
    match *re2 {
        "trailing \\" => "trailing \\ at end of regexp".to_owned(),
        "missing ]" => {
            let from = pattern.rfind('[').unwrap_or(0);
            format!("missing ]: {}", pattern.get(from..).unwrap_or(pattern))
        }
        "no argument for repetition operator" => {
            let operator = pattern.chars().find(|c| matches!(c, '*' | '+' | '?')).unwrap_or('*');
            format!("{re2}: {operator}")
        }
        _ => format!("{re2}: {pattern}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_fault_as_re2_does() {
        let error = |pattern| compile(pattern).unwrap_err();
        assert_eq!(error("("), "missing ): (");
        assert_eq!(error("a)"), "unexpected ): a)");
        assert_eq!(error("a[b"), "missing ]: [b");
        assert_eq!(error("*a"), "no argument for repetition operator: *");
        assert_eq!(error("a\\"), "trailing \\ at end of regexp");
        assert_eq!(error("(a{1000}){1000}"), "pattern too large - compile failed");
    }

    #[test]
    fn matches_anywhere() {
        assert!(compile("live").unwrap().is_match("server.live"));
    }
}
