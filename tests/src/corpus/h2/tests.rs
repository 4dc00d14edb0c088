use super::*;

fn one(line: &str) -> Row {
    row(line).unwrap()
}

const FORWARDED: &str = "a\tb\t200\topen\t1\td:GET /p HTTP/1.1\\r\\nhost: h\\r\\nx: a\\x80b";

#[test]
fn a_row_is_an_answer_and_what_the_server_saw() {
    let row = one(FORWARDED);
    assert_eq!(row.answer, Answer::Status(200));
    assert_eq!(row.requests.len(), 1);
    assert_eq!(one("a\tb\t-\tclosed\t0\t").answer, Answer::Refused("connection closed".into()));
    assert_eq!(one("a\tb\thdr:4882,200\topen\t0\t").answer, Answer::Status(200));
    assert_eq!(one("a\tb\tRST1\topen\t0\t").answer, Answer::Refused("RST1".into()));
}

#[test]
fn refusing_is_stricter_and_forwarding_more_is_looser() {
    let row = one(FORWARDED);
    let reset = Answer::Refused("reset PROTOCOL_ERROR".into());
    assert_eq!(judge(&row, &reset, &[]), Verdict::Stricter);
    assert_eq!(judge(&row, &Answer::Status(200), &[]), Verdict::Same);
    assert!(matches!(judge(&row, &Answer::Nothing, &[]), Verdict::Looser(_)));
    let other = Request::parse(b"GET /q HTTP/1.1\r\nhost: h\r\n\r\n");
    assert!(matches!(judge(&row, &Answer::Status(200), &[other]), Verdict::Looser(_)));
    let refused = one("a\tb\tRST1\topen\t0\t");
    assert!(matches!(judge(&refused, &Answer::Status(200), &[]), Verdict::Looser(_)));
    assert_eq!(judge(&refused, &reset, &[]), Verdict::Same);
}
