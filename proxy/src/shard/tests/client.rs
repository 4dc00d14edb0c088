//! A simulated client: some connections, some requests on each, every answer checked.

use std::time::Duration;

use ringway_runtime::{Chunk, ConnectOptions, SockAddr, Stream, connect, sleep};
use ringway_wire::http1::{
    BodyDecoder, BodyKind, HeadLimits, ParseOptions, ParsedHead, parse_response,
};
use ringway_wire::{Method, ResponseHead};

/// A small generator of its own, so that a run depends on its seed alone (SplitMix64).
pub(super) struct Rng(pub u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The body that belongs to a request: bytes of another one would show.
pub(super) fn body_of(number: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (number.wrapping_mul(131).wrapping_add(at * 7)) as u8).collect()
}

/// What is asked, and what may be answered.
struct Ask {
    text: Vec<u8>,
    number: u64,
    method: Method,
    len: usize,
    may: &'static [u16],
}

/// Sizes of bodies: none, small, above one segment, above every limit.
const SIZES: [usize; 5] = [0, 5, 300, 5_000, 70_000];

fn ask(number: u64, rng: &mut Rng) -> Ask {
    let len = SIZES[(rng.next() % 5) as usize];
    // 502 where a connection is lost in the middle of the response's head.
    let (what, may): (&str, &'static [u16]) = match rng.next() % 12 {
        0 => ("chunked", &[200, 502, 503]),
        1 => ("slow", &[200, 502, 503, 504]),
        2 => ("die", &[503]),
        3 => ("garbage", &[502, 503]),
        4 => ("half", &[200, 502, 503]),
        5 => ("error", &[502, 503]),
        _ => ("plain", &[200, 502, 503]),
    };
    let prefix = if rng.next().is_multiple_of(3) { "/retry" } else { "/once" };
    let (path, may): (String, &'static [u16]) = match rng.next() % 10 {
        0 => ("/direct".into(), &[200]),
        _ => (format!("{prefix}/{what}/{len}"), may),
    };
    let post = rng.next().is_multiple_of(4) && !path.starts_with("/direct");
    let (method, text) = if post {
        (Method::Post, upload(&path, number, rng))
    } else {
        (Method::Get, get(&path, number))
    };
    let len = if path == "/direct" { 4 } else { len };
    Ask { text, number, method, len, may }
}

fn get(path: &str, number: u64) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: sim\r\nx-number: {number}\r\n\r\n").into_bytes()
}

/// A request with a body, by length or in chunks.
fn upload(path: &str, number: u64, rng: &mut Rng) -> Vec<u8> {
    let body = body_of(number, SIZES[(rng.next() % 5) as usize]);
    let head = format!("POST {path} HTTP/1.1\r\nhost: sim\r\nx-number: {number}\r\nx-body: 1\r\n");
    let mut text = head.into_bytes();
    if rng.next().is_multiple_of(2) {
        text.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
        text.extend(body);
        return text;
    }
    text.extend(b"transfer-encoding: chunked\r\n\r\n");
    for piece in body.chunks(1500) {
        text.extend(format!("{:x}\r\n", piece.len()).bytes());
        text.extend(piece);
        text.extend(b"\r\n");
    }
    text.extend(b"0\r\n\r\n");
    text
}

/// Runs one client; the statuses it got, 0 for a connection that ended without one.
pub(super) async fn run(to: SockAddr, seed: u64) -> Vec<u16> {
    let mut rng = Rng(seed);
    let mut statuses = Vec::new();
    for connection in 0..3u64 {
        let Ok(stream) = connect(&to, &ConnectOptions::default()).await else {
            statuses.push(0);
            continue;
        };
        talk(&stream, &mut rng, seed * 1000 + connection * 100, &mut statuses).await;
    }
    statuses
}

async fn talk(stream: &Stream, rng: &mut Rng, first: u64, statuses: &mut Vec<u16>) {
    let mut inbox = Vec::new();
    for turn in 0..4 {
        // Some requests are sent in one piece with the next: pipelining.
        let batch = 1 + rng.next() % 2;
        let asks: Vec<Ask> = (0..batch).map(|n| ask(first + turn * 10 + n, rng)).collect();
        for ask in &asks {
            stream.write(Chunk::copy_from(&ask.text));
        }
        if rng.next().is_multiple_of(15) {
            // A client that walks away in the middle.
            sleep(Duration::from_millis(rng.next() % 50)).await;
            return;
        }
        for ask in &asks {
            let Some((status, keep_alive)) = answer(stream, &mut inbox, ask).await else {
                statuses.push(0);
                return;
            };
            statuses.push(status);
            if !keep_alive {
                return;
            }
        }
    }
}

/// Reads and checks one answer; `None` when the connection ended before it was complete.
async fn answer(stream: &Stream, inbox: &mut Vec<u8>, ask: &Ask) -> Option<(u16, bool)> {
    let mut head = ResponseHead::default();
    let parsed = read_head(stream, inbox, &ask.method, &mut head).await?;
    let status = head.status;
    let asked = ask.text.split(|b| *b == b'\r').next().unwrap_or_default();
    assert!(ask.may.contains(&status), "{status} to {:?}", String::from_utf8_lossy(asked));
    let body = read_body(stream, inbox, &parsed).await?;
    if let Some(number) = head.headers.get("x-number") {
        let wanted = ask.number.to_string();
        assert_eq!(number, wanted.as_bytes(), "the answer to another request");
        assert_eq!(body, body_of(ask.number, ask.len), "a response body came changed");
    } else if status == 200 {
        assert_eq!(body, b"here");
    }
    Some((status, parsed.keep_alive && parsed.body != BodyKind::UntilClose))
}

pub(super) async fn read_head(
    stream: &Stream,
    inbox: &mut Vec<u8>,
    method: &Method,
    head: &mut ResponseHead,
) -> Option<ParsedHead> {
    loop {
        let (limits, options) = (HeadLimits::default(), ParseOptions::default());
        let parsed = parse_response(inbox, &limits, &options, method, head);
        if let Some(parsed) = parsed.expect("the proxy sends responses that parse") {
            inbox.drain(..parsed.head_len);
            return Some(parsed);
        }
        let chunk = stream.recv().await.ok()??;
        inbox.extend_from_slice(&chunk);
    }
}

pub(super) async fn read_body(
    stream: &Stream,
    inbox: &mut Vec<u8>,
    parsed: &ParsedHead,
) -> Option<Vec<u8>> {
    let mut decoder =
        BodyDecoder::response(parsed.body, &HeadLimits::default(), &ParseOptions::default());
    let mut body = Vec::new();
    while !decoder.is_done() {
        if inbox.is_empty() {
            let chunk = stream.recv().await.ok()??;
            inbox.extend_from_slice(&chunk);
        }
        let step = decoder.decode(inbox).expect("the proxy frames bodies right");
        body.extend_from_slice(inbox.get(step.data).unwrap_or_default());
        inbox.drain(..step.consumed);
    }
    Some(body)
}
