use super::*;

fn one(body: &str) -> Case {
    File::parse(&format!("case x\n{body}")).unwrap().cases.pop().unwrap()
}

fn line(name: &str, value: &str) -> Line {
    (name.into(), value.into())
}

#[test]
fn request_shorthand_sends_and_reads() {
    let case = one("post /p @h \"a: 1\" = \"xyz\" -> 201");
    let want = b"POST /p HTTP/1.1\r\nhost: h\r\na: 1\r\ncontent-length: 3\r\n\r\nxyz".to_vec();
    assert_eq!(case.steps[0], Step::Send("c".into(), want));
    assert_eq!(case.steps[1], Step::Read("c".into(), Read::Message, 201));
}

#[test]
fn lines_of_one_connection_are_sent_at_once() {
    let case = one("> GET / HTTP/1.1\n>\nb> X\n>> raw\\x00");
    assert_eq!(case.steps.len(), 3);
    assert_eq!(case.steps[0], Step::Send("c".into(), b"GET / HTTP/1.1\r\n\r\n".to_vec()));
    assert_eq!(case.steps[1], Step::Send("b".into(), b"X\r\n".to_vec()));
    assert_eq!(case.steps[2], Step::Send("c".into(), b"raw\0".to_vec()));
}

#[test]
fn scripts_repeat_and_split_at_semicolons() {
    let case = one("up 1*2: early ; wait 50ms ; reply 200 \"a;b\" \"x: y\" ; close");
    assert_eq!(case.scripts.len(), 2);
    let (upstream, script) = &case.scripts[1];
    assert_eq!(*upstream, 1);
    assert_eq!(script[1], Action::Wait(Duration::from_millis(50)));
    assert_eq!(script[2], Action::Reply(200, b"a;b".to_vec(), vec!["x: y".into()]));
}

#[test]
fn http2_requests_have_pseudo_headers_a_line_can_change() {
    let source = "client: h2 tls alpn=h2\ncase x\nget / \":scheme: ftp\" \"a: b\" \"-:authority\"";
    let case = File::parse(source).unwrap().cases.pop().unwrap();
    let Step::H2(_, H2Step::Open { lines, end: true, .. }) = &case.steps[0] else {
        panic!("{:?}", case.steps[0]);
    };
    let want = [line(":method", "GET"), line(":scheme", "ftp"), line(":path", "/"), line("a", "b")];
    assert_eq!(lines.as_slice(), want);
}

#[test]
fn a_connection_speaks_what_its_connect_says() {
    let case = one("b connect listener_1 h2 set:initial_window_size=9 \"PROXY\"\nb get /\nget /");
    let Step::Connect(_, _, kind) = &case.steps[0] else { panic!("{:?}", case.steps[0]) };
    assert_eq!((kind.settings.as_slice(), kind.prefix.as_slice()), (&[(4, 9)][..], &b"PROXY"[..]));
    assert!(matches!(case.steps[1], Step::H2(..)));
    assert!(matches!(case.steps[3], Step::Send(..)));
}

#[test]
fn a_grpc_answer_has_its_status_in_trailers() {
    let file = File::parse("case x\nup 0: grpc \"hi\" 5 \"grpc-message: no\"").unwrap();
    let Action::Chunked(200, data, _, trailers) = &file.cases[0].scripts[0].1[0] else {
        panic!("no chunked answer");
    };
    assert_eq!(data[0], b"\0\0\0\0\x02hi");
    assert_eq!(trailers.as_slice(), ["grpc-status: 5", "grpc-message: no"]);
}

#[test]
fn mistakes_name_their_line() {
    let error = File::parse("case x\n\nfly away").unwrap_err();
    assert!(format!("{error:#}").contains("line 3"), "{error:#}");
    assert!(File::parse("case x\n> a\\q").is_err());
    assert!(File::parse("client: h3\ncase x\nget /").is_err());
    assert!(File::parse("# nothing").is_err());
}
