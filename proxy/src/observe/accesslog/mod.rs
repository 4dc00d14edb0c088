//! Access logs: what is written per stream ([`LogFormat`]) and for which streams ([`LogFilter`]).
//! Opening, buffering and flushing files is the business of whoever owns the file.

mod filter;

#[cfg(test)]
mod tests;

pub use filter::{Comparison, HeaderCondition, LogFilter, Op, grpc_status_named};

use std::path::PathBuf;

use super::format::{Format, FormatError, JsonFormat, LogContext};

/// The line of an access log.
#[derive(Debug, Clone)]
pub enum LogFormat {
    /// Text; a line feed is part of the format.
    Text(Format),
    /// A JSON object per line.
    Json(JsonFormat),
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
        }
    }

    /// Appends the line of one stream.
    pub fn line(&self, ctx: &LogContext<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Text(format) => format.eval(ctx, out),
            Self::Json(format) => format.eval(ctx, out),
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
}

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
