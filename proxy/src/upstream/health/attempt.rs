//! What is asked, whichever way.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use ringway_runtime::{self as runtime, SockAddr, Stream};

use super::http::HttpAttempt;
use super::tcp::TcpAttempt;
use super::verdict::Checked;
use crate::plan::cluster::{HealthCheck, HealthCheckKind};
use crate::plan::{Address, Cluster, Host};
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
    pub(super) async fn run(&self, kept: Option<Stream>) -> (Checked, Option<Stream>) {
        let Some(check) = self.check() else { return (Checked::Network, None) };
        let stream = match kept {
            Some(stream) => stream,
            None => match self.connect().await {
                Ok(stream) => stream,
                Err(_) => return (Checked::Network, None),
            },
        };
        match &check.kind {
            HealthCheckKind::Http(http) => {
                let plan: &Cluster = &self.cluster.plan;
                HttpAttempt { http, plan, host: &self.host, stats: &self.cluster.shard.stats }
                    .run(stream)
                    .await
            }
            HealthCheckKind::Tcp { send, receive } => {
                TcpAttempt { send: send.as_deref(), receive }.run(stream).await
            }
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

    async fn connect(&self) -> io::Result<Stream> {
        let address = check_address(&self.host);
        let stream = runtime::connect(&address, &self.cluster.connect).await?;
        if let Some(config) = &self.cluster.plan.proxy_protocol {
            proxy_header::write_own(config, &stream);
        }
        Ok(stream)
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
