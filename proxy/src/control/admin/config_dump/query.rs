//! What a request to `/config_dump` asks for, and whether there is such a thing.

use regex::Regex;
use ringway_xds::schema;

use super::super::page::{Request, Response};
use super::super::regex_filter;
use crate::control::xds::Kind;

/// One message of the dump.
pub(super) struct Section {
    /// Type of the message, in `envoy.admin.v3`.
    pub(super) message: &'static str,
    /// The kind whose last version it tells, as `version_info`.
    pub(super) version: Option<Kind>,
    /// Its lists of resources; the section of the bootstrap has none.
    pub(super) lists: &'static [Listed],
    /// When it is there.
    pub(super) shown: Shown,
}

/// When a section is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Always,
    /// With `include_eds`.
    WithEndpoints,
    /// Once somebody has asked for resources of the kind.
    Asked(Kind),
}

/// A list of a section.
pub(super) struct Listed {
    /// Its field.
    pub(super) field: &'static str,
    /// Type of its elements, within the section's.
    pub(super) element: &'static str,
    /// What is in it.
    pub(super) of: List,
}

/// Lists a dump can hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// Clusters of the bootstrap.
    StaticClusters,
    /// Clusters in use.
    ActiveClusters,
    /// Clusters, or new versions of them, that wait for what they need.
    WarmingClusters,
    /// Hosts of clusters that find them without EDS.
    StaticEndpoints,
    /// Hosts of EDS clusters.
    DynamicEndpoints,
    /// Configurations of filters.
    Extensions,
    /// Listeners of the bootstrap.
    StaticListeners,
    /// Listeners by LDS, with all their versions.
    DynamicListeners,
    /// Scopes by SRDS.
    DynamicScopes,
    /// Route tables within listeners.
    StaticRoutes,
    /// Route tables by RDS.
    DynamicRoutes,
    /// Secrets of the bootstrap.
    StaticSecrets,
    /// Secrets by SDS.
    ActiveSecrets,
    /// Secrets that were asked for and have not come.
    WarmingSecrets,
}

const fn listed(field: &'static str, element: &'static str, of: List) -> Listed {
    Listed { field, element, of }
}

/// All sections, in Envoy's order.
pub(super) const SECTIONS: [Section; 8] = [
    Section { message: "BootstrapConfigDump", version: None, lists: &[], shown: Shown::Always },
    Section {
        message: "ClustersConfigDump",
        version: Some(Kind::Cluster),
        lists: &[
            listed("static_clusters", "StaticCluster", List::StaticClusters),
            listed("dynamic_active_clusters", "DynamicCluster", List::ActiveClusters),
            listed("dynamic_warming_clusters", "DynamicCluster", List::WarmingClusters),
        ],
        shown: Shown::Always,
    },
    Section {
        message: "EcdsConfigDump",
        version: None,
        lists: &[listed("ecds_filters", "EcdsFilterConfig", List::Extensions)],
        shown: Shown::Asked(Kind::Extension),
    },
    Section {
        message: "EndpointsConfigDump",
        version: None,
        lists: &[
            listed("static_endpoint_configs", "StaticEndpointConfig", List::StaticEndpoints),
            listed("dynamic_endpoint_configs", "DynamicEndpointConfig", List::DynamicEndpoints),
        ],
        shown: Shown::WithEndpoints,
    },
    Section {
        message: "ListenersConfigDump",
        version: Some(Kind::Listener),
        lists: &[
            listed("static_listeners", "StaticListener", List::StaticListeners),
            listed("dynamic_listeners", "DynamicListener", List::DynamicListeners),
        ],
        shown: Shown::Always,
    },
    Section {
        message: "ScopedRoutesConfigDump",
        version: None,
        lists: &[listed(
            "dynamic_scoped_route_configs",
            "DynamicScopedRouteConfigs",
            List::DynamicScopes,
        )],
        shown: Shown::Always,
    },
    Section {
        message: "RoutesConfigDump",
        version: None,
        lists: &[
            listed("static_route_configs", "StaticRouteConfig", List::StaticRoutes),
            listed("dynamic_route_configs", "DynamicRouteConfig", List::DynamicRoutes),
        ],
        shown: Shown::Always,
    },
    Section {
        message: "SecretsConfigDump",
        version: None,
        lists: &[
            listed("static_secrets", "StaticSecret", List::StaticSecrets),
            listed("dynamic_active_secrets", "DynamicSecret", List::ActiveSecrets),
            listed("dynamic_warming_secrets", "DynamicSecret", List::WarmingSecrets),
        ],
        shown: Shown::Always,
    },
];

/// What a request asks for.
pub(super) struct Query {
    pub(super) resource: Option<String>,
    pub(super) mask: Vec<String>,
    name: Option<Regex>,
    pub(super) include_eds: bool,
}

impl Query {
    pub(super) fn of(request: &Request) -> Result<Self, Response> {
        let params = &request.params;
        let name = match params.non_empty("name_regex") {
            None => None,
            Some(pattern) => {
                regex_filter::compile(pattern).map_err(|error| {
                    let text = "INVALID_ARGUMENT: Error while parsing name_regex from";
                    plain_error(400, format!("{text} {pattern}: {error}"))
                })?;
                Some(whole(pattern)?)
            }
        };
        let query = Self {
            resource: params.non_empty("resource").map(str::to_owned),
            mask: params
                .non_empty("mask")
                .map(|mask| mask.split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
            name,
            include_eds: params.has("include_eds"),
        };
        query.check()?;
        Ok(query)
    }

    /// Does what is asked for exist?
    fn check(&self) -> Result<(), Response> {
        let Some(resource) = &self.resource else {
            if !self.mask.is_empty() && !self.sections().any(|section| self.masks(section)) {
                let mask = self.mask.join(",");
                return Err(plain_error(
                    400,
                    format!("FieldMask {mask} could not be successfully applied to any configs."),
                ));
            }
            return Ok(());
        };
        let found = self.sections().find_map(|section| field(section.message, resource));
        match found {
            None => Err(plain_error(404, format!("{resource} not found in config dump"))),
            Some(field) if !field.is_repeated() => Err(plain_error(
                400,
                format!(
                    "{resource} is not a repeated field. \
                     Use ?mask={resource} to get only this field"
                ),
            )),
            Some(field) => {
                let element = field.message().map(schema::MessageType::full_name);
                let fits = |path: &String| element.is_some_and(|name| leads_somewhere(name, path));
                if self.mask.iter().all(fits) {
                    return Ok(());
                }
                let mask = self.mask.join(",");
                Err(plain_error(400, format!("FieldMask {mask} could not be successfully used.")))
            }
        }
    }

    fn sections(&self) -> impl Iterator<Item = &'static Section> {
        let eds = self.include_eds;
        SECTIONS.iter().filter(move |section| eds || section.shown != Shown::WithEndpoints)
    }

    /// Does every path of the mask lead somewhere in this section?
    pub(super) fn masks(&self, section: &Section) -> bool {
        let name = admin_type(section.message);
        self.mask.iter().all(|path| leads_somewhere(&name, path))
    }

    pub(super) fn wants_name(&self, name: &str) -> bool {
        self.name.as_ref().is_none_or(|regex| regex.is_match(name))
    }
}

/// An error whose content type is the short one, as here only.
fn plain_error(status: u16, text: String) -> Response {
    let early_nosniff = !text.starts_with("INVALID_ARGUMENT");
    Response { content_type: "text/plain", early_nosniff, ..Response::error(status, text) }
}

/// The pattern, as one that has to match a whole name.
fn whole(pattern: &str) -> Result<Regex, Response> {
    regex_filter::compile(&format!("^(?:{pattern})$")).map_err(|error| plain_error(400, error))
}

pub(super) fn admin_type(message: &str) -> String {
    format!("envoy.admin.v3.{message}")
}

fn field(message: &str, name: &str) -> Option<schema::Field> {
    schema::message(&admin_type(message))?.field_named(name)
}

/// Does a path of a mask name fields that exist? What is in an `Any` is not known here.
fn leads_somewhere(message: &str, path: &str) -> bool {
    let mut at = schema::message(message);
    for step in path.split('.') {
        let Some(message) = at else { return false };
        if message.full_name() == "google.protobuf.Any" {
            return true;
        }
        let Some(field) = message.field_named(step) else { return false };
        at = field.message();
    }
    true
}
