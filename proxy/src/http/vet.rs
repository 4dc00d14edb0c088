//! What the connection manager does to a request head before it is routed: who the client is,
//! which headers it may not set, `x-forwarded-*`, `x-envoy-*`, `x-request-id`.
//!
//! Source: Envoy's documentation, "HTTP header manipulation" and "x-forwarded-for"; order and
//! spelling as Envoy 1.40 writes them to the upstream.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ringway_wire::chars::Decimal;
use ringway_wire::{KnownName as K, Name, RequestHead};

use super::uuid::Uuid;
use super::xfcc;
use crate::plan::http::{Forwarding, HttpManager, InternalAddresses, IpDetection, Scheme};
use crate::plan::route::RouteTable;
use crate::transport::tls::TlsInfo;

/// The two ends of the downstream connection, as far as vetting needs them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends<'t> {
    /// The peer; `None` on unix sockets.
    pub peer: Option<IpAddr>,
    /// Port of our end; 0 on unix sockets.
    pub local_port: u16,
    /// Facts of the TLS session, where there is one.
    pub tls: Option<&'t TlsInfo>,
}

/// Who this process is: `node` of the bootstrap and the address peers see.
#[derive(Debug)]
pub(crate) struct LocalInfo {
    /// Own address written to `x-forwarded-for` for clients on loopback.
    pub address: IpAddr,
    /// `node.cluster` or `--service-cluster`.
    pub cluster: String,
    /// `node.id` or `--service-node`.
    pub node: String,
    /// The whole `node`, encoded, as services are told it.
    pub node_message: Arc<[u8]>,
    /// `node.locality.zone`
    pub zone: String,
}

/// What vetting found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vetted {
    /// The trusted client address, for logs; the peer when nothing better is known.
    pub client: Option<IpAddr>,
    /// The request came from inside the mesh (`internal_address_config`).
    pub internal: bool,
}

/// Headers only an internal client may use; taken off everything else.
const INTERNAL_ONLY: &[K] = &[
    K::XEnvoyRetriableStatusCodes,
    K::XEnvoyRetriableHeaderNames,
    K::XEnvoyRetryOn,
    K::XEnvoyRetryGrpcOn,
    K::XEnvoyMaxRetries,
    K::XEnvoyUpstreamAltStatName,
    K::XEnvoyUpstreamRqTimeoutMs,
    K::XEnvoyUpstreamRqPerTryTimeoutMs,
    K::XEnvoyUpstreamRqTimeoutAltResponse,
    K::XEnvoyExpectedRqTimeoutMs,
    K::XEnvoyForceTrace,
    K::XEnvoyIpTags,
    K::XEnvoyOriginalUrl,
    K::XEnvoyHedgeOnPerTryTimeout,
];

/// No address where one is demanded (`reject_with_status`): the request ends with this status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unidentified {
    /// The answer's status.
    pub status: u16,
}

/// Vets the head in place. `random` is asked for a request id when one is needed.
///
/// # Errors
/// Where the client's address has to be told and is not.
pub(crate) fn vet(
    head: &mut RequestHead,
    manager: &HttpManager,
    table: Option<&RouteTable>,
    ends: Ends<'_>,
    local: &LocalInfo,
    random: impl FnOnce() -> u128,
) -> Result<Vetted, Unidentified> {
    let rules = &manager.forwarding;
    let client = identify(head, rules, ends.peer)?;
    if client.append {
        append_forwarded_for(head, rules, ends.peer, local);
    }
    tell_origin(head, manager, ends);
    if let Some(scheme) = manager.scheme_overwrite {
        head.headers.set(K::XForwardedProto, scheme_text(scheme == Scheme::Https));
    }
    settle_scheme(head, manager, ends.tls.is_some());
    let internal = client.may_be_internal && is_internal_client(client.address, &rules.internal);
    let edge = !internal && rules.use_remote_address;
    mark_origin(head, internal, edge, client.address, rules);
    if let Some(table) = table.filter(|_| !internal) {
        remove_private(head, table);
    }
    if manager.add_user_agent {
        name_ourselves(head, local);
    }
    if let Some(via) = &manager.via {
        head.headers.append_joined(K::Via, via.as_bytes());
    }
    set_request_id(head, manager, edge, random);
    xfcc::settle(head, &manager.client_cert, ends.tls);
    Ok(Vetted { client: client.address.or(ends.peer), internal })
}

/// `internal_only_headers` of a route table, in a request from outside.
pub(crate) fn remove_private(head: &mut RequestHead, table: &RouteTable) {
    for name in &table.internal_only_headers {
        head.headers.remove(Name::from(&**name));
    }
}

/// `x-forwarded-proto` and `x-forwarded-port`.
fn tell_origin(head: &mut RequestHead, manager: &HttpManager, ends: Ends<'_>) {
    let rules = &manager.forwarding;
    // An edge believes nobody; behind trusted hops, what the first of them saw counts.
    let anew = rules.use_remote_address && rules.xff_trusted_hops == 0;
    let headers = &mut head.headers;
    if anew || !headers.contains(K::XForwardedProto) {
        headers.set(K::XForwardedProto, scheme_text(ends.tls.is_some()));
    }
    if manager.append_x_forwarded_port && (anew || !headers.contains(K::XForwardedPort)) {
        let port = Decimal::new(u64::from(ends.local_port));
        headers.set(K::XForwardedPort, port.as_bytes());
    }
}

/// Who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Client {
    /// Its address as far as it can be trusted; `None` on unix sockets.
    address: Option<IpAddr>,
    /// It may count as internal.
    may_be_internal: bool,
    /// The peer goes into `x-forwarded-for`, found or not.
    append: bool,
}

fn identify(
    head: &RequestHead,
    rules: &Forwarding,
    peer: Option<IpAddr>,
) -> Result<Client, Unidentified> {
    let hops = rules.xff_trusted_hops as usize;
    if rules.use_remote_address {
        let told = if hops > 0 { last_address(head, hops - 1).map(|(a, _)| a) } else { None };
        let append = !rules.skip_xff_append;
        let alone = !head.headers.contains(K::XForwardedFor);
        return Ok(Client { address: told.or(peer), may_be_internal: alone, append });
    }
    // What nobody vouches for is external.
    let mut peer_only = Client { address: peer, may_be_internal: false, append: false };
    if rules.detection.is_empty() {
        let told = last_address(head, hops);
        return Ok(told.map_or(peer_only, |(address, alone)| Client {
            address: Some(address),
            may_be_internal: alone,
            append: false,
        }));
    }
    for detection in &rules.detection {
        peer_only.append |= matches!(detection, IpDetection::Xff { append: true, .. });
        if let Some(client) = detect(head, detection, peer)? {
            return Ok(Client { append: peer_only.append, ..client });
        }
    }
    Ok(peer_only)
}

/// What one of `original_ip_detection_extensions` finds.
fn detect(
    head: &RequestHead,
    detection: &IpDetection,
    peer: Option<IpAddr>,
) -> Result<Option<Client>, Unidentified> {
    match detection {
        IpDetection::Xff { hops, trusted: None, .. } => {
            let told = last_address(head, *hops as usize);
            Ok(told.map(|(address, alone)| Client {
                address: Some(address),
                may_be_internal: alone,
                append: false,
            }))
        }
        IpDetection::Xff { trusted: Some(trusted), .. } => {
            if !peer.is_some_and(|peer| is_listed(peer, trusted)) {
                return Ok(None);
            }
            let told = first_stranger(head, trusted);
            Ok(told.map(|address| Client {
                address: Some(address),
                may_be_internal: false,
                append: false,
            }))
        }
        IpDetection::Header { name, trusted, reject } => {
            let value = head.headers.get(Name::from(&**name));
            let told = value.and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok());
            match (told, reject) {
                (Some(address), _) => Ok(Some(Client {
                    address: Some(address),
                    may_be_internal: *trusted,
                    append: false,
                })),
                (None, Some(status)) => Err(Unidentified { status: *status }),
                (None, None) => Ok(None),
            }
        }
    }
}

/// The `skip`-th address from the right of `x-forwarded-for`, and whether it is the only one.
fn last_address(head: &RequestHead, skip: usize) -> Option<(IpAddr, bool)> {
    let value = head.headers.get(K::XForwardedFor)?;
    let text = std::str::from_utf8(value).ok()?;
    let element = text.rsplit(',').nth(skip)?.trim();
    let address = element.parse().ok()?;
    Some((address, !text.contains(',')))
}

/// The first address from the right of `x-forwarded-for` that is no trusted proxy, or the leftmost
/// where all are; none where one cannot be read.
fn first_stranger(head: &RequestHead, trusted: &[(IpAddr, u8)]) -> Option<IpAddr> {
    let text = std::str::from_utf8(head.headers.get(K::XForwardedFor)?).ok()?;
    let mut last = None;
    for element in text.rsplit(',') {
        let address = element.trim().parse().ok()?;
        last = Some(address);
        if !is_listed(address, trusted) {
            break;
        }
    }
    last
}

fn append_forwarded_for(
    head: &mut RequestHead,
    rules: &Forwarding,
    peer: Option<IpAddr>,
    local: &LocalInfo,
) {
    let Some(peer) = peer else { return };
    let shown = if peer.is_loopback() { local.address } else { peer };
    let shown = match shown {
        IpAddr::V4(v4) if rules.represent_v4_as_v6 => IpAddr::V6(v4.to_ipv6_mapped()),
        other => other,
    };
    let mut text = TextBuf::new();
    head.headers.append_with(K::XForwardedFor, b",", text.write(shown));
}

/// `:scheme`: what the target said, overridden by configuration, else what the client used.
fn settle_scheme(head: &mut RequestHead, manager: &HttpManager, tls: bool) {
    use crate::plan::http::Scheme as Planned;
    use ringway_wire::Scheme;
    let forwarded = match head.headers.get(K::XForwardedProto) {
        Some(b"https") => Some(Scheme::Https),
        Some(b"http") => Some(Scheme::Http),
        _ => None,
    };
    let seen = if tls { Scheme::Https } else { Scheme::Http };
    head.scheme = match manager.scheme_overwrite {
        Some(Planned::Http) => Some(Scheme::Http),
        Some(Planned::Https) => Some(Scheme::Https),
        None => head.scheme.or(forwarded).or(Some(seen)),
    };
}

fn mark_origin(
    head: &mut RequestHead,
    internal: bool,
    edge: bool,
    client: Option<IpAddr>,
    rules: &Forwarding,
) {
    let headers = &mut head.headers;
    if internal {
        headers.set(K::XEnvoyInternal, b"true");
        return;
    }
    if edge {
        headers.remove(K::XEnvoyDecoratorOperation);
        headers.remove(K::XEnvoyDownstreamServiceCluster);
        headers.remove(K::XEnvoyDownstreamServiceNode);
        headers.remove(K::XEnvoyOriginalPath);
        headers.remove(K::XEnvoyOriginalHost);
    }
    headers.remove(K::XEnvoyInternal);
    for name in INTERNAL_ONLY {
        headers.remove(*name);
    }
    if edge && let Some(client) = client {
        let client = match client {
            IpAddr::V4(v4) if rules.represent_v4_as_v6 => IpAddr::V6(v4.to_ipv6_mapped()),
            other => other,
        };
        let mut text = TextBuf::new();
        headers.set(K::XEnvoyExternalAddress, text.write(client));
    }
}

/// `add_user_agent`.
fn name_ourselves(head: &mut RequestHead, local: &LocalInfo) {
    let headers = &mut head.headers;
    headers.set(K::XEnvoyDownstreamServiceCluster, local.cluster.as_bytes());
    if !headers.contains(K::UserAgent) {
        headers.set(K::UserAgent, local.cluster.as_bytes());
    }
    if !local.node.is_empty() {
        headers.set(K::XEnvoyDownstreamServiceNode, local.node.as_bytes());
    }
}

fn set_request_id(
    head: &mut RequestHead,
    manager: &HttpManager,
    edge: bool,
    random: impl FnOnce() -> u128,
) {
    let rules = &manager.request_id;
    if !rules.generate {
        return;
    }
    let fresh = edge && !rules.preserve_external;
    if fresh || !head.headers.contains(K::XRequestId) {
        head.headers.set(K::XRequestId, Uuid::v4(random()).text().as_bytes());
    }
}

/// Whether a client counts as internal. Without `internal_address_config` none does, as in
/// Envoy since 1.33.
fn is_internal_client(client: Option<IpAddr>, rules: &InternalAddresses) -> bool {
    client.map_or(rules.unix_sockets, |address| is_listed(address, &rules.cidrs))
}

fn is_listed(address: IpAddr, networks: &[(IpAddr, u8)]) -> bool {
    networks.iter().any(|(network, len)| in_cidr(address, *network, *len))
}

fn in_cidr(address: IpAddr, network: IpAddr, len: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(len.min(32))).unwrap_or(0);
            (u32::from(a) ^ u32::from(n)) & mask == 0
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0);
            (u128::from(a) ^ u128::from(n)) & mask == 0
        }
        _ => false,
    }
}

fn scheme_text(tls: bool) -> &'static [u8] {
    if tls { b"https" } else { b"http" }
}

/// Writes an address without a heap allocation; the longest is 45 bytes.
struct TextBuf {
    bytes: [u8; 48],
}

impl TextBuf {
    fn new() -> Self {
        Self { bytes: [0; 48] }
    }

    fn write(&mut self, address: IpAddr) -> &[u8] {
        use std::io::Write;
        let mut rest = self.bytes.as_mut_slice();
        let room = rest.len();
        let written = match write!(rest, "{address}") {
            Ok(()) => room - rest.len(),
            Err(_) => 0,
        };
        self.bytes.get(..written).unwrap_or_default()
    }
}

/// The first address of this host that is not loopback, preferring `version` (4 or 6); loopback
/// where there is no other. Envoy's `LocalInfo` address.
pub(crate) fn own_address(version: u8) -> IpAddr {
    let fallback = if version == 6 {
        IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)
    } else {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    };
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces
        .into_iter()
        .map(|interface| interface.ip())
        .find(|a| a.is_ipv4() == (version != 6) && !a.is_loopback())
        .unwrap_or(fallback)
}

#[cfg(test)]
mod tests;
