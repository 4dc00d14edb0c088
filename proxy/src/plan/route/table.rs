//! The route table of one `RouteConfiguration` and the question asked of it for every request.

use std::sync::Arc;

use super::domains::{DomainError, Domains};
use super::index::{PathIndex, PathMatch, without_query};
use super::matcher::{Conditions, RouteRequest};
use super::{Action, HeaderRules};
use crate::filters::Overrides;
use crate::plan::names::ClusterName;
use crate::plan::source::ConfigSource;

/// A compiled `RouteConfiguration`.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// `name`.
    pub name: Arc<str>,
    /// `request_headers_to_add`, `request_headers_to_remove`.
    pub request_headers: HeaderRules,
    /// `response_headers_to_add`, `response_headers_to_remove`.
    pub response_headers: HeaderRules,
    /// `internal_only_headers` (lower case): taken off requests that are not internal.
    pub internal_only_headers: Vec<Arc<str>>,
    /// `typed_per_filter_config`.
    pub(crate) filters: Overrides,
    /// `most_specific_header_mutations_wins`: table, virtual host, route instead of the reverse.
    pub most_specific_wins: bool,
    /// `ignore_port_in_host_matching`.
    pub ignore_port: bool,
    /// `ignore_path_parameters_in_path_matching`: what follows a `;` does not count.
    pub ignore_path_parameters: bool,
    /// `vhds`: where further virtual hosts come from.
    pub vhds: Option<ConfigSource>,
    /// Every cluster it names, by id: they keep their ids while this lives.
    pub clusters: Box<[Arc<ClusterName>]>,
    hosts: Vec<VirtualHost>,
    domains: Domains,
}

/// A compiled `VirtualHost`.
#[derive(Debug, Default)]
pub struct VirtualHost {
    /// `name`.
    pub name: Arc<str>,
    /// `require_tls`.
    pub require_tls: RequireTls,
    /// `request_headers_to_add`, `request_headers_to_remove`.
    pub request_headers: HeaderRules,
    /// `response_headers_to_add`, `response_headers_to_remove`.
    pub response_headers: HeaderRules,
    /// `include_request_attempt_count`: `x-envoy-attempt-count` to the upstream.
    pub attempt_count_in_request: bool,
    /// `include_attempt_count_in_response`.
    pub attempt_count_in_response: bool,
    /// `include_is_timeout_retry_header`: `x-envoy-is-timeout-retry` to the upstream.
    pub is_timeout_retry_header: bool,
    /// `typed_per_filter_config`.
    pub(crate) filters: Overrides,
    routes: Box<[Route]>,
    index: PathIndex,
    /// Routes with a `connect_matcher`.
    connects: Box<[u32]>,
}

/// `VirtualHost.TlsRequirementType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RequireTls {
    /// Plain text is welcome.
    #[default]
    None,
    /// External requests are sent to https.
    ExternalOnly,
    /// All are.
    All,
}

/// One route.
#[derive(Debug)]
pub struct Route {
    /// `name`.
    pub name: Arc<str>,
    /// What it does.
    pub action: Action,
    /// Conditions besides the path.
    pub conditions: Option<Box<Conditions>>,
    /// Length of the matched prefix or exact path, for prefix rewrites; regex routes have none.
    pub matched_len: Option<u32>,
    /// `None`: none of it is said.
    pub extra: Option<Box<RouteExtra>>,
    /// `typed_per_filter_config`.
    pub(crate) filters: Overrides,
}

/// What few routes say: apart, because there may be very many routes.
#[derive(Debug)]
pub struct RouteExtra {
    /// Request header rules.
    pub request_headers: HeaderRules,
    /// Response header rules.
    pub response_headers: HeaderRules,
    /// `stat_prefix`, for `vhost.<v>.route.<this>.*`.
    pub stat_prefix: Option<Arc<str>>,
    /// `request_body_buffer_limit` / `per_request_buffer_limit_bytes`, own or the virtual host's:
    /// bytes kept for a retry.
    pub retry_buffer_limit: Option<u64>,
}

impl Route {
    /// What few routes say, or its defaults.
    pub fn extra(&self) -> &RouteExtra {
        static NONE: RouteExtra = RouteExtra::NONE;
        self.extra.as_deref().unwrap_or(&NONE)
    }
}

impl RouteExtra {
    const NONE: Self = Self {
        request_headers: HeaderRules::NONE,
        response_headers: HeaderRules::NONE,
        stat_prefix: None,
        retry_buffer_limit: None,
    };

    /// In a box of its own, unless it says nothing.
    pub fn boxed(self) -> Option<Box<Self>> {
        let Self { request_headers, response_headers, stat_prefix, retry_buffer_limit } = &self;
        let nothing = request_headers.is_empty()
            && response_headers.is_empty()
            && stat_prefix.is_none()
            && retry_buffer_limit.is_none();
        (!nothing).then(|| Box::new(self))
    }
}

/// Place of a route in its table; a stream keeps this beside the table it asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteId {
    /// Position of the virtual host.
    pub host: u32,
    /// Position of the route in it.
    pub route: u32,
}

/// Answer of the route table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// No virtual host takes the authority, or no route of it the request: 404, `NR`.
    NotFound,
    /// `require_tls`: 301 to the same URL with `https`.
    RedirectToTls {
        /// Position of the virtual host.
        host: u32,
    },
    /// The first route that matches.
    Route(RouteId),
}

impl RouteTable {
    /// An empty table.
    pub fn new(name: Arc<str>) -> Self {
        Self { name, ..Self::default() }
    }

    /// Adds a virtual host for `domains`. Answers the positions of the domains that clash with
    /// earlier ones; the virtual host is in the table all the same.
    pub fn add_host<'a>(
        &mut self,
        host: VirtualHost,
        domains: impl Iterator<Item = &'a str>,
    ) -> Vec<(usize, DomainError)> {
        let number = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX);
        self.hosts.push(host);
        domains
            .enumerate()
            .filter_map(|(at, domain)| Some((at, self.domains.add(domain, number).err()?)))
            .collect()
    }

    /// Virtual hosts in the order of the configuration.
    pub fn hosts(&self) -> &[VirtualHost] {
        &self.hosts
    }

    /// The virtual host an answer names.
    pub fn host(&self, host: u32) -> Option<&VirtualHost> {
        self.hosts.get(host as usize)
    }

    /// The route an answer names, with its virtual host.
    pub fn route(&self, id: RouteId) -> Option<(&VirtualHost, &Route)> {
        let host = self.host(id.host)?;
        Some((host, host.routes.get(id.route as usize)?))
    }

    /// Finds the route of a request. `random` is the request's random number, which
    /// `runtime_fraction` is compared with. Allocates nothing.
    pub fn find<R: RouteRequest>(&self, request: &R, random: u64) -> Lookup {
        let Some(number) = self.find_host(request.authority()) else { return Lookup::NotFound };
        let Some(host) = self.host(number) else { return Lookup::NotFound };
        if host.wants_tls(request) {
            return Lookup::RedirectToTls { host: number };
        }
        let accept = |route: u32| {
            let conditions = host.routes.get(route as usize).map(|r| r.conditions.as_deref());
            match conditions {
                None => false,
                Some(None) => true,
                Some(Some(conditions)) => conditions.hold(request, random),
            }
        };
        let lookup = |found: Option<u32>| {
            found.map_or(Lookup::NotFound, |route| Lookup::Route(RouteId { host: number, route }))
        };
        let Some(path) = request.path() else {
            // Only `connect_matcher` takes a request without a path.
            let mut connects = host.connects.iter().copied().filter(|_| request.is_connect());
            return lookup(connects.find(|route| accept(*route)));
        };
        let mut path = without_query(path);
        if self.ignore_path_parameters
            && let Some(end) = memchr::memchr(b';', path)
        {
            path = path.get(..end).unwrap_or(path);
        }
        lookup(host.index.first(path, accept))
    }

    /// The virtual host that takes an authority.
    pub fn find_host(&self, authority: Option<&[u8]>) -> Option<u32> {
        self.domains.find(authority, self.ignore_port)
    }
}

impl VirtualHost {
    /// A virtual host with `routes` in the order of the configuration.
    pub fn new(name: Arc<str>, routes: Vec<(PathMatch, Route)>) -> Self {
        let index = PathIndex::new(routes.iter().map(|(path, _)| path));
        let connects = (0_u32..)
            .zip(&routes)
            .filter(|(_, (path, _))| matches!(path, PathMatch::Connect))
            .map(|(route, _)| route)
            .collect();
        let routes = routes.into_iter().map(|(_, route)| route).collect();
        Self { name, routes, index, connects, ..Self::default() }
    }

    /// Routes in the order of the configuration.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    fn wants_tls<R: RouteRequest>(&self, request: &R) -> bool {
        match self.require_tls {
            RequireTls::None => false,
            RequireTls::ExternalOnly => !request.is_https() && !request.is_internal(),
            RequireTls::All => !request.is_https(),
        }
    }
}
