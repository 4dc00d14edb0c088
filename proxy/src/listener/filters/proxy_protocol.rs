//! `envoy.filters.listener.proxy_protocol`: who is behind the proxy that connected to us.

use std::net::SocketAddr;

use ringway_runtime::SockAddr;
use ringway_wire::proxy_protocol::{Addresses, Header, Parsed, Version, parse};

use super::Verdict;
use crate::listener::candidate::Candidate;
use crate::listener::meta::ProxyHeader;
use crate::observe::stats::ShardStats;
use crate::plan::listener_filter::ProxyProtocol;

/// What a header comes to.
struct Told {
    len: usize,
    ends: Option<(SocketAddr, SocketAddr)>,
    tlvs: Vec<(u8, Box<[u8]>)>,
}

pub(super) fn look(stats: &ShardStats, plan: &ProxyProtocol, candidate: &mut Candidate) -> Verdict {
    let bytes = candidate.inbox.bytes();
    let counters = &plan.stats;
    let header = match parse(bytes) {
        Ok(Parsed::NeedMore(_)) => return Verdict::More,
        Ok(Parsed::Header(header)) => header,
        Ok(Parsed::Absent) if plan.optional => {
            stats.inc(counters.not_found_allowed());
            return Verdict::Done;
        }
        Ok(Parsed::Absent) => {
            stats.inc(counters.not_found_disallowed());
            stats.inc(plan.errors.downstream_cx_proxy_proto_error());
            return Verdict::Refuse;
        }
        Err(_) => {
            // Version 2 begins with a line end.
            let v2 = bytes.first() == Some(&b'\r');
            return broken(stats, plan, if v2 { Version::V2 } else { Version::V1 });
        }
    };
    let version = header.version;
    let (allowed, found, disallowed) = match version {
        Version::V1 => (plan.v1, counters.v1_found(), counters.v1_disallowed()),
        Version::V2 => (plan.v2, counters.v2_found(), counters.v2_disallowed()),
    };
    if !allowed {
        stats.inc(found);
        stats.inc(disallowed);
        return Verdict::Refuse;
    }
    let Some(told) = read(plan, &header) else { return broken(stats, plan, version) };
    stats.inc(found);
    candidate.inbox.consume(told.len);
    if let Some((source, destination)) = told.ends {
        let destination = SockAddr::Inet(destination);
        if destination != *candidate.meta.local() {
            candidate.meta.restore_local(destination);
        }
        candidate.meta.set_remote(SockAddr::Inet(source));
    }
    // That there was a header is of interest to upstreams that are sent one.
    if told.ends.is_some() || !told.tlvs.is_empty() {
        candidate.meta.set_proxy_header(ProxyHeader { tlvs: told.tlvs });
    }
    Verdict::Done
}

fn broken(stats: &ShardStats, plan: &ProxyProtocol, version: Version) -> Verdict {
    stats.inc(match version {
        Version::V1 => plan.stats.v1_error(),
        Version::V2 => plan.stats.v2_error(),
    });
    stats.inc(plan.errors.downstream_cx_proxy_proto_error());
    Verdict::Refuse
}

/// `None` for what Envoy does not take either: addresses that are no IP addresses.
fn read(plan: &ProxyProtocol, header: &Header<'_>) -> Option<Told> {
    let ends = match header.addresses {
        Addresses::Local => None,
        Addresses::Inet { source, destination } => Some((source, destination)),
        Addresses::Unspecified | Addresses::Unix { .. } => return None,
    };
    let kept = header.tlvs().filter(|(kind, _)| plan.kept.keeps(*kind));
    let tlvs = kept.map(|(kind, value)| (kind, Box::from(value))).collect();
    Some(Told { len: header.len, ends, tlvs })
}
