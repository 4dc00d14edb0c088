use super::*;

fn lines(map: &HeaderMap) -> Vec<String> {
    map.iter()
        .map(|(n, v)| format!("{}: {}", String::from_utf8_lossy(n), String::from_utf8_lossy(v)))
        .collect()
}

fn wire(map: &HeaderMap) -> String {
    let mut out = Vec::new();
    map.for_each_run(|run| out.extend_from_slice(run));
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn order_and_duplicates_are_kept() {
    let mut map = HeaderMap::new();
    map.append("x-a", b"1");
    map.append(KnownName::Accept, b"*/*");
    map.append("X-A", b"2");
    assert_eq!(lines(&map), ["x-a: 1", "accept: */*", "x-a: 2"]);
    assert_eq!(wire(&map), "x-a: 1\r\naccept: */*\r\nx-a: 2\r\n");
    assert_eq!(map.get("x-a"), Some(&b"1"[..]));
    assert_eq!(map.count("x-a"), 2);
    assert_eq!(map.get("accept"), map.get(KnownName::Accept));
    assert!(map.contains("accept") && !map.contains(KnownName::Via) && !map.contains("x-b"));
}

#[test]
fn set_overwrites_the_first_and_removes_the_others() {
    let mut map = HeaderMap::new();
    for value in [&b"1"[..], b"2", b"3"] {
        map.append("x-a", value);
        map.append(KnownName::Via, value);
    }
    map.set("x-a", b"new");
    map.set(KnownName::Via, b"");
    map.set("x-b", b"added");
    assert_eq!(lines(&map), ["x-a: new", "via: ", "x-b: added"]);
    assert_eq!(wire(&map), "x-a: new\r\nvia: \r\nx-b: added\r\n");
}

#[test]
fn joining_adds_to_the_first_line() {
    let mut map = HeaderMap::new();
    map.append_joined(KnownName::XForwardedFor, b"1.1.1.1");
    map.append_joined(KnownName::XForwardedFor, b"2.2.2.2");
    map.append(KnownName::Via, b"");
    map.append_with(KnownName::Via, b",", b"x");
    assert_eq!(lines(&map), ["x-forwarded-for: 1.1.1.1, 2.2.2.2", "via: x"]);
}

#[test]
fn removing_updates_presence_and_size() {
    let mut map = HeaderMap::new();
    map.append(KnownName::Via, b"a");
    map.append("x-envoy-own", b"1");
    map.append(KnownName::Via, b"b");
    map.append(KnownName::XEnvoyInternal, b"true");
    assert_eq!(map.remove(KnownName::Via), 2);
    assert!(!map.contains(KnownName::Via));
    assert_eq!(map.remove_prefix(b"x-envoy-"), 2);
    assert!(map.is_empty());
    assert_eq!(map.byte_size(), 0);
    assert!(!map.contains(KnownName::XEnvoyInternal));
}

#[test]
fn values_cannot_break_out_of_their_line() {
    let mut map = HeaderMap::new();
    map.append("x", b"a\r\nevil: 1\0");
    map.set(KnownName::Location, b"/\n");
    assert_eq!(wire(&map), "x: a  evil: 1 \r\nlocation: / \r\n");
    for name in ["", "a b", "a\r\nb", "a:b"] {
        assert!(!map.append(name, b"1"), "{name:?}");
    }
    assert_eq!(map.len(), 2);
}

#[test]
fn byte_size_counts_names_and_values() {
    let mut map = HeaderMap::new();
    map.append("abc", b"12345");
    map.append(KnownName::Te, b"x");
    assert_eq!(map.byte_size(), 8 + 3);
    map.set("abc", b"1");
    map.append_joined(KnownName::Te, b"y");
    assert_eq!(map.byte_size(), 4 + 2 + 4);
    map.retain(|name, _| name == Name::Known(KnownName::Te));
    assert_eq!((map.byte_size(), map.len()), (6, 1));
}

#[test]
fn clear_keeps_the_buffers() {
    let mut map = HeaderMap::new();
    for i in 0..50 {
        map.append("x", i.to_string().as_bytes());
    }
    let before = (map.arena.capacity(), map.entries.capacity());
    map.clear();
    assert_eq!((map.arena.capacity(), map.entries.capacity()), before);
    map.trim(16);
    assert_eq!(map.arena.capacity(), 0);
}

#[test]
fn what_was_joined_from_many_lines_takes_no_more_memory_than_it_needs() {
    let mut map = HeaderMap::new();
    map.append("a", b"1");
    for _ in 0..1000 {
        map.append(KnownName::Cookie, b"a=b");
    }
    map.append("z", b"2");
    map.mark_repeated(KnownName::Cookie);
    map.join_repeated_with(|_| Some(b"; "));
    let cookie = vec!["a=b"; 1000].join("; ");
    assert_eq!(wire(&map), format!("a: 1\r\ncookie: {cookie}\r\nz: 2\r\n"));
    assert_eq!(map.byte_size(), 2 + 6 + cookie.len() + 2);
    assert_eq!(map.arena.capacity(), map.wire_size());
    assert!(map.entries.capacity() <= 64);
}
