//! The transport: gRPC over HTTP/2 with prior knowledge.
//!
//! LIFECYCLE of a stream: head → requests, each answered at once where there is something to
//! answer, and what is pushed → gone with the client's end, a reset, or its connection.

use super::session::Session;
use super::world::{Kind, World};
use crate::http2::{Connection, Seen};
use anyhow::Result;
use ringway_runtime::{Chunk, Instant, Listener, Stream, precise_now, spawn};
use ringway_wire::grpc::{self, PREFIX_LEN, Prefix};
use ringway_wire::http2::{ConnectionError, Role};
use ringway_wire::{KnownName, RequestHead, ResponseHead};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::{Rc, Weak};

/// Longest request taken; one that names 100,000 resources is about 5 MB.
const REQUEST_MAX: usize = 64 << 20;
/// The path of the one service.
const PATH: &[u8] =
    b"/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// The control plane: its resources and its clients.
pub struct Server {
    world: RefCell<World>,
    clients: RefCell<Vec<Weak<Client>>>,
}

/// What all clients together have said.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Streams that are open.
    pub streams: usize,
    /// Responses they accepted.
    pub acks: u64,
    /// What they refused.
    pub refusals: Vec<String>,
}

/// A connection.
struct Client {
    stream: Stream,
    state: RefCell<State>,
}

struct State {
    wire: Connection,
    streams: HashMap<u32, Open>,
}

/// A stream.
#[derive(Default)]
struct Open {
    session: Session,
    /// Received, no whole message yet.
    input: Vec<u8>,
    /// To be sent, framed.
    output: VecDeque<Chunk>,
    window: i64,
    taken: u32,
}

impl Server {
    pub(super) fn new(world: World) -> Self {
        Self { world: RefCell::new(world), clients: RefCell::default() }
    }

    /// Serves all who connect.
    pub(super) async fn serve(self: Rc<Self>, listener: Listener) {
        while let Ok((stream, _)) = listener.accept().await {
            let state = State { wire: Connection::new(Role::Server), streams: HashMap::new() };
            let client = Rc::new(Client { stream, state: RefCell::new(state) });
            let mut clients = self.clients.borrow_mut();
            clients.retain(|client| client.strong_count() > 0);
            clients.push(Rc::downgrade(&client));
            let server = Rc::clone(&self);
            spawn(async move {
                // What goes wrong on a connection ends it; its client comes again.
                let _ = client.run(&server).await;
            });
        }
    }

    /// Changes the resources and sends what changed to all who asked for it; the time just before
    /// it was sent.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn push(
        &self,
        kind: Kind,
        change: impl FnOnce(&mut World) -> Result<Vec<Rc<str>>>,
    ) -> Result<Instant> {
        let names = change(&mut self.world.borrow_mut())?;
        let world = self.world.borrow();
        let before = precise_now();
        for client in self.clients.borrow().iter().filter_map(Weak::upgrade) {
            client.push(kind, &names, &world);
        }
        Ok(before)
    }

    /// The resources.
    #[must_use]
    pub fn world(&self) -> std::cell::Ref<'_, World> {
        self.world.borrow()
    }

    /// What the clients have said.
    #[must_use]
    pub fn heard(&self) -> Heard {
        let mut heard = Heard::default();
        for client in self.clients.borrow().iter().filter_map(Weak::upgrade) {
            for open in client.state.borrow().streams.values() {
                heard.streams += 1;
                heard.acks += open.session.acks;
                heard.refusals.extend(open.session.refusals.iter().cloned());
            }
        }
        heard
    }
}

impl Client {
    async fn run(&self, server: &Server) -> io::Result<()> {
        loop {
            let seen = self.see_all(server);
            self.flush();
            if seen.is_err() {
                return self.stream.flush().await;
            }
            let Some(chunk) = self.stream.recv().await? else { return Ok(()) };
            self.state.borrow_mut().wire.feed(chunk);
        }
    }

    fn see_all(&self, server: &Server) -> Result<(), ConnectionError> {
        let state = &mut *self.state.borrow_mut();
        let world = server.world.borrow();
        let seen = state.see_all(&world);
        if let Err(error) = &seen {
            state.wire.send_goaway(error);
        }
        seen
    }

    fn push(&self, kind: Kind, names: &[Rc<str>], world: &World) {
        for open in self.state.borrow_mut().streams.values_mut() {
            if let Some(message) = open.session.push(kind, names, world) {
                open.send(&message);
            }
        }
        self.flush();
    }

    /// Sends all there is room for.
    fn flush(&self) {
        let state = &mut *self.state.borrow_mut();
        state.pump();
        if let Some(chunk) = state.wire.out() {
            self.stream.write(chunk);
        }
    }
}

impl State {
    fn see_all(&mut self, world: &World) -> Result<(), ConnectionError> {
        while let Some(seen) = self.wire.next()? {
            match seen {
                Seen::Head { stream, end: false } if !self.streams.contains_key(&stream) => {
                    self.open(stream);
                }
                Seen::Data { stream, bytes, end } => {
                    let Some(open) = self.streams.get_mut(&stream) else { continue };
                    open.taken += bytes.len() as u32;
                    self.wire.give_back(stream, &mut open.taken);
                    if open.receive(&bytes, world).is_err() || end {
                        self.close(stream);
                    }
                }
                Seen::Head { stream, .. } | Seen::Reset { stream } => self.close(stream),
                Seen::GoAway { .. } => {}
                Seen::Window { stream, bytes } => {
                    if let Some(open) = self.streams.get_mut(&stream) {
                        open.window += i64::from(bytes);
                    }
                }
                Seen::Windows { change } => {
                    self.streams.values_mut().for_each(|open| open.window += change);
                }
            }
        }
        Ok(())
    }

    fn open(&mut self, stream: u32) {
        let mut request = RequestHead::default();
        if !self.wire.request(&mut request) {
            return self.wire.send_reset(stream);
        }
        let mut head = ResponseHead::new(200);
        head.headers.append(KnownName::ContentType, b"application/grpc");
        if request.path != PATH {
            // 12: the client may try another service, but there is none.
            head.headers.append("grpc-status", b"12");
            return self.wire.send_response(stream, &head, true);
        }
        self.wire.send_response(stream, &head, false);
        let window = self.wire.window_of_streams();
        self.streams.insert(stream, Open { window, ..Open::default() });
    }

    fn close(&mut self, stream: u32) {
        if self.streams.remove(&stream).is_some() {
            self.wire.send_reset(stream);
        }
    }

    /// Frames what the windows allow.
    fn pump(&mut self) {
        for (&stream, open) in &mut self.streams {
            while let Some(chunk) = open.output.front_mut() {
                let room = self.wire.room(open.window).min(chunk.len());
                if room == 0 {
                    break;
                }
                self.wire.send_data(stream, &chunk.split_to(room), false);
                open.window -= room as i64;
                if chunk.is_empty() {
                    open.output.pop_front();
                }
            }
        }
    }
}

impl Open {
    /// Takes bytes, answers the messages in them.
    fn receive(&mut self, bytes: &[u8], world: &World) -> Result<(), String> {
        self.input.extend_from_slice(bytes);
        loop {
            let Some((&prefix, rest)) = self.input.split_first_chunk() else { return Ok(()) };
            let Prefix { flags, len } = Prefix::parse(prefix);
            let len = len as usize;
            if flags != 0 || len > REQUEST_MAX {
                return Err("a compressed or oversized message".to_owned());
            }
            let Some(message) = rest.get(..len) else { return Ok(()) };
            let answer = self.session.request(message, world)?;
            self.input.drain(..PREFIX_LEN + len);
            if let Some(answer) = answer {
                self.send(&answer);
            }
        }
    }

    fn send(&mut self, message: &[u8]) {
        let mut framed = Vec::with_capacity(PREFIX_LEN + message.len());
        let _fits = grpc::encode_frame(0, message, &mut framed);
        self.output.push_back(Chunk::from(framed));
    }
}
