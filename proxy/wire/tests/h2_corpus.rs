//! Judges raw HTTP/2 connections against what Envoy did with them, and asks whether anything that
//! is let through says more over HTTP/1.1 than it said here.
//!
//! The corpus lies outside this repository (`RINGWAY_SHARED`, or `../shared/data` beside it).

use std::fs;
use std::path::PathBuf;

use ringway_wire::http1::{
    Framing, HeaderKeyFormat, ParseOptions, RequestLimits, encode_request_head, parse_request,
    strip_request_hop_by_hop,
};
use ringway_wire::http2::{Decoder, Event, HeaderBlock, Limits, Role};
use ringway_wire::{HeaderMap, KnownName, RequestHead};

/// Where this codec refuses what Envoy sends on, and why.
const STRICTER: &[(&str, &str)] =
    &[("cl-lead0", "a length with leading zeros: octal to some servers")];

/// What became of the request on a connection.
#[derive(Debug, Default)]
struct Verdict {
    head: Option<RequestHead>,
    /// The rule broken, or why the connection ended.
    refused: Option<&'static str>,
}

/// Reads a connection as a session does, with one stream.
fn judge(input: &[u8]) -> Verdict {
    let (mut decoder, mut block) =
        (Decoder::new(Role::Server, Limits::default()), HeaderBlock::new());
    let (mut verdict, mut at) = (Verdict::default(), 0);
    let (mut length, mut body) = (None, 0);
    while let Some(rest) = input.get(at..).filter(|rest| !rest.is_empty()) {
        let step = match decoder.decode(rest, &mut block) {
            Ok(Some(step)) => step,
            Ok(None) => break,
            Err(error) => {
                verdict.refused = Some(error.reason);
                break;
            }
        };
        at += step.consumed;
        let mut ended = false;
        match step.event {
            Event::Headers { end, .. } => {
                ended = end;
                let result = if verdict.head.is_none() {
                    let mut head = RequestHead::default();
                    let result = block.into_request(&mut head);
                    length = block.content_length();
                    verdict.head = Some(head);
                    result
                } else {
                    block.into_trailers(&mut HeaderMap::new())
                };
                if let Err(error) = result {
                    verdict.refused = Some(error.rule.text());
                    break;
                }
            }
            Event::Data { data, end, .. } => {
                body += data.len() as u64;
                ended = end;
            }
            _ => {}
        }
        if ended && length.is_some_and(|length| length != body) {
            verdict.refused = Some("content-length against the body");
        }
    }
    verdict
}

/// Writes the head for an HTTP/1.1 server, reads it again, and compares: every header must still
/// be one header, and nothing may come behind the head.
fn says_the_same(case: &str, head: &RequestHead) {
    let mut head = head.clone();
    strip_request_hop_by_hop(&mut head.headers, false);
    let mut bytes = Vec::new();
    encode_request_head(&head, Framing::AsIs, HeaderKeyFormat::LowerCase, &mut bytes);
    let mut again = RequestHead::default();
    let options = ParseOptions { allow_custom_methods: true, ..ParseOptions::default() };
    let parsed = parse_request(&bytes, &RequestLimits::default(), &options, &mut again);
    let Ok(Some(parsed)) = parsed else { panic!("{case}: {parsed:?}") };
    assert_eq!(parsed.head_len, bytes.len(), "{case}");
    let trimmed = |head: &RequestHead| -> Vec<(Vec<u8>, Vec<u8>)> {
        let line = |(n, v): (&[u8], &[u8])| (n.to_vec(), v.trim_ascii().to_vec());
        head.headers.iter().map(line).collect()
    };
    assert_eq!(again.path, head.path, "{case}");
    assert_eq!(again.authority, head.authority, "{case}");
    assert_eq!(trimmed(&again), trimmed(&head), "{case}");
}

#[test]
fn as_envoy_or_stricter() {
    let root = std::env::var_os("RINGWAY_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let folder = root.join("h2-corpus");
    let Ok(results) = fs::read_to_string(folder.join("envoy-results-streamerr.tsv")) else {
        println!("skipped: no {}", folder.display());
        return;
    };
    let (mut accepted, mut refused) = (0, 0);
    for row in results.lines().skip(1) {
        let columns: Vec<&str> = row.split('\t').collect();
        let (case, result) = (columns[1], columns[2]);
        let verdict = judge(&fs::read(folder.join(columns[0])).unwrap());
        let stricter = STRICTER.iter().any(|(name, _)| *name == case);
        let let_through = result.ends_with("200") && !stricter;
        assert_eq!(verdict.refused.is_none(), let_through, "{case} ({result}): {verdict:?}");
        if let_through {
            accepted += 1;
            says_the_same(case, &verdict.head.unwrap());
        } else {
            refused += 1;
        }
    }
    println!("{accepted} accepted, {refused} refused");
    assert!(accepted > 20 && refused > 60);
}

#[test]
fn crumbs_of_cookies_are_joined_as_envoy_joins_them() {
    let root = std::env::var_os("RINGWAY_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let Ok(input) = fs::read(root.join("h2-corpus/223-cookies.bin")) else {
        println!("skipped: no h2-corpus");
        return;
    };
    let head = judge(&input).head.unwrap();
    assert_eq!(head.headers.get(KnownName::Cookie), Some(b"a=1; b=2".as_slice()));
}
