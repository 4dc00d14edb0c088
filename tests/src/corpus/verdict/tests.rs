use super::*;

fn outcome(statuses: &[&str], end: &str, requests: &[&str]) -> Outcome {
    Outcome {
        statuses: statuses.iter().map(|s| (*s).to_owned()).collect(),
        end: end.into(),
        count: requests.len(),
        requests: requests.iter().filter_map(|r| Request::parse(r.as_bytes())).collect(),
        exact: true,
    }
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nx-request-id: 1\r\n\r\n";
const SAME_GET: &str = "GET / HTTP/1.1\r\nx-request-id: 2\r\nhost: a\r\n\r\n";
const POST: &str =
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";

#[test]
fn equal_is_same() {
    let judged =
        judge(&outcome(&["200"], "open", &[GET]), &outcome(&["200"], "open", &[SAME_GET]), true);
    assert_eq!(judged, Verdict::Same);
}

#[test]
fn refusing_is_stricter() {
    let theirs = outcome(&["200"], "open", &[GET]);
    assert_eq!(judge(&theirs, &outcome(&["400"], "closed", &[]), true), Verdict::Stricter);
    let waits = outcome(&[], "open", &[]);
    assert_eq!(judge(&waits, &outcome(&["400"], "closed", &[]), true), Verdict::Stricter);
}

#[test]
fn letting_through_is_looser() {
    let refuses = outcome(&["400"], "closed", &[]);
    for ours in [
        outcome(&["200"], "open", &[GET]),
        outcome(&["400"], "closed", &[GET]),
        outcome(&["400"], "open", &[]),
        outcome(&[], "open", &[]),
    ] {
        assert!(matches!(judge(&refuses, &ours, true), Verdict::Looser(_)), "{ours:?}");
    }
    let one = outcome(&["200"], "open", &[GET]);
    let two = outcome(&["200", "200"], "open", &[GET, GET]);
    assert!(matches!(judge(&one, &two, true), Verdict::Looser(_)));
    let other = outcome(&["200"], "open", &[POST]);
    assert!(matches!(judge(&one, &other, true), Verdict::Looser(_)));
}

#[test]
fn two_framings_are_never_right() {
    let both = POST.replace("host: a", "content-length: 1");
    let both = outcome(&["200"], "open", &[&both]);
    assert!(matches!(judge(&both, &both, true), Verdict::Looser(_)));
}

#[test]
fn another_refusal_is_told_apart() {
    let judged = judge(&outcome(&["431"], "closed", &[]), &outcome(&["400"], "closed", &[]), true);
    assert_eq!(judged, Verdict::OtherRefusal("400, not 431".into()));
}
