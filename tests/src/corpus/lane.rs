//! A lane: one listener of the proxy with one server of its own behind it, so that many cases run
//! at once and each knows which requests are its own.

use super::verdict::{Outcome, Request};
use crate::wire::{End, Peer};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use socket2::Socket;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where a recorded listener has its connection manager.
pub(super) const MANAGER: &str = "/filter_chains/0/filters/0/typed_config";
/// How long a client waits for more.
const SILENCE: Duration = Duration::from_millis(450);
/// How long it waits in all.
const LONGEST: Duration = Duration::from_secs(3);

/// What a lane is made of: a listener and a cluster of the recorded configuration, and the ports
/// they get.
pub(super) struct Parts {
    /// The listener.
    pub listener: Value,
    /// The cluster its route leads to.
    pub cluster: Value,
    /// Where the listener listens.
    pub port: u16,
    /// The server's.
    pub server: u16,
}

/// The recorded configuration with one listener and one cluster per lane.
pub(super) fn config(recorded: &Value, lanes: Vec<Parts>, admin: u16) -> Result<Value> {
    let (mut listeners, mut clusters) = (Vec::new(), Vec::new());
    for (n, lane) in lanes.into_iter().enumerate() {
        let Parts { mut listener, mut cluster, port, server } = lane;
        let name = format!("lane_{n}");
        listener["name"] = json!(name);
        *at(&mut listener, "/address/socket_address/port_value")? = json!(port);
        let route = format!("{MANAGER}/route_config/virtual_hosts/0/routes/0/route/cluster");
        *at(&mut listener, &route)? = json!(name);
        cluster["name"] = json!(name);
        let assignment = at(&mut cluster, "/load_assignment")?;
        assignment["cluster_name"] = json!(name);
        let endpoint = "/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value";
        *at(assignment, endpoint)? = json!(server);
        listeners.push(listener);
        clusters.push(cluster);
    }
    let mut config = recorded.clone();
    *at(&mut config, "/admin/address/socket_address/port_value")? = json!(admin);
    config["static_resources"] = json!({ "listeners": listeners, "clusters": clusters });
    Ok(config)
}

/// A place in a recorded configuration.
pub(super) fn at<'a>(value: &'a mut Value, path: &str) -> Result<&'a mut Value> {
    value.pointer_mut(path).with_context(|| format!("the recorded configuration has no {path}"))
}

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
