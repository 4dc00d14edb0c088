//! `admin.access_log`: a line per request to a page.

use std::sync::Arc;

use ringway_runtime::{Instant, SockAddr, Stream, now, rand_u64, unix_now};
use ringway_wire::RequestHead;

use crate::observe::accesslog::AccessLog;
use crate::observe::format::{AccessLogType, Address, Downstream, LogContext, Protocol, Timings};
use crate::shard::logs::ShardLogs;

/// The logs of the admin listener and their files.
pub(super) struct Logs {
    logs: Vec<Arc<AccessLog>>,
    files: ShardLogs,
}

/// What a line tells of a request, besides its head.
pub(super) struct Line {
    /// When its first byte was read.
    pub(super) since: Instant,
    /// Bytes of its body.
    pub(super) received: u64,
    /// Status of the answer.
    pub(super) status: u16,
    /// Bytes of the answer's body.
    pub(super) sent: u64,
}

impl Logs {
    /// Opens the files when the first line comes.
    pub(super) fn new(logs: Vec<Arc<AccessLog>>, files: ShardLogs) -> Self {
        Self { logs, files }
    }

    /// Opens the files again.
    pub(super) fn reopen(&self) {
        self.files.reopen();
    }

    /// Writes the line of a request that has been answered.
    pub(super) fn write(&self, stream: &Stream, head: &RequestHead, line: &Line) {
        if self.logs.is_empty() {
            return;
        }
        let (local, remote) = (stream.local_addr().ok(), stream.peer_addr().ok());
        let took = (now() - line.since).as_nanos() as u64;
        let end = unix_now().as_nanos() as u64;
        let downstream = Downstream {
            local: address(local.as_ref()),
            remote: address(remote.as_ref()),
            direct_local: address(local.as_ref()),
            direct_remote: address(remote.as_ref()),
            ..Downstream::default()
        };
        let context = LogContext {
            request_headers: Some(head),
            start_unix_ns: end.saturating_sub(took),
            emit_unix_ns: end,
            timings: Timings {
                downstream_rx_end: Some(0),
                downstream_tx_end: Some(took),
                complete: Some(took),
                ..Timings::default()
            },
            protocol: Some(Protocol::Http11),
            response_code: line.status,
            bytes_received: line.received,
            bytes_sent: line.sent,
            request_header_bytes: head.byte_size() as u64,
            downstream,
            log_type: AccessLogType::DownstreamEnd,
            random: u128::from(rand_u64()) << 64 | u128::from(rand_u64()),
            ..LogContext::default()
        };
        for log in &self.logs {
            self.files.log(log, &context);
        }
    }
}

fn address(address: Option<&SockAddr>) -> Address<'_> {
    match address {
        Some(SockAddr::Inet(ip)) => Address::Ip(*ip),
        _ => Address::default(),
    }
}
