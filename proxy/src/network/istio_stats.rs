//! `istio.stats` in a network chain: what is counted of a connection that is proxied.
//!
//! A connection counts as opened once it is known who is at its other end, or that nobody says; its
//! bytes are told from time to time, and when it is over.

use std::rc::Rc;
use std::sync::Arc;

use ringway_runtime::{Instant, now};

use crate::istio::Peer;
use crate::istio::labels::{Facts, Group};
use crate::istio::metrics::{Series, Tcp};
use crate::listener::Admitted;
use crate::observe::format::ResponseFlags;
use crate::plan::istio::StatsOptions;
use crate::plan::listener::NetworkFilter;
use crate::plan::{Cluster, Host};
use crate::transport::tls::TlsInfo;
use crate::upstream::tcp::TcpConn;

/// What was told of a connection.
pub(super) struct Report {
    options: Arc<StatsOptions>,
    /// Set with the first report.
    series: Option<Rc<Series>>,
    /// Bytes told of: to the client, from it.
    told: (u64, u64),
    due: Instant,
    upstream: Option<Rc<Peer>>,
    upstream_tls: Option<Rc<TlsInfo>>,
}

/// A connection as it is.
pub(super) struct Seen<'a> {
    pub(super) cluster: Option<&'a Cluster>,
    pub(super) host: Option<&'a Host>,
    pub(super) downstream_tls: Option<&'a TlsInfo>,
    pub(super) flags: ResponseFlags,
    /// Bytes to the client.
    pub(super) sent: u64,
    /// Bytes from the client.
    pub(super) received: u64,
}

impl Report {
    /// Where the connection's chain asks for reports.
    pub(super) fn of(link: &Admitted) -> Option<Box<Self>> {
        let options = link.version.plan.network.iter().find_map(|filter| match filter {
            NetworkFilter::IstioStats(options) => Some(options),
            _ => None,
        })?;
        Some(Box::new(Self {
            options: Arc::clone(options),
            series: None,
            told: (0, 0),
            due: Instant::FAR_FUTURE,
            upstream: None,
            upstream_tls: None,
        }))
    }

    /// There is an upstream connection.
    pub(super) fn connected(&mut self, up: &TcpConn) {
        self.upstream = up.known().cloned();
        self.upstream_tls = up.stream().tls().cloned();
    }

    /// When the next report is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Counts what is new. `last`: the connection is over.
    pub(super) fn tell(&mut self, link: &Admitted, seen: &Seen<'_>, last: bool) {
        let late = &link.shard.late;
        self.due = match self.options.interval {
            interval if interval.is_zero() => Instant::FAR_FUTURE,
            interval => now() + interval,
        };
        let first = self.series.is_none();
        if first {
            let facts = Facts {
                options: &self.options,
                downstream: link.peer.get().and_then(Option::as_ref),
                upstream: self.upstream.as_ref(),
                cluster: seen.cluster,
                host: seen.host,
                route_name: "",
                authority: "",
                downstream_tls: seen.downstream_tls,
                upstream_tls: self.upstream_tls.as_deref(),
                flags: seen.flags,
                group: Group::Tcp,
            };
            self.series = link.shard.istio.metrics.of(late, &facts);
        }
        let Some(tcp) = self.tcp() else { return };
        if first {
            tcp.opened(late);
        }
        tcp.moved(late, seen.sent - self.told.0, seen.received - self.told.1);
        if last {
            tcp.closed(late);
        }
        self.told = (seen.sent, seen.received);
    }

    fn tcp(&self) -> Option<&Tcp> {
        match self.series.as_deref()? {
            Series::Tcp(tcp) => Some(tcp),
            Series::Http(_) | Series::Messages(_) => None,
        }
    }
}
