use super::*;

#[test]
fn paths_split_at_the_first_question_mark() {
    assert_eq!(split_query(b"/a"), (&b"/a"[..], None));
    assert_eq!(split_query(b"/a?"), (&b"/a"[..], Some(&b""[..])));
    assert_eq!(split_query(b"/a?b?c"), (&b"/a"[..], Some(&b"b?c"[..])));
}

#[test]
fn query_parameters_keep_order_and_missing_values() {
    let found: Vec<_> = query_parameters(b"a=1&b&&c=&a=2=3").collect();
    let want: [(&[u8], Option<&[u8]>); 4] =
        [(b"a", Some(b"1")), (b"b", None), (b"c", Some(b"")), (b"a", Some(b"2=3"))];
    assert_eq!(found, want);
}

#[test]
fn percent_coding_round_trips() {
    let all: Vec<u8> = (0..=255).collect();
    let (mut coded, mut back) = (Vec::new(), Vec::new());
    percent_encode(&all, b"/?", &mut coded);
    assert!(coded.iter().all(|b| (b' '..=b'~').contains(b)));
    percent_decode(&coded, &mut back);
    assert_eq!(back, all);
    back.clear();
    percent_decode(b"%4a%zz%4%", &mut back);
    assert_eq!(back, b"J%zz%4%");
}

#[test]
fn ports_are_told_from_hosts() {
    type Split<'a> = (&'a [u8], Option<&'a [u8]>);
    let cases: [(&[u8], Split<'_>); 7] = [
        (b"a.example", (b"a.example", None)),
        (b"a.example:80", (b"a.example", Some(b"80"))),
        (b"a.example:", (b"a.example:", None)),
        (b"a.example:x", (b"a.example:x", None)),
        (b"[::1]:80", (b"[::1]", Some(b"80"))),
        (b"[::1]", (b"[::1]", None)),
        (b"::1", (b"::1", None)),
    ];
    for (authority, split) in cases {
        assert_eq!(split_port(authority), split, "{authority:?}");
        assert_eq!(host_of(authority), split.0);
    }
}
