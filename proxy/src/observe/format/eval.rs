//! Operators → text.

use super::context::{Address, ByteMeter, LogContext};
use super::op::{AddressPart, Field, Moment, Op, Point, Segment, ServerName, Side, Which};
use super::write::{number, uuid};
use super::{grpc, path, xfcc};

/// What an operator appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing: there is no value.
    Absent,
    /// A text (possibly empty).
    Text,
    /// A number, which JSON keeps as one.
    Number,
}

impl Segment {
    /// Appends the value.
    pub(super) fn eval(&self, ctx: &LogContext<'_>, out: &mut Vec<u8>) -> Kind {
        let start = out.len();
        let kind = self.op.eval(ctx, out);
        if let Some(max) = self.max {
            out.truncate(start.saturating_add(max).max(start).min(out.len()));
        }
        kind
    }
}

impl Segment {
    /// As [`Segment::eval`], where the value is one of a JSON log.
    pub(super) fn eval_json(&self, ctx: &LogContext<'_>, out: &mut Vec<u8>) -> Kind {
        match &self.op {
            Op::FilterState(key, how) if self.max.is_none() => {
                super::state::write(key, *how, true, ctx, out)
            }
            _ => self.eval(ctx, out),
        }
    }
}

impl Op {
    fn eval(&self, ctx: &LogContext<'_>, out: &mut Vec<u8>) -> Kind {
        match self {
            Self::Text(text) | Self::Constant(text) => {
                out.extend_from_slice(text);
                Kind::Text
            }
            Self::Header(side, name) => {
                let get = |name: &str| match side {
                    Side::Request => ctx.request(name),
                    Side::Response => ctx.response(name),
                    Side::Trailer => ctx.trailer(name),
                };
                bytes(get(&name.main).or_else(|| get(name.alternative.as_deref()?)), out)
            }
            Self::HeaderWithoutQuery(name) => {
                let value = ctx.request(&name.main);
                let value = value.or_else(|| ctx.request(name.alternative.as_deref()?));
                bytes(value.map(path::without_query), out)
            }
            Self::Time(moment, format) => {
                let time = match moment {
                    Moment::Start => ctx.start_unix_ns,
                    Moment::Emit => ctx.emit_unix_ns,
                };
                format.write(time, out);
                Kind::Text
            }
            Self::Path { source, query } => path::write_path(ctx, *source, *query, out),
            Self::QueryParam(name) => path::write_param(ctx, name, out),
            Self::QueryParams { decoded } => path::write_params(ctx, *decoded, out),
            Self::Duration { from, to, ns_per_unit } => {
                let length = at(ctx, *to).zip(at(ctx, *from)).and_then(|(b, a)| b.checked_sub(a));
                maybe(length.map(|ns| ns / ns_per_unit), out)
            }
            Self::Address(which, part) => write_address(address(ctx, *which), *part, out),
            Self::Grpc(format) => grpc::write_status(ctx, *format, out),
            Self::ServerName(prefer, host) => {
                let sni = ctx.downstream.server_name.map(str::as_bytes);
                let host = || path::host(ctx, *host);
                let name = match prefer {
                    ServerName::SniOnly => sni,
                    ServerName::SniFirst => sni.or_else(host),
                    ServerName::HostFirst => host().or(sni),
                };
                bytes(name, out)
            }
            Self::ResponseCodeDetails { whitespace } => {
                underscored(ctx.response_code_details, !whitespace, out)
            }
            Self::Attempted { names, port } => write_attempts(ctx, *names, *port, out),
            Self::Xfcc(key) => match ctx.request("x-forwarded-client-cert") {
                Some(header) => xfcc::write_value(header, key, out),
                None => Kind::Absent,
            },
            Self::Tls(end, fact) => fact.eval(*end, ctx, out),
            Self::Coalesce(segments) => {
                let values = segments.iter().map(|segment| segment.eval(ctx, out));
                values.into_iter().find(|kind| *kind != Kind::Absent).unwrap_or(Kind::Absent)
            }
            Self::Field(field) => field.eval(ctx, out),
            Self::FilterState(key, how) => super::state::write(key, *how, false, ctx, out),
            Self::Absent => Kind::Absent,
        }
    }
}

impl Field {
    fn eval(self, ctx: &LogContext<'_>, out: &mut Vec<u8>) -> Kind {
        match self {
            Self::AccessLogType => text(Some(ctx.log_type.as_str()), out),
            Self::BytesReceived => count(ctx.bytes_received, out),
            Self::BytesSent => count(ctx.bytes_sent, out),
            Self::ConnectionId => maybe(ctx.downstream.connection_id, out),
            Self::ConnectionTerminationDetails => text(ctx.connection_termination_details, out),
            Self::CustomFlags => Kind::Text,
            Self::DownstreamCloseType => text(ctx.downstream.close_type, out),
            Self::DownstreamHandshake => {
                maybe(ctx.timings.downstream_handshake.map(|ns| ns / 1_000_000), out)
            }
            Self::DownstreamLocalCloseReason => text(ctx.downstream.local_close_reason, out),
            Self::DownstreamTransportFailure => {
                underscored(ctx.downstream.transport_failure_reason, true, out)
            }
            Self::Duration => maybe(ctx.timings.complete.map(|ns| ns / 1_000_000), out),
            Self::FilterChainName => name(ctx.filter_chain_name, out),
            Self::LocalReplyBody => text(Some(ctx.local_reply_body), out),
            Self::PoolReady => maybe(ctx.timings.pool_ready.map(|ns| ns / 1_000_000), out),
            Self::Protocol => text(ctx.protocol.map(|p| p.as_str()), out),
            Self::RequestHeaderBytes => count(ctx.request_header_bytes, out),
            Self::ResponseCode => count(ctx.response_code.into(), out),
            Self::ResponseFlags | Self::ResponseFlagsLong => {
                ctx.flags.write(self == Self::ResponseFlagsLong, out);
                Kind::Text
            }
            Self::ResponseHeaderBytes => count(ctx.response_header_bytes, out),
            Self::ResponseTrailerBytes => count(ctx.response_trailer_bytes, out),
            Self::RouteName => name(ctx.route_name, out),
            Self::SpanId => name(ctx.span_id, out),
            Self::StreamId => text(ctx.stream_id, out),
            Self::TraceId => name(ctx.trace_id, out),
            Self::UniqueId => {
                uuid(ctx.random, out);
                Kind::Text
            }
            Self::VirtualClusterName => name(ctx.virtual_cluster_name, out),
            Self::Zero => count(0, out),
            _ => self.of_upstream(ctx, out),
        }
    }

    fn of_upstream(self, ctx: &LogContext<'_>, out: &mut Vec<u8>) -> Kind {
        let upstream = &ctx.upstream;
        match self {
            Self::UpstreamAttemptCount => count(upstream.attempt_count.into(), out),
            Self::UpstreamCloseType => text(upstream.close_type, out),
            Self::UpstreamCluster => text(upstream.cluster, out),
            Self::UpstreamClusterRaw => text(upstream.cluster_raw, out),
            Self::UpstreamConnectionId => count(upstream.connection_id, out),
            Self::UpstreamConnectionIdsAttempted => {
                let ids = upstream.attempts.iter().filter_map(|a| a.connection_id);
                list(ids, out, number)
            }
            Self::UpstreamHost => write_address(upstream.host, AddressPart::Whole, out),
            Self::UpstreamHostName | Self::UpstreamHostNameWithoutPort => {
                let port = self == Self::UpstreamHostName;
                host_name(upstream.host_name, upstream.host, port, out)
            }
            Self::UpstreamLocalCloseReason => text(upstream.local_close_reason, out),
            Self::UpstreamServerName => {
                name(ctx.upstream.tls.and_then(|tls| tls.sni.as_deref()), out)
            }
            Self::UpstreamProtocol => text(upstream.protocol.map(|p| p.as_str()), out),
            Self::UpstreamTransportFailure => {
                underscored(upstream.transport_failure_reason, true, out)
            }
            _ => self.meter(&ctx.downstream.bytes, &upstream.bytes, out),
        }
    }

    fn meter(self, down: &ByteMeter, up: &ByteMeter, out: &mut Vec<u8>) -> Kind {
        let n = match self {
            Self::DownstreamDecompressedHeaderReceived => down.decompressed_header_received,
            Self::DownstreamDecompressedHeaderSent => down.decompressed_header_sent,
            Self::DownstreamHeaderReceived => down.header_received,
            Self::DownstreamHeaderSent => down.header_sent,
            Self::DownstreamWireReceived => down.wire_received,
            Self::DownstreamWireSent => down.wire_sent,
            Self::UpstreamDecompressedHeaderReceived => up.decompressed_header_received,
            Self::UpstreamDecompressedHeaderSent => up.decompressed_header_sent,
            Self::UpstreamHeaderReceived => up.header_received,
            Self::UpstreamHeaderSent => up.header_sent,
            Self::UpstreamWireReceived => up.wire_received,
            Self::UpstreamWireSent => up.wire_sent,
            _ => return Kind::Absent,
        };
        count(n, out)
    }
}

fn text(value: Option<&str>, out: &mut Vec<u8>) -> Kind {
    bytes(value.map(str::as_bytes), out)
}

/// A name that is absent when empty.
fn name(value: Option<&str>, out: &mut Vec<u8>) -> Kind {
    text(value.filter(|name| !name.is_empty()), out)
}

pub(super) fn bytes(value: Option<&[u8]>, out: &mut Vec<u8>) -> Kind {
    let Some(value) = value else { return Kind::Absent };
    out.extend_from_slice(value);
    Kind::Text
}

fn count(n: u64, out: &mut Vec<u8>) -> Kind {
    number(n, out);
    Kind::Number
}

fn maybe(n: Option<u64>, out: &mut Vec<u8>) -> Kind {
    n.map_or(Kind::Absent, |n| count(n, out))
}

/// A text whose spaces would break the columns of a log.
fn underscored(value: Option<&str>, replace: bool, out: &mut Vec<u8>) -> Kind {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Kind::Absent };
    let space = |b: u8| if replace && b.is_ascii_whitespace() { b'_' } else { b };
    out.extend(value.bytes().map(space));
    Kind::Text
}

fn at(ctx: &LogContext<'_>, point: Point) -> Option<u64> {
    let t = &ctx.timings;
    match point {
        Point::DownstreamRxBegin => Some(0),
        Point::DownstreamRxEnd => t.downstream_rx_end,
        Point::ConnectStart => t.upstream_connect_start,
        Point::ConnectEnd => t.upstream_connect_end,
        Point::HandshakeEnd => t.upstream_handshake_end,
        Point::UpstreamTxBegin => t.upstream_tx_begin,
        Point::UpstreamTxEnd => t.upstream_tx_end,
        Point::UpstreamRxBegin => t.upstream_rx_begin,
        Point::UpstreamRxEnd => t.upstream_rx_end,
        Point::DownstreamTxBegin => t.downstream_tx_begin,
        Point::DownstreamTxEnd => t.downstream_tx_end,
        Point::Never => None,
    }
}

fn address<'a>(ctx: &LogContext<'a>, which: Which) -> Address<'a> {
    match which {
        Which::DownstreamLocal => ctx.downstream.local,
        Which::DownstreamRemote => ctx.downstream.remote,
        Which::DownstreamDirectLocal => ctx.downstream.direct_local,
        Which::DownstreamDirectRemote => ctx.downstream.direct_remote,
        Which::UpstreamLocal => ctx.upstream.local,
        Which::UpstreamRemote => ctx.upstream.remote,
    }
}

fn write_address(address: Address<'_>, part: AddressPart, out: &mut Vec<u8>) -> Kind {
    let written = match part {
        AddressPart::Whole => address.write(out),
        AddressPart::WithoutPort(None) => address.write_without_port(out),
        AddressPart::WithoutPort(Some(len)) => match address.ip() {
            Some(ip) => return path::write_network(ip, len, out),
            None => return Kind::Absent,
        },
        AddressPart::Port => match address {
            Address::Ip(ip) => return count(ip.port().into(), out),
            _ => return Kind::Absent,
        },
        // Addresses of internal listeners have one; sockets have an empty one.
        AddressPart::EndpointId => address != Address::Unset,
    };
    if written { Kind::Text } else { Kind::Absent }
}

/// The host's name, or its address where it has none.
fn host_name(name: Option<&str>, host: Address<'_>, port: bool, out: &mut Vec<u8>) -> Kind {
    match name.filter(|name| !name.is_empty()) {
        Some(name) if !port => bytes(Some(path::without_port(name.as_bytes())), out),
        Some(name) => bytes(Some(name.as_bytes()), out),
        None if port => write_address(host, AddressPart::Whole, out),
        None => write_address(host, AddressPart::WithoutPort(None), out),
    }
}

fn write_attempts(ctx: &LogContext<'_>, names: bool, port: bool, out: &mut Vec<u8>) -> Kind {
    let part = if port { AddressPart::Whole } else { AddressPart::WithoutPort(None) };
    list(ctx.upstream.attempts.iter(), out, |attempt, out| {
        let name = attempt.host_name.filter(|_| names);
        if names {
            host_name(name, attempt.address, port, out);
        } else {
            write_address(attempt.address, part, out);
        }
    })
}

fn list<T>(
    items: impl Iterator<Item = T>,
    out: &mut Vec<u8>,
    mut write: impl FnMut(T, &mut Vec<u8>),
) -> Kind {
    let mut kind = Kind::Absent;
    for item in items {
        if kind == Kind::Text {
            out.push(b',');
        }
        kind = Kind::Text;
        write(item, out);
    }
    kind
}
