//! Sessions against each other and against a peer that speaks single frames, on the simulated
//! network.

mod faults;
mod floods;
mod frames;
mod peer;
mod streams;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ringway_runtime::sim::{Faults, Network};
use ringway_runtime::{
    self as runtime, Backend, Chunk, Config, ConnectOptions, ListenOptions, Listener, Runtime,
    SockAddr,
};
use ringway_wire::{HeaderMap, Method, RequestHead, ResponseHead};

use super::*;
use crate::http::down::Frame;
use crate::observe::stats::{Counter, Gauge, Registry};
use crate::plan::http2::Http2Options;
use crate::transport::Stream;

/// Virtual time a test may take.
const LIMIT: Duration = Duration::from_secs(3600);

const TIMES: Times = Times { flush: Duration::from_secs(30), close: Duration::from_secs(1) };

/// A page of statistics for one end, readable by name.
struct Bench {
    env: Env,
    _registry: Registry,
}

impl Bench {
    fn new() -> Self {
        let mut registry = Registry::new(1);
        let codec = Http2CodecStats::new(&mut registry, "");
        let stats = Rc::new(registry.writer(0).expect("the first writer of page 0"));
        Self { env: Env { stats, codec, heads: Rc::default() }, _registry: registry }
    }

    fn count(&self, name: fn(&Http2CodecStats) -> Counter) -> u64 {
        self.env.stats.counter_value(name(&self.env.codec))
    }

    fn gauge(&self, name: fn(&Http2CodecStats) -> Gauge) -> i64 {
        self.env.stats.gauge_value(name(&self.env.codec))
    }

    fn check_rest(&self) {
        assert_eq!(self.gauge(Http2CodecStats::streams_active), 0);
        assert_eq!(self.gauge(Http2CodecStats::pending_send_bytes), 0);
        assert_eq!(self.gauge(Http2CodecStats::outbound_frames_active), 0);
        assert_eq!(self.gauge(Http2CodecStats::outbound_control_frames_active), 0);
    }
}

/// Runs `scenario` on a network without faults.
fn run<F: Future<Output = ()> + 'static>(scenario: impl FnOnce() -> F) {
    run_with(0, Faults::none(), scenario);
}

/// Runs `scenario` to its end on a network of its own; nothing may be left over.
fn run_with<F: Future<Output = ()> + 'static>(
    seed: u64,
    faults: Faults,
    scenario: impl FnOnce() -> F,
) {
    let net = Network::new(seed, faults);
    let config = Config { backend: Backend::Sim(net.clone()), seed: seed + 1, ..Config::default() };
    let mut runtime = Runtime::new(config).expect("a simulated runtime");
    let done = Rc::new(std::cell::Cell::new(false));
    let set = Rc::clone(&done);
    runtime.enter(|| {
        let scenario = scenario();
        runtime::spawn(async move {
            scenario.await;
            set.set(true);
        })
    });
    let ended = net.run_until(&mut [&mut runtime], LIMIT, || done.get());
    assert!(ended, "seed {seed}: the scenario is stuck");
    net.run_until(&mut [&mut runtime], LIMIT, || false);
    if let Err(left) = net.check_invariants() {
        panic!("seed {seed}: {left}");
    }
}

/// Both ends of a new connection; `None` if it is refused.
async fn try_connection() -> Option<(Stream, Stream)> {
    let address = SockAddr::from(SocketAddr::from(([10, 0, 0, 1], 8080)));
    let listener = Listener::bind(&address, &ListenOptions::default()).expect("bind");
    let connect =
        runtime::spawn(
            async move { runtime::connect(&address, &ConnectOptions::default()).await.ok() },
        );
    let accepted = runtime::timeout(Duration::from_secs(5), listener.accept()).await;
    let client = connect.await?;
    let (server, _) = accepted.ok()?.ok()?;
    Some((client.into(), server.into()))
}

async fn connection() -> (Stream, Stream) {
    try_connection().await.expect("a connection")
}

fn options(change: impl FnOnce(&mut Http2Options)) -> Arc<Http2Options> {
    let mut options = Http2Options::default();
    change(&mut options);
    Arc::new(options)
}

/// Drives a session to its end; streams it accepts go to `handler`.
async fn drive<F: Future<Output = ()> + 'static>(
    session: Rc<Session>,
    handler: impl Fn(StreamHandle) -> F,
) -> Ended {
    poll_fn(|cx| {
        let ended = session.poll_drive(cx);
        while let Poll::Ready(Some(stream)) = session.poll_accept() {
            runtime::spawn(handler(stream));
        }
        ended
    })
    .await
}

/// A client whose driver runs.
fn client(transport: Stream, options: &Arc<Http2Options>, bench: &Bench) -> Client {
    let session = Session::client(transport, options, bench.env.clone(), TIMES);
    let driver = runtime::spawn(drive(Rc::clone(&session), |_| async {}));
    Client { session, driver }
}

struct Client {
    session: Rc<Session>,
    driver: runtime::Join<Ended>,
}

/// Starts a server.
fn server<F: Future<Output = ()> + 'static>(
    transport: Stream,
    options: &Arc<Http2Options>,
    bench: &Bench,
    handler: impl Fn(StreamHandle) -> F + 'static,
) -> Client {
    let session = Session::server(transport, options, bench.env.clone(), TIMES);
    let driver = runtime::spawn(drive(Rc::clone(&session), handler));
    Client { session, driver }
}

fn request(method: Method, path: &str) -> RequestHead {
    RequestHead {
        method,
        path: path.as_bytes().to_vec(),
        authority: b"sim".to_vec(),
        scheme: Some(ringway_wire::Scheme::Http),
        ..RequestHead::default()
    }
}

/// The next piece of a body.
async fn next(stream: &StreamHandle, trailers: &mut HeaderMap) -> Result<Frame, StreamEnd> {
    poll_fn(|cx| stream.poll_body(cx, trailers)).await
}

/// Reads a body to its end.
async fn body(stream: &StreamHandle, trailers: &mut HeaderMap) -> Result<Vec<u8>, StreamEnd> {
    let mut body = Vec::new();
    while let Frame::Data(chunk) = next(stream, trailers).await? {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

async fn response(stream: &StreamHandle) -> Result<(ResponseHead, bool), StreamEnd> {
    let mut head = ResponseHead::default();
    let whole = poll_fn(|cx| stream.poll_response(cx, &mut head)).await?;
    Ok((head, whole))
}

/// Answers with the request's body, its `x-` headers, and its trailers.
async fn echo(stream: StreamHandle) {
    let mut head = RequestHead::default();
    let Ok(has_body) = stream.take_request(&mut head) else { return };
    let mut answer = ResponseHead::new(200);
    answer.headers.append("x-path", &head.path);
    stream.send_response(&answer, !has_body);
    let mut trailers = HeaderMap::new();
    if !has_body {
        return;
    }
    loop {
        if poll_fn(|cx| stream.poll_queued_below(cx, 16 << 10)).await.is_err() {
            return;
        }
        match next(&stream, &mut trailers).await {
            Ok(Frame::Data(chunk)) => stream.send_data(chunk, false),
            Ok(Frame::End) if trailers.is_empty() => {
                return stream.send_data(Chunk::new(), true);
            }
            Ok(Frame::End) => return stream.send_trailers(&trailers),
            Err(_) => return,
        }
    }
}
