//! What is special about single header fields.

pub(crate) use super::lines::Side;
use crate::names::KnownName;

/// Fields that frame, route or authenticate a message mean nothing after its body and are dropped
/// there (RFC 9110 section 6.5.1).
pub(crate) fn may_be_trailer(known: KnownName) -> bool {
    !matches!(
        known,
        KnownName::Host
            | KnownName::ContentLength
            | KnownName::TransferEncoding
            | KnownName::Connection
            | KnownName::KeepAlive
            | KnownName::ProxyConnection
            | KnownName::Te
            | KnownName::Trailer
            | KnownName::Upgrade
            | KnownName::Authorization
            | KnownName::ProxyAuthorization
            | KnownName::Cookie
            | KnownName::SetCookie
            | KnownName::ContentEncoding
            | KnownName::ContentType
            | KnownName::Range
            | KnownName::Expect
            | KnownName::CacheControl
    ) && !known.as_str().starts_with("x-envoy-")
        && !known.as_str().starts_with("x-forwarded-")
}

/// Whether Envoy joins several lines of this name into one, with a comma: the headers its maps
/// keep in fixed slots, which differ between requests and responses. What reads one of them then
/// sees every line, so that a second line cannot hide from a check. Found by asking Envoy 1.40.
pub(crate) fn is_joined(known: KnownName, side: Side) -> bool {
    use KnownName as K;
    let in_both = matches!(
        known,
        K::CacheControl
            | K::Connection
            | K::ContentEncoding
            | K::ContentType
            | K::KeepAlive
            | K::ProxyConnection
            | K::ProxyStatus
            | K::TransferEncoding
            | K::Upgrade
            | K::Via
            | K::XRequestId
    ) || known.as_str().starts_with("x-envoy-");
    let in_requests = || {
        matches!(
            known,
            K::Accept
                | K::AcceptEncoding
                | K::AccessControlRequestHeaders
                | K::AccessControlRequestMethod
                | K::Authorization
                | K::Expect
                | K::GrpcAcceptEncoding
                | K::GrpcTimeout
                | K::IfMatch
                | K::IfModifiedSince
                | K::IfNoneMatch
                | K::IfRange
                | K::Origin
                | K::Pragma
                | K::Referer
                | K::Te
                | K::UserAgent
                | K::XClientTraceId
        ) || known.as_str().starts_with("x-forwarded-")
    };
    let in_responses = || {
        matches!(
            known,
            K::AccessControlAllowCredentials
                | K::AccessControlAllowHeaders
                | K::AccessControlAllowMethods
                | K::AccessControlAllowOrigin
                | K::AccessControlExposeHeaders
                | K::AccessControlMaxAge
                | K::Age
                | K::Date
                | K::Etag
                | K::Expires
                | K::GrpcMessage
                | K::GrpcStatus
                | K::LastModified
                | K::Location
                | K::Server
                | K::Vary
        )
    };
    in_both
        || match side {
            Side::Request => in_requests(),
            Side::Response | Side::Trailers => in_responses(),
        }
}
