//! What is remembered of a stream while it runs: times, sizes, flags, who served it.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::Instant;

use super::filter_state::FilterState;
use super::vet::Vetted;
use crate::transport::tls::TlsInfo;
use crate::upstream::{ShardCluster, ShardHost};

/// The record of one stream; reused for the next one on its connection.
#[derive(Default)]
pub(crate) struct Info {
    /// First byte of the request.
    pub start: Instant,
    /// Wall clock at `start`, since the epoch.
    pub start_unix: Duration,
    /// The request had been read to its end.
    pub request_end: Option<Instant>,
    /// First and last byte to the upstream (of the last attempt).
    pub upstream_tx: Option<(Instant, Instant)>,
    /// First and last byte from the upstream.
    pub upstream_rx: Option<(Instant, Instant)>,
    /// First and last byte to the client.
    pub downstream_tx: Option<(Instant, Instant)>,
    /// Status sent to the client; 0 when none was.
    pub code: u16,
    /// `%RESPONSE_FLAGS%`.
    pub flags: crate::observe::format::ResponseFlags,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: Cow<'static, str>,
    /// `%CONNECTION_TERMINATION_DETAILS%`.
    pub termination: Option<&'static str>,
    /// `%UPSTREAM_TRANSPORT_FAILURE_REASON%`.
    pub upstream_failure: Option<String>,
    /// Bytes of the request's head as received.
    pub request_head_bytes: u64,
    /// Body bytes received from the client.
    pub request_body_bytes: u64,
    /// Bytes of the response's head as sent.
    pub response_head_bytes: u64,
    /// Body bytes sent to the client.
    pub response_body_bytes: u64,
    /// Bytes on the wire to and from the upstream.
    pub upstream_wire: (u64, u64),
    /// Body bytes received from the upstream.
    pub upstream_body_bytes: u64,
    /// `:path` as it was before a rewrite.
    pub original_path: Option<Vec<u8>>,
    /// Name of the matched route.
    pub route_name: Option<std::sync::Arc<str>>,
    /// The cluster its route leads to.
    pub route_cluster: Option<Rc<ShardCluster>>,
    /// The cluster it went to.
    pub cluster: Option<Rc<ShardCluster>>,
    /// The host of the last attempt.
    pub host: Option<Rc<ShardHost>>,
    /// Our end of the upstream connection.
    pub upstream_local: Option<std::net::SocketAddr>,
    /// Facts of the TLS session of the upstream connection.
    pub upstream_tls: Option<Rc<TlsInfo>>,
    /// What is offered to the upstream over TLS in place of what its cluster says.
    pub alpn: Option<std::sync::Arc<[Box<[u8]>]>>,
    /// The upstream of the last attempt speaks HTTP/2.
    pub upstream_http2: bool,
    /// Requests sent to an upstream, the first included.
    pub attempts: u32,
    /// Who the client is.
    pub vetted: Option<Vetted>,
    /// When it is logged although it goes on (`access_log_flush_interval`).
    pub next_log: Option<Instant>,
    /// The answer was made here, not by an upstream.
    pub local_reply: bool,
    /// Its status before it was made to fit gRPC or was mapped: what the cluster is charged with.
    pub local_status: u16,
    /// Body of a local reply, for `%LOCAL_REPLY_BODY%`.
    pub local_body: Cow<'static, str>,
    /// What filters left on the stream.
    pub filter_state: FilterState,
    /// It is somebody's health check, which counts for nothing.
    pub health_check: bool,
    /// There was no request that could be read: logs have nothing of it.
    pub unread: bool,
    /// The response was complete.
    pub response_complete: bool,
}

impl Info {
    /// A fresh record.
    pub(crate) fn begin(now: Instant, unix: Duration) -> Self {
        Self { start: now, start_unix: unix, ..Self::default() }
    }

    pub(crate) fn sent_upstream(&mut self, now: Instant) {
        touch(&mut self.upstream_tx, now);
    }

    pub(crate) fn heard_upstream(&mut self, now: Instant) {
        touch(&mut self.upstream_rx, now);
    }

    pub(crate) fn sent_downstream(&mut self, now: Instant) {
        touch(&mut self.downstream_tx, now);
    }
}

fn touch(span: &mut Option<(Instant, Instant)>, now: Instant) {
    match span {
        Some((_, last)) => *last = now,
        None => *span = Some((now, now)),
    }
}
