use std::cell::RefCell;
use std::future::poll_fn;

use ringway_runtime::Chunk;
use ringway_wire::grpc::encode_frame;
use ringway_wire::{HeaderMap, ResponseHead};

use super::*;
use crate::http::down::Frame;
use crate::http2::{ErrorCode, StreamHandle};
use crate::plan::cluster::UpstreamProtocol;
use crate::plan::http2::Http2Options;
use crate::upstream::testing::{Bench, Server, cluster, host, http2, http2_server, run, until};

/// A message of one string.
#[derive(Clone, PartialEq, Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

fn text(text: &str) -> Text {
    Text { text: text.to_owned() }
}

/// What a test's server saw of a request.
type Seen = Rc<RefCell<Vec<RequestHead>>>;

/// A gRPC server: `/echo` sends every message back, others do what their name says.
fn serve(seen: Seen) -> Server {
    http2_server(Http2Options::default(), move |stream| answer(stream, seen.clone())).0
}

async fn answer(stream: StreamHandle, seen: Seen) {
    let mut head = RequestHead::default();
    stream.take_request(&mut head).expect("a request");
    seen.borrow_mut().push(head.clone());
    let mut answer = ResponseHead::new(200);
    answer.headers.append("content-type", b"application/grpc");
    let mut trailers = HeaderMap::new();
    match head.path.as_slice() {
        b"/echo" => {
            stream.send_response(&answer, false);
            while let Ok(Frame::Data(chunk)) =
                poll_fn(|cx| stream.poll_body(cx, &mut trailers)).await
            {
                stream.send_data(chunk, false);
            }
            trailers.append("grpc-status", b"0");
            stream.send_trailers(&trailers);
        }
        b"/refuse" => {
            answer.headers.append("grpc-status", b"7");
            answer.headers.append("grpc-message", b"not%20you");
            stream.send_response(&answer, true);
        }
        b"/http" => stream.send_response(&ResponseHead::new(404), true),
        b"/reset" => stream.reset(ErrorCode::ENHANCE_YOUR_CALM),
        b"/bare" => {
            stream.send_response(&answer, false);
            stream.send_data(Chunk::new(), true);
        }
        b"/cut" => {
            stream.send_response(&answer, false);
            stream.send_data(Chunk::from_static(b"\0\0\0\0\x09half"), false);
            trailers.append("grpc-status", b"0");
            stream.send_trailers(&trailers);
        }
        b"/compressed" => {
            stream.send_response(&answer, false);
            stream.send_data(Chunk::from_static(b"\x01\0\0\0\x01x"), false);
            let _ = poll_fn(|cx| stream.poll_gone(cx)).await;
        }
        b"/pieces" => {
            stream.send_response(&answer, false);
            let mut frames = Vec::new();
            for word in ["one", "", "three"] {
                encode_frame(0, &text(word).encode_to_vec(), &mut frames);
            }
            for byte in frames.chunks(3) {
                stream.send_data(Chunk::copy_from(byte), false);
                runtime::sleep(Duration::from_millis(1)).await;
            }
            trailers.append("grpc-status", b"0");
            stream.send_trailers(&trailers);
        }
        _ => {
            let _ = poll_fn(|cx| stream.poll_gone(cx)).await;
        }
    }
}

fn bench(server: &Server) -> Bench {
    Bench::with(|registry| {
        let http2 = http2(registry, Http2Options::default());
        cluster(registry, vec![host(server.address)], |cluster| {
            cluster.http.protocol = UpstreamProtocol::Http2;
            cluster.http.http2 = Some(http2);
        })
    })
}

const SECOND: Duration = Duration::from_secs(1);

async fn ask(client: &Client, path: &str) -> Result<Text, Failure> {
    client.unary(path, &text("hello"), SECOND).await
}

#[test]
fn one_question_one_answer() {
    run(async {
        let seen = Seen::default();
        let server = serve(seen.clone());
        let bench = bench(&server);
        let client = Client::new(&bench.cluster()).metadata("x-token", b"secret");
        assert_eq!(ask(&client, "/echo").await, Ok(text("hello")));
        let seen = seen.borrow();
        let get = |name: &str| seen[0].headers.get(name).map(<[u8]>::to_vec);
        assert_eq!((seen[0].method, seen[0].authority.as_slice()), (Method::Post, &b"c"[..]));
        assert_eq!(get("content-type"), Some(b"application/grpc".to_vec()));
        assert_eq!(get("te"), Some(b"trailers".to_vec()));
        assert_eq!(get("x-token"), Some(b"secret".to_vec()));
        assert!(get("grpc-timeout").is_some());
    });
}

#[test]
fn failures_are_what_the_peer_says_or_what_stands_for_it() {
    run(async {
        let server = serve(Seen::default());
        let bench = bench(&server);
        let client = Client::new(&bench.cluster());
        for (path, status, message) in [
            ("/refuse", Status::PERMISSION_DENIED, "not you"),
            ("/http", Status::UNIMPLEMENTED, "HTTP status 404"),
            ("/reset", Status::RESOURCE_EXHAUSTED, "the peer asks for calm"),
            ("/bare", Status::UNKNOWN, "the call ended without a status"),
            ("/cut", Status::INTERNAL, "the last message is cut short"),
            ("/compressed", Status::INTERNAL, "a compressed message, though"),
        ] {
            let failure = ask(&client, path).await.expect_err(path);
            assert_eq!(failure.status, status, "{path}: {failure}");
            assert!(failure.message.starts_with(message), "{path}: {failure}");
        }
        let late = client.unary::<Text, Text>("/never", &text(""), SECOND / 20).await;
        assert_eq!(late.map_err(|failure| failure.status), Err(Status::DEADLINE_EXCEEDED));
        let small = client.clone().message_bytes_max(3);
        let failure = ask(&small, "/echo").await.expect_err("too long");
        assert_eq!(failure.status, Status::RESOURCE_EXHAUSTED);
        drop(server);
        bench.upstreams.close_idle();
        until("the connection is gone", || {
            bench.stats.gauge_value(bench.plan.stats.upstream_cx_active()) == 0
        })
        .await;
        let failure = ask(&client, "/echo").await.expect_err("nobody there");
        assert_eq!(failure.status, Status::UNAVAILABLE);
        bench.upstreams.check_invariants(true).expect("at rest");
    });
}

#[test]
fn messages_go_both_ways() {
    run(async {
        let server = serve(Seen::default());
        let bench = bench(&server);
        let client = Client::new(&bench.cluster()).authority("somewhere");
        let mut call = client.begin("/echo", None).await.expect("a call");
        for round in 0..20 {
            let long = "x".repeat(round * 5000);
            call.send(&text(&long));
            assert_eq!(call.recv().await, Ok(Some(text(&long))));
        }
        assert!(call.headers().is_some_and(|headers| headers.contains("content-type")));
        call.finish();
        assert_eq!(call.recv::<Text>().await, Ok(None));
        assert_eq!(call.recv::<Text>().await, Ok(None), "and it stays so");
    });
}

#[test]
fn messages_come_in_any_pieces() {
    run(async {
        let server = serve(Seen::default());
        let bench = bench(&server);
        let client = Client::new(&bench.cluster());
        let mut call = client.begin("/pieces", None).await.expect("a call");
        call.finish();
        for word in ["one", "", "three"] {
            assert_eq!(call.recv().await, Ok(Some(text(word))));
        }
        assert_eq!(call.recv::<Text>().await, Ok(None));
    });
}

#[test]
fn a_cluster_of_http1_is_refused_with_advice() {
    run(async {
        let server = Server::echo();
        let bench = Bench::new(vec![host(server.address)], |_| {});
        let failure = ask(&Client::new(&bench.cluster()), "/echo").await.expect_err("no HTTP/2");
        assert_eq!(failure.status, Status::INTERNAL);
        assert!(failure.message.contains("http2_protocol_options"), "{failure}");
    });
}
