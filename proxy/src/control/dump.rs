//! What `/config_dump` prints, kept as the bytes of the bootstrap: decoded only while it is
//! asked for, so that a large configuration is not in memory twice.

use std::time::Duration;

use prost::Message;
use ringway_xds::api::envoy::config::bootstrap::v3::Bootstrap;
use ringway_xds::api::envoy::config::core::v3::Node;

/// The configuration as it was loaded.
#[derive(Debug, Default)]
pub struct ConfigDump {
    /// An encoded `Bootstrap`.
    pub bootstrap: Box<[u8]>,
    /// `node` as control planes would be told.
    pub node: Node,
    /// When it was loaded, as time since 1970.
    pub loaded: Duration,
}

impl ConfigDump {
    /// The bootstrap as it was loaded, with the whole `node`.
    pub fn bootstrap(&self) -> Bootstrap {
        // These bytes were decoded when they were loaded: they do so again.
        let bootstrap = Bootstrap::decode(&*self.bootstrap).unwrap_or_default();
        Bootstrap { node: Some(self.node.clone()), ..bootstrap }
    }
}
