//! Access logs: what is written per stream ([`LogFormat`]) and for which streams ([`LogFilter`]).
//! Opening, buffering and flushing files is the business of whoever owns the file.

mod filter;

#[cfg(test)]
mod tests;

pub use filter::{Comparison, LogFilter, Op, grpc_status_named};

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

    /// Appends the line of one stream.
    pub fn line(&self, ctx: &LogContext<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Text(format) => format.eval(ctx, out),
            Self::Json(format) => format.eval(ctx, out),
        }
    }
}
