//! Patterns of RE2 and what becomes of them.

use super::*;

#[test]
fn patterns_mean_what_they_mean_in_re2() {
    for (pattern, yes, no) in [
        ("/a{x}", "/a{x}", "/a"),
        ("a{2,3}", "aaa", "aaaa"),
        ("a{,3}", "a{,3}", "aa"),
        (r"\Qa.b\E+", "a.bb", "axb"),
        ("[[a]+", "[a", "b"),
        ("[a&&b]+", "&", "c"),
        ("[]a]+", "]a", "b"),
        ("[^]a]+", "b", "]"),
        ("[[:alpha:]]+", "abc", "1"),
        (r"\d+", "12", "١"),
        (r"\w", "a", "é"),
        (".", "a", "\n"),
        ("(?i)ab", "AB", "A"),
        ("a|bc", "bc", "ac"),
        (r"[\d\-]+", "1-2", "a"),
        ("é+", "éé", "e"),
        (r"\pL+", "éa", "1"),
    ] {
        let regex = full_match(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        assert!(regex.is_match(yes.as_bytes()), "{pattern} takes {yes}: {regex}");
        assert!(!regex.is_match(no.as_bytes()), "{pattern} leaves {no}: {regex}");
    }
    for pattern in ["(", "a(?=b)", "[a", r"\1", "*"] {
        assert!(full_match(pattern).is_err(), "{pattern}");
    }
}

#[test]
fn substitutions() {
    let ok = |text, groups| substitution(text, groups).ok();
    assert_eq!(ok(r"/\1/\2$", 3).as_deref(), Some("/${1}/${2}$$"));
    assert_eq!(ok(r"a\\b\0", 1).as_deref(), Some(r"a\b${0}"));
    assert_eq!(substitution(r"\2", 2), Err((None, Error::Group { group: 2, groups: 1 })));
    assert!(matches!(substitution(r"ab\x", 1), Err((Some(text), _)) if text == "ab"));
}
