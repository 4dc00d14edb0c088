//! The same simulation with HTTP/2: clients with many requests at once on a connection, upstreams
//! that reset streams, lose connections with all that is on them, and go away.

use std::future::poll_fn;
use std::task::Poll;

use ringway_runtime::{Chunk, ConnectOptions, Join, connect, timeout};
use ringway_wire::{HeaderMap, Method, RequestHead, ResponseHead, Scheme};

use super::client::{Rng, body_of};
use super::*;
use crate::http::down::Frame;
use crate::http2::{Ended, Env, ErrorCode, Session, StreamEnd, StreamHandle, Times};
use crate::observe::stats::Http2CodecStats;
use crate::plan::http2::Http2Options;

/// What a session needs, and nobody looks at.
pub(super) struct Bench {
    pub(super) env: Env,
    pub(super) options: Arc<Http2Options>,
    _registry: Registry,
}

impl Bench {
    pub(super) fn new() -> Rc<Self> {
        let mut registry = Registry::new(1);
        let codec = Http2CodecStats::new(&mut registry, "");
        let stats = Rc::new(registry.writer(0).expect("the first writer of page 0"));
        let env = Env { stats, codec, heads: Rc::default() };
        let options = Http2Options {
            initial_stream_window: 65_535,
            max_concurrent_streams: 5,
            ..Http2Options::default()
        };
        Rc::new(Self { env, options: Arc::new(options), _registry: registry })
    }
}

pub(super) const TIMES: Times =
    Times { flush: Duration::from_secs(30), close: Duration::from_secs(1) };

pub(super) async fn drive(session: Rc<Session>) -> Ended {
    poll_fn(|cx| session.poll_drive(cx)).await
}

// --- clients ---

/// Runs one client: some connections, some requests at once on each; the statuses it got, 0 for
/// those that ended without one.
pub(super) async fn run(to: SockAddr, seed: u64) -> Vec<u16> {
    let mut rng = Rng(seed);
    let (bench, statuses) = (Bench::new(), Rc::new(RefCell::new(Vec::new())));
    for connection in 0..2u64 {
        let Ok(stream) = connect(&to, &ConnectOptions::default()).await else {
            statuses.borrow_mut().push(0);
            continue;
        };
        let session = Session::client(stream.into(), &bench.options, bench.env.clone(), TIMES);
        let driver = spawn(drive(Rc::clone(&session)));
        let first = seed * 1000 + connection * 100;
        let tasks: Vec<Join<()>> = (0..4)
            .map(|lane| {
                let (session, statuses) = (Rc::clone(&session), Rc::clone(&statuses));
                let mut rng = Rng(rng.next());
                spawn(async move {
                    for turn in 0..3 {
                        let number = first + lane * 10 + turn;
                        let status = exchange(&session, number, &mut rng).await;
                        statuses.borrow_mut().push(status);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        session.drain(Duration::ZERO);
        driver.await;
        session.check_rest().unwrap_or_else(|left| panic!("client {seed}: {left}"));
    }
    statuses.take()
}

const WORDS: [&str; 10] =
    ["plain", "plain", "plain", "chunked", "slow", "die", "garbage", "half", "error", "direct"];
const SIZES: [usize; 5] = [0, 5, 300, 5_000, 70_000];

/// One request; its status, or 0.
async fn exchange(session: &Rc<Session>, number: u64, rng: &mut Rng) -> u16 {
    let Some(stream) = session.open().map(Rc::new) else { return 0 };
    let word = WORDS[(rng.next() % 10) as usize];
    let len = SIZES[(rng.next() % 5) as usize];
    let prefix = if rng.next().is_multiple_of(3) { "retry" } else { "once" };
    let path = match word {
        "direct" => "/direct".to_owned(),
        _ => format!("/{prefix}/{word}/{len}"),
    };
    let body =
        rng.next().is_multiple_of(4).then(|| body_of(number, SIZES[rng.next() as usize % 5]));
    let mut head = RequestHead {
        method: if body.is_some() { Method::Post } else { Method::Get },
        path: path.as_bytes().to_vec(),
        authority: b"sim".to_vec(),
        scheme: Some(Scheme::Http),
        ..RequestHead::default()
    };
    head.headers.append("x-number", number.to_string().as_bytes());
    if body.is_some() {
        head.headers.append("x-body", b"1");
    }
    stream.send_request(&head, None, body.is_none());
    let upload = body.map(|body| {
        let stream = Rc::clone(&stream);
        spawn(async move { send(&stream, &body, 1500).await })
    });
    // Some clients change their mind.
    let patience = Duration::from_millis(match rng.next() % 15 {
        0 => rng.next() % 50,
        _ => 100_000,
    });
    let answered = timeout(patience, answer(&stream)).await;
    if let Some(upload) = upload {
        upload.abort();
    }
    let Ok(Ok((answer, body))) = answered else {
        assert!(patience < Duration::from_secs(1) || answered.is_ok(), "{path} is stuck");
        return 0;
    };
    assert!(matches!(answer.status, 200 | 502..=504), "{} to {path}", answer.status);
    if let Some(told) = answer.headers.get("x-number") {
        assert_eq!(told, number.to_string().as_bytes(), "the answer to another request");
        assert_eq!(body, body_of(number, len), "a response body came changed");
    } else if answer.status == 200 {
        assert_eq!(body, b"here");
    }
    answer.status
}

pub(super) async fn answer(stream: &StreamHandle) -> Result<(ResponseHead, Vec<u8>), StreamEnd> {
    let mut head = ResponseHead::default();
    poll_fn(|cx| stream.poll_response(cx, &mut head)).await?;
    Ok((head, read(stream).await?))
}

pub(super) async fn read(stream: &StreamHandle) -> Result<Vec<u8>, StreamEnd> {
    let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Frame::Data(chunk) = poll_fn(|cx| stream.poll_body(cx, &mut trailers)).await? {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

pub(super) async fn send(stream: &StreamHandle, body: &[u8], piece: usize) {
    for part in body.chunks(piece) {
        if poll_fn(|cx| stream.poll_queued_below(cx, 10_000)).await.is_err() {
            return;
        }
        stream.send_data(Chunk::copy_from(part), false);
    }
    stream.send_data(Chunk::new(), true);
}

// --- upstreams ---

/// Serves until its task is aborted.
pub(super) async fn serve(at: SockAddr, seed: u64) {
    let listener = Listener::bind(&at, &ListenOptions::default()).expect("bind");
    let (bench, mut rng) = (Bench::new(), Rng(seed));
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let session = Session::server(stream.into(), &bench.options, bench.env.clone(), TIMES);
        let mut rng = Rng(rng.next());
        spawn(async move {
            poll_fn(|cx| {
                let ended = session.poll_drive(cx);
                while let Poll::Ready(Some(stream)) = session.poll_accept() {
                    spawn(respond(stream, Rng(rng.next())));
                }
                ended
            })
            .await;
        });
    }
}

/// Answers by path: `/…/<what>/<bytes>`.
async fn respond(stream: StreamHandle, mut rng: Rng) {
    let mut head = RequestHead::default();
    let has_body = stream.take_request(&mut head).expect("the proxy sends valid requests");
    let path = String::from_utf8_lossy(&head.path).into_owned();
    let mut words = path.rsplit('/');
    let bytes: usize = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    let what = words.next().unwrap_or_default();
    let number = head.headers.get("x-number").expect("every request has a number").to_vec();
    let number_told: u64 = String::from_utf8_lossy(&number).parse().expect("a number");
    if has_body {
        let Ok(body) = read(&stream).await else { return };
        assert_eq!(body, body_of(number_told, body.len()), "a request body came changed");
    }
    if what == "slow" {
        sleep(Duration::from_millis(rng.next() % 8000)).await;
    }
    let mut answer = ResponseHead::new(if what == "error" { 503 } else { 200 });
    answer.headers.append("x-number", &number);
    let body = body_of(number_told, bytes);
    match what {
        "die" => return stream.session().abort(),
        "garbage" => return stream.reset(ErrorCode(rng.next() as u32 % 14)),
        "half" => {
            stream.send_response(&answer, false);
            stream.send_data(Chunk::copy_from(&body), false);
            return;
        }
        _ if rng.next().is_multiple_of(4) => {
            answer.headers.append("content-length", bytes.to_string().as_bytes());
        }
        _ => {}
    }
    stream.send_response(&answer, false);
    send(&stream, &body, 1 + (rng.next() % 3000) as usize).await;
    if rng.next().is_multiple_of(10) {
        stream.session().drain(Duration::from_secs(1));
    }
}

/// The bootstrap with an upstream that speaks HTTP/2.
fn upstream_http2() -> String {
    let options = "  - name: up\n    http2_protocol_options: \
                   { initial_stream_window_size: 65535, max_concurrent_streams: 3 }\n";
    BOOTSTRAP.replace("  - name: up\n", options)
}

#[test]
fn any_mix_of_protocols_answers_right_whatever_the_timing() {
    for (downstream, upstream) in MIXES {
        for seed in seeds(15) {
            println!("seed {seed}, HTTP/2 below {downstream}, above {upstream}");
            let outcome = mix(downstream, upstream, seed, Faults::default());
            assert!(outcome.statuses.contains(&200), "seed {seed}: {outcome:?}");
        }
    }
}

#[test]
fn lost_connections_leave_nothing_behind_in_any_mix() {
    for (downstream, upstream) in MIXES {
        for seed in seeds(15) {
            println!("seed {seed}, HTTP/2 below {downstream}, above {upstream}");
            let faults = Faults { reset: 0.01, refuse: 0.1, no_buffers: 0.2, ..Faults::default() };
            mix(downstream, upstream, seed, faults);
        }
    }
}

/// HTTP/2 to clients, HTTP/2 to upstreams.
const MIXES: [(bool, bool); 3] = [(true, false), (false, true), (true, true)];

fn mix(downstream: bool, upstream: bool, seed: u64, faults: Faults) -> Outcome {
    let bootstrap = if upstream { upstream_http2() } else { BOOTSTRAP.to_owned() };
    simulate_mix(&bootstrap, (downstream, upstream), seed, faults)
}
