//! `%GRPC_STATUS%`.

use super::context::LogContext;
use super::eval::Kind;
use super::op::GrpcFormat;
use super::write::number;

/// The statuses in order of their numbers, in camel and snake case.
const STATUSES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

/// The number of a status by its name in snake case.
pub(crate) fn status_named(name: &str) -> Option<u64> {
    STATUSES.iter().position(|(_, snake)| *snake == name).map(|i| i as u64)
}

/// The gRPC status of a stream: of its trailers, else of its headers, else what its HTTP status
/// stands for. None for streams that are not gRPC.
pub(crate) fn status(ctx: &LogContext<'_>) -> Option<u64> {
    let content_type = ctx.request("content-type")?;
    let rest = content_type.strip_prefix(b"application/grpc")?;
    if !(rest.is_empty() || rest.starts_with(b"+") || rest.starts_with(b";")) {
        return None;
    }
    let given = ctx.trailer("grpc-status").or_else(|| ctx.response("grpc-status"));
    if let Some(text) = given {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    match ctx.response_code {
        0 => None,
        400 => Some(13),
        401 => Some(16),
        403 => Some(7),
        404 => Some(12),
        429 | 502 | 503 | 504 => Some(14),
        _ => Some(2),
    }
}

pub(super) fn write_status(ctx: &LogContext<'_>, format: GrpcFormat, out: &mut Vec<u8>) -> Kind {
    let Some(status) = status(ctx) else { return Kind::Absent };
    let names = usize::try_from(status).ok().and_then(|i| STATUSES.get(i));
    match (format, names) {
        (GrpcFormat::Camel, Some((camel, _))) => out.extend_from_slice(camel.as_bytes()),
        (GrpcFormat::Snake, Some((_, snake))) => out.extend_from_slice(snake.as_bytes()),
        (GrpcFormat::Number, _) => {
            number(status, out);
            return Kind::Number;
        }
        (_, None) => number(status, out),
    }
    Kind::Text
}
