//! Access logs: what is written per stream ([`LogFormat`]) and for which streams ([`LogFilter`]).
//! Opening, buffering and flushing files is the business of whoever owns the file.

mod entry;
mod filter;
pub(crate) mod otlp;
mod proto;

#[cfg(test)]
mod tests;

pub use entry::{Entry, EntryKind, Tag, TagValue};
pub use filter::{Comparison, HeaderCondition, LogFilter, Op, grpc_status_named};
pub use otlp::{Record, RecordValue};

pub(crate) use proto::field_head;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::format::{Format, FormatError, JsonFormat, LogContext};
use super::stats::GrpcAccessLogStats;
use crate::plan::source::GrpcService;

/// The line of an access log.
#[derive(Debug, Clone)]
pub enum LogFormat {
    /// Text; a line feed is part of the format.
    Text(Format),
    /// A JSON object per line.
    Json(JsonFormat),
    /// An entry for a gRPC access log service.
    Entry(Entry),
    /// A record for a service of OpenTelemetry.
    Record(Record),
}

impl LogFormat {
    /// Envoy's default format.
    ///
    /// # Errors
    /// None in practice; see [`Format::default_access_log`].
    pub fn default_format() -> Result<Self, FormatError> {
        Format::default_access_log().map(Self::Text)
    }

    /// Whether [`LogContext::random`] is printed.
    pub fn needs_random(&self) -> bool {
        match self {
            Self::Text(format) => format.needs_random(),
            Self::Json(format) => format.needs_random(),
            Self::Entry(_) => false,
            Self::Record(record) => record.needs_random(),
        }
    }

    /// Appends the line of one stream.
    pub fn line(&self, ctx: &LogContext<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Text(format) => format.eval(ctx, out),
            Self::Json(format) => format.eval(ctx, out),
            Self::Entry(entry) => entry.write(ctx, out),
            Self::Record(record) => record.write(ctx, out),
        }
    }
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// `envoy.access_loggers.file`.
    File(PathBuf),
    /// `envoy.access_loggers.stdout`.
    Stdout,
    /// `envoy.access_loggers.stderr`.
    Stderr,
    /// `envoy.access_loggers.http_grpc`, `envoy.access_loggers.tcp_grpc`,
    /// `envoy.access_loggers.open_telemetry`.
    Grpc(Arc<GrpcLog>),
}

/// `CommonGrpcAccessLogConfig`: where entries go, and in which portions.
#[derive(Debug, Clone)]
pub struct GrpcLog {
    /// `log_name`.
    pub log_name: Arc<str>,
    /// `grpc_service`.
    pub service: GrpcService,
    /// What the service speaks.
    pub protocol: GrpcProtocol,
    /// `buffer_flush_interval`, default 1 s.
    pub flush_interval: Duration,
    /// `buffer_size_bytes`, default 16 KiB; 0: every entry is sent at once.
    pub buffer_bytes: u32,
    /// `access_logs.grpc_access_log.*` or `access_logs.open_telemetry_access_log.*`.
    pub stats: GrpcAccessLogStats,
}

/// How entries are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrpcProtocol {
    /// On a stream of `AccessLogService`, in this field of `StreamAccessLogsMessage`
    /// ([`Entry::batch_field`]).
    Stream(u32),
    /// By calls of OpenTelemetry's `LogsService`.
    Export {
        /// `disable_builtin_labels` is false: the resource tells log and node.
        labels: bool,
        /// `resource_attributes`
        attributes: Vec<(Arc<str>, Arc<str>)>,
    },
}

impl PartialEq for GrpcLog {
    /// Statistics are the same for all.
    fn eq(&self, other: &Self) -> bool {
        let Self { service, log_name, protocol, flush_interval, buffer_bytes, stats: _ } = self;
        *service == other.service
            && *log_name == other.log_name
            && *protocol == other.protocol
            && *flush_interval == other.flush_interval
            && *buffer_bytes == other.buffer_bytes
    }
}

impl Eq for GrpcLog {}

/// One access log of a listener, a connection manager or a router.
#[derive(Debug, Clone)]
pub struct AccessLog {
    /// Where lines go.
    pub sink: Sink,
    /// What a line looks like.
    pub format: LogFormat,
    /// Which streams are logged; all if `None`.
    pub filter: Option<LogFilter>,
}

impl AccessLog {
    /// Appends the line of a stream, unless the filter leaves it out; whether it was appended.
    pub fn log(&self, ctx: &LogContext<'_>, out: &mut Vec<u8>) -> bool {
        let wanted = self.filter.as_ref().is_none_or(|filter| filter.matches(ctx));
        if wanted {
            self.format.line(ctx, out);
        }
        wanted
    }

    /// Whether [`LogContext::random`] is looked at, so that others need not draw bits.
    pub fn needs_random(&self) -> bool {
        self.format.needs_random() || self.filter.as_ref().is_some_and(LogFilter::needs_random)
    }
}
