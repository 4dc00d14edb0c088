//! What is asked, whichever way.

use std::rc::Rc;
use std::sync::Arc;

use ringway_runtime::{self as runtime, SockAddr};

use super::http::HttpAttempt;
use super::http2::{GrpcAttempt, Http2Conn};
use super::tcp::TcpAttempt;
use super::verdict::Checked;
use crate::plan::cluster::{HealthCheck, HealthCheckKind};
use crate::plan::{Address, Cluster, Host};
use crate::transport::{self, ConnectHints, Stream};
use crate::upstream::cluster::Shared;
use crate::upstream::pool::sock_addr;
use crate::upstream::proxy_header;

/// A check of one host, to be made again and again.
pub(super) struct Attempt {
    pub(super) cluster: Rc<Shared>,
    pub(super) host: Arc<Host>,
    check: usize,
}

impl Attempt {
    pub(super) fn new(cluster: &Rc<Shared>, host: &Arc<Host>) -> Self {
        Self { cluster: cluster.clone(), host: host.clone(), check: 0 }
    }

    fn check(&self) -> Option<&HealthCheck> {
        self.cluster.plan.health_checks.get(self.check)
    }

    /// Asks once, over the connection of the last time if there still is one. Returns the result
    /// and the connection if it can be used again.
    pub(super) async fn run(&self, kept: Option<Kept>) -> (Checked, Option<Kept>) {
        let Some(check) = self.check() else { return (Checked::Network, None) };
        let kept = kept.filter(|kept| match kept {
            Kept::Stream(_) => true,
            Kept::Http2(conn) => conn.is_usable(),
        });
        let conn = match kept {
            Some(conn) => conn,
            None => match self.connect(check).await {
                Some(conn) => conn,
                None => return (Checked::Network, None),
            },
        };
        let plan: &Cluster = &self.cluster.plan;
        match (&check.kind, conn) {
            (HealthCheckKind::Http(http), conn) => {
                let stats = &self.cluster.shard.stats;
                let attempt = HttpAttempt { http, plan, host: &self.host, stats };
                match conn {
                    Kept::Stream(stream) => {
                        let (checked, stream) = attempt.run(stream).await;
                        (checked, stream.map(Kept::Stream))
                    }
                    Kept::Http2(conn) => (attempt.run_http2(&conn).await, Some(Kept::Http2(conn))),
                }
            }
            (HealthCheckKind::Tcp { send, receive }, Kept::Stream(stream)) => {
                let attempt = TcpAttempt { send: send.as_deref(), receive };
                let (checked, stream) = attempt.run(stream).await;
                (checked, stream.map(Kept::Stream))
            }
            (HealthCheckKind::Grpc(grpc), Kept::Http2(conn)) => {
                (GrpcAttempt { grpc, plan }.run(&conn).await, Some(Kept::Http2(conn)))
            }
            (HealthCheckKind::Tcp { .. }, Kept::Http2(_))
            | (HealthCheckKind::Grpc(_), Kept::Stream(_)) => (Checked::Network, None),
        }
    }

    /// Whether the end of the connection between two checks is a failure.
    pub(super) fn fails_with_its_connection(&self) -> bool {
        matches!(self.check().map(|c| &c.kind), Some(HealthCheckKind::Tcp { .. }))
    }

    /// Whether the peer may send something between two checks.
    pub(super) fn tolerates_unasked_data(&self) -> bool {
        self.fails_with_its_connection()
    }

    async fn connect(&self, check: &HealthCheck) -> Option<Kept> {
        let (plan, shard) = (&self.cluster.plan, &self.cluster.shard);
        let address = check_address(&self.host);
        let stream = runtime::connect(&address, self.cluster.connect.to(&address)).await.ok()?;
        let socket = match check.socket {
            Some(index) => {
                shard.stats.inc(plan.matched(index));
                plan.sockets.get(index)
            }
            None => plan.socket(&self.host),
        };
        if let Some(config) = &socket.proxy_protocol {
            proxy_header::write_own(config, &stream);
        }
        let http2 = match &check.kind {
            HealthCheckKind::Http(http) => http.http2.as_ref(),
            HealthCheckKind::Tcp { .. } => None,
            HealthCheckKind::Grpc(grpc) => Some(&grpc.http2),
        };
        let name = &*self.host.info.hostname;
        let alpn: &[&[u8]] = match (&check.kind, http2) {
            (_, Some(_)) => &[b"h2"],
            (HealthCheckKind::Http(_), None) => &[b"http/1.1"],
            _ => &[],
        };
        let host_name = (!name.is_empty()).then_some(name);
        let hints = ConnectHints { host_name, alpn, ..ConnectHints::default() };
        let connected =
            transport::connect(&shard.gate, &shard.stats, &socket.transport, stream, &hints);
        let stream = connected.await.ok()?;
        Some(match http2 {
            Some(http2) => Kept::Http2(Http2Conn::new(&self.cluster, http2, stream)),
            None => Kept::Stream(stream),
        })
    }
}

/// The connection of a check, kept for the next one.
pub(super) enum Kept {
    Stream(Stream),
    Http2(Http2Conn),
}

impl Kept {
    /// What tells of its end by itself; an HTTP/2 connection is asked before its next use.
    pub(super) fn stream(&self) -> Option<&Stream> {
        match self {
            Self::Stream(stream) => Some(stream),
            Self::Http2(_) => None,
        }
    }
}

/// `health_check_config`: another address, or another port of the same.
fn check_address(host: &Host) -> SockAddr {
    if let Some(address) = &host.info.health_address {
        return sock_addr(address);
    }
    match (host.current_address(), host.info.health_port) {
        (Address::Ip(mut ip), Some(port)) => {
            ip.set_port(port);
            SockAddr::Inet(ip)
        }
        (address, _) => sock_addr(&address),
    }
}
