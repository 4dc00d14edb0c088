//! HTTP/2 with prior knowledge: the same answers as over HTTP/1.1, and an echo for gRPC.
//!
//! A request with `content-type: application/grpc…` gets its body back as it comes, whatever its
//! path, and `grpc-status: 0` when it ends: one message is a unary call, several are a stream.
//!
//! LIFECYCLE of a stream: head → (body, read and dropped, or sent back) → answer → gone. Only what
//! has to wait, for the rest of a request or for room to send, is kept in [`Server::streams`].

use super::connection::QUEUED_MAX;
use super::reply::{Replies, Reply};
use crate::http2::{Connection, Seen};
use ringway_runtime::{Chunk, Stream};
use ringway_wire::http2::{ConnectionError, PREFACE, Role};
use ringway_wire::{HeaderMap, KnownName, Method, RequestHead, ResponseHead};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;

/// Pieces up to this size are copied together; larger ones are sent from where they are.
const COPY_MAX: usize = 4 << 10;

/// Whether a connection begins like this: `None` when too little has come.
pub(super) fn is_http2(start: &[u8]) -> Option<bool> {
    let common = start.len().min(PREFACE.len());
    match start.get(..common) == PREFACE.get(..common) {
        true if common < PREFACE.len() => None,
        same => Some(same),
    }
}

/// Serves a connection to its end; `first` has come already.
pub(super) async fn serve(stream: Stream, first: Chunk, replies: Rc<Replies>) -> io::Result<()> {
    let mut server = Server {
        stream,
        replies,
        wire: Connection::new(Role::Server),
        streams: HashMap::new(),
        waiting: VecDeque::new(),
        request: RequestHead::default(),
        response: ResponseHead::default(),
        length: None,
        grpc: grpc_head(),
        status: grpc_status(),
    };
    server.wire.feed(first);
    loop {
        if let Err(error) = server.see_all() {
            server.wire.send_goaway(&error);
            server.flush();
            return server.stream.flush().await;
        }
        server.pump();
        server.flush();
        match server.receive().await? {
            Some(chunk) => server.wire.feed(chunk),
            None => return Ok(()),
        }
    }
}

/// A stream that waits for something.
struct Open {
    /// The request has not ended.
    reading: bool,
    /// What a request gets once it has ended; `None` for gRPC.
    reply: Option<Reply>,
    /// Body bytes to send.
    body: VecDeque<Chunk>,
    /// More of them, from [`Replies::block`].
    blocks: u64,
    window: i64,
    taken: u32,
    /// In [`Server::waiting`].
    queued: bool,
}

struct Server {
    stream: Stream,
    replies: Rc<Replies>,
    wire: Connection,
    streams: HashMap<u32, Open>,
    /// Streams with something to send.
    waiting: VecDeque<u32>,
    request: RequestHead,
    response: ResponseHead,
    /// What `response` says.
    length: Option<(u16, u64)>,
    grpc: ResponseHead,
    status: HeaderMap,
}

impl Server {
    /// More input. Meanwhile, whenever the queue has room, sends what waits for that.
    async fn receive(&mut self) -> io::Result<Option<Chunk>> {
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(received) = self.stream.poll_recv(cx) {
                    return Poll::Ready(received);
                }
                if self.waiting.is_empty()
                    || self.stream.poll_queued_below(cx, QUEUED_MAX / 2)?.is_pending()
                {
                    return Poll::Pending;
                }
                let before = self.stream.queued();
                self.pump();
                self.flush();
                // All that wait do so for windows.
                if self.stream.queued() == before {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    fn see_all(&mut self) -> Result<(), ConnectionError> {
        while let Some(seen) = self.wire.next()? {
            match seen {
                Seen::Head { stream, end } => self.head(stream, end),
                Seen::Data { stream, bytes, end } => self.data(stream, bytes, end),
                Seen::Reset { stream } => {
                    self.streams.remove(&stream);
                }
                Seen::GoAway { .. } => {}
                Seen::Window { stream, bytes } => {
                    if let Some(open) = self.streams.get_mut(&stream) {
                        open.window += i64::from(bytes);
                        self.wait(stream);
                    }
                }
                Seen::Windows { change } => {
                    let all: Vec<u32> = self.streams.keys().copied().collect();
                    for stream in all {
                        if let Some(open) = self.streams.get_mut(&stream) {
                            open.window += change;
                        }
                        self.wait(stream);
                    }
                }
            }
        }
        Ok(())
    }

    fn head(&mut self, stream: u32, end: bool) {
        if self.streams.contains_key(&stream) {
            // Trailers of a request.
            return self.ended(stream);
        }
        if !self.wire.request(&mut self.request) {
            return self.wire.send_reset(stream);
        }
        let kind = self.request.headers.get(KnownName::ContentType).unwrap_or_default();
        if kind.starts_with(b"application/grpc") {
            self.wire.send_response(stream, &self.grpc, false);
            self.open(stream, None);
            if end {
                self.ended(stream);
            }
            return;
        }
        let reply = self.replies.find(&self.request.path);
        if self.request.method == Method::Head {
            self.answer_head(stream, &reply, true);
        } else if end {
            self.answer(stream, &reply);
        } else {
            self.open(stream, Some(reply));
        }
    }

    fn data(&mut self, stream: u32, bytes: Chunk, end: bool) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        open.taken += bytes.len() as u32;
        self.wire.give_back(stream, &mut open.taken);
        if open.reply.is_none() && !bytes.is_empty() {
            // Mostly there is room, and the bytes need not be kept.
            if !open.queued && self.wire.room(open.window) >= bytes.len() {
                open.window -= bytes.len() as i64;
                self.wire.send_data(stream, &bytes, false);
            } else {
                open.body.push_back(bytes);
                self.wait(stream);
            }
        }
        if end {
            self.ended(stream);
        }
    }

    /// The request has ended.
    fn ended(&mut self, stream: u32) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        open.reading = false;
        if let Some(reply) = open.reply.take() {
            self.streams.remove(&stream);
            self.answer(stream, &reply);
        } else if open.body.is_empty() {
            self.streams.remove(&stream);
            self.wire.send_trailers(stream, &self.status);
        }
    }

    /// Sends an answer, or as much as there is room for.
    fn answer(&mut self, stream: u32, reply: &Reply) {
        let body = reply.ready.slice(reply.head_len..);
        let length = body.len() as u64 + reply.blocks;
        self.answer_head(stream, reply, length == 0);
        if length == 0 {
            return;
        }
        let window = self.wire.window_of_streams();
        if length <= COPY_MAX as u64 && self.wire.room(window) >= body.len() {
            self.wire.send_data(stream, &body, true);
        } else {
            self.open(stream, None);
            if let Some(open) = self.streams.get_mut(&stream) {
                open.reading = false;
                open.reply = Some(reply.clone());
                open.body.push_back(body);
                open.blocks = reply.blocks;
            }
            self.wait(stream);
        }
    }

    fn answer_head(&mut self, stream: u32, reply: &Reply, end: bool) {
        let length = (reply.ready.len() - reply.head_len) as u64 + reply.blocks;
        if self.length != Some((reply.status, length)) {
            self.response = response_head(reply.status, length);
            self.length = Some((reply.status, length));
        }
        self.wire.send_response(stream, &self.response, end);
    }

    fn open(&mut self, stream: u32, reply: Option<Reply>) {
        let open = Open {
            reading: true,
            reply,
            body: VecDeque::new(),
            blocks: 0,
            window: self.wire.window_of_streams(),
            taken: 0,
            queued: false,
        };
        self.streams.insert(stream, open);
    }

    /// Lets a stream with something to send wait for its turn.
    fn wait(&mut self, stream: u32) {
        if let Some(open) = self.streams.get_mut(&stream)
            && !open.queued
            && !open.body.is_empty()
        {
            open.queued = true;
            self.waiting.push_back(stream);
        }
    }

    /// Sends a frame of each waiting stream in turn, as far as windows and the queue have room.
    fn pump(&mut self) {
        let mut without_room = 0;
        while without_room < self.waiting.len() && self.stream.queued() < QUEUED_MAX {
            let Some(stream) = self.waiting.pop_front() else { return };
            match self.pump_one(stream) {
                Some(true) => {
                    without_room = 0;
                    self.waiting.push_back(stream);
                }
                Some(false) => {
                    without_room += 1;
                    self.waiting.push_back(stream);
                }
                None => {}
            }
        }
    }

    /// Sends one frame: whether there was room; `None` when nothing is left to send.
    fn pump_one(&mut self, stream: u32) -> Option<bool> {
        let open = self.streams.get_mut(&stream)?;
        let front = open.body.front_mut()?;
        let len = self.wire.room(open.window).min(front.len());
        if len == 0 && !front.is_empty() {
            return Some(false);
        }
        let piece = front.split_to(len);
        if front.is_empty() {
            open.body.pop_front();
        }
        if open.body.is_empty() && open.blocks > 0 {
            let mut block = self.replies.block();
            block.truncate(usize::try_from(open.blocks).unwrap_or(usize::MAX).min(block.len()));
            open.blocks -= block.len() as u64;
            open.body.push_back(block);
        }
        open.window -= len as i64;
        let rest = !open.body.is_empty();
        // gRPC ends with trailers.
        let ends_here = !rest && open.reply.is_some();
        let ends = !rest && !open.reading;
        open.queued = rest;
        if len > COPY_MAX {
            self.wire.send_data_header(stream, len, ends_here);
            self.flush();
            self.stream.write(piece);
        } else {
            self.wire.send_data(stream, &piece, ends_here);
        }
        if ends {
            self.streams.remove(&stream);
            if !ends_here {
                self.wire.send_trailers(stream, &self.status);
            }
        }
        rest.then_some(true)
    }

    fn flush(&mut self) {
        if let Some(chunk) = self.wire.out() {
            self.stream.write(chunk);
        }
    }
}

fn response_head(status: u16, length: u64) -> ResponseHead {
    let mut head = ResponseHead { status, ..ResponseHead::default() };
    head.headers.append(KnownName::ContentType, b"text/plain");
    head.headers.append(KnownName::Server, b"ringway-perf");
    head.headers.append(KnownName::ContentLength, length.to_string().as_bytes());
    head
}

fn grpc_head() -> ResponseHead {
    let mut head = ResponseHead { status: 200, ..ResponseHead::default() };
    head.headers.append(KnownName::ContentType, b"application/grpc");
    head
}

fn grpc_status() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.append(b"grpc-status".as_slice(), b"0");
    trailers
}
