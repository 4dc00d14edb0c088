//! The index against a linear reference, and the rules of each matcher.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// A request as the tests write it.
struct Request {
    path: Option<String>,
    authority: Option<String>,
    https: bool,
    internal: bool,
    headers: Vec<(String, String)>,
}

impl Request {
    fn new(authority: &str, path: &str) -> Self {
        Self {
            path: Some(path.to_owned()),
            authority: Some(authority.to_owned()),
            https: false,
            internal: false,
            headers: Vec::new(),
        }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl RouteRequest for Request {
    fn path(&self) -> Option<&[u8]> {
        self.path.as_deref().map(str::as_bytes)
    }

    fn authority(&self) -> Option<&[u8]> {
        self.authority.as_deref().map(str::as_bytes)
    }

    fn is_connect(&self) -> bool {
        self.path.is_none()
    }

    fn is_https(&self) -> bool {
        self.https
    }

    fn is_internal(&self) -> bool {
        self.internal
    }

    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_bytes())
    }
}

fn route(conditions: Conditions, path: &PathMatch) -> Route {
    Route {
        name: Arc::from(""),
        action: Action::NonForwarding,
        conditions: (!conditions.is_empty()).then(|| Box::new(conditions)),
        matched_len: path.literal_len().and_then(|len| u32::try_from(len).ok()),
        extra: None,
        filters: Overrides::default(),
    }
}

fn prefix(text: &str) -> PathMatch {
    PathMatch::Prefix(Arc::from(text), CaseSensitivity::Sensitive)
}

fn regex(text: &str) -> Arc<regex::bytes::Regex> {
    Arc::new(regex::bytes::Regex::new(&format!("^(?:{text})$")).expect("a regex of this test"))
}

fn table(paths: Vec<PathMatch>) -> RouteTable {
    let routes = paths.into_iter().map(|p| (p.clone(), route(Conditions::default(), &p)));
    let mut table = RouteTable::new(Arc::from("t"));
    let host = VirtualHost::new(Arc::from("h"), routes.collect());
    assert_eq!(table.add_host(host, ["*"].into_iter()), []);
    table
}

fn found(lookup: Lookup) -> Option<u32> {
    match lookup {
        Lookup::Route(id) => Some(id.route),
        Lookup::NotFound | Lookup::RedirectToTls { .. } => None,
    }
}

#[test]
fn the_first_of_several_matching_routes_wins() {
    let sensitive = CaseSensitivity::Sensitive;
    let table = table(vec![
        PathMatch::Exact(Arc::from("/a/b"), sensitive),
        PathMatch::SeparatedPrefix(Arc::from("/a"), sensitive),
        PathMatch::Regex(regex("/a.+")),
        PathMatch::Exact(Arc::from("/ABC"), CaseSensitivity::Insensitive),
        prefix("/a"),
        prefix("/"),
    ]);
    let ask = |path: &str| found(table.find(&Request::new("h", path), 0));
    assert_eq!(ask("/a/b"), Some(0));
    assert_eq!(ask("/a/b?x=/y#z"), Some(0));
    assert_eq!(ask("/a/c"), Some(1));
    assert_eq!(ask("/a"), Some(1));
    assert_eq!(ask("/ab"), Some(2));
    assert_eq!(ask("/aBc"), Some(2));
    assert_eq!(ask("/Abc"), Some(3));
    assert_eq!(ask("/a\n"), Some(4));
    assert_eq!(ask("/"), Some(5));
    assert_eq!(ask("*"), None);
}

#[test]
fn virtual_hosts_by_domain() {
    let mut table = RouteTable::new(Arc::from("t"));
    let hosts: [&[&str]; 7] = [
        &["*"],
        &["*.b.example", "*-x.b.example"],
        &["www.*"],
        &["WWW.b.example", "[::1]:80"],
        &["www.b.*", "10.0.0.*"],
        &["*.a.b.example"],
        &["plain.example:8080"],
    ];
    for domains in hosts {
        let host = VirtualHost::new(Arc::from("h"), Vec::new());
        assert_eq!(table.add_host(host, domains.iter().copied()), []);
    }
    let ask = |table: &RouteTable, host: &str| table.find_host(Some(host.as_bytes()));
    assert_eq!(ask(&table, "www.B.example"), Some(3));
    assert_eq!(ask(&table, "w.b.example"), Some(1));
    assert_eq!(ask(&table, "1-x.b.example"), Some(1));
    assert_eq!(ask(&table, "1.a.b.example"), Some(5));
    assert_eq!(ask(&table, ".b.example"), Some(0), "a star is at least one character");
    assert_eq!(ask(&table, "www."), Some(0), "a star is at least one character");
    assert_eq!(ask(&table, "www.a"), Some(2));
    assert_eq!(ask(&table, "www.b.c"), Some(4));
    assert_eq!(ask(&table, "plain.example"), Some(0));
    assert_eq!(ask(&table, "www.b.example:80"), Some(4));
    assert_eq!(table.find_host(None), None);
    table.ignore_port = true;
    assert_eq!(ask(&table, "www.b.example:80"), Some(3));
    assert_eq!(ask(&table, "[::1]:80"), Some(0));
    assert_eq!(ask(&table, "[::1]"), Some(0));

    let clash = VirtualHost::new(Arc::from("h"), Vec::new());
    let errors = table.add_host(clash, ["new", "*", "www.*", "www.B.example"].into_iter());
    let places: Vec<usize> = errors.iter().map(|(at, _)| *at).collect();
    assert_eq!(places, [1, 2, 3]);
}

#[test]
fn only_a_star_needs_no_authority() {
    let table = table(vec![prefix("/")]);
    let request = Request { authority: None, ..Request::new("", "/") };
    assert_eq!(found(table.find(&request, 0)), Some(0));
    let request = Request { path: None, ..Request::new("", "/") };
    assert_eq!(table.find(&request, 0), Lookup::NotFound);
}

#[test]
fn require_tls_asks_scheme_and_origin() {
    let mut table = RouteTable::new(Arc::from("t"));
    for (kind, domain) in [(RequireTls::All, "all"), (RequireTls::ExternalOnly, "external")] {
        let mut host = VirtualHost::new(
            Arc::from("h"),
            vec![(prefix("/"), route(Conditions::default(), &prefix("/")))],
        );
        host.require_tls = kind;
        table.add_host(host, [domain].into_iter());
    }
    let ask = |host: &str, https, internal| {
        table.find(&Request { https, internal, ..Request::new(host, "/") }, 0)
    };
    assert_eq!(ask("all", false, true), Lookup::RedirectToTls { host: 0 });
    assert_eq!(found(ask("all", true, false)), Some(0));
    assert_eq!(ask("external", false, false), Lookup::RedirectToTls { host: 1 });
    assert_eq!(found(ask("external", false, true)), Some(0));
    assert_eq!(found(ask("external", true, false)), Some(0));
}

/// Does the matcher take a header with these lines?
fn takes(matcher: &HeaderMatcher, lines: &[&str]) -> bool {
    matcher.matches_lines(lines.iter().map(|line| line.as_bytes()))
}

fn header(value: ValueMatch) -> HeaderMatcher {
    HeaderMatcher { name: Arc::from("x"), value, invert: false, missing_as_empty: false }
}

#[test]
fn header_matchers() {
    let text = |s: &str| Arc::<str>::from(s);
    let s = CaseSensitivity::Sensitive;
    let i = CaseSensitivity::Insensitive;
    let cases = [
        (ValueMatch::String(StringMatch::Exact(text("ab"), s)), "ab", "AB"),
        (ValueMatch::String(StringMatch::Exact(text("ab"), i)), "AB", "abc"),
        (ValueMatch::String(StringMatch::Prefix(text("ab"), s)), "abc", "Abc"),
        (ValueMatch::String(StringMatch::Prefix(text("ab"), i)), "ABc", "a"),
        (ValueMatch::String(StringMatch::Suffix(text("bc"), s)), "abc", "abC"),
        (ValueMatch::String(StringMatch::Suffix(text("bc"), i)), "aBC", "c"),
        (ValueMatch::String(StringMatch::Contains(text("b"), s)), "abc", "aBc"),
        (ValueMatch::String(StringMatch::Contains(text("b"), i)), "aBc", "ac"),
        (ValueMatch::String(StringMatch::Regex(regex("a+"))), "aa", "aab"),
        (ValueMatch::Range(-5, 10), "-5", "10"),
        (ValueMatch::Range(-5, 10), "9", "9a"),
        (ValueMatch::Range(-5, 10), "0", ""),
    ];
    for (value, yes, no) in cases {
        let matcher = header(value);
        assert!(takes(&matcher, &[yes]), "{matcher:?} {yes}");
        assert!(!takes(&matcher, &[no]), "{matcher:?} {no}");
        assert!(!takes(&matcher, &[]), "{matcher:?} missing");
        let inverted = HeaderMatcher { invert: true, ..matcher };
        assert!(!takes(&inverted, &[yes]), "{inverted:?} {yes}");
        assert!(takes(&inverted, &[no]), "{inverted:?} {no}");
        assert!(!takes(&inverted, &[]), "{inverted:?} missing");
    }
}

#[test]
fn header_lines_count_one_by_one() {
    let exact = StringMatch::Exact(Arc::from("a"), CaseSensitivity::Sensitive);
    let mut matcher = header(ValueMatch::String(exact));
    assert!(takes(&matcher, &["b", "a"]));
    assert!(!takes(&matcher, &["b", "a,b"]));
    matcher.invert = true;
    assert!(!takes(&matcher, &["b", "a"]));
    assert!(takes(&matcher, &["b", "c"]));
}

#[test]
fn missing_headers() {
    let empty =
        || ValueMatch::String(StringMatch::Exact(Arc::from(""), CaseSensitivity::Sensitive));
    let mut matcher = HeaderMatcher { missing_as_empty: true, ..header(empty()) };
    assert!(takes(&matcher, &[]));
    matcher.invert = true;
    assert!(!takes(&matcher, &[]));
    for (wanted, invert, present, missing) in [
        (true, false, true, false),
        (true, true, false, true),
        (false, false, false, true),
        (false, true, true, false),
    ] {
        let matcher = HeaderMatcher { invert, ..header(ValueMatch::Present(wanted)) };
        assert_eq!(takes(&matcher, &[""]), present, "{matcher:?}");
        assert_eq!(takes(&matcher, &[]), missing, "{matcher:?}");
    }
}

#[test]
fn query_parameters() {
    let matcher = |name: &str, value| QueryMatcher { name: Arc::from(name), value };
    let exact = |text: &str| {
        QueryMatch::String(StringMatch::Exact(Arc::from(text), CaseSensitivity::Sensitive))
    };
    assert!(matcher("b", exact("1")).matches(b"a=0&b=1&b=2"));
    assert!(!matcher("b", exact("2")).matches(b"a=0&b=1&b=2"), "only the first value counts");
    assert!(matcher("b", exact("")).matches(b"a&b&c"));
    assert!(matcher("bb", QueryMatch::Present(true)).matches(b"b=1&bb"));
    assert!(!matcher("b", QueryMatch::Present(true)).matches(b"bb=1&ab=2"));
    assert!(matcher("b", QueryMatch::Present(false)).matches(b""));
    assert!(matcher("b", exact("1=2")).matches(b"b=1=2"));
}

#[test]
fn conditions_decide_between_equal_paths() {
    let grpc = Conditions { grpc: true, ..Conditions::default() };
    let query = Conditions {
        query: vec![QueryMatcher { name: Arc::from("q"), value: QueryMatch::Present(true) }],
        ..Conditions::default()
    };
    let half = Conditions {
        fraction: Some(Fraction { numerator: 50, denominator: 100 }),
        ..Conditions::default()
    };
    let routes = [grpc, query, half, Conditions::default()]
        .into_iter()
        .map(|conditions| (prefix("/"), route(conditions, &prefix("/"))))
        .collect();
    let mut table = RouteTable::new(Arc::from("t"));
    table.add_host(VirtualHost::new(Arc::from("h"), routes), ["*"].into_iter());
    let ask = |request: Request, random| found(table.find(&request, random));
    let plain = || Request::new("h", "/");
    assert_eq!(ask(plain().with("content-type", "application/grpc"), 99), Some(0));
    assert_eq!(ask(plain().with("content-type", "application/grpc+proto"), 99), Some(0));
    assert_eq!(ask(plain().with("content-type", "application/grpc-web"), 99), Some(3));
    assert_eq!(ask(Request::new("h", "/?q"), 99), Some(1));
    assert_eq!(ask(plain(), 149), Some(2));
    assert_eq!(ask(plain(), 150), Some(3));
}

/// Short strings over a small alphabet, so that conditions overlap often.
fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof![Just('/'), Just('a'), Just('A'), Just('b')], 0..6)
        .prop_map(|chars| chars.into_iter().collect())
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    let case = prop_oneof![Just(CaseSensitivity::Sensitive), Just(CaseSensitivity::Insensitive)];
    (text(), case, 0..4).prop_map(|(text, case, kind)| match kind {
        0 => PathMatch::Prefix(Arc::from(text), case),
        1 => PathMatch::SeparatedPrefix(Arc::from(text), case),
        2 => PathMatch::Exact(Arc::from(text), case),
        _ => PathMatch::Regex(regex(&format!("{text}.?"))),
    })
}

proptest! {
    /// The index visits exactly the routes whose condition holds, in the order of the
    /// configuration, whatever the extra conditions refuse.
    #[test]
    fn index_visits_what_a_walk_over_all_routes_finds(
        paths in proptest::collection::vec(path_match(), 0..40),
        path in text(),
        refused in 0_usize..4,
    ) {
        let index = index::PathIndex::new(paths.iter());
        let expected: Vec<u32> = (0..)
            .zip(&paths)
            .filter(|(_, condition)| condition.matches(path.as_bytes()))
            .map(|(route, _)| route)
            .take(refused + 1)
            .collect();
        let mut visited = Vec::new();
        let found = index.first(path.as_bytes(), |route| {
            visited.push(route);
            visited.len() > refused
        });
        prop_assert_eq!(&visited, &expected);
        prop_assert_eq!(found, expected.get(refused).copied());
    }
}
