//! Which headers belong to one hop, and whether a connection goes on.

use crate::chars::list_members;
use crate::headers::HeaderMap;
use crate::message::Version;
use crate::names::KnownName;

/// Whether `Connection` names `token` (lower-case).
pub fn connection_has(headers: &HeaderMap, token: &[u8]) -> bool {
    headers
        .get_all(KnownName::Connection)
        .flat_map(list_members)
        .any(|member| member.eq_ignore_ascii_case(token))
}

/// Whether the message asks for, or grants, another protocol on this connection: `Connection`
/// names `upgrade` and there is an `Upgrade` header (RFC 9110 section 7.8). An upgrade to `h2c` is
/// not: a server may ignore it, and Envoy does.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    asks_upgrade(headers) && connection_has(headers, b"upgrade")
}

/// Whether there is an `Upgrade` header that counts.
pub(super) fn asks_upgrade(headers: &HeaderMap) -> bool {
    headers.get(KnownName::Upgrade).is_some_and(|to| !to.eq_ignore_ascii_case(b"h2c"))
}

/// Whether the connection goes on after a message of this version with these headers
/// (RFC 9112 section 9.3): HTTP/1.1 unless `close`, HTTP/1.0 only with `keep-alive`. Like Envoy,
/// `Proxy-Connection: close` counts too, while its `keep-alive` does not.
pub fn keep_alive(version: Version, headers: &HeaderMap) -> bool {
    let proxy = headers.get_all(KnownName::ProxyConnection).flat_map(list_members);
    let close = connection_has(headers, b"close")
        || proxy.into_iter().any(|member| member.eq_ignore_ascii_case(b"close"));
    match version {
        Version::Http10 => !close && connection_has(headers, b"keep-alive"),
        Version::Http11 | Version::Http2 => !close,
    }
}

/// Removes from a request what belongs to the hop it came on, before it is sent on.
///
/// As Envoy's connection manager: `keep-alive`, `proxy-connection`, `transfer-encoding` always;
/// `connection` and `upgrade` unless the request is an upgrade that is allowed; `te` becomes
/// `trailers` when it names that, and goes otherwise. Headers nominated by `Connection` have been
/// removed by the parser already.
pub fn strip_request_hop_by_hop(headers: &mut HeaderMap, upgrade: bool) {
    if !upgrade {
        headers.remove(KnownName::Connection);
        headers.remove(KnownName::Upgrade);
        headers.remove(KnownName::Http2Settings);
    }
    sanitize_te(headers);
    strip_common(headers);
}

/// Removes from a response what belongs to the hop it came on, before it is sent on. `upgrade`:
/// this response grants the upgrade the client asked for; it then has no `content-length`. Headers
/// nominated by the server's `Connection` stay, as in Envoy.
pub fn strip_response_hop_by_hop(headers: &mut HeaderMap, upgrade: bool) {
    if !upgrade {
        headers.remove(KnownName::Connection);
        headers.remove(KnownName::Upgrade);
    } else {
        headers.remove(KnownName::ContentLength);
    }
    strip_common(headers);
}

fn strip_common(headers: &mut HeaderMap) {
    headers.remove(KnownName::KeepAlive);
    headers.remove(KnownName::ProxyConnection);
    headers.remove(KnownName::TransferEncoding);
}

/// Reduces `te` to `trailers`, the only member that survives a hop, or removes it.
pub fn sanitize_te(headers: &mut HeaderMap) {
    if !headers.contains(KnownName::Te) {
        return;
    }
    let trailers = headers
        .get_all(KnownName::Te)
        .flat_map(list_members)
        .any(|member| member.eq_ignore_ascii_case(b"trailers"));
    if trailers {
        headers.set(KnownName::Te, b"trailers");
    } else {
        headers.remove(KnownName::Te);
    }
}
