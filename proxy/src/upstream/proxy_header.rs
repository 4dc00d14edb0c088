//! The PROXY protocol header that goes first on the connections of some clusters
//! (`envoy.transport_sockets.upstream_proxy_protocol`).

use std::net::SocketAddr;
use std::rc::Rc;

use ringway_runtime::{Chunk, Stream};
use ringway_wire::proxy_protocol::{Addresses, Version, encode_v1, encode_v2};

use super::cluster::ShardCluster;
use super::host::ShardHost;
use crate::plan::transport::{PassTlvs, ProxyProtocol, Tlv};

/// Whom a connection is for.
#[derive(Debug, Default)]
pub(crate) struct OnBehalf {
    /// The client.
    pub source: Option<SocketAddr>,
    /// Where it wanted to go.
    pub destination: Option<SocketAddr>,
    /// What a header of its own said, or what the filter adds: passed on as far as
    /// `pass_through_tlvs` allows.
    pub tlvs: Vec<Tlv>,
}

impl ShardCluster {
    /// The header of a connection to a host, where the cluster sends one. Connections with
    /// different headers
    /// are not shared, so it is part of what a pool is found by.
    pub(crate) fn proxy_header(
        &self,
        host: &ShardHost,
        whom: impl FnOnce() -> OnBehalf,
    ) -> Option<Rc<[u8]>> {
        let config = self.plan().socket(host.plan()).proxy_protocol.as_ref()?;
        Some(encode(config, &whom()).into())
    }
}

fn encode(config: &ProxyProtocol, whom: &OnBehalf) -> Vec<u8> {
    let addresses = match (whom.source, whom.destination) {
        (Some(source), Some(destination)) => Addresses::Inet { source, destination },
        _ => Addresses::Local,
    };
    let mut out = Vec::with_capacity(128);
    if config.version == Version::V1 {
        encode_v1(&addresses, &mut out);
        return out;
    }
    let passes = |kind: u8| match &config.pass {
        PassTlvs::None => false,
        PassTlvs::All => true,
        PassTlvs::Types(types) => types.contains(&kind),
    };
    let added = config.added.iter();
    let own = |kind: u8| config.added.iter().any(|(other, _)| *other == kind);
    let passed = whom.tlvs.iter().filter(|(kind, _)| passes(*kind) && !own(*kind));
    let tlvs = added.chain(passed).map(|(kind, value)| (*kind, &**value));
    if encode_v2(&addresses, tlvs, &mut out).is_err() {
        // A client can make a header as long as the protocol allows; with ours added it is longer.
        let tlvs = config.added.iter().map(|(kind, value)| (*kind, &**value));
        let _fits = encode_v2(&addresses, tlvs, &mut out);
    }
    out
}

/// Writes the header of a connection that is for nobody, such as a health check's.
pub(super) fn write_own(config: &ProxyProtocol, stream: &Stream) {
    let header = match config.version {
        Version::V1 => {
            let source = stream.local_addr().ok().and_then(|address| address.as_inet());
            let destination = stream.peer_addr().ok().and_then(|address| address.as_inet());
            encode(config, &OnBehalf { source, destination, tlvs: Vec::new() })
        }
        Version::V2 => {
            let mut out = Vec::with_capacity(16);
            let _fits = encode_v2(&Addresses::Local, std::iter::empty(), &mut out);
            out
        }
    };
    stream.write(Chunk::from(header));
}

#[cfg(test)]
mod tests;
