//! Envoy's substitution format strings: access logs, header formats, local reply bodies.
//!
//! [`Format::parse`] compiles a text once, with Envoy's grammar, argument rules and error texts;
//! [`Format::eval`] appends to a buffer of the caller and allocates nothing else. [`JsonFormat`]
//! is the same for structures.

mod context;
mod eval;
mod flags;
pub(crate) mod grpc;
mod json;
mod op;
mod params;
mod parse;
mod path;
mod state;
mod time;
mod tls;
pub(crate) mod write;
mod xfcc;
mod zone;

#[cfg(test)]
mod tests;

pub use context::{
    AccessLogType, Address, Attempt, ByteMeter, Downstream, HeaderSource, LogContext, Protocol,
    Timings, Upstream,
};
pub use flags::{ResponseFlag, ResponseFlags};
pub use json::JsonFormat;
pub use parse::{Extensions, FormatError};
pub use state::{StateSource, StateValue};

use eval::Kind;
use op::{Field, Op, Segment};

/// Envoy's default format of HTTP access logs.
pub const DEFAULT_FORMAT: &str = "[%START_TIME%] \"%REQ(:METHOD)% \
    %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% \
    %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \
    \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \
    \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

/// A compiled text format.
#[derive(Debug, Clone, PartialEq)]
pub struct Format {
    segments: Box<[Segment]>,
    omit_empty: bool,
}

impl Format {
    /// Compiles a format string; absent values print as `-`.
    ///
    /// # Errors
    /// What Envoy says for the same text.
    pub fn parse(format: &str) -> Result<Self, FormatError> {
        Self::parse_with(format, false, Extensions::default())
    }

    /// Compiles a format string with options: absent values print as nothing if
    /// `omit_empty_values`, and operators of extensions may be used.
    ///
    /// # Errors
    /// What Envoy says for the same text.
    pub fn parse_with(
        format: &str,
        omit_empty_values: bool,
        extensions: Extensions,
    ) -> Result<Self, FormatError> {
        let segments = parse::segments(format, extensions)?.into_boxed_slice();
        Ok(Self { segments, omit_empty: omit_empty_values })
    }

    /// The object of a key in the filter state, as JSON.
    pub fn filter_state(key: &str) -> Self {
        let op = Op::FilterState(key.into(), state::Serialize::Typed);
        Self { segments: Box::new([Segment { op, max: None }]), omit_empty: true }
    }

    /// [`DEFAULT_FORMAT`], compiled.
    ///
    /// # Errors
    /// None in practice; the type says it because it is compiled like any other.
    pub fn default_access_log() -> Result<Self, FormatError> {
        Self::parse(DEFAULT_FORMAT)
    }

    /// Appends the text.
    pub fn eval(&self, ctx: &LogContext<'_>, out: &mut Vec<u8>) {
        eval_all(&self.segments, ctx, self.omit_empty, out);
    }

    /// As [`Format::eval`], and whether any operator had a value: a header whose format has none
    /// is not added.
    pub fn eval_present(&self, ctx: &LogContext<'_>, out: &mut Vec<u8>) -> bool {
        eval_all(&self.segments, ctx, self.omit_empty, out)
    }

    /// The text itself, if there is nothing to evaluate in it: most header values.
    pub fn constant(&self) -> Option<&[u8]> {
        match &*self.segments {
            [Segment { op: Op::Text(text), .. }] => Some(text),
            _ => None,
        }
    }

    /// Whether evaluation uses [`LogContext::random`], so that others need not draw bits.
    pub fn needs_random(&self) -> bool {
        self.segments.iter().any(|segment| needs_random(&segment.op))
    }
}

fn needs_random(op: &Op) -> bool {
    match op {
        Op::Field(Field::UniqueId) => true,
        Op::Coalesce(segments) => segments.iter().any(|segment| needs_random(&segment.op)),
        _ => false,
    }
}

/// Appends all parts; whether any was there.
fn eval_all(
    segments: &[Segment],
    ctx: &LogContext<'_>,
    omit_empty: bool,
    out: &mut Vec<u8>,
) -> bool {
    let mut present = false;
    for segment in segments {
        let kind = segment.eval(ctx, out);
        if kind != Kind::Absent {
            present = true;
        } else if !omit_empty {
            out.push(b'-');
        }
    }
    present
}
