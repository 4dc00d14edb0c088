//! `%GRPC_STATUS%`.

use ringway_wire::grpc::Status;

use super::context::LogContext;
use super::eval::Kind;
use super::op::GrpcFormat;
use super::write::number;

/// The number of a status by its name in snake case.
pub(crate) fn status_named(name: &str) -> Option<u64> {
    Status::named(name).map(|status| u64::from(status.0))
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
        code => Some(from_http(code)),
    }
}

/// The gRPC status an HTTP status stands for.
pub(crate) fn from_http(code: u16) -> u64 {
    u64::from(Status::of_http(code).0)
}

pub(super) fn write_status(ctx: &LogContext<'_>, format: GrpcFormat, out: &mut Vec<u8>) -> Kind {
    let Some(status) = status(ctx) else { return Kind::Absent };
    let known = u32::try_from(status).ok().map(Status);
    let names = known.and_then(|known| known.camel().zip(known.snake()));
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
