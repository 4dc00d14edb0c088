//! A management server that serves what it has, late and in any order, and at times not at all.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use prost::Message;
use ringway_runtime::{Chunk, Instant, ListenOptions, Listener, SockAddr, now, sleep, spawn};
use ringway_wire::grpc::{Deframer, Piece, encode_frame};
use ringway_wire::{HeaderMap, RequestHead, ResponseHead};
use ringway_xds::api::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use ringway_xds::client::Protocol;
use ringway_xds::server::{Cache, Encoded, Options, Session, Snapshot};
use ringway_xds::{Document, Format};

use super::state::Key;
use crate::control::xds::bench::NODE;
use crate::http::down::Frame;
use crate::http2::{self, StreamEnd, StreamHandle};
use crate::shard::tests::client::Rng;
use crate::shard::tests::http2::{Bench, TIMES};

/// How a stream is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Trouble {
    /// It ends with a status.
    End,
    /// It is reset.
    Reset,
    /// Its connection is lost.
    Lost,
    /// Half a message comes, then its connection is lost.
    Half,
    /// A message that is none comes.
    Garbage,
    /// Nothing is said for a while.
    Silence,
    /// What was said last is said again.
    Echo,
}

pub(super) const TROUBLES: [Trouble; 7] = [
    Trouble::End,
    Trouble::Reset,
    Trouble::Lost,
    Trouble::Half,
    Trouble::Garbage,
    Trouble::Silence,
    Trouble::Echo,
];

/// What a stream has come to.
#[derive(Default)]
struct Progress {
    /// Which it is; 0 is none.
    number: u64,
    /// Types that were asked for.
    types: BTreeSet<String>,
    /// Nonces of responses that were not answered.
    owed: BTreeSet<String>,
    /// [`Server::news`] that it has looked at.
    seen: u64,
}

/// The server.
pub(super) struct Server {
    cache: RefCell<Cache>,
    protocol: Protocol,
    rng: RefCell<Rng>,
    trouble: Cell<Option<Trouble>>,
    wakers: RefCell<Vec<Waker>>,
    /// Streams that were begun.
    streams: Cell<u64>,
    /// Counts what the streams have to look at.
    news: Cell<u64>,
    /// What the stream there is now has come to.
    stream: RefCell<Progress>,
    /// Types and names in the texts of refusals.
    refused: RefCell<BTreeSet<(String, String)>>,
}

impl Server {
    pub(super) fn new(protocol: Protocol, seed: u64) -> Rc<Self> {
        let mut cache = Cache::default();
        cache.set(NODE, Snapshot::default());
        Rc::new(Self {
            cache: RefCell::new(cache),
            protocol,
            rng: RefCell::new(Rng(seed)),
            trouble: Cell::new(None),
            wakers: RefCell::default(),
            streams: Cell::new(0),
            news: Cell::new(0),
            stream: RefCell::default(),
            refused: RefCell::default(),
        })
    }

    /// Has a resource, or (`None`) has it no more.
    pub(super) fn put(&self, (kind, name): Key, yaml: Option<&str>) {
        let url = kind.type_url();
        let mut cache = self.cache.borrow_mut();
        match yaml {
            Some(yaml) => {
                let document = Document::parse(yaml, name, Format::Yaml).expect("YAML");
                let encoded = document.encode(kind.message());
                let (bytes, ..) = encoded.unwrap_or_else(|wrong| panic!("{yaml}: {wrong:?}"));
                cache.update(NODE, url, Encoded::new(name, url, &bytes));
            }
            None => cache.remove(NODE, url, name),
        }
        drop(cache);
        self.refused.borrow_mut().remove(&(url.to_owned(), name.to_owned()));
        self.tell();
    }

    /// Something goes wrong with the stream.
    pub(super) fn make(&self, trouble: Trouble) {
        self.trouble.set(Some(trouble));
        self.tell();
    }

    /// Whether a refusal has named this.
    pub(super) fn was_refused(&self, (kind, name): Key) -> bool {
        self.refused.borrow().contains(&(kind.type_url().to_owned(), name.to_owned()))
    }

    /// Whether a stream has said all there is of so many types, and has been answered.
    pub(super) fn has_said_all(&self, types: usize) -> bool {
        let stream = self.stream.borrow();
        let all_seen = stream.number > 0 && stream.seen == self.news.get();
        all_seen && stream.types.len() >= types && stream.owed.is_empty()
    }

    fn tell(&self) {
        self.news.set(self.news.get() + 1);
        self.wakers.take().into_iter().for_each(Waker::wake);
    }

    fn below(&self, limit: u64) -> u64 {
        self.rng.borrow_mut().next() % limit
    }

    /// Serves on `at`.
    pub(super) async fn run(self: Rc<Self>, at: SockAddr) {
        let listener = Listener::bind(&at, &ListenOptions::default()).expect("bind");
        let bench = Bench::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let env = bench.env.clone();
            let session = http2::Session::server(stream.into(), &bench.options, env, TIMES);
            let this = Rc::clone(&self);
            spawn(async move {
                poll_fn(|cx| {
                    let ended = session.poll_drive(cx);
                    while let Poll::Ready(Some(stream)) = session.poll_accept() {
                        spawn(Rc::clone(&this).serve(stream));
                    }
                    ended
                })
                .await;
            });
        }
    }

    async fn serve(self: Rc<Self>, stream: StreamHandle) {
        if stream.take_request(&mut RequestHead::default()).is_err() {
            return;
        }
        let mut head = ResponseHead::new(200);
        head.headers.append("content-type", b"application/grpc");
        stream.send_response(&head, false);
        self.streams.set(self.streams.get() + 1);
        let number = self.streams.get();
        self.stream.replace(Progress { number, ..Progress::default() });
        let mut talk = Talk {
            session: Session::new(Options::new(self.protocol)),
            stream,
            deframer: Deframer::new(),
            message: Vec::new(),
            late: Vec::new(),
            last: Vec::new(),
            silent: Instant::from_nanos(0),
        };
        while talk.turn(&self).await {}
        if self.stream.borrow().number == number {
            self.stream.take();
        }
    }
}

/// One stream.
struct Talk {
    session: Session,
    stream: StreamHandle,
    deframer: Deframer,
    message: Vec<u8>,
    /// Responses, and when they are sent.
    late: Vec<(Instant, Vec<u8>)>,
    /// The last response that was sent.
    last: Vec<u8>,
    /// Nothing is sent before.
    silent: Instant,
}

impl Talk {
    /// False when the stream is over.
    async fn turn(&mut self, server: &Server) -> bool {
        if let Some(trouble) = server.trouble.take()
            && !self.suffer(trouble, server)
        {
            return false;
        }
        let time = Duration::from_nanos(now().as_nanos());
        server.stream.borrow_mut().seen = server.news.get();
        while let Some(response) = self.session.poll_response(&server.cache.borrow(), time) {
            server.stream.borrow_mut().owed.insert(server.nonce_of(&response));
            // Types overtake one another.
            let late = if server.below(2) == 0 { 0 } else { server.below(150) };
            let mut framed = Vec::new();
            encode_frame(0, &response, &mut framed);
            self.late.push((now() + Duration::from_millis(late), framed));
        }
        if self.silent <= now() {
            self.late.sort_by_key(|(at, _)| *at);
            let due = self.late.iter().take_while(|(at, _)| *at <= now()).count();
            for (_, framed) in self.late.drain(..due) {
                self.stream.send_data(Chunk::copy_from(&framed), false);
                self.last = framed;
            }
        }
        match self.wait(server).await {
            None => true,
            Some(Ok(Frame::Data(data))) => self.take(data, server),
            Some(_) => false,
        }
    }

    /// Waits for data, news of the server, or the time to send something.
    async fn wait(&self, server: &Server) -> Option<Result<Frame, StreamEnd>> {
        let next = self.late.iter().map(|(at, _)| (*at).max(self.silent)).min();
        let mut timer = next.map(|at| Box::pin(sleep(at.since(now()))));
        let (seen, mut trailers) = (server.news.get(), HeaderMap::new());
        poll_fn(|cx| {
            if let Poll::Ready(frame) = self.stream.poll_body(cx, &mut trailers) {
                return Poll::Ready(Some(frame));
            }
            if server.news.get() != seen {
                return Poll::Ready(None);
            }
            server.wakers.borrow_mut().push(cx.waker().clone());
            match &mut timer {
                Some(timer) => timer.as_mut().poll(cx).map(|()| None),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn take(&mut self, mut data: Chunk, server: &Server) -> bool {
        while !data.is_empty() {
            let (consumed, piece) = self.deframer.next(&data);
            let here = data.split_to(consumed);
            let Some(Piece::Data { range, end }) = piece else { continue };
            self.message.extend_from_slice(here.get(range).unwrap_or_default());
            if end {
                let request = std::mem::take(&mut self.message);
                server.note(&request);
                self.session.request(&server.cache.borrow(), &request).expect("a request");
            }
        }
        true
    }

    /// False when that is the end of the stream.
    fn suffer(&mut self, trouble: Trouble, server: &Server) -> bool {
        let send = |bytes: &[u8]| self.stream.send_data(Chunk::copy_from(bytes), false);
        match trouble {
            Trouble::End => {
                let mut trailers = HeaderMap::new();
                trailers.append("grpc-status", b"14");
                self.stream.send_trailers(&trailers);
            }
            Trouble::Reset => self.stream.reset(http2::ErrorCode::INTERNAL_ERROR),
            Trouble::Lost => self.stream.session().abort(),
            Trouble::Half => {
                send(self.last.get(..self.last.len() / 2).unwrap_or_default());
                let session = Rc::clone(self.stream.session());
                spawn(async move {
                    sleep(Duration::from_millis(2)).await;
                    session.abort();
                });
            }
            Trouble::Garbage => {
                let mut framed = Vec::new();
                encode_frame(0, &[0xff; 20], &mut framed);
                send(&framed);
                return true;
            }
            Trouble::Silence => {
                self.silent = now() + Duration::from_millis(server.below(600));
                return true;
            }
            Trouble::Echo => {
                send(&self.last);
                return true;
            }
        }
        false
    }
}

impl Server {
    fn nonce_of(&self, response: &[u8]) -> String {
        let nonce = match self.protocol {
            Protocol::Sotw => DiscoveryResponse::decode(response).map(|it| it.nonce),
            Protocol::Delta => DeltaDiscoveryResponse::decode(response).map(|it| it.nonce),
        };
        nonce.expect("a response")
    }

    fn note(&self, request: &[u8]) {
        let decoded = match self.protocol {
            Protocol::Sotw => DiscoveryRequest::decode(request)
                .map(|it| (it.type_url, it.response_nonce, it.error_detail)),
            Protocol::Delta => DeltaDiscoveryRequest::decode(request)
                .map(|it| (it.type_url, it.response_nonce, it.error_detail)),
        };
        let (url, nonce, error) = decoded.expect("a request");
        if let Some(error) = error {
            let words = error.message.split(|c: char| !c.is_ascii_alphanumeric());
            self.refused.borrow_mut().extend(words.map(|word| (url.clone(), word.to_owned())));
        }
        let mut stream = self.stream.borrow_mut();
        stream.owed.remove(&nonce);
        stream.types.insert(url);
    }
}
