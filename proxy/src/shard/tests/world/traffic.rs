//! Clients that never stop asking, and what they have seen.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::{
    Chunk, ConnectOptions, Instant, SockAddr, Stream, connect, now, sleep, spawn,
};
use ringway_wire::http1::BodyKind;
use ringway_wire::{Method, RequestHead, ResponseHead, Scheme};

use crate::http2::{Session, StreamEnd};
use crate::shard::tests::client::{Rng, body_of, read_body, read_head};
use crate::shard::tests::http2::{Bench, TIMES, answer, drive};

/// By host, who may answer its requests.
type Allowed = BTreeMap<String, Vec<String>>;

/// What clients have seen, and what they may see.
#[derive(Default)]
pub(in crate::shard) struct Log {
    /// From some moment on: who may answer requests of a host; nobody is `"-404"` and the like.
    allowed: RefCell<Vec<(Instant, Allowed)>>,
    answers: RefCell<Vec<Answer>>,
    ends: RefCell<Vec<End>>,
    stopped: Cell<bool>,
    clients: Cell<usize>,
    numbers: Cell<u64>,
    /// Requests that met the end of an idle connection, and were sent again on another.
    raced: Cell<usize>,
    /// Connections that were opened.
    opened: Cell<usize>,
}

/// What came of a request.
#[derive(Debug, Clone)]
pub(in crate::shard) struct Answer {
    /// Whom it was sent to.
    pub to: SockAddr,
    pub host: String,
    pub began: Instant,
    pub ended: Instant,
    /// Since when there was the connection it was sent on last.
    pub opened: Instant,
    pub said: Said,
}

/// What an answer says of its way.
#[derive(Debug, Clone, Default)]
pub(in crate::shard) struct Said {
    /// The port of the server, `-<status>` where none has answered, or how it was lost.
    pub by: String,
    /// `x-route`: what the route has added.
    pub route: String,
    /// `server`: the name that the connection manager has.
    pub server: String,
}

impl Said {
    fn lost(how: String) -> Self {
        Self { by: how, ..Self::default() }
    }
}

/// A connection that the proxy has ended.
#[derive(Debug, Clone)]
pub(in crate::shard) struct End {
    pub whose: Whose,
    pub opened: Instant,
    pub ended: Instant,
}

/// Whose connection it was.
#[derive(Debug, Clone)]
pub(in crate::shard) enum Whose {
    /// A client's, with [`Said::server`] of its answers.
    Client(String),
    /// That of the server on this port.
    Server(u16),
}

impl Log {
    /// From now on requests of `host` are answered by one of these: ports, or `-<status>`.
    pub(in crate::shard) fn set(&self, at: Instant, host: &str, by: &[&str]) {
        let mut allowed = self.allowed.borrow_mut();
        let mut map = allowed.last().map(|(_, map)| map.clone()).unwrap_or_default();
        map.insert(host.to_owned(), by.iter().map(|by| (*by).to_owned()).collect());
        allowed.push((at, map));
    }

    /// No request is begun any more.
    pub(in crate::shard) fn stop(&self) {
        self.stopped.set(true);
    }

    /// Clients that are still at it.
    pub(in crate::shard) fn clients(&self) -> usize {
        self.clients.get()
    }

    /// Requests so far, and connections they took.
    pub(in crate::shard) fn counts(&self) -> (usize, usize) {
        (self.answers.borrow().len(), self.opened.get())
    }

    /// Requests that met the end of an idle connection.
    pub(in crate::shard) fn raced(&self) -> usize {
        self.raced.get()
    }

    /// Who has answered requests of `host`, and how often.
    pub(in crate::shard) fn answered(&self, host: &str) -> BTreeMap<String, usize> {
        let mut by = BTreeMap::new();
        for answer in self.answers.borrow().iter().filter(|answer| answer.host == host) {
            *by.entry(answer.said.by.clone()).or_default() += 1;
        }
        by
    }

    /// Forgets the answers so far.
    pub(in crate::shard) fn forget(&self) {
        self.answers.borrow_mut().clear();
        self.ends.borrow_mut().clear();
        self.opened.set(0);
    }

    /// The answers, and ends of connections, since this was asked last.
    pub(in crate::shard) fn take(&self) -> (Vec<Answer>, Vec<End>) {
        (self.answers.take(), self.ends.take())
    }

    /// Every request was answered by somebody who was in charge while it was under way.
    pub(in crate::shard) fn check(&self) {
        for answer in self.answers.borrow().iter() {
            assert!(self.is_right(answer), "{answer:?}; allowed: {:?}", self.allowed.borrow());
        }
    }

    fn is_right(&self, answer: &Answer) -> bool {
        let allowed = self.allowed.borrow();
        let ends = allowed.iter().skip(1).map(|(from, _)| *from).chain([Instant::FAR_FUTURE]);
        allowed.iter().zip(ends).any(|((from, map), until)| {
            *from <= answer.ended
                && answer.began <= until
                && map.get(&answer.host).is_some_and(|by| by.contains(&answer.said.by))
        })
    }

    fn note(&self, to: &SockAddr, host: &str, (opened, began): (Instant, Instant), said: Said) {
        let (to, host) = (to.clone(), host.to_owned());
        let answer = Answer { to, host, began, ended: now(), opened, said };
        self.answers.borrow_mut().push(answer);
    }

    /// The proxy has ended a connection.
    pub(super) fn ended(&self, whose: Whose, opened: Instant) {
        if !self.stopped.get() {
            self.ends.borrow_mut().push(End { whose, opened, ended: now() });
        }
    }

    fn number(&self) -> u64 {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }
}

/// How a client behaves.
#[derive(Debug, Clone)]
pub(in crate::shard) struct Habits {
    /// Where it connects to.
    pub to: SockAddr,
    /// Hosts it asks for, one after the other.
    pub hosts: Vec<String>,
    /// The longest time between two requests.
    pub pause: Duration,
    /// The shortest and the longest time an answer takes at the server.
    pub slow: (Duration, Duration),
    /// Bytes of an answer.
    pub bytes: usize,
    /// Requests at once on a connection (HTTP/2).
    pub lanes: u64,
}

impl Habits {
    /// Asks for these hosts without much of a pause.
    pub(in crate::shard) fn busy(to: SockAddr, hosts: &[&str]) -> Self {
        Self {
            to,
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            pause: Duration::from_millis(120),
            slow: (Duration::ZERO, Duration::from_millis(40)),
            bytes: 2000,
            lanes: 3,
        }
    }
}

fn below(rng: &mut Rng, limit: Duration) -> Duration {
    Duration::from_millis(rng.next() % (limit.as_millis() as u64 + 1))
}

/// Waits for up to `limit`, or until no request is begun any more.
async fn pause(log: &Log, rng: &mut Rng, limit: Duration) {
    let until = now() + below(rng, limit);
    while now() < until && !log.stopped.get() {
        sleep(until.since(now()).min(Duration::from_secs(1))).await;
    }
}

/// Counts a client in for as long as it lives.
struct Alive(Rc<Log>);

impl Alive {
    fn new(log: &Rc<Log>) -> Self {
        log.clients.set(log.clients.get() + 1);
        Self(Rc::clone(log))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.clients.set(self.0.clients.get() - 1);
    }
}

/// A connection of HTTP/1.
struct Http1 {
    stream: Stream,
    opened: Instant,
    /// Requests it has served.
    served: usize,
    /// [`Said::server`] of the last of them.
    server: String,
}

/// Asks over HTTP/1, on one connection for as long as that lasts, then on the next.
pub(in crate::shard) async fn http1(log: Rc<Log>, habits: Habits, seed: u64) {
    let (_alive, mut rng) = (Alive::new(&log), Rng(seed));
    let mut open: Option<Http1> = None;
    let mut turn = seed as usize;
    while !log.stopped.get() {
        let host = habits.hosts[turn % habits.hosts.len()].clone();
        turn += 1;
        let began = now();
        let slow = habits.slow.0 + below(&mut rng, habits.slow.1 - habits.slow.0);
        let (opened, said) = loop {
            let mut conn = match open.take() {
                Some(open) => open,
                None => match connect(&habits.to, &ConnectOptions::default()).await {
                    Ok(stream) => {
                        log.opened.set(log.opened.get() + 1);
                        Http1 { stream, opened: now(), served: 0, server: String::new() }
                    }
                    Err(error) => break (began, Said::lost(format!("no connection: {error}"))),
                },
            };
            let what = (slow.as_millis(), habits.bytes);
            match ask(&conn.stream, &host, what, log.number()).await {
                Asked::Answered(said, keep) => {
                    let opened = conn.opened;
                    (conn.served, conn.server) = (conn.served + 1, said.server.clone());
                    if keep {
                        open = Some(conn);
                    } else {
                        log.ended(Whose::Client(conn.server), opened);
                    }
                    break (opened, said);
                }
                // What a client may send again (RFC 9112 section 9.3.1).
                Asked::Nothing if conn.served > 0 => {
                    log.ended(Whose::Client(conn.server), conn.opened);
                    log.raced.set(log.raced.get() + 1);
                }
                Asked::Nothing => {
                    break (conn.opened, Said::lost("nothing on a new connection".to_owned()));
                }
                Asked::Cut => break (conn.opened, Said::lost("cut".to_owned())),
            }
        };
        let refused = said.by.starts_with("no connection");
        log.note(&habits.to, &host, (opened, began), said);
        // Who finds nobody looks again soon.
        pause(&log, &mut rng, if refused { habits.pause / 2 } else { habits.pause }).await;
    }
}

enum Asked {
    /// By whom, and whether the connection may be used again.
    Answered(Said, bool),
    /// The connection was over before the first byte.
    Nothing,
    /// It was over in the middle.
    Cut,
}

async fn ask(stream: &Stream, host: &str, (slow, bytes): (u128, usize), number: u64) -> Asked {
    let text =
        format!("GET /{slow}/{bytes} HTTP/1.1\r\nhost: {host}\r\nx-number: {number}\r\n\r\n");
    stream.write(Chunk::copy_from(text.as_bytes()));
    let (mut inbox, mut head) = (Vec::new(), ResponseHead::default());
    let Some(parsed) = read_head(stream, &mut inbox, &Method::Get, &mut head).await else {
        return if inbox.is_empty() { Asked::Nothing } else { Asked::Cut };
    };
    let Some(body) = read_body(stream, &mut inbox, &parsed).await else { return Asked::Cut };
    let keep = parsed.keep_alive && parsed.body != BodyKind::UntilClose;
    Asked::Answered(said(&head, &body, number, bytes), keep)
}

/// What an answer says; an answer to another request would show.
fn said(head: &ResponseHead, body: &[u8], number: u64, bytes: usize) -> Said {
    let text = |name: &'static str| {
        let value = head.headers.get(name).unwrap_or_default();
        String::from_utf8_lossy(value).into_owned()
    };
    let mut said = Said { by: text("x-server"), route: text("x-route"), server: text("server") };
    if said.by.is_empty() {
        said.by = format!("-{}", head.status);
        return said;
    }
    let told = head.headers.get("x-number");
    assert_eq!(told, Some(number.to_string().as_bytes()), "the answer to another request");
    assert_eq!(body, body_of(number, bytes), "a body came changed");
    said
}

/// The connection that the lanes of a client share.
struct Shared {
    log: Rc<Log>,
    habits: Habits,
    bench: Rc<Bench>,
    conn: RefCell<Option<Rc<Http2>>>,
    connecting: Cell<bool>,
}

/// A connection of HTTP/2.
struct Http2 {
    session: Rc<Session>,
    opened: Instant,
    /// [`Said::server`] of its last answer.
    server: RefCell<String>,
}

impl Shared {
    /// A connection that takes another request; opened if there is none.
    async fn usable(&self) -> Result<Rc<Http2>, String> {
        loop {
            let conn = self.conn.borrow().clone();
            if let Some(conn) = conn {
                if !conn.session.peer_leaves() && conn.session.free_slots() > 0 {
                    return Ok(conn);
                }
                self.done_with(&conn);
            }
            if !self.connecting.get() {
                break;
            }
            sleep(Duration::from_millis(1)).await;
        }
        self.connecting.set(true);
        let connected = connect(&self.habits.to, &ConnectOptions::default()).await;
        self.connecting.set(false);
        let stream = connected.map_err(|error| format!("no connection: {error}"))?;
        self.log.opened.set(self.log.opened.get() + 1);
        let (options, env) = (&self.bench.options, self.bench.env.clone());
        let session = Session::client(stream.into(), options, env, TIMES);
        spawn(drive(Rc::clone(&session)));
        let conn = Rc::new(Http2 { session, opened: now(), server: RefCell::default() });
        self.conn.replace(Some(Rc::clone(&conn)));
        Ok(conn)
    }

    /// It takes no more.
    fn done_with(&self, conn: &Rc<Http2>) {
        if self.conn.borrow_mut().take_if(|current| Rc::ptr_eq(current, conn)).is_some() {
            self.log.ended(Whose::Client(conn.server.borrow().clone()), conn.opened);
        }
        conn.session.drain(Duration::ZERO);
    }
}

/// Asks over HTTP/2, several requests at once on one connection for as long as that takes any.
pub(in crate::shard) async fn http2(log: Rc<Log>, habits: Habits, seed: u64) {
    let _alive = Alive::new(&log);
    let (bench, lanes) = (Bench::new(), habits.lanes);
    let shared = Rc::new(Shared {
        log,
        habits,
        bench,
        conn: RefCell::default(),
        connecting: Cell::new(false),
    });
    let lane = |lane| spawn(lane_of(Rc::clone(&shared), seed.wrapping_mul(31) + lane));
    let lanes: Vec<_> = (0..lanes).map(lane).collect();
    for lane in lanes {
        lane.await;
    }
    if let Some(conn) = shared.conn.take() {
        conn.session.drain(Duration::ZERO);
    }
}

async fn lane_of(shared: Rc<Shared>, seed: u64) {
    let Shared { log, habits, .. } = &*shared;
    let mut rng = Rng(seed);
    let mut turn = seed as usize;
    while !log.stopped.get() {
        let host = habits.hosts[turn % habits.hosts.len()].clone();
        turn += 1;
        let began = now();
        let slow = habits.slow.0 + below(&mut rng, habits.slow.1 - habits.slow.0);
        let (opened, said) = loop {
            let conn = match shared.usable().await {
                Ok(conn) => conn,
                Err(error) => break (began, Said::lost(error)),
            };
            let what = (slow.as_millis(), habits.bytes);
            match stream(&conn.session, &host, what, log.number()).await {
                Ok(said) => {
                    conn.server.borrow_mut().clone_from(&said.server);
                    break (conn.opened, said);
                }
                // It was not processed, and says so.
                Err(None | Some(StreamEnd::Refused)) => shared.done_with(&conn),
                Err(Some(end)) => break (conn.opened, Said::lost(format!("lost: {end:?}"))),
            }
        };
        log.note(&habits.to, &host, (opened, began), said);
        pause(log, &mut rng, habits.pause).await;
    }
}

async fn stream(
    session: &Rc<Session>,
    host: &str,
    (slow, bytes): (u128, usize),
    number: u64,
) -> Result<Said, Option<StreamEnd>> {
    let Some(stream) = session.open() else { return Err(None) };
    let mut head = RequestHead {
        method: Method::Get,
        path: format!("/{slow}/{bytes}").into_bytes(),
        authority: host.as_bytes().to_vec(),
        scheme: Some(Scheme::Http),
        ..RequestHead::default()
    };
    head.headers.append("x-number", number.to_string().as_bytes());
    stream.send_request(&head, None, true);
    let (head, body) = answer(&stream).await.map_err(Some)?;
    Ok(said(&head, &body, number, bytes))
}

/// Keeps a TCP connection and sends on it every now and then; notes who greeted it, under the name
/// `tcp`, and when it was over, under `tcp end`.
pub(in crate::shard) async fn tcp(log: Rc<Log>, to: SockAddr, pause: Duration) {
    let _alive = Alive::new(&log);
    while !log.stopped.get() {
        let began = now();
        let Ok(stream) = connect(&to, &ConnectOptions::default()).await else {
            log.note(&to, "tcp", (began, began), Said::lost("no connection".to_owned()));
            sleep(pause).await;
            continue;
        };
        log.opened.set(log.opened.get() + 1);
        let mut greeting = Vec::new();
        while !greeting.ends_with(b"\n") {
            let Ok(Some(chunk)) = stream.recv().await else { break };
            greeting.extend_from_slice(&chunk);
        }
        let by = String::from_utf8_lossy(&greeting).trim().to_owned();
        log.note(&to, "tcp", (began, began), Said { by, ..Said::default() });
        while !log.stopped.get() && echoes(&stream).await {
            sleep(pause).await;
        }
        if !log.stopped.get() {
            log.note(&to, "tcp end", (began, began), Said::lost("closed".to_owned()));
        }
    }
}

async fn echoes(stream: &Stream) -> bool {
    stream.write(Chunk::from_static(b"ping"));
    let mut back = 0;
    while back < 4 {
        let Ok(Some(chunk)) = stream.recv().await else { return false };
        back += chunk.len();
    }
    true
}
