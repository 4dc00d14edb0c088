//! What `/config_dump` prints, kept as the bytes of the bootstrap: decoded only while it is
//! asked for, so that a large configuration is not in memory twice.

use std::time::Duration;

use prost::Message;
use ringway_xds::api::envoy::config::bootstrap::v3::Bootstrap;

/// The configuration as it was loaded.
#[derive(Debug, Default)]
pub struct ConfigDump {
    bootstrap: Box<[u8]>,
    /// When it was loaded, as time since 1970.
    pub loaded: Duration,
}

impl ConfigDump {
    /// Keeps a bootstrap.
    pub fn new(bootstrap: &Bootstrap, loaded: Duration) -> Self {
        Self { bootstrap: bootstrap.encode_to_vec().into_boxed_slice(), loaded }
    }

    /// The bootstrap as it was loaded.
    pub fn bootstrap(&self) -> Bootstrap {
        // These bytes come from the encoder above: they always decode.
        Bootstrap::decode(&*self.bootstrap).unwrap_or_default()
    }
}
