use std::future::poll_fn;
use std::sync::Arc;

use ringway_runtime::Chunk;
use ringway_wire::{HeaderMap, RequestHead, ResponseHead};

use super::*;
use crate::http::down::Frame;
use crate::observe::stats::Counter;
use crate::observe::stats::blocks::ClusterStats;
use crate::plan::Cluster;
use crate::plan::cluster::{UpstreamHttp2, UpstreamProtocol};
use crate::plan::http2::Http2Options;
use crate::upstream::limits::Resource;
use crate::upstream::testing::{
    Bench, Server, Sessions, cluster, host, http2, http2_server, run, until,
};
use crate::upstream::{AcquireOptions, LbContext, Leased};

/// A server whose handler answers every request with its path, a while after it came.
fn serve(change: impl Fn(&mut Http2Options), pause: Duration) -> (Server, Sessions) {
    let mut options = Http2Options::default();
    change(&mut options);
    http2_server(options, move |stream| answer(stream, pause))
}

async fn answer(stream: StreamHandle, pause: Duration) {
    let mut head = RequestHead::default();
    let _ = stream.take_request(&mut head);
    runtime::sleep(pause).await;
    stream.send_response(&ResponseHead::new(200), false);
    stream.send_data(Chunk::copy_from(&head.path), true);
}

fn bench(server: &Server, change: impl FnOnce(&mut Cluster, &mut Http2Options)) -> Bench {
    let mut options = Http2Options::default();
    Bench::with(|registry| {
        let empty = http2(registry, Http2Options::default());
        cluster(registry, vec![host(server.address)], |cluster| {
            change(cluster, &mut options);
            cluster.http.protocol = UpstreamProtocol::Http2;
            cluster.http.http2 = Some(UpstreamHttp2 { options: Arc::new(options), ..empty });
        })
    })
}

impl Bench {
    fn http2_count(&self, name: impl Fn(&ClusterStats) -> Counter) -> u64 {
        self.stats.counter_value(name(&self.plan.stats))
    }

    async fn stream(&self) -> Result<PooledStream, AcquireError> {
        let cluster = self.cluster();
        let host = cluster.pick(&LbContext::default()).expect("a host");
        match cluster.acquire(&host, 0, AcquireOptions::default()).await? {
            Leased::Http2(stream) => Ok(stream),
            Leased::Http1(_) => panic!("an HTTP/1 connection"),
        }
    }

    /// Everything is closed and all gauges are zero.
    async fn check_at_rest(&self) {
        self.upstreams.check_invariants(true).expect("consistent");
        self.upstreams.close_idle();
        until("all connections are closed", || {
            self.stats.gauge_value(self.plan.stats.upstream_cx_active()) == 0
        })
        .await;
        for resource in [Resource::Connections, Resource::Pending, Resource::Requests] {
            assert_eq!(self.plan.limits.taken(0, resource), 0, "{resource:?}");
        }
        let ends = self.http2_count(ClusterStats::upstream_cx_destroy);
        assert_eq!(self.http2_count(ClusterStats::upstream_cx_total), ends);
        assert_eq!(self.http2_count(ClusterStats::upstream_cx_http2_total), ends);
    }
}

/// Sends a request and reads its answer.
async fn exchange(stream: &PooledStream) -> Result<Vec<u8>, StreamEnd> {
    let handle = stream.stream();
    let head = RequestHead {
        path: b"/where".to_vec(),
        authority: b"up".to_vec(),
        ..RequestHead::default()
    };
    handle.send_request(&head, None, true);
    let (mut answer, mut trailers) = (ResponseHead::default(), HeaderMap::new());
    poll_fn(|cx| handle.poll_response(cx, &mut answer)).await?;
    let mut body = Vec::new();
    while let Frame::Data(chunk) = poll_fn(|cx| handle.poll_body(cx, &mut trailers)).await? {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[test]
fn many_requests_share_one_connection() {
    run(async {
        let (server, _) = serve(|_| {}, Duration::from_millis(5));
        let bench = Rc::new(bench(&server, |_, _| {}));
        let tasks: Vec<_> = (0..150)
            .map(|_| {
                let bench = bench.clone();
                runtime::spawn(async move {
                    let stream = bench.stream().await.expect("a stream");
                    assert_eq!(exchange(&stream).await.as_deref(), Ok(&b"/where"[..]));
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert_eq!(server.accepted.get(), 1);
        let stream = bench.stream().await.expect("a stream");
        assert!(stream.reused());
        drop(stream);
        assert_eq!(bench.http2_count(ClusterStats::upstream_rq_total), 151);
        assert_eq!(bench.http2_count(ClusterStats::upstream_rq_pending_total), 150);
        assert!(bench.http2_count(ClusterStats::upstream_cx_rx_bytes_total) > 1000);
        bench.check_at_rest().await;
    });
}

#[test]
fn another_connection_is_opened_at_the_peers_limit() {
    run(async {
        let (server, _) = serve(|o| o.max_concurrent_streams = 2, Duration::from_millis(20));
        let bench = Rc::new(bench(&server, |_, _| {}));
        // The limit is known after the first answer.
        exchange(&bench.stream().await.expect("a stream")).await.expect("an answer");
        let tasks: Vec<_> = (0..5)
            .map(|_| {
                let bench = bench.clone();
                runtime::spawn(async move {
                    exchange(&bench.stream().await.expect("a stream")).await.expect("an answer");
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert_eq!(server.accepted.get(), 3, "two requests on each");
        bench.check_at_rest().await;
    });
}

#[test]
fn a_full_pool_makes_requests_wait() {
    run(async {
        let (server, _) = serve(|_| {}, Duration::from_millis(5));
        let bench = Rc::new(bench(&server, |cluster, options| {
            options.max_concurrent_streams = 1;
            cluster.circuit_breakers[0].max_connections = 1;
        }));
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let bench = bench.clone();
                runtime::spawn(async move {
                    exchange(&bench.stream().await.expect("a stream")).await.expect("an answer");
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert_eq!(server.accepted.get(), 1);
        assert!(bench.http2_count(ClusterStats::upstream_cx_overflow) > 0);
        bench.check_at_rest().await;
    });
}

#[test]
fn a_connection_that_goes_away_finishes_what_it_has() {
    run(async {
        let (server, sessions) = serve(|_| {}, Duration::from_millis(30));
        let bench = bench(&server, |_, _| {});
        let stream = bench.stream().await.expect("a stream");
        let answer = exchange(&stream);
        let drain = async move {
            until("the server has it", || !sessions.borrow()[0].is_idle()).await;
            sessions.borrow()[0].drain(Duration::ZERO);
        };
        let drain = runtime::spawn(drain);
        answer.await.expect("an answer all the same");
        drain.await;
        drop(stream);
        exchange(&bench.stream().await.expect("a stream")).await.expect("an answer");
        assert_eq!(server.accepted.get(), 2);
        assert_eq!(bench.http2_count(ClusterStats::upstream_cx_close_notify), 1);
        bench.check_at_rest().await;
        assert_eq!(bench.http2_count(ClusterStats::upstream_cx_destroy_with_active_rq), 0);
    });
}

#[test]
fn a_lost_connection_ends_its_requests() {
    run(async {
        let (server, sessions) = serve(|_| {}, Duration::from_secs(5));
        let bench = bench(&server, |_, _| {});
        let stream = bench.stream().await.expect("a stream");
        let killer = runtime::spawn(async move {
            until("the server has it", || {
                sessions.borrow().first().is_some_and(|session| !session.is_idle())
            })
            .await;
            sessions.borrow()[0].abort();
        });
        assert_eq!(exchange(&stream).await, Err(StreamEnd::ConnectionLost));
        killer.await;
        until("it is counted", || {
            bench.http2_count(ClusterStats::upstream_cx_destroy_remote_with_active_rq) == 1
        })
        .await;
        drop(stream);
        bench.check_at_rest().await;
    });
}

#[test]
fn requests_per_connection_are_limited() {
    run(async {
        let (server, _) = serve(|_| {}, Duration::ZERO);
        let bench = bench(&server, |cluster, _| cluster.max_requests_per_connection = 2);
        for _ in 0..5 {
            exchange(&bench.stream().await.expect("a stream")).await.expect("an answer");
        }
        assert_eq!(server.accepted.get(), 3);
        assert_eq!(bench.http2_count(ClusterStats::upstream_cx_max_requests), 2);
        bench.check_at_rest().await;
    });
}

#[test]
fn idle_connections_time_out_and_old_ones_are_left() {
    run(async {
        let (server, _) = serve(|_| {}, Duration::ZERO);
        let bench = bench(&server, |cluster, _| {
            cluster.http.idle_timeout = Duration::from_millis(30);
            cluster.http.max_connection_duration = Duration::from_millis(200);
        });
        exchange(&bench.stream().await.expect("a stream")).await.expect("an answer");
        until("its time is over", || {
            bench.http2_count(ClusterStats::upstream_cx_idle_timeout) == 1
        })
        .await;
        let stream = bench.stream().await.expect("a stream");
        until("it is old", || {
            bench.http2_count(ClusterStats::upstream_cx_max_duration_reached) == 1
        })
        .await;
        exchange(&stream).await.expect("an answer on the old one");
        drop(stream);
        assert_eq!(server.accepted.get(), 2);
        bench.check_at_rest().await;
    });
}

#[test]
fn a_failed_connect_fails_all_who_wait() {
    run(async {
        let (server, _) = serve(|_| {}, Duration::ZERO);
        let bench = bench(&server, |_, _| {});
        drop(server);
        runtime::yield_now().await;
        let (first, second) = (bench.stream(), bench.stream());
        assert!(matches!(first.await, Err(AcquireError::ConnectFailure { .. })));
        assert!(matches!(second.await, Err(AcquireError::ConnectFailure { .. })));
        bench.check_at_rest().await;
    });
}

#[test]
fn dropped_requests_are_reset_and_counted() {
    run(async {
        let (server, sessions) = serve(|_| {}, Duration::from_secs(5));
        let bench = bench(&server, |_, _| {});
        let stream = bench.stream().await.expect("a stream");
        let answered = runtime::timeout(Duration::from_millis(20), exchange(&stream)).await;
        assert!(answered.is_err());
        drop(stream);
        until("the server knows", || sessions.borrow()[0].is_idle()).await;
        assert_eq!(bench.http2_count(ClusterStats::upstream_rq_tx_reset), 1);
        // One that was never sent is nobody's business.
        drop(bench.stream().await.expect("a stream"));
        assert_eq!(bench.http2_count(ClusterStats::upstream_rq_tx_reset), 1);
        bench.check_at_rest().await;
    });
}
