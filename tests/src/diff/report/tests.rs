use super::*;

fn transcript(lines: &[&str]) -> Transcript {
    let lines = lines.iter().map(|line| (*line).to_owned()).collect();
    Transcript { sections: vec![("client".into(), lines)] }
}

#[test]
fn equal_sides_have_no_difference() {
    assert_eq!(difference(&transcript(&["a"]), &transcript(&["a"])), None);
}

#[test]
fn shows_both_sides_line_by_line() {
    let text = difference(&transcript(&["a", "b", "c"]), &transcript(&["a", "x", "c"])).unwrap();
    assert_eq!(text, "  client\n      a\n    - b\n    + x\n      c\n");
}

#[test]
fn says_when_only_the_order_differs() {
    let text = difference(&transcript(&["a", "b"]), &transcript(&["b", "a"])).unwrap();
    assert!(text.contains("only the order"), "{text}");
}

#[test]
fn sees_a_refusal() {
    assert!(transcript(&["c< HTTP/1.0 400 Bad Request"]).refuses());
    assert!(!transcript(&["c< HTTP/1.1 200 OK", "c< HTTP/1.1 400 Bad Request"]).refuses());
    assert!(!transcript(&["c< no response: open"]).refuses());
}
