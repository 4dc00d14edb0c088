//! The scripted server behind a proxy: it reads requests whole, notes exactly what it got, and does
//! what the case told it to do with the next request (200 `ok` when it told nothing).
//!
//! LIFECYCLE of a connection: accepted → PROXY header and TLS as the case file says → HTTP/2 when
//! the preface comes, otherwise HTTP/1: (request read → noted → script acted out)* → ended by the
//! script or by the proxy. One thread each; the listener lives as long as the process of the test.

use super::case::{Action, Rule, UpstreamOptions};
use super::text;
use crate::certs::Store;
use crate::h2::PREFACE;
use crate::tls;
use crate::wire::{Body, End, Peer, escape_latin};
use anyhow::{Context, Result};
use rustls::ServerConfig;
use socket2::{Domain, SockAddr, Socket, Type};
use std::collections::{BTreeMap, VecDeque};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

mod h1;
mod h2;
mod proxied;
mod raw;

/// A listening scripted server.
#[derive(Debug)]
pub struct Upstream {
    shared: Arc<Shared>,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
}

#[derive(Debug)]
struct Shared {
    scripts: Mutex<VecDeque<Vec<Action>>>,
    seen: Mutex<Vec<Seen>>,
    /// The open connections.
    open: Mutex<BTreeMap<usize, Socket>>,
    rules: Vec<Rule>,
    options: UpstreamOptions,
    tls: Option<Arc<ServerConfig>>,
    certs: Arc<Store>,
    /// Counts the cases, so that what comes late is not taken for part of the next one.
    case: AtomicUsize,
}

/// Something an upstream saw.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which of its connections, counted from the start of the process.
    pub connection: usize,
    /// Lines of the transcript.
    pub lines: Vec<String>,
    case: usize,
    /// Whether it is a request (and not an end of a connection).
    pub request: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upstream {
    /// Starts one; `rules` and `options` are those of this upstream.
    ///
    /// # Errors
    /// It cannot listen, or has no such certificate.
    pub fn start(rules: Vec<Rule>, options: UpstreamOptions, certs: &Arc<Store>) -> Result<Self> {
        let tls = options.tls.as_ref().map(|tls| tls.config(certs)).transpose()?;
        let listener = TcpListener::bind("127.0.0.1:0").context("an upstream cannot listen")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            scripts: Mutex::default(),
            seen: Mutex::default(),
            open: Mutex::default(),
            rules,
            options,
            tls,
            certs: Arc::clone(certs),
            case: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().flatten().enumerate() {
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || {
                    let socket = Socket::from(stream);
                    if let Ok(handle) = socket.try_clone() {
                        locked(&shared.open).insert(connection, handle);
                    }
                    let peer = shared.serve(connection, Peer::new(socket));
                    locked(&shared.open).remove(&connection);
                    drop(peer);
                });
            }
        });
        Ok(Self { shared, port })
    }

    /// Begins a case: ends all connections, so that no case depends on the one before, and forgets
    /// what was seen and told before.
    pub fn begin(&self) {
        self.end_connections();
        self.shared.case.fetch_add(1, Ordering::SeqCst);
        locked(&self.shared.scripts).clear();
        locked(&self.shared.seen).clear();
    }

    /// FIN on every connection; the proxy has taken it out of its pool once its own FIN is here.
    fn end_connections(&self) {
        let each = |how: Shutdown| {
            locked(&self.shared.open).values().for_each(|socket| {
                socket.shutdown(how).ok();
            });
        };
        each(Shutdown::Write);
        let deadline = Instant::now() + Duration::from_secs(1);
        while !locked(&self.shared.open).is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        each(Shutdown::Both);
    }

    /// Tells what to do with a coming request.
    pub fn script(&self, script: Vec<Action>) {
        locked(&self.shared.scripts).push_back(script);
    }

    /// What was seen in this case.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        let case = self.shared.case.load(Ordering::SeqCst);
        locked(&self.shared.seen).iter().filter(|seen| seen.case == case).cloned().collect()
    }
}

/// What one connection notes.
#[derive(Clone, Copy)]
struct Notes<'a> {
    shared: &'a Shared,
    connection: usize,
    case: usize,
}

impl Notes<'_> {
    fn add(&self, lines: Vec<String>, request: bool) {
        let (connection, case) = (self.connection, self.case);
        locked(&self.shared.seen).push(Seen { connection, lines, case, request });
    }
}

impl Shared {
    /// Serves a connection to its end and gives it back, to be closed.
    fn serve(&self, connection: usize, mut peer: Peer) -> Peer {
        let notes = self.notes(connection);
        if let Err(why) = self.begin(&mut peer, &notes) {
            if let Some(why) = why {
                notes.add(vec![why], false);
            }
            return peer;
        }
        if self.options.raw {
            return self.serve_raw(connection, peer);
        }
        while peer.buf.len() < PREFACE.len() && PREFACE.starts_with(&peer.buf) {
            if peer.fill(far()).is_err() {
                return if peer.buf.is_empty() { peer } else { self.serve_h1(connection, peer) };
            }
        }
        if !peer.buf.starts_with(PREFACE) {
            return self.serve_h1(connection, peer);
        }
        peer.buf.drain(..PREFACE.len());
        self.serve_h2(connection, peer)
    }

    /// What comes before the bytes of HTTP: a PROXY header, TLS.
    fn begin(&self, peer: &mut Peer, notes: &Notes<'_>) -> Result<(), Option<String>> {
        if self.options.proxy {
            let header = proxied::take(peer, far()).map_err(|end| {
                let came = escape_latin(&peer.buf);
                (end != End::Closed || !came.is_empty())
                    .then(|| format!("no PROXY header: {}, after {came:?}", end.word()))
            })?;
            notes.add(vec![header], false);
        }
        let Some(config) = &self.tls else { return Ok(()) };
        if peer.buf.is_empty() && peer.fill(far()).is_err() {
            return Err(None);
        }
        if peer.buf.first() != Some(&22) {
            notes.add(vec!["no TLS".to_owned()], false);
            return Ok(());
        }
        let secured = tls::accept(Arc::clone(config))
            .map_err(|_| End::Garbage)
            .and_then(|connection| peer.secure(connection, far()));
        secured.map_err(|_| Some("tls failed".to_owned()))?;
        let facts = peer.tls().map(|link| link.facts(&self.certs)).unwrap_or_default();
        // Which sessions a client keeps is its own affair.
        notes.add(vec![format!("tls {}", facts.trim_end_matches(" resumed"))], false);
        Ok(())
    }

    fn notes(&self, connection: usize) -> Notes<'_> {
        Notes { shared: self, connection, case: self.case.load(Ordering::SeqCst) }
    }

    fn rule(&self, path: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.path == path)
    }

    fn next_script(&self) -> Option<Vec<Action>> {
        locked(&self.scripts).pop_front()
    }
}

impl std::fmt::Debug for Notes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notes").field("connection", &self.connection).finish()
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(300)
}

fn ending(what: &str, end: End) -> String {
    match end {
        End::Garbage => format!("({what}: not HTTP/1)"),
        End::Timeout => format!("({what}: no more came)"),
        End::Alert => format!("({what}: TLS failed)"),
        // FIN or RST is decided by what lies unread in the kernel: no choice of the proxy.
        End::Closed | End::Reset | End::Cut => format!("({what}: the proxy ended the connection)"),
    }
}

/// A body as lines of a transcript: how it was framed, what it held.
#[must_use]
pub fn body_lines(body: &Body) -> Vec<String> {
    match body {
        Body::None => vec![],
        Body::Length(data) => text::body_lines("body", data),
        Body::UntilClose(data) => text::body_lines("body to the end", data),
        Body::Chunked(data, trailers) => {
            let mut lines = text::body_lines("body chunked", data);
            lines.extend(trailers.iter().map(|line| format!("trailer {line}")));
            lines
        }
    }
}

/// An address that answers no SYN: its queue is full. The sockets keep it full.
#[derive(Debug)]
pub struct BlackHole {
    _listener: Socket,
    _fill: Vec<Socket>,
    /// The port, on 127.0.0.1.
    pub port: u16,
}

impl BlackHole {
    /// Makes one.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn start() -> Result<Self> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.bind(&SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0))))?;
        listener.listen(0)?;
        let address = listener.local_addr()?;
        let port = address.as_socket().map_or(0, |a| a.port());
        let mut fill = Vec::new();
        for _ in 0..4 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            socket.connect(&address).ok();
            fill.push(socket);
        }
        Ok(Self { _listener: listener, _fill: fill, port })
    }
}
