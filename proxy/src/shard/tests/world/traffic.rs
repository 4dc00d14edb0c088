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
struct Answer {
    host: String,
    began: Instant,
    ended: Instant,
    /// The port of the server, `-<status>` where none has answered, or how it was lost.
    by: String,
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
            *by.entry(answer.by.clone()).or_default() += 1;
        }
        by
    }

    /// Forgets the answers so far.
    pub(in crate::shard) fn forget(&self) {
        self.answers.borrow_mut().clear();
        self.opened.set(0);
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
                && map.get(&answer.host).is_some_and(|by| by.contains(&answer.by))
        })
    }

    fn note(&self, host: &str, began: Instant, by: String) {
        let answer = Answer { host: host.to_owned(), began, ended: now(), by };
        self.answers.borrow_mut().push(answer);
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

/// Asks over HTTP/1, on one connection for as long as that lasts, then on the next.
pub(in crate::shard) async fn http1(log: Rc<Log>, habits: Habits, seed: u64) {
    let (_alive, mut rng) = (Alive::new(&log), Rng(seed));
    let mut open: Option<(Stream, u64)> = None;
    let mut turn = seed as usize;
    while !log.stopped.get() {
        let host = habits.hosts[turn % habits.hosts.len()].clone();
        turn += 1;
        let began = now();
        let slow = habits.slow.0 + below(&mut rng, habits.slow.1 - habits.slow.0);
        let by = loop {
            let (stream, served) = match open.take() {
                Some(open) => open,
                None => match connect(&habits.to, &ConnectOptions::default()).await {
                    Ok(stream) => {
                        log.opened.set(log.opened.get() + 1);
                        (stream, 0)
                    }
                    Err(error) => break format!("no connection: {error}"),
                },
            };
            match ask(&stream, &host, (slow.as_millis(), habits.bytes), log.number()).await {
                Asked::Answered(by, keep) => {
                    open = keep.then_some((stream, served + 1));
                    break by;
                }
                // What a client may send again (RFC 9112 section 9.3.1).
                Asked::Nothing if served > 0 => log.raced.set(log.raced.get() + 1),
                Asked::Nothing => break "nothing on a new connection".to_owned(),
                Asked::Cut => break "cut".to_owned(),
            }
        };
        log.note(&host, began, by);
        pause(&log, &mut rng, habits.pause).await;
    }
}

enum Asked {
    /// By whom, and whether the connection may be used again.
    Answered(String, bool),
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
    Asked::Answered(who(&head, &body, number, bytes), keep)
}

/// Who has answered; an answer to another request would show.
fn who(head: &ResponseHead, body: &[u8], number: u64, bytes: usize) -> String {
    let Some(server) = head.headers.get("x-server") else {
        println!("{} says: {}", head.status, String::from_utf8_lossy(body));
        return format!("-{}", head.status);
    };
    let told = head.headers.get("x-number");
    assert_eq!(told, Some(number.to_string().as_bytes()), "the answer to another request");
    assert_eq!(body, body_of(number, bytes), "a body came changed");
    String::from_utf8_lossy(server).into_owned()
}

/// The connection that the lanes of a client share.
struct Shared {
    log: Rc<Log>,
    habits: Habits,
    bench: Rc<Bench>,
    session: RefCell<Option<Rc<Session>>>,
    connecting: Cell<bool>,
}

impl Shared {
    /// A connection that takes another request; opened if there is none.
    async fn usable(&self) -> Result<Rc<Session>, String> {
        loop {
            let usable = |session: &Rc<Session>| !session.peer_leaves() && session.free_slots() > 0;
            if let Some(session) = self.session.borrow().clone().filter(usable) {
                return Ok(session);
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
        if let Some(old) = self.session.replace(Some(Rc::clone(&session))) {
            old.drain(Duration::ZERO);
        }
        Ok(session)
    }

    /// It takes no more.
    fn done_with(&self, session: &Rc<Session>) {
        self.session.borrow_mut().take_if(|current| Rc::ptr_eq(current, session));
        session.drain(Duration::ZERO);
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
        session: RefCell::default(),
        connecting: Cell::new(false),
    });
    let lane = |lane| spawn(lane_of(Rc::clone(&shared), seed.wrapping_mul(31) + lane));
    let lanes: Vec<_> = (0..lanes).map(lane).collect();
    for lane in lanes {
        lane.await;
    }
    if let Some(session) = shared.session.take() {
        session.drain(Duration::ZERO);
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
        let by = loop {
            let session = match shared.usable().await {
                Ok(session) => session,
                Err(error) => break error,
            };
            match stream(&session, &host, (slow.as_millis(), habits.bytes), log.number()).await {
                Ok(by) => break by,
                // It was not processed, and says so.
                Err(None | Some(StreamEnd::Refused)) => shared.done_with(&session),
                Err(Some(end)) => break format!("lost: {end:?}"),
            }
        };
        log.note(&host, began, by);
        pause(log, &mut rng, habits.pause).await;
    }
}

async fn stream(
    session: &Rc<Session>,
    host: &str,
    (slow, bytes): (u128, usize),
    number: u64,
) -> Result<String, Option<StreamEnd>> {
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
    Ok(who(&head, &body, number, bytes))
}

/// Keeps a TCP connection and sends on it every now and then; notes who greeted it, under the name
/// `tcp`, and when it was over, under `tcp end`.
pub(in crate::shard) async fn tcp(log: Rc<Log>, to: SockAddr, pause: Duration) {
    let _alive = Alive::new(&log);
    while !log.stopped.get() {
        let began = now();
        let Ok(stream) = connect(&to, &ConnectOptions::default()).await else {
            log.note("tcp", began, "no connection".to_owned());
            sleep(pause).await;
            continue;
        };
        log.opened.set(log.opened.get() + 1);
        let mut greeting = Vec::new();
        while !greeting.ends_with(b"\n") {
            let Ok(Some(chunk)) = stream.recv().await else { break };
            greeting.extend_from_slice(&chunk);
        }
        log.note("tcp", began, String::from_utf8_lossy(&greeting).trim().to_owned());
        while !log.stopped.get() && echoes(&stream).await {
            sleep(pause).await;
        }
        if !log.stopped.get() {
            log.note("tcp end", began, "closed".to_owned());
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
