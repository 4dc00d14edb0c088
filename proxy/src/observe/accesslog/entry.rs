//! Entries of the gRPC access log service: `HTTPAccessLogEntry` and `TCPAccessLogEntry`
//! (envoy/data/accesslog/v3), written from the same view of a stream that format strings read.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use prost::Message;

use super::proto::Fields;
use crate::observe::format::{
    AccessLogType, Address, Downstream, HeaderSource, LogContext, Protocol, ResponseFlag,
    StateValue, Upstream,
};
use crate::plan::certificate::Certificate;
use crate::plan::tls::names;
use crate::transport::tls::TlsInfo;

/// What an entry tells besides what every entry does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// What kind of entry.
    pub kind: EntryKind,
    /// `custom_tags`.
    pub tags: Vec<Tag>,
    /// `filter_state_objects_to_log`.
    pub filter_state: Vec<Arc<str>>,
}

/// What is logged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum EntryKind {
    /// A connection.
    #[default]
    Tcp,
    /// A request.
    Http {
        /// `additional_request_headers_to_log` (lower case).
        request_headers: Vec<Arc<str>>,
        /// `additional_response_headers_to_log` (lower case).
        response_headers: Vec<Arc<str>>,
        /// `additional_response_trailers_to_log` (lower case).
        response_trailers: Vec<Arc<str>>,
    },
}

/// One of `custom_tags`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// `tag`: its name.
    pub name: Arc<str>,
    /// Where its value comes from.
    pub value: TagValue,
}

/// Where the value of a tag comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagValue {
    /// `literal`, or what `environment` came to.
    Literal(Arc<str>),
    /// `request_header`: the first value of a header (lower case), or a default.
    RequestHeader {
        /// `name`
        name: Arc<str>,
        /// `default_value`; without one a missing header leaves the tag out.
        default: Arc<str>,
    },
}

impl Entry {
    /// Field of `StreamAccessLogsMessage` that holds a batch of such entries.
    pub fn batch_field(&self) -> u32 {
        match self.kind {
            EntryKind::Http { .. } => 2,
            EntryKind::Tcp => 3,
        }
    }

    /// Appends the stream as a `log_entry` of a batch.
    pub fn write(&self, cx: &LogContext<'_>, out: &mut Vec<u8>) {
        Fields(out).message(1, |entry| match &self.kind {
            EntryKind::Tcp => {
                entry.message(1, |common| self.common(cx, common));
                entry.message(2, |bytes| {
                    bytes.number(1, cx.bytes_received);
                    bytes.number(2, cx.bytes_sent);
                });
            }
            EntryKind::Http { request_headers, response_headers, response_trailers } => {
                entry.message(1, |common| self.common(cx, common));
                entry.number(2, cx.protocol.map_or(0, version));
                entry.message(3, |out| request(cx, request_headers, out));
                entry.message(4, |out| response(cx, response_headers, response_trailers, out));
            }
        });
    }

    /// `AccessLogCommon`.
    fn common(&self, cx: &LogContext<'_>, out: &mut Fields<'_>) {
        let LogContext { downstream, upstream, timings, .. } = cx;
        address(2, downstream.remote, out);
        address(3, downstream.local, out);
        if let Some(tls) = downstream.tls {
            out.message(4, |out| tls_properties(tls, downstream, out));
        }
        out.nanoseconds(5, cx.start_unix_ns);
        let points = [
            (6, timings.downstream_rx_end),
            (7, timings.upstream_tx_begin),
            (8, timings.upstream_tx_end),
            (9, timings.upstream_rx_begin),
            (10, timings.upstream_rx_end),
            (11, timings.downstream_tx_begin),
            (12, timings.downstream_tx_end),
        ];
        for (field, point) in points {
            if let Some(point) = point {
                out.nanoseconds(field, point);
            }
        }
        self.upstream(upstream, out);
        if !cx.flags.is_empty() {
            out.message(16, |out| flags(cx, out));
        }
        out.text(18, upstream.transport_failure_reason.unwrap_or_default());
        out.text(19, cx.route_name.unwrap_or_default());
        address(20, downstream.direct_remote, out);
        self.objects(cx, out);
        for Tag { name, value } in &self.tags {
            match value {
                TagValue::Literal(value) => out.entry(22, name, value.as_bytes()),
                TagValue::RequestHeader { name: header, default } => {
                    let value = cx.request_headers.and_then(|headers| headers.get(header));
                    let value = value.unwrap_or(default.as_bytes());
                    if !value.is_empty() {
                        out.entry(22, name, value);
                    }
                }
            }
        }
        let over = cx.log_type != AccessLogType::NotSet && !is_intermediate(cx.log_type);
        if let Some(complete) = timings.complete.filter(|_| over) {
            out.nanoseconds(23, complete);
        }
        out.number(24, u64::from(upstream.attempt_count));
        out.text(25, cx.connection_termination_details.unwrap_or_default());
        out.text(26, cx.stream_id.unwrap_or_default());
        out.flag(27, is_intermediate(cx.log_type));
        out.text(28, downstream.transport_failure_reason.unwrap_or_default());
        out.number(29, downstream.bytes.wire_sent);
        out.number(30, downstream.bytes.wire_received);
        out.number(31, upstream.bytes.wire_sent);
        out.number(32, upstream.bytes.wire_received);
        out.number(33, log_type(cx.log_type));
    }

    fn upstream(&self, upstream: &Upstream<'_>, out: &mut Fields<'_>) {
        let remote = match upstream.remote {
            Address::Unset => upstream.host,
            remote => remote,
        };
        address(13, remote, out);
        address(14, upstream.local, out);
        out.text(15, upstream.cluster.unwrap_or_default());
    }

    /// `filter_state_objects`: each as the message it is in Envoy.
    fn objects(&self, cx: &LogContext<'_>, out: &mut Fields<'_>) {
        const STRING: &str = "type.googleapis.com/google.protobuf.StringValue";
        const STRUCT: &str = "type.googleapis.com/google.protobuf.Struct";
        const GRPC_STATS: &str =
            "type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterObject";
        for key in &self.filter_state {
            let Some(value) = cx.filter_state.and_then(|state| state.state(key)) else { continue };
            out.message(21, |entry| {
                entry.text(1, key);
                entry.message(2, |any| match value {
                    StateValue::Text(text) => {
                        any.text(1, STRING);
                        any.message(2, |string| string.lossy(1, text));
                    }
                    StateValue::Workload(workload) => {
                        any.text(1, STRUCT);
                        any.bytes(2, &workload.to_state().encode_to_vec());
                    }
                    StateValue::GrpcStats { requests, responses } => {
                        any.text(1, GRPC_STATS);
                        any.message(2, |object| {
                            object.number(1, requests);
                            object.number(2, responses);
                        });
                    }
                });
            });
        }
    }
}

/// The stream goes on after this entry.
fn is_intermediate(kind: AccessLogType) -> bool {
    use AccessLogType as Kind;
    !matches!(kind, Kind::NotSet | Kind::TcpConnectionEnd | Kind::DownstreamEnd | Kind::UpstreamEnd)
}

/// The number of an `AccessLogType`.
fn log_type(kind: AccessLogType) -> u64 {
    use AccessLogType as Kind;
    match kind {
        Kind::NotSet => 0,
        Kind::TcpUpstreamConnected => 1,
        Kind::TcpPeriodic => 2,
        Kind::TcpConnectionEnd => 3,
        Kind::DownstreamStart => 4,
        Kind::DownstreamPeriodic => 5,
        Kind::DownstreamEnd => 6,
        Kind::UpstreamPoolReady => 7,
        Kind::UpstreamPeriodic => 8,
        Kind::UpstreamEnd => 9,
        Kind::DownstreamTunnelSuccessfullyEstablished => 10,
        Kind::TcpConnectionStart => 14,
    }
}

/// `HTTPVersion`.
fn version(protocol: Protocol) -> u64 {
    match protocol {
        Protocol::Http10 => 1,
        Protocol::Http11 => 2,
        Protocol::Http2 => 3,
        Protocol::Http3 => 4,
    }
}

/// A `core.v3.Address`.
fn address(field: u32, address: Address<'_>, out: &mut Fields<'_>) {
    match address {
        Address::Unset => {}
        Address::Ip(ip) => out.message(field, |address| {
            address.message(1, |socket| {
                socket.text(2, &ip.ip().to_string());
                // Of a oneof: told even where it is 0.
                socket.chosen_number(3, u64::from(ip.port()));
            });
        }),
        Address::Pipe(path) => {
            out.message(field, |address| address.message(2, |pipe| pipe.text(1, path)));
        }
    }
}

/// `ResponseFlags`: its fields are in the order of the flags, but for the last ones.
fn flags(cx: &LogContext<'_>, out: &mut Fields<'_>) {
    for flag in ResponseFlag::ALL {
        if !cx.flags.contains(*flag) {
            continue;
        }
        match flag {
            // `unauthorized_details`, whose only reason is EXTERNAL_SERVICE.
            ResponseFlag::UnauthorizedExternalService => {
                out.message(13, |details| details.number(1, 1));
            }
            ResponseFlag::DownstreamRemoteReset => out.flag(28, true),
            // Newer than the message.
            ResponseFlag::DropOverload | ResponseFlag::UnconditionalDropOverload => {}
            other => out.flag(*other as u32 + 1, true),
        }
    }
}

/// `HTTPRequestProperties`.
fn request(cx: &LogContext<'_>, wanted: &[Arc<str>], out: &mut Fields<'_>) {
    if let Some(headers) = cx.request_headers {
        let get = |name: &str| headers.get(name).unwrap_or_default();
        out.number(1, method(get(":method")));
        let scheme: &[u8] = match (get(":scheme"), cx.downstream.tls) {
            (b"", Some(_)) => b"https",
            (b"", None) => b"http",
            (scheme, _) => scheme,
        };
        out.lossy(2, scheme);
        out.lossy(3, get(":authority"));
        out.lossy(5, get(":path"));
        out.lossy(6, get("user-agent"));
        out.lossy(7, get("referer"));
        out.lossy(8, get("x-forwarded-for"));
        out.lossy(9, get("x-request-id"));
        out.lossy(10, get("x-envoy-original-path"));
        out.number(11, cx.request_header_bytes);
        out.number(12, cx.bytes_received);
        named(13, headers, wanted, out);
    }
    out.number(14, cx.upstream.bytes.header_sent);
    out.number(15, cx.downstream.bytes.header_received);
}

/// `HTTPResponseProperties`.
fn response(
    cx: &LogContext<'_>,
    wanted: &[Arc<str>],
    wanted_trailers: &[Arc<str>],
    out: &mut Fields<'_>,
) {
    if cx.response_code != 0 {
        out.wrapped(1, u64::from(cx.response_code));
    }
    out.number(2, cx.response_header_bytes);
    out.number(3, cx.bytes_sent);
    if let Some(headers) = cx.response_headers {
        named(4, headers, wanted, out);
    }
    if let Some(trailers) = cx.response_trailers {
        named(5, trailers, wanted_trailers, out);
    }
    out.text(6, cx.response_code_details.unwrap_or_default());
    out.number(7, cx.upstream.bytes.header_received);
    out.number(8, cx.downstream.bytes.header_sent);
}

/// Those of the wanted headers that are there, lines of one name joined by a comma.
fn named(field: u32, headers: &dyn HeaderSource, wanted: &[Arc<str>], out: &mut Fields<'_>) {
    for name in wanted {
        let mut value: Option<Vec<u8>> = None;
        headers.each(name, &mut |line| match &mut value {
            None => value = Some(line.to_vec()),
            Some(value) => {
                value.push(b',');
                value.extend_from_slice(line);
            }
        });
        if let Some(value) = value {
            out.entry(field, name, &value);
        }
    }
}

/// `RequestMethod`; 0 for a method without a number.
fn method(name: &[u8]) -> u64 {
    const NAMES: [&[u8]; 9] =
        [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];
    NAMES.iter().position(|known| *known == name).map_or(0, |at| at as u64 + 1)
}

/// `TLSProperties`.
fn tls_properties(tls: &TlsInfo, downstream: &Downstream<'_>, out: &mut Fields<'_>) {
    out.number(1, if tls.version == "TLSv1.3" { 4 } else { 3 });
    if let Some(suite) = names::suite_number(tls.cipher) {
        out.wrapped(2, u64::from(suite));
    }
    out.text(3, downstream.server_name.unwrap_or_default());
    if let Some(local) = &tls.local {
        out.message(4, |out| certificate(local, false, out));
    }
    if let Some(peer) = tls.peer() {
        out.message(5, |out| certificate(peer, true, out));
    }
}

/// `CertificateProperties`; only the peer's tells its issuer.
fn certificate(certificate: &Certificate, issuer: bool, out: &mut Fields<'_>) {
    for uri in certificate.uri_sans() {
        out.message(1, |san| san.text(1, uri));
    }
    out.text(2, &certificate.subject);
    if issuer {
        out.text(3, &certificate.issuer);
    }
}
