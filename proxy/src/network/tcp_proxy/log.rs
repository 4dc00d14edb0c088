//! A connection as access logs see it.

use super::session::{CloseType, Record, Session, SetUp};
use crate::http::uuid::Uuid;
use crate::observe::accesslog::LogFormat;
use crate::observe::format::{
    AccessLogType, Address, Attempt, ByteMeter, Downstream, LogContext, Timings, Upstream,
};

/// Writes a line to every access log of the filter, and at the end of the connection to those of
/// its listener.
pub(super) fn write(session: &Session, kind: AccessLogType) {
    let (record, link) = (&session.record, &session.link);
    let nothing = SetUp::default();
    let set_up = record.set_up.as_deref().unwrap_or(&nothing);
    let attempts: Vec<Attempt<'_>> = set_up.tried.iter().map(attempt).collect();
    let id = Uuid::v4(u128::from(record.id.0) << 64 | u128::from(record.id.1)).text();
    let cx = LogContext {
        start_unix_ns: record.start_unix,
        emit_unix_ns: ringway_runtime::unix_now().as_nanos() as u64,
        timings: timings(session, set_up),
        flags: record.flags,
        bytes_received: record.received,
        bytes_sent: record.sent,
        downstream: downstream(session),
        upstream: upstream(record, set_up, &attempts),
        filter_chain_name: Some(&*link.version.plan.name).filter(|name| !name.is_empty()),
        stream_id: std::str::from_utf8(id.as_bytes()).ok(),
        log_type: kind,
        random: u128::from(ringway_runtime::rand_u64()) << 64
            | u128::from(ringway_runtime::rand_u64()),
        ..LogContext::default()
    };
    for log in &session.proxy.plan.access_logs {
        link.shard.logs.log(log, &cx);
    }
    if kind == AccessLogType::TcpConnectionEnd {
        link.log(|listener| *listener = LogContext { log_type: AccessLogType::NotSet, ..cx });
    }
}

/// A format as the connection fills it before it has an upstream.
pub(super) fn format(session: &Session, format: &LogFormat, out: &mut Vec<u8>) {
    let cx = LogContext {
        start_unix_ns: session.record.start_unix,
        emit_unix_ns: ringway_runtime::unix_now().as_nanos() as u64,
        downstream: downstream(session),
        ..LogContext::default()
    };
    format.line(&cx, out);
}

fn attempt(tried: &super::session::Tried) -> Attempt<'_> {
    let host = tried.host.plan();
    Attempt {
        address: Address::from(&host.address),
        host_name: Some(&*host.info.hostname).filter(|name| !name.is_empty()),
        connection_id: tried.connection,
    }
}

fn timings(session: &Session, set_up: &SetUp) -> Timings {
    let opened = session.link.opened;
    let since = |at: ringway_runtime::Instant| (at - opened).as_nanos() as u64;
    let pool = match set_up.pool {
        (Some(began), Some(ready)) => Some((ready - began).as_nanos() as u64),
        _ => None,
    };
    Timings {
        upstream_connect_start: set_up.connect.map(|(start, _)| since(start)),
        upstream_connect_end: set_up.connect.map(|(_, end)| since(end)),
        complete: Some(since(ringway_runtime::now())),
        pool_ready: pool,
        ..Timings::default()
    }
}

fn downstream(session: &Session) -> Downstream<'_> {
    let (record, meta) = (&session.record, &session.link.meta);
    Downstream {
        local: Address::from(meta.local()),
        remote: Address::from(meta.remote()),
        direct_local: Address::from(meta.direct_local()),
        direct_remote: Address::from(meta.direct_remote()),
        connection_id: Some(meta.id),
        bytes: ByteMeter {
            wire_received: record.received,
            wire_sent: record.sent,
            ..ByteMeter::default()
        },
        server_name: meta.sni(),
        tls: session.down.tls().map(|tls| &**tls),
        local_close_reason: record.local_close,
        close_type: Some(record.close_type.as_str()),
        ..Downstream::default()
    }
}

fn upstream<'a>(
    record: &'a Record,
    set_up: &'a SetUp,
    attempts: &'a [Attempt<'a>],
) -> Upstream<'a> {
    let plan = record.cluster.as_ref().map(|cluster| cluster.plan());
    let host = record.host.as_ref().map(|host| host.plan());
    let address = host.map_or(Address::Unset, |host| Address::from(&host.address));
    Upstream {
        cluster: plan.map(|plan| &*plan.stat_name),
        cluster_raw: plan.map(|plan| &*plan.name),
        host: address,
        host_name: host.map(|host| &*host.info.hostname).filter(|name| !name.is_empty()),
        remote: if set_up.connect.is_some() { address } else { Address::Unset },
        local: set_up.upstream_local.map_or(Address::Unset, Address::Ip),
        connection_id: set_up.upstream_id,
        attempt_count: record.attempts,
        attempts,
        bytes: ByteMeter {
            wire_received: record.upstream_received,
            wire_sent: record.upstream_sent,
            ..ByteMeter::default()
        },
        tls: set_up.upstream_tls.as_deref(),
        transport_failure_reason: set_up.failure.as_deref(),
        local_close_reason: record.upstream_local_close,
        close_type: Some(record.upstream_close_type.as_str()),
        ..Upstream::default()
    }
}

impl CloseType {
    /// Envoy's name.
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::LocalReset => "LocalReset",
            Self::RemoteReset => "RemoteReset",
        }
    }
}
