//! HTTP/2 connections, read as a server reads them and as a client does.

use super::cuts;
use ringway_wire::http1::UnderscoreAction;
use ringway_wire::http2::{
    ConnectionError, Decoder, Encoder, Event, HeaderBlock, Limits, PREFACE, Role, frame,
};
use ringway_wire::{HeaderMap, RequestHead, ResponseHead};

/// What means something in a connection.
pub const WORDS: &[&str] = &[
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    // Headers of frames: length, type, flags, stream.
    "\0\0\0\u{4}\0\0\0\0\0",
    "\0\0\0\u{4}\u{1}\0\0\0\0",
    "\0\0\u{6}\u{4}\0\0\0\0\0\0\u{1}\0\0\0\0",
    "\0\0\u{1}\u{1}\u{5}\0\0\0\u{1}",
    "\0\0\u{8}\u{1}\u{25}\0\0\0\u{3}\0\0\0\u{3}\0",
    "\0\0\0\u{9}\u{4}\0\0\0\u{1}",
    "\0\0\u{5}\0\u{9}\0\0\0\u{1}\u{2}",
    "\0\0\u{4}\u{8}\0\0\0\0\u{1}\0\0\0\0",
    "\0\0\u{8}\u{6}\0\0\0\0\0",
    "\0\0\u{8}\u{7}\0\0\0\0\0",
    "\0\0\u{4}\u{3}\0\0\0\0\u{1}",
    "\0\0\u{2}\u{77}\0\0\0\0\u{1}",
    // Parts of header blocks.
    "\0\u{1}a\u{1}b",
    "@\u{1}a\u{1}b",
    "\u{10}\u{1}a\u{1}b",
    "A\u{1}h",
    "\0\u{5}:path\u{1}/",
    "\0\u{7}:method\u{7}CONNECT",
    "\0\u{9}:protocol\u{9}websocket",
    "\0\u{7}:status\u{3}103",
    "\0\u{6}cookie\u{1}a",
    "\0\u{e}content-length\u{1}0",
    "\0\u{2}te\u{8}trailers",
    "\u{3f}\u{1}",
    "\u{20}",
    "\u{7f}",
];

/// What one event says, whatever the pieces it came in.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Data { stream: u32, data: Vec<u8>, flow: u32, end: bool },
    Request(Result<RequestHead, &'static str>),
    Response(Result<ResponseHead, &'static str>),
    Trailers(Result<HeaderMap, &'static str>),
    Debug(Vec<u8>),
    Other(Event),
}

/// What came of a connection: its events, and the error that ended it.
type Outcome = (Vec<Seen>, Option<ConnectionError>);

/// However it is cut, the same events and the same end; what is valid is written and read back.
pub fn run(input: &[u8]) {
    let tight = Limits {
        max_frame_size: 16_384,
        header_list_bytes_max: 100,
        headers_count_max: 6,
        continuations_max: 1,
        underscores: UnderscoreAction::DropHeader,
        extended_connect: true,
    };
    for role in [Role::Server, Role::Client] {
        let mut bytes = Vec::new();
        if !input.starts_with(PREFACE) {
            if role == Role::Server {
                bytes.extend_from_slice(PREFACE);
            }
            frame::settings(std::iter::empty(), &mut bytes);
        }
        bytes.extend_from_slice(input);
        for limits in [Limits::default(), tight] {
            let whole = read(role, limits, &bytes, &[bytes.len()]);
            for ends in cuts::ways(&bytes) {
                let cut = read(role, limits, &bytes, &ends);
                assert_eq!(cut, whole, "{role:?}, pieces that end at {ends:?}");
            }
            write_again(&whole.0);
        }
    }
}

fn read(role: Role, limits: Limits, bytes: &[u8], ends: &[usize]) -> Outcome {
    let (mut decoder, mut block) = (Decoder::new(role, limits), HeaderBlock::new());
    let (mut seen, mut from) = (Vec::new(), 0);
    for end in ends {
        loop {
            let input = &bytes[from..*end];
            match decoder.decode(input, &mut block) {
                Err(error) => return (seen, Some(error)),
                Ok(None) => break,
                Ok(Some(step)) => {
                    note(&mut seen, step.event, input, &mut block, role);
                    assert!(step.consumed <= input.len(), "more consumed than there was");
                    from += step.consumed;
                }
            }
        }
        let held = end - from;
        let frame_max = frame::HEADER_LEN + limits.max_frame_size as usize;
        assert!(held < frame_max, "{held} bytes are held back, more than a frame");
    }
    (seen, None)
}

fn note(seen: &mut Vec<Seen>, event: Event, input: &[u8], block: &mut HeaderBlock, role: Role) {
    match event {
        Event::Nothing => {}
        Event::Data { stream, data, flow, frame: _, first, end } => {
            let bytes = &input[data];
            assert!(flow as usize >= bytes.len(), "data beyond what the window pays for");
            match seen.last_mut() {
                Some(Seen::Data { data, flow: before, end: ended, .. }) if !first => {
                    data.extend_from_slice(bytes);
                    *before += flow;
                    *ended = end;
                }
                _ => seen.push(Seen::Data { stream, data: bytes.to_vec(), flow, end }),
            }
        }
        Event::Headers { stream, end, verdict, .. } => {
            // Streams divisible by four carry trailers here; a session knows better.
            if stream % 4 == 0 {
                let mut map = HeaderMap::new();
                let result = block.into_trailers(&mut map).map(|()| map);
                assert!(verdict.is_ok() || result.is_err());
                seen.push(Seen::Trailers(result.map_err(|e| e.rule.text())));
            } else if role == Role::Server {
                let mut head = RequestHead::default();
                let result = block.into_request(&mut head).map(|()| head);
                assert!(verdict.is_ok() || result.is_err());
                seen.push(Seen::Request(result.map_err(|e| e.rule.text())));
            } else {
                let mut head = ResponseHead::default();
                let result = block.into_response(&mut head, end).map(|()| head);
                assert!(verdict.is_ok() || result.is_err());
                seen.push(Seen::Response(result.map_err(|e| e.rule.text())));
            }
        }
        Event::GoAway { debug, .. } => seen.push(Seen::Debug(input[debug].to_vec())),
        other => seen.push(Seen::Other(other)),
    }
}

/// What was valid is written by one encoder and read by one decoder, and is the same again.
fn write_again(seen: &[Seen]) {
    for role in [Role::Server, Role::Client] {
        let mut encoder = Encoder::new();
        let mut out = if role == Role::Server { PREFACE.to_vec() } else { Vec::new() };
        frame::settings(std::iter::empty(), &mut out);
        let mut expected = Vec::new();
        for event in seen {
            match event {
                Seen::Request(Ok(head)) if role == Role::Server => {
                    let protocol = (head.method.as_bytes() == b"CONNECT" && !head.path.is_empty())
                        .then_some(b"x".as_slice());
                    // A scheme nobody knows is written as http.
                    let mut head = head.clone();
                    if head.scheme.is_none() && (protocol.is_some() || !head.path.is_empty()) {
                        head.scheme = Some(ringway_wire::Scheme::Http);
                    }
                    encoder.request_head(1, &head, protocol, true, 50, &mut out);
                    expected.push(Seen::Request(Ok(head)));
                }
                Seen::Response(Ok(head)) if role == Role::Client => {
                    encoder.response_head(1, head, head.status >= 200, 50, &mut out);
                    // Never written, as it means nothing here.
                    let mut head = head.clone();
                    head.headers.remove("host");
                    expected.push(Seen::Response(Ok(head)));
                }
                Seen::Trailers(Ok(map)) => {
                    encoder.trailers(4, map, 16_384, &mut out);
                    expected.push(Seen::Trailers(Ok(map.clone())));
                }
                _ => {}
            }
        }
        let limits =
            Limits { continuations_max: 100_000, extended_connect: true, ..Limits::default() };
        let (again, error) = read(role, limits, &out, &[out.len()]);
        assert_eq!(error, None, "what this encoder writes ends no connection");
        let heads: Vec<Seen> =
            again.into_iter().filter(|seen| !matches!(seen, Seen::Other(_))).collect();
        assert_eq!(heads, expected, "written and read again");
    }
}
