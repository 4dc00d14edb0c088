use super::*;
#[test]
fn smoke() {
    let mut head = crate::RequestHead::default();
    let input = b"GET /a?b HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nX-Y:1\r\n\r\n";
    let parsed = parse_request(input, &Default::default(), &Default::default(), &mut head);
    assert_eq!(parsed.map(|p| p.map(|p| p.head_len)), Ok(Some(input.len())));
}
