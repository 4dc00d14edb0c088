//! A lane: one listener of the proxy with one server of its own behind it, so that many cases run
//! at once and each knows which requests are its own.

use super::verdict::{Outcome, Request};
use crate::wire::{End, Peer};
use anyhow::Result;
use socket2::Socket;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a client waits for more.
const SILENCE: Duration = Duration::from_millis(450);
/// How long it waits in all.
const LONGEST: Duration = Duration::from_secs(3);

/// The server of a lane: answers every request with 200 `ok` and closes.
#[derive(Debug)]
pub struct Server {
    seen: Arc<Seen>,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

#[derive(Debug, Default)]
struct Seen {
    active: AtomicUsize,
    /// `None`: not whole.
    requests: Mutex<Vec<Option<Request>>>,
}

impl Server {
    /// Starts it.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let seen = Arc::new(Seen::default());
        let accepting = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&accepting);
                seen.active.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    seen.serve(Peer::new(Socket::from(stream)));
                    seen.active.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Ok(Self { seen, port })
    }

    /// What it saw, once its connections have ended (or 400 ms are over).
    pub(super) fn take(&self) -> Vec<Option<Request>> {
        let deadline = Instant::now() + Duration::from_millis(400);
        while self.seen.active.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::mem::take(&mut *self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Seen {
    fn serve(&self, mut peer: Peer) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let request = match peer.head(deadline) {
            Ok(head) => {
                let body = peer.request_body(&head, deadline);
                body.ok().map(|body| Request::new(&head, body))
            }
            Err(_) if peer.buf.is_empty() => return,
            Err(_) => None,
        };
        let whole = request.is_some();
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        if whole {
            peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        }
    }
}

/// Sends the bytes of a case to a lane and notes what comes of it.
///
/// # Errors
/// The proxy does not accept a connection.
pub fn replay(listener: u16, server: &Server, bytes: &[u8]) -> Result<Outcome> {
    server.take();
    let mut peer = Peer::connect(SocketAddr::from(([127, 0, 0, 1], listener)))?;
    peer.send(bytes);
    let limit = Instant::now() + LONGEST;
    let end = loop {
        let deadline = (Instant::now() + SILENCE).min(limit);
        match peer.fill(deadline) {
            Ok(()) => {}
            Err(end) => break end,
        }
    };
    let received = std::mem::take(&mut peer.buf);
    drop(peer);
    let seen = server.take();
    Ok(Outcome {
        statuses: statuses(&received),
        end: match end {
            End::Timeout => "open".into(),
            end => end.word().into(),
        },
        count: seen.len(),
        requests: seen.into_iter().flatten().collect(),
        exact: true,
    })
}

/// The statuses of the responses in a stream; `raw` for anything else.
fn statuses(mut bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
            found.push("raw".into());
            return found;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let Some(status) = head.strip_prefix("http/1.1 ").and_then(|rest| rest.get(..3)) else {
            found.push("raw".into());
            return found;
        };
        found.push(status.to_owned());
        bytes = &bytes[end + 4..];
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length = length.and_then(|value| value.trim().parse::<usize>().ok()).unwrap_or(0);
        // A response to HEAD has a length and no body.
        if !bytes.starts_with(b"HTTP/1.") {
            bytes = &bytes[length.min(bytes.len())..];
        }
    }
    found
}
