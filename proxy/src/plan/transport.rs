//! Transport sockets, compiled.

/// What a filter chain does to the bytes of a downstream connection.
#[derive(Debug, Clone, Default)]
pub enum Downstream {
    /// `envoy.transport_sockets.raw_buffer`, or none: nothing.
    #[default]
    Raw,
}

/// What a cluster does to the bytes of its connections.
#[derive(Debug, Clone, Default)]
pub enum Upstream {
    /// `envoy.transport_sockets.raw_buffer`, or none: nothing.
    #[default]
    Raw,
}
