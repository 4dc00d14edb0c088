//! A simulated upstream: answers what its path asks for, misbehaves when that asks for it.

use std::time::Duration;

use ringway_runtime::{BufMut, Chunk, ListenOptions, Listener, SockAddr, Stream, sleep, spawn};
use ringway_wire::http1::{BodyDecoder, HeadLimits, ParseOptions, ParsedHead, parse_request};
use ringway_wire::{KnownName, RequestHead};

use super::client::{Rng, body_of};

/// Serves until its task is aborted.
pub(super) async fn serve(at: SockAddr, seed: u64) {
    let listener = Listener::bind(&at, &ListenOptions::default()).expect("bind");
    let mut rng = Rng(seed);
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let rng = Rng(rng.next());
        spawn(connection(stream, rng));
    }
}

async fn connection(stream: Stream, mut rng: Rng) {
    let mut inbox = Vec::new();
    let mut head = RequestHead::default();
    while let Some(parsed) = read_head(&stream, &mut inbox, &mut head).await {
        let Some(body) = read_body(&stream, &mut inbox, &parsed).await else { return };
        let number = number_of(&head);
        if head.headers.contains("x-body") {
            assert_eq!(body, body_of(number, body.len()), "a request body came changed");
        }
        if !answer(&stream, &head, number, &mut rng).await {
            return;
        }
    }
}

pub(super) async fn read_head(
    stream: &Stream,
    inbox: &mut Vec<u8>,
    head: &mut RequestHead,
) -> Option<ParsedHead> {
    loop {
        let (limits, options) = (HeadLimits::default(), ParseOptions::default());
        let parsed = parse_request(inbox, &limits, &options, head);
        if let Some(parsed) = parsed.expect("the proxy sends requests that parse") {
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
        BodyDecoder::request(parsed.body, &HeadLimits::default(), &ParseOptions::default());
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

pub(super) fn number_of(head: &RequestHead) -> u64 {
    let value = head.headers.get("x-number").expect("every request has a number");
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).expect("a number")
}

/// Answers by path: `/…/<what>/<bytes>`. False when the connection is over.
async fn answer(stream: &Stream, head: &RequestHead, number: u64, rng: &mut Rng) -> bool {
    let path = String::from_utf8_lossy(&head.path).into_owned();
    let mut words = path.rsplit('/');
    let bytes: usize = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    let what = words.next().unwrap_or_default().to_owned();
    if what == "slow" {
        sleep(Duration::from_millis(rng.next() % 8000)).await;
    }
    let body = body_of(number, bytes);
    let mut out = BufMut::with_capacity(512);
    let status = if what == "error" { "503 Service Unavailable" } else { "200 OK" };
    out.extend_from_slice(format!("HTTP/1.1 {status}\r\nx-number: {number}\r\n").as_bytes());
    match what.as_str() {
        "die" => return false,
        "garbage" => {
            stream.write(Chunk::from_static(b"\x00\x01nonsense\r\n\r\n"));
            return stream.flush().await.is_ok();
        }
        "half" => {
            out.extend_from_slice(format!("content-length: {}\r\n\r\n", bytes + 10).as_bytes());
            out.extend_from_slice(&body);
            stream.write(out.freeze());
            let _ = stream.flush().await;
            return false;
        }
        "chunked" => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
            for piece in body.chunks(1 + (rng.next() % 3000) as usize) {
                out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                out.extend_from_slice(piece);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"0\r\n\r\n");
        }
        _ => {
            out.extend_from_slice(format!("content-length: {bytes}\r\n\r\n").as_bytes());
            if head.get(KnownName::Method) != Some(b"HEAD") {
                out.extend_from_slice(&body);
            }
        }
    }
    stream.write(out.freeze());
    // Now and then a kept connection closes after its answer: the keep-alive race.
    stream.flush().await.is_ok() && !rng.next().is_multiple_of(8)
}
