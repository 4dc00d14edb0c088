//! Getting an upstream connection: early data, choice of cluster and host, attempts.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ringway_runtime::{SockAddr, now, sleep};
use xxhash_rust::xxh64::xxh64;

use super::session::{Session, Tried};
use super::{End, NoUpstream};
use crate::observe::format::{AccessLogType, ResponseFlag};
use crate::plan::ClusterId;
use crate::plan::demand::{Demand, Supply};
use crate::plan::tcp::{ConnectMode, TcpHash, TlvMerge};
use crate::plan::transport::Tlv;
use crate::upstream::internal::Passed;
use crate::upstream::proxy_header::OnBehalf;
use crate::upstream::tcp::TcpConn;
use crate::upstream::{AcquireError, LbContext, ShardCluster};

/// A connection to write to, with what the client sent meanwhile already queued on it; or how the
/// session ends without.
pub(super) async fn establish(session: &mut Session) -> Result<TcpConn, End> {
    let mut early = Early::new(session);
    if session.proxy.plan.connect == ConnectMode::OnDownstreamData {
        poll_fn(|cx| early.poll_first(session, cx)).await?;
    }
    session.record.set_up().pool.0 = Some(now());
    let mut failed = 0;
    let picked = fetch_cluster(session, &mut early).await?;
    let up = loop {
        let (cluster, host) = choose(session, picked)?;
        let header = cluster.proxy_header(&host, || on_behalf(session));
        let authority = tunnel_to(session);
        let attempt = pin!(async {
            match authority {
                Some(authority) => cluster.connect_tunnel(&host, authority, header).await,
                None => cluster.connect_tcp(&host, header, Passed::default()).await,
            }
        });
        let outcome = wait(session, &mut early, attempt).await?;
        session.record.host = match &outcome {
            Err(AcquireError::PendingOverflow) => None,
            _ => Some(Rc::clone(&host)),
        };
        match outcome {
            Ok(up) => break up,
            Err(AcquireError::ConnectFailure { timeout, error }) => {
                session.record.flags.insert(ResponseFlag::UpstreamConnectionFailure);
                session.record.set_up().failure = (!timeout).then(|| error.into_boxed_str());
            }
            Err(_) => {}
        }
        failed += 1;
        let pause = match session.proxy.plan.backoff {
            Some(range) if failed < session.proxy.plan.max_connect_attempts => {
                back_off(range, failed)
            }
            _ => continue,
        };
        let pause = pin!(sleep(pause));
        wait(session, &mut early, pause).await?;
    };
    connected(session, &up);
    early.send(session, &up);
    Ok(up)
}

/// Waits for the connection's cluster where it is not there and may come on demand: the one that
/// was picked among several.
async fn fetch_cluster(session: &mut Session, early: &mut Early) -> Result<Option<ClusterId>, End> {
    let proxy = Rc::clone(&session.proxy);
    let Some((from, counts)) = &proxy.plan.on_demand else { return Ok(None) };
    let shard = Rc::clone(&session.link.shard);
    let (picked, there, name) = match session.link.meta.upstream_cluster() {
        Some(name) => {
            let there = shard.upstreams.by_name(name.as_bytes()).is_some();
            (None, there, Arc::from(&*name))
        }
        None => {
            let id = proxy.plan.target.pick(ringway_runtime::rand_u64);
            let name = proxy.plan.clusters.iter().find(|cluster| cluster.id == id);
            let Some(name) = name else { return Ok(None) };
            (Some(id), shard.upstreams.get(id).is_some(), Arc::clone(&name.name))
        }
    };
    if there {
        return Ok(picked);
    }
    shard.stats.inc(counts.on_demand_cluster_attempt());
    let waiting = shard.demands.ask(Demand::Cluster(name), Some(from));
    let supply = match waiting {
        Some(waiting) => wait(session, early, pin!(poll_fn(|cx| waiting.poll(cx)))).await?,
        None => Supply::Missing,
    };
    shard.stats.inc(match supply {
        Supply::Here => counts.on_demand_cluster_success(),
        Supply::Missing => counts.on_demand_cluster_missing(),
        Supply::TimedOut => counts.on_demand_cluster_timeout(),
    });
    Ok(picked)
}

/// Where the CONNECT request goes that the connection is put into, if it is.
fn tunnel_to(session: &Session) -> Option<Vec<u8>> {
    let format = session.proxy.plan.tunnel.as_ref()?;
    let mut out = Vec::new();
    super::log::format(session, format, &mut out);
    Some(out)
}

/// Waits for something while the session's timers run and early data is read.
async fn wait<T>(
    session: &mut Session,
    early: &mut Early,
    mut what: std::pin::Pin<&mut impl Future<Output = T>>,
) -> Result<T, End> {
    poll_fn(|cx| {
        if let Poll::Ready(done) = what.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        early.poll_read(session, cx);
        match session.poll_timers(cx, 0) {
            Some(end) => Poll::Ready(Err(end)),
            None => Poll::Pending,
        }
    })
    .await
}

/// Fully jittered exponential back-off: a random time below the base, then below twice of that, and
/// so on up to the maximum.
fn back_off((base, max): (Duration, Duration), failed: u32) -> Duration {
    let mut range = base;
    for _ in 1..failed.min(64) {
        range = if range < max / 2 { range * 2 } else { max };
    }
    Duration::from_millis(ringway_runtime::rand_below((range.as_millis() as u64).max(1)))
}

type Choice = (Rc<ShardCluster>, Rc<crate::upstream::ShardHost>);

/// The cluster and host of the next attempt, in the order in which Envoy looks.
/// `picked` is the cluster that the connection had to wait for.
fn choose(session: &mut Session, picked: Option<ClusterId>) -> Result<Choice, End> {
    let plan = &session.proxy.plan;
    let shard = &session.link.shard;
    let cluster = match session.link.meta.upstream_cluster() {
        Some(name) => shard.upstreams.by_name(name.as_bytes()),
        None => {
            let random = ringway_runtime::rand_u64;
            shard.upstreams.get(picked.unwrap_or_else(|| plan.target.pick(random)))
        }
    };
    let record = &mut session.record;
    let Some(cluster) = cluster else {
        shard.stats.inc(plan.stats.downstream_cx_no_route());
        record.flags.insert(ResponseFlag::NoClusterFound);
        record.set_up().pool = (None, None);
        return Err(End::NoUpstream(NoUpstream::NoRoute));
    };
    record.cluster = Some(Rc::clone(&cluster));
    record.set_up().pool.1 = Some(now());
    if cluster.tcp_overflows() {
        record.flags.insert(ResponseFlag::UpstreamOverflow);
        return Err(End::NoUpstream(NoUpstream::ResourceLimitExceeded));
    }
    if record.attempts >= plan.max_connect_attempts {
        record.flags.insert(ResponseFlag::UpstreamRetryLimitExceeded);
        shard.stats.inc(cluster.plan().stats.upstream_cx_connect_attempts_exceeded());
        return Err(End::NoUpstream(NoUpstream::ConnectFailed));
    }
    let hash = plan.hash.and_then(|hash| match hash {
        TcpHash::SourceIp => source_hash(session.link.meta.remote()),
    });
    let meta = &session.link.meta;
    let waypoint = meta.waypoint().filter(|_| cluster.by_waypoint());
    let destination =
        cluster.destination(|_| None, || waypoint.or_else(|| meta.original_destination()));
    let Some(host) = cluster.pick(&LbContext { hash, destination, ..LbContext::default() }) else {
        record.flags.insert(ResponseFlag::NoHealthyUpstream);
        return Err(End::NoUpstream(NoUpstream::NoHealthyUpstream));
    };
    record.attempts += 1;
    let set_up = record.set_up();
    set_up.pool.1 = None;
    set_up.tried.push(Tried { host: Rc::clone(&host), connection: None });
    Ok((cluster, host))
}

/// Whom the upstream connection is for, with `proxy_protocol_tlvs` merged into what the client's
/// own PROXY header said.
fn on_behalf(session: &Session) -> OnBehalf {
    let meta = &session.link.meta;
    let mut whom = meta.on_behalf();
    let (own, merge) = &session.proxy.plan.tlvs;
    match (meta.proxy_header().is_some(), merge) {
        (true, TlvMerge::AddIfAbsent) => {}
        (false, _) | (true, TlvMerge::Append) => whom.tlvs.extend(own.iter().cloned()),
        (true, TlvMerge::Overwrite) => {
            let others = std::mem::take(&mut whom.tlvs);
            whom.tlvs.extend(own.iter().cloned());
            let new = |(kind, _): &Tlv| !own.iter().any(|(other, _)| other == kind);
            whom.tlvs.extend(others.into_iter().filter(new));
        }
    }
    whom
}

/// The hash of a client's IP address, as text without port.
fn source_hash(client: &SockAddr) -> Option<u64> {
    Some(xxh64(client.as_inet()?.ip().to_string().as_bytes(), 0))
}

/// The upstream connection is there.
fn connected(session: &mut Session, up: &TcpConn) {
    let now = now();
    if session.is_logged() {
        let id = session.link.shard.next_connection_id();
        let set_up = session.record.set_up();
        set_up.upstream_id = id;
        set_up.upstream_local = up.local_addr();
        set_up.upstream_tls = up.stream().tls().cloned();
        set_up.pool.1 = Some(now);
        set_up.connect = Some((up.born(), now));
        if let Some(tried) = set_up.tried.last_mut() {
            tried.connection = Some(id);
        }
    } else {
        session.record.set_up = None;
    }
    if let Some(report) = &mut session.report {
        report.connected(up);
        session.report(false);
    }
    session.touch();
    if session.proxy.plan.log_when.connected {
        session.log(AccessLogType::TcpUpstreamConnected);
    }
}

/// What the client sends before there is an upstream (`max_early_data_bytes`).
struct Early {
    /// Bytes that may be kept; `None` reads nothing.
    limit: Option<usize>,
    data: ringway_runtime::Chain,
    /// The client has said its last.
    ended: bool,
}

impl Early {
    fn new(session: &Session) -> Self {
        let limit = session.proxy.plan.early_data;
        Self { limit, data: ringway_runtime::Chain::new(), ended: false }
    }

    /// Waits for the first bytes of the client. One that ends without any needs no upstream.
    fn poll_first(&mut self, session: &mut Session, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        self.poll_read(session, cx);
        if !self.data.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if self.ended {
            return Poll::Ready(Err(End::Done));
        }
        match session.poll_timers(cx, 0) {
            Some(end) => Poll::Ready(Err(end)),
            None => Poll::Pending,
        }
    }

    /// Reads what is there, up to the limit. An error is found again when the relay reads.
    fn poll_read(&mut self, session: &mut Session, cx: &mut Context<'_>) {
        let Some(limit) = self.limit else { return };
        // At least one byte, to know that the client speaks.
        while !self.ended && self.data.len() < limit.max(1) {
            let Poll::Ready(received) = session.down.poll_recv(cx) else { return };
            let stats = &session.link.shard.stats;
            let names = &session.proxy.plan.stats;
            stats.inc(names.early_data_received_count_total());
            match received {
                Ok(Some(chunk)) => {
                    session.record.received += chunk.len() as u64;
                    stats.add(names.downstream_cx_rx_bytes_total(), chunk.len() as u64);
                    self.data.push(chunk);
                    session.touch();
                }
                Ok(None) | Err(_) => self.ended = true,
            }
        }
    }

    /// Hands it over. Its end is found again by the relay.
    fn send(self, session: &mut Session, up: &TcpConn) {
        let bytes = self.data.len() as u64;
        if bytes > 0 {
            session.record.upstream_sent += bytes;
            up.count(0, bytes);
            up.stream().write_chain(self.data);
        }
    }
}
