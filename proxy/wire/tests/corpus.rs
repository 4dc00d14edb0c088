//! Judges raw requests against what Envoy did with them.
//!
//! The corpus lies outside this repository (`RINGWAY_SHARED`, or `../shared/data` beside it); each
//! row of `envoy-results.tsv` says what Envoy answered to one file and what its upstream received.

use std::fs;
use std::path::PathBuf;

use ringway_wire::http1::{
    BodyDecoder, BodyKind, Framing, H1Rule, HeaderKeyFormat, ParseOptions, ParsedHead,
    RequestLimits, UnderscoreAction, encode_request_head, parse_request, request_framing,
    strip_request_hop_by_hop,
};
use ringway_wire::{KnownName, RequestHead};

/// Where this parser refuses what Envoy sends on, and why.
const STRICTER: &[(H1Rule, &str)] = &[
    (
        H1Rule::RequestLine,
        "several spaces, a tab, a CR, no version: two parsers may split it apart",
    ),
    (H1Rule::Url, "a URL with a query but no path: Envoy routes it, to nothing (404)"),
    (H1Rule::BareLf, "a line ending in LF alone: ends a line for one parser and not for another"),
    (H1Rule::HeaderValue, "a bare CR in a value: the same"),
    (H1Rule::Folded, "a folded line: obsolete, and a new header to some (RFC 9112 section 5.2)"),
    (H1Rule::ContentLength, "a length with leading zeros: octal to some"),
    (H1Rule::SeveralHosts, "several Host lines: a,b is no host (RFC 9112 section 3.2)"),
    (H1Rule::Nominated, "Connection names a framing header: the next hop would not see it"),
];

/// What became of the requests in one file.
#[derive(Default)]
struct Verdict {
    /// Requests whose head would have been sent on, as bytes, with their body and whether it ended.
    forwarded: Vec<Forwarded>,
    /// Rule and status of the refusal that ended the connection.
    refused: Option<(H1Rule, u16)>,
}

struct Forwarded {
    head: Vec<u8>,
    body: Vec<u8>,
    whole: bool,
}

/// Reads requests until the bytes end, one is refused, or the connection is not kept.
fn judge(input: &[u8], options: &ParseOptions) -> Verdict {
    let limits = RequestLimits::default();
    let mut verdict = Verdict::default();
    let mut head = RequestHead::default();
    let mut at = 0;
    while let Some(rest) = input.get(at..).filter(|r| !r.is_empty()) {
        let parsed = match parse_request(rest, &limits, options, &mut head) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => break,
            Err(error) => {
                verdict.refused = Some((error.rule, error.status()));
                break;
            }
        };
        let mut decoder = BodyDecoder::request(parsed.body, &limits, options);
        let mut body = Vec::new();
        let mut used = parsed.head_len;
        while used < rest.len() && !decoder.is_done() {
            match decoder.decode(&rest[used..]) {
                Ok(step) => {
                    body.extend_from_slice(&rest[used..][step.data]);
                    used += step.consumed;
                }
                Err(error) => {
                    verdict.refused = Some((error.rule, error.status()));
                    break;
                }
            }
        }
        let whole = decoder.is_done();
        verdict.forwarded.push(Forwarded { head: forward(&mut head, parsed), body, whole });
        if verdict.refused.is_some() || !whole || !parsed.keep_alive || parsed.upgrade {
            break;
        }
        at += used;
    }
    verdict
}

/// The head as the connection manager and router of the corpus' default profile send it on.
fn forward(head: &mut RequestHead, parsed: ParsedHead) -> Vec<u8> {
    strip_request_hop_by_hop(&mut head.headers, false);
    if head.headers.get(KnownName::Expect).is_some_and(|v| v.eq_ignore_ascii_case(b"100-continue"))
    {
        head.headers.remove(KnownName::Expect);
    }
    for internal in [KnownName::XEnvoyInternal, KnownName::XEnvoyRetryOn] {
        head.headers.remove(internal);
    }
    if !head.headers.contains(KnownName::XForwardedProto) {
        head.headers.append(KnownName::XForwardedProto, b"http");
    }
    let framing = request_framing(head, parsed.body == BodyKind::None, false);
    assert!(framing != Framing::Chunked || parsed.body == BodyKind::Chunked);
    let mut out = Vec::new();
    encode_request_head(head, framing, HeaderKeyFormat::LowerCase, &mut out);
    out
}

struct Row {
    file: String,
    status: String,
    conn: String,
    upn: usize,
    upstream: Option<String>,
}

fn shared() -> PathBuf {
    std::env::var_os("RINGWAY_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    )
}

/// Rows of one profile (`first` is its first column), or `None` where the corpus is not there.
fn rows(first: usize) -> Option<Vec<Row>> {
    let dir = shared().join("h1-corpus");
    let Ok(table) = fs::read(dir.join("envoy-results.tsv")) else {
        println!("skipped: no corpus at {}", dir.display());
        return None;
    };
    let table = String::from_utf8_lossy(&table).into_owned();
    let rows = table.lines().skip(1).filter_map(|line| {
        let cells: Vec<&str> = line.split('\t').collect();
        let stable = cells.get(2) == Some(&"1");
        stable.then_some(())?;
        Some(Row {
            file: (*cells.first()?).to_owned(),
            status: (*cells.get(first)?).to_owned(),
            conn: (*cells.get(first + 1)?).to_owned(),
            upn: cells.get(first + 2)?.parse().ok()?,
            upstream: cells.get(first + 3).map(|c| (*c).to_owned()),
        })
    });
    Some(rows.collect())
}

fn input(row: &Row) -> Vec<u8> {
    fs::read(shared().join("h1-corpus").join(&row.file)).expect("a file of the corpus")
}

/// Undoes the escaping of the table.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    loop {
        match rest {
            [] => return out,
            [b'\\', b'r', tail @ ..] => (out.push(b'\r'), rest = tail).0,
            [b'\\', b'n', tail @ ..] => (out.push(b'\n'), rest = tail).0,
            [b'\\', b't', tail @ ..] => (out.push(b'\t'), rest = tail).0,
            [b'\\', b'\\', tail @ ..] => (out.push(b'\\'), rest = tail).0,
            [b'\\', b'x', a, b, tail @ ..] => {
                let hex = String::from_utf8_lossy(&[*a, *b]).into_owned();
                out.push(u8::from_str_radix(&hex, 16).expect("two hex digits"));
                rest = tail;
            }
            [byte, tail @ ..] => (out.push(*byte), rest = tail).0,
        }
    }
}

/// Whether Envoy's refusal was about routes or upgrades, which a parser knows nothing of.
fn is_routing(row: &Row) -> bool {
    matches!(row.status.as_str(), "404" | "403")
}

/// Everything in which this parser and Envoy differ without a reason.
fn differences(row: &Row, verdict: &Verdict) -> Vec<String> {
    let mut found = Vec::new();
    let sent = verdict.forwarded.len();
    let stricter = |rule: H1Rule| STRICTER.iter().any(|(r, _)| *r == rule);
    if row.upn == 0 && sent > 0 && !is_routing(row) {
        // A head sent on before its body turned out bad: the caller answers and closes; Envoy
        // did so before its upstream connection was up.
        let late = sent == 1 && verdict.refused.is_some();
        if !late {
            found.push(format!("sent {sent} where Envoy sent none ({})", row.status));
        }
    }
    match (verdict.refused, row.status.as_str()) {
        (Some((rule, _)), _) if row.upn > sent && !stricter(rule) => {
            found.push(format!("refused by {rule:?} what Envoy sent on"));
        }
        (Some((rule, status)), theirs)
            if (theirs.starts_with('4') || theirs == "501")
                && theirs.split(',').all(|t| t != status.to_string())
                && !stricter(rule) =>
        {
            found.push(format!("status {status} by {rule:?}, Envoy {theirs}"));
        }
        (None, theirs) if theirs.starts_with('4') && !is_routing(row) => {
            found.push(format!("not refused, Envoy {theirs}"));
        }
        (None, _) if row.upn != sent && !is_routing(row) => {
            found.push(format!("sent {sent}, Envoy {}", row.upn));
        }
        _ => {}
    }
    found
}

#[test]
fn nothing_reaches_the_upstream_that_envoy_holds_back() {
    let Some(rows) = rows(3) else { return };
    assert!(rows.len() > 600, "only {} rows", rows.len());
    let mut bad = Vec::new();
    for row in &rows {
        let verdict = judge(&input(row), &ParseOptions::default());
        let refused = verdict.refused;
        for difference in differences(row, &verdict) {
            bad.push(format!("{} [{}]: {difference}, {refused:?}", row.file, row.conn));
        }
    }
    assert!(bad.is_empty(), "{} of {}:\n{}", bad.len(), rows.len(), bad.join("\n"));
}

#[test]
fn every_strictness_is_used() {
    let Some(rows) = rows(3) else { return };
    for (rule, reason) in STRICTER {
        let used = rows.iter().any(|row| {
            let verdict = judge(&input(row), &ParseOptions::default());
            verdict.refused.is_some_and(|(r, _)| r == *rule)
                && (row.upn > verdict.forwarded.len() || row.status == "404")
        });
        assert!(used, "{rule:?} ({reason}) is allowed but never needed");
    }
}

#[test]
fn what_is_sent_on_is_what_envoy_sends_on() {
    let Some(rows) = rows(3) else { return };
    let (mut compared, mut bad) = (0, Vec::new());
    for row in &rows {
        let verdict = judge(&input(row), &ParseOptions::default());
        let Some(upstream) = row.upstream.as_deref().and_then(|u| u.strip_prefix("d:")) else {
            continue;
        };
        let cut = upstream.len() >= 700 || upstream.contains(" || ");
        let [ours] = verdict.forwarded.as_slice() else { continue };
        if cut || !ours.whole || verdict.refused.is_some() {
            continue;
        }
        let theirs = unescape(upstream);
        compared += 1;
        let Some(body) = theirs.strip_prefix(ours.head.as_slice()) else {
            let ours = String::from_utf8_lossy(&ours.head).into_owned();
            bad.push(format!("{}:\n{ours:?}\n{:?}", row.file, String::from_utf8_lossy(&theirs)));
            continue;
        };
        if unchunk(&ours.head, body) != ours.body {
            bad.push(format!("{}: body {:?}", row.file, String::from_utf8_lossy(body)));
        }
    }
    assert!(compared > 100, "only {compared} compared");
    assert!(bad.is_empty(), "{} of {compared}:\n{}", bad.len(), bad.join("\n"));
}

/// Body bytes of what Envoy sent, by the framing of the same head.
fn unchunk(head: &[u8], body: &[u8]) -> Vec<u8> {
    if !head.ends_with(b"transfer-encoding: chunked\r\n\r\n") {
        return body.to_vec();
    }
    let mut out = Vec::new();
    let mut lines = body;
    while let Some(end) = lines.windows(2).position(|w| w == b"\r\n") {
        let size = String::from_utf8_lossy(&lines[..end]).into_owned();
        let size = usize::from_str_radix(&size, 16).expect("a chunk size");
        let data = &lines[end + 2..];
        out.extend_from_slice(&data[..size]);
        lines = data.get(size + 2..).unwrap_or_default();
    }
    out
}

#[test]
fn the_hard_profile_is_no_laxer() {
    let Some(rows) = rows(7) else { return };
    let options = ParseOptions {
        headers_with_underscores_action: UnderscoreAction::RejectRequest,
        ..ParseOptions::default()
    };
    let mut bad = Vec::new();
    for row in &rows {
        let bytes = input(row);
        // Paths are normalised by the connection manager, which may refuse or redirect.
        let line = bytes.split(|&b| b == b'\r' || b == b'\n').find(|l| !l.is_empty());
        let path_matters = line.is_some_and(|l| {
            l.contains(&b'%')
                || l.contains(&b'\\')
                || l.windows(2).any(|w| w == b"//" || w == b"..")
        });
        let verdict = judge(&bytes, &options);
        let sent = verdict.forwarded.len();
        let late = sent == 1 && verdict.refused.is_some();
        if row.upn == 0 && sent > 0 && !late && !path_matters && !is_routing(row) {
            bad.push(format!("{}: sent {sent}, Envoy {}", row.file, row.status));
        }
    }
    assert!(bad.is_empty(), "{} of {}:\n{}", bad.len(), rows.len(), bad.join("\n"));
}
