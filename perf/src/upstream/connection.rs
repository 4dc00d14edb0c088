//! One connection of the upstream that speaks HTTP.
//!
//! LIFECYCLE: head → (body, read and dropped) → answer → head … ; ends with the peer's FIN, a
//! request that asks for it, or a malformed one (400). A request for WebSocket makes it an echo
//! (`websocket.rs`), the preface of HTTP/2 hands it to `http2.rs`.

use super::reply::{Replies, Reply};
use super::{http2, websocket};
use ringway_runtime::{Chunk, Stream, sleep};
use ringway_wire::http1::{BodyDecoder, HeadLimits, ParseOptions, ParsedHead, parse_request};
use ringway_wire::{KnownName, Method, RequestHead};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Bytes queued towards a slow reader before the next answer waits.
pub(super) const QUEUED_MAX: usize = 1 << 20;

/// Serves a connection to its end.
pub(super) async fn serve(stream: Stream, replies: Rc<Replies>, delay: Duration) -> io::Result<()> {
    let mut first = Chunk::new();
    loop {
        match http2::is_http2(&first) {
            Some(true) => return http2::serve(stream, first, replies).await,
            Some(false) => break,
            None => {}
        }
        let Some(chunk) = stream.recv().await? else { return Ok(()) };
        first = if first.is_empty() { chunk } else { [&first[..], &chunk].concat().into() };
    }
    let mut connection = Connection { stream, replies, delay, last: None, unread: Vec::new() };
    connection.run(first).await?;
    connection.stream.flush().await
}

/// The last request, to recognise its repetition.
struct Last {
    head: Vec<u8>,
    parsed: ParsedHead,
    method: Method,
    expects_continue: bool,
    reply: Reply,
}

/// What was found at the start of the input.
enum Took {
    /// A head, in [`Connection::last`].
    Whole,
    /// The start of one, in [`Connection::unread`].
    Part,
    /// A request for WebSocket, with what to answer.
    Upgrade(Chunk),
    /// No head.
    Malformed,
}

struct Connection {
    stream: Stream,
    replies: Rc<Replies>,
    delay: Duration,
    last: Option<Last>,
    /// The start of a head that has not come whole.
    unread: Vec<u8>,
}

impl Connection {
    async fn run(&mut self, first: Chunk) -> io::Result<()> {
        let mut rest = first;
        loop {
            if rest.is_empty() {
                let Some(chunk) = self.stream.recv().await? else { return Ok(()) };
                rest = chunk;
            }
            match self.take_head(&mut rest) {
                Took::Whole => {}
                Took::Part => continue,
                Took::Upgrade(answer) => {
                    self.stream.write(answer);
                    return websocket::serve(&self.stream, rest).await;
                }
                Took::Malformed => {
                    let refusal = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
                                   content-length: 0\r\n\r\n";
                    self.stream.write(Chunk::from(refusal));
                    return Ok(());
                }
            }
            rest = self.skip_body(rest).await?;
            if !self.answer().await? {
                return Ok(());
            }
        }
    }

    /// Takes a head off `input`, into `last`.
    fn take_head(&mut self, input: &mut Chunk) -> Took {
        if let Some(last) = &self.last
            && self.unread.is_empty()
            && input.starts_with(&last.head)
        {
            input.advance(last.head.len());
            return Took::Whole;
        }
        let before = self.unread.len();
        let mut head = RequestHead::default();
        let (limits, options) = (HeadLimits::default(), ParseOptions::default());
        if before > 0 {
            self.unread.extend_from_slice(input);
        }
        let bytes: &[u8] = if before > 0 { &self.unread } else { input };
        match parse_request(bytes, &limits, &options, &mut head) {
            Ok(Some(parsed)) if is_websocket(&head) => {
                input.advance(parsed.head_len.saturating_sub(before));
                self.unread.clear();
                Took::Upgrade(websocket::accept(head.headers.get(KEY).unwrap_or_default()))
            }
            Ok(Some(parsed)) => {
                self.last = Some(Last {
                    head: bytes.get(..parsed.head_len).unwrap_or_default().to_vec(),
                    parsed,
                    method: head.method,
                    expects_continue: head.headers.contains(KnownName::Expect),
                    reply: self.replies.find(&head.path),
                });
                input.advance(parsed.head_len.saturating_sub(before));
                self.unread.clear();
                Took::Whole
            }
            Ok(None) => {
                if before == 0 {
                    self.unread.extend_from_slice(input);
                }
                *input = Chunk::new();
                Took::Part
            }
            Err(_) => Took::Malformed,
        }
    }

    /// Reads the body to its end; returns what follows it.
    async fn skip_body(&mut self, mut rest: Chunk) -> io::Result<Chunk> {
        let Some(last) = &self.last else { return Ok(rest) };
        let (limits, options) = (HeadLimits::default(), ParseOptions::default());
        let mut body = BodyDecoder::request(last.parsed.body, &limits, &options);
        if last.expects_continue && !body.is_done() && rest.is_empty() {
            self.stream.write(Chunk::from("HTTP/1.1 100 Continue\r\n\r\n"));
        }
        while !body.is_done() {
            if rest.is_empty() {
                let left = body.known_left().unwrap_or(0);
                self.stream.recv_hint(usize::try_from(left).unwrap_or(usize::MAX));
                rest = self.stream.recv().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            }
            let step = body.decode(&rest).map_err(|_| io::ErrorKind::InvalidData)?;
            rest.advance(step.consumed);
        }
        Ok(rest)
    }

    /// Sends the answer to the last request; false when it was the connection's last.
    async fn answer(&mut self) -> io::Result<bool> {
        let Some(last) = &self.last else { return Ok(false) };
        let wait = self.delay + last.reply.delay;
        if !wait.is_zero() {
            sleep(wait).await;
        }
        if last.method == Method::Head {
            self.stream.write(last.reply.ready.slice(..last.reply.head_len));
        } else {
            self.stream.write(last.reply.ready.clone());
            let mut left = last.reply.blocks;
            while left > 0 {
                let block = self.replies.block();
                let len = left.min(block.len() as u64);
                self.stream.write(block.slice(..len as usize));
                left -= len;
                self.stream.queued_below(QUEUED_MAX).await?;
            }
        }
        let more = last.parsed.keep_alive;
        // Pipelined requests must not pile up answers for a client that does not read.
        self.stream.queued_below(2 * QUEUED_MAX).await?;
        Ok(more)
    }
}

const KEY: &[u8] = b"sec-websocket-key";

fn is_websocket(head: &RequestHead) -> bool {
    let upgrade = head.headers.get(KnownName::Upgrade);
    upgrade.is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
        && head.headers.contains(KEY)
}
