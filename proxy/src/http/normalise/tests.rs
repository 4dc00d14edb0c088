use ringway_wire::RequestHead;

use super::*;

fn run(rules: Normalise, path: &str) -> (Result<Normalised, Refused>, String) {
    let mut head = RequestHead { path: path.into(), ..RequestHead::default() };
    let outcome = normalise(&mut head, &rules, 80);
    (outcome, String::from_utf8(head.path).unwrap())
}

fn path(path: &str) -> String {
    run(Normalise { path: true, ..Normalise::default() }, path).1
}

#[test]
fn canonical_form_is_that_of_envoy() {
    for (from, to) in [
        ("/a/./b/../c", "/a/c"),
        ("/a/%2e%2e/b", "/b"),
        ("/%41%7e%2d", "/A~-"),
        ("/a%20b", "/a%20b"),
        ("/a\\b", "/a/b"),
        ("/a%5cb", "/a%5cb"),
        ("//a//b", "//a//b"),
        ("/..", "/"),
        ("/../..//x", "//x"),
        ("/a/b/..", "/a/"),
        ("/a/b/.", "/a/b/"),
        ("/a\"b<c>`{|}^b", "/a%22b%3Cc%3E%60%7B%7C%7D%5Eb"),
        ("/a%zzb", "/a%zzb"),
        ("/a%2", "/a%2"),
        ("/a?x=/../b%41", "/a?x=/../b%41"),
        ("/a/..;/b", "/b"),
        ("/.a/..b/c..", "/.a/..b/c.."),
        ("/a%2523", "/a%2523"),
    ] {
        assert_eq!(path(from), to, "{from}");
    }
}

#[test]
fn nul_is_refused() {
    let rules = Normalise { path: true, ..Normalise::default() };
    assert_eq!(run(rules, "/a%00b").0, Err(Refused));
}

#[test]
fn escaped_slashes_follow_their_action() {
    let with = |escaped_slashes| Normalise { escaped_slashes, ..Normalise::default() };
    assert_eq!(run(with(EscapedSlashes::Keep), "/a%2Fb").1, "/a%2Fb");
    assert_eq!(run(with(EscapedSlashes::Reject), "/a%2fb").0, Err(Refused));
    assert_eq!(run(with(EscapedSlashes::Reject), "/ab").0, Ok(Normalised::Forward));
    let redirect = run(with(EscapedSlashes::UnescapeAndRedirect), "/a%2Fb%5Cc?d%2F");
    assert_eq!(redirect, (Ok(Normalised::Redirect), "/a/b\\c?d%2F".into()));
    let forward = run(with(EscapedSlashes::UnescapeAndForward), "/a%2Fb");
    assert_eq!(forward, (Ok(Normalised::Forward), "/a/b".into()));
}

#[test]
fn slashes_merge_in_the_path_only() {
    let rules = Normalise { merge_slashes: true, ..Normalise::default() };
    assert_eq!(run(rules, "//a///b/?c//d").1, "/a/b/?c//d");
}

#[test]
fn ports_and_dots_go_from_the_host() {
    let strip = |strip_port, strip_trailing_dot, authority: &str| {
        let rules = Normalise { strip_port, strip_trailing_dot, ..Normalise::default() };
        let mut head = RequestHead { authority: authority.into(), ..RequestHead::default() };
        head.path = b"/".to_vec();
        normalise(&mut head, &rules, 80).unwrap();
        String::from_utf8(head.authority).unwrap()
    };
    assert_eq!(strip(StripPort::Any, false, "a.b:81"), "a.b");
    assert_eq!(strip(StripPort::Matching, false, "a.b:81"), "a.b:81");
    assert_eq!(strip(StripPort::Matching, false, "a.b:80"), "a.b");
    assert_eq!(strip(StripPort::None, true, "a.b.:80"), "a.b:80");
    assert_eq!(strip(StripPort::Any, true, "[::1]:80"), "[::1]");
}
