use super::*;

fn one(body: &str) -> Case {
    File::parse(&format!("case x\n{body}")).unwrap().cases.pop().unwrap()
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
fn mistakes_name_their_line() {
    let error = File::parse("case x\n\nfly away").unwrap_err();
    assert!(format!("{error:#}").contains("line 3"), "{error:#}");
    assert!(File::parse("case x\n> a\\q").is_err());
    assert!(File::parse("# nothing").is_err());
}
