use std::cell::{Cell, RefCell};
use std::time::Duration;

use ringway_runtime::Chunk;
use ringway_wire::ResponseHead;

use super::*;
use crate::http2::StreamHandle;
use crate::plan::cluster::{HealthCheck, HealthCheckKind, HttpHealthCheck, UpstreamProtocol};
use crate::plan::http2::Http2Options;
use crate::upstream::exchange::read_http2;
use crate::upstream::testing::{
    Bench, Server, Sessions, cluster, host, http2, http2_server, run, until,
};

/// A request and its body.
type Asked = (RequestHead, Vec<u8>);

/// What a server answers, and what it was asked.
#[derive(Clone, Default)]
struct Script {
    serving: Rc<Cell<i32>>,
    status: Rc<Cell<u16>>,
    asked: Rc<RefCell<Vec<Asked>>>,
}

fn serve(script: &Script) -> (Server, Sessions) {
    let script = script.clone();
    http2_server(Http2Options::default(), move |stream| answer(stream, script.clone()))
}

async fn answer(stream: StreamHandle, script: Script) {
    let mut head = RequestHead::default();
    stream.take_request(&mut head).expect("a request");
    let (body, _) = read_http2(&stream, 1000).await.expect("a body");
    let grpc = head.headers.contains(K::ContentType);
    script.asked.borrow_mut().push((head, body));
    let answer = ResponseHead::new(script.status.get());
    if !grpc {
        return stream.send_response(&answer, true);
    }
    stream.send_response(&answer, false);
    let mut frame = Vec::new();
    encode_frame(
        0,
        &HealthCheckResponse { status: script.serving.get() }.encode_to_vec(),
        &mut frame,
    );
    stream.send_data(Chunk::from(frame), false);
    let mut trailers = HeaderMap::new();
    trailers.append("grpc-status", b"0");
    stream.send_trailers(&trailers);
}

fn check(kind: HealthCheckKind) -> HealthCheck {
    let pause = Duration::from_millis(5);
    HealthCheck {
        timeout: Duration::from_millis(500),
        interval: pause,
        initial_jitter: Duration::ZERO,
        interval_jitter: Duration::ZERO,
        interval_jitter_percent: 0,
        unhealthy_threshold: 1,
        healthy_threshold: 1,
        no_traffic_interval: pause,
        no_traffic_healthy_interval: pause,
        unhealthy_interval: pause,
        unhealthy_edge_interval: pause,
        healthy_edge_interval: pause,
        reuse_connection: true,
        socket: None,
        kind,
    }
}

fn bench(server: &Server, kind: impl FnOnce(UpstreamHttp2) -> HealthCheckKind) -> Bench {
    Bench::with(|registry| {
        let http2 = http2(registry, Http2Options::default());
        cluster(registry, vec![host(server.address)], |cluster| {
            cluster.hosts.hosts[0].state.set(crate::plan::cluster::HostState::FAILED_ACTIVE_HC);
            cluster.http.protocol = UpstreamProtocol::Http2;
            cluster.http.http2 = Some(http2.clone());
            cluster.health_checks = vec![check(kind(http2))];
        })
    })
}

async fn becomes(bench: &Bench, healthy: bool) {
    until("the verdict", || bench.plan.hosts.hosts[0].state.is_healthy() == healthy).await;
}

#[test]
fn a_server_that_serves_is_healthy() {
    run(async {
        let script = Script::default();
        script.status.set(200);
        script.serving.set(SERVING);
        let (server, sessions) = serve(&script);
        let bench = bench(&server, |http2| {
            HealthCheckKind::Grpc(GrpcHealthCheck {
                service: "inventory".into(),
                authority: "".into(),
                metadata: Vec::new(),
                http2,
            })
        });
        becomes(&bench, true).await;
        // NOT_SERVING
        script.serving.set(2);
        becomes(&bench, false).await;
        script.serving.set(SERVING);
        becomes(&bench, true).await;
        assert_eq!(server.accepted.get(), 1, "the connection is kept");
        sessions.borrow()[0].drain(Duration::ZERO);
        until("another connection", || server.accepted.get() == 2).await;
        becomes(&bench, true).await;
        let asked = script.asked.borrow();
        let (head, body) = &asked[0];
        assert_eq!(head.path, b"/grpc.health.v1.Health/Check");
        assert_eq!(head.authority, b"c");
        let question = HealthCheckRequest::decode(&body[5..]).expect("a question");
        assert_eq!(question.service, "inventory");
    });
}

#[test]
fn http_is_asked_over_http2() {
    run(async {
        let script = Script::default();
        script.status.set(200);
        let (server, _) = serve(&script);
        let bench = bench(&server, |http2| {
            HealthCheckKind::Http(HttpHealthCheck {
                host: "".into(),
                path: "/health".into(),
                method: "GET".into(),
                expected: Vec::new(),
                retriable: Vec::new(),
                add: Vec::new(),
                remove: Vec::new(),
                send: None,
                receive: Vec::new(),
                response_buffer: 1024,
                http2: Some(http2),
                service_name: None,
            })
        });
        becomes(&bench, true).await;
        script.status.set(500);
        becomes(&bench, false).await;
        assert_eq!(script.asked.borrow()[0].0.path, b"/health");
        assert_eq!(server.accepted.get(), 1);
    });
}
