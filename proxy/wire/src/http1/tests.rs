use super::*;
use crate::error::Blame;
use crate::message::{Method, RequestHead, ResponseHead, Scheme, Version};
use crate::names::KnownName;

fn request_with(options: &ParseOptions, input: &str) -> Result<(ParsedHead, RequestHead), H1Rule> {
    let mut head = RequestHead::default();
    let parsed = parse_request(input.as_bytes(), &RequestLimits::default(), options, &mut head);
    match parsed {
        Ok(Some(parsed)) => Ok((parsed, head)),
        Ok(None) => panic!("incomplete: {input:?}"),
        Err(error) => Err(error.rule),
    }
}

fn request(input: &str) -> Result<(ParsedHead, RequestHead), H1Rule> {
    request_with(&ParseOptions::default(), input)
}

/// A GET of `/` for host `h` with these header lines.
fn get(lines: &str) -> Result<(ParsedHead, RequestHead), H1Rule> {
    request(&format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n"))
}

fn response_to(method: Method, input: &str) -> Result<(ParsedHead, ResponseHead), H1Rule> {
    let mut head = ResponseHead::default();
    let (limits, options) = (HeadLimits::RESPONSE, ParseOptions::default());
    match parse_response(input.as_bytes(), &limits, &options, &method, &mut head) {
        Ok(Some(parsed)) => Ok((parsed, head)),
        Ok(None) => panic!("incomplete: {input:?}"),
        Err(error) => {
            assert_eq!((error.blame, error.status()), (Blame::Upstream, 502));
            Err(error.rule)
        }
    }
}

fn response(input: &str) -> Result<(ParsedHead, ResponseHead), H1Rule> {
    response_to(Method::Get, input)
}

fn written(head: &RequestHead, format: HeaderKeyFormat) -> String {
    let mut out = Vec::new();
    encode_request_head(head, Framing::AsIs, format, &mut out);
    String::from_utf8(out).expect("ASCII in these tests")
}

#[test]
fn a_plain_get() {
    let text = "GET /a?b=c HTTP/1.1\r\nHost: x.example\r\nAccept:*/*\r\nX-Own:  v \t\r\n\r\nrest";
    let (parsed, head) = request(text).expect("valid");
    assert_eq!(parsed.head_len, text.len() - 4);
    assert_eq!((parsed.body, parsed.keep_alive, parsed.upgrade), (BodyKind::None, true, false));
    assert_eq!((head.method, head.version, head.scheme), (Method::Get, Version::Http11, None));
    assert_eq!((&head.path[..], &head.authority[..]), (&b"/a?b=c"[..], &b"x.example"[..]));
    assert_eq!(head.headers.get("x-own"), Some(&b"v"[..]));
    assert_eq!(
        written(&head, HeaderKeyFormat::LowerCase),
        "GET /a?b=c HTTP/1.1\r\nhost: x.example\r\naccept: */*\r\nx-own: v\r\n\r\n"
    );
}

#[test]
fn targets() {
    let target = |t: &str| request(&format!("GET {t} HTTP/1.1\r\nHost: h\r\n\r\n"));
    let (_, head) = target("HTTP://User@Foo.example:80/a?b").expect("valid");
    assert_eq!(head.scheme, Some(Scheme::Http));
    assert_eq!((&head.path[..], &head.authority[..]), (&b"/a?b"[..], &b"Foo.example:80"[..]));
    let (_, head) = target("https://[::1]").expect("valid");
    assert_eq!((&head.path[..], &head.authority[..]), (&b"/"[..], &b"[::1]"[..]));
    for (bad, rule) in [
        ("ftp://h/", H1Rule::Target),
        ("a", H1Rule::Target),
        ("*", H1Rule::Target),
        ("/\u{e4}", H1Rule::Target),
        ("/\t", H1Rule::Target),
        ("/#f", H1Rule::Fragment),
        ("http:///a", H1Rule::Url),
        ("http://a@b@c/", H1Rule::Url),
        ("http://a:/", H1Rule::Url),
        ("http://a:65536/", H1Rule::Url),
        ("http://[::1/", H1Rule::Url),
        ("http://h?q", H1Rule::Url),
    ] {
        assert_eq!(target(bad).err(), Some(rule), "{bad}");
    }
    let no_urls = ParseOptions { allow_absolute_url: false, ..ParseOptions::default() };
    let url = "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(request_with(&no_urls, url).err(), Some(H1Rule::Target));
}

#[test]
fn connect_and_options() {
    let (parsed, head) = request("CONNECT h:443 HTTP/1.1\r\nHost: other\r\n\r\n").expect("valid");
    assert!(parsed.upgrade && head.path.is_empty());
    assert_eq!(
        written(&head, HeaderKeyFormat::LowerCase),
        "CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n\r\n"
    );
    let bad = |lines: &str, target: &str| {
        request(&format!("CONNECT {target} HTTP/1.1\r\nHost: h\r\n{lines}\r\n")).err()
    };
    assert_eq!(bad("", "h"), Some(H1Rule::Url));
    assert_eq!(bad("", "/a"), Some(H1Rule::Url));
    assert_eq!(bad("Content-Length: 3\r\n", "h:1"), Some(H1Rule::ConnectBody));
    assert_eq!(bad("Transfer-Encoding: chunked\r\n", "h:1"), Some(H1Rule::TransferCoding));
    let (_, head) = request("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").expect("valid");
    assert_eq!(head.path, b"*");
}

#[test]
fn request_lines_are_read_strictly() {
    for (line, rule) in [
        ("GET  / HTTP/1.1", H1Rule::RequestLine),
        ("GET /  HTTP/1.1", H1Rule::RequestLine),
        ("GET / HTTP/1.1 ", H1Rule::RequestLine),
        ("GET /", H1Rule::RequestLine),
        (" GET / HTTP/1.1", H1Rule::RequestLine),
        ("GE\tT / HTTP/1.1", H1Rule::RequestLine),
        ("GET / http/1.1", H1Rule::Version),
        ("GET / HTTP/1.1x", H1Rule::Version),
        ("get / HTTP/1.1", H1Rule::Method),
        ("BREW / HTTP/1.1", H1Rule::Method),
        ("QUERY / HTTP/1.1", H1Rule::QueryWithoutType),
    ] {
        assert_eq!(request(&format!("{line}\r\nHost: h\r\n\r\n")).err(), Some(rule), "{line}");
    }
    let custom = ParseOptions { allow_custom_methods: true, ..ParseOptions::default() };
    assert!(request_with(&custom, "BREW / HTTP/1.1\r\nHost: h\r\n\r\n").is_ok());
    // Empty lines before a request are skipped, garbage is refused without waiting for a line.
    assert!(request("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n").is_ok());
    assert_eq!(request("\u{16}\u{3}\u{1}").err(), Some(H1Rule::RequestLine));
}

#[test]
fn header_lines_are_read_strictly() {
    for (lines, rule) in [
        ("X Y: 1\r\n", H1Rule::HeaderName),
        ("X : 1\r\n", H1Rule::HeaderName),
        (": 1\r\n", H1Rule::HeaderName),
        ("nocolon\r\n", H1Rule::HeaderName),
        ("X: 1\r\n folded\r\n", H1Rule::Folded),
        ("X: a\rb\r\n", H1Rule::HeaderValue),
        ("X: a\0b\r\n", H1Rule::HeaderValue),
        ("X: 1\n", H1Rule::BareLf),
        ("\nX: 1\r\n", H1Rule::BareLf),
        ("Host: h\r\n", H1Rule::SeveralHosts),
        ("Content-Length: +1\r\n", H1Rule::ContentLength),
        ("Content-Length: 01\r\n", H1Rule::ContentLength),
        ("Content-Length: 1, 1\r\n", H1Rule::ContentLength),
        ("Content-Length: 1\r\nContent-Length: 1\r\n", H1Rule::ContentLength),
        ("Content-Length: 18446744073709551616\r\n", H1Rule::ContentLength),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", H1Rule::LengthAndCoding),
        ("Transfer-Encoding: gzip, chunked\r\n", H1Rule::TransferCoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", H1Rule::TransferCoding),
        ("Transfer-Encoding:\r\n", H1Rule::TransferCoding),
        ("Connection: x, Transfer-Encoding\r\n", H1Rule::Nominated),
        ("Connection: :path\r\n", H1Rule::Nominated),
        ("Connection: 1,2,3,4,5,6,7,8,9,10\r\n", H1Rule::Nominated),
    ] {
        assert_eq!(get(lines).err(), Some(rule), "{lines:?}");
    }
    assert_eq!(request("GET / HTTP/1.1\r\n\r\n").err(), Some(H1Rule::MissingHost));
    assert_eq!(request("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n").err(), Some(H1Rule::Authority));
    assert!(request("GET / HTTP/1.1\r\nHost:\r\n\r\n").is_ok(), "an empty host is legal");
}

#[test]
fn bodies_of_requests() {
    let body = |lines: &str| get(lines).map(|(parsed, _)| parsed.body);
    assert_eq!(body("Content-Length: 5\r\n"), Ok(BodyKind::Length(5)));
    assert_eq!(body("Content-Length: 0\r\n"), Ok(BodyKind::None));
    assert_eq!(body("Transfer-Encoding: CHUNKED\r\n"), Ok(BodyKind::Chunked));
    let lax = ParseOptions { allow_chunked_length: true, ..ParseOptions::default() };
    let both =
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (parsed, head) = request_with(&lax, both).expect("allowed");
    assert_eq!(parsed.body, BodyKind::Chunked);
    assert!(!head.headers.contains(KnownName::ContentLength));
}

#[test]
fn http_10() {
    let text = "GET / HTTP/1.0\r\n\r\n";
    assert_eq!(request(text).err(), Some(H1Rule::Http10));
    let on = ParseOptions {
        accept_http_10: true,
        default_host_for_http_10: b"fallback".to_vec(),
        ..ParseOptions::default()
    };
    let (parsed, head) = request_with(&on, text).expect("accepted");
    assert_eq!((parsed.keep_alive, head.authority.as_slice()), (false, &b"fallback"[..]));
    let kept = "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
    assert!(request_with(&on, kept).expect("accepted").0.keep_alive);
    let coded = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(request_with(&on, coded).err(), Some(H1Rule::TransferCodingHttp10));
}

#[test]
fn connection_decides_what_goes_on() {
    let (parsed, head) =
        get("Connection: keep-alive, X-Foo, TE\r\nX-Foo: 1\r\nTE: trailers, gzip\r\n\
        Keep-Alive: 5\r\nProxy-Connection: keep-alive\r\nUpgrade: foo\r\nTrailer: x\r\n")
        .expect("valid");
    assert!(parsed.keep_alive && !parsed.upgrade);
    let mut headers = head.headers;
    strip_request_hop_by_hop(&mut headers, false);
    let left: Vec<_> = headers.iter().collect();
    assert_eq!(left, [(&b"te"[..], &b"trailers"[..]), (b"trailer", b"x")]);
    let keeps = |lines: &str| get(lines).expect("valid").0.keep_alive;
    assert!(!keeps("Connection: x, Close\r\n"));
    assert!(!keeps("Connection: keep-alive\r\nConnection: close\r\n"));
    assert!(!keeps("Proxy-Connection: close\r\n"));
    assert!(keeps("TE: gzip\r\n"));
}

#[test]
fn upgrades() {
    let upgrade = |lines: &str| get(lines).expect("valid").0.upgrade;
    assert!(upgrade("Connection: x, Upgrade\r\nUpgrade: websocket\r\n"));
    assert!(!upgrade("Connection: Upgrade\r\n"));
    assert!(!upgrade("Upgrade: websocket\r\n"));
    assert!(!upgrade("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"));
    let (_, head) = get("Connection: Upgrade, x\r\nUpgrade: ws\r\nX: 1\r\n").expect("valid");
    let mut headers = head.headers;
    strip_request_hop_by_hop(&mut headers, true);
    assert!(is_upgrade(&headers) && headers.contains("x"));
}

#[test]
fn lines_of_one_name_are_joined_as_in_envoy() {
    let lines = "X-Forwarded-For: 1\r\nX-A: 1\r\nCookie: a\r\nX-Forwarded-For: 2\r\nX-A: 2\r\n\
        Cookie: b\r\nDate: a\r\nDate: b\r\n";
    let (_, head) = get(lines).expect("valid");
    assert_eq!(
        written(&head, HeaderKeyFormat::LowerCase),
        "GET / HTTP/1.1\r\nhost: h\r\nx-forwarded-for: 1,2\r\nx-a: 1\r\ncookie: a\r\nx-a: 2\r\n\
         cookie: b\r\ndate: a\r\ndate: b\r\n\r\n"
    );
    let text = "HTTP/1.1 200 OK\r\nDate: a\r\nDate: b\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
    let (_, head) = response(text).expect("valid");
    assert_eq!(head.headers.get_all(KnownName::Date).collect::<Vec<_>>(), [b"a,b"]);
    assert_eq!(head.headers.count(KnownName::SetCookie), 2);
}

#[test]
fn joining_many_lines_costs_their_bytes() {
    let value = "a".repeat(590);
    let lines: String =
        (0..48).map(|_| format!("Via: {value}\r\nX-Forwarded-For: {value}\r\n")).collect();
    let (_, head) = get(&lines).expect("valid");
    assert_eq!(head.headers.len(), 2);
    assert_eq!(head.headers.byte_size(), 3 + 15 + 2 * (48 * 591 - 1));
    let mut out = Vec::new();
    encode_request_head(&head, Framing::AsIs, HeaderKeyFormat::LowerCase, &mut out);
    assert!(head.headers.arena_bytes() < 3 * out.len(), "{}", head.headers.arena_bytes());
}

#[test]
fn spelling_of_names() {
    let text = "GET / HTTP/1.1\r\nHOST: h\r\nX-B3-traceID: 1\r\nfoo$b#are_z9a: 2\r\n\r\n";
    let options = ParseOptions {
        header_key_format: HeaderKeyFormat::PreserveCase,
        ..ParseOptions::default()
    };
    let (_, mut head) = request_with(&options, text).expect("valid");
    head.headers.set(KnownName::XB3TraceId, b"new");
    head.headers.append("x-added", b"3");
    assert_eq!(
        written(&head, HeaderKeyFormat::PreserveCase),
        "GET / HTTP/1.1\r\nHOST: h\r\nX-B3-traceID: new\r\nfoo$b#are_z9a: 2\r\nx-added: 3\r\n\r\n"
    );
    assert_eq!(
        written(&head, HeaderKeyFormat::ProperCase),
        "GET / HTTP/1.1\r\nHost: h\r\nX-B3-Traceid: new\r\nFoo$B#Are_Z9a: 2\r\nX-Added: 3\r\n\r\n"
    );
}

#[test]
fn underscores() {
    let text = "GET / HTTP/1.1\r\nHost: h\r\nx_y: 1\r\n\r\n";
    let with = |action| {
        let options =
            ParseOptions { headers_with_underscores_action: action, ..ParseOptions::default() };
        request_with(&options, text).map(|(_, head)| head.headers.len())
    };
    assert_eq!(with(UnderscoreAction::Allow), Ok(1));
    assert_eq!(with(UnderscoreAction::DropHeader), Ok(0));
    assert_eq!(with(UnderscoreAction::RejectRequest), Err(H1Rule::Underscore));
}

#[test]
fn limits_are_exact() {
    // Host counts.
    assert!(get(&"X: 1\r\n".repeat(99)).is_ok());
    assert_eq!(get(&"X: 1\r\n".repeat(100)).err(), Some(H1Rule::TooManyHeaders));
    let base = "GET / HTTP/1.1\r\nHost: h\r\nX: \r\n\r\n".len();
    let fits = "a".repeat(60 * 1024 - base);
    assert!(get(&format!("X: {fits}\r\n")).is_ok());
    assert_eq!(get(&format!("X: {fits}a\r\n")).err(), Some(H1Rule::HeadTooLarge));
    // Without an end in sight as well.
    let endless = format!("GET /{}", "a".repeat(61 * 1024));
    assert_eq!(request(&endless).err(), Some(H1Rule::HeadTooLarge));
}

#[test]
fn bodies_of_responses() {
    let kind = |method, text: &str| {
        response_to(method, &format!("HTTP/1.1 {text}\r\n\r\n"))
            .map(|(p, _)| (p.body, p.keep_alive))
    };
    let get = |text: &str| kind(Method::Get, text);
    assert_eq!(get("200 OK\r\nContent-Length: 2"), Ok((BodyKind::Length(2), true)));
    assert_eq!(get("200 OK\r\nTransfer-Encoding: chunked"), Ok((BodyKind::Chunked, true)));
    assert_eq!(get("200 OK"), Ok((BodyKind::UntilClose, false)));
    assert_eq!(get("204 No Content\r\nContent-Length: 0"), Ok((BodyKind::None, true)));
    assert_eq!(get("204 N\r\nContent-Length: 2"), Err(H1Rule::LengthNotAllowed));
    assert_eq!(get("204 N\r\nTransfer-Encoding: chunked"), Err(H1Rule::TransferCodingNotAllowed));
    assert_eq!(get("304 N\r\nContent-Length: 20"), Ok((BodyKind::None, true)));
    assert_eq!(get("304 N\r\nTransfer-Encoding: chunked"), Ok((BodyKind::None, true)));
    assert_eq!(get("103 Early Hints\r\nLink: x"), Ok((BodyKind::None, true)));
    assert_eq!(get("101 Switching"), Ok((BodyKind::UntilClose, false)));
    assert_eq!(get("200 OK\r\nTransfer-Encoding: identity"), Err(H1Rule::TransferCoding));
    assert_eq!(kind(Method::Head, "200 OK\r\nContent-Length: 9"), Ok((BodyKind::None, true)));
    assert_eq!(kind(Method::Connect, "200 OK"), Ok((BodyKind::UntilClose, false)));
    let old = response(
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\
        Transfer-Encoding: chunked\r\n\r\n",
    )
    .expect("read");
    assert_eq!((old.0.body, old.0.keep_alive), (BodyKind::Chunked, false));
}

#[test]
fn status_lines() {
    for bad in
        ["HTTP/1.1  200 OK", "HTTP/1.1 2000", "HTTP/1.1 099", "HTTP/2.0 200 OK", "HTTP/1.1 20"]
    {
        assert_eq!(response(&format!("{bad}\r\n\r\n")).err(), Some(H1Rule::StatusLine), "{bad}");
    }
    for (good, reason) in [("200", ""), ("200 ", ""), ("299 Fine By Me", "Fine By Me")] {
        let (_, head) = response(&format!("HTTP/1.1 {good}\r\n\r\n")).expect("valid");
        assert_eq!(head.reason, reason.as_bytes());
    }
}

mod bodies;
mod writing;
