//! Counting and logging: what one stream or connection leaves behind in statistics and access logs.

use ringway_wire::chars::Decimal;
use ringway_wire::http1::{H1Error, H1Rule};
use ringway_wire::{HeaderMap, KnownName as K, Name, RequestHead, Version};

use super::conn::{After, Conn, Work};
use super::info::Info;
use super::reply::is_grpc;
use super::upgrade::Tunnel;
use crate::filters::chain;
use crate::filters::router::retry::Retry;
use crate::filters::router::{self, Exchange};
use crate::observe::format::{
    AccessLogType, Address, Downstream, HeaderSource, LogContext, Protocol, Timings, Upstream,
};
use crate::observe::stats::Variant;
use crate::shard::balance::HTTP2_WEIGHT;

/// A connection begins to be served; the listener has counted it.
pub(crate) fn connection_opened(conn: &Conn) {
    let stats = &conn.shard.stats;
    let hcm = &conn.manager.plan.stats.hcm;
    // The process that accepted it has counted it.
    stats.add(hcm.downstream_cx_total(), u64::from(conn.meta.resumption().is_none()));
    stats.gauge_add(hcm.downstream_cx_active(), 1);
    if conn.tls.is_some() {
        stats.inc(hcm.downstream_cx_ssl_total());
        stats.gauge_add(hcm.downstream_cx_ssl_active(), 1);
    }
}

/// It is known what the connection speaks.
pub(crate) fn codec_chosen(conn: &mut Conn, codec: Version) {
    if conn.codec.is_some() {
        return;
    }
    conn.codec = Some(codec);
    let stats = &conn.shard.stats;
    let hcm = &conn.manager.plan.stats.hcm;
    if codec == Version::Http2 {
        conn.link.load.weigh(HTTP2_WEIGHT);
        stats.inc(hcm.downstream_cx_http2_total());
        stats.gauge_add(hcm.downstream_cx_http2_active(), 1);
    } else {
        let counted = conn.meta.resumption().is_some_and(|resumed| resumed.http1);
        stats.add(hcm.downstream_cx_http1_total(), u64::from(!counted));
        stats.gauge_add(hcm.downstream_cx_http1_active(), 1);
        conn.manager.plan.codec_stats.open(stats);
    }
}

/// It is gone.
pub(crate) fn connection_closed(conn: &mut Conn, after: After) {
    let received = conn.down.uncounted_rx();
    let stats = &conn.shard.stats;
    let age = conn.opened.elapsed().as_millis() as u64;
    let hcm = &conn.manager.plan.stats.hcm;
    if after == After::GivenAway {
        conn.link.give_away();
    } else {
        stats.inc(hcm.downstream_cx_destroy());
        let gone = after == After::Gone || conn.down.readable_closed();
        let by_peer = gone && !conn.link.chain.is_over();
        stats.inc(if by_peer {
            hcm.downstream_cx_destroy_remote()
        } else {
            hcm.downstream_cx_destroy_local()
        });
        stats.record(hcm.downstream_cx_length_ms(), age);
    }
    stats.gauge_sub(hcm.downstream_cx_active(), 1);
    if conn.tls.is_some() {
        stats.gauge_sub(hcm.downstream_cx_ssl_active(), 1);
    }
    match conn.codec {
        Some(Version::Http2) => stats.gauge_sub(hcm.downstream_cx_http2_active(), 1),
        Some(_) => stats.gauge_sub(hcm.downstream_cx_http1_active(), 1),
        None => {}
    }
    stats.add(hcm.downstream_cx_rx_bytes_total(), received);
}

/// A request head is there (or what should have been one).
pub(crate) fn request_began(conn: &mut Conn) {
    let stats = &conn.shard.stats;
    let hcm = &conn.manager.plan.stats.hcm;
    stats.inc(hcm.downstream_rq_total());
    if conn.down.is_http2() {
        stats.inc(hcm.downstream_rq_http2_total());
    } else {
        stats.inc(hcm.downstream_rq_http1_total());
    }
    stats.gauge_add(hcm.downstream_rq_active(), 1);
}

/// The parser refused a request.
pub(crate) fn refused(conn: &Conn, error: &H1Error) {
    let stats = &conn.shard.stats;
    let hcm = &conn.manager.plan.stats.hcm;
    if error.is_codec_error() {
        stats.inc(hcm.downstream_cx_protocol_error());
    }
    if error.rule == H1Rule::Underscore {
        let codec = &conn.manager.plan.codec_stats;
        stats.inc(codec.requests_rejected_with_underscores_in_headers);
    }
}

/// A request body broke the protocol.
pub(crate) fn body_refused(conn: &Conn) {
    conn.shard.stats.inc(conn.manager.plan.stats.hcm.downstream_cx_protocol_error());
}

/// A response was taken back for another attempt.
pub(crate) fn retried(exchange: &Exchange<'_>, work: &Work, status: u16) {
    exchange.cluster.charge(work.info.host.as_deref(), status, Variant::Retry);
}

/// The upstream's response head is accepted: what it tells of the upstream goes into the head.
pub(crate) fn upstream_answered(
    conn: &Conn,
    work: &mut Work,
    exchange: &Exchange<'_>,
    retry: &Retry<'_>,
) {
    let stats = &conn.shard.stats;
    if retry.done() > 0 && work.response.status < 500 {
        stats.inc(exchange.cluster.plan().stats.upstream_rq_retry_success());
    }
    let headers = &mut work.response.headers;
    headers.remove(K::XEnvoyImmediateHealthCheckFail);
    if !conn.manager.plan.router.suppress_envoy_headers
        && let Some(end) = work.info.request_end
    {
        let ms = (ringway_runtime::now() - end).as_millis() as u64;
        headers.set(K::XEnvoyUpstreamServiceTime, Decimal::new(ms).as_bytes());
    }
    router::headers::count_attempts(work);
}

/// The stream is over, one way or another.
pub(crate) fn finished(conn: &mut Conn, work: &mut Work) {
    let now = ringway_runtime::now();
    let received = conn.down.uncounted_rx();
    let manager = std::rc::Rc::clone(&conn.manager);
    let stats = &conn.shard.stats;
    let hcm = &manager.plan.stats.hcm;
    work.info.request_body_bytes = conn.down.body_bytes();
    stats.gauge_sub(hcm.downstream_rq_active(), 1);
    if work.tunnel != Tunnel::No {
        stats.gauge_sub(hcm.downstream_cx_upgrades_active(), 1);
    }
    let took = (now - work.info.start).as_millis() as u64;
    stats.record(hcm.downstream_rq_time(), took);
    stats.add(hcm.downstream_cx_rx_bytes_total(), received);
    if !conn.down.is_http2() {
        let sent = work.info.response_head_bytes + work.info.response_body_bytes;
        stats.add(hcm.downstream_cx_tx_bytes_total(), sent);
    }
    let code = work.info.code;
    if code != 0 && !work.info.health_check {
        charge_code(conn, work, code);
    }
    if work.head_sent && !conn.down.is_complete() {
        stats.inc(hcm.downstream_rq_response_before_rq_complete());
    }
    charge_cluster(conn, work);
    chain::ended(conn, work);
    if !manager.plan.access_logs.is_empty() {
        log(conn, work, AccessLogType::DownstreamEnd);
    }
}

fn charge_code(conn: &Conn, _work: &Work, code: u16) {
    let stats = &conn.shard.stats;
    let hcm = &conn.manager.plan.stats.hcm;
    stats.inc(hcm.downstream_rq_completed());
    if let Some(class) = hcm.downstream_rq_class(code) {
        stats.inc(class);
    }
    let listener = &conn.manager.listener_stats;
    stats.inc(listener.downstream_rq_completed());
    if let Some(class) = listener.downstream_rq_class(code) {
        stats.inc(class);
    }
}

fn charge_cluster(conn: &Conn, work: &Work) {
    let info = &work.info;
    let Some(cluster) = info.cluster.as_ref().filter(|_| !info.health_check) else { return };
    let variant = variant(info);
    if info.code != 0 {
        let quiet = conn.manager.plan.router.suppress_grpc_failure_stats && is_grpc(&work.request);
        let told = match variant {
            Variant::Internal if quiet => Variant::InternalQuiet,
            Variant::External if quiet => Variant::ExternalQuiet,
            variant => variant,
        };
        let code = if info.local_reply { info.local_status } else { info.code };
        cluster.charge(info.host.as_deref(), code, told);
    }
    if let (Some(end), Some(_)) = (info.request_end, info.upstream_rx)
        && info.response_complete
        && conn.manager.plan.router.dynamic_stats
    {
        let ms = (ringway_runtime::now() - end).as_millis() as u64;
        conn.shard.stats.response_time(cluster.plan().stats.upstream_rq_time(), ms, variant);
    }
}

fn variant(info: &Info) -> Variant {
    match info.vetted {
        Some(vetted) if vetted.internal => Variant::Internal,
        _ => Variant::External,
    }
}

/// Writes a line for the stream as it is now into every access log of the manager.
pub(crate) fn log(conn: &Conn, work: &Work, log_type: AccessLogType) {
    let cx = context(conn, work, &work.request, Some(&work.response.headers));
    let cx = LogContext { log_type, ..cx };
    for log in &conn.manager.plan.access_logs {
        conn.shard.logs.log(log, &cx);
    }
}

/// The stream goes on, and is logged again after another interval.
pub(crate) fn log_again(conn: &Conn, work: &mut Work) {
    log(conn, work, AccessLogType::DownstreamPeriodic);
    work.info.next_log =
        super::conn::deadline(ringway_runtime::now(), conn.manager.plan.log_interval);
}

/// The stream as format strings see it.
pub(crate) fn context<'a>(
    conn: &'a Conn,
    work: &'a Work,
    head: &'a RequestHead,
    response: Option<&'a HeaderMap>,
) -> LogContext<'a> {
    let info = &work.info;
    let manager = &conn.manager.plan;
    LogContext {
        request_headers: (!info.unread).then_some(head as &dyn HeaderSource),
        response_headers: response.map(|headers| headers as &dyn HeaderSource),
        response_trailers: Some(&work.response_trailers),
        start_unix_ns: info.start_unix.as_nanos() as u64,
        emit_unix_ns: ringway_runtime::unix_now().as_nanos() as u64,
        timings: timings(info, conn.tls.as_ref().map(|tls| tls.handshake_ns)),
        protocol: Some(match head.version {
            _ if conn.down.is_http2() => Protocol::Http2,
            Version::Http10 => Protocol::Http10,
            Version::Http11 => Protocol::Http11,
            Version::Http2 => Protocol::Http2,
        }),
        response_code: info.code,
        response_code_details: Some(&*info.details).filter(|details| !details.is_empty()),
        connection_termination_details: info.termination,
        flags: info.flags,
        bytes_received: conn.down.body_bytes(),
        bytes_sent: info.response_body_bytes,
        request_header_bytes: if info.unread { 0 } else { head.byte_size() as u64 },
        response_header_bytes: work.response.byte_size() as u64,
        response_trailer_bytes: work.response_trailers.byte_size() as u64,
        downstream: downstream(conn, info),
        upstream: upstream(info),
        filter_chain_name: Some(&*conn.link.version.plan.name).filter(|name| !name.is_empty()),
        route_name: info.route_name.as_deref().filter(|name| !name.is_empty()),
        stream_id: head
            .headers
            .get(K::XRequestId)
            .filter(|_| manager.request_id.generate)
            .and_then(|id| std::str::from_utf8(id).ok()),
        filter_state: Some(&info.filter_state),
        health_check: info.health_check,
        local_reply_body: &info.local_body,
        log_type: AccessLogType::DownstreamEnd,
        random: u128::from(ringway_runtime::rand_u64()) << 64
            | u128::from(ringway_runtime::rand_u64()),
        ..LogContext::default()
    }
}

fn timings(info: &Info, downstream_handshake: Option<u64>) -> Timings {
    let since = |at: ringway_runtime::Instant| (at - info.start).as_nanos() as u64;
    Timings {
        downstream_rx_end: info.request_end.map(since),
        upstream_tx_begin: info.upstream_tx.map(|(first, _)| since(first)),
        upstream_tx_end: info.upstream_tx.map(|(_, last)| since(last)),
        upstream_rx_begin: info.upstream_rx.map(|(first, _)| since(first)),
        upstream_rx_end: info.upstream_rx.map(|(_, last)| since(last)),
        downstream_tx_begin: info.downstream_tx.map(|(first, _)| since(first)),
        downstream_tx_end: info
            .downstream_tx
            .filter(|_| info.response_complete)
            .map(|(_, last)| since(last)),
        complete: Some(since(ringway_runtime::now())),
        downstream_handshake,
        ..Timings::default()
    }
}

fn downstream<'a>(conn: &'a Conn, info: &Info) -> Downstream<'a> {
    let meta = &conn.meta;
    let peer = Address::from(meta.remote());
    let client = info.vetted.and_then(|vetted| vetted.client);
    let remote = match (client, peer) {
        (Some(ip), Address::Ip(peer)) if peer.ip() != ip => Address::Ip((ip, 0).into()),
        _ => peer,
    };
    Downstream {
        local: Address::from(meta.local()),
        remote,
        direct_local: Address::from(meta.direct_local()),
        direct_remote: Address::from(meta.direct_remote()),
        connection_id: Some(meta.id),
        server_name: meta.sni(),
        tls: conn.tls.as_deref(),
        ..Downstream::default()
    }
}

fn upstream(info: &Info) -> Upstream<'_> {
    let plan = info.cluster.as_ref().or(info.route_cluster.as_ref()).map(|cluster| cluster.plan());
    let host = info.host.as_ref().map(|host| host.plan());
    let host_address = host.map_or(Address::Unset, |host| Address::from(&host.address));
    Upstream {
        cluster: plan.map(|plan| &*plan.stat_name),
        cluster_raw: plan.map(|plan| &*plan.name),
        host: host_address,
        host_name: host.map(|host| &*host.info.hostname).filter(|name| !name.is_empty()),
        remote: host_address,
        local: info.upstream_local.map_or(Address::Unset, Address::Ip),
        protocol: info.upstream_tx.map(|_| match info.upstream_http2 {
            true => Protocol::Http2,
            false => Protocol::Http11,
        }),
        attempt_count: info.attempts,
        tls: info.upstream_tls.as_deref(),
        transport_failure_reason: info.upstream_failure.as_deref(),
        ..Upstream::default()
    }
}

impl HeaderSource for RequestHead {
    fn get(&self, name: &str) -> Option<&[u8]> {
        Self::get(self, Name::from(name))
    }
}

impl HeaderSource for HeaderMap {
    fn get(&self, name: &str) -> Option<&[u8]> {
        Self::get(self, Name::from(name))
    }
}
