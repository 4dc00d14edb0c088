use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::{self as runtime, Chunk};

use super::*;
use crate::observe::stats::blocks::ClusterStats;
use crate::observe::stats::{Counter, Gauge};
use crate::plan::Cluster;
use crate::plan::cluster::Thresholds;
use crate::upstream::testing::{Bench, Server, host, run, until};
use crate::upstream::{LbContext, ShardHost};

impl Bench {
    fn count(&self, name: impl Fn(&ClusterStats) -> Counter) -> u64 {
        self.stats.counter_value(name(&self.plan.stats))
    }

    fn gauge(&self, name: impl Fn(&ClusterStats) -> Gauge) -> i64 {
        self.stats.gauge_value(name(&self.plan.stats))
    }

    fn pick(&self) -> Rc<ShardHost> {
        self.cluster().pick(&LbContext::default()).expect("a host")
    }

    fn acquire(&self) -> Acquire {
        self.cluster().acquire(&self.pick(), 0, AcquireOptions::default())
    }

    async fn get(&self) -> PooledConn {
        self.acquire().await.expect("a connection").http1()
    }

    /// Everything is closed and all gauges are zero.
    fn check_rest(&self) {
        self.upstreams.check_invariants(true).expect("consistent");
        self.upstreams.close_idle();
        assert_eq!(self.gauge(ClusterStats::upstream_cx_active), 0);
        assert_eq!(self.gauge(ClusterStats::upstream_rq_active), 0);
        assert_eq!(self.gauge(ClusterStats::upstream_rq_pending_active), 0);
        for resource in [Resource::Connections, Resource::Pending, Resource::Requests] {
            assert_eq!(self.plan.limits.taken(0, resource), 0, "{resource:?}");
        }
        let totals = self.plan.hosts.hosts[0].pages.totals();
        assert_eq!((totals.cx_active, totals.rq_active), (0, 0));
        assert_eq!(
            self.count(ClusterStats::upstream_cx_total),
            self.count(ClusterStats::upstream_cx_destroy)
        );
    }
}

fn limit(change: impl Fn(&mut Thresholds)) -> impl FnOnce(&mut Cluster) {
    move |cluster| change(&mut cluster.circuit_breakers[0])
}

async fn exchange(conn: &PooledConn) {
    conn.stream().write(Chunk::from_static(b"ping"));
    let answer = conn.stream().recv().await.expect("alive").expect("an answer");
    assert_eq!(&*answer, b"ping");
}

#[test]
fn a_connection_is_used_again() {
    run(async {
        let server = Server::echo();
        let bench = Bench::new(vec![host(server.address)], |_| {});
        for round in 1..=3 {
            let mut conn = bench.get().await;
            exchange(&conn).await;
            assert_eq!((conn.served(), conn.reused()), (round, round > 1));
            conn.response_complete();
            conn.release();
        }
        assert_eq!(server.accepted.get(), 1);
        assert_eq!(bench.count(ClusterStats::upstream_rq_total), 3);
        assert_eq!(bench.count(ClusterStats::upstream_rq_pending_total), 1);
        assert_eq!(bench.count(ClusterStats::upstream_cx_total), 1);
        bench.check_rest();
        assert_eq!(bench.count(ClusterStats::upstream_cx_destroy_local), 1);
    });
}

#[test]
fn the_one_used_last_is_used_first() {
    run(async {
        let server = Server::echo();
        let bench = Bench::new(vec![host(server.address)], |_| {});
        let (a, b) = (bench.get().await, bench.get().await);
        let (a_id, b_id) = (a.stream().id(), b.stream().id());
        a.release();
        b.release();
        let again = bench.get().await;
        assert_eq!(again.stream().id(), b_id);
        let older = bench.get().await;
        assert_eq!(older.stream().id(), a_id);
        drop((again, older));
        assert_eq!(bench.count(ClusterStats::upstream_cx_destroy_local_with_active_rq), 2);
        bench.check_rest();
    });
}

#[test]
fn a_freed_connection_serves_the_oldest_waiter() {
    run(async {
        let server = Server::echo();
        let bench = Bench::new(vec![host(server.address)], limit(|t| t.max_connections = 1));
        let conn = bench.get().await;
        let order = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (1..=3)
            .map(|nr| {
                let (waiter, order) = (bench.acquire(), order.clone());
                runtime::spawn(async move {
                    let conn = waiter.await.expect("the only connection").http1();
                    order.set(order.get() * 10 + nr);
                    runtime::yield_now().await;
                    conn.release();
                })
            })
            .collect();
        runtime::yield_now().await;
        assert_eq!(bench.gauge(ClusterStats::upstream_rq_pending_active), 3);
        assert_eq!(bench.gauge(ClusterStats::circuit_breakers_default_cx_open), 1);
        assert_eq!(bench.count(ClusterStats::upstream_cx_overflow), 3);
        conn.release();
        for task in tasks {
            task.await;
        }
        assert_eq!(order.get(), 123);
        assert_eq!(server.accepted.get(), 1);
        bench.check_rest();
        assert_eq!(bench.gauge(ClusterStats::circuit_breakers_default_cx_open), 0);
    });
}

#[test]
fn pending_requests_are_limited() {
    run(async {
        let server = Server::echo();
        let bench = Bench::new(
            vec![host(server.address)],
            limit(|t| (t.max_connections, t.max_pending) = (1, 1)),
        );
        let conn = bench.get().await;
        let mut waiting = pin!(bench.acquire());
        assert_eq!(bench.gauge(ClusterStats::circuit_breakers_default_rq_pending_open), 1);
        assert_eq!(bench.acquire().await.map(drop), Err(AcquireError::PendingOverflow));
        assert_eq!(bench.count(ClusterStats::upstream_rq_pending_overflow), 1);
        conn.release();
        waiting.as_mut().await.expect("freed").http1().release();
        bench.check_rest();
    });
}

#[test]
fn requests_are_limited() {
    run(async {
        let server = Server::echo();
        let bench = Bench::new(vec![host(server.address)], limit(|t| t.max_requests = 1));
        let conn = bench.get().await;
        assert_eq!(bench.gauge(ClusterStats::circuit_breakers_default_rq_open), 1);
        assert_eq!(bench.acquire().await.map(drop), Err(AcquireError::Overflow));
        conn.release();
        bench.get().await.release();
        assert_eq!(bench.count(ClusterStats::upstream_rq_active_overflow), 1);
        assert_eq!(bench.count(ClusterStats::upstream_rq_total), 2);
        bench.check_rest();
    });
}

#[test]
fn who_ends_a_connection_is_counted() {
    run(async {
        let server = Server::start(|stream| async move {
            let _ = stream.recv().await;
            stream.write(Chunk::from_static(b"bye"));
            let _ = stream.flush().await;
        });
        let bench = Bench::new(vec![host(server.address)], |_| {});
        for announced in [true, false] {
            let mut conn = bench.get().await;
            conn.stream().write(Chunk::from_static(b"x"));
            while let Ok(Some(_)) = conn.stream().recv().await {}
            conn.response_complete();
            if announced {
                conn.close_notify();
            }
        }
        assert_eq!(bench.count(ClusterStats::upstream_cx_close_notify), 1);
        assert_eq!(bench.count(ClusterStats::upstream_cx_destroy_local), 1);
        assert_eq!(bench.count(ClusterStats::upstream_cx_destroy_remote), 1);
        assert_eq!(bench.count(ClusterStats::upstream_cx_destroy_with_active_rq), 0);
        bench.check_rest();
    });
}

#[test]
fn cancelled_waiters_leave_no_trace() {
    run(async {
        let server = Server::echo();
        let bench = Bench::new(vec![host(server.address)], limit(|t| t.max_connections = 1));
        let conn = bench.get().await;
        let (first, second, third) = (bench.acquire(), bench.acquire(), bench.acquire());
        drop(second);
        drop(first);
        assert_eq!(bench.count(ClusterStats::upstream_rq_cancelled), 2);
        conn.release();
        // Delivered, then dropped without being looked at: it goes back.
        drop(third);
        assert_eq!(bench.gauge(ClusterStats::upstream_rq_active), 0);
        let conn = bench.get().await;
        assert_eq!(server.accepted.get(), 1);
        conn.release();
        bench.check_rest();
    });
}

#[test]
fn a_failed_connect_fails_all_who_wait() {
    run(async {
        let gone = Server::echo();
        let bench = Bench::new(vec![host(gone.address)], |_| {});
        drop(gone);
        runtime::yield_now().await;
        let (first, second) = (bench.acquire(), bench.acquire());
        let error = first.await.map(drop).expect_err("nobody listens");
        let refused = "delayed connect error: Connection refused".to_string();
        assert_eq!(error, AcquireError::ConnectFailure { timeout: false, error: refused });
        assert!(second.await.is_err());
        until("both attempts are over", || {
            bench.count(ClusterStats::upstream_cx_connect_fail) == 2
        })
        .await;
        assert_eq!(bench.count(ClusterStats::upstream_rq_pending_failure_eject), 2);
        assert_eq!(bench.count(ClusterStats::upstream_cx_destroy_remote), 2);
        assert_eq!(bench.plan.hosts.hosts[0].pages.totals().cx_connect_fail, 2);
        bench.check_rest();
    });
}

#[test]
fn connecting_takes_no_longer_than_its_timeout() {
    run(async {
        // An address that swallows everything (RFC 5737) would need a network: a listener whose
        // queue is full does the same.
        let any = runtime::SockAddr::Inet(([127, 0, 0, 1], 0).into());
        let options = runtime::ListenOptions { backlog: 0, ..Default::default() };
        let connect_options = runtime::ConnectOptions::default();
        let listener = runtime::Listener::bind(&any, &options).expect("a port");
        listener.pause();
        let address = listener.local_addr().expect("bound");
        let mut fill = Vec::new();
        for _ in 0..8 {
            let connect = runtime::connect(&address, &connect_options);
            fill.push(runtime::timeout(Duration::from_millis(20), connect).await);
        }
        let bench = Bench::new(vec![host(address.as_inet().expect("inet"))], |cluster| {
            cluster.connect_timeout = Duration::from_millis(30);
        });
        match bench.acquire().await.map(drop) {
            Err(AcquireError::ConnectFailure { timeout: true, .. }) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(bench.count(ClusterStats::upstream_cx_connect_timeout), 1);
        assert_eq!(bench.count(ClusterStats::upstream_cx_destroy_local), 1);
        bench.check_rest();
    });
}

#[test]
fn a_closing_peer_is_noticed_while_idle() {
    run(async {
        let server = Server::start(|stream| async move {
            let _ = stream.recv().await;
            runtime::sleep(Duration::from_millis(10)).await;
        });
        let bench = Bench::new(vec![host(server.address)], |_| {});
        let conn = bench.get().await;
        conn.stream().write(Chunk::from_static(b"x"));
        conn.release();
        until("the reaper has seen it", || {
            bench.count(ClusterStats::upstream_cx_destroy_remote) == 1
        })
        .await;
        assert_eq!(bench.count(ClusterStats::upstream_cx_destroy_remote_with_active_rq), 0);
        bench.check_rest();
    });
}

#[test]
fn unasked_data_ends_an_idle_connection() {
    run(async {
        let server = Server::start(|stream| async move {
            while let Ok(Some(data)) = stream.recv().await {
                stream.write(data);
            }
        });
        let bench = Bench::new(vec![host(server.address)], |_| {});
        let conn = bench.get().await;
        conn.stream().write(Chunk::from_static(b"nobody asked"));
        conn.release();
        until("the reaper has seen it", || {
            bench.count(ClusterStats::upstream_cx_protocol_error) == 1
        })
        .await;
        let conn = bench.get().await;
        conn.stream().write(Chunk::from_static(b"HTTP/1.1 408 Request Timeout\r\n\r\n"));
        conn.release();
        until("the reaper has seen it", || {
            bench.count(ClusterStats::upstream_cx_destroy_local) == 2
        })
        .await;
        assert_eq!(bench.count(ClusterStats::upstream_cx_protocol_error), 1);
        bench.check_rest();
    });
}

#[test]
fn unasked_data_reaches_no_waiter() {
    run(async {
        let server = Server::start(|stream| async move {
            while let Ok(Some(data)) = stream.recv().await {
                stream.write(data.clone());
                stream.write(data);
            }
        });
        let bench = Bench::new(vec![host(server.address)], limit(|t| t.max_connections = 1));
        let conn = bench.get().await;
        let waiting = bench.acquire();
        conn.stream().write(Chunk::from_static(b"ping"));
        // All of it has arrived, and nothing of it was read.
        runtime::sleep(Duration::from_millis(10)).await;
        conn.release();
        assert_eq!(waiting.await.expect("another connection").http1().served(), 1);
        assert_eq!(server.accepted.get(), 2);
        assert_eq!(bench.count(ClusterStats::upstream_cx_protocol_error), 1);
        bench.check_rest();
    });
}

#[test]
fn idle_connections_time_out() {
    run(async {
        let server = Server::echo();
        let bench = Bench::new(vec![host(server.address)], |cluster| {
            cluster.http.idle_timeout = Duration::from_millis(30);
        });
        bench.get().await.release();
        runtime::sleep(Duration::from_millis(20)).await;
        bench.get().await.release();
        runtime::sleep(Duration::from_millis(20)).await;
        assert_eq!(bench.count(ClusterStats::upstream_cx_idle_timeout), 0, "used meanwhile");
        until("its time is over", || bench.count(ClusterStats::upstream_cx_idle_timeout) == 1)
            .await;
        bench.check_rest();
    });
}

#[test]
fn connections_have_a_longest_life() {
    run(async {
        let server = Server::echo();
        let bench = Bench::new(vec![host(server.address)], |cluster| {
            cluster.http.max_connection_duration = Duration::from_millis(20);
        });
        let (busy, idle) = (bench.get().await, bench.get().await);
        idle.release();
        let name = ClusterStats::upstream_cx_max_duration_reached;
        until("the idle one is over", || bench.count(name) == 1).await;
        exchange(&busy).await;
        busy.release();
        assert_eq!(bench.count(name), 2);
        bench.check_rest();
    });
}

#[test]
fn requests_per_connection_are_limited() {
    run(async {
        let server = Server::echo();
        let bench = Bench::new(vec![host(server.address)], |cluster| {
            cluster.max_requests_per_connection = 2;
        });
        for _ in 0..5 {
            bench.get().await.release();
        }
        assert_eq!(server.accepted.get(), 3);
        assert_eq!(bench.count(ClusterStats::upstream_cx_max_requests), 2);
        bench.check_rest();
    });
}

#[test]
fn a_fresh_connection_can_be_asked_for() {
    run(async {
        let server = Server::echo();
        let bench = Bench::new(vec![host(server.address)], limit(|t| t.max_connections = 1));
        bench.get().await.release();
        let options = AcquireOptions { fresh: true, ..AcquireOptions::default() };
        let fresh =
            bench.cluster().acquire(&bench.pick(), 0, options).await.expect("room is made").http1();
        assert!(!fresh.reused());
        fresh.release();
        assert_eq!(server.accepted.get(), 2);
        bench.check_rest();
    });
}

#[test]
fn retired_pools_serve_who_waits_and_keep_nothing() {
    run(async {
        let server = Server::echo();
        let bench = Bench::new(vec![host(server.address)], limit(|t| t.max_connections = 1));
        let conn = bench.get().await;
        let waiting = bench.acquire();
        bench.upstreams.drain();
        conn.release();
        let conn = waiting.await.expect("served all the same").http1();
        conn.release();
        assert_eq!(bench.gauge(ClusterStats::upstream_cx_active), 0);
        bench.check_rest();
    });
}

#[test]
fn priorities_have_pools_and_limits_of_their_own() {
    run(async {
        let server = Server::echo();
        let bench = Bench::new(vec![host(server.address)], limit(|t| t.max_requests = 0));
        assert_eq!(bench.acquire().await.map(drop), Err(AcquireError::Overflow));
        let high = bench.cluster().acquire(&bench.pick(), 1, AcquireOptions::default());
        let high = high.await.expect("not limited").http1();
        high.release();
        bench.check_rest();
    });
}

#[test]
fn pools_are_limited() {
    run(async {
        let server = Server::echo();
        let bench = Bench::new(vec![host(server.address)], limit(|t| t.max_pools = Some(0)));
        assert_eq!(bench.acquire().await.map(drop), Err(AcquireError::PoolOverflow));
        assert_eq!(bench.count(ClusterStats::upstream_cx_pool_overflow), 1);
    });
}

#[test]
fn other_addresses_are_tried() {
    run(async {
        let (gone, server) = (Server::echo(), Server::echo());
        let mut first = Host::new(
            crate::plan::Address::Ip(gone.address),
            crate::upstream::testing::template(),
            false,
        );
        first.additional.push(crate::plan::Address::Ip(server.address));
        drop(gone);
        runtime::yield_now().await;
        let bench = Bench::new(vec![Arc::new(first)], |_| {});
        let conn = bench.get().await;
        exchange(&conn).await;
        conn.release();
        assert_eq!(bench.count(ClusterStats::upstream_cx_connect_fail), 0);
        bench.check_rest();
    });
}

#[test]
fn retries_are_limited() {
    run(async {
        let bench = Bench::new(vec![host(([127, 0, 0, 1], 1).into())], |_| {});
        let permits: Vec<_> = (0..3).map(|_| bench.cluster().retry_permit(0)).collect();
        assert!(permits.iter().all(Result::is_ok));
        assert!(bench.cluster().retry_permit(0).is_err());
        assert_eq!(bench.count(ClusterStats::upstream_rq_retry_overflow), 1);
        drop(permits);
        assert!(bench.cluster().retry_permit(0).is_ok());
        assert_eq!(bench.gauge(ClusterStats::circuit_breakers_default_rq_retry_open), 0);
    });
}

/// Polling a future once and dropping it must be fine at every stage.
#[test]
fn acquire_is_unpin_and_can_be_polled_in_place() {
    fn is_unpin<T: Unpin + Future>(_: &T) {}
    run(async {
        let server = Server::echo();
        let bench = Bench::new(vec![host(server.address)], |_| {});
        let mut acquire = bench.acquire();
        is_unpin(&acquire);
        let polled = runtime::timeout(Duration::ZERO, &mut acquire).await;
        assert!(polled.is_err(), "a connection cannot be up at once");
        drop(acquire);
        until("the connection is kept", || bench.upstreams.check_invariants(true).is_ok()).await;
        bench.get().await.release();
        assert_eq!(server.accepted.get(), 1);
        bench.check_rest();
    });
}
