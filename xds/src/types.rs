//! The resource types of xDS: their type URLs, and what the protocol does differently for some.

/// `envoy.config.listener.v3.Listener`.
pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
/// `envoy.config.cluster.v3.Cluster`.
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
/// `envoy.config.endpoint.v3.ClusterLoadAssignment`.
pub const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
/// `envoy.config.route.v3.RouteConfiguration`.
pub const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
/// `envoy.config.route.v3.ScopedRouteConfiguration`.
pub const SCOPED_ROUTES: &str =
    "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration";
/// `envoy.config.route.v3.VirtualHost`.
pub const VIRTUAL_HOST: &str = "type.googleapis.com/envoy.config.route.v3.VirtualHost";
/// `envoy.extensions.transport_sockets.tls.v3.Secret`.
pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
/// `envoy.config.core.v3.TypedExtensionConfig`.
pub const EXTENSION: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
/// `envoy.service.runtime.v3.Runtime`.
pub const RUNTIME: &str = "type.googleapis.com/envoy.service.runtime.v3.Runtime";

/// The wrapper a resource may come in, with a name, version and TTL of its own.
pub(crate) const WRAPPER: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

/// The name that stands for all resources of a type.
pub const WILDCARD: &str = "*";

/// Whether a state-of-the-world response holds all resources of the type, so that what is absent
/// is gone: clusters, listeners and scopes (xDS protocol, "Deleting Resources").
pub fn is_full_state(type_url: &str) -> bool {
    type_url == CLUSTER || type_url == LISTENER || type_url == SCOPED_ROUTES
}

/// Where a type stands in the order in which changes lose no request: what is referred to before
/// what refers to it (xDS protocol, "Eventual consistency considerations").
pub fn order(type_url: &str) -> usize {
    const ORDER: &[&str] = &[
        CLUSTER,
        ENDPOINTS,
        LISTENER,
        SCOPED_ROUTES,
        ROUTES,
        VIRTUAL_HOST,
        SECRET,
        EXTENSION,
        RUNTIME,
    ];
    ORDER.iter().position(|known| *known == type_url).unwrap_or(ORDER.len())
}
