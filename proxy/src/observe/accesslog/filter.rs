//! Filters of access logs, compiled.

use std::fmt::Debug;
use std::sync::Arc;

use crate::observe::format::{AccessLogType, HeaderSource, LogContext, ResponseFlags, grpc};

/// A compiled condition on headers: the router's own matcher, so that both agree.
pub trait HeaderCondition: Debug + Send + Sync {
    /// Whether these headers meet it.
    fn holds(&self, headers: &dyn HeaderSource) -> bool;
}

/// How a number is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Equal.
    Eq,
    /// Greater or equal.
    Ge,
    /// Less or equal.
    Le,
    /// Not equal.
    Ne,
}

/// A comparison with a number, which a runtime key may have replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// How.
    pub op: Op,
    /// With what.
    pub value: u64,
}

impl Comparison {
    /// Whether `actual op value` holds.
    pub fn holds(self, actual: u64) -> bool {
        match self.op {
            Op::Eq => actual == self.value,
            Op::Ge => actual >= self.value,
            Op::Le => actual <= self.value,
            Op::Ne => actual != self.value,
        }
    }
}

/// Decides whether a stream is logged (`envoy.config.accesslog.v3.AccessLogFilter`).
#[derive(Debug, Clone)]
pub enum LogFilter {
    /// By response code; a stream without one counts as 0.
    StatusCode(Comparison),
    /// By duration in ms.
    Duration(Comparison),
    /// All but health checks.
    NotHealthCheck,
    /// Traced streams.
    Traceable,
    /// A random share: `numerator` of `denominator`.
    RuntimeFraction {
        /// Share that is logged.
        numerator: u32,
        /// 100, 10,000 or 1,000,000.
        denominator: u32,
        /// Draw anew, where otherwise the request id decides (alike in all proxies on the way).
        independent_randomness: bool,
    },
    /// All of these.
    And(Box<[Self]>),
    /// Any of these.
    Or(Box<[Self]>),
    /// By a request header.
    Header(Arc<dyn HeaderCondition>),
    /// Any of these flags, or any flag at all if there are none.
    ResponseFlag(ResponseFlags),
    /// By gRPC status.
    GrpcStatus {
        /// Bit `n` stands for status `n`.
        statuses: u32,
        /// Log all others instead.
        exclude: bool,
    },
    /// By the kind of log line.
    LogType {
        /// The kinds.
        types: Box<[AccessLogType]>,
        /// Log all others instead.
        exclude: bool,
    },
}

impl LogFilter {
    /// Whether the stream is logged.
    pub fn matches(&self, ctx: &LogContext<'_>) -> bool {
        match self {
            Self::StatusCode(comparison) => comparison.holds(ctx.response_code.into()),
            Self::Duration(comparison) => {
                let duration = ctx.timings.complete;
                duration.is_some_and(|ns| comparison.holds(ns / 1_000_000))
            }
            Self::NotHealthCheck => !ctx.health_check,
            Self::Traceable => ctx.traced,
            Self::RuntimeFraction { numerator, denominator, independent_randomness } => {
                let draw = match request_draw(ctx).filter(|_| !independent_randomness) {
                    Some(draw) => draw,
                    None => (ctx.random >> 64) as u64,
                };
                draw % u64::from((*denominator).max(1)) < u64::from(*numerator)
            }
            Self::And(filters) => filters.iter().all(|filter| filter.matches(ctx)),
            Self::Or(filters) => filters.iter().any(|filter| filter.matches(ctx)),
            Self::Header(matcher) => matcher.holds(ctx.request_headers.unwrap_or(&NO_HEADERS)),
            Self::ResponseFlag(flags) if flags.is_empty() => !ctx.flags.is_empty(),
            Self::ResponseFlag(flags) => ctx.flags.intersects(*flags),
            Self::GrpcStatus { statuses, exclude } => {
                let status =
                    grpc::status(ctx).unwrap_or_else(|| grpc::from_http(ctx.response_code));
                let listed = status < 32 && statuses & (1 << status) != 0;
                listed != *exclude
            }
            Self::LogType { types, exclude } => types.contains(&ctx.log_type) != *exclude,
        }
    }

    /// Whether the filter draws random bits, so that others need not provide any.
    pub fn needs_random(&self) -> bool {
        match self {
            Self::RuntimeFraction { .. } => true,
            Self::And(filters) | Self::Or(filters) => filters.iter().any(Self::needs_random),
            _ => false,
        }
    }
}

const NO_HEADERS: [(&str, &str); 0] = [];

/// What Envoy draws from a request id: the first eight hex digits, so that every proxy on the way
/// decides alike.
fn request_draw(ctx: &LogContext<'_>) -> Option<u64> {
    let id = ctx.stream_id?.get(..8)?;
    u64::from_str_radix(id, 16).ok()
}

/// The number of a gRPC status by its name in Envoy's configuration (`CANCELED` has one L there).
pub fn grpc_status_named(name: &str) -> Option<u64> {
    match name {
        "CANCELED" => Some(1),
        name => grpc::status_named(name),
    }
}
