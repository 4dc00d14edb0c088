//! The HTTP/1.1 server behind the pages: several clients at once, bodies bounded, answers written
//! piece by piece as fast as their reader takes them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::{Chunk, Instant, Listener, Stream, now, spawn, timeout, unix_now, yield_now};
use ringway_wire::date::imf_fixdate;
use ringway_wire::http1::{
    BodyDecoder, BodyKind, ChunkHeader, Framing, H1Error, HeadLimits, HeaderKeyFormat, LAST_CHUNK,
    ParseOptions, ParsedHead, encode_response_head, parse_request,
};
use ringway_wire::{KnownName, Method, RequestHead, ResponseHead, Version};

use super::access_log::Line;
use super::counters::EndedBy;
use super::page::{Body, Request, Response};
use super::query::Params;
use super::{Admin, table};
use crate::control::log::log;
use crate::control::message::{AdminCommand, Message};

/// Clients at once; further ones are closed at once.
const CLIENTS_MAX: u32 = 512;
/// How long a client may say nothing, or take nothing of an answer.
const IDLE: Duration = Duration::from_secs(300);
/// How much of an answer waits for its reader.
const QUEUED_MAX: usize = 128 << 10;
/// Form fields that are read; a longer body is refused.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Accepts until the listener fails.
pub(super) async fn serve(listener: Rc<Listener>, admin: Rc<Admin>) {
    let clients = Rc::new(Cell::new(0));
    loop {
        match listener.accept().await {
            Ok((stream, _)) if clients.get() < CLIENTS_MAX => {
                let place = admin.counters.enter(&admin.ceiling, admin.ignores_ceiling);
                if place.is_none() {
                    stream.close();
                    continue;
                }
                let guard = (Guard::new(&clients), place);
                let admin = Rc::clone(&admin);
                drop(spawn(async move {
                    Client::new(stream, &admin).run().await;
                    drop(guard);
                }));
            }
            Ok((stream, peer)) => {
                admin.counters.overflow();
                log!(Warning, Admin, "more than {CLIENTS_MAX} clients: {peer} is closed");
                stream.close();
            }
            Err(error) => {
                log!(Error, Admin, "admin listener failed, no more clients: {error}");
                return;
            }
        }
    }
}

/// Counts a client for as long as it is there.
struct Guard(Rc<Cell<u32>>);

impl Guard {
    fn new(count: &Rc<Cell<u32>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Why a connection ends.
enum End {
    /// The peer went away, or said nothing for too long.
    Gone,
    /// It spoke no HTTP.
    Refused(u16),
}

impl From<H1Error> for End {
    fn from(error: H1Error) -> Self {
        Self::Refused(error.status())
    }
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

/// One connection.
struct Client<'a> {
    admin: &'a Admin,
    stream: Stream,
    /// Bytes received and not read yet.
    input: Vec<u8>,
    head: RequestHead,
    limits: HeadLimits,
    options: ParseOptions,
}

impl<'a> Client<'a> {
    fn new(stream: Stream, admin: &'a Admin) -> Self {
        Self {
            admin,
            stream,
            input: Vec::new(),
            head: RequestHead::default(),
            limits: HeadLimits::default(),
            options: ParseOptions::default(),
        }
    }

    async fn run(mut self) {
        let counters = &self.admin.counters;
        let since = now();
        counters.connected();
        let by = match self.requests().await {
            Ok(()) => EndedBy::Us,
            Err(End::Gone) => EndedBy::Client,
            Err(End::Refused(status)) => {
                counters.protocol_error();
                self.refuse(status).await;
                EndedBy::Us
            }
        };
        counters.disconnected(since, by);
    }

    /// Answers requests until one of them is the last.
    async fn requests(&mut self) -> Result<(), End> {
        loop {
            let parsed = self.read_head().await?;
            let since = now();
            self.admin.counters.requested();
            let last = self.one_request(&parsed, since).await;
            self.admin.counters.finished(since);
            if last? {
                return self.close().await;
            }
        }
    }

    /// Reads the rest of a request and answers it; whether it was the last.
    async fn one_request(&mut self, parsed: &ParsedHead, since: Instant) -> Result<bool, End> {
        let body = self.read_body(parsed.body).await?;
        let (path, mut params) = Params::of_target(&self.head.path);
        if self.has_form() {
            params.add_encoded(&body);
        }
        let method = self.head.method.as_str().to_owned();
        if table::page(&path).is_some_and(|page| page.snapshot) {
            self.admin.refresh().await;
        }
        let response = table::answer(&Request { method, path, params }, self.admin);
        self.admin.counters.answered(response.status);
        let quit = response.then_quit;
        let last = quit || !parsed.keep_alive;
        let mut line =
            Line { since, received: body.len() as u64, status: response.status, sent: 0 };
        let sent = self.respond(response, last, &mut line.sent).await;
        self.admin.logs.write(&self.stream, &self.head, &line);
        sent?;
        if quit {
            self.wait_for_room(0).await?;
            (self.admin.outbox)(Message::Admin(AdminCommand::Quit));
        }
        Ok(last)
    }

    async fn read_head(&mut self) -> Result<ParsedHead, End> {
        loop {
            let parsed = parse_request(&self.input, &self.limits, &self.options, &mut self.head)?;
            if let Some(parsed) = parsed {
                self.input.drain(..parsed.head_len.min(self.input.len()));
                return Ok(parsed);
            }
            self.receive().await?;
        }
    }

    async fn read_body(&mut self, kind: BodyKind) -> Result<Vec<u8>, End> {
        let mut body = Vec::new();
        let mut decoder = BodyDecoder::request(kind, &self.limits, &self.options);
        if !decoder.is_done() && self.expects_continue() {
            self.write(Chunk::from_static(b"HTTP/1.1 100 Continue\r\n\r\n"));
        }
        while !decoder.is_done() {
            if self.input.is_empty() {
                self.receive().await?;
            }
            let decoded = decoder.decode(&self.input)?;
            body.extend_from_slice(self.input.get(decoded.data).unwrap_or_default());
            self.input.drain(..decoded.consumed.min(self.input.len()));
            if body.len() > BODY_BYTES_MAX {
                return Err(End::Refused(413));
            }
        }
        Ok(body)
    }

    fn expects_continue(&self) -> bool {
        let expect = self.head.headers.get(KnownName::Expect).unwrap_or_default();
        expect.eq_ignore_ascii_case(b"100-continue")
    }

    fn has_form(&self) -> bool {
        let content_type = self.head.headers.get(KnownName::ContentType).unwrap_or_default();
        self.head.method == Method::Post
            && content_type.starts_with(b"application/x-www-form-urlencoded")
    }

    async fn receive(&mut self) -> Result<(), End> {
        match timeout(IDLE, self.stream.recv()).await {
            Ok(Ok(Some(chunk))) => {
                self.admin.counters.received(chunk.len());
                self.input.extend_from_slice(&chunk);
                Ok(())
            }
            _ => Err(End::Gone),
        }
    }

    /// Sends an answer; `sent` counts the bytes of its body.
    async fn respond(&self, response: Response, last: bool, sent: &mut u64) -> Result<(), End> {
        let mut out = Vec::with_capacity(512);
        write_head(&response, last, &mut out);
        self.write(Chunk::from(out));
        if self.head.method == Method::Head {
            return Ok(());
        }
        match response.body {
            Body::Whole(text) => {
                *sent += text.len() as u64;
                self.write_chunked(text);
            }
            Body::Pieces(pieces) => {
                for piece in pieces {
                    *sent += piece.len() as u64;
                    self.write_chunked(piece);
                    self.wait_for_room(QUEUED_MAX).await?;
                    // Others are served between two pieces of a long page.
                    yield_now().await;
                }
            }
        }
        self.write(Chunk::from_static(LAST_CHUNK));
        self.wait_for_room(QUEUED_MAX).await
    }

    fn write_chunked(&self, text: String) {
        if text.is_empty() {
            return;
        }
        let header = ChunkHeader::new(text.len() as u64);
        self.write(Chunk::copy_from(header.as_bytes()));
        self.write(Chunk::from(text.into_bytes()));
        self.write(Chunk::from_static(ChunkHeader::END));
    }

    fn write(&self, chunk: Chunk) {
        self.admin.counters.sent(chunk.len());
        self.stream.write(chunk);
    }

    async fn wait_for_room(&self, below: usize) -> Result<(), End> {
        match timeout(IDLE, self.stream.queued_below(below)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(End::Gone),
        }
    }

    /// Sends what is queued and a FIN, then waits shortly for the peer's, so that a reset does not
    /// overtake the answer.
    async fn close(&self) -> Result<(), End> {
        const LINGER: Duration = Duration::from_secs(1);
        self.stream.shutdown_write();
        self.wait_for_room(0).await?;
        let _late_bytes =
            timeout(LINGER, async { while let Ok(Some(_)) = self.stream.recv().await {} }).await;
        Ok(())
    }

    /// Answers what could not be read as Envoy does, and closes.
    async fn refuse(&self, status: u16) {
        let text = ringway_wire::status::reason(status);
        let date = imf_fixdate(unix_now().as_secs());
        let mut head = ResponseHead::new(status);
        let length = text.len().to_string();
        head.headers.append(KnownName::ContentLength, length.as_bytes());
        head.headers.append(KnownName::ContentType, b"text/plain");
        head.headers.append(KnownName::Date, &date);
        head.headers.append(KnownName::Server, b"envoy");
        head.headers.append(KnownName::Connection, b"close");
        let mut out = Vec::with_capacity(256);
        encode(&head, Framing::AsIs, &mut out);
        out.extend_from_slice(text.as_bytes());
        self.write(Chunk::from(out));
        let _peer_gone = self.close().await;
    }
}

fn write_head(response: &Response, last: bool, out: &mut Vec<u8>) {
    let mut head = ResponseHead::new(response.status);
    let headers = &mut head.headers;
    if response.early_nosniff {
        headers.append("x-content-type-options", b"nosniff");
    }
    headers.append(KnownName::ContentType, response.content_type.as_bytes());
    headers.append(KnownName::CacheControl, b"no-cache, max-age=0");
    headers.append("x-content-type-options", b"nosniff");
    headers.append(KnownName::Date, &imf_fixdate(unix_now().as_secs()));
    headers.append(KnownName::Server, b"envoy");
    if last {
        headers.append(KnownName::Connection, b"close");
    }
    encode(&head, Framing::Chunked, out);
}

fn encode(head: &ResponseHead, framing: Framing, out: &mut Vec<u8>) {
    encode_response_head(head, Version::Http11, framing, HeaderKeyFormat::LowerCase, false, out);
}
