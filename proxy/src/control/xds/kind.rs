//! The kinds of resources that xDS brings.

use std::fmt;

macro_rules! kinds {
    ($($(#[$doc:meta])* $Kind:ident = $url:literal, $word:literal, $method:literal;)*) => {
        /// A kind of resource.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $Kind,)* }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$Kind,)*];

            /// `type_url` on the wire.
            pub fn type_url(self) -> &'static str {
                match self { $(Self::$Kind => concat!("type.googleapis.com/", $url),)* }
            }

            /// The name of the message.
            pub fn message(self) -> &'static str {
                match self { $(Self::$Kind => $url,)* }
            }

            /// How log lines call its service: `cds`.
            pub fn word(self) -> &'static str {
                match self { $(Self::$Kind => $word,)* }
            }

            /// Package and service of the stream that brings this kind alone.
            pub(crate) fn service(self) -> &'static str {
                match self { $(Self::$Kind => $method,)* }
            }
        }
    };
}

kinds! {
    /// CDS
    Cluster = "envoy.config.cluster.v3.Cluster",
        "cds", "envoy.service.cluster.v3.ClusterDiscoveryService Clusters";
    /// EDS
    Endpoints = "envoy.config.endpoint.v3.ClusterLoadAssignment",
        "eds", "envoy.service.endpoint.v3.EndpointDiscoveryService Endpoints";
    /// LDS
    Listener = "envoy.config.listener.v3.Listener",
        "lds", "envoy.service.listener.v3.ListenerDiscoveryService Listeners";
    /// RDS
    Routes = "envoy.config.route.v3.RouteConfiguration",
        "rds", "envoy.service.route.v3.RouteDiscoveryService Routes";
    /// SRDS
    Scope = "envoy.config.route.v3.ScopedRouteConfiguration",
        "srds", "envoy.service.route.v3.ScopedRoutesDiscoveryService ScopedRoutes";
    /// VHDS
    VirtualHost = "envoy.config.route.v3.VirtualHost",
        "vhds", "envoy.service.route.v3.VirtualHostDiscoveryService VirtualHosts";
    /// SDS
    Secret = "envoy.extensions.transport_sockets.tls.v3.Secret",
        "sds", "envoy.service.secret.v3.SecretDiscoveryService Secrets";
    /// ECDS
    Extension = "envoy.config.core.v3.TypedExtensionConfig",
        "ecds", "envoy.service.extension.v3.ExtensionConfigDiscoveryService ExtensionConfigs";
    /// RTDS
    Runtime = "envoy.service.runtime.v3.Runtime",
        "rtds", "envoy.service.runtime.v3.RuntimeDiscoveryService Runtime";
}

impl Kind {
    /// The kind of a type URL, whatever stands before the slash.
    pub fn of(type_url: &str) -> Option<Self> {
        let name = type_url.rsplit('/').next().unwrap_or(type_url);
        Self::ALL.iter().copied().find(|kind| kind.message() == name)
    }

    /// Whether what a response takes away goes before what it brings comes: the one may have what
    /// only one can have, an address or the key of a scope.
    pub(crate) fn removes_first(self) -> bool {
        matches!(self, Self::Listener | Self::Scope)
    }

    /// Path that is polled for this kind (`google.api.http` of its service); `None` where there is
    /// none.
    pub(crate) fn rest_path(self) -> Option<&'static str> {
        Some(match self {
            Self::Cluster => "/v3/discovery:clusters",
            Self::Endpoints => "/v3/discovery:endpoints",
            Self::Listener => "/v3/discovery:listeners",
            Self::Routes => "/v3/discovery:routes",
            Self::Scope => "/v3/discovery:scoped-routes",
            Self::Secret => "/v3/discovery:secrets",
            Self::Extension => "/v3/discovery:extension_configs",
            Self::Runtime => "/v3/discovery:runtime",
            Self::VirtualHost => return None,
        })
    }

    /// Path of the stream that brings this kind alone.
    pub(crate) fn path(self, delta: bool) -> String {
        let (service, what) = self.service().split_once(' ').unwrap_or_default();
        let how = if delta { "Delta" } else { "Stream" };
        // VHDS knows the incremental protocol only.
        let how = if self == Self::VirtualHost { "Delta" } else { how };
        format!("/{service}/{how}{what}")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_type_url() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind.type_url()), Some(*kind));
        }
        assert_eq!(Kind::of("x/envoy.config.core.v3.Node"), None);
    }

    #[test]
    fn a_stream_of_its_own_has_the_path_of_its_service() {
        assert_eq!(
            Kind::Cluster.path(false),
            "/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters"
        );
        assert_eq!(
            Kind::Endpoints.path(true),
            "/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints"
        );
        assert_eq!(
            Kind::VirtualHost.path(false),
            "/envoy.service.route.v3.VirtualHostDiscoveryService/DeltaVirtualHosts"
        );
    }
}
