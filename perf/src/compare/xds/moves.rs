//! How long it takes from an EDS update to the first request on the new endpoint.
//!
//! Two endpoints, the client and the control plane share one thread, so that one clock and no
//! waiting for each other decide.

use super::proxy::is_whole;
use crate::ads::{Kind, Server};
use anyhow::{Context, Result, ensure};
use ringway_runtime::{
    Chunk, ConnectOptions, Instant, ListenOptions, Listener, Stream, connect, now, precise_now,
    sleep, spawn, timeout,
};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Longest wait for an endpoint.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between the end of a move and the next.
const PAUSE: Duration = Duration::from_millis(3);

const REQUEST: &str = "GET /moved HTTP/1.1\r\nhost: perf\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// An endpoint, and when it last read a request.
struct Endpoint {
    addr: SocketAddr,
    seen: Rc<Cell<Option<Instant>>>,
}

/// Moves the last cluster's only endpoint so many times; the times that took, ascending.
pub(super) async fn run(
    server: Rc<Server>,
    proxy: SocketAddr,
    moves: usize,
) -> Result<Vec<Duration>> {
    let ends = [Endpoint::start()?, Endpoint::start()?];
    let mut client = None;
    let mut times = Vec::with_capacity(moves);
    for index in 0..=moves {
        let Some(end) = ends.get(index % 2) else { break };
        end.seen.set(None);
        let sent = server.push(Kind::Endpoints, |world| {
            let last = world.clusters() - 1;
            Ok(vec![world.set_endpoints(last, &[end.addr])])
        })?;
        let begun = now();
        let seen = loop {
            if let Some(seen) = end.seen.get() {
                break seen;
            }
            ensure!(begun.elapsed() < PATIENCE, "the endpoint got no request in {PATIENCE:?}");
            request(&mut client, proxy).await?;
        };
        // The first is not a move: there were other endpoints before.
        if index > 0 {
            times.push(seen.since(sent));
        }
        sleep(PAUSE).await;
    }
    times.sort();
    Ok(times)
}

/// One request and its answer, on the connection there is or another one.
async fn request(client: &mut Option<Stream>, proxy: SocketAddr) -> Result<()> {
    let stream = match client.take() {
        Some(stream) => stream,
        None => connect(&proxy.into(), &ConnectOptions::default()).await?,
    };
    stream.write(Chunk::from(REQUEST));
    let mut answer = Vec::new();
    while !is_whole(&answer) {
        let received = timeout(PATIENCE, stream.recv()).await.ok().context("no answer in time")?;
        match received? {
            Some(chunk) => answer.extend_from_slice(&chunk),
            // The proxy may close a connection; the next request opens another.
            None => return Ok(()),
        }
    }
    *client = Some(stream);
    Ok(())
}

impl Endpoint {
    fn start() -> Result<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0)).into();
        let listener = Listener::bind(&any, &ListenOptions::default())?;
        let addr = listener.local_addr()?.as_inet().context("no IP address")?;
        let seen = Rc::new(Cell::new(None));
        let told = Rc::clone(&seen);
        spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                spawn(serve(stream, Rc::clone(&told)));
            }
        });
        Ok(Self { addr, seen })
    }
}

/// Answers whatever comes in one piece: requests here are that short.
async fn serve(stream: Stream, seen: Rc<Cell<Option<Instant>>>) {
    while let Ok(Some(_)) = stream.recv().await {
        if seen.get().is_none() {
            seen.set(Some(precise_now()));
        }
        stream.write(Chunk::from(ANSWER));
    }
}
